"""What each part of a report and of a correction result becomes."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from loki_storage.enums import (
    CorrectionStatus,
    DocumentType,
    GateStatus,
    ResultScope,
    RiskLevel,
    ValidationStatus,
)
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.intercepts import Intercept, to_corrections
from loki_storage.models import Validation, ValidationResult
from loki_storage.rules.validations import counters
from tests.intercepts.engine import NOW, Records, records

TEXT = "Returns are guaranteed."
HASH = sha256(TEXT.encode()).hexdigest()


def gate(status: Any = "FAIL", severity: Any = "high", /, **more: Any) -> dict[str, Any]:
    return {"status": status, "severity": severity, **more}


def report(*gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A report of one module with gates g0, g1, ..."""
    named = {f"g{n}": each for n, each in enumerate(gates)}
    return {"modules": {"fca_uk": {"gates": named}}, **more}


def mapped(given: Any, corrections: Any = None, **options: Any) -> Records:
    return records(Intercept.from_report(TEXT, "financial", "c", given, corrections, **options))


def result(*gates: dict[str, Any]) -> ValidationResult:
    return mapped(report(*gates)).results[0]


def validation(given: Any, **options: Any) -> Validation:
    return mapped(given, **options).validation


def test_gate_becomes_a_result_of_its_module() -> None:
    said = {
        "gate": "risk_warning",
        "version": "1.2.0",
        "legal_source": "COBS 4.5.2",
        "status": "FAIL",
        "severity": "critical",
        "message": "No risk warning.",
        "suggestion": "Add one.",
        "spans": [{"start": 0, "end": 7}],
        "timestamp": "2026-01-01T10:00:00.000001",
    }
    found = mapped({"modules": {"fca_uk": {"gates": {"risk_warning": said}}}}).results[0]
    assert found == ValidationResult(
        id=7,
        tenant_id="t",
        validation_id=1,
        client_id="c",
        scope=ResultScope.MODULE,
        module_id="fca_uk",
        gate_id="risk_warning",
        gate_key="fca_uk.risk_warning",
        status=GateStatus.FAIL,
        severity=RiskLevel.CRITICAL,
        message="No risk warning.",
        suggestion="Add one.",
        legal_source="COBS 4.5.2",
        evidence={"spans": [{"start": 0, "end": 7}]},
        metadata_json={"at": ""},
        gate_version="1.2.0",
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("part", "scope", "key"),
    [
        ({"universal": {"pii": gate()}}, ResultScope.UNIVERSAL, "universal.pii"),
        ({"analyzers": {"pii": gate()}}, ResultScope.ANALYZER, "analyzer.pii"),
        ({"cross": {"issues": [{"id": "pii"}]}}, ResultScope.CROSS, "cross.pii"),
    ],
)
def test_other_parts_of_the_engine_have_their_scope(
    part: dict[str, Any], scope: ResultScope, key: str
) -> None:
    found = mapped(report(**part)).results[0]
    assert (found.scope, found.gate_key, found.gate_id) == (scope, key, "pii")
    assert found.module_id == scope


def test_cross_issue_failed_whatever_it_says() -> None:
    issues = [{"id": "a", "severity": "critical"}, {"id": "a", "status": "PASS"}]
    found = mapped(report(cross={"issues": issues})).results
    assert [each.status for each in found] == [GateStatus.FAIL, GateStatus.FAIL]
    assert found[0].severity is RiskLevel.CRITICAL


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("PASS", GateStatus.PASS),
        ("fail", GateStatus.FAIL),
        ("Warning", GateStatus.WARNING),
        ("WARN", GateStatus.WARNING),
        ("N/A", GateStatus.SKIP),
        ("na", GateStatus.SKIP),
        ("SKIP", GateStatus.SKIP),
        ("ERROR", GateStatus.ERROR),
        ("timeout", GateStatus.ERROR),
        ("", GateStatus.ERROR),
    ],
)
def test_status_words_whatever_their_case(word: str, status: GateStatus) -> None:
    assert result(gate(word)).status is status


