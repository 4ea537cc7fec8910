"""Faults of writes: guards, tenants, errors, and what of a batch is done."""

import threading
from collections.abc import Iterable

import attrs

from loki_storage.batch import Batch, Delete, Insert, InsertMany, Operation, Require, Update
from loki_storage.errors import BrokenReference, Conflict, Duplicate, StaleWrite
from loki_storage.models import KINDS
from loki_storage.protocol import Backend
from loki_storage.query import Compare, In, Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks

__all__ = ["holds_now", "without_guard"]


def without_guard(operation: Operation) -> Operation:
    """The operation without what it asks of its row."""
    return operation if isinstance(operation, Insert) else attrs.evolve(operation, guard={})


def only(batch: Batch, operations: Iterable[Operation]) -> Batch:
    """A batch of the same tenant."""
    return Batch(batch.tenant, operations)


def holds_now(backend: Backend, batch: Batch) -> None:
    """``StaleWrite`` where a guard does not hold at this moment."""
    for operation in batch.operations:
        if isinstance(operation, Insert):
            continue
        found = backend.get_many(operation.kind, [operation.id], batch.tenant)
        row = found.get(operation.id)
        if row is None or any(row.stored(f) != v for f, v in operation.guard.items()):
            raise StaleWrite(operation.kind.table, operation.id)


@breaks("BAT-4", over=("memory", "sqlite"))
class IgnoresGuards(Faulty):
    """No guard is looked at."""

    def apply(self, batch: Batch) -> None:
        super().apply(only(batch, map(without_guard, batch.operations)))


@breaks("BAT-4", over=("memory", "sqlite"))
class IgnoresGuardsOfDeletes(Faulty):
    """The guard of a delete is not looked at."""

    def apply(self, batch: Batch) -> None:
        operations = batch.operations
        super().apply(
            only(batch, (without_guard(o) if isinstance(o, Delete) else o for o in operations))
        )


@breaks("BAT-4")
class IgnoresRequire(Faulty):
    """A ``Require`` is left out."""

    def apply(self, batch: Batch) -> None:
        super().apply(only(batch, (o for o in batch.operations if not isinstance(o, Require))))


@breaks("BAT-4")
class GuardsTheFirstFieldOnly(Faulty):
    """Of a guard's fields, the first one is compared."""

    def apply(self, batch: Batch) -> None:
        def first(operation: Operation) -> Operation:
            if isinstance(operation, Insert):
                return operation
            return attrs.evolve(operation, guard=dict(list(operation.guard.items())[:1]))

        super().apply(only(batch, map(first, batch.operations)))


@breaks("BAT-4", over=("memory", "sqlite"))
class GuardsOnNullHold(Faulty):
    """A guard that asks for NULL holds whatever is there, as ``field = NULL`` left out."""

    def apply(self, batch: Batch) -> None:
        def known(operation: Operation) -> Operation:
            if isinstance(operation, Insert):
                return operation
            guard = {f: value for f, value in operation.guard.items() if value is not None}
            return attrs.evolve(operation, guard=guard)

        super().apply(only(batch, map(known, batch.operations)))


@breaks("BAT-3")
class GuardsAfterItsOwnInserts(Faulty):
    """A guard sees what the same batch inserts."""

    def apply(self, batch: Batch) -> None:
        inserts = [o for o in batch.operations if isinstance(o, Insert)]
        others = [o for o in batch.operations if not isinstance(o, Insert)]
        if inserts and others:
            self.inner.apply(only(batch, inserts))
            try:
                self.inner.apply(only(batch, others))
            except Conflict:
                self.inner.apply(only(batch, (Delete(o.kind, o.id) for o in inserts)))
                raise
        else:
            super().apply(batch)


@breaks("BAT-4", over=("memory", "sqlite"))
class InsertsBeforeTheGuard(Faulty):
    """New rows are stored before a guard is looked at, and stay when it fails."""

    def apply(self, batch: Batch) -> None:
        inserts = [o for o in batch.operations if isinstance(o, Insert)]
        others = [o for o in batch.operations if not isinstance(o, Insert)]
        try:
            super().apply(batch)
        except StaleWrite:
            if inserts and others:
                self.inner.apply(only(batch, inserts))
            raise


