"""What a batch means, read from the laws BAT alone, and batches that meet rows, keys and guards.

``judged`` looks at the whole store after the batch, every row, key and reference: slow, plain, and
written apart from ``loki_storage.batch.check``, which is one of the things it judges.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.errors import BrokenReference, Duplicate, StaleWrite, StorageError
from loki_storage.models import Kind, Record
from loki_storage_contract.records import ROOM, TENANTS, any_row, at_home
from loki_storage_contract.values import remembered

__all__ = ["Draft", "Rows", "batch_of", "by_key", "drafts", "judged"]

Rows = Mapping[tuple[Kind, int], Record]
Action = Literal["insert", "update", "delete", "require"]
Guard = Literal["none", "right", "wrong"]
UNKNOWN = 15
FOREIGN = UNKNOWN - 1


def by_key(records: Iterable[Record]) -> dict[tuple[Kind, int], Record]:
    """Records by kind and id."""
    return {(type(record), record.id): record for record in records}


def judged(rows: Rows, batch: Batch) -> Rows | type[StorageError]:
    """The rows after the batch, or the error that it meets (BAT-4)."""
    if any(not _guarded(rows, batch.tenant, operation) for operation in batch.operations):
        return StaleWrite
    taken = any(isinstance(op, Insert) and (op.kind, op.id) in rows for op in batch.operations)
    after = dict(rows)
    for operation in batch.operations:
        _carry_out(after, operation)
    if taken or not _keys_are_unique(after.values()):
        return Duplicate
    return after if _references_hold(after) else BrokenReference


def _guarded(rows: Rows, tenant: str, operation: Operation) -> bool:
    if isinstance(operation, Insert):
        return True
    row = rows.get((operation.kind, operation.id))
    if row is None or row.tenant_id != tenant:
        return False
    return all(row.stored(field) == value for field, value in operation.guard.items())


def _carry_out(rows: dict[tuple[Kind, int], Record], operation: Operation) -> None:
    key = operation.kind, operation.id
    if isinstance(operation, Insert):
        rows[key] = operation.record
    elif isinstance(operation, Update):
        rows[key] = rows[key].replaced(operation.changes)
    elif isinstance(operation, Delete):
        del rows[key]


def _keys_are_unique(rows: Iterable[Record]) -> bool:
    keys = [
        (row.tenant_id, row.table, number, key)
        for row in rows
        for number, unique in enumerate(row.unique)
        if (key := unique.key(row)) is not None
    ]
    return len(keys) == len(set(keys))


def _references_hold(rows: Rows) -> bool:
    return all(
        (target := rows.get((reference.kind, id))) is not None and target.tenant_id == row.tenant_id
        for row in rows.values()
        for reference in row.references
        if (id := getattr(row, reference.field)) is not None
    )


@attrs.frozen
class Draft:
    """An operation before it is known which rows there are."""

    action: Action
    row: Record
    """What to insert; else where changed values come from."""
    pick: int
    """Which of the kind's rows of the tenant; the last two: another tenant's, and none at all."""
    fields: tuple[int, ...]
    """Which fields to change or to guard."""
    guard: Guard


@remembered
def drafts() -> st.SearchStrategy[list[tuple[str, list[Draft]]]]:
    """A few batches, each of a tenant."""
    draft = st.builds(
        Draft,
        st.sampled_from(["update", "delete", "insert", "require"]),
        any_row(),
        st.integers(0, UNKNOWN),
        st.lists(st.integers(0, 30), min_size=1, max_size=3).map(tuple),
        st.sampled_from(["none", "right", "none", "right", "wrong"]),
    )
    batch = st.lists(draft, min_size=1, max_size=4)
    tenant = st.sampled_from([TENANTS[0], *TENANTS])
    return st.lists(st.tuples(tenant, batch), min_size=2, max_size=4)


def batch_of(
    tenant: str, drafts: Iterable[Draft], rows: Rows, used: set[tuple[Kind, int]]
) -> Batch:
    """The batch that drafts mean for a store with these rows; ids in ``used`` are not given again.

    What is outside the protocol is left out: a row named twice (BAT-2), a unique value that passes
    straight from one updated row to another (BAT-3).
    """
    operations: dict[tuple[Kind, int], Operation] = {}
    for draft in drafts:
        operation = _operation(tenant, draft, rows, used)
        key = operation.kind, operation.id
        if key not in operations:
            passes = _passes_key(rows, [*operations.values(), operation])
            operations |= {} if passes else {key: operation}
            used |= {key} if isinstance(operation, Insert) else set()
    return Batch(tenant, operations.values())


def _operation(tenant: str, draft: Draft, rows: Rows, used: set[tuple[Kind, int]]) -> Operation:
    kind = type(draft.row)
    fresh = next(n for n in range(1, ROOM) if (kind, n) not in used)
    ids = [
        row.id
        for row in rows.values()
        if type(row) is kind and (row.tenant_id == tenant) is (draft.pick != FOREIGN)
    ]
    if draft.action == "insert" or not ids:
        id = ids[0] if ids and draft.pick == FOREIGN - 1 else fresh
        return Insert(at_home(draft.row, tenant).replaced({"id": id}))
    id = fresh if draft.pick == UNKNOWN else ids[draft.pick % len(ids)]
    guard = _guard(draft, rows.get((kind, id)))
    if draft.action == "update":
        return Update(kind, id, _chosen(draft, draft.row), guard)
    return (Delete if draft.action == "delete" else Require)(kind, id, guard)


def _guard(draft: Draft, row: Record | None) -> dict[str, Any]:
    if draft.guard == "none":
        return {}
    return _chosen(draft, draft.row if row is None or draft.guard == "wrong" else row)


def _chosen(draft: Draft, row: Record) -> dict[str, Any]:
    names = [name for name in row.domains if name not in ("id", "tenant_id")]
    chosen = {names[number % len(names)] for number in draft.fields}
    return {name: row.stored(name) for name in names if name in chosen}


def _passes_key(rows: Rows, operations: Iterable[Operation]) -> bool:
    """Whether an updated row gives a unique value straight to another updated row."""
    updates = [operation for operation in operations if isinstance(operation, Update)]
    given = {name for update in updates for name in _keys_given_up(rows, update)}
    taken = {name for update in updates for name in _keys_taken(rows, update)}
    return not given.isdisjoint(taken)


def _keys_given_up(rows: Rows, update: Update) -> Iterator[object]:
    for unique, before, after in _keys(rows, update):
        if before is not None and after is not None and before != after:
            yield update.kind, unique, before


def _keys_taken(rows: Rows, update: Update) -> Iterator[object]:
    for unique, before, after in _keys(rows, update):
        if after is not None and before != after:
            yield update.kind, unique, after


def _keys(rows: Rows, update: Update) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    row = rows.get((update.kind, update.id))
    if row is not None:
        after = row.replaced(update.changes)
        for unique in update.kind.unique:
            yield unique.fields, unique.key(row), unique.key(after)
