"""What a session reads: the committed state with its own pending writes applied (QRY-9).

``Pending`` folds what a session buffers so that a batch names each row once (BAT-2), and knows the
session's view of each. ``merged`` answers a query over both, streaming the committed part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from heapq import merge
from itertools import chain
from typing import Any, Self

import attrs

from loki_storage.batch import (
    Delete,
    DeleteMany,
    Insert,
    InsertMany,
    Operation,
    Part,
    Require,
    Update,
    holds,
    operations_of,
)
from loki_storage.conditions import fold, walk
from loki_storage.errors import InvalidValue, StaleWrite
from loki_storage.matching import Members, matcher, position, window
from loki_storage.models import Kind, Record
from loki_storage.query import MAXIMUM_WINDOW, And, Condition, In, InQuery, Not, Or, Query
from loki_storage.rows import Rows
from loki_storage.rules.change import Change, Changes, Edit, Removal, removal

__all__ = ["Pending", "kinds_of", "merged"]

Key = tuple[Kind, int]
Packed = InsertMany | DeleteMany


class Pending:
    """The buffered operations of a session, one per row, and each row as the session sees it.

    Rows that come or go by the many stay so until somebody reads their kind or changes one of it.
    """

    def __init__(self) -> None:
        self._operations: dict[Key, Operation] = {}
        self._edited: dict[Key, Record] = {}
        self._packed: dict[Kind, list[Packed]] = {}
        self._kinds: set[Kind] = set()
        self._undo: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return bool(self._operations) or any(self._packed.values())

    def copy(self) -> Self:
        """The same, to go on with by itself."""
        copy = type(self)()
        copy._operations, copy._edited = dict(self._operations), dict(self._edited)
        copy._packed = {kind: list(packed) for kind, packed in self._packed.items()}
        copy._kinds = set(self._kinds)
        return copy

    def touches(self, kinds: Iterable[Kind]) -> bool:
        """Whether any row of these kinds is written."""
        return not self._kinds.isdisjoint(kinds)

    def parts(self) -> list[Part]:
        """What to commit."""
        return [*self._operations.values(), *chain.from_iterable(self._packed.values())]

    def names(self, kind: Kind, id: int) -> bool:
        """Whether an operation is about this row, other than one of many insertions."""
        gone = (each.ids for each in self._packed.get(kind, ()) if isinstance(each, DeleteMany))
        return (kind, id) in self._operations or any(id in ids for ids in gone)

    def views(self, kind: Kind) -> dict[int, Record | None]:
        """The written rows of a kind as the session sees them, by id; None: gone."""
        self._unpack(kind)
        return {
            id: self._view((its_kind, id))
            for (its_kind, id), operation in self._operations.items()
            if its_kind is kind and not isinstance(operation, Require)
        }

    def add(self, change: Change | Changes) -> None:
        """Buffer all steps of a change, or none: ``StaleWrite`` where one does not fit the view."""
        others: list[Edit | Removal | Require] = []
        with self.as_one():
            for step in change.steps:
                if isinstance(step, Insert):
                    self.insert(step.record)
                elif isinstance(step, InsertMany):
                    self.insert_many(step.rows)
                elif isinstance(step, DeleteMany):
                    others += self._removed(step)
                else:
                    others.append(step)
            for step in others:
                self._fold(step)

    def _removed(self, many: DeleteMany) -> Iterable[Removal]:
        """Buffer them as they are; where the session has touched such rows, one by one."""
        kind, ids = many.kind, many.ids
        touched = any(isinstance(packed, InsertMany) for packed in self._packed.get(kind, ()))
        if touched or not self._operations.keys().isdisjoint((kind, id) for id in ids):
            return map(partial(removal, kind), ids)
        if ids:
            self._pack(kind, many)
        return ()

    def insert(self, record: Record) -> None:
        """Buffer a new record."""
        key = type(record), record.id
        if key in self._operations:
            raise _named_twice()
        self._operations[key] = Insert(record)
        self._kinds.add(key[0])
        self._undo.append(partial(self._put_back, key, None, None))

    def insert_many(self, rows: Rows[Any]) -> None:
        """Buffer new rows as they are; that their ids are new is for the batch to check."""
        if rows:
            self._pack(rows.kind, InsertMany(rows))

    def _pack(self, kind: Kind, packed: "Packed") -> None:
        self._packed.setdefault(kind, []).append(packed)
        self._kinds.add(kind)
        self._undo.append(partial(self._take_back, kind, packed))

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Keep all that is buffered inside, or nothing of it where it raises."""
        mark = len(self._undo)
        try:
            yield
        except BaseException:
            undone = self._undo[mark:]
            del self._undo[mark:]
            for undo in reversed(undone):
                undo()
            raise

    def _put_back(self, key: Key, operation: Operation | None, edited: Record | None) -> None:
        self._operations.pop(key, None)
        self._edited.pop(key, None)
        if operation is not None:
            self._operations[key] = operation
        if edited is not None:
            self._edited[key] = edited

    def _take_back(self, kind: Kind, packed: "Packed") -> None:
        """Forget the rows that were buffered last, whether they are still packed or not."""
        if self._packed.get(kind):
            self._packed[kind].pop()
        else:
            for id in packed.rows.ids if isinstance(packed, InsertMany) else packed.ids:
                self._put_back((kind, id), None, None)

    def _unpack(self, kind: Kind) -> None:
        """From now on the rows of this kind have an operation each, new ones with their record."""
        for packed in self._packed.pop(kind, ()):
            many = operations_of(packed)
            operations = {(kind, operation.id): operation for operation in many}
            if len(operations) < len(many) or not self._operations.keys().isdisjoint(operations):
                raise _named_twice()
            self._operations.update(operations)

    def _view(self, key: Key) -> Record | None:
        operation = self._operations[key]
        return operation.record if isinstance(operation, Insert) else self._edited.get(key)

    def _fold(self, step: Edit | Removal | Require) -> None:
        key = _key(step)
        self._unpack(key[0])
        self._undo.append(
            partial(self._put_back, key, self._operations.get(key), self._edited.get(key))
        )
        if isinstance(step, Require):
            self._require(key, step)
        elif isinstance(step, Edit) and not step.changes:
            self._require(key, Require(*key, step.guard))
        else:
            self._change(key, step)

    def _require(self, key: Key, step: Require) -> None:
        """Judged on what the session wrote; the rest joins the row's guard (BAT-2)."""
        earlier = self._operations.get(key)
        if earlier is None:
            self._operations[key] = step
            return
        self._check(key, step.guard)
        if not isinstance(earlier, Insert):
            self._operations[key] = attrs.evolve(earlier, guard=_guard(earlier, step.guard))

    def _change(self, key: Key, step: Edit | Removal) -> None:
        earlier = self._operations.get(key)
        if earlier is not None:
            self._check(key, step.guard)
        if isinstance(step, Removal):
            self._remove(key, step, earlier)
        else:
            self._edit(key, step, earlier)
        self._kinds.add(key[0])

    def _remove(self, key: Key, step: Removal, earlier: Operation | None) -> None:
        self._edited.pop(key, None)
        if isinstance(earlier, Insert):
            del self._operations[key]
        else:
            self._operations[key] = Delete(*key, _guard(earlier, step.guard))

    def _edit(self, key: Key, step: Edit, earlier: Operation | None) -> None:
        changes = step.operation.changes
        if isinstance(earlier, Insert):
            self._operations[key] = Insert(earlier.record.replaced(changes))
            return
        merged = {**earlier.changes, **changes} if isinstance(earlier, Update) else changes
        self._operations[key] = Update(*key, merged, _guard(earlier, step.guard))
        self._edited[key] = self._edited.get(key, step.before).replaced(changes)

    def _check(self, key: Key, guard: Mapping[str, object]) -> None:
        """``StaleWrite`` where the session deleted the row, or its view fails the guard."""
        earlier = self._operations[key]
        written = isinstance(earlier, Insert | Update)
        if isinstance(earlier, Delete) or (written and not holds(self._view(key), guard)):
            raise StaleWrite(key[0].table, key[1])


