"""The JSON form of queries: what retention criteria, holds, export logs and cursors keep."""

import json
from datetime import datetime
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Document
from loki_storage.query import And, Compare, In, IsNull, JsonEquals, Not, Or, Order, Query, equals
from loki_storage.values import canonical
from tests.hostile import nested
from tests.strategies import MIDNIGHT, any_query, json_values, texts

EVERYTHING = And(())


def documents(where: Any = EVERYTHING, **parts: Any) -> Query:
    return Query(Document, "a", where, **parts)


@given(any_query)
@example(documents(Compare("title", "eq", "{}")))
@example(documents(JsonEquals("metadata_json", ("a", 0), '{"is": 1}')))
@example(documents(JsonEquals("metadata_json", (), {"is": "Not", "time": 1})))
@example(documents(In("created_at", [None, datetime.max.replace(tzinfo=MIDNIGHT.tzinfo)])))
@example(documents(limit=0, order=[Order("created_at", True)], after=[MIDNIGHT, 1]))
def test_query_comes_back_from_json_the_same(query: Query) -> None:
    data = query.to_json()
    again = Query.from_json(json.loads(canonical(data)))
    assert again == query
    assert again.to_json() == data
    assert json.loads(canonical(data)) == data


@given(any_query)
def test_json_text_stays_text_of_that_type(query: Query) -> None:
    def types(condition: Any) -> list[type]:
        parts = attrs.astuple(condition, recurse=False) if attrs.has(type(condition)) else condition
        if not isinstance(parts, tuple):
            return [type(parts)]
        return [found for part in parts for found in types(part)]

    assert types(Query.from_json(query.to_json())) == types(query)


BASE = documents().to_json()
LEAF: dict[str, Any] = {"is": "IsNull", "field": "title"}
COMPARE: dict[str, Any] = {"is": "Compare", "field": "title", "op": "eq", "value": "a"}


def with_part(name: str, *parts: Any) -> list[Any]:
    return [{**BASE, name: part} for part in parts]


def with_node(name: str, node: dict[str, Any], *parts: Any) -> list[Any]:
    """Forms whose condition is this node with one part exchanged."""
    return with_part("where", *({**node, name: part} for part in parts))


