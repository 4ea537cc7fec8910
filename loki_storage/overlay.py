"""What a session reads: the committed state with its own pending writes applied (QRY-9).

``Pending`` folds what a session buffers so that a batch names each row once (BAT-2), and knows the
session's view of each. ``merged`` answers a query over both, streaming the committed part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from typing import Any

import attrs

from loki_storage.batch import Delete, Insert, Operation, Require, Update, holds
from loki_storage.errors import InvalidValue, StaleWrite, StorageError
from loki_storage.matching import matcher, position, window
from loki_storage.models import Kind, Record
from loki_storage.query import And, Condition, In, InQuery, Not, Or, Query
from loki_storage.rules.change import Change, Edit, Removal, Step

__all__ = ["Pending", "kinds_of", "merged"]

Key = tuple[Kind, int]


class Pending:
    """The buffered operations of a session, one per row, and each row as the session sees it."""

    def __init__(self) -> None:
        self._operations: dict[Key, Operation] = {}
        self._edited: dict[Key, Record] = {}
        self._kinds: set[Kind] = set()

    def __bool__(self) -> bool:
        return bool(self._operations)

    def touches(self, kinds: Iterable[Kind]) -> bool:
        """Whether any row of these kinds is written."""
        return not self._kinds.isdisjoint(kinds)

    def operations(self) -> list[Operation]:
        """What to commit."""
        return list(self._operations.values())

    def views(self, kind: Kind) -> dict[int, Record | None]:
        """The written rows of a kind as the session sees them, by id; None: gone."""
        return {
            id: self._view((its_kind, id))
            for (its_kind, id), operation in self._operations.items()
            if its_kind is kind and not isinstance(operation, Require)
        }

    def add(self, change: Change) -> None:
        """Buffer all steps of a change, or none: ``StaleWrite`` where one does not fit the view."""
        operations, edited = dict(self._operations), dict(self._edited)
        try:
            for step in change.steps:
                self._fold(step)
        except StorageError:
            self._operations, self._edited = operations, edited
            raise

    def insert(self, record: Record) -> None:
        """Buffer a new record."""
        self._fold(Insert(record))

    def _view(self, key: Key) -> Record | None:
        operation = self._operations[key]
        return operation.record if isinstance(operation, Insert) else self._edited.get(key)

    def _fold(self, step: Step) -> None:
        if type(step) is Insert:  # the common case by far: one intercept brings 190 of them
            record = step.record
            self._put((type(record), record.id), step)
        elif isinstance(step, Edit | Removal):
            self._change((type(step.before), step.before.id), step)
        elif isinstance(step, Require):
            self._require((step.kind, step.id), step)

    def _put(self, key: Key, insert: Insert) -> None:
        if key in self._operations:
            raise InvalidValue("batch", "names a row more than once")
        self._operations[key] = insert
        self._kinds.add(key[0])

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


def _guard(earlier: Operation | None, guard: Mapping[str, object]) -> Mapping[str, object]:
    """The first guard of a row, and what later ones ask of fields that were not changed since."""
    if earlier is None or isinstance(earlier, Insert):
        return guard
    changed = earlier.changes if isinstance(earlier, Update) else {}
    return {**{f: value for f, value in guard.items() if f not in changed}, **earlier.guard}


def kinds_of(query: Query) -> set[Kind]:
    """The kinds that a query reads."""
    return {query.kind, *_kinds_in(query.where)}


def _kinds_in(condition: Condition) -> set[Kind]:
    match condition:
        case And(parts) | Or(parts):
            return {kind for part in parts for kind in _kinds_in(part)}
        case Not(inner):
            return _kinds_in(inner)
        case InQuery(query=query):
            return kinds_of(query)
    return set()


Select = Callable[[Query], Iterator[Any]]


def merged(query: Query, pending: Pending, committed: Select, view: Select) -> Iterator[Any]:
    """The answer over committed and pending rows; ``view`` reads as the session does."""
    where = _resolved(query.where, pending, view)
    query = query.evolve(where=where)
    written = pending.views(query.kind)
    matches = matcher(query, _no_members)
    mine = sorted(
        (record for record in written.values() if record is not None and matches(record)),
        key=position(query),
    )
    theirs = (record for record in committed(_enough(query, written)) if record.id not in written)
    return window(query, merge(theirs, mine, key=position(query)))


def _enough(query: Query, written: Mapping[int, object]) -> Query:
    """The query for as many committed rows as the answer can need."""
    if query.limit is None:
        return query.evolve(offset=0)
    return query.evolve(offset=0, limit=query.offset + query.limit + len(written))


def _resolved(condition: Condition, pending: Pending, view: Select) -> Condition:
    """The condition with each ``InQuery`` over pending kinds answered as the session sees it."""
    match condition:
        case And(parts) | Or(parts):
            return type(condition)(_resolved(part, pending, view) for part in parts)
        case Not(inner):
            return Not(_resolved(inner, pending, view))
        case InQuery(field, query, its_field):
            found = {record.stored(its_field) for record in view(query)}
            return In(field, tuple(value for value in found if value is not None))
    return condition


def _no_members(condition: InQuery) -> set[tuple[str, object]]:
    raise AssertionError("resolved before")
