"""Clocks, tenants and failing backends that tests of sessions and rules share."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import attrs

from loki_storage import Batch, Storage
from loki_storage.errors import ConnectionLost, StorageError
from loki_storage.models import Kind, Record
from loki_storage.plugins import plugin_manager
from loki_storage.protocol import Backend
from loki_storage.query import Query

_TENANTS = count(1)


def new_tenant() -> str:
    """A tenant that nobody has used: what a fresh store would be, for less."""
    return f"tenant {next(_TENANTS)}"


@attrs.define
class Clock:
    """A clock that stands still until it is moved."""

    time: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **parts: float) -> datetime:
        self.time += timedelta(**parts)
        return self.time


CLOCK = Clock()
"""The clock of the shared stores. Tests move it forward only."""


@attrs.frozen
class Fault:
    """One call of ``apply`` fails with ``error``, before or after the batch was applied."""

    error: StorageError | None
    applied: bool = False
    meanwhile: Callable[[], object] = lambda: None
    """What others do just before the call."""


class Unsteady(Backend):
    """A backend that fails as told: ``faults`` are those of the next calls of ``apply``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.faults: deque[Fault] = deque()
        self.batches: list[Batch] = []
        self.unreadable = 0
        """How many reads to come fail."""
        self.calls = 0
        """How many calls came."""

    def fail(self, *faults: Fault) -> None:
        self.faults.extend(faults)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        self.calls += 1
        return self.backend.reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        self.calls += 1
        if self.unreadable:
            self.unreadable -= 1
            raise ConnectionLost("gone")
        return self.backend.select(query)

    def compact(self, kind: Kind, ids: Iterable[int], tenant: str) -> int | None:
        return self.backend.compact(kind, ids, tenant)

    def compactable(self, kind: Kind, ids: Iterable[int], tenant: str) -> set[int]:
        return self.backend.compactable(kind, ids, tenant)

    def apply(self, batch: Batch) -> None:
        self.calls += 1
        self.batches.append(batch)
        fault = self.faults.popleft() if self.faults else Fault(None)
        fault.meanwhile()
        if fault.error is None or fault.applied:
            self.backend.apply(batch)
        if fault.error is not None:
            raise fault.error

    def close(self) -> None:
        """The backend below belongs to somebody else."""


def unsteady(store: Storage, *plugins: object) -> tuple[Unsteady, Storage]:
    """The same store through a backend that can be told to fail, with hooks of these plugins."""
    manager = plugin_manager()
    for plugin in plugins:
        manager.register(plugin)
    backend = Unsteady(store.backend)
    return backend, Storage(backend, manager.hook, CLOCK)


def rows(source: Any, tenant: str, *kinds: Kind) -> list[Record]:
    """All rows of the kinds, as a storage's backend or a session sees them."""
    return [row for kind in kinds for row in source.select(Query(kind, tenant))]


def by_id(records: Iterable[Record]) -> dict[tuple[str, int], Record]:
    return {(record.table, record.id): record for record in records}
