"""QRY: what a query accepts, how it is normalised, and its JSON form."""

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given

from loki_storage.enums import RiskLevel, ValidationStatus
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import KINDS, Document, Kind, Tag, Validation
from loki_storage.query import (
    MAXIMUM_CONDITIONS,
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
    all_of,
    any_of,
    equals,
)
from loki_storage.values import Json, canonical
from loki_storage.values import Text as TextDomain
from tests.hostile import CORPUS, SECRET, SECRETS, Telltale
from tests.strategies import (
    MIDNIGHT,
    any_query,
    comparable,
    json_values,
    moments,
    orderable,
    pool,
)

TITLE = IsNull("title")

EVERYTHING = And(())


def documents(where: Any = EVERYTHING, **parts: Any) -> Query:
    return Query(Document, "a", where, **parts)


def held(condition: Any, kind: Kind = Document) -> Any:
    """The condition as a query holds it."""
    return Query(kind, "a", condition).where


# --- Names -----------------------------------------------------------------------------------

NAMED: list[Callable[[Any], object]] = [
    lambda field: documents(Compare(field, "eq", 1)),
    lambda field: documents(In(field, ())),
    lambda field: documents(IsNull(field)),
    lambda field: documents(Not(Or([IsNull(field)]))),
    lambda field: documents(Text("contains", field, "a")),
    lambda field: documents(JsonEquals(field, (), 1)),
    lambda field: documents(InQuery(field, documents(), "id")),
    lambda field: documents(InQuery("id", documents(), field)),
    lambda field: documents(order=[Order(field)]),
]


@pytest.mark.parametrize("make", NAMED)
def test_unknown_field_is_refused_with_the_nearest_one(make: Callable[[Any], object]) -> None:
    with pytest.raises(InvalidField, match="did you mean 'title'") as caught:
        make("titel")
    assert caught.value.suggestion == "title"


@pytest.mark.parametrize("make", NAMED)
@pytest.mark.parametrize("field", [None, 1, ["id"], {}, ("id",), b"id", Order("id"), Telltale()])
def test_field_that_is_no_text_is_refused(make: Callable[[Any], object], field: object) -> None:
    with pytest.raises(InvalidField) as caught:
        make(field)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["documents", None, 1, object, Document.__mro__[1], [], Query])
def test_kind_is_a_record_class(kind: Any) -> None:
    with pytest.raises(InvalidField, match="is not a record class"):
        Query(kind, "a")


def test_unknown_operator_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidField, match="did you mean 'eq'"):
        documents(Compare("title", "eqq", "a"))  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="did you mean 'starts_with'"):
        documents(Text("start_with", "title", "a"))  # type: ignore[arg-type]


@pytest.mark.parametrize("op", [None, 1, ["eq"], Telltale(), ""])
def test_operator_that_is_none_is_refused(op: Any) -> None:
    for condition in (Compare("title", op, "a"), Text(op, "title", "a")):
        with pytest.raises(InvalidField) as caught:
            documents(condition)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "thing", [None, 1, "title", ["title"], Order("id"), documents(), object(), IsNull, {"a": 1}]
)
def test_condition_is_one_of_the_closed_set(thing: Any) -> None:
    for where in (thing, Not(thing), And([TITLE, thing]), Or([thing])):
        with pytest.raises(InvalidField, match="is not a condition"):
            documents(where)


# --- Operators fit fields --------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "field"), [(k, f) for k in KINDS.values() for f in k.domains])
def test_operators_fit_what_a_field_holds(kind: Kind, field: str) -> None:
    domain = kind.domains[field]
    value = next(value for value in pool(domain) if value is not None)
    is_open = getattr(domain, "open", True)
    fits = {
        "eq": field in comparable(kind),
        "in": field in comparable(kind),
        "lt": field in orderable(kind),
        "order": field in orderable(kind),
        "text": isinstance(domain, TextDomain) and is_open,
        "json": isinstance(domain, Json),
    }
    tried: dict[str, Callable[[], object]] = {
        "eq": lambda: Query(kind, "a", Compare(field, "eq", value)),
        "in": lambda: Query(kind, "a", In(field, [value, None])),
        "lt": lambda: Query(kind, "a", Compare(field, "lt", value)),
        "order": lambda: Query(kind, "a", order=[Order(field)]),
        "text": lambda: Query(kind, "a", Text("contains", field, "a")),
        "json": lambda: Query(kind, "a", JsonEquals(field, ("a",), 1)),
    }
    assert {name: accepted(make) for name, make in tried.items()} == fits


