"""Faults of writes: unique keys, references and ids."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from loki_storage.batch import Batch, Delete, Insert, Update
from loki_storage.errors import BrokenReference, Conflict, Duplicate, StorageError
from loki_storage.models import KINDS, Document, Kind, Record, RetentionState
from loki_storage.protocol import Backend
from loki_storage.query import In, Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks, rows_of

__all__: list[str] = []


def inserted(batch: Batch) -> Iterator[Record]:
    """The new rows of a batch."""
    for operation in batch.operations:
        if isinstance(operation, Insert):
            yield operation.record


class Renaming(Faulty):
    """Makes a key that is taken a free one behind the scenes, and gives it back when read."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._names: dict[tuple[Kind, int], str] = _NAMES

    def allows(self, error: Duplicate, batch: Batch) -> bool:
        """Whether the fault overlooks this taken key."""
        raise NotImplementedError

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate as error:
            if error.fields != ("name",) or not self.allows(error, batch):
                raise
            super().apply(Batch(batch.tenant, map(self._renamed, batch.operations)))

    def _renamed(self, operation: Any) -> Any:
        if not isinstance(operation, Insert) or "name" not in operation.kind.domains:
            return operation
        row = operation.record
        self._names[type(row), row.id] = row.stored("name")
        return Insert(row.replaced({"name": f"#{row.id}"}))

    def select(self, query: Query) -> Iterator[Any]:
        for row in super().select(query):
            name = self._names.get((type(row), row.id))
            yield row if name is None else row.replaced({"name": name})


_NAMES: dict[tuple[Kind, int], str] = {}


@breaks("BAT-5", over=("memory", "sqlite"))
class EnforcesNoKey(Renaming):
    """Unique keys are not enforced."""

    def allows(self, error: Duplicate, batch: Batch) -> bool:
        return True


@breaks("BAT-5")
class EnforcesKeysPerHandle(Renaming):
    """A unique key is enforced among what one handle has written."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._mine: set[object] = set()

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        self._mine |= {row.stored("name") for row in inserted(batch) if "name" in row.domains}

    def allows(self, error: Duplicate, batch: Batch) -> bool:
        return self._mine.isdisjoint(
            row.stored("name") for row in inserted(batch) if "name" in row.domains
        )


@breaks("BAT-5", over=("memory", "sqlite"))
class DeletedRowsHoldTheirKeys(Faulty):
    """The key of a deleted row stays taken."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._held: set[tuple[str, object]] = set()

    def apply(self, batch: Batch) -> None:
        for row in inserted(batch):
            if "name" in row.domains and (row.table, row.stored("name")) in self._held:
                raise Duplicate(row.table, ("name",))
        deleted = [o for o in batch.operations if isinstance(o, Delete)]
        gone = [
            row
            for o in deleted
            if "name" in o.kind.domains
            for row in self.inner.get_many(o.kind, [o.id], batch.tenant).values()
        ]
        super().apply(batch)
        self._held |= {(row.table, row.stored("name")) for row in gone}


@breaks("BAT-1")
class KeysAreOfAllTenants(Faulty):
    """A key that another tenant has is taken."""

    def apply(self, batch: Batch) -> None:
        for row in inserted(batch):
            if "name" in row.domains:
                others = self.inner.select(Query(type(row), None, In("name", [row.stored("name")])))
                if any(other.tenant_id != batch.tenant for other in others):
                    raise Duplicate(row.table, ("name",))
        super().apply(batch)


@breaks("BAT-1")
class StoresWhatAnotherTenantsIdRefuses(Faulty):
    """A row whose id another tenant has is stored under a new one, and refused all the same."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate:
            for row in inserted(batch):
                if row.id in self.inner.get_many(type(row), [row.id], None):
                    self._store(row)
            raise

    def _store(self, row: Record) -> None:
        (id,) = self.inner.reserve({type(row): 1})[type(row)]
        super().apply(Batch(row.tenant_id, [Insert(row.replaced({"id": id}))]))


@breaks("DEL-6")
class LeavesAStateBehind(Faulty):
    """Where documents are removed, bookkeeping is written that nobody asked for."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        if any(isinstance(o, Delete) and o.kind is Document for o in batch.operations):
            (id,) = self.inner.reserve({RetentionState: 1})[RetentionState]
            with suppress(Duplicate):
                super().apply(
                    Batch("elsewhere", [Insert(RetentionState(id=id, tenant_id="elsewhere"))])
                )


@breaks("VAL-2", over=("memory", "sqlite"))
class KeysIgnoreCase(Faulty):
    """Names that differ in case only are one key."""

    def apply(self, batch: Batch) -> None:
        for kind in {type(row) for row in inserted(batch) if "name" in row.domains}:
            names = [row.stored("name").lower() for row in inserted(batch) if type(row) is kind]
            there = [row.stored("name").lower() for row in rows_of(self.inner, kind, batch.tenant)]
            if len(set(names)) < len(names) or set(names) & set(there):
                raise Duplicate(kind.table, ("name",))
        super().apply(batch)


@breaks("BAT-5")
class KeysIgnoreTheirCondition(Faulty):
    """A key holds for rows outside its condition too: a chain has one row that is no head."""

    def apply(self, batch: Batch) -> None:
        for row in inserted(batch):
            if "root_id" in row.domains and not getattr(row, "is_latest", True):
                same = Query(type(row), batch.tenant, In("root_id", [row.stored("root_id")]))
                if any(not other.is_latest for other in self.inner.select(same)):
                    raise Duplicate(row.table, ("root_id",))
        super().apply(batch)


