"""Filters nest to any depth, and are as many as one likes: every store gives the same rows."""

from collections.abc import Callable, Collection
from functools import reduce
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import Count, Session, Storage
from loki_storage.errors import InvalidField
from loki_storage.explaining import in_words
from loki_storage.matching import evaluate
from loki_storage.models import AuditEntry, Document, RetentionPolicy, Tag, Validation
from loki_storage.query import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Query,
    Text,
    equals,
)
from tests.conftest import Open
from tests.stores import new_tenant
from tests.strategies import row

TITLES = ["a", "A", "b%", "", None]


def furnish(session: Session) -> None:
    for n in range(60):
        session.documents.create_document(
            f"text {n}",
            "email",
            "acb"[n % 3],
            title=TITLES[n % 5],
            user_id=None if n % 4 else f"u{n % 8}",
            metadata={"n": n % 4},
        )


@pytest.fixture(scope="module")
def filled(store: Storage) -> str:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        furnish(session)
    return tenant


@pytest.fixture(scope="module")
def session(store: Storage, filled: str) -> Session:
    return store.session(tenant=filled, timeout=60)


def leaf(random: Random, tenant: str) -> Condition:
    """A condition that some documents meet."""
    leaves: list[Condition] = [
        Compare("title", "eq", random.choice("aA")),
        Compare("id", "gt", random.randint(0, 10_000)),
        In("client_id", random.sample("abc", 2)),
        IsNull(random.choice(["title", "user_id"])),
        Text("contains", "title", random.choice(["a", "%"]), random.random() < 0.5),
        JsonEquals("metadata_json", ("n",), random.randint(0, 3)),
        InQuery("id", Query(Document, tenant, equals(client_id="c")), "id"),
        Compare("version", "eq", 1),
    ]
    return random.choice(leaves)


def chain(random: Random, tenant: str, levels: int) -> Condition:
    """Conditions within conditions, of any sort at every level, and with neighbours."""
    condition = leaf(random, tenant)
    for _ in range(levels):
        parts = [condition, *(leaf(random, tenant) for _ in range(random.randint(0, 2)))]
        random.shuffle(parts)
        wrapped: list[Condition] = [And(parts), Or(parts), Not(condition)]
        condition = random.choice(wrapped)
    return condition


def meaning(session: Session, query: Query) -> list[Any]:
    """The answer in plain Python."""

    def members(condition: InQuery) -> Collection[tuple[str, object]]:
        found = session.select(condition.query)
        return {(row.tenant_id, row.stored(condition.its_field)) for row in found}

    return evaluate(query, session.select(session.query(query.kind)), members)


def by_recursion(condition: Condition, record: Any) -> bool:
    """What a condition means, as a textbook has it; ``by_recursion`` and Python's stack end."""
    match condition:
        case And(parts):
            return all(by_recursion(part, record) for part in parts)
        case Or(parts):
            return any(by_recursion(part, record) for part in parts)
        case Not(inner):
            return not by_recursion(inner, record)
    return bool(evaluate(Query(Document, None, condition), [record], lambda _: ()))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), levels=st.sampled_from([3, 12, 20, 300, 500]))
def test_deep_query_gives_what_it_means(session: Session, seed: int, levels: int) -> None:
    query = session.query(Document, chain(Random(seed), session.tenant, levels))
    found = meaning(session, query)
    assert list(session.select(query)) == found
    assert session.count(query) == len(found)
    assert session.exists(query) == bool(found)
    assert [id for (id,) in session.rows(query.evolve(limit=3), ("id",))] == [
        row.id for row in found[:3]
    ]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_steps_of_matching_mean_what_the_nesting_says(seed: int) -> None:
    """Against plain recursion; the other tests compare stores with the same code."""
    random = Random(seed)
    condition = chain(random, "t", 25)
    flat = _without_in_query(condition)
    records = [row(Document, random).evolve(id=n, tenant_id="t") for n in range(1, 9)]
    wanted = [record for record in records if by_recursion(flat, record)]
    assert evaluate(Query(Document, None, flat), records, lambda _: ()) == wanted


def _without_in_query(condition: Condition) -> Condition:
    match condition:
        case And(parts) | Or(parts):
            return type(condition)([_without_in_query(part) for part in parts])
        case Not(inner):
            return Not(_without_in_query(inner))
        case InQuery():
            return IsNull("title")
    return condition


def alternating(levels: int, last: Condition) -> Condition:
    """``id > 0 and (title = "no" or (id > 0 and (... last)))``: as the last one says."""
    holds, fails = Compare("id", "gt", 0), Compare("title", "eq", "no")
    return reduce(
        lambda inner, n: Or([fails, inner]) if n % 2 else And([inner, holds]), range(levels), last
    )


def nots(levels: int, last: Condition) -> Condition:
    for _ in range(levels):
        last = Not(last)
    return last


