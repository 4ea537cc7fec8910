"""What moving a document to the archive and back does to the store's rows (RET-4).

The rows go in the batch that stores their stub, and come back in the one that removes it. What
retention does to a document in the archive is done to its rows there, and to its stub here.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import attrs

from loki_storage.batch import DeleteMany, Insert
from loki_storage.enums import AuditAction, EntityType
from loki_storage.models import (
    ArchivedDocument,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    Kind,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.rules.change import Change, Edit, Removal, Step, edit, ranges, removal
from loki_storage.values import JsonText, JsonValue, canonical, parse

__all__ = ["ARCHIVED", "CLAIMS", "Key", "archive", "elsewhere", "members_of", "moved", "unarchive"]

ARCHIVED: tuple[Kind, ...] = (
    *(Chain, Document, DocumentTag, Validation, ValidationResult, Correction, CorrectionHistory),
)
"""The kinds of a record set, parents first."""
CLAIMS = ("text_claim", "intercept_claim")
"""Of a chain: nobody else's while it is in the store, free while it is in the archive (DUP-3)."""
_GUARDS: Mapping[Kind, tuple[str, ...]] = {
    Chain: ("revision",),
    Validation: ("status",),
    Correction: ("status", "updated_at"),
}
"""What must be as it was copied. All else moves one of these, or brings rows that refer to ours."""

Key = tuple[Kind, int]


def members_of(records: Iterable[Record]) -> dict[str, JsonValue]:
    """What a stub tells of the ids of a record set: they are never given out again."""
    ids: dict[Kind, list[int]] = {kind: [] for kind in ARCHIVED if kind is not Chain}
    for record in records:
        if type(record) in ids:
            ids[type(record)].append(record.id)
    return {kind.table: list(ranges(found)) for kind, found in ids.items()}  # type: ignore[arg-type]


def archive(stub: ArchivedDocument, records: Sequence[Record], metadata: JsonValue) -> Change:
    """A whole record set leaves its stub; these are all of its rows, as its bundle has them."""
    steps: list[Step] = []
    for kind in reversed(ARCHIVED):
        mine, guard = [record for record in records if type(record) is kind], _GUARDS.get(kind)
        if guard is None:
            steps.append(DeleteMany(kind, [record.id for record in mine]))
        else:
            steps += [Removal(each, {name: each.stored(name) for name in guard}) for each in mine]
    return _change(AuditAction.ARCHIVE, stub, [*steps, Insert(stub)], metadata)


def unarchive(stub: ArchivedDocument, records: Iterable[Record], metadata: JsonValue) -> Change:
    """The rows are stored again, as they were."""
    steps: list[Step] = [Insert(record) for record in records]
    return _change(AuditAction.UNARCHIVE, stub, [*steps, _gone(stub)], metadata)


def elsewhere(
    change: Change, stub: ArchivedDocument, rows: Mapping[Key, Record]
) -> tuple[Change, list[Record]]:
    """What is left of a change for the store, and the rows of the archive after it.

    Without any the stub goes; otherwise the caller adds where they are now.
    """
    after, here, told = dict(rows), list[Step](), list[tuple[str, Key]]()
    for step in chain.from_iterable(map(_one_by_one, change.steps)):
        if not isinstance(step, Edit | Removal) or _key(step.before) not in rows:
            here.append(step)
            continue
        key = _key(step.before)
        told.append(("delete" if isinstance(step, Removal) else "update", key))
        if isinstance(step, Removal):
            del after[key]
        else:
            after[key] = after[key].replaced(step.operation.changes)
    if not after:
        here.append(_gone(stub))
    return attrs.evolve(change, steps=here, metadata=_told(change, told)), list(after.values())


def _one_by_one(step: Step) -> Iterable[Step]:
    """A bundle is written anew row by row."""
    return map(partial(removal, step.kind), step.ids) if isinstance(step, DeleteMany) else (step,)


def _key(record: Record) -> Key:
    return type(record), record.id


def _gone(stub: ArchivedDocument) -> Removal:
    return Removal(stub, {"bundle": stub.bundle})


def _told(change: Change, done: Iterable[tuple[str, Key]]) -> JsonValue:
    """The metadata, with what was done to rows in the archive: these are none of the store's."""
    ids: dict[tuple[str, str], list[int]] = {}
    for op, (kind, id) in done:
        if not kind.internal:
            ids.setdefault((kind.table, op), []).append(id)
    rows: Any = [{"kind": table, "op": op, "ids": ranges(n)} for (table, op), n in ids.items()]
    known: Any = change.metadata
    known = parse(known) if isinstance(known, JsonText) else known or {}
    return canonical({**known, "archived": rows}, "metadata", bounded=False)


def moved(stub: ArchivedDocument, **place: object) -> Edit:
    """The stub of rows that were written anew."""
    return edit(stub, {"bundle": stub.bundle}, **place)


def _change(
    action: str, stub: ArchivedDocument, steps: Sequence[Step], metadata: JsonValue
) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.DOCUMENT,
        entity_id=stub.id,
        document_id=stub.id,
        client_id=stub.client_id,
        steps=steps,
        metadata=metadata,
    )
