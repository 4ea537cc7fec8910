"""Splits a query into its shape, which decides the SQL text, and its values, which are bound.

Two queries of one shape share a compiled statement. A shape is made of plain tuples and names a
value by its *slot*: the value's place in the list of values. ``Not`` is gone from a shape: it is
pushed down to the leaves, where its meaning in two-valued logic (QRY-5) is known.

Nodes: ``("all", parts)``, ``("any", parts)``, and the leaves, each with ``wanted`` (False: the
complement): ``("null", field, wanted)``, ``("flag", field, value)``,
``("compare", field, op, or_null, slot)``,
``("among", field, wanted, or_null, slot)``, ``("text", field, op, folded, wanted, slot)``,
``("json", field, wanted, path slot, value slot or None)``, ``("in", field, wanted, matching,
its_field)``. A JSON leaf ends with whether the dialect decides its path. ``("cut",)`` stands where
a statement would become deeper or longer than compilers and databases take: it is true of every
row, so some rows more come back, to be judged again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import attrs

from loki_storage.models import Kind
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
from loki_storage.values import Boolean, Domain, Word
from loki_storage_sql.codecs import field_encoder
from loki_storage_sql.dialect import Dialect

__all__ = ["Key", "Matching", "Node", "Shaper", "Window"]

Node = tuple[Any, ...]
_NO_LIMIT = 2**63 - 1
"""More rows than any table has."""
DEEPEST = 16
"""Levels of AND in OR in AND that a statement has, those of inner queries together: SQLite's parser
stops at 100 symbols, SQLAlchemy recurses."""
MOST_LEAVES = 2_000
"""Comparisons that a statement has: SQLite takes a million characters, PostgreSQL 65,535 values."""


class Key(NamedTuple):
    """One key of a total order; ``after``: what the cursor has there."""

    field: str
    descending: bool
    after: int | None
    """The slot of the cursor's value; None: NULL, or no cursor."""


class Matching(NamedTuple):
    """Which rows match: what ``count``, ``exists`` and ``aggregate`` look at."""

    kind: Kind
    tenant: int | None
    """The tenant's slot; None: all tenants."""
    where: Node


class Window(NamedTuple):
    """In which order, and which part of them."""

    keys: tuple[Key, ...]
    after: bool
    part: tuple[int, int] | None
    """The slots of limit and offset, which go together: some databases know no other way."""


