"""Recording intercepts end to end: one batch in, the same report out."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from loki_storage import Session
from loki_storage.enums import CorrectionStatus
from loki_storage.intercepts import Intercept
from tests.intercepts.engine import lines, written
from tests.stores import new_tenant

Open = Callable[..., Session]
GATE = {"gate": "risk", "status": "FAIL", "severity": "high", "message": "No risk warning."}
REPORT = {
    "timestamp": "2026-01-01T10:00:00",
    "modules": {"fca_uk": {"name": "FCA", "version": "1", "gates": {"risk": GATE}}},
    "overall_risk": "HIGH",
}
GROUP = {
    "original": "Guaranteed.",
    "corrected": "At risk.",
    "corrections_applied": [{"gate_id": "risk", "strategy": "insert", "metadata": {"reason": "r"}}],
    "mode": "advanced",
}


def intercept(document: str = "Guaranteed.", corrections: Any = GROUP, **report: Any) -> Intercept:
    return Intercept.from_report(document, "financial", "c", REPORT | report, corrections)


def test_report_and_corrections_are_read_back(begin: Open) -> None:
    with begin() as session:
        recorded = session.record_intercept(intercept())
    stored = begin().get_intercept(recorded.validation.id)
    assert stored is not None
    assert written(stored.to_report()) == written(REPORT)
    assert written(stored.to_corrections()) == written(GROUP)


def test_corrected_text_is_the_new_version(begin: Open) -> None:
    with begin() as session:
        recorded = session.record_intercept(intercept())
    head = begin().documents.get_latest_version(recorded.document.id)
    assert head is not None
    assert (head.content, head.version) == ("At risk.", 2)
    assert recorded.version == head


def test_same_request_again_writes_nothing(begin: Open) -> None:
    with begin() as session:
        first = session.record_intercept(intercept())
    session = begin()
    again = session.record_intercept(intercept())
    assert again.replayed
    assert not session.pending
    assert again.validation == first.validation


def test_corrections_of_an_earlier_version_stay_pending(begin: Open) -> None:
    with begin() as session:
        session.record_intercept(intercept())
    with begin() as session:
        recorded = session.record_intercept(intercept(run=2))
    stored = begin().get_intercept(recorded.validation.id)
    assert stored is not None
    assert [each.status for each in stored.corrections] == [CorrectionStatus.PENDING]
    assert recorded.version is None
    assert written(stored.to_corrections()) == written(GROUP)


@pytest.mark.parametrize("listed", [[], None])
def test_change_that_no_correction_explains_is_read_back(begin: Open, listed: Any) -> None:
    group = GROUP | {"corrections_applied": listed}
    with begin() as session:
        recorded = session.record_intercept(intercept(corrections=group))
    stored = begin().get_intercept(recorded.validation.id)
    assert stored is not None
    assert written(stored.to_corrections()) == written(group)


def test_corrections_are_read_back_after_they_were_reverted(begin: Open) -> None:
    with begin() as session:
        recorded = session.record_intercept(intercept())
    with begin() as session:
        ids = [each.id for each in session.corrections.get_by_validation(recorded.validation.id)]
        session.corrections.revert_correction(ids[0])
    stored = begin().get_intercept(recorded.validation.id)
    assert stored is not None
    assert written(stored.to_corrections()) == written(GROUP)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines())
def test_whatever_came_in_is_read_back(store: Any, line: dict[str, Any]) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        recorded = session.record_intercept(Intercept.from_line(line))
    stored = store.session(tenant=tenant).get_intercept(recorded.validation.id)
    assert written(stored.to_report()) == written(line["report"])
    assert written(stored.to_corrections()) == written(line["corrections"])
