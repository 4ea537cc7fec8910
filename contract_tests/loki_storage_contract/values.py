"""Values of every field: a few near ones, on which rows collide, and the hostile ones.

The hostile ones are legal (VAL), and each broke some store: they come back exactly, or the store
is wrong.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ParamSpec, TypeVar

from hypothesis import strategies as st

from loki_storage.values import Boolean, Color, Domain, Integer, Json, Number, Text, Time, Word

__all__ = [
    "HOSTILE_JSON",
    "HOSTILE_TEXTS",
    "HOSTILE_TIMES",
    "NOON",
    "any_value",
    "hostile",
    "near",
    "near_value",
    "remembered",
]

P = ParamSpec("P")
T = TypeVar("T")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

_TICK = timedelta(microseconds=1)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

NEAR_TEXTS = [
    "a",
    "A",
    "",
    "a ",
    "a%",
    "%",
    "_",
    "\\",
    "ß",
    "SS",
    "é",
    "e\u0301",
    "\U0001f600",
    "\uffff",
]
NEAR_TIMES = [NOON, NOON + _TICK, NOON - _TICK, _FIRST, _LAST]
NEAR_JSON: list[Any] = [
    *({"a": 1}, {"a": 1.0}, {"a": None}, {}, [], 0, "", [True]),
    {"a": {"b": [1, [2]]}},
]

HOSTILE_TEXTS = [
    *("", " ", "\t", "\n", "\r\n", "a\rb", " a ", "a\u0301", "\u00e1", "\u0130", "\u1e9e"),
    *("%", "_", "\\", "\\%", "'", '"', "''", "`", ";--", "$1", "?", ":a", "{}", "%s", "%(a)s"),
    *("\x01", "\x1a", "\x7f", "\x85", "\u2028", "\u200b", "\ufeff", "\ufffd", "\ufffe", "\uffff"),
    *("\U0001f600", "\U0010ffff", "a" * 1000, "\U0001f600" * 100, "null", "NULL", "0", "1e5"),
    *("\ufeffa", "a\ufeff", " a", "a ", "a\u00a0"),
    *("true", "\\u0000", "\\x00", "\x1b[0m", "=1+1", "{", "[]", '{"a":1}', "2026-03-01"),
    *("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000000+00:00", "007", "1.0", "a\\nb", "&amp;"),
    *("\u2764\ufe0f", "a\u200db", "\u202ea", "<b>", "None", "a\u0300\u0301", "\ufb01", "\uff21"),
]
HOSTILE_JSON: list[Any] = [
    *({}, [], "", 0, 1, 1.0, -0.0, 0.1, 1e22, 5e-324, 10**18, 2**63, -(2**63) - 1, 10**40),
    *(True, False, [None], {"a": None}, {"": ""}, {"b": 1, "a": 2}, {"a": 2, "b": 1}, [[]]),
    *({"a": {"b": {"c": [1, 2.0, "3"]}}}, {"\U0001f600": "\uffff"}, {"a.b": 1, "a": {"b": 2}}),
    *([1, "1", 1.0, True], {"1": 1, "01": 2}, "\u2028", ["\\", '"', "/", "\x01"], [1e308, -1e308]),
    *({"$a": 1, "_id": 2, "a[0]": 3}, {"a\u0301": "\u00e1"}, {"a": {"": {}}}, [0.1 + 0.2, 1 / 3]),
    *("2026-03-01T12:00:00.000000Z", {"at": "2026-02-29"}, "007", {"a": "null"}, [-(2**53) - 1]),
]
HOSTILE_TIMES = [
    *(_FIRST, _FIRST + _TICK, _LAST, _LAST - _TICK, NOON, NOON + _TICK, NOON - _TICK),
    *(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(1970, 1, 1, tzinfo=UTC)),
    *(datetime(1582, 10, 10, tzinfo=UTC), datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC)),
    *(datetime(2024, 2, 29, tzinfo=UTC), datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    *(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
]
LONG_TEXT = "\u00e9" * 70_000
"""Longer than 65,535 characters."""


def remembered(build: Callable[P, T]) -> Callable[P, T]:
    """Build each strategy once: to build it costs more than to draw from it."""
    return cache(build)  # type: ignore[return-value]


def near(domain: Domain) -> list[Any]:
    """A few legal values, and None where it is legal."""
    return [*_near(domain), *([None] if domain.nullable else [])]


def _near(domain: Domain) -> list[Any]:
    match domain:
        case Boolean():
            return [True, False]
        case Integer(minimum=minimum, maximum=maximum):
            return [n for n in (1, 2, 3, 0, maximum) if n >= minimum]
        case Number(minimum=minimum, maximum=maximum):
            return [minimum, (minimum + maximum) / 3, maximum]
        case Time():
            return NEAR_TIMES
        case Json():
            return NEAR_JSON
        case Color():
            return ["#00ff00", "#00FF00"]
        case Word():
            return [*list(domain.vocabulary)[:4], *(["A", "é"] if domain.open else [])]
        case Text():
            return _fitting(domain, NEAR_TEXTS)
    raise AssertionError(domain)


def hostile(domain: Domain) -> list[Any]:
    """The hostile values of a domain, those at its bounds, and None where it is legal."""
    return [*_hostile(domain), *([None] if domain.nullable else [])]


def _hostile(domain: Domain) -> list[Any]:
    match domain:
        case Integer(minimum=minimum, maximum=maximum):
            bounds = (minimum, maximum, 1, 2**31, 2**53 + 1, -(2**31) - 1, -(2**53) - 1)
            return [n for n in bounds if minimum <= n <= maximum]
        case Number(minimum=minimum, maximum=maximum):
            return [n for n in (minimum, maximum, 1 / 3, 0.1 + 0.2, 5e-324) if n <= maximum]
        case Time():
            return HOSTILE_TIMES
        case Json():
            return [*HOSTILE_JSON, {"a": LONG_TEXT}]
        case Word() | Color():
            return _near(domain)
        case Text(limit=limit):
            longest = LONG_TEXT if limit is None else LONG_TEXT[:limit]
            return [*_fitting(domain, HOSTILE_TEXTS), longest]
    return _near(domain)


@remembered
def near_value(domain: Domain) -> st.SearchStrategy[Any]:
    """One of the near values."""
    return st.sampled_from(near(domain))


@remembered
def any_value(domain: Domain) -> st.SearchStrategy[Any]:
    """Any legal value, the hostile ones often."""
    legal = _any_value(domain)
    return st.none() | legal if domain.nullable else legal


def _any_value(domain: Domain) -> st.SearchStrategy[Any]:
    match domain:
        case Integer(minimum=minimum, maximum=maximum):
            return st.integers(minimum, maximum)
        case Number(minimum=minimum, maximum=maximum):
            return st.floats(minimum, maximum)
        case Time():
            return st.sampled_from(HOSTILE_TIMES) | st.datetimes(timezones=st.just(UTC))
        case Json():
            return st.sampled_from(HOSTILE_JSON) | _json
        case Boolean() | Color():
            return near_value(domain)
        case Word():
            return st.sampled_from(
                [*domain.vocabulary, *(["A", "é", "x y"] if domain.open else [])]
            )
        case Text(minimum=minimum, limit=limit):
            fitting = st.sampled_from(_fitting(domain, HOSTILE_TEXTS))
            return fitting | st.text(_characters, min_size=minimum, max_size=min(limit or 99, 99))
    raise AssertionError(domain)


def _fitting(domain: Text, texts: list[str]) -> list[str]:
    longest = len(max(texts, key=len)) if domain.limit is None else domain.limit
    return [text for text in texts if domain.minimum <= len(text) <= longest]


_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_characters, max_size=9)
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(_characters, max_size=4), inner)
    ),
    max_leaves=8,
).filter(lambda value: value is not None)
