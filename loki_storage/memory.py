"""``memory://``: the reference backend, a plugin like any other.

It is what the contract suite compares other backends with, and what hosts test with. Nothing
touches the disk. ``memory://name`` is one store per process and name while any handle is open;
``memory://`` is a new store each time.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loki_storage.batch import Batch, check
from loki_storage.errors import IllegalTransition, Unavailable
from loki_storage.hookspecs import hookimpl
from loki_storage.matching import evaluate
from loki_storage.models import KINDS, Kind, Record
from loki_storage.protocol import NOT_EMPTY, Backend, BackendSpec, Reader, is_empty
from loki_storage.query import And, Compare, In, InQuery, Query
from loki_storage.rows import Rows

__all__ = ["MemoryBackend", "loki_register_backends", "open_memory"]


class _Table:
    """The rows of one kind, with an index per field that keys and references ask for."""

    def __init__(self, kind: Kind) -> None:
        self.rows: dict[int, Record] = {}
        fields = {field for unique in kind.unique for field in unique.fields}
        fields |= {reference.field for reference in kind.references}
        self._index: dict[str, defaultdict[object, set[int]]] = {
            field: defaultdict(set) for field in fields
        }

    def put(self, record: Record) -> None:
        self.remove(record.id)
        self.rows[record.id] = record
        for field, ids in self._index.items():
            ids[record.stored(field)].add(record.id)

    def remove(self, id: int) -> None:
        record = self.rows.pop(id, None)
        if record is not None:
            for field, ids in self._index.items():
                ids[record.stored(field)].discard(id)

    def among(self, field: str, values: Collection[object]) -> Iterable[int] | None:
        """The ids of rows whose field has one of the values; None where that is not indexed."""
        if field == "id":
            return [id for id in values if id in self.rows]
        ids = self._index.get(field)
        return None if ids is None else [id for v in values for id in ids.get(v, ())]

    def copy(self) -> _Table:
        copy = object.__new__(_Table)
        copy.rows, copy._index = dict(self.rows), {}
        return copy


class _Rows(Reader):
    """A reader over tables; the caller holds the lock, or owns the tables."""

    def __init__(self, tables: Mapping[Kind, _Table]) -> None:
        self._tables = tables

    def select(self, query: Query) -> Iterator[Any]:
        return iter(evaluate(query, self._candidates(query), self._members))

    def _candidates(self, query: Query) -> Iterable[Record]:
        """Fewer rows than all where an indexed field must have one of some values."""
        table = self._tables[query.kind]
        conditions = query.where.conditions if isinstance(query.where, And) else (query.where,)
        for condition in conditions:
            match condition:
                case Compare(field, "eq", value):
                    ids = table.among(field, (value,))
                case In(field, values):
                    ids = table.among(field, dict.fromkeys(values))
                case InQuery(field, inner, its_field):
                    found = {row.stored(its_field) for row in self.select(inner)}
                    ids = table.among(field, found)
                case _:
                    ids = None
            if ids is not None:
                return [table.rows[id] for id in ids]
        return table.rows.values()

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = self.select(condition.query)
        values = ((record.tenant_id, record.stored(condition.its_field)) for record in found)
        return {(tenant, value) for tenant, value in values if value is not None}


class _Lookup:
    """What ``batch.check`` asks, answered for one tenant."""

    def __init__(self, tables: Mapping[Kind, _Table], tenant: str) -> None:
        self._tables, self._tenant = tables, tenant

    def get(self, kind: Kind, id: int) -> Record | None:
        record = self._tables[kind].rows.get(id)
        return record if record is not None and record.tenant_id == self._tenant else None

    def taken(self, kind: Kind, id: int) -> bool:
        return id in self._tables[kind].rows

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterable[Record]:
        table = self._tables[kind]
        buckets = (table.among(field, (value,)) for field, value in fields.items())
        indexed = [list(ids) for ids in buckets if ids is not None]
        ids = min(indexed, key=len) if indexed else list(table.rows)
        for record in (table.rows[id] for id in ids):
            if record.tenant_id == self._tenant and all(
                record.stored(field) == value for field, value in fields.items()
            ):
                yield record


class _Store:
    """The data behind all handles of one name."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tables = {kind: _Table(kind) for kind in KINDS.values()}
        self.next_ids: dict[Kind, int] = defaultdict(lambda: 1)
        self.handles = 0


class MemoryBackend(Backend):
    """A handle to a store in this process's memory."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._store: _Store | None = _attach(name)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        store = self._open()
        with store.lock:
            leased = {}
            for kind, count in counts.items():
                first = store.next_ids[kind]
                store.next_ids[kind] = first + count
                leased[kind] = range(first, first + count)
            return leased

    def select(self, query: Query) -> Iterator[Any]:
        self._open()
        return self._stream(query)

    def apply(self, batch: Batch) -> None:
        store = self._open()
        with store.lock:
            for change in check(_Lookup(store.tables, batch.tenant), batch):
                if isinstance(change, Record):
                    store.tables[type(change)].put(change)
                else:
                    kind, id = change
                    store.tables[kind].remove(id)

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        """See ``Backend``. The new rows are laid out and checked aside, then take the place."""
        store, scratch = self._open(), MemoryBackend()
        if not replace and not is_empty(self):
            raise IllegalTransition(NOT_EMPTY)
        scratch.load(record for part in rows for record in part)
        check(scratch)
        new = scratch._open()
        with store.lock:
            if not replace and any(table.rows for table in store.tables.values()):
                raise IllegalTransition(NOT_EMPTY)
            if allow is not None:
                allow(_Rows(store.tables))
            store.tables = new.tables
            for kind, next_id in new.next_ids.items():
                store.next_ids[kind] = max(store.next_ids[kind], next_id)

    def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            _detach(self._name, store)

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        store = self._open()
        with store.lock:
            tables = {kind: table.copy() for kind, table in store.tables.items()}
        yield _Rows(tables)

    def _stream(self, query: Query) -> Iterator[Any]:
        store = self._open()
        with store.lock:
            found = _Rows(store.tables).select(query)
        yield from found

    def _open(self) -> _Store:
        if self._store is None:
            raise Unavailable("this storage is closed; open it again with open_storage")
        return self._store


_NAMED: dict[str, _Store] = {}
_NAMED_LOCK = threading.Lock()


def _attach(name: str) -> _Store:
    with _NAMED_LOCK:
        store = _NAMED.setdefault(name, _Store()) if name else _Store()
        store.handles += 1
        return store


def _detach(name: str, store: _Store) -> None:
    with _NAMED_LOCK:
        store.handles -= 1
        if not store.handles and name:
            _NAMED.pop(name, None)


def open_memory(url: str) -> MemoryBackend:
    """The backend of ``memory://`` or ``memory://name``."""
    return MemoryBackend(url.partition("://")[2])


@hookimpl
def loki_register_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            "memory",
            open_memory,
            summary="in this process's memory; for tests and the contract suite",
            schemes=("memory",),
            creates=True,
        )
    ]
