"""One SELECT over one kind: its columns, its parameters, and its condition (QRY-4, QRY-5, QRY-10).

In a shape every ``Not`` stands at a leaf. Above the leaves there is only AND and OR, where NULL
counts as false; so a wanted leaf may be NULL, and ``column = ?`` stays plain for the indexes. The
complement of a leaf is ``leaf IS NOT TRUE``, or the turned comparison, which an index can serve.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import operators

from loki_storage.models import Kind
from loki_storage.values import Domain
from loki_storage_sql.dialect import Clause, Column, Dialect, Narrowing
from loki_storage_sql.packing import packable
from loki_storage_sql.shapes import Matching, Node

__all__ = ["Scope"]

WIDEST = 100
"""Clauses in a row without parentheses."""


class Scope:
    """Compiles the condition when it is made; ``exact`` tells whether SQL says all of it."""

    def __init__(
        self,
        dialect: Dialect,
        tables: Mapping[Kind, sa.FromClause],
        matching: Matching,
        depth: int = 0,
        packed: bool | None = None,
    ) -> None:
        """``packed``: whether texts that SQL cannot read may be among the rows; None: unknown."""
        table = tables[matching.kind]
        # An inner query may be over the same table as the outer one.
        self._table = table.alias(f"inner_{depth}") if depth else table
        self._tables, self._depth = tables, depth
        self.dialect, self.kind, self.exact = dialect, matching.kind, True
        self.if_plain, self._packed = False, packed
        self._where = self._compile(matching.where)
        self._tenant = matching.tenant

    def select(self, columns: Iterable[Column]) -> sa.Select[Any]:
        found = sa.select(*columns).select_from(self._table)
        if self._tenant is not None:
            found = found.where(self.column("tenant_id") == self.value(self._tenant))
        return found.where(self._where)

    def stored(self, fields: Iterable[str]) -> list[Column]:
        """Columns for a decoder, with those that stand beside them."""
        beside = self.dialect.beside(self.kind.table, fields)
        return [self._table.c[name] for name in (*fields, *beside)]

    def column(self, field: str) -> Column:
        """What conditions, groups and orders are about."""
        column = self._table.c[field]
        packing = self.dialect.packing
        if packing is None or not packable(self.kind.table, field):
            return column
        if not packing.in_sql:
            self.exact = self.exact and not self._packed
            self.if_plain = self._packed is None
        return packing.text(column)

    def domain(self, field: str) -> Domain:
        return self.kind.domains[field]

    def value(self, slot: int, type_: Any = None) -> sa.BindParameter[Any]:
        return sa.bindparam(f"p{slot}", type_=type_)

    def _compile(self, node: Node) -> Clause:
        tag, *parts = node
        compile: Callable[..., Clause] = getattr(self, f"_{tag}")
        clause = compile(*parts)
        field, packing = next(iter(parts), None), self.dialect.packing
        if not self._packed or packing is None or packing.in_sql:
            return clause
        if tag != "null" and isinstance(field, str) and packable(self.kind.table, field):
            return sa.or_(clause, packing.packed(self._table, field).is_not(None))
        return clause

    def _all(self, nodes: tuple[Node, ...]) -> Clause:
        return _joined(sa.and_, sa.true(), [self._compile(node) for node in nodes])

    def _any(self, nodes: tuple[Node, ...]) -> Clause:
        return _joined(sa.or_, sa.false(), [self._compile(node) for node in nodes])

    def _cut(self) -> Clause:
        self.exact = False
        return sa.true()

    def _null(self, field: str, wanted: bool) -> Clause:
        column = self._table.c[field]  # what is packed is not NULL
        return column.is_(None) if wanted else column.is_not(None)

    def _flag(self, field: str, value: bool) -> Clause:
        return self.column(field) == (sa.true() if value else sa.false())

    def _compare(self, field: str, op: str, or_null: bool, slot: int) -> Clause:
        column = self.column(field)
        value = self.value(slot, column.type)
        if op == "ne" and or_null:
            return column.is_distinct_from(value)
        return self._or_null(_COMPARISONS[op](column, value), column, or_null)

    def _among(self, field: str, wanted: bool, or_null: bool, slot: int) -> Clause:
        column = self.column(field)
        among = self.dialect.among(column, self.value(slot), self.domain(field))
        if wanted:
            return self._or_null(among, column, or_null)
        outside = among.is_not(sa.true())
        return outside if or_null else sa.and_(column.is_not(None), outside)

    def _text(self, field: str, op: str, folded: bool, wanted: bool, slot: int) -> Clause:
        column, text = self.column(field), self.value(slot, sa.Text())
        if folded:
            return self._narrowed(self.dialect.folded_test(op, column, text), wanted)
        return self._narrowed(Narrowing(self.dialect.text_test(op, column, text)), wanted)

    def _json(self, field: str, wanted: bool, path: int, value: int | None, exact: bool) -> Clause:
        text = None if value is None else self.value(value, sa.Text())
        if text is None and not exact:
            return self._narrowed(Narrowing(sa.true(), exact=False), wanted)
        test = self.dialect.json_test(self.column(field), self.value(path), text)
        return self._narrowed(Narrowing(test, exact), wanted)

    def _in(self, field: str, wanted: bool, matching: Matching, its_field: str) -> Clause:
        inner = Scope(self.dialect, self._tables, matching, self._depth + 1, self._packed)
        ours, theirs = [self.column(field)], [inner.column(its_field)]
        if matching.tenant is None:
            ours.insert(0, self.column("tenant_id"))
            theirs.insert(0, inner.column("tenant_id"))
        self.if_plain = self.if_plain or inner.if_plain
        if self._packed and packable(inner.kind.table, its_field):
            return self._narrowed(Narrowing(sa.true(), exact=False), wanted)
        found = inner.select(theirs)
        if matching.tenant is not None and _names_one(matching.where):
            # A value, not a set to join with: planners that guess read all rows for each other.
            return self._narrowed(
                Narrowing(ours[0] == found.scalar_subquery(), inner.exact), wanted
            )
        left = ours[0] if len(ours) == 1 else sa.tuple_(*ours)
        return self._narrowed(Narrowing(left.in_(found), inner.exact), wanted)

    def _narrowed(self, test: Narrowing, wanted: bool) -> Clause:
        self.exact = self.exact and test.exact
        if wanted:
            return test.clause
        # The complement of "some rows more" would miss rows, so it narrows nothing.
        return test.clause.is_not(sa.true()) if test.exact else sa.true()

    def _or_null(self, clause: Clause, column: Column, or_null: bool) -> Clause:
        return sa.or_(clause, column.is_(None)) if or_null else clause


def _names_one(node: Node) -> bool:
    """Whether a condition asks for one id, so that a tenant has one such row at most."""
    tag, *parts = node
    if tag == "all":
        return any(map(_names_one, parts[0]))
    return tag == "compare" and parts[:2] == ["id", "eq"]


def _joined(join: Callable[..., Clause], neutral: Clause, clauses: Sequence[Clause]) -> Clause:
    """Many clauses in groups: databases bound the depth of an expression, and a chain is deep."""
    if len(clauses) <= WIDEST:
        return join(neutral, *clauses)
    groups = [join(*clauses[n : n + WIDEST]) for n in range(0, len(clauses), WIDEST)]
    # SQLAlchemy makes one flat list of nested ANDs; an operator of our own it leaves alone.
    word = operators.custom_op[bool](
        "AND" if join is sa.and_ else "OR", is_comparison=True, natural_self_precedent=True
    )
    grouped = [group.self_group(against=operators.eq) for group in groups]
    return reduce(lambda left, right: left.operate(word, right), grouped)


_COMPARISONS: dict[str, Callable[[Column, Column], Clause]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column != value,
    "lt": lambda column, value: column < value,
    "le": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "ge": lambda column, value: column >= value,
}