def accepted(make: Callable[[], object]) -> bool:
    try:
        make()
    except InvalidField:
        return False
    return True


def test_content_json_and_booleans_cannot_be_ordered_by() -> None:
    unordered = {"content", "metadata_json", "is_latest", "is_deleted"}
    assert set(Document.domains) - set(orderable(Document)) == unordered


# --- Values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_hostile_value_is_compared_or_refused_as_a_value(kind: Kind) -> None:
    """Equal verdicts by Compare, In and cursor; the error names the field, never the value."""
    for field in comparable(kind):
        for value in CORPUS:
            ways: list[Condition] = [Compare(field, op, value) for op in ("eq", "ne")]
            verdicts = {refused(Query, kind, "a", way) for way in (*ways, In(field, [value]))}
            if field in orderable(kind):
                order, rest = [Order(field)], [] if field == "id" else [1]
                verdicts.add(refused(Query, kind, "a", order=order, after=[value, *rest]))
            assert len(verdicts) == 1, (field, verdicts)
            assert SECRET not in str(verdicts)


def refused(make: Callable[..., object], *arguments: object, **named: object) -> str | None:
    """The message of the refusal, or None."""
    try:
        make(*arguments, **named)
    except InvalidValue as error:
        return str(error)
    return None


@pytest.mark.parametrize("op", ["lt", "le", "gt", "ge"])
def test_nothing_is_less_or_greater_than_none(op: Any) -> None:
    with pytest.raises(InvalidValue, match="is_null"):
        documents(Compare("title", op, None))


def test_equality_with_none_means_null() -> None:
    assert held(Compare("title", "eq", None)) == TITLE
    assert held(Compare("title", "ne", None)) == Not(TITLE)
    assert equals(title=None, source="a") == And([TITLE, Compare("source", "eq", "a")])


@given(moments)
def test_time_in_another_zone_is_compared_in_utc(moment: datetime) -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    if moment.year < 9999:
        condition = Compare("created_at", "lt", moment.astimezone(there))
        assert held(condition) == Compare("created_at", "lt", moment)
        assert str(held(condition).value.tzinfo) == "UTC"


def test_words_are_held_as_members() -> None:
    assert held(Compare("status", "eq", "failed"), Validation).value is ValidationStatus.FAILED
    assert held(In("overall_risk", ["high", None]), Validation).values == (RiskLevel.HIGH, None)
    with pytest.raises(InvalidValue, match="status: must be one of"):
        held(Compare("status", "eq", "FAILED"), Validation)


@given(json_values)
def test_json_is_compared_by_its_canonical_text(value: Any) -> None:
    for given_ in (value, canonical(value)):
        found = held(JsonEquals("metadata_json", ["a", 0], given_))
        expected = None if value is None else canonical(value)
        assert (found.value, type(found.value)) == (expected, type(expected))


@pytest.mark.parametrize("path", ["a.b", None, 1, [None], [1.0], [True], [-1], ["a\0"], [["a"]]])
def test_path_is_keys_and_indexes(path: Any) -> None:
    with pytest.raises(InvalidValue):
        documents(JsonEquals("metadata_json", path, 1))


@pytest.mark.parametrize("value", SECRETS, ids=range(len(SECRETS)))
def test_text_looked_for_is_text(value: Any) -> None:
    condition = Text("contains", "title", value)
    if isinstance(value, str) and refused(documents, equals(title=value)) is None:
        assert held(condition).text == value
    else:
        assert SECRET not in str(refused(documents, condition) or SECRET)


@pytest.mark.parametrize("case_sensitive", [None, 1, "yes"])
def test_case_sensitivity_is_a_boolean(case_sensitive: Any) -> None:
    with pytest.raises(InvalidValue, match="case_sensitive"):
        documents(Text("contains", "title", "a", case_sensitive))


