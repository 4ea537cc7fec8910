"""Backends between a session and the store: one that records, one that loses its connection."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from loki_storage.batch import Batch
from loki_storage.errors import ConnectionLost
from loki_storage.models import Kind
from loki_storage.protocol import Backend
from loki_storage.query import Query

__all__ = ["FailsOnce", "Fault", "Proxy", "Recorder", "Unreliable"]


class Proxy(Backend):
    """Passes everything on; derived methods are the defaults, built on these four."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        return self.inner.reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        return self.inner.select(query)

    def apply(self, batch: Batch) -> None:
        self.inner.apply(batch)

    def close(self) -> None:
        """The store's owner closes it."""


class Recorder(Proxy):
    """Notes which calls are made, the queries and the batches."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.calls: list[str] = []
        self.queries: list[Query] = []
        self.batches: list[Batch] = []

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        self.calls.append("reserve")
        return super().reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        self.calls.append("select")
        self.queries.append(query)
        return super().select(query)

    def apply(self, batch: Batch) -> None:
        self.calls.append("apply")
        self.batches.append(batch)
        super().apply(batch)


T = TypeVar("T")
Fault = Literal["before", "after"]
"""Where the connection is lost: before the batch reaches the store, or after it was applied."""


class Unreliable(Proxy):
    """Loses the connection in those calls of ``apply`` and of ``select`` that come first.

    ``between`` is called after each lost ``apply``: what others do meanwhile.
    """

    def __init__(
        self,
        inner: Backend,
        applies: Iterable[Fault | None] = (),
        selects: Iterable[bool] = (),
        between: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(inner)
        self._applies, self._between = iter(applies), between
        self._selects = iter(selects)
        self.attempts = 0

    def select(self, query: Query) -> Iterator[Any]:
        if self.attempts and next(self._selects, False):
            raise ConnectionLost("lost while reading")
        return super().select(query)

    def apply(self, batch: Batch) -> None:
        self.attempts += 1
        fault = next(self._applies, None)
        if fault != "before":
            super().apply(batch)
        if fault is not None:
            self._between()
            raise ConnectionLost("lost while writing")


class FailsOnce(Proxy):
    """Loses the connection in one of its calls, counted from 0; before the call, or after it."""

    def __init__(self, inner: Backend, place: int, *, after: bool) -> None:
        super().__init__(inner)
        self._place, self._after = place, after
        self.calls = 0

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        return self._once(lambda: super(FailsOnce, self).reserve(counts))

    def select(self, query: Query) -> Iterator[Any]:
        return self._once(lambda: super(FailsOnce, self).select(query))

    def apply(self, batch: Batch) -> None:
        self._once(lambda: super(FailsOnce, self).apply(batch))

    def _once(self, call: Callable[[], T]) -> T:
        fails = self.calls == self._place
        self.calls += 1
        if fails and not self._after:
            raise ConnectionLost("lost before the call")
        result = call()
        if fails:
            raise ConnectionLost("lost after the call")
        return result
