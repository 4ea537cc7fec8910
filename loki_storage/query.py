"""Queries: a closed set of nodes that every backend reads the same way (QRY).

A ``Query`` names a kind, a tenant, a condition, an order and a window. It is checked when it is
built: unknown fields, operators that do not fit a field and values of the wrong type never reach
a backend. What a query *means* is written in ``matching.py``, in plain Python; a backend may
evaluate it in any other way that gives the same answer. The repr of a query names no values.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Self

import attrs

from loki_storage import values
from loki_storage.conditions import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Text,
    all_of,
    any_of,
    equals,
    fold,
    fold_walked,
    listed,
    parts_of,
    type_name,
    walk,
)
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import KINDS, Kind, domain_of
from loki_storage.values import Domain, Json, JsonText, JsonValue, Word, canonical, parse

__all__ = [
    "And",
    "Compare",
    "Condition",
    "In",
    "InQuery",
    "IsNull",
    "JsonEquals",
    "Not",
    "Or",
    "Order",
    "Query",
    "Text",
    "all_of",
    "any_of",
    "equals",
]

_OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge")
_TEXT_OPERATORS = ("contains", "starts_with", "ends_with")
EVERYTHING = And(())
MAXIMUM_NESTING = 2
"""How deep one ``InQuery`` may stand inside another (QRY-10)."""
MAXIMUM_WINDOW = 2**63 - 1
"""The largest limit and offset: databases count in 64 bits."""
MAXIMUM_CONDITIONS = 100_000
"""Nodes of one query's condition, whatever their depth: one that is used twice counts twice."""


def _orders(orders: Iterable["Order"]) -> tuple["Order", ...]:
    return listed("order", orders)


@attrs.frozen
class Order:
    """One key of an order."""

    field: str
    descending: bool = False


@attrs.frozen
class Query:
    """Which records of one kind, in which order, which part of them.

    ``tenant=None`` reads across tenants (dump, counts, doctor). ``after`` holds the values of
    ``total_order`` of the record after which to go on (a keyset). Checked at construction:
    ``InvalidField`` and ``InvalidValue``.
    """

    kind: Kind
    tenant: str | None
    where: Condition = EVERYTHING
    order: tuple[Order, ...] = attrs.field(default=(), converter=_orders)
    limit: int | None = None
    offset: int = 0
    after: tuple[object, ...] | None = attrs.field(default=None, repr=type_name)

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS.values():
            raise InvalidField(self.kind, "is not a record class")
        checker = _Checker(self.kind, self.tenant)
        object.__setattr__(self, "where", checker.check(self.where))
        _check_order(self.kind, self.order)
        _check_natural("limit", self.limit)
        _check_natural("offset", self.offset)
        if self.tenant is not None:
            _check_tenant(self.kind, self.tenant)
        if self.after is not None:
            object.__setattr__(self, "after", self._checked_cursor(self.after))

    @property
    def total_order(self) -> tuple[Order, ...]:
        """The order with ``id`` as its last key, in the direction of the first (QRY-1)."""
        if any(order.field == "id" for order in self.order):
            last = [order.field for order in self.order].index("id")
            return self.order[: last + 1]
        return (*self.order, Order("id", bool(self.order) and self.order[0].descending))

    def evolve(self, **changes: Any) -> Self:
        """A copy with these parts changed, checked again."""
        return attrs.evolve(self, **changes)

    def narrow(self, *conditions: Condition) -> Self:
        """The same query with more conditions."""
        return self.evolve(where=all_of(self.where, *conditions))

    def whole(self) -> Self:
        """All that matches: without limit, offset and cursor (QRY-8)."""
        return self.evolve(limit=None, offset=0, after=None)

    def to_json(self) -> dict[str, JsonValue]:
        """The versioned JSON form that retention criteria, holds, export logs and cursors keep."""
        parts = {name: _to_json(getattr(self, name)) for name in _QUERY_PARTS}
        return {"version": JSON_VERSION, "kind": self.kind.table, **parts}

    @classmethod
    def from_json(cls, data: object) -> "Query":
        """The query of its JSON form; ``InvalidValue`` or ``InvalidField`` where it is none."""
        parts = _object(data, {"version", "kind", *_QUERY_PARTS})
        version, kind = parts["version"], KINDS.get(str(parts["kind"]))
        if isinstance(version, bool) or version != JSON_VERSION:
            raise InvalidValue("query", f"has another version than {JSON_VERSION}")
        if kind is None:
            raise InvalidField(parts["kind"], "is not a kind", KINDS)
        try:
            return cls(kind, **{name: _from_json(parts[name]) for name in _QUERY_PARTS})
        except RecursionError:
            raise InvalidValue("query", "is nested too deeply") from None

    def _checked_cursor(self, after: object) -> tuple[object, ...]:
        values, keys = listed("after", after), self.total_order
        if len(values) != len(keys):
            raise InvalidValue("after", "is not a cursor of this query's order")
        return tuple(
            domain_of(self.kind, key.field).operand(key.field, value)
            for key, value in zip(keys, values, strict=True)
        )


