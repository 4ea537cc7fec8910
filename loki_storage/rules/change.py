"""What a rule returns: the steps of one operation, and what the audit must tell of it.

A ``Change`` cannot be built without its audit action, and the unit of work writes nothing but
changes: so no row changes without an audit entry in the same batch (AUD-1).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import chain
from typing import Any

import attrs

from loki_storage.batch import DeleteMany, Insert, InsertMany, Require, Update
from loki_storage.enums import ActorType, AuditAction, EntityType
from loki_storage.models import (
    ArchivedDocument,
    AuditEntry,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    ExportLog,
    Kind,
    LegalHold,
    Record,
    RetentionPolicy,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.query import Query
from loki_storage.rows import Rows
from loki_storage.values import JsonText, JsonValue, canonical, composed, parse

__all__ = [
    "NO_CLIENT",
    "Actor",
    "Change",
    "Changes",
    "Edit",
    "Removal",
    "Step",
    "audit_entries",
    "audit_entry",
    "edit",
    "guarded_edit",
    "ranges",
    "read_noted",
    "removal",
    "told",
]


@attrs.frozen
class Actor:
    """Who acts, and from where; given once per session, told in every audit entry."""

    id: str = attrs.field(repr=False)
    type: str = ActorType.USER
    ip_address: str | None = attrs.field(default=None, repr=False)
    user_agent: str | None = attrs.field(default=None, repr=False)
    request_id: str | None = None


@attrs.frozen
class Edit:
    """Change fields of a row that was read as ``before``, if it still has the guard's values."""

    before: Record
    changes: Mapping[str, object]
    guard: Mapping[str, object] = attrs.field(factory=dict)
    silent: bool = False
    """Tell which fields change, but not from what to what: for what is to be forgotten (AUD-3)."""

    @property
    def operation(self) -> Update:
        return Update(type(self.before), self.before.id, self.changes, self.guard)


@attrs.frozen
class Removal:
    """Remove a row that was read as ``before``."""

    before: Record
    guard: Mapping[str, object] = attrs.field(factory=dict)


Step = Insert | InsertMany | Edit | Removal | DeleteMany | Require


def removal(kind: Kind, id: int) -> Removal:
    """Remove a row of which nothing but its id was read: more is not needed, and costs."""
    record = object.__new__(kind)
    record.__dict__["id"] = id
    return Removal(record)


@attrs.frozen(kw_only=True)
class Change:
    """One operation on one aggregate. ``document_id`` is the chain's root id."""

    action: str
    entity_type: str
    entity_id: int | None
    client_id: str
    steps: Sequence[Step]
    document_id: int | None = None
    validation_id: int | None = None
    metadata: JsonValue = None
    request_id: str | None = None
    """The request that it came with, where that is another than the session's."""


@attrs.frozen(kw_only=True)
class Changes:
    """One operation on each of many documents, at least one: their ``Change`` values as columns."""

    action: str
    ids: Sequence[int]
    """Of the documents' chains."""
    client_ids: Sequence[str]
    rows: Sequence[Rows[Any]]
    """New rows, one of each kind for each document, in their order."""
    others: Sequence[Sequence[Step]] = ()
    """What else is done to each document, to rows of other kinds; nothing where to none is."""

    @property
    def steps(self) -> list[Step]:
        return [*map(InsertMany, self.rows), *chain.from_iterable(self.others)]

    def of(self, n: int) -> Change:
        """The change of the n-th document, from 0."""
        inserts = (Insert(rows[n]) for rows in self.rows)
        return Change(
            action=self.action,
            entity_type=EntityType.DOCUMENT,
            entity_id=self.ids[n],
            document_id=self.ids[n],
            client_id=self.client_ids[n],
            steps=[*inserts, *(self.others[n] if self.others else ())],
        )


def edit(before: Record, guard: Mapping[str, object] | None = None, /, **changes: object) -> Edit:
    """An edit of those fields that really change."""
    real = {
        field: value
        for field, value in changes.items()
        if before.stored(field) != before.domains[field].accept(field, value)
    }
    return Edit(before, real, guard or {})


def guarded_edit(before: Record, /, *others: str, **changes: object) -> Edit:
    """An edit that fails where another writer has changed one of its fields, or ``others``.

    Without that an update would be lost, and what the audit tells as ``before`` untrue.
    """
    changed = edit(before, **changes)
    as_read = {field: before.stored(field) for field in (*others, *changed.changes)}
    return Edit(before, changed.changes, as_read)


def audit_entry(change: Change, *, id: int, tenant: str, actor: Actor, now: datetime) -> AuditEntry:
    """The audit entry of a change (AUD-1)."""
    return AuditEntry(
        id=id,
        tenant_id=tenant,
        document_id=change.document_id,
        validation_id=change.validation_id,
        action=change.action,
        entity_type=change.entity_type,
        entity_id=change.entity_id,
        actor_id=actor.id,
        actor_type=ActorType(actor.type),
        changes=_changes(change.steps),
        metadata_json=change.metadata,
        ip_address=actor.ip_address,
        user_agent=actor.user_agent,
        request_id=change.request_id or actor.request_id,
        timestamp=now,
        client_id=change.client_id,
    )


