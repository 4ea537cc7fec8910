"""What queries mean (QRY), against the laws written out once more, without a query."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loki_storage.matching import evaluate, json_at, matcher
from loki_storage.models import KINDS, Document, Kind, Record, Tag, Validation
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
    Order,
    Query,
    Text,
)
from loki_storage.values import Text as TextDomain
from loki_storage.values import canonical
from tests.strategies import (
    JSONS,
    comparable,
    conditions,
    ids,
    json_values,
    kinds,
    leaves,
    orderable,
    pool,
    sample,
    table,
    table_and,
    tables,
    texts,
)

Rows = list[Record]


def members_in(*tables: Rows) -> Callable[[InQuery], set[tuple[str, object]]]:
    """Resolves an ``InQuery`` over these rows, NULLs included: the matcher leaves them out."""

    def members(condition: InQuery) -> set[tuple[str, object]]:
        kind = condition.query.kind
        mine = [record for table in tables for record in table if type(record) is kind]
        found = evaluate(condition.query, mine, members)
        return {(record.tenant_id, record.stored(condition.its_field)) for record in found}

    return members


def matching(rows: Rows, condition: Condition, tenant: str | None = None) -> set[int]:
    """The ids of the rows that meet a condition."""
    if not rows:
        return set()
    matches = matcher(Query(type(rows[0]), tenant, condition), members_in(rows))
    return {record.id for record in rows if matches(record)}


def present(table: Rows, field: str) -> set[int]:
    """The ids of the rows whose field is not NULL."""
    return {record.id for record in table if record.stored(field) is not None}


Drawn = tuple[Any, ...]
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def fields_and_values(kind: Kind, fields: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for field in fields:
        for value in pool(kind.domains[field]):
            if value is not None:
                yield field, value


# --- Two values, never three -----------------------------------------------------------------


@given(table_and(lambda kind: conditions(kind, None)))
def test_not_is_the_complement(drawn: Drawn) -> None:
    _, table, condition = drawn
    assert matching(table, Not(condition)) == ids(table) - matching(table, condition)
    assert matching(table, Not(Not(condition))) == matching(table, condition)


@given(table_and(lambda kind: st.lists(leaves(kind, None), max_size=3)))
def test_and_is_the_intersection_and_or_the_union(drawn: Drawn) -> None:
    _, table, parts = drawn
    found = [matching(table, part) for part in parts]
    assert matching(table, And(parts)) == ids(table).intersection(*found)
    assert matching(table, Or(parts)) == set().union(*found)
    assert matching(table, Not(Or(parts))) == matching(table, And(map(Not, parts)))


@every_kind
def test_is_null_finds_the_missing(kind: Kind) -> None:
    rows = table(kind)
    for field in kind.domains:
        missing = {record.id for record in rows if record.stored(field) is None}
        assert matching(rows, IsNull(field)) == missing


@every_kind
def test_equality_includes_null_rows_only_when_negated(kind: Kind) -> None:
    rows = table(kind)
    for field, value in fields_and_values(kind, comparable(kind)):
        equal = {record.id for record in rows if record.stored(field) == value}
        assert matching(rows, Compare(field, "eq", value)) == equal
        assert matching(rows, Compare(field, "ne", value)) == ids(rows) - equal


@every_kind
def test_order_splits_the_rows_with_a_value_in_three(kind: Kind) -> None:
    rows = table(kind)
    for field, value in fields_and_values(kind, orderable(kind)):
        less, equal, greater, at_most, at_least = (
            matching(rows, Compare(field, op, value)) for op in ("lt", "eq", "gt", "le", "ge")
        )
        assert len(less) + len(equal) + len(greater) == len(less | equal | greater)
        assert less | equal | greater == present(rows, field)
        assert (at_most, at_least) == (less | equal, equal | greater)


@every_kind
def test_comparisons_follow_the_total_order(kind: Kind) -> None:
    rows = table(kind)
    for field, value in fields_and_values(kind, orderable(kind)):
        ordered = evaluate(Query(kind, None, order=[Order(field)]), rows, members_in())
        less = matching(rows, Compare(field, "lt", value))
        at_most = matching(rows, Compare(field, "le", value))
        assert ids(ordered[: len(less)]) == less
        assert ids(ordered[: len(at_most)]) == at_most


@every_kind
def test_in_is_any_equality_and_none_in_it_is_null(kind: Kind) -> None:
    rows = table(kind)
    for field in comparable(kind):
        values = pool(kind.domains[field])
        for members in ([], [None], values[:1], [values[-1], None], values, [*values, None]):
            expected = {record.id for record in rows if record.stored(field) in members}
            equalities = [Compare(field, "eq", value) for value in members]
            assert matching(rows, In(field, members)) == expected
            assert matching(rows, Or(equalities)) == expected
            assert matching(rows, Not(In(field, members))) == ids(rows) - expected


@pytest.mark.parametrize(
    ("kind", "field", "words"),
    [
        (Validation, "overall_risk", ["none", "low", "medium", "high", "critical"]),
        (Validation, "status", ["cancelled", "completed", "failed", "in_progress", "pending"]),
        (Document, "document_type", ["A", "ai_generated", "email", "unknown", "\u00e9"]),
    ],
)
def test_words_compare_by_rank_or_by_value(kind: Kind, field: str, words: list[str]) -> None:
    table = [sample(kind).evolve(id=n, **{field: word}) for n, word in enumerate(words) if n]
    for number, word in enumerate(words):
        less = set(range(1, number))
        assert matching(table, Compare(field, "lt", word)) == less
        assert matching(table, Compare(field, "le", word)) == (less | {number}) - {0}


# --- Text ------------------------------------------------------------------------------------


def text_fields(kind: Kind) -> list[str]:
    return [
        field
        for field, domain in kind.domains.items()
        if isinstance(domain, TextDomain) and getattr(domain, "open", True)
    ]


def titled(title: str | None) -> Record:
    record: Record = DOCUMENT.evolve(title=title)
    return record


DOCUMENT = sample(Document)
ascii_texts = st.text("aAbB%_\\[]*?.ßſKk\u0131\u0130", max_size=4)


@given(ascii_texts | texts, ascii_texts | texts)
@example("100%", "0%")
@example("100", "%")
@example("a_b", "_")
@example("ab", "a_")
@example("a\\b", "\\")
@example("STRASSE", "straße")
@example("straße", "SS")
@example("\u0130", "i\u0307")
@example("\u212a", "k")
@example("ﬁn", "FI")
@example("", "")
@example("e\u0301", "\u00e9")
@example("a\r\nb", "\n")
def test_text_is_matched_literally_and_folded_on_both_sides(held: str, text: str) -> None:
    record = titled(held)
    for case_sensitive in (True, False):
        one, other = (held, text) if case_sensitive else (held.casefold(), text.casefold())
        for op, expected in [
            ("contains", one.count(other) > 0),
            ("starts_with", one[: len(other)] == other),
            ("ends_with", one[len(one) - len(other) :] == other and len(other) <= len(one)),
        ]:
            condition = Text(op, "title", text, case_sensitive)  # type: ignore[arg-type]
            assert (matching([record], condition) == {record.id}) is expected


@every_kind
def test_null_contains_no_text_not_even_the_empty_one(kind: Kind) -> None:
    rows = table(kind)
    for field in text_fields(kind):
        for op in ("contains", "starts_with", "ends_with"):
            for case_sensitive in (True, False):
                condition = Text(op, field, "", case_sensitive)
                assert matching(rows, condition) == present(rows, field)


# --- JSON ------------------------------------------------------------------------------------


def walked(value: Any, path: Iterable[str | int]) -> Any:
    """The value at a path in parsed JSON; None where there is none."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = dict(enumerate(value)).get(step)
        else:
            return None
    return value


