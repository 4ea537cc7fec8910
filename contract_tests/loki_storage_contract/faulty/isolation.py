"""Faults of isolation and durability: what others see, and what is left after the end."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.errors import Conflict, StaleWrite, Unavailable
from loki_storage.models import Kind, Record
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks
from loki_storage_contract.faulty.guards import holds_now, without_guard

__all__: list[str] = []


def pause() -> None:
    """Let others come in between."""
    time.sleep(0.001)


@breaks("BAT-6", over=("memory", "sqlite"))
class ChecksGuardsOutsideTheTransaction(Faulty):
    """Guards are looked at before the transaction begins."""

    def apply(self, batch: Batch) -> None:
        holds_now(self.inner, batch)
        pause()
        super().apply(attrs.evolve(batch, operations=map(without_guard, batch.operations)))


@breaks("BAT-6")
class ChecksRequireOutsideTheTransaction(Faulty):
    """What a batch requires of other rows is looked at before the transaction begins."""

    def apply(self, batch: Batch) -> None:
        required = [o for o in batch.operations if isinstance(o, Require)]
        if required:
            holds_now(self.inner, Batch(batch.tenant, required))
            pause()
        others = [o for o in batch.operations if not isinstance(o, Require)]
        super().apply(Batch(batch.tenant, others))


@breaks("BAT-6", over=("memory", "sqlite"))
class WritesWholeRows(Faulty):
    """An update reads its row, changes it, and writes all of it back: others' changes are lost."""

    def apply(self, batch: Batch) -> None:
        whole = [self._whole(batch.tenant, operation) for operation in batch.operations]
        pause()
        super().apply(Batch(batch.tenant, whole))

    def _whole(self, tenant: str, operation: Operation) -> Operation:
        if not isinstance(operation, Update):
            return operation
        row = self.inner.get_many(operation.kind, [operation.id], tenant).get(operation.id)
        if row is None:
            return operation
        held = {f: row.stored(f) for f in row.domains if f not in ("id", "tenant_id")}
        return attrs.evolve(operation, changes={**held, **operation.changes})


@breaks("TXN-2", over=("memory", "sqlite"))
class ShowsHalfABatch(Faulty):
    """A batch becomes visible operation by operation."""

    def apply(self, batch: Batch) -> None:
        if len(batch.operations) == 2 and all(isinstance(op, Update) for op in batch.operations):
            for operation in batch.operations:
                super().apply(Batch(batch.tenant, [operation]))
                pause()
        else:
            super().apply(batch)


@breaks("TXN-2", over=("memory", "sqlite"))
class ShowsWhatIsRefused(Faulty):
    """New rows of a batch can be read for a moment, also where it is refused in the end."""

    def apply(self, batch: Batch) -> None:
        inserts = [o for o in batch.operations if isinstance(o, Insert)]
        if len(inserts) == len(batch.operations):
            super().apply(batch)
            return
        try:
            super().apply(batch)
        except Conflict:
            self._flash(batch, inserts)
            raise

    def _flash(self, batch: Batch, inserts: list[Insert]) -> None:
        try:
            self.inner.apply(Batch(batch.tenant, inserts))
        except Conflict:
            return
        pause()
        self.inner.apply(Batch(batch.tenant, [Delete(o.kind, o.id) for o in inserts]))


@breaks("TXN-2")
class SeesItsOwnWritesLate(Faulty):
    """A handle shows for a moment what was there before its last write."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._stale: dict[tuple[Kind, int], Record] = {}

    def apply(self, batch: Batch) -> None:
        updates = [o for o in batch.operations if isinstance(o, Update)]
        before = {
            (o.kind, o.id): row
            for o in updates
            for row in self.inner.get_many(o.kind, [o.id], batch.tenant).values()
        }
        super().apply(batch)
        self._stale = before

    def select(self, query: Query) -> Iterator[Any]:
        stale, self._stale = self._stale, {}
        for row in super().select(query):
            yield stale.get((type(row), row.id), row)


class Buffering(Faulty):
    """Keeps batches back for a while, and shows them as if they were stored."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._held: list[Batch] = []

    def flush(self) -> None:
        """Store what was kept back."""
        held, self._held = self._held, []
        for batch in held:
            self.inner.apply(batch)

    def select(self, query: Query) -> Iterator[Any]:
        def found() -> Iterator[Any]:
            self.flush()
            yield from self.inner.select(query)

        return found()

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        return super().reserve(counts)


