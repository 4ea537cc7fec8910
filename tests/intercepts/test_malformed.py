"""Malformed input is refused with its path and reason, and never quoted."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.enums import GateStatus
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.intercepts import Intercept, to_corrections, to_report
from loki_storage.models import Validation
from tests.intercepts.engine import NOW, lines, records, written

SECRET = "SECRET"
TEXT = "Some text."


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else SECRET


def in_module(**module: Any) -> dict[str, Any]:
    return {"modules": {"fca_uk": module}}


def in_gate(**gate: Any) -> dict[str, Any]:
    return in_module(gates={"consent": {"status": "PASS", **gate}})


GATE = "report.modules.fca_uk.gates.consent"
REPORTS: list[tuple[Any, str]] = [
    (None, "report"),
    ([], "report"),
    (SECRET, "report"),
    ({}, "report.modules"),
    ({"modules": None}, "report.modules"),
    ({"modules": [SECRET]}, "report.modules"),
    ({"modules": {"fca_uk": None}}, "report.modules.fca_uk"),
    ({"modules": {"fca_uk": SECRET}}, "report.modules.fca_uk"),
    ({"modules": {7: {"gates": {"g": {"status": "PASS"}}}}}, "report.modules.*.gates.g"),
    (in_module(), "report.modules.fca_uk.gates"),
    (in_module(error="", gates=None), "report.modules.fca_uk.gates"),
    (in_module(error=[SECRET]), "report.modules.fca_uk.error"),
    (in_module(gates=[SECRET]), "report.modules.fca_uk.gates"),
    (in_module(gates={}, summary=True), "report.modules.fca_uk.summary"),
    (in_module(gates={}, name=float("nan")), "report"),
    (in_module(gates={"consent": SECRET}), GATE),
    (in_module(gates={"consent": None}), GATE),
    (in_module(gates={"consent": ["status"]}), GATE),
    (in_module(gates={"consent": {}}), f"{GATE}.status"),
    (in_module(gates={"a\0": {"status": "PASS"}}), "report.modules.fca_uk.gates.*"),
    (in_module(gates={7: {"status": "PASS"}}), "report.modules.fca_uk.gates.*"),
    (in_module(gates={"a" * 256: {"status": "PASS"}}), "report.modules.fca_uk.gates." + "a" * 100),
    (in_gate(status=None), f"{GATE}.status"),
    (in_gate(status=1), f"{GATE}.status"),
    (in_gate(status=["PASS"]), f"{GATE}.status"),
    (in_gate(severity=3), f"{GATE}.severity"),
    (in_gate(message={"text": SECRET}), f"{GATE}.message"),
    (in_gate(message=f"{SECRET}\0"), f"{GATE}.message"),
    (in_gate(message=f"{SECRET}\ud800"), f"{GATE}.message"),
    (in_gate(suggestion=0), f"{GATE}.suggestion"),
    (in_gate(legal_source=False), f"{GATE}.legal_source"),
    (in_gate(gate=SECRET * 20), f"{GATE}.gate"),
    (in_gate(version=SECRET * 4), f"{GATE}.version"),
    (in_gate(timestamp=SECRET), f"{GATE}.timestamp"),
    (in_gate(timestamp=1767225600), f"{GATE}.timestamp"),
    (in_gate(timestamp="2026-01-01\x0010:00:00"), f"{GATE}.timestamp"),
    (in_gate(timestamp=datetime(2026, 1, 1)), f"{GATE}.timestamp"),
    (in_gate(timestamp="0001-01-01T00:00:00+14:00"), "timestamp"),
    (in_gate(spans=[float("inf")]), GATE),
    (in_gate(spans=f"{SECRET}\0"), GATE),
    (in_gate(spans={f"{SECRET}\ud800": 1}), GATE),
    (in_gate(spans={1: SECRET}), GATE),
    (in_gate(spans={SECRET}), GATE),
    (in_gate(spans=b"SECRET"), GATE),
    (in_gate(spans=nested(70)), GATE),
    (in_gate(spans=nested(20_000 // 100)), GATE),
    (in_gate(spans=10**4300), GATE),
    (in_gate(spans="x" * 2**20), GATE),
    ({"modules": {}, "document_hash": "0" * 64}, "report.document_hash"),
    ({"modules": {}, "document_hash": 7}, "report.document_hash"),
    ({"modules": {}, "timestamp": SECRET}, "report.timestamp"),
    ({"modules": {}, "timestamp": 7}, "report.timestamp"),
    ({"modules": {}, "overall_risk": 7}, "report.overall_risk"),
    ({"modules": {}, "universal": [SECRET]}, "report.universal"),
    ({"modules": {}, "analyzers": {"pii": SECRET}}, "report.analyzers.pii"),
    ({"modules": {}, "cross": SECRET}, "report.cross"),
    ({"modules": {}, "cross": {"issues": {}}}, "report.cross.issues"),
    ({"modules": {}, "cross": {"issues": [SECRET]}}, "report.cross.issues[0]"),
    ({"modules": {}, "cross": {"issues": [{"id": "a"}, {}]}}, "report.cross.issues[1].id"),
    ({"modules": {}, "cross": {"issues": [{"id": 7}]}}, "report.cross.issues[0].id"),
    (
        {"modules": {}, "cross": {"issues": [{"id": "a", "message": 7}]}},
        "report.cross.issues[0].message",
    ),
    ({"modules": {}, "extra": b"SECRET"}, "report"),
    ({"error": {"text": SECRET}}, "report.error"),
    ({"error": "it broke", "message": [SECRET]}, "report.message"),
]
LIST = "corrections.corrections_applied"
CORRECTIONS: list[tuple[Any, str]] = [
    ([], "corrections"),
    (SECRET, "corrections"),
    ({"original": SECRET}, "corrections.original"),
    ({"original": 7}, "corrections.original"),
    ({"corrected": True}, "corrections.corrected"),
    ({"corrected": f"{SECRET}\0"}, "corrections.corrected"),
    ({"corrections_applied": 7}, LIST),
    ({"corrections_applied": {}}, LIST),
    ({"corrections_applied": [{}, SECRET]}, f"{LIST}[1]"),
    ({"corrections_applied": [{"gate_id": 7}]}, f"{LIST}[0].gate_id"),
    ({"corrections_applied": [{"gate_id": SECRET * 50}]}, f"{LIST}[0].gate_id"),
    ({"corrections_applied": [{"strategy": True}]}, f"{LIST}[0].strategy"),
    ({"corrections_applied": [{"strategy": SECRET * 20}]}, f"{LIST}[0].strategy"),
    ({"corrections_applied": [{"metadata": [SECRET]}]}, f"{LIST}[0].metadata"),
    ({"corrections_applied": [{"metadata": {"reason": 7}}]}, f"{LIST}[0].metadata.reason"),
    ({"corrections_applied": [{"delta": float("nan")}]}, f"{LIST}[0]"),
    ({"mode": {SECRET}}, "corrections"),
]
ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"document": 7}, "document"),
    ({"document": None}, "document"),
    ({"document": f"{SECRET}\0"}, "document"),
    ({"document": f"{SECRET}\ud800"}, "document"),
    ({"document_type": ""}, "document_type"),
    ({"document_type": SECRET * 10}, "document_type"),
    ({"client_id": ""}, "client_id"),
    ({"client_id": None}, "client_id"),
    ({"title": SECRET * 100}, "title"),
    ({"source": 7}, "source"),
    ({"user_id": ""}, "user_id"),
    ({"request_id": SECRET * 20}, "request_id"),
    ({"request_hash": ""}, "request_hash"),
    ({"modules": SECRET}, "modules"),
    ({"modules": [7]}, "modules"),
    ({"modules": [f"{SECRET}\0"]}, "modules"),
    ({"timezone": "Europe/London"}, "timezone"),
]


def refused(**given: Any) -> InvalidValue:
    """The error that these arguments raise, the others being in order."""
    arguments = {"document": TEXT, "document_type": "email", "client_id": "c", **given}
    with pytest.raises(InvalidValue) as caught:
        Intercept.from_report(**{"report": {"modules": {}}, **arguments})
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("report", "path"), REPORTS)
def test_malformed_report_is_refused(report: Any, path: str) -> None:
    assert refused(report=report).field == path


@pytest.mark.parametrize(("report", "path"), [(r, p) for r, p in REPORTS if isinstance(r, dict)])
def test_malformed_report_is_refused_too_where_the_rest_was_read_before(
    report: dict[str, Any], path: str
) -> None:
    Intercept.from_report(TEXT, "email", "c", in_gate())
    assert refused(report=report).field == path


@pytest.mark.parametrize(("corrections", "path"), CORRECTIONS)
def test_malformed_corrections_are_refused(corrections: Any, path: str) -> None:
    assert refused(corrections=corrections).field == path


@pytest.mark.parametrize(("arguments", "path"), ARGUMENTS)
def test_malformed_arguments_are_refused(arguments: dict[str, Any], path: str) -> None:
    assert refused(**arguments).field == path


@pytest.mark.parametrize("line", [None, [], SECRET, 7])
def test_line_that_is_no_object_is_refused(line: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        Intercept.from_line(line)
    assert caught.value.field == "line"


@pytest.mark.parametrize("missing", ["document", "document_type", "report"])
def test_line_without_a_required_part_is_refused(missing: str) -> None:
    line: dict[str, Any] = {"document": TEXT, "document_type": "email", "report": in_gate()}
    del line[missing]
    with pytest.raises(InvalidValue) as caught:
        Intercept.from_line(line)
    assert caught.value.field == missing


def test_validation_that_no_intercept_brought_has_no_report() -> None:
    stored = records(Intercept.from_report(TEXT, "email", "c", in_gate()))
    other = Validation(
        id=1,
        tenant_id="t",
        document_id=1,
        modules_used=[],
        request_hash="x",
        client_id="c",
        created_at=NOW,
    )
    with pytest.raises(InvalidValue):
        to_report(stored.document, other, [])
    with pytest.raises(InvalidValue):
        to_corrections(stored.document, None, other, [])


class Words(str):
    """Text of a caller's own making."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


