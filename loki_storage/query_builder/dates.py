"""Dates and days as callers give them, as bounds of a time field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from loki_storage.errors import InvalidValue
from loki_storage.query import Compare, Condition
from loki_storage.values import Integer, Time

__all__ = [
    "LONGEST",
    "MOST_DAYS",
    "Moment",
    "days_before",
    "hours_before",
    "last_days",
    "midnight",
    "within",
]

Moment = datetime | date | str
"""An aware datetime, a date (a UTC day), or either as ISO 8601 text."""
MOST_DAYS = 36_500
LONGEST = 3_660
"""Days that a trend or a timeline may have."""


def within(field: str, start: Moment | None, end: Moment | None) -> Iterator[Condition]:
    """From ``start`` to ``end``; both belong to it, a day with all of its hours."""
    if start is not None:
        first = _moment("start_date", start)
        yield Compare(field, "ge", first if isinstance(first, datetime) else midnight(first))
    if end is None:
        return
    last = _moment("end_date", end)
    if isinstance(last, datetime):
        yield Compare(field, "le", last)
    elif last < date.max:
        yield Compare(field, "lt", midnight(last + timedelta(days=1)))


def days_before(now: datetime, days: int) -> datetime:
    """That many times 24 hours before; 0 to 36,500 days."""
    Integer(0, MOST_DAYS).accept("days", days)
    return _before(now, timedelta(days=days))


def hours_before(now: datetime, hours: int) -> datetime:
    """That many hours before; 0 to 876,000 hours."""
    Integer(0, 24 * MOST_DAYS).accept("hours", hours)
    return _before(now, timedelta(hours=hours))


def _before(now: datetime, time: timedelta) -> datetime:
    try:
        return now - time
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def last_days(today: date, days: int) -> list[date]:
    """So many UTC days, today the last of them; 1 to 3,660."""
    Integer(1, LONGEST).accept("days", days)
    there = min(days, (today - date.min).days + 1)
    return [today - timedelta(days=n) for n in reversed(range(there))]


def midnight(day: date) -> datetime:
    """00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _moment(name: str, value: Moment) -> datetime | date:
    """An aware datetime in UTC, or a day."""
    given = _parsed(name, value) if isinstance(value, str) else value
    if isinstance(given, datetime):
        return Time().accept(name, given)  # type: ignore[return-value]
    if isinstance(given, date):
        return given
    raise InvalidValue(name, "must be an aware datetime, a date, or ISO 8601 text of one")


def _parsed(name: str, text: str) -> datetime | date:
    try:
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(name, "must be an ISO 8601 date, or a time with its zone") from None
