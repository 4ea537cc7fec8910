"""What a query means, in plain Python (QRY). The memory backend and the overlay run on it; any
other backend must give the same answers, and is checked against it.
"""

import operator
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from loki_storage.models import Record, domain_of
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
from loki_storage.values import JsonValue, canonical, parse

__all__ = ["Members", "Position", "evaluate", "matcher", "position", "window"]

Predicate = Callable[[Record], bool]
Members = Callable[[InQuery], Collection[tuple[str, object]]]
"""Resolves an ``InQuery``: the (tenant, value) pairs that its query matches; NULL is not one."""
Position = tuple[Any, ...]
Step = tuple[Predicate, "Step", "Step"] | bool
"""A test, and the steps after it if it holds and if not; or the answer."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def evaluate(query: Query, records: Iterable[Record], members: Members) -> list[Record]:
    """The records of the query's kind that it matches, in its order, within its window."""
    matches = matcher(query, members)
    found = sorted(filter(matches, records), key=position(query))
    return list(window(query, found))


def window(query: Query, ordered: Iterable[Record]) -> Iterator[Record]:
    """The part of ordered matches that ``after``, ``offset`` and ``limit`` leave."""
    if query.after is not None:
        place, start = position(query), cursor_position(query, query.after)
        ordered = (record for record in ordered if place(record) > start)
    start_at, limit = query.offset, sys.maxsize if query.limit is None else query.limit
    return islice(ordered, start_at, min(start_at + limit, sys.maxsize))


def matcher(query: Query, members: Members) -> Predicate:
    """A function that tells whether a record of the query's kind is of its tenant and matches."""
    first = _steps(query, members)

    def matches(record: Record) -> bool:
        step = first
        while type(step) is tuple:
            test, if_true, if_false = step
            step = if_true if test(record) else if_false
        return bool(step)

    if query.tenant is None:
        return matches
    return lambda record: record.tenant_id == query.tenant and matches(record)


def position(query: Query) -> Callable[[Record], Position]:
    """A function that gives a record's place in the query's total order (QRY-1)."""
    keys = [(order.field, _place(query, order)) for order in query.total_order]
    return lambda record: tuple(place(getattr(record, field)) for field, place in keys)


def cursor_position(query: Query, after: tuple[object, ...]) -> Position:
    """The place of a cursor's values in the same order."""
    places = [_place(query, order) for order in query.total_order]
    return tuple(map(operator.call, places, after))


class _Descending:
    """Turns an order around, for values that cannot be negated."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.value == other.value)

    def __lt__(self, other: "_Descending") -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


_NULL = (True,)
"""After every (False, value): NULLs come last in both directions."""


def _place(query: Query, order: Order) -> Callable[[Any], tuple[Any, ...]]:
    rank = domain_of(query.kind, order.field).rank
    if order.descending:
        return lambda value: _NULL if value is None else (False, _Descending(rank(value)))
    return lambda value: _NULL if value is None else (False, rank(value))


def _steps(query: Query, members: Members) -> Step:
    """The condition as tests, each with the step after it: as deep as conditions may be.

    Made from the last test to the first, so that what comes after is there already.
    """
    first: Step = True
    todo: list[tuple[Condition, Step | None, Step | None]] = [(query.where, True, False)]
    while todo:
        condition, if_true, if_false = todo.pop()
        # None: go on with what was made last, the condition's next neighbour.
        if_true, if_false = (first if step is None else step for step in (if_true, if_false))
        match condition:
            case And(parts) if parts:
                todo += [(part, None, if_false) for part in parts[:-1]]
                todo.append((parts[-1], if_true, if_false))
            case Or(parts) if parts:
                todo += [(part, if_true, None) for part in parts[:-1]]
                todo.append((parts[-1], if_true, if_false))
            case And():
                first = if_true
            case Or():
                first = if_false
            case Not(inner):
                todo.append((inner, if_false, if_true))
            case _:
                first = _test(query, condition, members), if_true, if_false
    return first


def _test(query: Query, condition: Condition, members: Members) -> Predicate:
    match condition:
        case IsNull(field):
            return lambda record: record.stored(field) is None
        case In(field, values):
            return _in(field, values)
        case Compare():
            return _compare(query, condition)
        case Text():
            return _text(condition)
        case JsonEquals():
            return _json_equals(condition)
        case InQuery(field):
            found = members(condition)
            return lambda record: (
                (value := record.stored(field)) is not None and (record.tenant_id, value) in found
            )
    raise AssertionError(condition)  # queries are checked


def _in(field: str, values: tuple[object, ...]) -> Predicate:
    members = frozenset(values)
    return lambda record: getattr(record, field) in members


def _compare(query: Query, condition: Compare) -> Predicate:
    field, op = condition.field, condition.op
    if op in ("eq", "ne"):
        wanted = op == "eq"
        return lambda record: (getattr(record, field) == condition.value) is wanted
    rank, compare = domain_of(query.kind, field).rank, _COMPARISONS[op]
    bound = rank(condition.value)

    def holds(record: Record) -> bool:
        value = getattr(record, field)
        return value is not None and compare(rank(value), bound)

    return holds


def _text(condition: Text) -> Predicate:
    field, test = condition.field, _TEXT_TESTS[condition.op]
    if condition.case_sensitive:
        return lambda record: (v := getattr(record, field)) is not None and test(v, condition.text)
    folded = condition.text.casefold()
    return lambda record: (v := getattr(record, field)) is not None and test(v.casefold(), folded)


def _json_equals(condition: JsonEquals) -> Predicate:
    field, path, wanted = condition.field, condition.path, condition.value
    return lambda record: json_at(record.stored(field), path) == wanted


def json_at(text: str | None, path: tuple[str | int, ...]) -> str | None:
    """The canonical text of the value at a path; None where it is missing or null (QRY-5)."""
    if text is None:
        return None
    value: JsonValue = parse(text)
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return None if value is None else canonical(value, bounded=False)