@breaks("BAT-4", over=("memory", "sqlite"))
class UpdatesOfNothingSucceed(Faulty):
    """An update of no row is reported as done."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite:
            if not all(isinstance(operation, Update) for operation in batch.operations):
                raise


@breaks("BAT-4")
class DeletesOfNothingSucceed(Faulty):
    """A delete of no row is reported as done."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite as error:
            lost = [o for o in batch.operations if isinstance(o, Delete) and o.id == error.id]
            kind = KINDS[error.kind]
            if not lost or self.inner.get_many(kind, [error.id], batch.tenant):
                raise


@breaks("BAT-4")
class TellsTheDuplicateFirst(Faulty):
    """Where both fail, a taken key is told before a guard."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite:
            for operation in batch.operations:
                if isinstance(operation, Insert):
                    self._tell(batch, operation)
            raise

    def _tell(self, batch: Batch, operation: Insert) -> None:
        for unique in operation.kind.unique:
            key = unique.key(operation.record)
            conditions = (
                []
                if key is None
                else [Compare(f, "eq", v) for f, v in zip(unique.fields, key, strict=True)]
            )
            if conditions and self.inner.exists(
                Query(operation.kind, batch.tenant).narrow(*conditions)
            ):
                raise Duplicate(operation.kind.table, unique.fields)


@breaks("BAT-4")
class TellsTheReferenceFirst(Faulty):
    """Where both fail, a broken reference is told before a taken key."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate:
            inserted = {(o.kind, o.id) for o in batch.operations if isinstance(o, Insert)}
            for operation in batch.operations:
                if isinstance(operation, Insert):
                    self._tell(batch.tenant, operation, inserted)
            raise

    def _tell(self, tenant: str, operation: Insert, inserted: set[tuple[type, int]]) -> None:
        for reference in operation.kind.references:
            id = getattr(operation.record, reference.field)
            known = id is None or (reference.kind, id) in inserted
            if not known and not self.inner.get_many(reference.kind, [id], tenant):
                raise BrokenReference(operation.kind.table, reference.field)


@breaks("BAT-4", over=("memory", "sqlite"))
class TellsNoKind(Faulty):
    """An error does not say which row it is about."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite:
            raise StaleWrite("", 0) from None


@breaks("BAT-4")
class TellsTheValue(Faulty):
    """An error's message holds the value that is taken."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate as error:
            new = [o.record for o in batch.operations if isinstance(o, Insert)]
            names = [row.stored("name") for row in new if "name" in row.domains]
            raise _Telling(error, names) from None


class _Telling(Duplicate):
    def __init__(self, error: Duplicate, names: list[str]) -> None:
        super().__init__(error.kind, error.fields)
        self.names = names

    def __str__(self) -> str:
        return f"{super().__str__()}: {', '.join(self.names)}"


@breaks("BAT-4", over=("memory", "sqlite"))
class InsertsReplace(Faulty):
    """A new row takes the place of one that has its id."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate as error:
            if error.fields != ("id",):
                raise
            super().apply(only(batch, map(self._replacing, batch.operations)))

    def _replacing(self, operation: Operation) -> Operation:
        if not isinstance(operation, Insert):
            return operation
        row = operation.record
        values = {f: row.stored(f) for f in row.domains if f not in ("id", "tenant_id")}
        return Update(operation.kind, operation.id, values)


@breaks("BAT-2", over=("memory", "sqlite"))
class NamesRowsByIdAlone(Faulty):
    """Of two rows of a batch that have one id, in two kinds, the first is written."""

    def apply(self, batch: Batch) -> None:
        first: dict[int, Operation] = {}
        for operation in batch.operations:
            first.setdefault(operation.id, operation)
        super().apply(only(batch, first.values()))


@breaks("BAT-2")
class ColumnsLoseTheirLastRow(Faulty):
    """Of rows that come as columns, the last one is not written."""

    def apply(self, batch: Batch) -> None:
        lost = {
            (part.rows.kind, part.rows.ids[-1])
            for part in batch.parts
            if isinstance(part, InsertMany) and len(part.rows) > 1
        }
        kept = (o for o in batch.operations if (o.kind, o.id) not in lost)
        super().apply(only(batch, kept))


@breaks("BAT-4")
class GoesByTheManyUnasked(Faulty):
    """Of rows that go by the many, those that are not there are passed over."""

    def apply(self, batch: Batch) -> None:
        gone = {
            (kind, id)
            for kind, ids in batch.removals.items()
            for id in {*ids} - self.inner.get_many(kind, ids, batch.tenant).keys()
        }
        kept = (o for o in batch.operations if (o.kind, o.id) not in gone)
        super().apply(only(batch, kept))


@breaks("BAT-3", over=("memory", "sqlite"))
class SplitsTheBatch(Faulty):
    """Each operation is a batch of its own, in the order given."""

    def apply(self, batch: Batch) -> None:
        for operation in batch.operations:
            super().apply(only(batch, [operation]))


@breaks("BAT-3", over=("memory", "sqlite"))
class DropsTheLastOperation(Faulty):
    """The last operation of a longer batch is left out."""

    def apply(self, batch: Batch) -> None:
        long = len(batch.operations) > 2
        super().apply(only(batch, batch.operations[:-1] if long else batch.operations))


@breaks("BAT-3")
class DropsWhatIsBeyondAHundred(Faulty):
    """A batch has at most a hundred operations."""

    def apply(self, batch: Batch) -> None:
        super().apply(only(batch, batch.operations[:100]))


@breaks("BAT-3", over=("memory", "sqlite"))
class UpdatesTheNeighbour(Faulty):
    """An update touches the row with the next id too."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        for operation in batch.operations:
            if isinstance(operation, Update) and operation.changes:
                self._touch(batch, operation)

    def _touch(self, batch: Batch, operation: Update) -> None:
        import contextlib

        with contextlib.suppress(Conflict):
            self.inner.apply(
                only(batch, [Update(operation.kind, operation.id + 1, operation.changes)])
            )


