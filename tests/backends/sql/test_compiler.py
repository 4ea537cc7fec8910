"""Queries as SQL text: one text per shape, every value a parameter, indexes within reach."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loki_storage.enums import RiskLevel
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    Kind,
    RetentionPolicy,
    Validation,
    ValidationResult,
)
from loki_storage.protocol import Count, Day, Max, Sum
from loki_storage.query import (
    And,
    Compare,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Order,
    Query,
    Text,
    equals,
)
from loki_storage.values import Word
from loki_storage_sql.compiler import CACHED_SHAPES
from loki_storage_sql.reader import Language
from loki_storage_sqlite.backend import SqliteBackend
from loki_storage_sqlite.dialect import SqliteDialect
from tests.strategies import any_query, pool

LANGUAGE = Language(SqliteDialect())
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def text_of(query: Query) -> str:
    return LANGUAGE.select(query)[0].text


def where_of(condition: Any, kind: Kind = Document) -> str:
    text = text_of(Query(kind, None, condition))
    return " ".join(text.partition("WHERE ")[2].partition(" ORDER BY")[0].split())


# --- Values are parameters ---------------------------------------------------------------------

_VOCABULARY = {
    f"'{word}'"
    for kind in (ValidationResult, Validation)
    for domain in kind.domains.values()
    if isinstance(domain, Word) and domain.ranked
    for word in domain.ranks
} | {"'blob'"}
"""Words of ours that statements hold: ranks, and the type by which SQLite tells a packed text."""


@given(any_query)
@example(Query(Document, "a", Compare("title", "eq", "'; DROP TABLE documents; --")))
@example(Query(ValidationResult, "a", order=[Order("severity")]))
@example(Query(Correction, "a", In("corrected_content", [])))
def test_text_holds_no_value(query: Query) -> None:
    statement, values = LANGUAGE.select(query)
    quoted = set(re.findall(r"'[^']*'", statement.text))
    assert quoted <= _VOCABULARY
    assert statement.text.count("?") == len(statement.slots)
    assert set(statement.slots) == set(range(len(values)))
    numbers = set(re.findall(r"(?<![\w.])\d+", statement.text))
    assert numbers <= {"0", "1", "2", "3", "4"}  # flags and ranks, and where SQL counts from


@pytest.mark.parametrize(
    "make",
    [
        lambda kind, field, value: Compare(field, "eq", value),
        lambda kind, field, value: Not(Compare(field, "eq", value)),
        lambda kind, field, value: In(field, [value, pool(kind.domains[field])[-1]]),
        lambda kind, field, value: InQuery(
            "id", Query(kind, "t", Compare(field, "ne", value)), "id"
        ),
    ],
)
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Document, "title"),
        (Document, "version"),
        (Document, "created_at"),
        (Document, "document_type"),
        (ValidationResult, "severity"),
        (ValidationResult, "confidence_score"),
    ],
)
def test_other_values_are_the_same_statement(make: Any, kind: Kind, field: str) -> None:
    first, second = [value for value in pool(kind.domains[field]) if value is not None][:2]
    one, other = (
        LANGUAGE.select(Query(kind, "t", make(kind, field, v)))[0] for v in (first, second)
    )
    assert one is other


def test_length_of_a_list_does_not_change_the_statement() -> None:
    texts = {text_of(Query(Document, "t", In("id", range(1, n)))) for n in (3, 100, 40_000)}
    assert len(texts) == 1


def test_other_limits_and_cursors_are_the_same_statement() -> None:
    order = [Order("created_at", descending=True)]
    queries = [
        Query(Document, "t", order=order, limit=n, offset=n, after=(NOW, 1)) for n in (1, 2**63 - 1)
    ]
    assert LANGUAGE.select(queries[0])[0] is LANGUAGE.select(queries[1])[0]


def test_statements_are_kept_within_bounds() -> None:
    language = Language(SqliteDialect())
    for number in range(CACHED_SHAPES + 10):
        part = [IsNull("title")] * (number % 30) + [IsNull("source")] * (number // 30)
        language.select(Query(Document, "t", And(part)))
    kept = language.compiler.select.cache_info()
    assert (kept.misses, kept.currsize) == (CACHED_SHAPES + 10, CACHED_SHAPES)


# --- Two-valued logic without spoiling the plain cases -----------------------------------------


def test_plain_conditions_stay_plain() -> None:
    assert where_of(equals(client_id="c")) == "documents.client_id = ?"
    assert where_of(Compare("created_at", "ge", NOW)) == "documents.created_at >= ?"
    assert where_of(equals(is_latest=True)) == "documents.is_latest = 1"
    assert where_of(Not(equals(is_deleted=True))) == "documents.is_deleted = 0"
    assert where_of(Not(Compare("version", "lt", 2))) == "documents.version >= ?"
    assert where_of(In("id", [7])) == "documents.id = ?"


def test_null_is_spelled_out_only_where_it_can_be() -> None:
    assert where_of(Compare("title", "ne", "a")) == "documents.title IS NOT ?"
    assert where_of(Compare("version", "ne", 1)) == "documents.version != ?"
    assert where_of(Not(Compare("title", "lt", "a"))) == (
        "documents.title >= ? OR documents.title IS NULL"
    )


@pytest.mark.parametrize(
    ("where", "is_one"),
    [
        (Compare("id", "eq", 7), True),
        (And((Compare("client_id", "eq", "c"), Compare("id", "eq", 7))), True),
        (Or((Compare("client_id", "eq", "c"), Compare("id", "eq", 7))), False),
        (Compare("id", "gt", 7), False),
        (Compare("client_id", "eq", "c"), False),
    ],
)
def test_one_row_of_another_query_is_a_value_and_several_are_a_set(
    where: Any, is_one: bool
) -> None:
    """A planner without statistics may join a set row by row, but it looks a value up."""
    members = InQuery("root_id", Query(Document, "a", where), "root_id")
    text = text_of(Query(Document, "a", members))
    assert ("= (SELECT" in text, "IN (SELECT" in text) == (is_one, not is_one)


def test_id_of_any_tenant_may_be_several_rows() -> None:
    inner = Query(Document, None, Compare("id", "eq", 7))
    assert "IN (SELECT" in where_of(InQuery("root_id", inner, "root_id"))


def test_severity_by_rank_is_a_list_of_words() -> None:
    statement, values = LANGUAGE.select(
        Query(ValidationResult, "t", Compare("severity", "ge", RiskLevel.HIGH))
    )
    assert "CASE" not in statement.text
    assert values == ["t", '["critical","high"]']


def test_cursor_is_a_row_comparison_where_it_may_be() -> None:
    newest = [Order("created_at", descending=True)]
    text = text_of(Query(Document, "t", order=newest, after=(NOW, 1)))
    assert "(documents.created_at, documents.id) < (?, ?)" in text
    mixed = [Order("created_at", descending=True), Order("version")]
    text = text_of(Query(Document, "t", order=mixed, after=(NOW, 1, 1)))
    assert "documents.created_at <= ? AND" in text


# --- What SQLite makes of them -----------------------------------------------------------------

NEWEST = Query(Document, "t", equals(client_id="c"), [Order("created_at", True)], limit=9)


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("INTEGER PRIMARY KEY", Query(Document, "t", equals(id=1))),
        ("INTEGER PRIMARY KEY", Query(Document, "t", In("id", [1, 2]))),
        ("ix_documents_client_id_created_at", NEWEST),
        ("ix_documents_client_id_created_at", NEWEST.evolve(after=(NOW, 9))),
        ("ix_audit_trail_timestamp", Query(AuditEntry, "t", order=[Order("timestamp")])),
        ("ix_gate_results_validation_id", Query(ValidationResult, "t", equals(validation_id=1))),
    ],
)
def test_indexes_serve_the_common_questions(
    backend: SqliteBackend, index: str, query: Query
) -> None:
    plan = explained(backend, query)
    assert index in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan  # at most rows of one time are sorted


def explained(backend: SqliteBackend, query: Query) -> str:
    statement, values = LANGUAGE.select(query)
    with backend._connected() as connection:
        text = f"EXPLAIN QUERY PLAN {statement.text}"
        rows = connection.execute(text, statement.parameters(values)).fetchall()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize("joined", [And, Or])
def test_thousands_of_conditions_are_no_deeper_than_sqlite_allows(
    backend: SqliteBackend, joined: Any
) -> None:
    titles = [Compare("title", "eq", str(number)) for number in range(2_500)]
    assert backend.count(Query(Document, "t", joined(titles))) == 0
    assert backend.count(Query(Document, "t", Not(joined(titles)))) == 0


CONDITIONS: list[Any] = [
    Compare("name", "eq", "x"),
    In("name", ["x", None]),
    IsNull("name"),
    Text("contains", "name", "x", case_sensitive=False),
    JsonEquals("criteria", ["a"], 1),
    InQuery("id", Query(Document, "t"), "version"),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: type(c).__name__)
def test_aggregates_take_every_condition(backend: SqliteBackend, condition: Any) -> None:
    query = Query(RetentionPolicy, "t", Or([condition, Not(condition)]))
    by: list[str | Day] = ["entity_type", Day("created_at")]
    assert backend.aggregate(query, by, [Count(), Sum("priority"), Max("name")]) == []


@given(st.lists(st.sampled_from(list(Document.domains)), max_size=3))
def test_rows_of_any_fields_compile(fields: list[str]) -> None:
    statement, _ = LANGUAGE.select(Query(Document, "t"), tuple(fields))
    assert statement.exact