@attrs.frozen
class _Checker:
    """Normalises the conditions of a query on one kind, or refuses them."""

    kind: Kind
    tenant: str | None
    nesting: int = MAXIMUM_NESTING

    def check(self, condition: Condition) -> Condition:
        if not parts_of(condition):
            return self._made(condition, [])
        nodes = [*islice(walk(condition), MAXIMUM_CONDITIONS + 1)]
        if len(nodes) > MAXIMUM_CONDITIONS:
            raise InvalidValue("where", f"has more than {MAXIMUM_CONDITIONS:,} conditions")
        return fold_walked(nodes, self._made)

    def _made(self, condition: Condition, parts: list[Condition]) -> Condition:
        match condition:
            case And() | Or():
                return type(condition)(tuple(parts))
            case Not():
                return Not(parts[0])
            case Compare():
                return self._compare(condition)
            case In(field, members):
                domain = _comparable(self.kind, field)
                return In(field, tuple([domain.operand(field, value) for value in members]))
            case IsNull(field):
                domain_of(self.kind, field)
                return condition
            case Text():
                return self._text(condition)
            case JsonEquals():
                return self._json(condition)
            case InQuery():
                return self._in_query(condition)
        raise InvalidField(type(condition).__name__, "is not a condition")

    def _compare(self, condition: Compare) -> Condition:
        field, op, value = condition.field, condition.op, condition.value
        if op not in _OPERATORS:
            raise InvalidField(op, "is not an operator", _OPERATORS)
        domain = _comparable(self.kind, field)
        if op not in ("eq", "ne") and not domain.orderable:
            raise InvalidField(field, "has no order")
        if value is not None:
            return Compare(field, op, domain.operand(field, value))
        if op not in ("eq", "ne"):
            raise InvalidValue(field, "cannot be compared with None; use is_null")
        return IsNull(field) if op == "eq" else Not(IsNull(field))

    def _text(self, condition: Text) -> Condition:
        field = condition.field
        if condition.op not in _TEXT_OPERATORS:
            raise InvalidField(condition.op, "is not a text operator", _TEXT_OPERATORS)
        domain = domain_of(self.kind, field)
        if not isinstance(domain, values.Text) or (isinstance(domain, Word) and not domain.open):
            raise InvalidField(field, "is not text")
        if not isinstance(condition.case_sensitive, bool):
            raise InvalidValue("case_sensitive", "must be a boolean")
        text = str(values.Text().accept(field, condition.text))
        return attrs.evolve(condition, text=text)

    def _json(self, condition: JsonEquals) -> Condition:
        field, value = condition.field, condition.value
        if not isinstance(domain_of(self.kind, field), Json):
            raise InvalidField(field, "is not a JSON field")
        for step in condition.path:
            _check_step(step)
        text = value if isinstance(value, JsonText) else canonical(value, field)
        return attrs.evolve(condition, value=None if text == "null" or value is None else text)

    def _in_query(self, condition: InQuery) -> Condition:
        inner = condition.query
        if not isinstance(inner, Query):
            raise InvalidField(type(inner).__name__, "is not a query")
        if self.nesting == 0:
            raise InvalidField("InQuery", f"may nest at most {MAXIMUM_NESTING} deep")
        if inner.limit is not None or inner.offset or inner.after is not None:
            raise InvalidField("InQuery", "takes a query without limit, offset and cursor")
        if inner.tenant != self.tenant:
            raise InvalidField("InQuery", "takes a query of the same tenant")
        ours = _comparable(self.kind, condition.field)
        theirs = _comparable(inner.kind, condition.its_field)
        if _family(ours) is not _family(theirs):
            raise InvalidField(condition.its_field, f"cannot be compared with {condition.field}")
        _Checker(inner.kind, inner.tenant, self.nesting - 1).check(inner.where)
        return condition


def _comparable(kind: Kind, field: str) -> Domain:
    domain = domain_of(kind, field)
    if isinstance(domain, Json):
        raise InvalidField(field, "is JSON; compare a path in it (metadata_equals)")
    return domain


def _family(domain: Domain) -> type[Domain]:
    return values.Text if isinstance(domain, values.Text) else type(domain)


def _check_step(step: object) -> None:
    if isinstance(step, str):
        values.Text().accept("path", step)
    elif isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise InvalidValue("path", "must be keys and indexes that count from 0")


