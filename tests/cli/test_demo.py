import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from loki_storage import open_storage

Run = Callable[..., Result]


@pytest.mark.parametrize("width", [80, 160])
def test_demo_tells_its_story(run: Run, url: str, width: int) -> None:
    result = run("demo", url, env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    assert result.stderr == ""
    story = ["recorded in", "documents", "validations by risk", "top failing gates"]
    story += [
        "version 1 to 2: ",
        "- ",
        "+ ",
        "audit timeline",
        "try next",
        "--versions --url sqlite:",
    ]
    positions = [result.stdout.find(part) for part in story]
    assert -1 not in positions
    lines = result.stdout.splitlines()
    tables = lines[: lines.index("try next")]
    assert max(len(line.rstrip()) for line in tables if "sqlite:" not in line) <= width


def test_demo_makes_a_file_of_its_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LOKI_STORAGE_URL", "sqlite:////nowhere/precious.db")
    told = json.loads(run("demo --json").stdout)
    path = Path(told["url"].removeprefix("sqlite:///"))
    assert path.is_relative_to(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert told["ingested"]["failed"] == 0
    assert told["ingested"]["versions"] > 0
    assert told["documents"]


def test_demo_leaves_a_store_alone_that_is_not_empty(run: Run, read: Any, url: str) -> None:
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        session.documents.create_document("text", "nda", "acme")
    refused = run("demo", url)
    assert refused.exit_code == 2
    assert "holds something already" in refused.stderr
    assert read("status", url)["tables"]["documents"] == 1
    assert run("demo --add", url).exit_code == 0
    assert read("status", url)["tables"]["documents"] > 1


def test_commands_that_it_names_work(run: Run, url: str) -> None:
    lines = run("demo", url).stdout.splitlines()
    named = [line.split("loki-storage ")[1] for line in lines[lines.index("try next") + 1 :]]
    assert len(named) >= 5
    for words in named:
        assert run(words).exit_code == 0, words
