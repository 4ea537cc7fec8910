"""Answers of a relational backend against the executable meaning of queries, on real SQLite."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import combinations, product
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import event, given, settings
from hypothesis import strategies as st

from loki_storage.errors import StorageError
from loki_storage.matching import evaluate
from loki_storage.models import (
    KINDS,
    AuditEntry,
    Chain,
    Document,
    Kind,
    Record,
    RetentionPolicy,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.protocol import Count, Day, Max, Measure, Min, Reader, Sum
from loki_storage.query import (
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Order,
    Query,
    Text,
)
from loki_storage.values import Integer, Json, Time, Word
from loki_storage.values import Text as TextDomain
from loki_storage_sql.codecs import record_encoder
from loki_storage_sql.dialect import Clause, Column, Narrowing
from loki_storage_sql.reader import Language
from loki_storage_sqlite.backend import SqliteBackend, _create
from loki_storage_sqlite.dialect import SqliteDialect
from tests.strategies import (
    TENANTS,
    kinds,
    pool,
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

    def decides_path(self, path: Sequence[str | int]) -> bool:
        return False

    def json_test(self, column: Column, path: Column, value: Column | None) -> Clause:
        return column.is_not(None)


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
    pool: dict[str, Any] = {
        "pool_size": 2,
        "max_overflow": 2,
        "pool_timeout": 9,
        "pool_recycle": -1,
    }
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


@settings(max_examples=100)
@given(data=st.data())
def test_answers_are_those_of_matching(exact: Bare, data: st.DataObject) -> None:
    assert_agree(exact, data)


@settings(max_examples=50)
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


# --- Every field, every operator, every value: what chance may miss -----------------------------


VARIOUS: list[Kind] = [Document, Validation, ValidationResult, AuditEntry, RetentionPolicy]
"""Kinds with fields of every domain."""


def varied(kind: Kind) -> list[Any]:
    """For each value of each field a row that differs from the others in it."""
    values = [(field, value) for field in kind.domains for value in pool(kind.domains[field])]
    plain = sample(kind).evolve(tenant_id="a")
    free = [(field, value) for field, value in values if field not in ("id", "tenant_id")]
    rows = [plain.evolve(**{field: value}) for field, value in free]
    return [row.evolve(id=number) for number, row in enumerate(rows, 1)]


def leaves(kind: Kind, field: str) -> Iterator[Condition]:
    domain = kind.domains[field]
    operands = [value for value in pool(domain) if value is not None]
    yield IsNull(field)
    if isinstance(domain, Json):
        yield from (JsonEquals(field, path, v) for path in PATHS for v in [*operands, None, 1, 1.0])
        return
    operators: tuple[Any, ...] = ("eq", "ne")
    if domain.orderable:
        operators += ("lt", "le", "gt", "ge")
    yield from (Compare(field, op, value) for op in operators for value in operands)
    yield from (In(field, chosen) for size in (0, 1, 2) for chosen in combinations(operands, size))
    yield from (In(field, [value, None]) for value in operands[:2])
    if isinstance(domain, TextDomain) and not (isinstance(domain, Word) and not domain.open):
        texts = {
            text for value in operands for text in (value, value[:1], value[1:], value.upper())
        }
        for op, text, sensitive in product(TEXT_OPERATORS, sorted(texts), (True, False)):
            yield Text(op, field, text, sensitive)


PATHS: list[list[str | int]] = [[], ["a"], ["a", "b"], ["a", "b", 1], [0], ["x"]]
TEXT_OPERATORS: tuple[Any, ...] = ("contains", "starts_with", "ends_with")


@pytest.mark.parametrize("kind", VARIOUS, ids=lambda kind: kind.table)
def test_every_leaf_and_its_complement_is_what_matching_says(exact: Bare, kind: Kind) -> None:
    rows = varied(kind)
    exact.fill(rows)
    model = Model(rows)
    for field in kind.domains:
        for leaf in leaves(kind, field):
            for condition in (leaf, Not(leaf)):
                query = Query(kind, "a", condition)
                assert list(exact.rows(query, ["id"])) == list(model.rows(query, ["id"])), query


@pytest.mark.parametrize("kind", VARIOUS, ids=lambda kind: kind.table)
def test_every_order_goes_on_after_every_row(exact: Bare, kind: Kind) -> None:
    rows = varied(kind)
    exact.fill(rows)
    orderable = [f for f in kind.domains if kind.domains[f].orderable and f != "id"]
    for field, first, second in product(orderable, (False, True), (False, True)):
        query = Query(kind, "a", order=[Order(field, first), Order("tenant_id", second)])
        expected = list(Model(rows).select(query))
        ids = [row.id for row in expected]
        assert [id for (id,) in exact.rows(query, ["id"])] == ids
        seen = set()
        for place, row in enumerate(expected):
            value = row.stored(field)
            if value not in seen or place % 7 == 0:
                seen.add(value)
                after = query.evolve(after=(value, "a", row.id))
                assert [id for (id,) in exact.rows(after, ["id"])] == ids[place + 1 :], after


@pytest.mark.parametrize("kind", VARIOUS, ids=lambda kind: kind.table)
def test_every_field_can_be_grouped_and_measured(exact: Bare, kind: Kind) -> None:
    rows = varied(kind)
    exact.fill(rows)
    for field, domain in kind.domains.items():
        by: list[Any] = [field, Day(field)] if isinstance(domain, Time) else [field]
        measures: list[Measure] = [Count()]
        measures += [Min(field), Max(field)] if domain.orderable else []
        measures += [Sum(field)] if isinstance(domain, Integer) else []
        for group in ([], by[:1], by[1:]):
            query = Query(kind, "a")
            found = told(exact.aggregate(query, group, measures))
            assert found == told(Model(rows).aggregate(query, group, measures))


def test_days_before_1970_are_days_too(exact: Bare) -> None:
    moments = [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1969, 12, 31, tzinfo=UTC)]
    rows = [
        sample(Tag).evolve(id=n, tenant_id="a", name=str(n), created_at=moment)
        for n, moment in enumerate(moments, 1)
    ]
    exact.fill(rows)
    (group,) = exact.aggregate(Query(Tag, "a"), [Day("created_at")])
    assert (group.key, group.values) == ((date(1969, 12, 31),), (2,))


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