_BY_ID = Window((Key("id", False, None),), False, None)
_COMPLEMENT = {"eq": "ne", "ne": "eq", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


@attrs.define
class Shaper:
    """Takes one query apart; ``values`` fills on the way."""

    dialect: Dialect
    values: list[Any] = attrs.field(factory=list, init=False)
    _leaves: int = attrs.field(default=0, init=False)

    def matching(self, query: Query, depth: int = DEEPEST) -> Matching:
        tenant = None if query.tenant is None else self._slot(query.tenant)
        return Matching(query.kind, tenant, self._node(query.kind, query.where, True, depth))

    def window(self, query: Query) -> Window:
        if not query.order and query.after is None and query.limit is None and not query.offset:
            return _BY_ID
        keys = self._keys(query)
        if query.limit is None and not query.offset:
            return Window(keys, query.after is not None, None)
        limit = _NO_LIMIT if query.limit is None else query.limit
        part = self._slot(limit), self._slot(query.offset)
        return Window(keys, query.after is not None, part)

    def _keys(self, query: Query) -> tuple[Key, ...]:
        orders = query.total_order
        after = (None,) * len(orders) if query.after is None else query.after
        return tuple(
            Key(order.field, order.descending, self._ranked_slot(query.kind, order.field, value))
            for order, value in zip(orders, after, strict=True)
        )

    def _ranked_slot(self, kind: Kind, field: str, value: object) -> int | None:
        if value is None:
            return None
        domain = kind.domains[field]
        if isinstance(domain, Word) and domain.ranked:
            return self._slot(domain.rank(value))
        return self._slot(self._encoded(domain, value))

    def _node(self, kind: Kind, condition: Condition, wanted: bool, depth: int) -> Node:
        while isinstance(condition, Not):
            condition, wanted = condition.condition, not wanted
        if isinstance(condition, And | Or):
            if not depth:
                return ("cut",)
            joined = "all" if isinstance(condition, And) is wanted else "any"
            parts = _parts(condition, wanted)
            nodes = [self._node(kind, part, wished, depth - 1) for part, wished in parts]
            return joined, tuple(sorted(nodes, key=_height))
        self._leaves += 1
        if self._leaves > MOST_LEAVES:
            return ("cut",)
        return self._leaf(kind, condition, wanted, depth)

    def _leaf(self, kind: Kind, condition: Condition, wanted: bool, depth: int) -> Node:
        match condition:
            case Compare():
                return self._compare(kind, condition, wanted)
            case In():
                return self._in(kind, condition, wanted)
            case IsNull(field):
                return "null", field, wanted
            case Text():
                return self._text(condition, wanted)
            case JsonEquals(field):
                path = self._slot(self.dialect.encode_path(condition.path))
                value = None if condition.value is None else self._slot(str(condition.value))
                return "json", field, wanted, path, value, self.dialect.decides_path(condition.path)
            case InQuery(field, query, its_field):
                return "in", field, wanted, self.matching(query, depth), its_field
        raise AssertionError(condition)  # queries are checked

    def _compare(self, kind: Kind, condition: Compare, wanted: bool) -> Node:
        field, domain = condition.field, kind.domains[condition.field]
        op = condition.op if wanted else _COMPLEMENT[condition.op]
        if isinstance(domain, Boolean) and not domain.nullable:
            # Part of the shape: a partial index serves a literal, not a parameter.
            return "flag", field, (condition.value is True) is (op == "eq")
        if isinstance(domain, Word) and domain.ranked and condition.op not in ("eq", "ne"):
            return self._among(field, domain, _words(domain, condition), wanted, not wanted)
        or_null = domain.nullable and (op == "ne" or (not wanted and op != "eq"))
        return "compare", field, op, or_null, self._slot(self._encoded(domain, condition.value))

    def _in(self, kind: Kind, condition: In, wanted: bool) -> Node:
        field, domain = condition.field, kind.domains[condition.field]
        members = [value for value in condition.values if value is not None]
        null_too = (len(members) < len(condition.values)) is wanted
        if len(members) == 1 and not null_too and wanted:
            return self._compare(kind, Compare(field, "eq", members[0]), True)
        return self._among(field, domain, members, wanted, null_too)

    def _among(
        self, field: str, domain: Domain, members: Sequence[object], wanted: bool, or_null: bool
    ) -> Node:
        encode = field_encoder(domain, self.dialect)
        encoded = members if encode is None else [encode(member) for member in members]
        slot = self._slot(self.dialect.list_encoder(domain)(encoded))
        return "among", field, wanted, or_null and domain.nullable, slot

    def _text(self, condition: Text, wanted: bool) -> Node:
        folded = not condition.case_sensitive
        text = condition.text
        if folded:
            text = self.dialect.encode_folded(condition.op, text.casefold())
        slot = self._slot(text)
        return "text", condition.field, condition.op, folded, wanted, slot

    def _encoded(self, domain: Domain, value: object) -> Any:
        encode = field_encoder(domain, self.dialect)
        return value if encode is None else encode(value)

    def _slot(self, value: Any) -> int:
        self.values.append(value)
        return len(self.values) - 1


def _parts(condition: Condition, wanted: bool) -> Iterator[tuple[Condition, bool]]:
    """What a junction joins, as if what it joins in the same way stood in it directly."""
    joined = isinstance(condition, And) is wanted
    todo = [(condition, wanted)]
    while todo:
        condition, wanted = todo.pop()
        while isinstance(condition, Not):
            condition, wanted = condition.condition, not wanted
        if isinstance(condition, And | Or) and (isinstance(condition, And) is wanted) is joined:
            todo += [(part, wanted) for part in reversed(condition.conditions)]
        else:
            yield condition, wanted


def _height(node: Node) -> int:
    """How deep an expression it makes; the deepest part goes last, ``a AND b AND c`` leans left."""
    if node[0] not in ("all", "any"):
        return 0
    parts = node[1]
    return max((_height(part) + len(parts) - n for n, part in enumerate(parts)), default=0)


def _words(domain: Word, condition: Compare) -> list[str]:
    """The words of a ranked vocabulary that a comparison takes in: an index can serve those."""
    bound = domain.ranks[str(condition.value)]
    holds = _RANK_TESTS[condition.op]
    return [word for word, rank in domain.ranks.items() if holds(rank, bound)]


_RANK_TESTS: dict[str, Callable[[int, int], bool]] = {
    "lt": int.__lt__,
    "le": int.__le__,
    "gt": int.__gt__,
    "ge": int.__ge__,
}
