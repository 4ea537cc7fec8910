"""How long the store takes: each query and commit at DEBUG, slow ones as warnings, without values.

Logger ``loki_storage.queries``. What is told is the question's shape (``explaining.in_words``),
the number of records and the time that the store took, not the consumer's. The store is observed
where sessions meet it, so that every backend is, whatever lies below.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from math import inf
from time import perf_counter
from typing import Any, TypeVar

from loki_storage.batch import Batch
from loki_storage.explaining import in_words
from loki_storage.models import Kind, Record
from loki_storage.protocol import Backend, Count, Day, Group, Measure
from loki_storage.query import Query

__all__ = ["Observed"]

LOGGER = logging.getLogger("loki_storage.queries")
logging.getLogger("loki_storage").addHandler(logging.NullHandler())  # the host decides

TIMED = 100
"""Records of a stream whose time is taken; at DEBUG that of all. A list is seldom longer."""
_END = object()
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Observed(Backend):
    """A backend whose calls are timed. Every method is passed on, so capabilities stay."""

    def __init__(self, backend: Backend, slow: float) -> None:
        """``slow``: seconds from which on a call is told of as a warning; 0: never."""
        self._backend, self._slow = backend, slow or inf

    # What is timed.

    def select(self, query: Query) -> Iterator[Any]:
        return self._streamed(self._backend.select(query), "select", query)

    def search(self, query: Query) -> Iterator[Any]:
        return self._streamed(self._backend.search(query), "search", query)

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return self._streamed(self._backend.rows(query, fields), "rows", query)

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        began = perf_counter()
        found = self._backend.get_many(kind, ids, tenant)
        self._note(perf_counter() - began, lambda: f"get {kind.table} by id: {_records(found)}")
        return found

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        began = perf_counter()
        found = self._backend.select_many(queries)
        took = perf_counter() - began
        self._note(took, lambda: f"select {' + '.join(map(in_words, queries))}")
        return found

    def count(self, query: Query) -> int:
        return self._timed(lambda: self._backend.count(query), "count", query)

    def exists(self, query: Query) -> bool:
        return self._timed(lambda: self._backend.exists(query), "exists", query)

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        return self._timed(lambda: self._backend.aggregate(query, by, measures), "aggregate", query)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        began = perf_counter()
        leased = self._backend.reserve(counts)
        self._note(perf_counter() - began, lambda: f"reserve ids of {len(counts)} kinds")
        return leased

    def apply(self, batch: Batch) -> None:
        began = perf_counter()
        self._backend.apply(batch)
        self._note(perf_counter() - began, lambda: _batch(batch))

    def close(self) -> None:
        self._backend.close()

    # Inside.

    def _timed(self, call: Callable[[], T], verb: str, query: Query) -> T:
        began = perf_counter()
        found = call()
        self._note(perf_counter() - began, lambda: f"{verb} {in_words(query)}")
        return found

    def _streamed(self, found: Iterator[Any], verb: str, query: Query) -> Iterator[Any]:
        """Takes the time between asking for a record and having it."""
        took, count = 0.0, 0
        most = inf if LOGGER.isEnabledFor(logging.DEBUG) else TIMED
        try:
            while count < most:
                began = perf_counter()
                record = next(found, _END)
                took += perf_counter() - began
                if record is _END:
                    return
                count += 1
                yield record
            yield from found
        finally:
            close = getattr(found, "close", None)
            if close is not None:
                close()
            self._note(took, lambda: f"{verb} {in_words(query)}: {_at_least(count, most)}")

    def _note(self, seconds: float, words: Callable[[], str]) -> None:
        if seconds >= self._slow:
            LOGGER.warning("slow (%.1f ms): %s", 1000 * seconds, words())
        elif LOGGER.isEnabledFor(logging.DEBUG):
            LOGGER.debug("%.3f ms: %s", 1000 * seconds, words())


def _passed_on(name: str) -> Callable[..., Any]:
    def call(self: Observed, *arguments: Any, **named: Any) -> Any:
        return getattr(self._backend, name)(*arguments, **named)

    return wraps(getattr(Backend, name))(call)


for _name in {name for name in dir(Backend) if not name.startswith("_")} - vars(Observed).keys():
    setattr(Observed, _name, _passed_on(_name))  # else it would be the default, slow or unsupported


def _records(found: Mapping[int, object]) -> str:
    return f"{len(found)} records"


def _at_least(count: int, most: float) -> str:
    return f"{count} records" if count < most else f"{count} records and more"


def _batch(batch: Batch) -> str:
    """How many operations on which tables; what goes as columns stays columns."""
    counts = Counter({f"insert {kind.table}": len(rows) for kind, rows in batch.inserts.items()})
    counts.update({f"delete {kind.table}": len(ids) for kind, ids in batch.removals.items()})
    counts.update(f"{type(each).__name__.lower()} {each.kind.table}" for each in batch.singles)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"commit {told}"
