"""Nothing is lost: what is read back equals what came in, to the order of its keys."""

from hashlib import sha256
from typing import Any

from hypothesis import example, given

from loki_storage.intercepts import Intercept, to_report
from loki_storage.values import canonical
from tests.intercepts.engine import NOW, lines, records, written


@given(lines())
def test_report_comes_back(line: dict[str, Any]) -> None:
    assert written(records(Intercept.from_line(line)).report()) == written(line["report"])


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
