"""Total order and cursor in SQL (QRY-1): NULLs last both ways, severity by rank, id last."""

from collections.abc import Mapping

import sqlalchemy as sa

from loki_storage.values import Domain, Word
from loki_storage_sql.dialect import Clause, Column
from loki_storage_sql.scope import Scope
from loki_storage_sql.shapes import Key

__all__ = ["after", "order", "place", "ranks_of", "towards"]


def order(scope: Scope, keys: tuple[Key, ...]) -> list[sa.UnaryExpression[object]]:
    """What ORDER BY takes."""
    return [towards(scope, key.field, place(scope, key.field), key.descending) for key in keys]


def place(scope: Scope, field: str) -> Column:
    """What the order compares: the column, or the rank of its word."""
    column, ranks = scope.column(field), ranks_of(scope.domain(field))
    if not ranks:
        return column
    # Literal text: words and ranks are the vocabulary's own, and parameters would defeat indexes.
    return sa.case(
        *((column == _literal(f"'{word}'"), _literal(str(rank))) for word, rank in ranks.items())
    )


def ranks_of(domain: Domain) -> Mapping[str, int]:
    """The ranks of a ranked vocabulary's words; of others nothing."""
    return domain.ranks if isinstance(domain, Word) and domain.ranked else {}


def _literal(text: str) -> Column:
    return sa.literal_column(text)


def towards(
    scope: Scope, field: str, place: Column, descending: bool
) -> sa.UnaryExpression[object]:
    """One key of ORDER BY; where NULLs come last by nature nothing is said, for the indexes."""
    ordered = place.desc() if descending else place.asc()
    if scope.dialect.nulls_first is descending or not scope.domain(field).nullable:
        return ordered
    return ordered.nulls_last()


def after(scope: Scope, keys: tuple[Key, ...]) -> Clause:
    """Rows after the cursor. A row comparison where all keys go one way and none is NULL."""
    one_way = len({key.descending for key in keys}) == 1
    if one_way and not any(scope.domain(key.field).nullable for key in keys):
        return _row_after(scope, keys)
    steps = [
        sa.and_(*(_same(scope, key) for key in keys[:length]), _beyond(scope, keys[length]))
        for length in range(len(keys))
    ]
    # The bound of the first key says nothing new, but an index can start at it.
    return sa.and_(_beyond(scope, keys[0], or_same=True), sa.or_(*steps))


def _row_after(scope: Scope, keys: tuple[Key, ...]) -> Clause:
    places = [place(scope, key.field) for key in keys]
    bounds = [_bound(scope, key) for key in keys]
    if len(keys) == 1:
        return scope.dialect.likely(_beyond(scope, keys[0]))
    left, right = sa.tuple_(*places), sa.tuple_(*bounds)
    return left < right if keys[0].descending else left > right


def _bound(scope: Scope, key: Key) -> Column:
    assert key.after is not None
    return scope.value(key.after, place(scope, key.field).type)


def _same(scope: Scope, key: Key) -> Clause:
    column = place(scope, key.field)
    return column.is_(None) if key.after is None else column == _bound(scope, key)


def _beyond(scope: Scope, key: Key, *, or_same: bool = False) -> Clause:
    column = place(scope, key.field)
    if key.after is None:
        return column.is_(None) if or_same else sa.false()
    bound = _bound(scope, key)
    if key.descending:
        clause = column <= bound if or_same else column < bound
    else:
        clause = column >= bound if or_same else column > bound
    return sa.or_(clause, column.is_(None)) if scope.domain(key.field).nullable else clause
