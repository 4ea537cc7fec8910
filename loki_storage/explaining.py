"""What a query asks, in words. Values are told by their type alone: they may be anybody's data."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from loki_storage.conditions import spelled
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
)

__all__ = ["in_words"]

_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def in_words(query: Query) -> str:
    """The whole query as one line."""
    order = ", ".join(f"{o.field}{' descending' * o.descending}" for o in query.total_order)
    parts = [f"{_matching(query)} ordered by {order}"]
    if query.after is not None:
        parts.append("after a cursor")
    if query.offset:
        parts.append(f"offset {query.offset}")
    if query.limit is not None:
        parts.append(f"limit {query.limit}")
    return ", ".join(parts)


def _matching(query: Query) -> str:
    whose = "all tenants" if query.tenant is None else "the tenant"
    where = "" if query.where == And(()) else f" where {spelled(query.where, _words)}"
    return f"{query.kind.table} of {whose}{where}"


def _words(condition: Condition) -> Sequence[str | Condition]:
    match condition:
        case And(parts):
            return _joined(parts, " and ", "true")
        case Or(parts):
            return _joined(parts, " or ", "false")
        case Not(inner):
            return "not (", inner, ")"
        case IsNull(field):
            return (f"{field} is NULL",)
        case Compare(field, op, value):
            return (f"{field} {_SIGNS[op]} {_value(value)}",)
        case In(field, values):
            return (f"{field} is one of {len(values)} values",)
        case Text(op, field, _, case_sensitive):
            how = "" if case_sensitive else " whatever the case"
            return (f"{field} {op.replace('_', ' ')} <text>{how}",)
        case JsonEquals(field, path):
            return (f"{field} at {'.'.join(map(str, path)) or 'its root'} = <json>",)
        case InQuery(field, query, its_field):
            return (f"{field} is the {its_field} of ({_matching(query)})",)


def _joined(parts: tuple[Condition, ...], word: str, of_none: str) -> Sequence[str | Condition]:
    told: list[str | Condition] = []
    for part in parts:
        told += [word, "(", part, ")"] if isinstance(part, And | Or) else [word, part]
    return told[1:] or [of_none]


def _value(value: Any) -> str:
    """Words of a closed vocabulary and flags are nobody's data."""
    return str(value) if isinstance(value, Enum | bool) else f"<{type(value).__name__}>"