@breaks("BAT-5")
class NullIsAKey(Faulty):
    """NULL among the fields of a key is a value like any other."""

    def apply(self, batch: Batch) -> None:
        for row in inserted(batch):
            if "text_claim" in row.domains and row.stored("text_claim") is None:
                same = Query(type(row), batch.tenant, In("text_claim", [None]))
                if self.inner.exists(same):
                    raise Duplicate(row.table, ("client_id", "text_claim"))
        super().apply(batch)


@breaks("BAT-5")
class UpdatesMayTakeAKey(Faulty):
    """A key that an update takes is not looked at; the update is lost in silence."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate:
            if not all(isinstance(o, Update) for o in batch.operations):
                raise


class Orphaning(Faulty):
    """Overlooks references that do not hold."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except BrokenReference:
            if not self.overlooks(batch):
                raise

    def overlooks(self, batch: Batch) -> bool:
        """Whether the fault lets this batch pass."""
        raise NotImplementedError


@breaks("BAT-5", over=("memory", "sqlite"))
class EnforcesNoReference(Orphaning):
    """A new row may refer to nothing."""

    def overlooks(self, batch: Batch) -> bool:
        return any(True for _ in inserted(batch))


@breaks("BAT-5", over=("memory", "sqlite"))
class DeletesLeaveOrphans(Orphaning):
    """A row that others refer to may be deleted."""

    def overlooks(self, batch: Batch) -> bool:
        return all(isinstance(o, Delete) for o in batch.operations)


@breaks("BAT-5")
class UpdatesMayBreakReferences(Orphaning):
    """An update may refer to nothing."""

    def overlooks(self, batch: Batch) -> bool:
        return all(isinstance(o, Update) for o in batch.operations)


@breaks("BAT-5", over=("memory", "sqlite"))
class DeletesCascade(Faulty):
    """A delete takes the rows along that refer to the deleted one."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except BrokenReference:
            children = [
                Delete(kind, row.id)
                for operation in batch.operations
                if isinstance(operation, Delete)
                for kind in KINDS.values()
                for reference in kind.references
                if reference.kind is operation.kind
                for row in self.inner.select(
                    Query(kind, batch.tenant, In(reference.field, [operation.id]))
                )
            ]
            named = {(o.kind, o.id) for o in batch.operations}
            fresh = {(c.kind, c.id): c for c in children if (c.kind, c.id) not in named}
            if not fresh:
                raise
            super().apply(Batch(batch.tenant, [*batch.operations, *fresh.values()]))


# Ids.


@breaks("BAT-8", over=("memory", "sqlite"))
class LeasesPerHandle(Faulty):
    """Each handle counts for itself: two clients get the same ids."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._next: dict[Kind, int] = {}

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = {}
        for kind, count in counts.items():
            first = self._next.get(kind, 1)
            leased[kind] = range(first, first + count)
            self._next[kind] = first + count
        return leased


@breaks("BAT-8", over=("memory", "sqlite"))
class ReusesIdsOfDeletedRows(Faulty):
    """Ids begin above the rows that are there now."""

    _given: dict[Kind, int] = {}  # noqa: RUF012 - one for all handles

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = {}
        for kind, count in counts.items():
            top = max((row.id for row in rows_of(self.inner, kind)), default=0)
            given = self._given.get(kind, 0) if top else 0
            first = max(top, given) + 1
            self._given[kind] = first + count - 1
            leased[kind] = range(first, first + count)
        return leased


@breaks("BAT-8", over=("sqlite",))
class ForgetsLeasesOnClose(Faulty):
    """Leases that were not used are given again after the store was opened anew."""

    _given: dict[Kind, int] = {}  # noqa: RUF012 - one for all handles
    _handles = 0

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        type(self)._handles += 1

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = {}
        for kind, count in counts.items():
            top = max((row.id for row in rows_of(self.inner, kind)), default=0)
            first = max(top, self._given.get(kind, 0)) + 1
            self._given[kind] = first + count - 1
            leased[kind] = range(first, first + count)
        return leased

    def close(self) -> None:
        super().close()
        type(self)._handles -= 1
        if not self._handles:
            self._given.clear()


@breaks("BAT-8")
class LeasesOneLess(Faulty):
    """A lease of several kinds gives one id less of the first kind."""

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = super().reserve(counts)
        kind = next(iter(leased))
        return {**leased, kind: leased[kind][:-1]} if len(leased[kind]) > 2 else leased


@breaks("BAT-8", over=("memory", "sqlite"))
class LeasesAreRacy(Faulty):
    """Two threads that lease at once may get the same ids."""

    _next: dict[Kind, int] = {}  # noqa: RUF012 - one for all handles

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        import time

        first = {kind: self._next.get(kind, 10_000) for kind in counts}
        time.sleep(0.0005)
        leased = {kind: range(first[kind], first[kind] + count) for kind, count in counts.items()}
        self._next.update({kind: ids.stop for kind, ids in leased.items()})
        return leased


@breaks("BAT-8")
class LeasesShareOneCounter(Faulty):
    """After a refused batch the ids that it named are given again."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._again: dict[Kind, list[int]] = {}

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except (Conflict, StorageError):
            for row in inserted(batch):
                self._again.setdefault(type(row), []).append(row.id)
            raise

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = super().reserve(counts)
        for kind, count in counts.items():
            again = self._again.get(kind)
            if count == 1 and again:
                leased[kind] = range(again[-1], again.pop() + 1)
        return leased
