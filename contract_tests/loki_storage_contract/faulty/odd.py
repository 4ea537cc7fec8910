"""Odd but correct backends: they must pass, or the kit asks for more than the laws."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from loki_storage.batch import Batch
from loki_storage.memory import MemoryBackend
from loki_storage.models import Kind
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract.faulty.catalogue import Faulty
from loki_storage_contract.target import BackendTarget, empty

__all__ = ["ODD", "DistantIds", "ReversePhysicalOrder", "Slow", "odd_target"]


class ReversePhysicalOrder(Faulty):
    """Holds rows in reverse: wherever the laws leave the order open, it is another one."""

    def apply(self, batch: Batch) -> None:
        super().apply(Batch(batch.tenant, reversed(batch.operations)))

    def get_many(self, kind: Any, ids: Any, tenant: str | None) -> dict[int, Any]:
        return dict(reversed(super().get_many(kind, ids, tenant).items()))


class Slow(Faulty):
    """Takes its time over every tenth call and every tenth record."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._calls = 0

    def _wait(self) -> None:
        self._calls += 1
        if self._calls % 10 == 0:
            time.sleep(0.0005)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        self._wait()
        return super().reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        for record in super().select(query):
            self._wait()
            yield record

    def apply(self, batch: Batch) -> None:
        self._wait()
        super().apply(batch)


class DistantIds(Faulty):
    """Ids begin at 10**12 and have gaps."""

    FIRST, GAP = 10**12, 7

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = super().reserve({kind: count + self.GAP for kind, count in counts.items()})
        return {kind: self._shifted(ids) for kind, ids in leased.items()}

    def _shifted(self, ids: range) -> range:
        return range(self.FIRST + ids.start, self.FIRST + ids.stop - self.GAP)


ODD: dict[str, type[Faulty]] = {
    odd.__name__: odd for odd in (ReversePhysicalOrder, Slow, DistantIds)
}
"""By name."""


def odd_target(name: str) -> BackendTarget:
    """One of them over memory; ``KeyError`` for an unknown name."""
    open: Callable[[], Backend] = partial(_open, ODD[name])
    return BackendTarget(name, open, reset=_empty_inner)


def _open(odd: type[Faulty]) -> Backend:
    return odd(MemoryBackend(f"odd-{odd.__name__}"))


def _empty_inner(backend: Backend) -> None:
    assert isinstance(backend, Faulty)
    empty(backend.inner)
