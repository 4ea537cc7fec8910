"""Nothing is lost: what is read back equals what came in, to the order of its keys."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given

from loki_storage.intercepts import Intercept, to_report
from loki_storage.values import canonical
from tests.intercepts.engine import NOW, lines, records, written


@given(lines())
def test_report_comes_back(line: dict[str, Any]) -> None:
    assert written(records(Intercept.from_line(line)).report()) == written(line["report"])


def in_order(**said: Any) -> dict[str, Any]:
    """A gate as the engine orders it."""
    usual = {"gate": "g", "version": "1", "status": "PASS", "severity": "none", "message": "m"}
    return usual | said


def of_gate(gate: Any, **module: Any) -> dict[str, Any]:
    return {"modules": {"m": {"gates": {"g": gate}, **module}}}


COUNTED = {"pass": 1, "fail": 0, "warning": 0, "error": 0, "na": 0}


@pytest.mark.parametrize(
    "report",
    [
        of_gate(in_order(message=None)),
        of_gate(in_order(suggestion=None)),
        of_gate(in_order(gate=None)),
        of_gate(in_order(timestamp=None)),
        of_gate(in_order(severity=None)),
        of_gate(in_order(timestamp="2026-01-01")),
        of_gate(in_order(spans=[], timestamp="2026-01-01")),
        of_gate(in_order(timestamp="2026-01-01", spans=[])),
        of_gate(in_order(at="an evidence", id="another", timestamp="2026-01-01")),
        of_gate({"status": "PASS"}),
        of_gate({"message": "same", "status": "PASS"}),
        of_gate({"suggestion": "same", "status": "PASS"}),
        of_gate({"status": "PASS", "message": "same"}),
        of_gate(in_order(), summary=COUNTED),
        of_gate(in_order(), summary=COUNTED | {"pass": True}),
        of_gate(in_order(), summary=COUNTED | {"pass": 1.0}),
        of_gate(in_order(), summary=COUNTED | {"pass": 2}),
        of_gate(in_order(), summary=COUNTED | {"skip": 0}),
        of_gate(in_order(), summary=dict(reversed(COUNTED.items()))),
        of_gate(in_order(), summary={"pass": 1, "warning": 0, "fail": 0, "error": 0, "na": 0}),
        of_gate(in_order(), summary=None),
        of_gate(in_order(), summary={}),
        {"modules": {"a.b": {"gates": {"c": in_order()}}, "a": {"gates": {"b.c": in_order()}}}},
        {
            "modules": {"universal": {"gates": {"pii": in_order()}}},
            "universal": {"pii": in_order()},
        },
        {"modules": {"m": {"gates": {"module": in_order()}}, "n": {"error": "e", "detail": None}}},
        {"modules": {"m": {"summary": COUNTED, "error": "e", "gates": None}}},
        {"modules": {"m": {"gates": {}}}, "universal": {}, "analyzers": None, "cross": {}},
        {"cross": {"issues": [{"id": "a"}, {"gate": 7, "id": "a"}], "more": 1}, "modules": {}},
        {
            "cross": {"issues": [{"id": "a", "status": None}, {"status": "FAIL", "id": "b"}]},
            "modules": {},
        },
        {"error": "broken", "message": None},
        {"error": True, "modules": None},
    ],
)
def test_report_comes_back_exactly(report: dict[str, Any]) -> None:
    given = Intercept.from_report("text", "email", "c", report)
    assert written(records(given).report()) == written(report)


@given(lines())
def test_corrections_come_back_of_applied_ones(line: dict[str, Any]) -> None:
    assert written(records(Intercept.from_line(line)).group()) == written(line["corrections"])


@given(lines())
def test_corrections_come_back_of_pending_ones(line: dict[str, Any]) -> None:
    stored = records(Intercept.from_line(line), pending=True)
    assert written(stored.group()) == written(line["corrections"])


@given(lines())
def test_results_in_any_order_and_with_gaps_between_ids_give_the_report(
    line: dict[str, Any],
) -> None:
    intercept = Intercept.from_line(line)
    stored = records(intercept)
    ids = [2 * n + 5 for n in range(intercept.result_count)]
    results = intercept.results(reversed(ids), "t", 1, NOW)[::-1]
    report = to_report(stored.document, stored.validation, results)
    assert written(report) == written(line["report"])


@given(lines())
def test_what_was_said_before_is_read_as_the_first_time(line: dict[str, Any]) -> None:
    first, again = records(Intercept.from_line(line)), records(Intercept.from_line(line))
    assert (first.results, first.validation) == (again.results, again.validation)


@given(lines())
@example({"document": "", "document_type": "a", "report": {"modules": {}, "x": 1e22}})
@example({"document": "", "document_type": "a", "report": {"modules": {}, "x": 2**64}})
def test_request_hash_is_that_of_the_canonical_json(line: dict[str, Any]) -> None:
    request = ["c", line["document"], line["document_type"], line["report"]]
    text = canonical([*request, line.get("corrections")], bounded=False)
    intercept = Intercept.from_line(line, default_client="c")
    assert intercept.request_hash == sha256(text.encode()).hexdigest()