def places(value: Any) -> list[tuple[str | int, ...]]:
    """Every path into a JSON value."""
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [(), *((step, *rest) for step, part in inner for rest in places(part))]


@given(json_values)
@example({"a": [1, 1.0, True, None, {}, [], "", 10**40, 1e22, -0.0]})
@example({"": {"0": [[0]]}})
@example("text")
def test_json_equals_by_canonical_text_at_every_path(value: Any) -> None:
    record: Record = DOCUMENT.evolve(metadata_json=value)
    others = [0, 0.0, False, "", [], {}, None]
    for path in places(value):
        part = walked(value, path)
        if isinstance(part, list):
            assert json_at(record.stored("metadata_json"), (*path, len(part))) is None
        for wanted in (part, *others):
            equal = (part is None) is (wanted is None) and canonical(part) == canonical(wanted)
            condition = JsonEquals("metadata_json", path, wanted)
            assert (matching([record], condition) == {record.id}) is equal


@given(
    st.none() | st.sampled_from(JSONS) | json_values,
    st.lists(st.sampled_from(["a", "b", "0", "", 0, 1, 2**70]), max_size=3),
)
def test_missing_path_and_json_null_are_null(value: Any, path: list[str | int]) -> None:
    record: Record = DOCUMENT.evolve(metadata_json=value)
    missing = walked(value, path) is None
    condition = JsonEquals("metadata_json", path, None)
    assert (matching([record], condition) == {record.id}) is missing
    text = json_at(record.stored("metadata_json"), tuple(path))
    assert text == (None if missing else canonical(walked(value, path)))


