"""What deletion and anonymization by retention do to the rows of a record set (RET-4, DUP-5).

Both tell the audit which rows and fields they touched, and never what stood there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loki_storage.batch import DeleteMany
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import IllegalTransition
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.rules.change import Change, Edit, Removal, Step, edit, removal
from loki_storage.rules.documents import content_hash
from loki_storage.rules.retained import ANONYMIZED, placeholder, token_hash
from loki_storage.values import JsonValue

__all__ = [
    "anonymize",
    "anonymous",
    "compress",
    "delete_correction",
    "delete_set",
    "delete_validation",
    "purge",
]

Row = tuple[Kind, int]
_EMPTIED: Mapping[Kind, tuple[str, ...]] = {
    Document: ("title", "description", "source", "user_id"),
    Validation: ("user_id", "error_message", "error_traceback"),
    ValidationResult: ("message", "suggestion", "legal_source", "evidence", "metadata_json"),
    Correction: (
        *("original_content", "corrected_content", "diff", "reasoning"),
        *("applied_by", "reviewed_by", "review_notes"),
    ),
    CorrectionHistory: ("reason", "changed_by"),
    AuditEntry: ("ip_address", "user_agent", "request_id"),
}
"""Fields of free text and of persons, which become NULL."""


_GUARDS: Mapping[Kind, tuple[str, ...]] = {
    Validation: ("status",),
    Correction: ("status", "updated_at"),
}
"""What must be as it was read: these change without the chain's revision (VER-10)."""


def purge(chain: Chain, rows: Iterable[Row], *, expired: bool = False) -> Change:
    """Remove a soft-deleted or expired document whole, with all that hangs on it (DEL-6)."""
    if chain.live and not expired:
        raise IllegalTransition(f"document {chain.id} is live; delete it before purging it")
    return delete_set(chain, rows, None)


def delete_set(chain: Chain, rows: Iterable[Row], metadata: JsonValue) -> Change:
    """Remove a document with all that hangs on it; the entry is its tombstone (RET-5)."""
    ids: defaultdict[Kind, list[int]] = defaultdict(list)
    for kind, id in rows:
        ids[kind].append(id)
    steps: list[Step] = [DeleteMany(kind, mine) for kind, mine in ids.items()]
    steps.append(Removal(chain, {"revision": chain.revision}))
    return _change(AuditAction.PURGE, chain, steps, metadata)


def delete_validation(
    chain: Chain,
    id: int,
    results: Iterable[int],
    corrections: Iterable[Correction],
    metadata: JsonValue,
) -> Change:
    """Remove a validation with its results; its corrections stay, without it."""
    steps: list[Step] = [DeleteMany(ValidationResult, [*results])]
    steps += [edit(correction, validation_id=None) for correction in corrections]
    steps += [removal(Validation, id), _revised(chain)]
    return _change(AuditAction.PURGE, chain, steps, metadata, EntityType.VALIDATION, id)


def delete_correction(
    chain: Chain, id: int, histories: Iterable[int], metadata: JsonValue
) -> Change:
    """Remove a correction with its history."""
    steps: list[Step] = [DeleteMany(CorrectionHistory, [*histories])]
    steps += [removal(Correction, id), _revised(chain)]
    return _change(AuditAction.PURGE, chain, steps, metadata, EntityType.CORRECTION, id)


def compress(
    chain: Chain, metadata: JsonValue, entity_type: str = EntityType.DOCUMENT, id: int | None = None
) -> Change:
    """Rows are stored in fewer bytes: none of them changes."""
    return _change(AuditAction.COMPRESS, chain, (), metadata, entity_type, id)


def anonymize(
    chain: Chain,
    records: Iterable[Record],
    tokens: Iterable[str],
    metadata: JsonValue,
    entity_type: str = EntityType.DOCUMENT,
    entity_id: int | None = None,
) -> Change | None:
    """Empty what tells of persons in these rows and audit entries; None: there is nothing.

    ``tokens``: random text, one for each row that needs it. Counts, statuses, severities, numbers,
    times and the graph stay; no hash of what was there does.
    """
    fresh = iter(tokens)
    edits = [anonymous(record, fresh) for record in records if not _is_proof(record)]
    steps: list[Step] = [step for step in edits if step.changes]
    if not steps:
        return None
    claims: dict[str, Any] = {}
    if entity_type == EntityType.DOCUMENT:
        names = ("text_claim", "intercept_claim")
        claims = {n: token_hash(next(fresh)) for n in names if chain.stored(n) is not None}
    steps.append(_revised(chain, **claims))
    return _change(AuditAction.ANONYMIZE, chain, steps, metadata, entity_type, entity_id)


def _is_proof(record: Record) -> bool:
    """Who emptied a document before, by which rule and when, stays told (RET-5)."""
    return isinstance(record, AuditEntry) and record.action == AuditAction.ANONYMIZE