@pytest.mark.parametrize("word", ["PASS", "FAIL", "WARNING", "N/A", "ERROR"])
def test_usual_status_word_is_not_kept(word: str) -> None:
    assert result(gate(word)).metadata_json is None


def test_unusual_words_are_kept() -> None:
    assert result(gate("WARN", "High")).metadata_json == {"status": "WARN", "severity": "High"}


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ({"severity": "none"}, RiskLevel.NONE),
        ({"severity": "HIGH"}, RiskLevel.HIGH),
        ({"severity": "informational"}, None),
        ({"severity": None}, None),
        ({}, None),
    ],
)
def test_severity_is_null_where_the_engine_gave_none(
    said: dict[str, Any], severity: RiskLevel | None
) -> None:
    assert result({"status": "FAIL", **said}).severity is severity


def test_gate_named_otherwise_than_its_key() -> None:
    found = result(gate(gate="other"))
    assert (found.gate_id, found.gate_key) == ("other", "fca_uk.g0")


def test_times_are_kept_without_their_common_beginning() -> None:
    times = ["2026-01-01T10:00:00.5", "2026-01-01T10:00:01", None]
    stored = mapped(report(*(gate(timestamp=time) for time in times)))
    assert stored.validation.config["at"] == "2026-01-01T10:00:0"
    assert [each.metadata_json for each in stored.results] == [{"at": "0.5"}, {"at": "1"}, None]


def test_module_facts_are_in_the_config() -> None:
    module = {"name": "FCA", "version": "2.0.0", "gates": {}, "summary": {"pass": 1}}
    config = validation({"modules": {"fca_uk": module}}).config
    assert config["modules"]["fca_uk"] == module


def test_modules_used_are_those_asked_for_else_those_of_the_report() -> None:
    assert validation(report(), modules=["a", "b"]).modules_used == ["a", "b"]
    assert validation(report()).modules_used == ["fca_uk"]


def test_naive_times_are_utc_and_the_last_gate_completes() -> None:
    gates = [gate(timestamp="2026-01-01T10:00:02.5"), gate(timestamp="2026-01-01T10:00:01")]
    found = validation(report(*gates, timestamp="2026-01-01T10:00:00"))
    assert found.started_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert found.completed_at == datetime(2026, 1, 1, 10, 0, 2, 500_000, tzinfo=UTC)
    assert found.duration_ms == 2500


def test_naive_times_are_of_the_time_zone_given() -> None:
    given = report(gate(timestamp="2026-07-01T10:00:01"), timestamp="2026-07-01T10:00:00")
    found = validation(given, timezone=ZoneInfo("Europe/London"))
    assert found.started_at == datetime(2026, 7, 1, 9, tzinfo=UTC)
    assert found.completed_at == datetime(2026, 7, 1, 9, 0, 1, tzinfo=UTC)


def test_times_with_a_time_zone_keep_it_beside_naive_ones() -> None:
    gates = [gate(timestamp="2026-01-01T10:00:00"), gate(timestamp="2026-01-01T10:30:00+01:00")]
    assert validation(report(*gates)).completed_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_clock_that_ran_backwards_does_not_complete_before_the_start() -> None:
    given = report(gate(timestamp="2026-01-01T09:59:59"), timestamp="2026-01-01T10:00:00")
    found = validation(given)
    assert (found.completed_at, found.duration_ms) == (found.started_at, 0)