@pytest.mark.parametrize("parts", [None, 5, "id", b"id", object(), Order("id")])
def test_parts_are_sequences(parts: Any) -> None:
    for make in (And, Or, lambda p: In("id", p), lambda p: documents(order=p)):
        with pytest.raises(InvalidValue, match="must be a sequence"):
            make(parts)
    if parts is not None:
        with pytest.raises(InvalidValue, match="after: must be a sequence"):
            documents(after=parts)


# --- Tenant, order, window -------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["", "x" * 101, "a\0", 1, ["a"], b"a", "\ud800"])
def test_tenant_is_a_tenant_or_none(tenant: Any) -> None:
    assert refused(Query, Document, tenant) is not None
    assert refused(Query, Document, None) is None


@pytest.mark.parametrize("order", ["id", None, 1, Compare("id", "eq", 1), ("id", True)])
def test_order_is_made_of_orders(order: Any) -> None:
    with pytest.raises(InvalidField, match="is not an order"):
        documents(order=[order])


@pytest.mark.parametrize("descending", [None, 1, "desc", []])
def test_direction_is_a_boolean(descending: Any) -> None:
    with pytest.raises(InvalidValue, match="descending"):
        documents(order=[Order("id", descending)])


@given(any_query)
def test_total_order_ends_with_the_id_in_the_direction_of_the_first(query: Query) -> None:
    total = query.total_order
    assert [order.field for order in total].index("id") == len(total) - 1
    if total[:-1] == query.order:
        assert total[-1].descending is (bool(query.order) and query.order[0].descending)
    else:
        assert total == query.order[: len(total)]


@pytest.mark.parametrize("value", [-1, True, False, 1.0, "1", 2**63, 10**40, [], object()])
@pytest.mark.parametrize("name", ["limit", "offset"])
def test_window_is_natural_numbers_of_64_bits(name: str, value: Any) -> None:
    assert str(refused(documents, **{name: value})).startswith(f"{name}: ")
    for legal in (0, 1, 2**63 - 1):
        assert refused(documents, **{name: legal}) is None
    assert refused(documents, offset=None) == "offset: must be an integer"


@pytest.mark.parametrize("after", [(), (1, 1), ("1",), (True,), (1.0,), ([],), {"a": 1}])
def test_cursor_of_another_order_is_refused(after: Any) -> None:
    assert refused(documents, after=after) is not None


def test_cursor_holds_the_values_of_the_total_order() -> None:
    query = documents(order=[Order("title"), Order("created_at")], after=[None, MIDNIGHT, 7])
    assert query.after == (None, MIDNIGHT, 7)
    assert query.whole() == documents(order=query.order)


# --- Nesting ---------------------------------------------------------------------------------

WRAPPERS: list[Callable[[Any], Condition]] = [
    Not,
    lambda inner: And([inner]),
    lambda inner: Or([TITLE, inner]),
]


def deep(levels: int, wrap: Callable[[Any], Condition], leaf: Condition = TITLE) -> Condition:
    """A condition that is so many levels deep."""
    for _ in range(levels - 1):
        leaf = wrap(leaf)
    return leaf


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("levels", [2, 9, 500, 20_000])
def test_conditions_nest_to_any_depth(levels: int, wrap: Callable[[Any], Condition]) -> None:
    query = documents(deep(levels, wrap))
    assert query == documents(deep(levels, wrap))
    assert query != documents(deep(levels + 1, wrap))
    assert query != documents(deep(levels, wrap, IsNull("source")))
    assert hash(query) == hash(documents(deep(levels, wrap)))
    assert repr(query).count("title") == repr(query).count("IsNull") >= 1
    assert Query.from_json(query.to_json()) == query
    with pytest.raises(InvalidField, match="titel"):
        documents(deep(levels, wrap, IsNull("titel")))


def test_number_of_conditions_is_bounded() -> None:
    """By what they come to: one that is used twice counts twice."""
    twice: Condition = TITLE
    for _ in range(60):
        twice = Or([twice, twice])
    many = Or([TITLE] * MAXIMUM_CONDITIONS)
    for condition in (twice, many, deep(MAXIMUM_CONDITIONS + 1, Not)):
        assert "more than 100,000 conditions" in str(refused(documents, condition))
    assert refused(documents, deep(MAXIMUM_CONDITIONS, Not)) is None


