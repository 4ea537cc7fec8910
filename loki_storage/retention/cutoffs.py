"""How many days of the audit trail policies keep: cleanup works on whole days (AUD-3)."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from loki_storage.enums import PeriodUnit, PolicyKind
from loki_storage.models import RetentionPolicy
from loki_storage.rules.retention import FOREVER_DAYS, due_at

__all__ = ["audit_days"]


def audit_days(
    policies: Iterable[RetentionPolicy], as_of: datetime
) -> tuple[RetentionPolicy, int | None] | None:
    """The maximum that removes most, and the days that stay; None days: a minimum keeps all.

    None where there is no maximum. The longest minimum wins over every maximum.
    """
    policies = list(policies)
    days = {policy.id: _days(policy, as_of) for policy in policies}
    maxima = [p for p in policies if p.kind == PolicyKind.MAXIMUM and days[p.id] is not None]
    if not maxima:
        return None
    winner = min(maxima, key=lambda p: (days[p.id], p.priority, p.name))
    kept = [days[p.id] for p in policies if p.kind == PolicyKind.MINIMUM]
    if None in kept:
        return winner, None
    longest = max(each for each in (days[winner.id], *kept) if each is not None)
    return winner, min(longest, FOREVER_DAYS)


def _days(policy: RetentionPolicy, as_of: datetime) -> int | None:
    """Whole days back from today's midnight at which every entry before is due; None: never."""
    if policy.period_unit == PeriodUnit.FOREVER:
        return None
    midnight = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    days = policy.retention_days
    while days <= FOREVER_DAYS:
        try:
            end = due_at(policy, midnight - timedelta(days=days))
        except OverflowError:
            return None
        if end is not None and end <= midnight:
            return days
        days += 1
    return None
