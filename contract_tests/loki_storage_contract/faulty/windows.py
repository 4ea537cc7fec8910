"""Faults of reads: order, limits, cursors and streams."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from loki_storage.errors import PoolExhausted
from loki_storage.models import Record
from loki_storage.protocol import Backend
from loki_storage.query import Order, Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks

__all__: list[str] = []

Key = Callable[[Any], Any]


class Ordering(Faulty):
    """Puts rows into an order of its own, where a query gives one and no cursor."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        """The rows by the first key of the order."""
        raise NotImplementedError

    def select(self, query: Query) -> Iterator[Any]:
        if not query.order or query.after is not None:
            return super().select(query)
        rows = self.ordered(list(super().select(query.whole())), query.order[0])
        end = None if query.limit is None else query.offset + query.limit
        return iter(rows[query.offset : end])


def by_text(rows: list[Record], order: Order, key: Callable[[str], Any]) -> list[Record]:
    """Strings by a key of their own, NULLs last; other values stay as they were."""
    present = [row for row in rows if isinstance(getattr(row, order.field), str)]
    if any(type(getattr(row, order.field)) is not str for row in present):
        return rows
    others = [row for row in rows if getattr(row, order.field) is None]
    if len(present) + len(others) < len(rows):
        return rows
    present.sort(key=lambda row: key(getattr(row, order.field)), reverse=order.descending)
    return [*present, *others]


@breaks("QRY-1", over=("memory", "sqlite"))
class NoTieBreak(Ordering):
    """Rows with equal keys come in any order."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        runs: dict[Any, list[Record]] = {}
        for row in rows:
            runs.setdefault(row.stored(order.field), []).append(row)
        return [row for run in runs.values() for row in reversed(run)]


@breaks("QRY-1")
class TiesAlwaysAscend(Ordering):
    """The last key, ``id``, ascends whatever the direction of the first one."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        runs: dict[Any, list[Record]] = {}
        for row in rows:
            runs.setdefault(row.stored(order.field), []).append(row)
        return [row for run in runs.values() for row in sorted(run, key=lambda row: row.id)]


@breaks("QRY-1", over=("memory", "sqlite"))
class NullsComeFirst(Ordering):
    """NULLs come first."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        return sorted(rows, key=lambda row: getattr(row, order.field) is not None)


@breaks("QRY-1")
class NullsComeFirstDescending(Ordering):
    """NULLs are the greatest values: last ascending, first descending."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        if not order.descending:
            return rows
        return sorted(rows, key=lambda row: getattr(row, order.field) is not None)


@breaks("QRY-1", over=("memory", "sqlite"))
class OrdersByCaseFolded(Ordering):
    """Strings are ordered without regard to case."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        return by_text(rows, order, str.casefold)


@breaks("QRY-1")
class OrdersByLocale(Ordering):
    """Strings are ordered as people would: case and accents come second."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        import unicodedata

        def key(text: str) -> tuple[str, str]:
            return unicodedata.normalize("NFD", text).casefold(), text.swapcase()

        return by_text(rows, order, key)


@breaks("QRY-1")
class OrdersByUtf16(Ordering):
    """Strings are ordered by UTF-16 units: what is beyond the BMP comes before U+E000."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        return by_text(rows, order, lambda text: text.encode("utf-16-be"))


@breaks("QRY-1", over=("memory", "sqlite"))
class OrdersSeverityByAlphabet(Ordering):
    """Severities are ordered as words."""

    def ordered(self, rows: list[Record], order: Order) -> list[Record]:
        if order.field not in ("severity", "overall_risk"):
            return rows
        present = [row for row in rows if getattr(row, order.field) is not None]
        present.sort(key=lambda row: str(getattr(row, order.field).value), reverse=order.descending)
        return [*present, *(row for row in rows if getattr(row, order.field) is None)]


@breaks("QRY-1")
class IgnoresTheSecondKey(Faulty):
    """Only the first key of an order counts."""

    def select(self, query: Query) -> Iterator[Any]:
        if query.after is not None:
            return super().select(query)
        return super().select(query.evolve(order=query.order[:1]))


