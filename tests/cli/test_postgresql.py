"""The main job on PostgreSQL from the command line, unchanged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.postgresql.shared import database, versions

pytestmark = pytest.mark.postgresql


@pytest.fixture
def empty() -> Iterator[str]:
    with database(versions()[0]) as url:
        yield url


def test_main_job(empty: str, run: Callable[..., Result], read: Callable[..., Any]) -> None:
    option = f"--url={empty}"
    assert run("demo", option).exit_code == 0
    status = read("status", option)
    assert (status["backend"], status["documents"]["documents"]) == ("postgresql", 17)
    assert run("migrate check", option).exit_code == 0
    document = read("documents list --limit 1", option)["documents"][0]["id"]
    for words in (
        f"documents show {document} --versions",
        "validations show 1 --report",
        "corrections list",
        "audit timeline",
        "backends",
    ):
        options = () if words == "backends" else (option,)
        result = run(words, *options)
        assert result.exit_code == 0, (words, result.stderr)
        assert "%40" not in result.stdout, "a password is shown"


def test_ingest_makes_the_store(
    empty: str, run: Callable[..., Result], samples: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "intercepts.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in samples))
    for _ in range(2):
        assert run(f"ingest {file}", f"--url={empty}").exit_code == 0


def test_schema_of_the_environment_counts_for_migrations(
    empty: str,
    read: Callable[..., Any],
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOKI_STORAGE_SCHEMA", "loki")
    assert run("migrate up", f"--url={empty}").exit_code == 0
    assert read("migrate status", f"--url={empty}")["up_to_date"]
    monkeypatch.delenv("LOKI_STORAGE_SCHEMA")
    assert read("migrate status", f"--url={empty}")["revision"] is None