IN: dict[str, Any] = {"is": "In", "field": "title"}
AT_TIME = {**COMPARE, "field": "created_at"}
IN_JSON: dict[str, Any] = {"is": "JsonEquals", "field": "metadata_json", "path": [], "value": 1}
IN_QUERY: dict[str, Any] = {"is": "InQuery", "field": "id", "its_field": "id"}
ORDER: dict[str, Any] = {"is": "Order", "field": "id", "descending": False}
NO_JSON_TEXTS: list[Any] = [
    *(None, 1, "", "{", "[NaN]", "-Infinity", "\ud800", '"\\ud800"', '"\\u0000"', "1" * 5000),
    *("[" * 10**5, "[" * 65 + "]" * 65, "[0.5," * 10**5, f"[{10**20}," * 10**5, '{"a":1'),
    *("nul", "{1:2}", "1 2", "\ufeff1", "\ufeff" + "1" * 20),
]
MALFORMED: list[Any] = [
    *(None, 1, "query", [], {}, [BASE], {**BASE, "more": 1}, {1: 2}, {"version": 1}),
    *({key: part for key, part in BASE.items() if key != missing} for missing in BASE),
    *with_part("version", 2, 0, True, "1", None, [1]),
    *with_part("kind", "document", None, 1, ["documents"], {}, "Query", "\ud800", "x" * 10**6),
    *with_part("tenant", 1, "", [], {}, {"is": "And"}, "a\0", LEAF, {"query": BASE}),
    *with_part("limit", -1, "1", 1.5, True, [], {}, LEAF, 2**63),
    *with_part("offset", None, -1, "1", 1.5, [], {}, LEAF),
    *with_part("order", None, 1, "id", {}, ["id"], [None], [[]], LEAF, [LEAF]),
    *with_part("order", [{"is": "Order", "field": "id"}], [{**ORDER, "field": None}]),
    *with_part("order", [{**ORDER, "descending": "yes"}], [{**ORDER, "more": 1}]),
    *with_part("after", 1, "1", [], [1, 2], [LEAF], {}, ["1"], [[1]]),
    *with_part("where", None, 1, "x", [], {}, [LEAF], {"is": 1}, {"is": "Record"}, nested(3000)),
    *with_part("where", {"is": "IsNull"}, {**LEAF, "more": 1}, ORDER),
    *with_node("nodes", {"is": "Nodes"}, None, [], {}, [None], [1], ["a"], LEAF, [LEAF, 1]),
    *with_node(
        "nodes",
        {"is": "Nodes"},
        *([LEAF, {"is": "Not", "condition": place}] for place in (1, -1, True, "0", None, 0.0)),
        *([LEAF, {"is": "And", "conditions": places}] for places in ([1], [0, -1], 0, None)),
        [LEAF, {"is": "Or", "conditions": [0], "more": 1}],
    ),
    *with_part("where", {"is": "Nodes", "nodes": [LEAF], "more": 1}, {"is": "Nodes"}),
    *with_node("field", LEAF, None, 1, [], {}, "x", LEAF),
    *with_node("condition", {"is": "Not"}, None, 1, [], {}, [LEAF]),
    *with_node("conditions", {"is": "And"}, None, 1, "a", {}, LEAF, [1]),
    *with_node("op", COMPARE, None, 1, "=", [], {}, ["eq"]),
    *with_node("value", COMPARE, 1, [], ["a"], {}, LEAF, {"x": 1}, "\ud800"),
    *with_node("values", IN, None, 1, "a", [1], {}, LEAF),
    *with_node("value", AT_TIME, "2026-01-01T00:00:00Z", {"time": "2026-01-01T00Z", "more": 1}),
    *with_node("value", AT_TIME, *({"time": time} for time in (None, 1, "", "now", "2026-01-01"))),
    *with_node("value", AT_TIME, {"time": "0001-01-01T00:00:00+01:00"}),
    *with_node("path", IN_JSON, None, "a", 1, [None], [-1], [True], [[]], [{}], {}),
    *with_node("value", IN_JSON, {}, {"query": BASE}, {"a": 1}, {"json": "1", "more": 1}),
    *with_node(
        "value", IN_JSON, *({"json": text} for text in (None, 1, "", "{", "[NaN]", "\ud800"))
    ),
    *with_node(
        "value", IN_JSON, {"json": '"\\ud800"'}, {"json": '"\\u0000"'}, {"json": "[" * 10**5}
    ),
    *with_node("value", IN_JSON, {"json": "[" * 65 + "]" * 65}, {"json": "1" * 5000}),
    *with_node("query", IN_QUERY, None, 1, BASE, LEAF, {"query": None}),
    *with_node("query", IN_QUERY, {"query": {**BASE, "tenant": "b"}}, {"query": BASE, "more": 1}),
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json_form_is_refused_typed(data: Any) -> None:
    with pytest.raises((InvalidValue, InvalidField)):
        Query.from_json(data)


def test_json_form_nested_beyond_the_stack_is_refused_typed() -> None:
    data: Any = LEAF
    for _ in range(100_000):
        data = {"is": "Not", "condition": data}
    with pytest.raises(InvalidValue, match="nested too deeply"):
        Query.from_json({**BASE, "where": data})


@given(any_query, st.data())
def test_json_form_with_one_part_exchanged_is_read_or_refused_typed(
    query: Query, data: st.DataObject
) -> None:
    """Any part of the form may be anything: another error than ours would be a defect."""
    form: Any = json.loads(json.dumps(query.to_json()))
    places = list(walk(form))
    holder, key = data.draw(st.sampled_from(places))
    others = [place[0][place[1]] for place in places]
    holder[key] = data.draw(st.sampled_from(others) | json_values)
    try:
        Query.from_json(form)
    except (InvalidValue, InvalidField):
        return


def walk(data: Any) -> Any:
    """Each place in a JSON value that holds a part, as (container, key)."""
    keys = data.keys() if isinstance(data, dict) else range(len(data))
    for key in list(keys):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from walk(data[key])


@given(texts)
def test_names_that_json_brings_are_told_short(name: str) -> None:
    with pytest.raises((InvalidValue, InvalidField)) as caught:
        Query.from_json({**BASE, "where": {"is": "IsNull", "field": name * 1000 + "?"}})
    assert len(str(caught.value)) < 1500


def test_deep_condition_has_a_flat_form() -> None:
    condition: Any = IsNull("title")
    for n in range(9):
        condition = Or([condition]) if n % 2 else Not(condition)
    form: Any = documents(condition).to_json()["where"]
    assert form["is"] == "Nodes"
    assert form["nodes"][:3] == [
        {"is": "IsNull", "field": "title"},
        {"is": "Not", "condition": 0},
        {"is": "Or", "conditions": [1]},
    ]
    doubling: list[Any] = [LEAF, *({"is": "Or", "conditions": [n, n]} for n in range(60))]
    where: Any = {"is": "Nodes", "nodes": doubling}
    with pytest.raises(InvalidValue, match="more than 100,000"):
        Query.from_json({**BASE, "where": where})


def test_json_form_is_versioned() -> None:
    assert documents(equals(title="a"), order=[Order("id", True)], limit=3).to_json() == {
        "version": 1,
        "kind": "documents",
        "tenant": "a",
        "where": {"is": "Compare", "field": "title", "op": "eq", "value": "a"},
        "order": [{"is": "Order", "field": "id", "descending": True}],
        "limit": 3,
        "offset": 0,
        "after": None,
    }
    assert Query.from_json(BASE) == documents()