def anonymous(record: Record, tokens: Iterable[str]) -> Edit:
    """The edit that leaves nothing of a person in a row."""
    if isinstance(record, AuditEntry) and record.action == AuditAction.READ:
        return _asked(record)
    emptied: dict[str, object] = dict.fromkeys(_EMPTIED[type(record)])
    emptied |= _REPLACED[type(record)](record, iter(tokens))
    changed = edit(record, **emptied)
    guard = {name: record.stored(name) for name in _GUARDS.get(type(record), ())}
    return Edit(record, changed.changes, guard, silent=True)


def _document(document: Any, tokens: Any) -> dict[str, object]:
    token = _token(document.metadata_json)
    if token is not None and document.content == placeholder(token):
        return {"metadata_json": _marked(document.metadata_json, token)}
    token = next(tokens)
    content = placeholder(token)
    return {
        "content": content,
        "content_hash": content_hash(content),
        "content_length": len(content),
        "metadata_json": _marked(document.metadata_json, token),
    }


def _validation(validation: Any, tokens: Any) -> dict[str, object]:
    token = _token(validation.config)
    if token is None or validation.request_hash != token_hash(token):
        token = next(tokens)
    return {"config": _marked(validation.config, token), "request_hash": token_hash(token)}


def _correction(correction: Any, tokens: Any) -> dict[str, object]:
    token = _token(correction.metadata_json) or next(tokens)
    return {"metadata_json": _marked(correction.metadata_json, token)}


def _history(history: Any, tokens: Any) -> dict[str, object]:
    told = history.changes
    if not isinstance(told, dict):
        return {"changes": None}
    kept = {name: told[name] for name in ("group", "version", "previous") if name in told}
    fields = told.get("fields", {})
    return {"changes": {"fields": {name: _numbers(fields[name]) for name in fields}, **kept}}


def _entry(entry: Any, tokens: Any) -> dict[str, object]:
    changes, metadata = entry.changes, entry.metadata_json
    if changes is not None:
        changes = {**changes, "fields": [_field(field) for field in changes.get("fields", ())]}
    kept = {n: v for n, v in _numbers(metadata).items() if n in ("built_on", "version")}
    return {
        "actor_id": ANONYMIZED,
        "changes": changes,
        "metadata_json": kept or None,
    }


def _asked(entry: AuditEntry) -> Edit:
    """A read, of others' records too: who read which rows when stays, what was asked for goes."""
    told = {name: value for name, value in entry.metadata_json.items() if name != "query"}
    changed = edit(entry, metadata_json=told)
    return Edit(entry, changed.changes, {}, silent=True)


def _field(told: Any) -> JsonValue:
    return {**told, **{side: _numbers(told[side]) for side in ("before", "after")}}


def _numbers(values: Any) -> dict[str, JsonValue]:
    """Numbers and truths stay; text, hashes and JSON do not, whose keys may be names, too."""
    items = values.items() if isinstance(values, dict) else ()
    return {n: v if isinstance(v, bool | int | float) else None for n, v in items}


_REPLACED: Mapping[Kind, Any] = {
    Document: _document,
    Validation: _validation,
    ValidationResult: lambda record, tokens: {},
    Correction: _correction,
    CorrectionHistory: _history,
    AuditEntry: _entry,
}


def _token(json: Any) -> str | None:
    token = json.get(ANONYMIZED) if isinstance(json, dict) else None
    return token if isinstance(token, str) else None


def _marked(json: Any, token: str) -> JsonValue:
    """What stays of a row's JSON: that it was anonymized, and the dates of its events."""
    kept: dict[str, JsonValue] = {ANONYMIZED: token}
    events = json.get("events") if isinstance(json, dict) else None
    dates = (
        {name: v for name, v in events.items() if _is_date(v)} if isinstance(events, dict) else {}
    )
    return {**kept, "events": dates} if dates else kept


def _is_date(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 40 and set(value) <= set("0123456789-+:.TZ")


def _revised(chain: Chain, **changes: object) -> Edit:
    """One more operation on the chain, guarded by the revision that was read (VER-10)."""
    return edit(chain, {"revision": chain.revision}, revision=chain.revision + 1, **changes)


def _change(
    action: str,
    chain: Chain,
    steps: Sequence[Step],
    metadata: JsonValue,
    entity_type: str = EntityType.DOCUMENT,
    entity_id: int | None = None,
) -> Change:
    return Change(
        action=action,
        entity_type=entity_type,
        entity_id=chain.id if entity_id is None else entity_id,
        document_id=chain.id,
        validation_id=entity_id if entity_type == EntityType.VALIDATION else None,
        client_id=chain.client_id,
        steps=steps,
        metadata=metadata,
    )
