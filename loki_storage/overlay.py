"""What a session reads: the committed state with its own pending writes applied (QRY-9).

``Pending`` folds what a session buffers so that a batch names each row once (BAT-2), and knows the
session's view of each. ``merged`` answers a query over both, streaming the committed part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Any

import attrs

from loki_storage.batch import Delete, Insert, Operation, Require, Update, holds
from loki_storage.errors import InvalidValue, StaleWrite
from loki_storage.matching import matcher, position, window
from loki_storage.models import Kind, Record
from loki_storage.query import And, Condition, In, InQuery, Not, Or, Query
from loki_storage.rules.change import Change, Edit, Removal, Step

__all__ = ["Pending", "kinds_of", "merged"]

Key = tuple[Kind, int]


@attrs.define
class _Entry:
    """One buffered row: the operation so far, and the row as the session sees it (None: gone)."""

    operation: Operation
    view: Record | None


class Pending:
    """The buffered operations of a session, one per row."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._kinds: set[Kind] = set()

    def __bool__(self) -> bool:
        return bool(self._entries)

    def touches(self, kinds: Iterable[Kind]) -> bool:
        """Whether any row of these kinds is written."""
        return not self._kinds.isdisjoint(kinds)

    def operations(self) -> list[Operation]:
        return [entry.operation for entry in self._entries.values()]

    def views(self, kind: Kind) -> dict[int, Record | None]:
        """The written rows of a kind as the session sees them, by id."""
        return {
            id: entry.view
            for (its_kind, id), entry in self._entries.items()
            if its_kind is kind and not isinstance(entry.operation, Require)
        }

    def add(self, change: Change) -> None:
        """Buffer all steps of a change, or none: ``StaleWrite`` where one does not fit the view."""
        before = {key: self._entries.get(key) for key in map(_key, change.steps)}
        try:
            for step in change.steps:
                self._fold(step)
        except StaleWrite:
            self._put_back(before)
            raise

    def insert(self, record: Record) -> None:
        self._fold(Insert(record))

    def clear(self) -> None:
        self._entries.clear()
        self._kinds.clear()

    def _put_back(self, entries: Mapping[Key, _Entry | None]) -> None:
        for key, entry in entries.items():
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry
        self._kinds = {kind for kind, _ in self._entries}

    def _fold(self, step: Step) -> None:
        key = _key(step)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _first(step)
        elif isinstance(step, Insert):
            raise InvalidValue("batch", "names a row more than once")
        else:
            folded = _folded(entry, step)
            if folded is None:
                del self._entries[key]
            else:
                self._entries[key] = folded
        if not isinstance(step, Require):
            self._kinds.add(key[0])


def _key(step: Step) -> Key:
    if isinstance(step, Edit | Removal):
        return type(step.before), step.before.id
    return step.kind, step.id


def _first(step: Step) -> _Entry:
    match step:
        case Insert(record):
            return _Entry(step, record)
        case Edit():
            update = step.operation
            return _Entry(update, step.before.replaced(update.changes))
        case Removal():
            return _Entry(step.operation, None)
        case Require():
            return _Entry(step, None)


def _folded(entry: _Entry, step: Edit | Removal | Require) -> _Entry | None:
    """The entry with one more step: the first guards, the last values. None: nothing is left."""
    earlier, kind, id = entry.operation, entry.operation.kind, entry.operation.id
    if isinstance(earlier, Delete) or (
        not isinstance(earlier, Require) and not holds(entry.view, step.guard)
    ):
        raise StaleWrite(kind.table, id)
    if isinstance(earlier, Insert):
        return _on_insert(entry, step)
    changed = earlier.changes if isinstance(earlier, Update) else {}
    guard = {**{f: v for f, v in step.guard.items() if f not in changed}, **earlier.guard}
    if isinstance(step, Removal):
        return _Entry(Delete(kind, id, guard), None)
    if isinstance(step, Require):
        return _Entry(attrs.evolve(earlier, guard=guard), entry.view)
    update = Update(kind, id, {**changed, **step.operation.changes}, guard)
    base = step.before if entry.view is None else entry.view
    return _Entry(update, base.replaced(step.operation.changes))


def _on_insert(entry: _Entry, step: Edit | Removal | Require) -> _Entry | None:
    if isinstance(step, Removal):
        return None
    if isinstance(step, Require) or entry.view is None:
        return entry
    record = entry.view.replaced(step.operation.changes)
    return _Entry(Insert(record), record)


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
