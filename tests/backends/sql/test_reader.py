"""Answers of a relational backend against the executable meaning of queries, on real SQLite."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import event, given, settings
from hypothesis import strategies as st

from loki_storage.errors import StorageError
from loki_storage.matching import evaluate
from loki_storage.models import (
    KINDS,
    Chain,
    Document,
    Kind,
    Record,
    Tag,
    ValidationResult,
)
from loki_storage.protocol import Count, Day, Max, Measure, Min, Reader, Sum
from loki_storage.query import In, InQuery, Query
from loki_storage.values import Integer, Time
from loki_storage_sql.codecs import record_encoder
from loki_storage_sql.dialect import Column, Narrowing
from loki_storage_sql.reader import Language
from loki_storage_sqlite.backend import SqliteBackend, _create
from loki_storage_sqlite.dialect import SqliteDialect
from tests.strategies import (
    TENANTS,
    kinds,
    queries,
    sample,
    tables,
)

# --- Queries: the same answers as matching.py ----------------------------------------------------


class Model(Reader):
    """The rows, read with ``matching.evaluate`` and the protocol's own defaults."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)

    def select(self, query: Query) -> Iterator[Any]:
        mine = [record for record in self._records if type(record) is query.kind]
        return iter(evaluate(query, mine, self._members))

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = self.select(condition.query)
        values = ((record.tenant_id, record.stored(condition.its_field)) for record in found)
        return {(tenant, value) for tenant, value in values if value is not None}


class Vague(SqliteDialect):
    """As a database that cannot casefold, nor tell JSON texts apart: some rows too many."""

    def folded_test(self, op: str, column: Column, text: Column) -> Narrowing:
        return Narrowing(sa.func.length(column) >= sa.literal_column("0"), exact=False)

    def json_test(self, column: Column, path: Column, value: Column | None) -> Narrowing:
        return Narrowing(sa.true(), exact=False)


class Bare(SqliteBackend):
    """The tables without their constraints, so that any rows may be in them."""

    def lay_out(self) -> None:
        _create(self._path)
        metadata = sa.MetaData()
        for table in self.schema.tables.values():
            sa.Table(table.name, metadata, *(sa.Column(c.name, c.type) for c in table.c))
        metadata.create_all(self._engine)

    def fill(self, records: Iterable[Record]) -> None:
        with self._transaction() as connection:
            for kind in KINDS.values():
                connection.execute(f"DELETE FROM {kind.table}")
            for record in records:
                names = tuple(type(record).domains)
                (row,) = record_encoder(type(record), self._dialect, names)([record])
                marks = ", ".join("?" * len(names))
                text = f"INSERT INTO {record.table} ({', '.join(names)}) VALUES ({marks})"
                connection.execute(text, row)


def bare(dialect: SqliteDialect) -> Iterator[Bare]:
    pool = {"pool_size": 2, "max_overflow": 2, "pool_timeout": 9, "pool_recycle": -1}
    backend = Bare("sqlite://", busy_timeout=1, synchronous="NORMAL", echo=False, **pool)
    backend.lay_out()
    backend._language = Language(dialect)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def exact() -> Iterator[Bare]:
    yield from bare(SqliteDialect())


@pytest.fixture(scope="module")
def vague() -> Iterator[Bare]:
    yield from bare(Vague())


@st.composite
def filled(draw: st.DrawFn) -> tuple[Kind, str | None, list[Record]]:
    """A kind, a tenant or none, and rows of the kind and of those that it may look into."""
    kind = draw(kinds)
    rows = draw(tables(kind, max_size=10))
    for other in {Document, Tag} - {kind}:
        rows = rows + draw(tables(other, max_size=4))
    return kind, draw(st.sampled_from([*TENANTS, None])), rows