@breaks("BAT-3")
class DeletesByPrefix(Faulty):
    """A delete takes all rows along whose id begins with the same digits."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        for operation in batch.operations:
            if isinstance(operation, Delete):
                rows = self.inner.select(Query(operation.kind, batch.tenant))
                same = [r for r in rows if str(r.id).startswith(str(operation.id))]
                self._delete(batch, [Delete(type(row), row.id) for row in same])

    def _delete(self, batch: Batch, deletes: list[Delete]) -> None:
        import contextlib

        for delete in deletes:
            with contextlib.suppress(Conflict):
                self.inner.apply(only(batch, [delete]))


@breaks("BAT-3")
class UpdatesWriteTheFirstFieldOnly(Faulty):
    """Of the fields that an update changes, ten are written at most."""

    def apply(self, batch: Batch) -> None:
        def cut(operation: Operation) -> Operation:
            if isinstance(operation, Update):
                return attrs.evolve(operation, changes=dict(list(operation.changes.items())[:1]))
            return operation

        super().apply(only(batch, map(cut, batch.operations)))


@breaks("BAT-3")
class UpdatesToNullAreSkipped(Faulty):
    """An update cannot set a field to NULL."""

    def apply(self, batch: Batch) -> None:
        def cut(operation: Operation) -> Operation:
            if isinstance(operation, Update):
                changes = {f: v for f, v in operation.changes.items() if v is not None}
                return attrs.evolve(operation, changes=changes)
            return operation

        super().apply(only(batch, map(cut, batch.operations)))


@breaks("BAT-1", over=("memory", "sqlite"))
class ActsInEveryTenant(Faulty):
    """An operation finds its row in any tenant."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite as error:
            kind = KINDS[error.kind]
            row = next(iter(self.inner.select(Query(kind, None, In("id", [error.id])))), None)
            if row is None or any(isinstance(o, Insert) for o in batch.operations):
                raise
            self.inner.apply(Batch(row.tenant_id, batch.operations))


@breaks("BAT-1")
class RefersAcrossTenants(Faulty):
    """A reference may name a row of another tenant."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except BrokenReference as error:
            if not any(self._foreign(o, error.field) for o in batch.operations):
                raise

    def _foreign(self, operation: Operation, field: str) -> bool:
        if not isinstance(operation, Insert):
            return False
        targets = [r for r in operation.kind.references if r.field == field]
        ids = [(r.kind, getattr(operation.record, field)) for r in targets]
        return any(id and self.inner.get_many(kind, [id], None) for kind, id in ids)


@breaks("BAT-4")
class IsStuckAfterARefusal(Faulty):
    """A batch that is refused never gives its lock back: the next one waits for ever."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()

    def apply(self, batch: Batch) -> None:
        self._lock.acquire()
        super().apply(batch)
        self._lock.release()
