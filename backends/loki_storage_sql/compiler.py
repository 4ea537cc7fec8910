"""Shapes of queries to SQL text, once per shape.

Statements are written with SQLAlchemy Core and compiled to text with positional parameters; only
values of the schema's own vocabulary (ranks) stand in the text. What they mean is written in
``loki_storage/matching.py``, and the tests compare the two.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from loki_storage.models import Kind
from loki_storage.protocol import Count, Day, Max, Measure, Min, Sum
from loki_storage.values import Domain, Integer, Word
from loki_storage_sql.dialect import Clause, Column, Dialect
from loki_storage_sql.shapes import Key, Matching, Node, Window

__all__ = ["Aggregation", "Compiler", "Statement", "ordered"]

CACHED_SHAPES = 512
"""Statements kept per sort of question. A program has dozens of shapes; a fuzzer has no end."""

GroupBy = tuple[str | Day, ...]


@attrs.frozen
class Statement:
    """SQL text and the slots of its parameters, in their order in the text."""

    text: str
    slots: tuple[int, ...]
    exact: bool = True
    """False: rows must be judged again, and the window is not in the text."""

    def parameters(self, values: Sequence[Any]) -> Sequence[Any]:
        return [values[slot] for slot in self.slots]


@attrs.frozen
class Aggregation:
    """A statement that groups, and for each measure its columns and what makes its value."""

    statement: Statement
    measures: tuple[tuple[int, Callable[..., Any]], ...]


class Compiler:
    """Compiles for one dialect, from the given readable table of each kind. Thread-safe."""

    def __init__(self, dialect: Dialect, tables: Mapping[Kind, sa.FromClause]) -> None:
        self._dialect, self._tables = dialect, tables
        cached = lru_cache(CACHED_SHAPES)
        self.select = cached(self._select)
        self.count = cached(self._count)
        self.exists = cached(self._exists)
        self.aggregate = cached(self._aggregate)

    def _select(
        self, matching: Matching, window: Window, fields: tuple[str, ...] | None = None
    ) -> Statement:
        """The matching rows in their order; ``fields``: these columns alone."""
        scope = _Scope(self._dialect, self._tables, matching)
        names = matching.kind.domains if fields is None else fields
        found = scope.select(scope.column(name) for name in names).order_by(*scope.order(window))
        if window.after:
            found = found.where(scope.after(window.keys))
        if not scope.exact:
            return self._statement(found, exact=False)
        if window.limit is not None:
            found = found.limit(scope.value(window.limit))
        if window.offset is not None:
            found = found.offset(scope.value(window.offset))
        return self._statement(found)

    def _count(self, matching: Matching) -> Statement:
        scope = _Scope(self._dialect, self._tables, matching)
        return self._statement(scope.select([sa.func.count()]), exact=scope.exact)

    def _exists(self, matching: Matching) -> Statement:
        scope = _Scope(self._dialect, self._tables, matching)
        found = scope.select([sa.literal_column("1")]).exists()
        return self._statement(sa.select(found), exact=scope.exact)

    def _aggregate(
        self, matching: Matching, by: GroupBy, measures: tuple[Measure, ...]
    ) -> Aggregation:
        scope = _Scope(self._dialect, self._tables, matching)
        groups = [scope.group(part) for part in by]
        columns, makers = [], []
        for measure in measures:
            parts, make = scope.measure(measure)
            columns.extend(parts)
            makers.append((len(parts), make))
        found = scope.select([*groups, *columns])
        if groups:
            orders = [scope.group_order(part) for part in by]
            found = found.group_by(*groups).order_by(*orders)
        return Aggregation(self._statement(found, exact=scope.exact), tuple(makers))

    def _statement(self, statement: sa.Select[Any], *, exact: bool = True) -> Statement:
        text, names = ordered(statement, self._dialect)
        return Statement(text, tuple(int(name.removeprefix("p")) for name in names), exact)


def ordered(statement: sa.ClauseElement, dialect: Dialect) -> tuple[str, list[str]]:
    """A statement's text, and its parameters' names in the order of the text."""
    compiled = statement.compile(dialect=dialect.sqlalchemy)
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
    return compiled.string, list(compiled.positiontup or ())


class _Scope:
    """One SELECT over one kind: its columns, its condition, whether that is exact."""

    def __init__(
        self,
        dialect: Dialect,
        tables: Mapping[Kind, sa.FromClause],
        matching: Matching,
        depth: int = 0,
    ) -> None:
        self._dialect, self._tables, self._depth = dialect, tables, depth
        self._kind = matching.kind
        table = tables[matching.kind]
        # An inner query may be over the table of the outer one.
        self._table = table.alias(f"inner_{depth}") if depth else table
        self.exact = True
        self._conditions = self._conjunction(matching)

    def column(self, field: str) -> Column:
        return self._table.c[field]

    def value(self, slot: int, type_: Any = None) -> sa.BindParameter[Any]:
        return sa.bindparam(f"p{slot}", type_=type_)

    def select(self, columns: Iterable[Column]) -> sa.Select[Any]:
        return sa.select(*columns).select_from(self._table).where(*self._conditions)

    # Order and cursor (QRY-1).

    def order(self, window: Window) -> list[sa.UnaryExpression[Any]]:
        return [self._ordered(self.place(k.field), k.field, k.descending) for k in window.keys]

    def place(self, field: str) -> Column:
        """What the order compares: the column, or the rank of its word."""
        domain = self._kind.domains[field]
        return _rank(self.column(field), domain) if _is_ranked(domain) else self.column(field)

    def after(self, keys: tuple[Key, ...]) -> Clause:
        """Rows after the cursor. A row comparison where all keys go one way and none is NULL."""
        one_way = len({key.descending for key in keys}) == 1
        if one_way and not any(self._kind.domains[key.field].nullable for key in keys):
            return self._row_after(keys)
        *equal, _ = keys
        steps = [
            sa.and_(*(self._same(key) for key in equal[:length]), self._beyond(keys[length]))
            for length in range(len(keys))
        ]
        # The first key's bound alone lets an index start there.
        return sa.and_(self._beyond(keys[0], or_same=True), sa.or_(*steps))

    def _row_after(self, keys: tuple[Key, ...]) -> Clause:
        places = [self.place(key.field) for key in keys]
        bounds = [self._bound(key) for key in keys]
        left, right = (places[0], bounds[0]) if len(keys) == 1 else (_row(places), _row(bounds))
        return left < right if keys[0].descending else left > right

    def _bound(self, key: Key) -> Column:
        assert key.after is not None
        return self.value(key.after, self.place(key.field).type)

    def _same(self, key: Key) -> Clause:
        place = self.place(key.field)
        return place.is_(None) if key.after is None else place == self._bound(key)

    def _beyond(self, key: Key, *, or_same: bool = False) -> Clause:
        place = self.place(key.field)
        if key.after is None:
            return place.is_(None) if or_same else sa.false()
        bound = self._bound(key)
        if key.descending:
            clause = place <= bound if or_same else place < bound
        else:
            clause = place >= bound if or_same else place > bound
        nullable = self._kind.domains[key.field].nullable
        return sa.or_(clause, place.is_(None)) if nullable else clause

    def _ordered(self, place: Column, field: str, descending: bool) -> sa.UnaryExpression[Any]:
        ordered = place.desc() if descending else place.asc()
        nulls_come_last = self._dialect.nulls_first is descending
        if nulls_come_last or not self._kind.domains[field].nullable:
            return ordered
        return ordered.nulls_last()

    # Groups and measures.

    def group(self, part: str | Day) -> Column:
        return self._dialect.day(self.column(part.field)) if isinstance(part, Day) else self.column(part)

    def group_order(self, part: str | Day) -> sa.UnaryExpression[Any]:
        if isinstance(part, Day):
            return self._ordered(self.group(part), part.field, False)
        return self._ordered(self.place(part), part, False)

    def measure(self, measure: Measure) -> tuple[Sequence[Column], Callable[..., Any]]:
        """The columns of a measure, and what makes its value of theirs."""
        match measure:
            case Count():
                return [sa.func.count()], _same_value
            case Sum(field):
                if isinstance(self._kind.domains[field], Integer):
                    return self._dialect.integer_sum(self.column(field))
                return [sa.func.coalesce(sa.func.sum(self.column(field)), sa.literal_column("0"))], _same_value
            case Min(field) | Max(field):
                function = sa.func.min if isinstance(measure, Min) else sa.func.max
                return [function(self.place(field))], _same_value