def _check_order(kind: Kind, orders: tuple[Order, ...]) -> None:
    for order in orders:
        if not isinstance(order, Order):
            raise InvalidField(type(order).__name__, "is not an order")
        if not domain_of(kind, order.field).orderable:
            raise InvalidField(order.field, "cannot be ordered by")
        if not isinstance(order.descending, bool):
            raise InvalidValue("descending", "must be a boolean")


def _check_tenant(kind: Kind, tenant: object) -> None:
    kind.domains["tenant_id"].accept("tenant", tenant)


def _check_natural(name: str, value: object) -> None:
    if value is None and name == "limit":
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValue(name, "must be an integer")
    if value < 0:
        raise InvalidValue(name, "must not be negative")
    if value > MAXIMUM_WINDOW:
        raise InvalidValue(name, "must fit 64 bits")


JSON_VERSION = 1
MAXIMUM_NESTED = 8
"""How deep the JSON form of a condition nests; a deeper one is flat. So every query fits a JSON
field (VAL-6), even where two more stand inside it."""
FLAT = "Nodes"
_QUERY_PARTS = ("tenant", "where", "order", "limit", "offset", "after")
_NODES: Mapping[str, type[Any]] = {
    node.__name__: node
    for node in (And, Compare, In, InQuery, IsNull, JsonEquals, Not, Or, Order, Text)
}


def _to_json(value: Any) -> JsonValue:
    """Nodes as objects named by ``is``; values that JSON has not, named by their type."""
    if isinstance(value, Query):
        return {"query": value.to_json()}
    if isinstance(value, And | Or | Not) and _depth(value) > MAXIMUM_NESTED:
        return _flat(value)
    if type(value) in _NODES.values():
        parts = attrs.asdict(value, recurse=False)
        return {"is": type(value).__name__} | {name: _to_json(p) for name, p in parts.items()}
    if isinstance(value, tuple):
        return [_to_json(part) for part in value]
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, JsonText):
        return {"json": str.__str__(value)}
    plain: JsonValue = str.__str__(value) if isinstance(value, str) else value
    return plain


def _depth(condition: Condition) -> int:
    return fold(condition, lambda _, depths: 1 + max(depths, default=0))


def _flat(condition: Condition) -> JsonValue:
    """The nodes in a list, the whole as the last: parts are named by their places."""
    nodes: list[JsonValue] = []

    def listed_as(node: Condition, parts: list[int]) -> int:
        places: list[JsonValue] = [*parts]
        match node:
            case And() | Or():
                nodes.append({"is": type(node).__name__, "conditions": places})
            case Not():
                nodes.append({"is": "Not", "condition": places[0]})
            case _:
                nodes.append(_to_json(node))
        return len(nodes) - 1

    fold(condition, listed_as)
    return {"is": FLAT, "nodes": nodes}


def _from_flat(data: object) -> Condition:
    made: list[Condition] = []
    for node in listed("nodes", _object(data, {"is", "nodes"})["nodes"]):
        match node:
            case {"is": "And" | "Or" as name, "conditions": list(places), **rest} if not rest:
                made.append(_NODES[name](tuple(_placed(made, place) for place in places)))
            case {"is": "Not", "condition": place, **rest} if not rest:
                made.append(Not(_placed(made, place)))
            case _:
                made.append(_from_json(node))
    return _placed(made, len(made) - 1)


def _placed(made: Sequence[Condition], place: object) -> Condition:
    """The node at a place; only nodes before it can be a node's parts."""
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(made):
        raise InvalidValue("query", "names a node that is not before it")
    return made[place]


def _from_json(data: object) -> Any:
    if isinstance(data, list):
        return tuple(_from_json(part) for part in data)
    if not isinstance(data, dict):
        return data
    if "is" not in data:
        return _value_from_json(data)
    if data["is"] == FLAT:
        return _from_flat(data)
    node = _NODES.get(str(data["is"]))
    if node is None:
        raise InvalidField("is", "is not a node of a query", _NODES)
    names = {field.name for field in attrs.fields(node)}
    parts = _object(data, {"is", *names})
    return node(**{name: _from_json(parts[name]) for name in names})


def _value_from_json(data: Mapping[str, Any]) -> object:
    try:
        match data:
            case {"query": query, **rest} if not rest:
                return Query.from_json(query)
            case {"time": str(text), **rest} if not rest:
                return datetime.fromisoformat(text)
            case {"json": str(text), **rest} if not rest:
                return canonical(parse(text))
    except ValueError as error:
        if isinstance(error, InvalidField | InvalidValue):
            raise
    raise InvalidValue("query", "is not the JSON form of a query")


def _object(data: object, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, dict) or set(data) != keys:
        raise InvalidValue("query", f"must be an object with {', '.join(sorted(keys))}")
    return data