@breaks("TXN-6", over=("sqlite",))
class LosesOnClose(Buffering):
    """What was written last is lost when the store is closed, without an error."""

    def apply(self, batch: Batch) -> None:
        self.flush()
        if all(isinstance(operation, Insert) for operation in batch.operations):
            self._held.append(batch)
        else:
            self.inner.apply(batch)


@breaks("TXN-6", over=("sqlite",))
class AcknowledgesBeforeItIsDurable(Buffering):
    """A batch is kept in the process for a while after it was acknowledged."""

    def apply(self, batch: Batch) -> None:
        self.flush()
        if all(isinstance(operation, Insert) for operation in batch.operations):
            self._held.append(batch)
        else:
            self.inner.apply(batch)

    def close(self) -> None:
        self.flush()
        super().close()


@breaks("TXN-1", over=("sqlite",))
class CommitsInTwoSteps(Faulty):
    """A batch is two commits: a process that is killed in between leaves half of it."""

    def apply(self, batch: Batch) -> None:
        inserts = [o for o in batch.operations if isinstance(o, Insert)]
        if len(inserts) < len(batch.operations) or len(inserts) < 2:
            super().apply(batch)
            return
        for part in _halves(inserts):
            super().apply(Batch(batch.tenant, part))
            time.sleep(0.005)


def _halves(inserts: list[Insert]) -> tuple[list[Insert], list[Insert]]:
    return inserts[: len(inserts) // 2], inserts[len(inserts) // 2 :]


@breaks("TXN-1", over=("memory", "sqlite"))
class LeavesHalfAfterAnError(Faulty):
    """Where a batch is refused, those of its operations that would do alone are done."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Conflict:
            for operation in batch.operations:
                if isinstance(operation, Insert):
                    self._try(batch, operation)
            raise

    def _try(self, batch: Batch, operation: Insert) -> None:
        try:
            self.inner.apply(Batch(batch.tenant, [operation]))
        except Conflict:
            return


@breaks("BAT-9", over=("memory", "sqlite"))
class AnswersWhenClosed(Faulty):
    """A closed handle goes on answering."""

    def close(self) -> None:
        pass


@breaks("BAT-9")
class ClosesOnlyOnce(Faulty):
    """A second ``close`` is an error."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._closed = False

    def close(self) -> None:
        if self._closed:
            raise Unavailable("closed already")
        self._closed = True
        super().close()


@breaks("BAT-9")
class ClosesTheOthersToo(Faulty):
    """Closing one handle closes all of them."""

    _all: list["ClosesTheOthersToo"] = []  # noqa: RUF012 - one for all handles

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._all.append(self)

    def close(self) -> None:
        for other in self._all:
            other.inner.close()


@breaks("BAT-9")
class StaleAnswerWhenClosed(Faulty):
    """An empty batch on a closed handle is no error."""

    def apply(self, batch: Batch) -> None:
        if batch.operations:
            super().apply(batch)


@breaks("BAT-6", over=("sqlite",))
class RetriesWithoutTheGuard(Faulty):
    """A batch that lost a race is applied again without its guards."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite:
            there = [o for o in batch.operations if not isinstance(o, Insert)]
            if len(there) != 1 or not isinstance(there[0], Update):
                raise
            super().apply(Batch(batch.tenant, map(without_guard, batch.operations)))