def aggregates(kind: Kind) -> st.SearchStrategy[tuple[list[Any], list[Measure]]]:
    fields = list(kind.domains)
    times = [Day(field) for field, domain in kind.domains.items() if isinstance(domain, Time)]
    orderable = [field for field in fields if kind.domains[field].orderable]
    whole = [field for field in fields if isinstance(kind.domains[field], Integer)]
    measures: list[Measure] = [Count(), *(make(f) for make in (Min, Max) for f in orderable)]
    return st.tuples(
        st.lists(st.sampled_from([*fields, *times]), max_size=3),
        st.lists(st.sampled_from([*measures, *map(Sum, whole)]), max_size=4),
    )


def assert_agree(backend: Bare, data: st.DataObject) -> None:
    kind, tenant, rows = data.draw(filled())
    backend.fill(rows)
    model = Model(rows)
    asked = [data.draw(queries(kind, tenant)) for _ in range(3)]
    for query in asked:
        found = list(backend.select(query))
        event(f"found: {bool(found)}")
        assert found == list(model.select(query))
        assert backend.count(query) == model.count(query)
        assert backend.exists(query) == model.exists(query)
        fields = data.draw(st.lists(st.sampled_from(list(kind.domains)), max_size=4))
        assert list(backend.rows(query, fields)) == list(model.rows(query, fields))
        by, measures = data.draw(aggregates(kind))
        assert told(backend.aggregate(query, by, measures)) == told(
            model.aggregate(query, by, measures)
        )
    assert backend.select_many(asked) == model.select_many(asked)


def told(groups: Iterable[Any]) -> list[Any]:
    return [(group.key, group.values) for group in groups]


@settings(max_examples=200)
@given(data=st.data())
def test_answers_are_those_of_matching(exact: Bare, data: st.DataObject) -> None:
    assert_agree(exact, data)


@settings(max_examples=100)
@given(data=st.data())
def test_answers_stay_the_same_where_sql_cannot_say_all(vague: Bare, data: st.DataObject) -> None:
    assert_agree(vague, data)


@given(data=st.data())
def test_snapshot_answers_alike(vague: Bare, data: st.DataObject) -> None:
    kind, tenant, rows = data.draw(filled())
    vague.fill(rows)
    query = data.draw(queries(kind, tenant))
    with vague.snapshot(tenant) as view:
        assert list(view.select(query)) == list(Model(rows).select(query))
        assert view.count(query) == Model(rows).count(query)


@given(st.lists(st.integers(-3, 12)), st.sampled_from([*TENANTS, None]), st.data())
def test_get_many_is_what_the_default_is(
    exact: Bare, ids: list[int], tenant: str | None, data: st.DataObject
) -> None:
    kind = data.draw(kinds)
    exact.fill(data.draw(tables(kind)))
    assert exact.get_many(kind, ids, tenant) == Reader.get_many(exact, kind, ids, tenant)


@pytest.mark.parametrize("ids", [(2**63,), ("1",), (True,), (1.0,)])
@pytest.mark.parametrize("tenant", ["a", "", None])
def test_get_many_refuses_what_the_default_refuses(exact: Bare, ids: Any, tenant: Any) -> None:
    outcomes: list[Any] = []
    for call in (exact.get_many, lambda *args: Reader.get_many(exact, *args)):
        try:
            outcomes.append((None, call(Document, ids, tenant)))
        except StorageError as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_list_of_tens_of_thousands(exact: Bare) -> None:
    chains = [Chain(id=n, tenant_id="a", client_id=f"c{n}") for n in range(1, 50)]
    exact.fill(chains)
    assert list(exact.get_many(Chain, range(-50_000, 50_000), "a")) == list(range(1, 50))


def test_numbers_in_a_list_are_compared_exactly(exact: Bare) -> None:
    scores = [0.1, 1 / 3, 0.30000000000000004, 5e-324, 1 - 2**-53, 2**-1074 * 3]
    rows = [
        sample(ValidationResult).evolve(id=n, tenant_id="a", confidence_score=score)
        for n, score in enumerate(scores, 1)
    ]
    exact.fill(rows)
    for row, score in zip(rows, scores, strict=True):
        query = Query(ValidationResult, "a", In("confidence_score", [score, 0.9]))
        assert list(exact.select(query)) == [row]