def test_json_is_matched_beyond_the_limits_of_what_is_written_today() -> None:
    """A limit that was lowered since must not make a read raise (VAL-7)."""
    value: Any = 1
    for _ in range(150):
        value = [value]
    assert json_at(canonical(value, bounded=False), (0,)) == canonical(value[0], bounded=False)


# --- Across kinds and tenants ----------------------------------------------------------------


@given(tables(Validation), tables(Document), st.data())
def test_in_query_is_membership_in_the_other_answer(
    validations: Rows, documents: Rows, data: st.DataObject
) -> None:
    tenant = data.draw(st.sampled_from([None, "a", "A"]))
    inner = Query(Document, tenant, data.draw(conditions(Document, tenant, 1)))
    ours, theirs = data.draw(
        st.sampled_from([("document_id", "id"), ("user_id", "title"), ("created_at", "deleted_at")])
    )
    members = members_in(validations, documents)
    found = evaluate(inner, documents, members)
    query = Query(Validation, tenant, InQuery(ours, inner, theirs))
    expected = {
        validation.id
        for validation in validations
        for document in found
        if tenant in (None, validation.tenant_id)
        and validation.tenant_id == document.tenant_id
        and validation.stored(ours) == document.stored(theirs)
        and validation.stored(ours) is not None
    }
    assert ids(evaluate(query, validations, members)) == expected


def test_null_is_never_among_the_answers() -> None:
    document = DOCUMENT.evolve(user_id=None)
    query = Query(Document, None, InQuery("user_id", Query(Document, None), "user_id"))
    assert evaluate(query, [document], members_in([document])) == []
    query = query.evolve(where=Not(query.where))
    assert evaluate(query, [document], members_in([document])) == [document]


def test_in_query_compares_words_by_their_text() -> None:
    tag = Tag(id=1, tenant_id=DOCUMENT.tenant_id, name="email", created_at=DOCUMENT.created_at)
    document = DOCUMENT.evolve(document_type="email")
    tenant = DOCUMENT.tenant_id
    query = Query(Document, tenant, InQuery("document_type", Query(Tag, tenant), "name"))
    assert evaluate(query, [document], members_in([tag], [document])) == [document]


@given(table_and(lambda kind: conditions(kind, "a")))
def test_query_stays_inside_its_tenant(drawn: Drawn) -> None:
    kind, table, condition = drawn
    mine = [record for record in table if record.tenant_id == "a"]
    query = Query(kind, "a", condition)
    assert evaluate(query, table, members_in(table)) == evaluate(query, mine, members_in(mine))


@given(kinds.flatmap(tables))
def test_query_without_tenant_reads_all(table: Rows) -> None:
    for kind in {type(record) for record in table}:
        assert ids(evaluate(Query(kind, None), table, members_in())) == ids(table)


def test_tenant_is_a_name_whoever_spelled_it() -> None:
    record = sample(Tag).evolve(tenant_id="".join(["al", "ice"]))
    found = evaluate(Query(Tag, "alice"), [record], lambda condition: ())
    assert found == [record]