ODD: list[Any] = [
    None,
    7,
    -1.5,
    True,
    [],
    {},
    [SECRET],
    {"key": SECRET},
    f"{SECRET}\0",
    f"{SECRET}\ud800",
    b"SECRET",
    {1: SECRET},
    {SECRET},
    (SECRET,),
    float("nan"),
    2**64,
    10**4300,
    datetime(2026, 1, 1),
    object(),
    GateStatus.PASS,
    Words(SECRET),
    SECRET * 200,
    nested(70),
]


def test_text_that_cannot_be_remembered_is_read_all_the_same() -> None:
    stored = records(Intercept.from_report(TEXT, "email", "c", in_gate(message=Words("said"))))
    assert type(stored.results[0].message) is str


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in it with a key or an index."""
    if isinstance(value, dict):
        found = list(value.items())
    elif isinstance(value, list):
        found = list(enumerate(value))
    else:
        return []
    return [(value, key) for key, _ in found] + [p for _, inner in found for p in places(inner)]


@given(lines(), st.data())
def test_odd_value_anywhere_is_refused_or_comes_back(line: dict[str, Any], data: Any) -> None:
    container, key = data.draw(st.sampled_from(places(line)))
    # By its place: older versions of Hypothesis write down what is drawn, and cannot write some.
    container[key] = ODD[data.draw(st.integers(0, len(ODD) - 1))]
    assert outcome(line) in ("refused", "came back")


def outcome(line: dict[str, Any]) -> str:
    """What became of a line; anything but the errors of the value domain is raised."""
    try:
        stored = records(Intercept.from_line(line))
    except (InvalidValue, InvalidField) as error:
        return "quoted" if SECRET in str(error) else "refused"
    same = written(stored.report()) == written(line["report"])
    again = written(stored.group()) == written(line.get("corrections"))
    return "came back" if same and again else "changed"
