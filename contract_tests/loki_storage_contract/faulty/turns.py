"""Faults of turns: queues that are more than an offer."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

from loki_storage.batch import Batch
from loki_storage.deadline import time_left
from loki_storage.errors import LockTimeout
from loki_storage.matching import evaluate
from loki_storage.models import Kind, Record
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks

__all__: list[str] = []


class Queueing(Faulty):
    """Has turns, of threads of this process: a sound base for faults."""

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        lock = _QUEUES[self.key(tenant, kind, id)]
        taken = lock.acquire(timeout=self.patience())
        try:
            yield
        finally:
            if taken:
                lock.release()

    def key(self, tenant: str, kind: Kind, id: int) -> object:
        """Who has the same key waits."""
        return tenant, kind, id

    def patience(self) -> float:
        """Seconds that one waits."""
        left = time_left()
        return 2.0 if left is None else left


_QUEUES: defaultdict[object, RLock] = defaultdict(RLock)


@breaks("ACC-12")
class HasOneQueue(Queueing):
    """Turns of different rows are one."""

    def key(self, tenant: str, kind: Kind, id: int) -> object:
        return ()

    def patience(self) -> float:
        return 3600.0


@breaks("ACC-12")
class HasQueuesOfAllTenants(Queueing):
    """Turns of two tenants meet."""

    def key(self, tenant: str, kind: Kind, id: int) -> object:
        return kind, id

    def patience(self) -> float:
        return 3600.0


@breaks("ACC-12")
class WaitsBeyondTheDeadline(Queueing):
    """Who waits for a turn waits until it comes."""

    def patience(self) -> float:
        return 3600.0


@breaks("ACC-12")
class RefusesTurnsThatAreTaken(Faulty):
    """Who cannot have a turn gets an error."""

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        if not _QUEUES[tenant, kind, id].acquire(blocking=False):
            raise LockTimeout("another has the turn; try again")
        try:
            yield
        finally:
            _QUEUES[tenant, kind, id].release()


@breaks("ACC-12")
class SwallowsErrorsInATurn(Queueing):
    """What is raised in a turn is not heard of outside."""

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        with super().turn(tenant, kind, id), suppress(ArithmeticError):
            yield


@breaks("ACC-12")
class KeepsTheTurnAfterAnError(Faulty):
    """A turn that ends by an error never ends for the others."""

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        lock = _QUEUES[tenant, kind, id]
        lock.acquire()
        yield
        lock.release()


@breaks("ACC-12")
class SeesOneMomentInATurn(Faulty):
    """Reads in a turn show the moment at which it began."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._rows: list[Record] | None = None

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        self._rows = [*self.inner.dump()]
        try:
            yield
        finally:
            self._rows = None

    def select(self, query: Query) -> Iterator[Any]:
        if self._rows is None:
            return super().select(query)
        rows = [row for row in self._rows if type(row) is query.kind]
        return iter(evaluate(query, rows, lambda condition: set()))


@breaks("ACC-12")
class LocksRowsInATurn(Faulty):
    """Nobody else writes while one has a turn."""

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        _HOLDERS.append(self)
        try:
            yield
        finally:
            _HOLDERS.remove(self)

    def apply(self, batch: Batch) -> None:
        if any(holder is not self for holder in _HOLDERS):
            raise LockTimeout("another has the turn; try again")
        super().apply(batch)


_HOLDERS: list[Backend] = []
