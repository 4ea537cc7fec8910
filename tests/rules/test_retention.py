"""Periods end when a calendar says so, inclusive; the decision is blind to order (RET-1, RET-2)."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import Query
from loki_storage.batch import Insert, Require
from loki_storage.enums import EntityType, PeriodUnit, RetentionAction
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Document, Record, RetentionPolicy, RetentionState, Tag
from loki_storage.rules import retention as rules
from loki_storage.rules.change import Edit, Step
from loki_storage.rules.retention import Decision, Term, decide, end_of, is_due, period_fields

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
        ("2025-11-15", 1, "months", "2025-12-15"),
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
    ("start", "unit"), [("2025-02-01", "months"), ("2025-01-01", "years"), ("2025-01-01", "days")]
)
def test_shortest_period_is_as_long_as_its_days(start: str, unit: str) -> None:
    began = datetime.fromisoformat(f"{start}T00:00:00+00:00")
    days = period_fields(None, 1, unit)["retention_days"]
    assert end_of(began, 1, unit) == began + timedelta(days=days)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((7, None, None), (7, None, "days")),
        ((None, 7, None), (7, 7, "days")),
        ((None, 2, "years"), (730, 2, "years")),
        ((None, 36_500, "months"), (36_500, 36_500, "months")),
        ((None, None, "".join(["for", "ever"])), (36_500, None, "forever")),
    ],
)
def test_period_is_told_in_days_too(given: Any, told: Any) -> None:
    assert tuple(period_fields(*given).values()) == told


@pytest.mark.parametrize(
    ("days", "amount", "unit"),
    [
        (None, None, None),
        (1, None, "days"),
        (1, None, "forever"),
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


def terms(*drawn: tuple[str, str, str, int, int]) -> list[Term]:
    """Of (name, action, kind, priority, days), which all began 30 days ago."""
    began = NOW - timedelta(days=30)
    return [
        Term(policy(id=n, name=name, action=action, kind=kind, priority=first, days=days), began)
        for n, (name, action, kind, first, days) in enumerate(drawn, 1)
    ]


DUE = ("due", "delete", "maximum", 2, 30)
KEEPS = ("keeps", "delete", "minimum", 9, 31)


@pytest.mark.parametrize(
    ("drawn", "decision"),
    [
        ([], None),
        ([("later", "delete", "maximum", 1, 31)], None),
        ([("over", "delete", "minimum", 1, 30)], None),
        ([DUE], ("delete", "due", "due")),
        ([DUE, ("over", "delete", "minimum", 1, 30)], ("delete", "due", "due")),
        ([DUE, ("first", "delete", "maximum", 1, 1)], ("delete", "due", "first")),
        ([DUE, ("z mild", "anonymize", "maximum", 2, 1)], ("anonymize", "due", "z mild")),
        ([DUE, ("a", "delete", "maximum", 2, 1)], ("delete", "due", "a")),
        ([DUE, KEEPS], (None, "kept by a minimum", "keeps")),
        ([DUE, ("z", "delete", "minimum", 9, 40), KEEPS], (None, "kept by a minimum", "z")),
        ([DUE, ("a", "delete", "minimum", 9, 31), KEEPS], (None, "kept by a minimum", "keeps")),
        ([DUE, KEEPS, ("z", "compress", "maximum", 9, 1)], ("compress", "due", "z")),
        ([DUE, KEEPS, ("z", "archive", "maximum", 9, 1)], ("archive", "due", "z")),
        ([DUE, KEEPS, ("z", "anonymize", "maximum", 1, 1)], (None, "kept by a minimum", "keeps")),
    ],
)
def test_one_action_is_decided_upon(drawn: Any, decision: Any) -> None:
    assert decide(NOW, terms(*drawn)) == (None if decision is None else Decision(*decision))


def test_endless_minimum_keeps_longest() -> None:
    endless = Term(policy(name="a", kind="minimum", unit="forever"), NOW)
    never = Term(policy(name="b", kind="minimum", days=1), None)
    assert rules.kept_by(NOW, [endless, *terms(KEEPS)]) == "a"
    assert rules.kept_by(NOW, [endless, never, *terms(KEEPS)]) == "b"
    assert rules.kept_by(NOW, terms(KEEPS)) == "keeps"
    assert rules.kept_by(NOW, terms(DUE)) is None


def test_hold_stops_what_is_due_and_is_named() -> None:
    assert decide(NOW, terms(DUE), ["b", "a"]) == Decision(None, "on hold: a")
    assert decide(NOW, terms(KEEPS), ["a"]) is None


def test_action_that_can_do_nothing_is_told() -> None:
    both = terms(DUE, ("z", "compress", "maximum", 1, 1))
    mild, hard = RetentionAction.COMPRESS, RetentionAction.DELETE
    assert decide(NOW, both, usable=[]) == Decision(None, "nothing to compress", "z")
    told = Decision(None, "compress is not supported", "z")
    assert decide(NOW, both, usable=[], supported=[hard]) == told
    assert decide(NOW, both, usable=[hard], supported=[hard]) == Decision(hard, "due", "due")
    assert decide(NOW, both, usable=[mild]) == Decision(mild, "due", "z")


# --- Policies ---------------------------------------------------------------------------------


def about(entity_type: str, **fields: Any) -> RetentionPolicy:
    return policy(days=1, entity_type="".join([*entity_type]), **fields)


@pytest.mark.parametrize("action", [*RetentionAction])
def test_members_are_not_archived_and_what_has_no_parts_is_deleted(action: str) -> None:
    rules.check_policy(about("document", action=action))
    for entity_type in ("validation", "correction", "audit", "export_log"):
        member = entity_type in ("validation", "correction")
        if action != "archive" if member else action == "delete":
            rules.check_policy(about(entity_type, action=action))
            continue
        with pytest.raises(InvalidValue, match="action"):
            rules.check_policy(about(entity_type, action=action))


@pytest.mark.parametrize(
    "trigger", ["created", "updated", "superseded", "deleted", "signed", "a", "z"]
)
def test_triggers_are_those_that_are_known_of_the_kind(trigger: str) -> None:
    rules.check_policy(about("document", trigger=trigger))
    refused = {
        "validation": trigger == "superseded",
        "correction": trigger == "superseded",
        "audit": trigger != "created",
        "export_log": trigger != "created",
    }
    for entity_type, is_refused in refused.items():
        if is_refused:
            with pytest.raises(InvalidValue, match="trigger"):
                rules.check_policy(about(entity_type, trigger=trigger))
        else:
            rules.check_policy(about(entity_type, trigger=trigger))


def test_policy_is_about_something_that_is_kept() -> None:
    for entity_type in ("tag", "hold", "a", "z"):
        with pytest.raises(InvalidField):
            rules.check_policy(about(entity_type))


def criteria(**window: Any) -> Any:
    return Query(Document, window.pop("tenant", "t")).evolve(**window).to_json()


def test_criteria_select_by_a_condition_alone() -> None:
    rules.check_policy(about("document", criteria=criteria()))
    for window in ({"limit": 1}, {"limit": 0}, {"offset": 1}, {"after": (7,)}):
        with pytest.raises(InvalidValue, match="criteria"):
            rules.check_policy(about("document", criteria=criteria(**window)))
    for tenant in ("a", "z", None):
        with pytest.raises(InvalidValue, match="criteria"):
            rules.check_policy(about("document", criteria=criteria(tenant=tenant)))
    for other in ("validation", "correction", "export_log", "audit"):
        with pytest.raises(InvalidValue, match="criteria"):
            rules.check_policy(about(other, criteria=criteria()))
    audit = Query(rules.KIND_OF[EntityType.AUDIT], "t").to_json()
    with pytest.raises(InvalidValue, match="criteria"):
        rules.check_policy(about("audit", criteria=audit))
    assert rules.selection("query", None, Tag, "t") is None


STATE = RetentionState(id=1, tenant_id="t", revision=7)


def test_each_change_of_policies_is_one_more_revision() -> None:
    step = rules.revised(STATE, 9, "t")
    assert isinstance(step, Edit)
    assert (step.before, step.guard, step.changes) == (STATE, {"revision": 7}, {"revision": 8})
    assert rules.unchanged(STATE, 9, "t") == Require(RetentionState, 1, {"revision": 7})
    assert record(rules.revised(None, 9, "t")).stored("revision") == 1
    assert record(rules.unchanged(None, 9, "t")).stored("revision") == 0


def record(step: Step) -> Record:
    assert isinstance(step, Insert)
    assert (step.record.id, step.record.tenant_id) == (9, "t")
    return step.record


def test_policy_is_updated_under_what_was_read_and_stays_one_that_runs() -> None:
    before, state = policy(days=1), rules.revised(STATE, 9, "t")
    assert rules.update(before, NOW, state, name="p", priority=100) is None
    change = rules.update(before, NOW + TICK, state, name="q", priority=100)
    assert change is not None
    edit, last = change.steps
    assert isinstance(edit, Edit)
    assert (edit.changes, last) == ({"name": "q", "updated_at": NOW + TICK}, state)
    assert edit.guard == {"name": "p", "updated_at": NOW}
    earlier = rules.update(before, NOW - TICK, state, name="q")
    assert earlier is not None
    assert isinstance(earlier.steps[0], Edit)
    assert earlier.steps[0].changes == {"name": "q"}, "a clock that went back moves nothing back"
    with pytest.raises(InvalidValue):
        rules.update(about("audit"), NOW, state, action="compress")