def audit_entries(
    changes: Changes, *, ids: Sequence[int], tenant: str, actor: Actor, now: datetime
) -> Rows[AuditEntry]:
    """The audit entry of each of many changes: what ``audit_entry`` gives for each (AUD-1)."""
    first = audit_entry(changes.of(0), id=ids[0], tenant=tenant, actor=actor, now=now)
    return Rows.copies(
        first,
        id=ids,
        document_id=changes.ids,
        entity_id=changes.ids,
        client_id=changes.client_ids,
        changes=_changes_of_each(changes),
    )


_ENTITIES: Mapping[Kind, str] = {
    ArchivedDocument: EntityType.DOCUMENT,
    Document: EntityType.DOCUMENT,
    DocumentTag: EntityType.DOCUMENT,
    Validation: EntityType.VALIDATION,
    ValidationResult: EntityType.VALIDATION,
    Correction: EntityType.CORRECTION,
    CorrectionHistory: EntityType.CORRECTION,
    Tag: EntityType.TAG,
    RetentionPolicy: EntityType.POLICY,
    ExportLog: EntityType.EXPORT,
    AuditEntry: EntityType.AUDIT,
    LegalHold: EntityType.HOLD,
}
NO_CLIENT = "-"
"""The client of audit entries about what belongs to no client (AUD-1)."""


def read_noted(query: Query, ids: Iterable[int]) -> Change:
    """The change-less change that tells of a read: its query and the ids (AUD-4)."""
    found: list[JsonValue] = list(ranges(ids))  # type: ignore[arg-type]
    told = {"kind": query.kind.table, "query": query.to_json(), "ids": found}
    return Change(
        action=AuditAction.READ,
        entity_type=_ENTITIES[query.kind],
        entity_id=None,
        client_id=NO_CLIENT,
        steps=(),
        metadata=canonical(told, "query", bounded=False),  # no read is too long to be told of
    )


def ranges(ids: Iterable[int]) -> list[list[int]]:
    """Different ids as sorted ranges ``[first, last]``, as few as there can be."""
    found: list[list[int]] = []
    for id in sorted(ids):
        if found and id == found[-1][1] + 1:
            found[-1][1] = id
        else:
            found.append([id, id])
    return found


_HASHED = frozenset(
    {
        "content",
        "original_content",
        "corrected_content",
        "diff",
        "evidence",
        "error_traceback",
    }
)
"""Fields that the trail tells by their SHA-256, not by their text (AUD-1)."""


def _changes(steps: Sequence[Step]) -> JsonText | None:
    return _composed(*_told(steps))


def _changes_of_each(changes: Changes) -> list[JsonText | None]:
    tables = ((rows.kind.table, rows.ids) for rows in changes.rows if not rows.kind.internal)
    inserts = zip(*([_inserted(table, id) for id in ids] for table, ids in tables), strict=True)
    if not changes.others:
        return [_composed(rows, ()) for rows in inserts]
    others = map(_told, changes.others)
    return [
        _composed([*rows, *more], fields)
        for rows, (more, fields) in zip(inserts, others, strict=True)
    ]


def _inserted(table: str, id: int) -> str:
    return f'{{"kind":"{table}","op":"insert","ids":[[{id},{id}]]}}'


def _composed(rows: Sequence[str], fields: Sequence[JsonValue]) -> JsonText | None:
    if not rows:
        return None
    told = canonical(fields, "changes", bounded=False) if fields else "[]"
    return JsonText(f'{{"rows":[{",".join(rows)}],"fields":{told}}}')


def _told(steps: Sequence[Step]) -> tuple[list[str], list[JsonValue]]:
    """What the trail tells of them: rows, each as JSON, and fields of updates."""
    ids: defaultdict[tuple[str, Kind], list[int]] = defaultdict(list)
    fields: list[JsonValue] = []
    for step in steps:
        match step:
            case InsertMany(rows):
                ids["insert", rows.kind] += rows.ids
            case Insert(record):
                ids["insert", type(record)].append(record.id)
            case Removal(before):
                ids["delete", type(before)].append(before.id)
            case DeleteMany(kind, many):
                ids["delete", kind] += many
            case Edit(before) if step.changes:
                ids["update", type(before)].append(before.id)
                if not before.internal:
                    fields.append(_fields(step))
    told = [
        f'{{"kind":"{kind.table}","op":"{op}","ids":{composed(ranges(found))}}}'  # type: ignore[arg-type]
        for (op, kind), found in ids.items()
        if not kind.internal
    ]
    return told, fields


def _fields(step: Edit) -> JsonValue:
    before = step.before
    if step.silent:
        nothing: dict[str, JsonValue] = dict.fromkeys(step.changes)
        return {"kind": before.table, "id": before.id, "before": nothing, "after": nothing}
    after = before.replaced(step.operation.changes)
    return {
        "kind": before.table,
        "id": before.id,
        "before": {field: told(field, before.stored(field)) for field in step.changes},
        "after": {field: told(field, after.stored(field)) for field in step.changes},
    }


def told(field: str, value: Any) -> JsonValue:
    if value is None:
        return None
    if field in _HASHED:
        return f"sha256:{sha256(str(value).encode()).hexdigest()}"
    if isinstance(value, JsonText):
        return parse(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str.__str__(value) if isinstance(value, str) else value