@pytest.mark.parametrize("levels", [15, 16, 17, 500, 5_000])
def test_the_innermost_condition_decides(session: Session, levels: int) -> None:
    last = equals(title="a")
    wanted = session.documents.query().and_filter(last).all()
    assert len(wanted) == 12
    builder = session.documents.query().and_filter(alternating(levels, last))
    assert builder.all() == wanted
    assert builder.count() == 12
    assert builder.aggregate("client_id", Count())
    assert builder.not_filter(title="a").all() == []
    negated = nots(levels, last)
    assert session.documents.query().and_filter(negated).count() == (48 if levels % 2 else 12)


def test_builders_nest_in_builders(session: Session) -> None:
    query = session.documents.query()
    nested = query.equals("title", "a")
    for n in range(300):
        nested = [
            lambda b: query.or_filter(b, title="no"),
            lambda b: query.and_filter(b, query.greater_than("id", 0)),
            lambda b: query.not_filter(query.not_filter(b, version=1)),
        ][n % 3](nested)
    assert query.and_filter(nested).count() == 12


@pytest.mark.parametrize("join", [And, Or])
@pytest.mark.parametrize("many", [1_999, 2_001, 5_000])
def test_conditions_may_be_many(session: Session, join: Any, many: int) -> None:
    parts = [Compare("content", "ne" if join is And else "eq", f"text {n}") for n in range(many)]
    assert session.documents.query().and_filter(join(parts)).count() == (0 if join is And else 60)
    assert session.documents.query().not_filter(join(parts[1:])).count() == (
        59 if join is And else 1
    )


@pytest.mark.parametrize("width", [20, 99, 150])
def test_deep_and_wide_at_once(session: Session, width: int) -> None:
    """A database bounds the depth of its expressions, and a row of ANDs is deep as well."""
    inner: Condition = equals(title="a")
    for n in range(30):
        fails, holds = Compare("title", "eq", "no"), Compare("id", "gt", 0)
        inner = Or([inner, *[fails] * width]) if n % 2 else And([inner, *[holds] * width])
    assert session.documents.query().and_filter(inner).count() == 12


def test_pages_and_streams_of_a_deep_query(session: Session) -> None:
    builder = session.documents.query().and_filter(alternating(400, IsNull("user_id")))
    found, pages = builder.all(), []
    step = builder.limit(11)
    page = step.page()
    while page.next_cursor:
        pages += page.records
        page = step.after(page.next_cursor).page()
    assert [*pages, *page.records] == list(builder.iter()) == found
    assert len(found) == 45


def test_deep_query_over_pending_rows(store: Storage) -> None:
    session = store.session(tenant=new_tenant())
    furnish(session)
    inner = Query(Document, session.tenant, alternating(300, equals(title="a")))
    builder = session.documents.query()
    assert builder.and_filter(inner.where).count() == 12
    assert builder.and_filter(alternating(300, InQuery("id", inner, "id"))).count() == 12


def test_deep_query_inside_another(session: Session) -> None:
    inner = session.query(Document, alternating(300, equals(title="a")))
    builder = session.documents.query()
    assert builder.and_filter(InQuery("id", inner, "id")).count() == 12
    assert builder.not_filter(InQuery("id", inner, "id")).count() == 48
    none = session.query(Validation, InQuery("document_id", inner, "id"))
    assert session.count(none) == session.count(session.query(Tag)) == 0


def test_deep_query_is_told_in_words_and_explained(session: Session) -> None:
    query = session.query(Document, alternating(3_000, IsNull("title")))
    words = in_words(query)
    assert words.count("(") == words.count(")") == 2_999
    assert "title is NULL" in session.explain(query)


def test_audited_read_of_a_deep_query_is_recorded_as_it_was(begin: Open) -> None:
    with begin() as session:
        furnish(session)
    session = begin(audit_reads=True)
    builder = session.documents.query().and_filter(alternating(500, equals(title="a")))
    assert len(builder.all()) == 12
    long = session.documents.query().in_list("id", range(300_000))
    assert len(long.all()) == 60
    *_, first, second = begin().select(begin().query(AuditEntry))
    for entry, asked in ((first, builder), (second, long)):
        assert Query.from_json(entry.metadata_json["query"]).where == asked.build().where


def test_deep_query_may_be_a_policys_criteria(begin: Open) -> None:
    with begin() as session:
        criteria = session.documents.query().and_filter(alternating(500, equals(title="a"))).build()
        session.retention.create("deep", "document", "delete", 1, criteria=criteria)
    (policy,) = begin().select(begin().query(RetentionPolicy))
    assert Query.from_json(policy.criteria).where == criteria.where


ENDS: dict[str, Callable[[Session, Query], object]] = {
    "select": lambda s, q: list(s.select(q)),
    "count": lambda s, q: s.count(q),
    "aggregate": lambda s, q: s.aggregate(q),
    "search": lambda s, q: list(s.search(q)),
    "select_many": lambda s, q: s.select_many([q, q]),
}


@pytest.mark.parametrize("name", ENDS)
def test_masked_session_looks_into_the_depth(store: Storage, filled: str, name: str) -> None:
    session = store.session(tenant=filled, mask=("title",))
    with pytest.raises(InvalidField, match="is masked"):
        ENDS[name](session, session.query(Document, alternating(400, equals(title="a"))))
    ENDS[name](session, session.query(Document, nots(400, IsNull("id"))))