@breaks("QRY-3", over=("memory", "sqlite"))
class LimitZeroMeansNone(Faulty):
    """``limit(0)`` returns all rows."""

    def select(self, query: Query) -> Iterator[Any]:
        return super().select(query if query.limit else query.evolve(limit=None))


@breaks("QRY-5", over=("memory", "sqlite"))
class LimitsBeforeItFilters(Faulty):
    """The limit is taken of all rows, the condition of what is left."""

    def select(self, query: Query) -> Iterator[Any]:
        matching = {row.id for row in super().select(query.whole())}
        everything = query.evolve(where=Query(query.kind, query.tenant).where)
        return (row for row in super().select(everything) if row.id in matching)


@breaks("QRY-7")
class OffsetCountsFromOne(Faulty):
    """An offset skips one row less."""

    def select(self, query: Query) -> Iterator[Any]:
        return super().select(query.evolve(offset=max(0, query.offset - 1)))


@breaks("QRY-7", over=("memory", "sqlite"))
class CursorComparesOneKey(Faulty):
    """A cursor goes on behind its first key: rows that share it are lost."""

    def select(self, query: Query) -> Iterator[Any]:
        found = super().select(query)
        if query.after is None:
            return found
        field, value = query.total_order[0].field, query.after[0]
        return (row for row in found if getattr(row, field) != value)


@breaks("QRY-7")
class CursorRepeatsItsRow(Faulty):
    """The page behind a cursor begins with the row that the cursor names."""

    def select(self, query: Query) -> Iterator[Any]:
        if query.after is None or not query.limit:
            return super().select(query)
        whole = list(self.inner.select(query.evolve(after=None, limit=None, offset=0)))
        behind = len(list(self.inner.select(query.evolve(limit=None, offset=0))))
        start = max(0, len(whole) - behind - 1) + query.offset
        return iter(whole[start : start + query.limit])


@breaks("QRY-7", over=("memory", "sqlite"))
class LastPageIsMissing(Faulty):
    """A stream by pages ends before a page that is not full."""

    def select(self, query: Query) -> Iterator[Any]:
        found = list(super().select(query))
        short = query.after is not None and len(found) < (query.limit or 0)
        return iter(found[:-1] if short else found)


@breaks("QRY-7")
class CutsAtAThousand(Faulty):
    """No answer has more than a thousand rows."""

    def select(self, query: Query) -> Iterator[Any]:
        return islice(super().select(query), 1000)


@breaks("BAT-7", over=("memory", "sqlite"))
class ReadsInPages(Faulty):
    """A stream reads page after page, each as it is then."""

    def select(self, query: Query) -> Iterator[Any]:
        offset = query.offset
        while page := list(super().select(query.evolve(limit=50, offset=offset))):
            yield from page
            offset += 50


@breaks("BAT-7", over=("memory", "sqlite"))
class TakesTheMomentEarly(Faulty):
    """The moment of a stream is that of the call, not of its first record."""

    def select(self, query: Query) -> Iterator[Any]:
        return iter(list(super().select(query)))


@breaks("BAT-7")
class OneStreamAtATime(Faulty):
    """A second stream ends the first one, as one cursor for all of them would."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._turn = 0

    def select(self, query: Query) -> Iterator[Any]:
        found = super().select(query)
        self._turn += 1
        turn = self._turn
        for record in found:
            if self._turn != turn:
                return
            yield record


@breaks("BAT-7")
class StreamsLeak(Faulty):
    """A stream that is closed early gives nothing back, and there are thirty."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._left = 30

    def select(self, query: Query) -> Iterator[Any]:
        if not self._left:
            raise PoolExhausted("no connection is free")
        self._left -= 1
        yield from super().select(query)
        self._left += 1


@breaks("QRY-3")
class LoopsAtLimitZero(Faulty):
    """``limit(0)`` is looked for in a loop that has no end."""

    def select(self, query: Query) -> Iterator[Any]:
        while query.limit == 0:
            pass
        return super().select(query)
