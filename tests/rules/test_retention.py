"""Periods end when a calendar says so, inclusive; the decision is blind to order (RET-1, RET-2)."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.enums import PeriodUnit, RetentionAction
from loki_storage.errors import InvalidValue
from loki_storage.models import RetentionPolicy
from loki_storage.rules.retention import Term, decide, end_of, is_due, period_fields

TICK = timedelta(microseconds=1)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def policy(**fields: object) -> RetentionPolicy:
    period = period_fields(
        fields.pop("days", None),  # type: ignore[arg-type]
        fields.pop("amount", None),  # type: ignore[arg-type]
        fields.pop("unit", None),  # type: ignore[arg-type]
    )
    values = {
        "id": 1,
        "tenant_id": "t",
        "name": "p",
        "entity_type": "document",
        "action": "delete",
        "created_at": NOW,
        "updated_at": NOW,
        **period,
        **fields,
    }
    return RetentionPolicy(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "amount", "unit", "end"),
    [
        ("2024-02-29", 1, "years", "2025-02-28"),
        ("2024-02-29", 4, "years", "2028-02-29"),
        ("2025-01-31", 1, "months", "2025-02-28"),
        ("2024-01-31", 1, "months", "2024-02-29"),
        ("2025-08-31", 18, "months", "2027-02-28"),
        ("2025-12-15", 1, "months", "2026-01-15"),
        ("2021-03-01", 5, "years", "2026-03-01"),
        ("2024-02-28", 1, "days", "2024-02-29"),
        ("2025-02-28", 1, "days", "2025-03-01"),
    ],
)
def test_period_ends_on_the_calendars_day(start: str, amount: int, unit: str, end: str) -> None:
    began, ends = (datetime.fromisoformat(f"{day}T12:00:00+00:00") for day in (start, end))
    assert end_of(began, amount, unit) == ends
    rule = policy(amount=amount, unit=unit)
    assert [is_due(rule, began, ends + tick) for tick in (-TICK, 0 * TICK, TICK)] == [
        False,
        True,
        True,
    ]


def test_five_years_are_more_than_1825_days() -> None:
    began = datetime(2020, 3, 1, tzinfo=UTC)
    end = end_of(began, 5, "years")
    assert end is not None
    assert (end - began).days == 1826


@pytest.mark.parametrize("moment", ["2026-03-29T01:30:00", "2026-10-25T02:30:00"])
def test_days_of_summer_time_are_as_long_as_others(moment: str) -> None:
    """Periods are counted in UTC: the hour that Berlin skips or repeats changes nothing."""
    berlin = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    began = berlin.astimezone(UTC)
    assert is_due(policy(days=1), began, began + timedelta(hours=24))
    assert not is_due(policy(days=1), began, began + timedelta(hours=24) - TICK)


def test_for_ever_and_no_trigger_and_the_end_of_the_calendar_are_never_due() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert not is_due(policy(unit="forever"), datetime.min.replace(tzinfo=UTC), last)
    assert not is_due(policy(days=1), None, last)
    assert not is_due(policy(amount=1000, unit="years"), datetime(9000, 1, 1, tzinfo=UTC), last)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(1, 1000),
    st.sampled_from(["days", "months", "years"]),
)
def test_a_period_ends_after_its_shortest_equivalent(
    start: datetime, amount: int, unit: str
) -> None:
    end = end_of(start, amount, unit)
    days = period_fields(None, amount, PeriodUnit(unit))["retention_days"]
    if end is not None and days < 36_500:
        assert end - start >= timedelta(days=days)


@pytest.mark.parametrize(
    ("days", "amount", "unit"),
    [
        (None, None, None),
        (1, 1, "days"),
        (None, 1, "forever"),
        (None, None, "years"),
        (None, 0, "days"),
    ],
)
def test_period_that_says_nothing_or_too_much_is_refused(
    days: int | None, amount: int | None, unit: str | None
) -> None:
    with pytest.raises(InvalidValue):
        period_fields(days, amount, unit)


ACTIONS = st.sampled_from(list(RetentionAction))
TERMS = st.lists(
    st.tuples(
        ACTIONS,
        st.sampled_from(["minimum", "maximum", "maximum"]),
        st.integers(1, 2),
        st.integers(1, 60),
    ),
    max_size=6,
)


@given(TERMS, st.sets(ACTIONS), st.booleans(), st.integers(0, 99))
def test_decision_does_not_depend_on_order(
    drawn: list[tuple[RetentionAction, str, int, int]],
    usable: set[RetentionAction],
    held: bool,
    seed: int,
) -> None:
    began = NOW - timedelta(days=30)
    terms = [
        Term(policy(id=n + 1, name=f"p{n}", action=a, kind=k, priority=p, days=d), began)
        for n, (a, k, p, d) in enumerate(drawn)
    ]
    holds = ["case"] if held else []
    decision = decide(NOW, terms, holds, usable)
    Random(seed).shuffle(terms)
    assert decide(NOW, terms, holds, usable) == decision
    if decision is not None and decision.action is not None:
        assert not held
        assert decision.action in usable
        unexpired = any(k == "minimum" and d > 30 for _, k, _, d in drawn)
        assert not (unexpired and decision.action in ("delete", "anonymize"))
