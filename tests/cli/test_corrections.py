from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from loki_storage import open_storage

Run = Callable[..., Result]


@pytest.fixture
def correction(url: str) -> int:
    with (
        open_storage(url.removeprefix("--url=")) as storage,
        storage.session(actor="alice") as session,
    ):
        document = session.documents.create_document("We promise 12%.", "contract", "acme")
        made = session.corrections.create_correction(
            document.id,
            "rewrite",
            "acme",
            original_content="We promise 12%.",
            corrected_content="We expect 3%.",
            strategy="soften",
            reasoning="no guarantees",
        )
        session.corrections.reject_correction(made.id, reason="too weak")
    return made.id


def test_list_filters(run: Run, read: Any, store: str) -> None:
    applied = read("corrections list --status applied --limit 500", store)
    everything = read("corrections list --limit 500", store)
    assert 0 < applied["total"] < everything["total"]
    assert {row["status"] for row in applied["corrections"]} == {"applied"}
    client = applied["corrections"][0]["client_id"]
    mine = read(f"corrections list --client {client}", store)["corrections"]
    assert {row["client_id"] for row in mine} == {client}
    assert "applied" in run("corrections list", store).stdout


def test_show_tells_the_whole_life(run: Run, read: Any, url: str, correction: int) -> None:
    shown = read(f"corrections show {correction}", url)
    assert shown["correction"]["reasoning"] == "no guarantees"
    assert [step["change_type"] for step in shown["history"]] == ["created", "rejected"]
    text = run(f"corrections show {correction}", url).stdout
    assert "too weak" in text
    assert "- We promise 12%." in text
    assert "+ We expect 3%." in text


def test_lists_hold_no_texts(run: Run, read: Any, url: str, correction: int) -> None:
    assert "promise" not in run("corrections list", url).stdout
    assert "corrected_content" not in read("corrections list", url)["corrections"][0]


def test_unknown_correction(run: Run, url: str, correction: int) -> None:
    result = run("corrections show 999", url)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: correction 999 was not found")
