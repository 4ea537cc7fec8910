from collections.abc import Callable
from typing import Any

from click.testing import Result

from loki_storage import open_storage

Run = Callable[..., Result]


def test_report_is_what_came_in(read: Any, store: str, samples: list[dict[str, Any]]) -> None:
    validations = read("validations list --limit 500", store)["validations"]
    reports = [read(f"validations show {row['id']} --report", store) for row in validations]
    assert reports[::-1] == [sample["report"] for sample in samples]


def test_list_filters(run: Run, read: Any, store: str) -> None:
    found = read("validations list --risk critical", store)["validations"]
    assert found
    assert {row["overall_risk"] for row in found} == {"critical"}
    client = found[0]["client_id"]
    mine = read(f"validations list --client {client}", store)["validations"]
    assert {row["client_id"] for row in mine} == {client}
    assert "config" not in found[0]
    assert "critical" in run("validations list", store).stdout


def test_unknown_risk_is_refused(run: Run, store: str) -> None:
    result = run("validations list --risk dreadful", store)
    assert result.exit_code == 2
    assert "dreadful" not in result.stderr.partition("error:")[2]


def test_show_begins_with_failures_and_hides_what_does_not_apply(run: Run, store: str) -> None:
    text = run("validations show 1", store).stdout
    statuses = [line.split()[0] for line in text.splitlines() if line.startswith(GATE_WORDS)]
    assert statuses == sorted(statuses, key=GATE_WORDS.index)
    assert statuses[0] == "fail"
    assert "skip" not in statuses
    assert "not applicable, shown with --all" in text
    assert "skip" in run("validations show 1 --all", store).stdout


GATE_WORDS = ("fail", "error", "warning", "pass", "skip")


def test_json_has_every_result(read: Any, store: str) -> None:
    shown = read("validations show 1", store)
    validation, results = shown["validation"], shown["results"]
    failed = [result for result in results if result["status"] == "fail"]
    assert len(failed) == validation["fail_count"]
    assert any(result["status"] == "skip" for result in results)
    assert [row["validation_id"] for row in shown["corrections"]] == [1] * 4


def test_unknown_validation(run: Run, store: str) -> None:
    for words in ("validations show 999", "validations show 999 --report"):
        result = run(words, store)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: validation 999 was not found")


def test_validation_without_results(run: Run, url: str) -> None:
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        document = session.documents.create_document("text", "nda", "acme")
        validation = session.validations.create_validation(document.id, ["gdpr"], "acme")
    text = run(f"validations show {validation.id}", url).stdout
    assert "pending" in text
    assert "gate results" not in text
