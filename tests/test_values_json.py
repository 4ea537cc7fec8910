"""VAL-6: JSON comes back as it went in, or is refused."""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import example, given

from loki_storage.enums import DocumentType
from loki_storage.errors import InvalidValue
from loki_storage.values import LIMITS, Json, JsonText, Limits, canonical, parse
from tests.hostile import MOVED, NO_JSON, Level, LoudText, Point, limits, nested, refusal
from tests.strategies import json_values


def same(one: object, other: object) -> bool:
    """Equality that tells 1, 1.0 and True apart, and sees the order of keys."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (repr(one) == repr(other))


def standard(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


FOUND_JSON: list[Any] = [
    {"z": 1, "a": {"y": None, "b": []}},
    [1, 1.0, True, -0.0, 0.0, 0, None, {}, [], ""],
    *(10**40, -(10**4299), 10**16, 2**53 + 1),
    *(2**63, -(2**63) - 1, 2**64, 2**64 - 1, 10**18, 10**19, -(10**19)),  # 64 bits end here
    *(1e-7, 1.5e-7, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1, 123456789.12345678),
    {"a": 0.5, "b": 2**64},
    ["\x01\x1f\x7f\x80\u2028\u2029\ufeff\uffff\U0001f600", '"\\/\b\f\n\r\t'],
    {"": {" ": 0}, "1234567890123456789": "1234567890123456789"},
    *("text", "", "\ufeff", "\u0661" * 20, 3, True),
]


def found(test: Callable[..., None]) -> Callable[..., None]:
    for value in FOUND_JSON:
        test = example(value)(test)
    return test


@found
@given(json_values)
def test_json_comes_back_the_same(value: Any) -> None:
    assert same(parse(canonical(value)), value)


@found
@given(json_values)
def test_canonical_text_is_one_whichever_library_wrote_it(value: Any) -> None:
    text = canonical(value)
    assert text == standard(value) == canonical(parse(text))
    assert text in canonical([value, 0.5])


@given(json_values)
def test_parsed_value_is_new_each_time(value: Any) -> None:
    text = canonical([value])
    first = parse(text)
    assert isinstance(first, list)
    first.clear()
    assert same(parse(text), [value])


class Upwards(dict[str, Any]):
    """A mapping with an order of its own."""

    def items(self) -> Any:
        return sorted(super().items())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Point(1, 2), "[1,2]"),
        (Point(1, 0.5), "[1,0.5]"),
        ((1, (2,)), "[1,[2]]"),
        (MOVED, '{"b":2,"a":1}'),
        ({"in": MOVED}, '{"in":{"b":2,"a":1}}'),
        (Upwards(b=1, a=2), '{"a":2,"b":1}'),
        ([HTTPStatus.OK, Level.HUGE], f"[200,{2**70}]"),
        ([DocumentType.EMAIL], '["email"]'),
        ({DocumentType.EMAIL: 1}, '{"email":1}'),
        ([LoudText("a")], '["a"]'),
        ({"only": JsonText("{}")}, '{"only":"{}"}'),
    ],
)
def test_subclasses_count_as_what_they_are_made_of(value: object, text: str) -> None:
    """orjson refuses named tuples and reads past the order of an ``OrderedDict``."""
    assert canonical(value) == text


@pytest.mark.parametrize("name", NO_JSON)
def test_what_would_not_come_back_equal_is_refused(name: str) -> None:
    assert refusal(Json(), NO_JSON[name]) is not None


@pytest.mark.parametrize("sign", [1, -1])
def test_long_integer_is_refused_also_where_python_would_write_it(sign: int) -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert refusal(Json(), sign * 10**4300) == "integers in JSON must be at most 4,300 digits"
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize("levels", [0, 1, 63, 64])
@pytest.mark.parametrize("leaf", [0, 0.5, "a"])
def test_json_may_be_64_levels_deep(levels: int, leaf: object) -> None:
    assert same(parse(canonical(nested(levels, leaf))), nested(levels, leaf))


@pytest.mark.parametrize("leaf", [0, 0.5])
def test_unbounded_json_ends_where_it_could_not_be_read_again(leaf: object) -> None:
    assert same(parse(canonical(nested(200, leaf), bounded=False)), nested(200, leaf))
    for levels in (201, 300, 5000):
        assert refusal(Json(bounded=False), nested(levels, leaf)) is not None


@pytest.mark.parametrize("text", ["a", "\u00e9", "\U0001f600", "\n", '"'])
@pytest.mark.parametrize("leaf", [0, 0.5])
def test_json_may_be_a_mebibyte(text: str, leaf: object) -> None:
    each = len(standard(text).encode()) - 2
    room = (2**20 - len(standard([leaf, ""]))) // each
    assert refusal(Json(), [leaf, text * room]) is None
    assert refusal(Json(), [leaf, text * (room + 1)]) == "must be at most 1048576 bytes as JSON"
    assert refusal(Json(bounded=False), [leaf, text * (room + 1)]) is None


@pytest.mark.parametrize("depth", [0, 101, -1, True, 1.5, None, "64"])
def test_limit_of_depth_stays_where_json_can_be_read_again(depth: Any) -> None:
    with pytest.raises(InvalidValue, match="json_depth"):
        LIMITS.json_depth = depth
    with pytest.raises(InvalidValue, match="json_depth"):
        Limits(json_depth=depth)
    assert LIMITS.json_depth == 64


def test_limit_of_depth_may_be_raised() -> None:
    with limits(json_depth=100):
        assert same(parse(canonical(nested(100, 0.5))), nested(100, 0.5))
        assert refusal(Json(), nested(101)) is not None


@given(json_values)
def test_canonical_text_is_taken_as_it_is(value: Any) -> None:
    text = canonical(value)
    assert Json().accept("field", text) is text
    assert same(parse(Json().accept("field", str(text))), str(text))  # type: ignore[arg-type]
