from collections.abc import Callable
from typing import Any

from click.testing import Result

Run = Callable[..., Result]
CLIENT = "quillfeather-wealth"


def test_list_is_newest_first(run: Run, read: Any, store: str) -> None:
    entries = read("audit list", store)["entries"]
    assert [entry["id"] for entry in entries] == sorted((e["id"] for e in entries), reverse=True)
    assert "actor" in run("audit list", store).stdout


def test_list_of_a_document_takes_any_version(read: Any, store: str) -> None:
    rows = read("documents list", store)["documents"]
    id = next(row["id"] for row in rows if row["versions"] > 1)
    versions = read(f"documents show {id}", store)["versions"]
    lists = [read(f"audit list --document {version['id']}", store) for version in versions]
    assert lists[0]["total"] > 0
    assert all(listed == lists[0] for listed in lists)
    assert {entry["document_id"] for entry in lists[0]["entries"]} == {versions[0]["root_id"]}


def test_list_filters_by_client_and_action(read: Any, store: str) -> None:
    found = read(f"audit list --client {CLIENT} --action create", store)["entries"]
    assert {(entry["client_id"], entry["action"]) for entry in found} == {(CLIENT, "create")}


def test_timeline_has_every_day_and_every_action(run: Run, read: Any, store: str) -> None:
    days = read(f"audit timeline --client {CLIENT} --days 5", store)["days"]
    assert len(days) == 5
    counted = sum(sum(day["actions"].values()) for day in days)
    assert counted == read(f"audit list --client {CLIENT}", store)["total"]
    text = run(f"audit timeline --client {CLIENT} --days 5", store).stdout
    assert len(text.splitlines()) == 2 + 5
    assert text.splitlines()[-1].startswith(days[-1]["date"])
    assert "█" in text.splitlines()[-1]
    assert "█" not in text.splitlines()[2]


def test_days_are_checked(run: Run, store: str) -> None:
    assert run("audit timeline --days 0", store).exit_code == 2
