"""``loki-storage contract``: verdicts, exit codes, laws, reports."""

import builtins
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from loki_storage.memory import MemoryBackend
from loki_storage.plugins import register_backend
from loki_storage.protocol import BackendSpec
from loki_storage.query import In, Query

Run = Callable[..., Result]
QUICK = "contract run --profile smoke"


class MatchesAll(MemoryBackend):
    """Breaks QRY-3: a list of nothing matches everything."""

    def select(self, query: Query) -> Iterator[Any]:
        nothing = isinstance(query.where, In) and not query.where.values
        return super().select(Query(query.kind, query.tenant) if nothing else query)


class DoesNothing(MemoryBackend):
    def select(self, query: Query) -> Iterator[Any]:
        raise NotImplementedError


def spec(name: str, kind: Any) -> BackendSpec:
    return BackendSpec(name, lambda url: kind(f"contract-{url}"), "broken", schemes=(name,))


@pytest.fixture
def broken() -> Iterator[str]:
    """The URL of a registered backend that breaks QRY-3."""
    with register_backend(spec("matchesall", MatchesAll)):
        yield "matchesall://x"


def test_backend_that_keeps_a_law_passes(run: Run) -> None:
    ran = run(QUICK, "--backend=memory", "--law=QRY-3")
    assert ran.exit_code == 0, ran.output
    assert "memory keeps the contract: 1 passed" in ran.stdout


def test_backend_that_breaks_a_law_fails_and_tells_how(run: Run, broken: str) -> None:
    ran = run(QUICK, f"--url={broken}", "--law=QRY-3")
    assert ran.exit_code == 1
    assert "✗ QRY-3  Empty lists and limits of zero match nothing" in ran.stderr
    assert "assert [" in ran.stderr  # both sides of what was compared
    again = "loki-storage contract run --backend matchesall --url matchesall://x --profile smoke"
    assert again in " ".join(ran.stderr.split())
    assert "matchesall breaks it: 1 failed" in ran.stdout


def test_failure_is_found_again_by_its_command(run: Run, broken: str) -> None:
    first = run(QUICK, f"--url={broken}", "--law=QRY-3")
    command = " ".join(first.stderr.split()).partition("again: loki-storage ")[2].partition(" ✗")[0]
    again = run(command)
    assert again.exit_code == 1
    assert "✗ QRY-3" in again.stderr


def test_run_stops_at_the_first_failure_if_told(run: Run, broken: str) -> None:
    ran = run(QUICK, f"--url={broken}", "-x")
    assert ran.exit_code == 1
    assert ran.stderr.count("✗") == 1
    assert ran.stdout == ""


def test_json_is_one_report_and_nothing_else(run: Run, broken: str) -> None:
    ran = run(QUICK, f"--url={broken}", "--law=QRY-3", "--json")
    report = json.loads(ran.stdout)
    assert (ran.exit_code, report["ok"], ran.stderr) == (1, False, "")
    assert report["subject"]["name"] == "matchesall"
    assert [law["id"] for law in report["laws"]] == ["QRY-3"]


def test_backend_that_cannot_read_is_judged_all_the_same(run: Run) -> None:
    with register_backend(spec("nothing", DoesNothing)):
        ran = run(QUICK, "--url=nothing://x", "--law=QRY-3")
    assert ran.exit_code == 1
    assert "NotImplementedError" in ran.stderr


def test_plugin_tells_what_it_claims(read: Any) -> None:
    report = read(QUICK, "--backend=sqlite", "--law=QRY-3")
    assert report["claims"] == ["durable", "processes"]
    assert report["subject"]["database"].startswith("SQLite 3.")
    assert report["subject"]["distribution"] == "loki-storage"


def test_claim_can_be_given(run: Run) -> None:
    with register_backend(spec("acme", MemoryBackend)):
        without = run(QUICK, "--url=acme://x", "--law=TXN-6", "--json")
        claimed = run(QUICK, "--url=acme://x", "--law=TXN-6", "--claim=durable", "--json")
    (law,) = json.loads(without.stdout)["laws"]
    assert (without.exit_code, law["outcome"]) == (0, "not claimed")
    assert claimed.exit_code == 1


