"""VLD-1 to VLD-4: the life of a validation, its counters, its risk."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.batch import Insert, Require
from loki_storage.enums import GateStatus, RiskLevel, ValidationStatus
from loki_storage.errors import IllegalTransition, InvalidValue, NotFound
from loki_storage.models import Document, Validation, ValidationResult
from loki_storage.rules import validations as rules
from loki_storage.rules.change import Change, Edit
from tests.strategies import MIDNIGHT

DOCUMENT = Document(
    id=1,
    tenant_id="t",
    root_id=1,
    document_type="email",
    content="text",
    content_hash="hash",
    content_length=4,
    client_id="a",
    created_at=MIDNIGHT,
    updated_at=MIDNIGHT,
)


def validation(status: ValidationStatus = ValidationStatus.PENDING, **fields: Any) -> Validation:
    started = None if status is ValidationStatus.PENDING else MIDNIGHT
    known = Validation(
        id=7,
        tenant_id="t",
        document_id=1,
        modules_used=["gdpr"],
        status=status,
        started_at=started,
        request_hash="hash",
        client_id="a",
        created_at=MIDNIGHT,
    )
    return known.evolve(**fields)


def result(status: str, severity: str | None = None) -> ValidationResult:
    return ValidationResult(
        id=9,
        tenant_id="t",
        validation_id=7,
        client_id="a",
        scope="module",
        gate_id="g",
        gate_key="m.g",
        status=GateStatus(status),
        severity=None if severity is None else RiskLevel(severity),
        created_at=MIDNIGHT,
    )


LATER = MIDNIGHT + timedelta(seconds=90, microseconds=999)
Move = Callable[[Validation], Change | None]
MOVES: dict[str, tuple[Move, ValidationStatus]] = {
    "start": (lambda v: rules.start(v, DOCUMENT, LATER), ValidationStatus.IN_PROGRESS),
    "complete": (
        lambda v: rules.complete(v, DOCUMENT, LATER, RiskLevel.LOW),
        ValidationStatus.COMPLETED,
    ),
    "fail": (lambda v: rules.fail(v, DOCUMENT, LATER, "why", "trace"), ValidationStatus.FAILED),
    "cancel": (lambda v: rules.cancel(v, DOCUMENT, LATER), ValidationStatus.CANCELLED),
}
LEGAL = {
    ("pending", "start"),
    ("pending", "fail"),
    ("pending", "cancel"),
    ("in_progress", "complete"),
    ("in_progress", "fail"),
    ("in_progress", "cancel"),
}


def the_edit(change: Change | None) -> Edit:
    assert change is not None
    (edit,) = (step for step in change.steps if isinstance(step, Edit))
    return edit


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("status", ValidationStatus)
def test_only_the_legal_transitions_are_legal(status: ValidationStatus, name: str) -> None:
    move, after = MOVES[name]
    if (status.value, name) not in LEGAL:
        with pytest.raises(IllegalTransition, match=f"validation 7 is {status}"):
            move(validation(status))
        return
    edit = the_edit(move(validation(status)))
    assert edit.changes["status"] is after
    assert edit.guard["status"] is status


@pytest.mark.parametrize(
    "status", [each for each in ValidationStatus if each is not ValidationStatus.IN_PROGRESS]
)
def test_results_need_a_validation_in_progress(status: ValidationStatus) -> None:
    for results in ([], [result("pass")]):
        with pytest.raises(IllegalTransition):
            rules.add_results(validation(status), DOCUMENT, results)


@pytest.mark.parametrize("name", MOVES)
def test_document_version_must_be_live_at_commit(name: str) -> None:
    status = ValidationStatus.IN_PROGRESS if name != "start" else ValidationStatus.PENDING
    change = MOVES[name][0](validation(status))
    assert change is not None
    assert Require(Document, 1, {"is_deleted": False}) in change.steps


def test_time_between_start_and_end_is_kept_in_whole_milliseconds() -> None:
    edit = the_edit(rules.complete(validation(ValidationStatus.IN_PROGRESS), DOCUMENT, LATER, None))  # type: ignore[arg-type]
    assert edit.changes["completed_at"] == LATER
    assert edit.changes["duration_ms"] == 90_000


def test_validation_that_never_started_took_no_time() -> None:
    edit = the_edit(rules.cancel(validation(), DOCUMENT, LATER))
    assert edit.changes["completed_at"] == LATER
    assert "duration_ms" not in edit.changes


def test_clock_that_went_back_ends_nothing_before_it_began() -> None:
    running = validation(ValidationStatus.IN_PROGRESS, started_at=LATER)
    edit = the_edit(rules.cancel(running, DOCUMENT, MIDNIGHT))
    assert edit.changes["completed_at"] == LATER
    assert edit.changes["duration_ms"] == 0


def test_failure_that_comes_while_it_completes_is_not_overlooked() -> None:
    running = validation(ValidationStatus.IN_PROGRESS, fail_count=2)
    edit = the_edit(rules.complete(running, DOCUMENT, LATER, RiskLevel.NONE))
    assert edit.guard["fail_count"] == 2


statuses = st.sampled_from(GateStatus)
severities = st.none() | st.sampled_from(RiskLevel)


@given(st.lists(st.tuples(statuses, severities)))
def test_counters_count_what_failed_warned_and_passed(
    found: list[tuple[GateStatus, RiskLevel | None]],
) -> None:
    counted = rules.counters(found)
    for status in ("pass", "fail", "warning"):
        assert counted.get(f"{status}_count", 0) == sum(s == status for s, _ in found)
    for level in list(RiskLevel)[:4]:
        expected = sum(s in ("fail", "warning") and r is level for s, r in found)
        assert counted.get(f"{level}_count", 0) == expected
    assert set(counted) <= {name for name in Validation.domains if name.endswith("_count")}


def test_results_add_to_the_counters_under_a_guard() -> None:
    running = validation(ValidationStatus.IN_PROGRESS, fail_count=2, high_count=1, pass_count=5)
    change = rules.add_results(running, DOCUMENT, [result("fail", "high"), result("skip")])
    edit = the_edit(change)
    assert edit.changes == {"fail_count": 3, "high_count": 2}
    assert edit.guard == {"status": "in_progress", "fail_count": 2, "high_count": 1}
    assert change is not None
    assert sum(isinstance(step, Insert) for step in change.steps) == 2


def test_no_results_are_no_change() -> None:
    assert rules.add_results(validation(ValidationStatus.IN_PROGRESS), DOCUMENT, []) is None


@pytest.mark.parametrize(
    ("key", "given_module", "given_gate", "expected"),
    [
        ("gdpr.lawful_basis", None, None, ("gdpr", "lawful_basis")),
        ("gdpr.a.b", None, None, ("gdpr", "a.b")),
        ("gate", None, None, ("gate", "gate")),
        (".gate", None, None, ("", "gate")),
        ("gdpr.", None, None, ("gdpr", "")),
        ("gdpr.a", "m", None, ("m", "a")),
        ("gdpr.a", None, "g", ("gdpr", "g")),
        ("gdpr.a", "", "", ("", "")),
    ],
)
def test_names_not_given_are_the_halves_of_the_key(
    key: str, given_module: str | None, given_gate: str | None, expected: tuple[str, str]
) -> None:
    assert rules.gate_names(key, given_module, given_gate) == expected


def test_validation_belongs_to_the_client_of_its_document() -> None:
    with pytest.raises(InvalidValue, match="client_id"):
        rules.create(validation(client_id="b"), DOCUMENT)


def test_validation_of_a_deleted_version_is_not_found() -> None:
    deleted = DOCUMENT.evolve(is_deleted=True, deleted_at=MIDNIGHT, is_latest=False)
    with pytest.raises(NotFound):
        rules.create(validation(), deleted)