def _named_twice() -> InvalidValue:
    return InvalidValue("batch", "names a row more than once")


def _key(step: Edit | Removal | Require) -> Key:
    if isinstance(step, Edit | Removal):
        return type(step.before), step.before.id
    return step.kind, step.id


def _guard(earlier: Operation | None, guard: Mapping[str, object]) -> Mapping[str, object]:
    """The first guard of a row, and what later ones ask of fields that were not changed since."""
    if earlier is None or isinstance(earlier, Insert):
        return guard
    changed = earlier.changes if isinstance(earlier, Update) else {}
    return {**{f: value for f, value in guard.items() if f not in changed}, **earlier.guard}


def kinds_of(query: Query) -> set[Kind]:
    """The kinds that a query reads."""
    return {query.kind, *_kinds_in(query.where)}


def _kinds_in(where: Condition) -> set[Kind]:
    """The kinds that the queries in a condition read."""
    inner = [kinds_of(node.query) for node in walk(where) if isinstance(node, InQuery)]
    return set[Kind]().union(*inner)


Select = Callable[[Query], Iterator[Any]]


def merged(query: Query, pending: Pending, committed: Select, view: Select) -> Iterator[Any]:
    """The answer over committed and pending rows; ``view`` reads as the session does."""
    if pending.touches(_kinds_in(query.where)):
        query = query.evolve(where=_resolved(query.where, pending, view))
    written = pending.views(query.kind)
    there = [record for record in written.values() if record is not None]
    matches = matcher(query, _members_among(there, view))
    mine = sorted(filter(matches, there), key=position(query))
    theirs = (record for record in committed(_enough(query, written)) if record.id not in written)
    return window(query, merge(theirs, mine, key=position(query)))


def _enough(query: Query, written: Mapping[int, object]) -> Query:
    """The query for as many committed rows as the answer can need."""
    if query.limit is None:
        return query.evolve(offset=0) if query.offset else query
    enough = query.offset + query.limit + len(written)
    return query.evolve(offset=0, limit=min(enough, MAXIMUM_WINDOW))


def _resolved(where: Condition, pending: Pending, view: Select) -> Condition:
    """The condition with each ``InQuery`` over pending kinds answered as the session sees it."""

    def resolved(condition: Condition, parts: list[Condition]) -> Condition:
        match condition:
            case And() | Or():
                return type(condition)(parts)
            case Not():
                return Not(*parts)
            case InQuery(field, query, its_field) if pending.touches(kinds_of(query)):
                found = {record.stored(its_field) for record in view(query)}
                return In(field, tuple(value for value in found if value is not None))
        return condition

    return fold(where, resolved)


def _members_among(records: list[Record], view: Select) -> Members:
    """Resolves what was left of ``InQuery``, as far as these records ask."""

    def members(condition: InQuery) -> set[tuple[str, object]]:
        asked = {record.stored(condition.field) for record in records} - {None}
        if not asked:
            return set()
        found = view(condition.query.narrow(In(condition.its_field, asked)))
        return {(record.tenant_id, record.stored(condition.its_field)) for record in found}

    return members