def test_waiver_needs_a_reason_and_a_day(run: Run, broken: str, tmp_path: Path) -> None:
    waivers = tmp_path / "waivers.toml"
    command = (QUICK, f"--url={broken}", "--law=QRY-3", f"--waivers={waivers}")
    waivers.write_text('[QRY-3]\nreason = "the server does so"\nexpires = 2999-01-01\n')
    waived = run(*command)
    assert waived.exit_code == 0
    assert "1 waived" in waived.stdout
    assert "the server does so (until 2999-01-01)" in waived.stdout
    waivers.write_text('[QRY-3]\nreason = "the server does so"\nexpires = 2001-01-01\n')
    assert run(*command).exit_code == 1
    for text in ('[QRY-3]\nreason = "x"\n', "[QRY-3]\nexpires = 2999-01-01\n", "[QRY-3"):
        waivers.write_text(text)
        assert run(*command).exit_code == 2


def test_store_with_rows_is_not_emptied_unless_told(run: Run, url: str) -> None:
    samples = Path(__file__).parents[2] / "loki_storage/samples/intercepts.jsonl"
    assert run("ingest", samples, url).exit_code == 0
    refused = run(QUICK, url, "--law=QRY-3")
    assert refused.exit_code == 2
    assert "is not empty" in refused.stderr
    assert json.loads(run("status", url, "--json").stdout)
    assert run(QUICK, url, "--law=QRY-3", "--wipe").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a backend"),
        (["--backend=nosuch"], "no backend is installed"),
        (["--backend=memory", "--law=XYZ-1"], "XYZ-1"),
        (["--backend=memory", "--check=nosuch"], "nosuch"),
        (["--backend=memory", "--profile=nosuch"], "nosuch"),
        (["--backend=memory", "--claim=everything"], "everything"),
    ],
)
def test_run_that_is_not_possible_exits_with_2(
    arguments: list[str], message: str, run: Run
) -> None:
    ran = run("contract run", *arguments)
    assert ran.exit_code == 2
    assert message in ran.stderr


def test_backend_that_cannot_be_opened_is_told_once(run: Run) -> None:
    with register_backend(BackendSpec("acme", lambda url: 1 / 0, "", schemes=("acme",))):
        ran = run(QUICK, "--url=acme://x")
    assert ran.exit_code == 2
    assert "acme cannot be opened: ZeroDivisionError" in ran.stderr
    assert "test_contract.py" in ran.stderr


def test_kit_that_is_not_installed_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_hypothesis(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "hypothesis":
            raise ModuleNotFoundError("No module named 'hypothesis'", name="hypothesis")
        return real(name, *rest)

    real = builtins.__import__
    for module in [m for m in sys.modules if m.startswith("loki_storage_contract")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without_hypothesis)
    ran = run("contract run --backend memory")
    assert ran.exit_code == 2
    assert 'pip install "loki-storage[contract]"' in ran.stderr
    assert run("contract laws").exit_code == 0


def test_laws_are_listed_by_what_they_protect(run: Run) -> None:
    text = run("contract laws").stdout
    assert "Versions\n" in text
    assert "VER-4" in text
    assert "Of all who build on one head, one wins" in text


def test_law_is_shown_in_full_with_its_reason(run: Run) -> None:
    text = " ".join(run("contract laws ver-4").stdout.split())
    assert "needs the current head as parent" in text
    assert "Why: Two people who edit the same text" in text


def test_laws_as_json_have_text_and_rationale(read: Any) -> None:
    laws = read("contract laws")["laws"]
    assert len(laws) > 60
    assert all(law["text"] and law["title"] and law["rationale"] for law in laws)
    assert read("contract laws VER-4")["laws"][0]["scope"] == "sdk"


def test_unknown_law_is_refused(run: Run) -> None:
    ran = run("contract laws NIX-9")
    assert ran.exit_code == 2
    assert "NIX-9" in ran.stderr


def test_reports_are_written_and_merged_into_one_page(
    run: Run, broken: str, tmp_path: Path
) -> None:
    for name, url in (("a", broken), ("b", "memory://")):
        run(QUICK, f"--url={url}", "--law=QRY-3", f"--report={tmp_path / name}")
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {"report.json", "junit.xml", "report.md", "badge.svg", "report.html"}
    page = tmp_path / "page.html"
    reports = [tmp_path / name / "report.json" for name in ("a", "b")]
    assert run("contract report", *reports, "-o", page).exit_code == 0
    assert "1 of 2 backends keep the contract" in page.read_text("utf-8")
    refused = run("contract report", *reports, "-o", tmp_path / "badge.svg")
    assert (refused.exit_code, (tmp_path / "badge.svg").exists()) == (2, False)


def test_report_of_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    ran = run("contract report", tmp_path / "x.json", "-o", tmp_path / "x.html")
    assert ran.exit_code == 2
    assert "x.json: is not a report" in ran.stderr
