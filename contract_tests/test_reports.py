"""Reports: what they tell, that they are read back, and that nothing in them passes by itself."""

import json
import runpy
import shutil
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage_contract.faulty import FAULTS, ODD
from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.rationales import RATIONALES, TITLES
from loki_storage_contract.references import memory_target
from loki_storage_contract.reports import (
    Report,
    Subject,
    page,
    read_report,
    render,
    report_of,
    write_reports,
)
from loki_storage_contract.reports.files import as_text
from loki_storage_contract.reports.groups import GROUPS, grouped
from loki_storage_contract.reports.report import from_json
from loki_storage_contract.runner import run_target
from loki_storage_contract.verdicts import (
    Cell,
    CheckResult,
    Failure,
    Outcome,
    Result,
    Waiver,
    verdict_of,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script> & \x00\ufffe | ` \u202e"


def result_with(failure_text: str = "AssertionError: assert 1 == 2", **outcomes: Outcome) -> Result:
    """A result in which these laws ("VER_4") came to these outcomes, and all others passed."""
    checks = tuple(
        check(id, outcomes.get(id.replace("-", "_"), "passed"), failure_text) for id in ALL_LAWS
    )
    waivers = {
        id: Waiver(id, "the server folds case", date(2030, 1, 1))
        for id in ALL_LAWS
        if outcomes.get(id.replace("-", "_")) == "waived"
    }
    return Result(
        target="acme",
        profile="ci",
        seed=7,
        checks=checks,
        verdicts={
            law.id: verdict_of(law, checks, waivers.get(law.id), NOON.date(), known=True)
            for law in ALL_LAWS.values()
        },
        claims=("durable",),
        overrides=("count",),
        seconds=12.5,
    )


def check(law: str, outcome: Outcome, text: str) -> CheckResult:
    broken = outcome in ("failed", "waived")
    failure = Failure(
        error=text,
        place="loki_storage_contract/laws/x.py:1",
        trace=("backend.reserve({Tag: 1})", text),
        replay="loki-storage contract run --backend acme --law X",
    )
    return CheckResult(
        name=f"check_{law}",
        laws=(law,),
        outcome="failed" if broken else outcome,
        examples=0 if outcome in ("not run", "not claimed") else 10,
        missing=("processes",) if outcome == "not claimed" else (),
        failure=failure if broken else None,
        cells=(Cell("restore", "ok", 3, True),),
    )


def report_with(text: str = "AssertionError", **outcomes: Outcome) -> Report:
    subject = Subject(name="acme", distribution="acme-loki", version="1.2", database="AcmeDB 9")
    return report_of(result_with(text, **outcomes), subject, NOON)


GOOD = report_with()
MIXED = report_with(
    VER_4="failed", QRY_4="waived", BAT_1="absent", TXN_6="not claimed", BAT_9="not run"
)


class Elements(HTMLParser):
    """Start tags with their attributes, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_law_has_a_title_a_reason_and_a_group() -> None:
    assert ALL_LAWS.keys() <= TITLES.keys()
    assert ALL_LAWS.keys() <= RATIONALES.keys()
    assert TITLES.keys() == RATIONALES.keys()
    assert sum(len(laws) for _, laws in grouped(ALL_LAWS)) == len(ALL_LAWS)
    assert max(map(len, TITLES.values())) <= 80


def test_no_family_is_in_two_groups() -> None:
    families = [family for group in GROUPS for family in group.families]
    assert len(families) == len(set(families))


@pytest.mark.parametrize("report", [GOOD, MIXED])
def test_report_is_read_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    write_reports(report, tmp_path / "new" / "folder")
    assert read_report(tmp_path / "new" / "folder" / "report.json") == report


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"report":"x"}', '{"report":"loki-storage-contract","format":1}']
)
def test_what_is_no_report_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_report(path)


def test_report_of_a_later_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        from_json({**GOOD.to_json(), "format": 2})


def test_good_report_passes_and_says_so() -> None:
    assert GOOD.ok
    assert len(GOOD.required) == len(ALL_LAWS)
    assert "keeps the contract" in render([GOOD], ".html")
    assert "✓" in render([GOOD], ".svg")


@pytest.mark.parametrize("outcome", ["failed", "not run"])
def test_law_that_failed_or_did_not_run_shows_in_every_report(outcome: Outcome) -> None:
    report = report_with(BAT_3=outcome)
    assert not report.ok
    junit = ET.fromstring(render([report], ".xml"))
    assert junit.get("failures") == "1"
    assert [case.get("name") for case in junit.iter("testcase") if case.find("failure") is not None]
    assert f"{len(ALL_LAWS) - 1}/{len(ALL_LAWS)}" in render([report], ".svg")
    assert "breaks the contract" in render([report], ".html")
    assert "breaks the contract" in render([report], ".md")


def test_waived_absent_and_unclaimed_laws_never_count_as_passed() -> None:
    report = report_with(QRY_4="waived", BAT_1="absent", TXN_6="not claimed")
    assert report.ok
    assert report.count("passed") == len(ALL_LAWS) - 3
    junit = ET.fromstring(render([report], ".xml"))
    assert junit.get("skipped") == "3"
    messages = [str(skipped.get("message")) for skipped in junit.iter("skipped")]
    assert any("the server folds case (until 2030-01-01)" in message for message in messages)


def test_json_has_what_one_asks_of_a_report() -> None:
    data = json.loads(as_text(MIXED))
    assert data["surroundings"].keys() == {"contract", "kit", "python", "system"}
    assert data["subject"]["distribution"] == "acme-loki"
    assert data["subject"]["database"] == "AcmeDB 9"
    assert (data["profile"], data["seed"], data["started"]) == (
        "ci",
        7,
        "2026-03-01T12:00:00+00:00",
    )
    (broken,) = [law for law in data["laws"] if law["id"] == "VER-4"]
    assert broken["failures"][0]["replay"].startswith("loki-storage contract run")
    assert data["cells"] == [
        {"rule": "restore", "outcome": "ok", "hits": 3 * len(ALL_LAWS), "required": True}
    ]


def test_page_loads_nothing_and_is_well_formed() -> None:
    text = page([GOOD, MIXED])
    found = Elements(text)
    loading = {"src", "data", "action", "srcset", "background"}
    assert not [tag for tag, attributes in found.tags if loading & attributes.keys()]
    assert "link" not in {tag for tag, _ in found.tags}
    assert all(str(attributes.get("href", "#")).startswith("#") for tag, attributes in found.tags)
    assert "url(" not in text
    assert "http" not in text


def test_links_on_the_page_lead_to_rows() -> None:
    tags = Elements(page([GOOD, MIXED])).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for tag, a in tags if tag == "a"}
    assert targets <= set(ids)


def test_outcomes_are_told_in_words_not_by_colour_alone() -> None:
    """Each cell of the matrix has its word, which stays in the page where it is not shown."""
    tags = Elements(page([MIXED])).tags
    words = sum(attributes.get("class") == "word" for _, attributes in tags)
    assert words == len(ALL_LAWS)
    assert "light dark" in page([MIXED])
    assert "prefers-color-scheme: dark" in page([MIXED])


def test_tables_of_the_page_have_headers_for_rows_and_columns() -> None:
    tags = Elements(page([GOOD, MIXED])).tags
    rows = sum(tag == "tr" for tag, _ in tags)
    scoped = sum(attributes.get("scope") in ("row", "rowgroup") for _, attributes in tags)
    assert rows - scoped == 2  # the two head rows


@pytest.mark.parametrize("suffix", [".html", ".md", ".xml", ".svg", ".json"])
def test_hostile_text_of_a_failure_stays_text(suffix: str) -> None:
    report = report_with(HOSTILE, VER_4="failed")
    text = render([report], suffix)
    if suffix in (".xml", ".svg"):
        ET.fromstring(text)
    if suffix == ".html":
        assert sum(tag == "script" for tag, _ in Elements(text).tags) == 1
        assert "alert('x')" in Elements(text).text
    if suffix == ".json":
        assert from_json(json.loads(text)) == report


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_any_text_of_a_failure_gives_sound_xml(text: str) -> None:
    ET.fromstring(render([report_with(text, VER_4="failed")], ".xml"))


def test_reports_of_one_kind_take_one_report() -> None:
    with pytest.raises(ValueError, match="one report"):
        render([GOOD, MIXED], ".svg")
    with pytest.raises(ValueError, match=r"\.pdf"):
        render([GOOD], ".pdf")


def without_times(report: Report) -> Report:
    laws = tuple(attrs.evolve(law, seconds=0.0) for law in report.laws)
    return attrs.evolve(report, laws=laws, started="", seconds=0.0)


def test_two_runs_give_the_same_report_apart_from_times() -> None:
    laws = ["QRY-3", "VAL-2", "VER-9"]
    one, two = (
        report_of(run_target(memory_target(), "smoke", laws=laws), Subject(name="memory"), NOON)
        for _ in range(2)
    )
    assert as_text(without_times(one)) == as_text(without_times(two))
    assert page([without_times(one)]) == page([without_times(two)])


FOLDER = Path(__file__).parents[1] / "docs" / "reports"


def test_committed_pages_are_those_of_the_committed_json() -> None:
    """``python contract_tests/make_reports.py --render`` brings them up to date."""
    made = runpy.run_path(str(Path(__file__).with_name("make_reports.py")))
    pages = made["rendered"](FOLDER)
    assert {"index.html", "README.md", "sqlite.svg", "kill-matrix.md"} <= pages.keys()
    for name, text in pages.items():
        assert (FOLDER / name).read_text("utf-8") == text, name


def test_kill_matrix_alone_has_its_page(tmp_path: Path) -> None:
    made = runpy.run_path(str(Path(__file__).with_name("make_reports.py")))
    assert made["rendered"](tmp_path) == {}
    shutil.copy(FOLDER / "kill-matrix.json", tmp_path)
    assert made["rendered"](tmp_path).keys() == {"kill-matrix.md"}


def test_committed_kill_matrix_knows_every_fault_and_all_of_them_are_killed() -> None:
    matrix = json.loads((FOLDER / "kill-matrix.json").read_text("utf-8"))
    assert {each["name"] for each in matrix["matrix"]} == {*FAULTS, *ODD}
    assert matrix["ok"]
