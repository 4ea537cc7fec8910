"""``QueryBuilder``: conditions, order and window as an immutable value, and what answers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import attrs

from loki_storage.enums import SortOrder
from loki_storage.errors import InvalidField, InvalidValue, NotFound, ResultTooLarge
from loki_storage.models import Kind, Record
from loki_storage.protocol import Count, Day, Group, Measure
from loki_storage.query import Compare, Condition, Order, Query, all_of
from loki_storage.query_builder.archive import narrowed
from loki_storage.query_builder.cursors import cursor_of, place_of
from loki_storage.query_builder.dates import days_before
from loki_storage.query_builder.filters import Combine, Filter, Filters, conditions_of
from loki_storage.query_builder.reading import all_of_it, listed, paged, streamed
from loki_storage.query_builder.visibility import Shown, shown
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import Integer

__all__ = ["DEFAULT_PAGE", "Page", "QueryBuilder"]

DEFAULT_PAGE = 100
"""Records on a page unless ``limit`` says otherwise."""
HOW_MANY = Count()
R = TypeVar("R", bound=Record)


@attrs.frozen
class Page(Generic[R]):
    """Some records, and the cursor after the last of them; None: there are no more."""

    records: list[R]
    next_cursor: str | None = attrs.field(repr=False)


def _checked(session: UnitOfWork) -> UnitOfWork:
    if not isinstance(session, UnitOfWork):
        raise InvalidValue("session", "must be a session")
    return session


def _all_records(builder: QueryBuilder[Any]) -> Query:
    return builder._session.query(builder.kind)


@attrs.frozen(eq=False, repr=False)
class QueryBuilder(Filters[R]):
    """A query in the making: each step gives a new builder, and none changes (QRY-6).

    Deleted records are left out unless asked for (DEL-2). Without ``order_by`` records come by id.
    """

    _session: UnitOfWork = attrs.field(converter=_checked)
    _query: Query = attrs.field(default=attrs.Factory(_all_records, takes_self=True), kw_only=True)
    _shown: Shown = attrs.field(default="live", kw_only=True)
    _archived: bool = attrs.field(default=False, kw_only=True)
    _moving: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    # Steps

    def last_n_days(self, days: int, attr: str | None = None) -> Self:
        """The last ``days`` times 24 hours, by the session's clock; at most 36,500 days."""
        since = days_before(self._session.now(), days)
        moving = {**self._moving, since.isoformat(): f"{days} days ago"}
        step = self._where(Compare(self.time_field if attr is None else attr, "ge", since))
        return attrs.evolve(step, moving=moving)

    def order_by(self, attr: str, order: SortOrder | str = SortOrder.ASC) -> Self:
        """One more key of the order; NULLs last in both directions, ``id`` last (QRY-1)."""
        if order not in list(SortOrder):
            raise InvalidField(order, "is not an order", map(str, SortOrder))
        key = Order(attr, order == SortOrder.DESC)
        return self._with(order=(*self._query.order, key))

    def limit(self, count: int | None) -> Self:
        """At most so many records; 0: none; None: all."""
        return self._with(limit=count)

    def offset(self, count: int) -> Self:
        """Pass over so many. To go through many pages, ``after`` costs less (QRY-7)."""
        return self._with(offset=count)

    def paginate(self, page: int = 1, per_page: int = DEFAULT_PAGE) -> Self:
        """The window of a page that counts from 1."""
        Integer(minimum=1).accept("page", page)
        Integer(minimum=1).accept("per_page", per_page)
        return self._with(limit=per_page, offset=(page - 1) * per_page)

    def after(self, cursor: str | None) -> Self:
        """Go on after ``Page.next_cursor``; None: from the beginning. An offset is done with then.

        ``InvalidValue`` where it is not a cursor of this query: same conditions, same order.
        """
        if cursor is None:
            return self._with(after=None)
        place = place_of(self.build(), cursor, self._moving)
        return self._with(after=place, offset=0)

    # Answers

    def build(self) -> Query:
        """The query, for ``session.select``, ``storage.stream`` and ``Query.to_json``."""
        query = self._query
        return query.narrow(shown(query.kind, query.tenant, self._shown))

    def all(self) -> list[R]:
        """All records of the window; ``ResultTooLarge`` where they are more than 10,000 (QRY-7)."""
        return all_of_it(self._reading, self.build())

    def first(self) -> R | None:
        """The first record, or None."""
        found = listed(self._reading, self.build().evolve(limit=self._at_most(1)))
        return found[0] if found else None

    def one(self) -> R:
        """The only record; ``NotFound`` of none, ``ResultTooLarge`` of several."""
        found = listed(self._reading, self.build().evolve(limit=self._at_most(2)))
        if len(found) > 1:
            raise ResultTooLarge(
                f"more than one of {self.kind.table} matches; narrow the query, or use first()"
            )
        if not found:
            raise NotFound(self.kind.table, "of this query")
        return found[0]  # type: ignore[no-any-return]

    def count(self) -> int:
        """How many match, whatever limit, offset and cursor say (QRY-8)."""
        return self._reading.count(self.build())

    def exists(self) -> bool:
        """Whether any matches, whatever limit, offset and cursor say (QRY-8)."""
        return self._reading.exists(self.build())

    def iter(self) -> Iterator[R]:
        """The records one by one, of one moment, in the memory of one.

        Where reads are audited: in blocks of 1,000, with an entry for each.
        """
        return streamed(self._reading, self.build())

    def page(self) -> Page[R]:
        """Up to ``limit`` records (100 unless told), and the cursor for the next page.

        Pages neither miss nor repeat a record, whatever is inserted meanwhile (QRY-7).
        """
        query = self.build()
        records, more = paged(self._reading, query, DEFAULT_PAGE)
        return Page(records, cursor_of(query, records[-1], self._moving) if more else None)

    def aggregate(
        self,
        by: str | Day | Sequence[str | Day] = (),
        measures: Measure | Sequence[Measure] = HOW_MANY,
    ) -> list[Group]:
        """Measures over what matches, per group, in the order of the groups' keys (QRY-8).

        ``by``: fields, or ``Day(field)`` for UTC days; without it one group. ``measures``:
        ``Count()``, ``Sum``, ``Min`` and ``Max`` of a field. One statement on SQL backends.
        """
        groups = _several("by", by, str | Day)
        return self._reading.aggregate(
            self.build(), groups, _several("measures", measures, Measure)
        )

    def explain(self) -> str:
        """What the query asks, in words, and how the store finds it, where it can tell.

        The words name no values; a database's own plan may.
        """
        return self._reading.explain(self.build())

    @property
    def _reading(self) -> UnitOfWork:
        """The session, or its view with archived documents in it as they are now."""
        if not self._archived:
            return self._session
        from loki_storage.archives import with_archived  # most have no archive

        return with_archived(self._session, **narrowed(self._query))

    # How steps are made

    def _where(self, *conditions: Condition) -> Self:
        return attrs.evolve(self, query=self._query.narrow(*conditions))

    def _with(self, **parts: Any) -> Self:
        return attrs.evolve(self, query=self._query.evolve(**parts))

    def _is(self, attr: str, value: object) -> Self:
        """Equality for steps that name the field: None there is a mistake, not NULL."""
        if value is None:
            raise InvalidValue(attr, "is required")
        return self.equals(attr, value)

    def _at_most(self, count: int) -> int:
        return count if self._query.limit is None else min(self._query.limit, count)

    def _combined(
        self, combine: Combine, filters: Iterable[Filter], fields: Mapping[str, object]
    ) -> Self:
        parts, moving = [], dict(self._moving)
        for given in filters:
            if isinstance(given, QueryBuilder):
                moving |= given._moving
            parts.extend(self._conditions(given))
        step = self._where(combine(*parts, *conditions_of(fields)))
        return attrs.evolve(step, moving=moving)

    def _conditions(self, given: Filter) -> list[Condition]:
        if isinstance(given, QueryBuilder):
            return [given._condition(self.kind)]
        if isinstance(given, Mapping):
            return [all_of(*conditions_of(given))]
        if isinstance(given, Condition):
            return [given]
        raise InvalidField(type(given).__name__, "is not a filter")

    def _condition(self, kind: Kind) -> Condition:
        """This builder as a part of another one's condition; nothing of it may get lost."""
        bare = Query(self._query.kind, self._query.tenant, self._query.where)
        if self.kind is not kind:
            raise InvalidField(self.kind.table, f"cannot filter {kind.table}")
        if self._query != bare or self._shown != "live" or self._archived:
            raise InvalidValue(
                "filter", "takes conditions only: no order, window, deleted or archived ones"
            )
        return self._query.where


def _several(name: str, given: Any, one: Any) -> tuple[Any, ...]:
    """One thing or several."""
    if isinstance(given, one):
        return (given,)
    if not isinstance(given, Iterable):
        raise InvalidValue(name, "must be one or more of these")
    return tuple(given)
