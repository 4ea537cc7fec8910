"""Faults of derived methods: accelerators that drift from the default they replace."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from loki_storage.batch import Batch, Update
from loki_storage.lines import Blocks, Form
from loki_storage.models import Document, Kind, Record
from loki_storage.protocol import Backend, Count, CountDistinct, Day, Group, Measure, Reader
from loki_storage.query import And, Compare, Condition, Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks, rewritten

__all__: list[str] = []

R = TypeVar("R", bound=Record)


@breaks("QRY-8", over=("memory", "sqlite"))
class CountsThePage(Faulty):
    """``count`` is the length of the page that was asked for."""

    def count(self, query: Query) -> int:
        return sum(1 for _ in self.select(query))


@breaks("ACC-3", over=("memory", "sqlite"))
class CountsDeletedRows(Faulty):
    """``count`` counts soft-deleted rows."""

    def count(self, query: Query) -> int:
        def shown(condition: Condition) -> Condition:
            match condition:
                case Compare("is_deleted" | "deleted_at"):
                    return And(())
            return condition

        return super().count(rewritten(query, shown))


@breaks("ACC-3")
class CountsEveryTenant(Faulty):
    """``count`` counts the rows of all tenants."""

    def count(self, query: Query) -> int:
        return super().count(query.evolve(tenant=None))


@breaks("ACC-4")
class ExistsBehindTheOffset(Faulty):
    """``exists`` looks behind the offset only."""

    def exists(self, query: Query) -> bool:
        return any(True for _ in self.select(query))


@breaks("ACC-1", over=("memory", "sqlite"))
class GetsFromEveryTenant(Faulty):
    """``get_many`` gives the rows of any tenant."""

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        return super().get_many(kind, ids, None)


@breaks("ACC-1")
class GetsNoDeletedRows(Faulty):
    """``get_many`` leaves soft-deleted rows out."""

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        found = super().get_many(kind, ids, tenant)
        return {id: row for id, row in found.items() if not getattr(row, "is_deleted", False)}


@breaks("TXN-2", over=("memory", "sqlite"))
class CachesWhatItRead(Faulty):
    """``get_many`` remembers rows, also those that others have changed since."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._cache: dict[tuple[Kind, int, str | None], Any] = {}

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        wanted = list(ids)
        missing = [id for id in wanted if (kind, id, tenant) not in self._cache]
        for id, row in super().get_many(kind, missing, tenant).items():
            self._cache[kind, id, tenant] = row
        keys = [(kind, id, tenant) for id in wanted]
        return {key[1]: self._cache[key] for key in keys if key in self._cache}


@breaks("ACC-2")
class SelectsManyUnordered(Faulty):
    """``select_many`` forgets the order of its queries."""

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        return [sorted(found, key=lambda row: row.id) for found in super().select_many(queries)]


@breaks("ACC-2")
class SelectsManyOnce(Faulty):
    """``select_many`` answers equal kinds with one answer."""

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        first: dict[Kind, list[Any]] = {}
        return [first.setdefault(q.kind, list(self.select(q))) for q in queries]


@breaks("QRY-8", over=("memory", "sqlite"))
class AggregatesWithoutTheFilter(Faulty):
    """``aggregate`` ignores the condition."""

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        return super().aggregate(query.evolve(where=And(())), by, measures)


@breaks("ACC-5")
class AggregatesThePage(Faulty):
    """``aggregate`` is about the rows within limit and offset."""

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        if by or query.limit is None:
            return super().aggregate(query, by, measures)
        rows = list(self.select(query))
        return [Group((), (len(rows),))] if measures == (Count(),) else super().aggregate(query)


@breaks("ACC-5")
class AggregatesDropNulls(Faulty):
    """``aggregate`` has no group for NULL."""

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        return [g for g in super().aggregate(query, by, measures) if not by or None not in g.key]


@breaks("ACC-5")
class DistinctCountsRows(Faulty):
    """``CountDistinct`` counts equal values as often as they occur."""

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        counted = [Count() if isinstance(m, CountDistinct) else m for m in measures]
        return super().aggregate(query, by, counted)


@breaks("ACC-5")
class AggregatesOfNothingAreEmpty(Faulty):
    """``aggregate`` without groups over no rows has no row."""

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        return super().aggregate(query, by, measures) if self.exists(query) else []


