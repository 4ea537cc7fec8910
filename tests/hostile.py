"""Values that break a careless store, and types that lie about themselves."""

import math
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs

from loki_storage.enums import CorrectionStatus, DocumentType, RiskLevel
from loki_storage.errors import InvalidValue
from loki_storage.values import LIMITS, Domain, canonical

SECRET = "SECRET"
"""Stands in values; no message, traceback or repr may hold it."""
SURROGATE = "\ud83d"
BERLIN = ZoneInfo("Europe/Berlin")


def error_of(check: Callable[[str, object], object], value: object) -> InvalidValue | None:
    try:
        check("field", value)
    except InvalidValue as error:
        return error
    return None


def refusal(domain: Domain, value: object) -> str | None:
    """The reason why the domain refuses the value; None where it accepts it."""
    error = error_of(domain.accept, value)
    assert error is None or (error.field, str(error)) == ("field", f"field: {error.reason}")
    return error.reason if error else None


@contextmanager
def limits(**changed: int) -> Iterator[None]:
    """Other limits of the process for a while."""
    before = attrs.asdict(LIMITS)
    try:
        for name, limit in changed.items():
            setattr(LIMITS, name, limit)
        yield
    finally:
        for name, limit in before.items():
            setattr(LIMITS, name, limit)


class LoudText(str):
    """Text that lies about itself in every method that a check might use."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __str__(self) -> str:
        return "another"

    def __contains__(self, part: object) -> bool:
        return False

    def isascii(self) -> bool:
        return True


class Level(IntEnum):
    HIGH = 3
    HUGE = 2**70


class Offset(tzinfo):
    """A time zone that answers what it was given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def utcoffset(self, moment: datetime | None) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return SECRET


class Moment(datetime):
    def __repr__(self) -> str:
        return SECRET


class Telltale:
    def __repr__(self) -> str:
        return SECRET


def nested(levels: int, leaf: object = 0) -> object:
    value = leaf
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
NO_JSON: dict[str, object] = {
    "nan": [math.nan],
    "infinity": {"a": [math.inf]},
    "minus infinity": -math.inf,
    "nan below a plain sibling": [0.5, {"a": [1, math.nan]}],
    "nul": "a\0",
    "nul in a key": {"a\0": 1},
    "surrogate": ["a" + SURROGATE],
    "surrogate pair": ["\ud83d\ude00"],
    "surrogate in a key": {SURROGATE: 0.5},
    "surrogate after a float": [0.5, SURROGATE],
    "nul after a float": {"a": 0.5, "b": "a\0"},
    "nul in a key after a float": {"a": 0.5, "b\0": 1},
    "number as key after a float": {"a": 0.5, 1: 2},
    "nul in a list after a float": [0.5, {"a": "\0"}],
    "number as key": {1: "a"},
    "none as key": {None: 0.5},
    "boolean as key": {True: 1},
    "bytes as key": {b"a": 1},
    "tuple as key": {("a",): 1},
    "4,301 digits": 10**4300,
    "4,301 digits below zero": [-(10**4300)],
    "65 levels": nested(65),
    "65 levels with a float": nested(65, 0.5),
    "cycle": CYCLE,
    "bytes": b"a",
    "set": {1},
    "decimal": Decimal(1),
    "complex": 1j,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "object": object(),
    "class": dict,
    "generator": iter([1]),
    "function": print,
    "ellipsis": [...],
}


SECRETS: list[object] = [
    SECRET + "\0",
    SECRET + SURROGATE,
    SECRET * 50,
    f" {SECRET}",
    SECRET.encode(),
    {SECRET + "\0": 1},
    {SECRET: {SECRET + SURROGATE: 0.5}},
    [SECRET, math.nan],
    {SECRET: Telltale()},
    [SECRET] * 200_000,
    nested(65, SECRET),
    Telltale(),
    datetime(2026, 1, 1, tzinfo=Offset(ValueError(SECRET))),
    Moment(1, 1, 1, tzinfo=timezone(timedelta(hours=1), SECRET)),
    Moment(2026, 1, 1),
]


Point = namedtuple("Point", "x y")
MOVED = OrderedDict(a=1, b=2)
MOVED.move_to_end("a")

NUMBERS: list[object] = [
    *(False, True, 0, 1, -1, 100, 36_500, 36_501, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64),
    *(-(2**63), -(2**63) - 1, 10**40, 10**4299, 10**4300, HTTPStatus.OK, *Level),
    *(0.0, -0.0, 0.5, 1.0, 1.0000000000000002, 1.5, -0.1, 5e-324, 1e308, 1e22),
    *(math.nan, math.inf, -math.inf, Decimal("0.5"), Fraction(1, 2), 1j),
]
TEXTS: list[object] = [
    *("", " ", "a", " a", "a ", "0", "1", "true", "None", "null", "NaN", "pending", "PENDING"),
    *(
        "email",
        "critical",
        "pass",
        "user",
        "archive",
        "days",
        "maximum",
        "#00ff00",
        "#00FF0",
        "#00ff00\n",
        "12345678",
    ),
    *("a\0b", "\0", "\ud800", "a\udfff", "\U0001f600", "\u00e9", "e\u0301", "\ufb01", "\u00df"),
    *("a\r\nb", "\t", "\x1b[0m", "\x7f", "\x85", "\u2028", "\ufeff", "\uffff", "\U0010ffff"),
    *("%", "_", "\\", "'; DROP TABLE documents; --", "{}", "2026-01-01T00:00:00+00:00"),
    *("x" * n for n in (7, 8, 10, 11, 20, 21, 45, 46, 50, 51, 64, 65, 100, 101, 200, 201)),
    *("\U0001f600" * n for n in (50, 51, 255, 256, 500, 501)),
    *("x" * 2**20, "x" * (2**20 + 1)),
    *(DocumentType.EMAIL, CorrectionStatus.PENDING, RiskLevel.CRITICAL, canonical({"a": 1})),
    *(LoudText("email"), LoudText("a\0b"), b"email", bytearray(b"email"), memoryview(b"email")),
]
MOMENTS: list[object] = [
    *(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), time(1)),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2026, 1, 1, 1, 2, 3, 456_789, timezone(timedelta(hours=-23, seconds=-59))),
    *(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    datetime.min.replace(tzinfo=timezone(timedelta(microseconds=1))),
    datetime.max.replace(tzinfo=timezone(timedelta(microseconds=-1))),
    datetime(2026, 1, 1, tzinfo=Offset(None)),
    datetime(2026, 1, 1, tzinfo=Offset(ValueError(SECRET))),
    *(Moment(2026, 1, 1), Moment(2026, 1, 1, tzinfo=UTC), timedelta(1), UTC),
]
THINGS: list[object] = [
    *(None, [], {}, (), [1], [1.0], {"a": None}, {"a": {"b": [True]}}, Point(1, 2), MOVED),
    *(defaultdict(list, a=[1]), nested(64), nested(64, 0.5), set(), frozenset({1}), range(3)),
    *(object, object(), print, ..., NotImplemented, Telltale(), UUID(int=1), PurePosixPath("a")),
]
CORPUS = [*NUMBERS, *TEXTS, *MOMENTS, *THINGS, *NO_JSON.values(), *SECRETS]
