"""Shapes of queries to SQL text, once per shape.

Statements are written with SQLAlchemy Core and compiled to text with positional parameters; no
value of a query stands in the text. What a query means is written in ``loki_storage/matching.py``,
and the tests compare the two.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from loki_storage.lines import Form
from loki_storage.models import Kind
from loki_storage.protocol import Day, Measure
from loki_storage_sql import grouping, ordering
from loki_storage_sql.dialect import Column, Dialect
from loki_storage_sql.grouping import Aggregation
from loki_storage_sql.scope import Scope
from loki_storage_sql.shapes import Matching, Window

__all__ = ["Aggregate", "Compiler", "Statement", "text_of"]

CACHED_SHAPES = 512
"""Statements kept per sort of question. A program has dozens of shapes; a fuzzer has no end."""


@attrs.frozen
class Statement:
    """SQL text, and the slots of its parameters in the order of the text."""

    text: str
    slots: tuple[int, ...]
    exact: bool
    """False: some rows more come back, without limit and offset; judge them again."""
    if_plain: bool = False
    """Whether this is so only where none of the texts that are tested is packed."""

    def parameters(self, values: Sequence[Any]) -> list[Any]:
        return [values[slot] for slot in self.slots]


@attrs.frozen
class Aggregate:
    """A statement that groups, and what makes a group of each of its rows."""

    statement: Statement
    aggregation: Aggregation


class Compiler:
    """Compiles for one dialect, from the readable table of each kind. Thread-safe."""

    def __init__(
        self, dialect: Dialect, tables: Mapping[Kind, sa.FromClause], packed: bool | None = None
    ) -> None:
        """``packed``: see ``Scope``."""
        self._dialect, self._tables, self._packed = dialect, tables, packed
        cached = lru_cache(CACHED_SHAPES)
        self.select = cached(self._select)
        self.lines = cached(self._lines)
        self.count = cached(self._count)
        self.exists = cached(self._exists)
        self.aggregate = cached(self._aggregate)

    def _select(
        self, matching: Matching, window: Window, fields: tuple[str, ...] | None
    ) -> Statement:
        """These fields (None: all) of the matching rows, in their order, within their window."""
        scope = self._scope(matching)
        names = tuple(matching.kind.domains) if fields is None else fields
        # A row without fields is a row all the same.
        columns = scope.stored(names) or [sa.literal_column("1")]
        return self._statement(scope, _windowed(scope, window, columns))

    def _lines(
        self, matching: Matching, window: Window, fields: tuple[str, ...], form: Form
    ) -> Statement | None:
        """The same rows, each as one value, its line; None where the database cannot write it."""
        scope = self._scope(matching)
        cells = [(name, scope.column(name), scope.domain(name)) for name in fields]
        line = self._dialect.line(form, cells)
        if line is None or not scope.exact:
            return None
        return self._statement(scope, _windowed(scope, window, [line]))

    def _count(self, matching: Matching) -> Statement:
        scope = self._scope(matching)
        return self._statement(scope, scope.select([sa.func.count()]))

    def _exists(self, matching: Matching) -> Statement:
        scope = self._scope(matching)
        found = scope.select([sa.literal_column("1")]).exists()
        return self._statement(scope, sa.select(found))

    def _aggregate(
        self, matching: Matching, by: tuple[str | Day, ...], measures: tuple[Measure, ...]
    ) -> Aggregate:
        scope = self._scope(matching)
        aggregation = grouping.aggregation(scope, by, measures)
        # Without any column SQL has no aggregate; then nobody reads this one.
        columns = [*aggregation.groups, *aggregation.columns] or [sa.func.count()]
        found = scope.select(columns)
        found = found.group_by(*aggregation.groups).order_by(*aggregation.order)
        return Aggregate(self._statement(scope, found), aggregation)

    def _scope(self, matching: Matching) -> Scope:
        return Scope(self._dialect, self._tables, matching, packed=self._packed)

    def _statement(self, scope: Scope, statement: sa.Select[Any]) -> Statement:
        text, names = text_of(statement, self._dialect)
        slots = tuple(int(name.removeprefix("p")) for name in names)
        return Statement(text, slots, scope.exact, scope.if_plain)


def _windowed(scope: Scope, window: Window, columns: Sequence[Column]) -> sa.Select[Any]:
    """The matching rows in their order, within their window."""
    found = scope.select(columns).order_by(*ordering.order(scope, window.keys))
    if window.after:
        found = found.where(ordering.after(scope, window.keys))
    if scope.exact and window.part:
        limit, offset = window.part
        found = found.limit(scope.value(limit)).offset(scope.value(offset))
    return found


def text_of(statement: sa.ClauseElement, dialect: Dialect) -> tuple[str, list[str]]:
    """A statement's text, and its parameters' names in the order of the text."""
    # The tables name no schema themselves: they are one declaration for all stores.
    schema: dict[str, Any] = {
        "schema_translate_map": {None: dialect.schema},
        "render_schema_translate": True,
    }
    options = schema if dialect.schema else {}
    compiled = statement.compile(dialect=dialect.sqlalchemy, **options)
    assert isinstance(compiled, SQLCompiler)
    return compiled.string, list(compiled.positiontup or ())