def test_times_that_the_report_does_not_tell_are_null() -> None:
    found = validation(report(gate()))
    assert (found.started_at, found.completed_at, found.duration_ms) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "risk"),
    [
        (report(gate(), overall_risk="low"), RiskLevel.LOW),
        (report(gate(), overall_risk="CRITICAL"), RiskLevel.CRITICAL),
        (report(gate("FAIL", "low"), gate("WARNING", "high")), RiskLevel.LOW),
        (report(gate("FAIL", "low"), gate("FAIL", "medium"), gate("FAIL", None)), RiskLevel.MEDIUM),
        (report(gate(), overall_risk="unheard of"), RiskLevel.HIGH),
        (report(gate("PASS", "high")), RiskLevel.NONE),
        (report(), RiskLevel.NONE),
    ],
)
def test_overall_risk_is_what_the_engine_says_else_the_worst_failure(
    given: dict[str, Any], risk: RiskLevel
) -> None:
    assert validation(given).overall_risk is risk


def test_counters_are_those_of_the_results() -> None:
    words = ["PASS", "FAIL", "WARN", "N/A", "ERROR", "FAIL"]
    stored = mapped(report(*(gate(word, "high") for word in words)))
    counted = counters((each.status, each.severity) for each in stored.results)
    assert counted == {"pass_count": 1, "fail_count": 2, "warning_count": 1, "high_count": 3}
    assert {name: getattr(stored.validation, name) for name in counted} == counted


def test_failed_module_is_one_result_in_error() -> None:
    failed = {"error": "ImportError", "detail": "no module named x", "version": "2"}
    stored = mapped({"modules": {"tax_uk": failed}})
    (found,) = stored.results
    assert (found.gate_key, found.status) == ("tax_uk.module", GateStatus.ERROR)
    assert (found.message, found.severity) == ("ImportError", None)
    assert found.evidence == {"detail": "no module named x"}
    assert stored.validation.config["modules"]["tax_uk"]["version"] == "2"
    assert stored.validation.status is ValidationStatus.COMPLETED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"error": "validation_error", "message": "it broke"}, "it broke"),
        ({"error": "it broke"}, "it broke"),
        ({"error": True, "message": None}, None),
    ],
)
def test_failed_engine_is_a_failed_validation(given: dict[str, Any], message: str | None) -> None:
    found = validation(given)
    assert (found.status, found.error_message) == (ValidationStatus.FAILED, message)
    assert found.overall_risk is None


def test_engine_that_failed_on_its_way_keeps_its_results() -> None:
    stored = mapped(report(gate(), error="it broke"))
    assert stored.validation.status is ValidationStatus.FAILED
    assert len(stored.results) == 1


def test_document_hash_may_be_in_capitals() -> None:
    assert validation(report(document_hash=HASH.upper())).status is ValidationStatus.COMPLETED


def correction(**fields: Any) -> dict[str, Any]:
    return {"gate_id": "g0", "gate_severity": "high", **fields}


def test_correction_keeps_what_has_no_column_in_its_metadata() -> None:
    one = correction(strategy="insert", metadata={"reason": "why", "changes": 1}, delta=5)
    stored = mapped(report(gate()), {"corrected": "New.", "corrections_applied": [one]})
    (found,) = stored.corrections
    assert (found.correction_type, found.status) == ("auto_fix", CorrectionStatus.APPLIED)
    assert (found.target_gate, found.strategy, found.reasoning) == ("fca_uk.g0", "insert", "why")
    assert (found.applied_at, found.applied_by) == (NOW, "me")
    assert (found.original_content, found.corrected_content) == (None, None)
    assert found.metadata_json["delta"] == 5
    assert found.metadata_json["metadata"]["changes"] == 1


@pytest.mark.parametrize(
    ("modules", "severity", "target"),
    [
        ({"a": {"g0": gate()}}, "high", "a.g0"),
        ({"a": {"g1": gate()}}, "high", "g0"),
        ({"a": {"g0": gate("PASS", "high")}, "b": {"g0": gate("FAIL", "low")}}, "high", "b.g0"),
        ({"a": {"g0": gate("FAIL", "low")}, "b": {"g0": gate("WARN", "high")}}, "High", "b.g0"),
        ({"a": {"g0": gate()}, "b": {"g0": gate()}}, "high", "a.g0"),
    ],
)
def test_bare_gate_id_is_resolved_by_the_report(
    modules: dict[str, Any], severity: str, target: str
) -> None:
    given = {"modules": {name: {"gates": gates} for name, gates in modules.items()}}
    one = correction(gate_severity=severity)
    stored = mapped(given, {"corrected": "New.", "corrections_applied": [one]})
    assert stored.corrections[0].target_gate == target