@breaks("ACC-6")
class RowsInOrderOfIds(Faulty):
    """``rows`` come by id."""

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return super().rows(query.evolve(order=(), after=None), fields)


@breaks("ACC-6")
class RowsWithParsedJson(Faulty):
    """``rows`` give JSON parsed, not as its text."""

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for record in self.select(query):
            yield tuple(getattr(record, field) for field in fields)


@breaks("ACC-11")
class LinesWithoutMicroseconds(Faulty):
    """``lines`` leave the microseconds of times out where they are zero."""

    def lines(self, query: Query, fields: Sequence[str], form: Form) -> Blocks:
        for block, rows in super().lines(query, fields, form):
            yield block.replace(b".000000+00:00", b"+00:00"), rows


@breaks("ACC-11")
class LinesOfThePageBefore(Faulty):
    """``lines`` forget the offset."""

    def lines(self, query: Query, fields: Sequence[str], form: Form) -> Blocks:
        return super().lines(query.evolve(offset=0), fields, form)


@breaks("ACC-7")
class SearchesLimitedly(Faulty):
    """``search`` finds ten at most."""

    def search(self, query: Query) -> Iterator[Any]:
        return super().search(query.evolve(limit=min(query.limit or 3, 3)))


@breaks("ACC-8")
class DumpsOneTenant(Faulty):
    """A dump of all tenants holds the first one only."""

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        tenants = sorted({row.tenant_id for row in super().dump(tenant)})
        return (row for row in super().dump(tenant) if row.tenant_id == tenants[0])


@breaks("BAK-1", over=("memory", "sqlite"))
class DumpsNoDeletedRows(Faulty):
    """A dump leaves soft-deleted rows out."""

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        return (row for row in super().dump(tenant) if not getattr(row, "is_deleted", False))


@breaks("BAK-1")
class DumpsVersionsById(Faulty):
    """A dump has versions by id: a parent may come behind its child."""

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        rows = list(super().dump(tenant))
        place = {id(row): n for n, row in enumerate(rows)}
        documents = [row for row in rows if isinstance(row, Document)]
        first = min((place[id(row)] for row in documents), default=0)
        others = [row for row in rows if not isinstance(row, Document)]
        documents.sort(key=lambda row: (row.tenant_id, -row.id))
        return iter([*others[:first], *documents, *others[first:]])


@breaks("BAK-1", over=("memory", "sqlite"))
class LoadKeepsTheLeases(Faulty):
    """``load`` does not raise the leases: ids of loaded rows are given out again."""

    def _lease_beyond(self, kind: Kind, top: int) -> None:
        pass


@breaks("BAK-1")
class LoadStampsTheTime(Faulty):
    """``load`` sets ``updated_at`` anew."""

    def load(self, records: Iterable[Record]) -> None:
        super().load(
            row.replaced({"updated_at": row.stored("created_at").replace(year=2001)})
            if "updated_at" in row.domains
            else row
            for row in records
        )


@breaks("ACC-9")
class LoadSkipsWhatIsThere(Faulty):
    """``load`` of a row that is there already leaves it out in silence."""

    def load(self, records: Iterable[Record]) -> None:
        rows = list(records)
        there = {(type(row), row.id) for row in self.dump()}
        super().load(row for row in rows if (type(row), row.id) not in there)


@breaks("ACC-10", over=("memory", "sqlite"))
class SnapshotSeesLaterCommits(Faulty):
    """A snapshot is the store itself."""

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        yield self


@breaks("ACC-10")
class SnapshotOfEveryTenant(Faulty):
    """A snapshot of a tenant counts the rows of all."""

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        with self.inner.snapshot(tenant) as reader:
            yield _Everything(reader)


@attrs.define
class _Everything(Reader):
    reader: Reader

    def select(self, query: Query) -> Iterator[Any]:
        return self.reader.select(query)

    def count(self, query: Query) -> int:
        return self.reader.count(query.evolve(tenant=None))


@breaks("RET-4")
class CompactsByCutting(Faulty):
    """``compact`` keeps the beginning of a long text."""

    def compact(self, kind: Kind, ids: Iterable[int], tenant: str) -> int | None:
        found = self.get_many(kind, ids, tenant).values() if kind is Document else ()
        cuts = [Update(kind, row.id, {"content": row.stored("content")[:300]}) for row in found]
        self.apply(Batch(tenant, cuts))
        return 0
