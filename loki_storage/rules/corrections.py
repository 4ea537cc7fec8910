"""Rules for corrections and their history (COR)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from loki_storage.batch import Insert, InsertMany
from loki_storage.enums import AuditAction, CorrectionStatus, EntityType
from loki_storage.errors import IllegalTransition, InvalidField, InvalidValue, StaleVersion
from loki_storage.models import Correction, CorrectionHistory, Document, Validation
from loki_storage.rows import Rows
from loki_storage.rules.change import Change, Step, edit, guarded_edit, ranges, told
from loki_storage.rules.validations import live_version, require_version
from loki_storage.values import JsonText, JsonValue, canonical, composed

__all__ = [
    "EDITABLE",
    "Applied",
    "apply",
    "check_applicable",
    "check_revertible",
    "create",
    "record",
    "reject",
    "revert",
    "review",
    "update",
]

EDITABLE = (
    "target_gate",
    "original_content",
    "corrected_content",
    "diff",
    "strategy",
    "confidence",
    "reasoning",
    "metadata_json",
)
"""What ``update`` may change while a correction is pending."""


@attrs.frozen
class Applied:
    """What an ``applied`` history row keeps: the group, and the versions after and before.

    The group's ids are written as ranges: each of n rows names all n.
    """

    group: tuple[int, ...]
    version: int | None = None
    previous: int | None = None

    def to_json(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {"group": ranges(self.group)}  # type: ignore[dict-item]
        if self.version is not None:
            found |= {"version": self.version, "previous": self.previous}
        return found

    @classmethod
    def of(cls, row: CorrectionHistory) -> "Applied":
        kept: Any = row.changes or {}
        spans = kept.get("group", [[row.correction_id, row.correction_id]])
        group = tuple(id for first, last in spans for id in range(first, last + 1))
        return cls(group, kept.get("version"), kept.get("previous"))


def create(
    correction: Correction,
    history_id: int,
    document: Document,
    validation: Validation | None,
    validated: Document | None,
    by: str,
) -> Change:
    """A pending correction of a live document version (COR-1 to COR-3)."""
    require_version(document, correction.client_id)
    check_texts(correction, document)
    if validation is not None and (validated is None or validated.root_id != document.root_id):
        raise InvalidValue("validation_id", "is a validation of another document")
    history = _history(correction, history_id, "created", by, correction.created_at)
    steps: list[Step] = [Insert(correction), Insert(history), live_version(document)]
    return _change(AuditAction.CREATE, correction, document.root_id, steps)


def record(
    corrections: Rows[Correction],
    history_ids: Sequence[int],
    applied: Applied,
    document: Document,
    by: str,
    *,
    new: bool,
) -> Change:
    """Corrections that came with an intercept, as one operation with a history row each."""
    first = corrections[0]
    kind = "applied" if first.status is CorrectionStatus.APPLIED else "created"
    changes = composed(applied.to_json()) if kind == "applied" else None
    row = _history(first, history_ids[0], kind, by, first.created_at, changes=changes)
    # The rows differ in their ids alone, so the values of one are checked for all.
    rows = Rows.copies(row, id=history_ids, correction_id=corrections.ids)
    steps: list[Step] = [InsertMany(corrections), InsertMany(rows)]
    if not new:
        steps.append(live_version(document))
    return _change(AuditAction.CREATE, first, document.root_id, steps, corrections.ids)


def check_texts(correction: Correction, document: Document) -> None:
    """Corrected text is whole, and so is the original, where given (COR-2)."""
    original = correction.original_content
    if original is None or correction.corrected_content is None:
        return
    if original != document.content:
        raise InvalidValue("original_content", "must be the whole text of the version, or None")


def update(
    correction: Correction,
    document: Document,
    history_id: int,
    now: datetime,
    by: str,
    fields: Mapping[str, Any],
) -> Change | None:
    """Change a pending correction; None where nothing would change."""
    for name in fields:
        if name not in EDITABLE:
            raise InvalidField(name, "cannot be updated on a correction", EDITABLE)
    _require(correction, CorrectionStatus.PENDING, "be updated")
    check_texts(correction.evolve(**fields), document)
    if not edit(correction, **fields).changes:
        return None
    steps = _moved(correction, history_id, "updated", by, now, None, fields)
    return _change(
        AuditAction.UPDATE, correction, document.root_id, [*steps, live_version(document)]
    )


def review(
    correction: Correction,
    document: Document,
    history_id: int,
    now: datetime,
    by: str,
    notes: str | None,
) -> Change:
    """Note who looked at a pending correction, and what they said."""
    _require(correction, CorrectionStatus.PENDING, "be reviewed")
    steps = _moved(correction, history_id, "updated", by, now, notes, _reviewed(by, now, notes))
    return _change(
        AuditAction.UPDATE, correction, document.root_id, [*steps, live_version(document)]
    )


def reject(
    correction: Correction,
    document: Document,
    history_id: int,
    now: datetime,
    by: str,
    reason: str | None,
) -> Change:
    """pending -> rejected."""
    _require(correction, CorrectionStatus.PENDING, "be rejected")
    fields = {"status": CorrectionStatus.REJECTED, **_reviewed(by, now, reason)}
    steps = _moved(correction, history_id, "rejected", by, now, reason, fields)
    return _change(
        AuditAction.REJECT, correction, document.root_id, [*steps, live_version(document)]
    )


def check_applicable(
    corrections: Sequence[Correction], versions: Mapping[int, Document], head: Document
) -> None:
    """All pending; and where they bring a text, the head still has what they correct (COR-2)."""
    for correction in corrections:
        _require(correction, CorrectionStatus.PENDING, "be applied")
        corrected = versions[correction.document_id]
        if head.content_hash != corrected.content_hash:
            raise StaleVersion(corrected.id, head.id)


def check_revertible(correction: Correction) -> None:
    """``IllegalTransition`` for one that is not applied."""
    _require(correction, CorrectionStatus.APPLIED, "be reverted")


def apply(
    corrections: Sequence[Correction],
    versions: Mapping[int, Document],
    history_ids: Sequence[int],
    now: datetime,
    by: str,
    notes: str | None,
    applied: Applied,
) -> Change:
    """pending -> applied, together (COR-2)."""
    steps: list[Step] = []
    for correction, history_id in zip(corrections, history_ids, strict=True):
        _require(correction, CorrectionStatus.PENDING, "be applied")
        fields = {
            "status": CorrectionStatus.APPLIED,
            "applied_at": now,
            "applied_by": by,
            **_reviewed(by, now, notes),
        }
        steps += _moved(
            correction, history_id, "applied", by, now, notes, fields, applied.to_json()
        )
    return _together(AuditAction.APPLY, corrections, versions, steps)


def revert(
    corrections: Sequence[Correction],
    versions: Mapping[int, Document],
    history_ids: Sequence[int],
    now: datetime,
    by: str,
    reason: str | None,
    reverted: Applied,
) -> Change:
    """applied -> reverted, a group together (COR-2)."""
    steps: list[Step] = []
    for correction, history_id in zip(corrections, history_ids, strict=True):
        check_revertible(correction)
        fields = {"status": CorrectionStatus.REVERTED}
        steps += _moved(
            correction, history_id, "reverted", by, now, reason, fields, reverted.to_json()
        )
    return _together(AuditAction.REVERT, corrections, versions, steps)


def _together(
    action: AuditAction,
    corrections: Sequence[Correction],
    versions: Mapping[int, Document],
    steps: Iterable[Step],
) -> Change:
    """One operation on corrections of one document, whose versions must all be live."""
    (root_id,) = {version.root_id for version in versions.values()}
    steps = [*steps, *map(live_version, versions.values())]
    return _change(action, corrections[0], root_id, steps, [each.id for each in corrections])


def _moved(
    correction: Correction,
    history_id: int,
    change_type: str,
    by: str,
    now: datetime,
    reason: str | None,
    fields: Mapping[str, object],
    more: Mapping[str, JsonValue] | None = None,
) -> list[Step]:
    """The edit of a correction, and its history row (COR-1)."""
    moment = max(now, correction.updated_at)
    changed = guarded_edit(correction, "status", **fields, updated_at=moment)
    after = correction.replaced(changed.operation.changes)
    changes: dict[str, JsonValue] = {
        "fields": {
            name: {
                "before": told(name, correction.stored(name)),
                "after": told(name, after.stored(name)),
            }
            for name in fields
            if name in changed.changes
        },
        **(more or {}),
    }
    # As in the audit, the limits on callers' JSON do not bind what tells of it (AUD-1).
    text = canonical(changes, "changes", bounded=False)
    history = _history(after, history_id, change_type, by, moment, correction, reason, text)
    return [changed, Insert(history)]


def _history(
    correction: Correction,
    id: int,
    change_type: str,
    by: str,
    moment: datetime,
    before: Correction | None = None,
    reason: str | None = None,
    changes: JsonText | None = None,
) -> CorrectionHistory:
    return CorrectionHistory(
        id=id,
        tenant_id=correction.tenant_id,
        correction_id=correction.id,
        change_type=change_type,
        previous_status=None if before is None else before.status,
        new_status=correction.status,
        changes=changes,
        reason=reason,
        changed_by=by,
        changed_at=moment,
    )


def _reviewed(by: str, now: datetime, notes: str | None) -> dict[str, object]:
    return {"reviewed_at": now, "reviewed_by": by, "review_notes": notes}


def _require(correction: Correction, status: CorrectionStatus, verb: str) -> None:
    if correction.status is not status:
        raise IllegalTransition(
            f"correction {correction.id} is {correction.status}: only a {status} one can {verb}"
        )


def _change(
    action: AuditAction,
    first: Correction,
    root_id: int,
    steps: Sequence[Step],
    group: Sequence[int] = (),
) -> Change:
    """A change of one correction, or of the group that it is the first of."""
    return Change(
        action=action,
        entity_type=EntityType.CORRECTION,
        entity_id=first.id,
        document_id=root_id,
        validation_id=first.validation_id,
        client_id=first.client_id,
        steps=steps,
        metadata={"corrections": list(group)} if len(group) > 1 else None,
    )