def test_conditions_are_equal_only_as_they_stand() -> None:
    a, b = IsNull("title"), IsNull("source")
    apart = [And([a, b]), Or([a, b]), And([b, a]), And([a]), And([And([a]), b]), And([And([a, b])])]
    apart += [Not(a), Not(Not(a)), And([]), Or([]), And([Not(a), b]), And([Not(And([a])), b])]
    for n, one in enumerate(apart):
        assert [m for m, other in enumerate(apart) if one == other] == [n]
    assert And([a]) != "text"


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("levels", [8, 9, 300])
def test_any_query_fits_a_json_field(levels: int, wrap: Callable[[Any], Condition]) -> None:
    leaf: Condition = In("created_at", [MIDNIGHT])
    for _ in range(2):
        leaf = InQuery("id", documents(deep(levels, wrap, leaf)), "id")
    query = documents(deep(levels, wrap, leaf))
    canonical({"in": {"criteria": query.to_json()}})
    assert Query.from_json(query.to_json()) == query


def test_queries_nest_two_deep() -> None:
    condition: Condition = TITLE
    for _ in range(2):
        condition = InQuery("id", documents(condition), "id")
        documents(condition)
    with pytest.raises(InvalidField, match="nest at most 2 deep"):
        documents(InQuery("id", documents(condition), "id"))
    with pytest.raises(InvalidField, match="nest at most 2 deep"):
        documents(And([Not(InQuery("id", documents(Or([TITLE, condition])), "id"))]))


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (5, "is not a query"),
        (None, "is not a query"),
        (documents(limit=1), "without limit"),
        (documents(limit=0), "without limit"),
        (documents(offset=1), "without limit"),
        (documents(after=[1]), "without limit"),
        (Query(Document, "b"), "same tenant"),
        (Query(Document, None), "same tenant"),
    ],
)
def test_inner_query_is_a_whole_one_of_the_tenant(inner: Any, reason: str) -> None:
    with pytest.raises(InvalidField, match=reason):
        documents(InQuery("id", inner, "id"))


def test_inner_query_answers_with_comparable_values() -> None:
    documents(InQuery("document_type", Query(Tag, "a"), "name"))
    for ours, theirs in [("id", "name"), ("title", "id"), ("created_at", "id")]:
        with pytest.raises(InvalidField, match="cannot be compared"):
            documents(InQuery(ours, Query(Tag, "a"), theirs))
    with pytest.raises(InvalidField, match="is JSON"):
        documents(InQuery("metadata_json", documents(), "metadata_json"))


# --- Joining ---------------------------------------------------------------------------------


def test_joining_needs_no_nesting() -> None:
    one, two, three = (Compare("id", "eq", n) for n in (1, 2, 3))
    for join, node in ((all_of, And), (any_of, Or)):
        assert join(one) == one
        assert join() == node(())
        assert join(join(one, two), three) == node([one, two, three])
    assert all_of(any_of(one, two), three) == And([Or([one, two]), three])


def test_many_steps_of_a_builder_stay_flat() -> None:
    either: Condition = TITLE
    for number in range(500):
        either = any_of(either, Compare("id", "eq", number))
    documents(either).narrow(TITLE).narrow(TITLE)


@given(any_query)
def test_query_is_a_value(query: Query) -> None:
    assert query.evolve() == query == pickle.loads(pickle.dumps(query))
    assert hash(query.evolve()) == hash(query)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        query.limit = 1  # type: ignore[misc]


def test_repr_tells_no_values() -> None:
    hidden: list[Condition] = [
        Compare("title", "eq", SECRET),
        In("title", [SECRET]),
        Text("contains", "title", SECRET),
        JsonEquals("metadata_json", ["a"], SECRET),
        InQuery("id", documents(equals(title=SECRET)), "id"),
    ]
    query = documents(And(hidden), order=[Order("title")], after=[SECRET, 1])
    assert SECRET not in f"{query} {query!r} {hidden!r}"
    assert "title" in repr(query)
