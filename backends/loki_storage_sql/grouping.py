"""Groups and measures in SQL, and the values that their columns mean."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from loki_storage.protocol import Count, CountDistinct, Day, Group, Max, Measure, Min, Sum
from loki_storage.values import Integer
from loki_storage_sql.codecs import field_decoder
from loki_storage_sql.dialect import Column
from loki_storage_sql.ordering import place, ranks_of, towards
from loki_storage_sql.scope import Scope

__all__ = ["Aggregation", "aggregation"]


@attrs.frozen
class _Part:
    """Columns, and what makes one value of theirs."""

    columns: Sequence[Column]
    make: Callable[..., Any]


@attrs.frozen
class Aggregation:
    """What to select, group and order by, and how to read a row."""

    keys: tuple[_Part, ...]
    measures: tuple[_Part, ...]
    order: tuple[sa.UnaryExpression[Any], ...]

    @property
    def groups(self) -> list[Column]:
        return [column for part in self.keys for column in part.columns]

    @property
    def columns(self) -> list[Column]:
        return [column for part in self.measures for column in part.columns]

    def group(self, row: Sequence[Any]) -> Group:
        """The group that a row tells of."""
        values = iter(row)
        keys, measures = (
            tuple(part.make(*(next(values) for _ in part.columns)) for part in parts)
            for parts in (self.keys, self.measures)
        )
        return Group(keys, measures)


def aggregation(
    scope: Scope, by: tuple[str | Day, ...], measures: tuple[Measure, ...]
) -> Aggregation:
    keys = tuple(_key(scope, part) for part in by)
    order = tuple(_order(scope, part) for part in by)
    return Aggregation(keys, tuple(_measure(scope, measure) for measure in measures), order)


def _key(scope: Scope, part: str | Day) -> _Part:
    if isinstance(part, Day):
        decode = scope.dialect.decode_day
        day = scope.dialect.day(scope.column(part.field))
        return _Part([day], lambda stored: None if stored is None else decode(stored))
    return _Part([scope.column(part)], field_decoder(scope.domain(part), scope.dialect))


def _order(scope: Scope, part: str | Day) -> sa.UnaryExpression[Any]:
    if isinstance(part, Day):
        return towards(scope, part.field, scope.dialect.day(scope.column(part.field)), False)
    return towards(scope, part, place(scope, part), False)


def _measure(scope: Scope, measure: Measure) -> _Part:
    match measure:
        case Count():
            return _Part([sa.func.count()], _as_it_is)
        case CountDistinct(field):
            return _Part([sa.func.count(sa.distinct(scope.column(field)))], _as_it_is)
        case Sum(field):
            return _sum(scope, field)
        case Min(field) | Max(field):
            function = sa.func.min if isinstance(measure, Min) else sa.func.max
            return _Part([function(place(scope, field))], _extreme(scope, field))


def _sum(scope: Scope, field: str) -> _Part:
    column = scope.column(field)
    if isinstance(scope.domain(field), Integer):
        return _Part(*scope.dialect.integer_sum(column))
    return _Part([sa.func.sum(column)], lambda total: 0 if total is None else total)


def _extreme(scope: Scope, field: str) -> Callable[[Any], Any]:
    domain = scope.domain(field)
    decode = field_decoder(domain, scope.dialect)
    words = {rank: decode(word) for word, rank in ranks_of(domain).items()}
    return words.get if words else decode


def _as_it_is(value: Any) -> Any:
    return value