def test_pending_corrections_end_with_the_whole_text() -> None:
    two = {"corrected": "New.", "corrections_applied": [correction(), correction()]}
    intercept = Intercept.from_report(TEXT, "financial", "c", report(gate()), two)
    found = records(intercept, pending=True).corrections
    assert [each.status for each in found] == [CorrectionStatus.PENDING] * 2
    assert [each.corrected_content for each in found] == [None, "New."]


@pytest.mark.parametrize("unchanged", [True, False])
def test_equality_of_texts_decides_not_what_the_engine_says(unchanged: bool) -> None:
    same = {"corrected": TEXT, "corrections_applied": [], "unchanged": unchanged}
    other = {"corrected": "New.", "corrections_applied": [correction()], "unchanged": unchanged}
    given = report(gate())
    assert Intercept.from_report(TEXT, "financial", "c", given, same).corrected is None
    assert Intercept.from_report(TEXT, "financial", "c", given, other).corrected == "New."


def test_change_that_no_correction_explains_is_one_correction() -> None:
    stored = mapped(report(), {"corrected": "New.", "corrections_applied": []})
    (found,) = stored.corrections
    assert (found.correction_type, found.strategy, found.metadata_json) == ("auto_fix", None, None)
    assert stored.group() == {"corrected": "New.", "corrections_applied": []}


def test_later_corrections_of_the_validation_are_not_taken_for_those_that_came_in() -> None:
    group = {"corrected": "New.", "corrections_applied": [correction()]}
    stored = mapped(report(gate()), group)
    ours = stored.corrections[0]
    later = ours.evolve(id=2, created_at=NOW + timedelta(seconds=1), metadata_json=None)
    both = [later, ours]
    assert to_corrections(stored.document, stored.version, stored.validation, both) == group


def test_line_may_name_client_user_and_the_rest() -> None:
    line = {
        "document": TEXT,
        "document_type": "financial",
        "report": report(),
        "client_id": "acme",
        "tenant": "not ours to judge",
        "user_id": "u1",
        "title": "Fund",
        "source": "mail",
        "request_id": "r1",
    }
    found = Intercept.from_line(line)
    assert (found.client_id, found.user_id, found.title) == ("acme", "u1", "Fund")
    assert (found.source, found.request_id) == ("mail", "r1")
    assert found.document_type is DocumentType.FINANCIAL


def test_line_without_a_client_is_of_the_default_one() -> None:
    line = {"document": TEXT, "document_type": "financial", "report": report(), "client_id": None}
    assert Intercept.from_line(line).client_id == "default"
    assert Intercept.from_line(line, default_client="acme").client_id == "acme"


def test_unknown_key_of_a_line_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InvalidField) as caught:
        Intercept.from_line({"document": TEXT, "documenttype": "financial"})
    assert caught.value.suggestion == "document_type"


def test_request_hash_may_be_given() -> None:
    given = Intercept.from_report(TEXT, "financial", "c", report(), request_hash="known")
    assert given.request_hash == "known"


def test_as_many_ids_as_records_are_needed() -> None:
    intercept = Intercept.from_report(TEXT, "financial", "c", report(gate(), gate()))
    with pytest.raises(InvalidValue, match="ids"):
        intercept.results([1], "t", 1, NOW)


def test_repr_tells_figures_alone() -> None:
    intercept = Intercept.from_report(TEXT, "financial", "client", report(gate()))
    assert repr(intercept) == "Intercept(results=1, corrections=0)"
