"""The main job on PostgreSQL from the command line, unchanged."""

import json
import re
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


READS = [
    "documents list --limit 100",
    "documents list --versions all --client thistlewood-law",
    "documents list --type email",
    "documents list --deleted",
    "documents show 30 --versions",
    "validations list --limit 100",
    "validations list --risk critical",
    "validations show 1",
    "validations show 1 --report",
    "corrections list --limit 100",
    "corrections show 1",
    "audit list --limit 100",
    "audit list --document 1",
    "audit list --action create --client thistlewood-law",
    "audit timeline",
    "tags list",
    "retention policies list",
    "exports list",
    "migrate status",
]


def test_answers_are_those_of_sqlite(
    empty: str, url: str, run: Callable[..., Result], read: Callable[..., Any]
) -> None:
    """Ids and orders included; what was counted and said does not depend on the database."""
    for option in (f"--url={empty}", url):
        assert run("demo", option).exit_code == 0
    for words in READS:
        ours, theirs = (read(words, option) for option in (f"--url={empty}", url))
        assert timeless(ours) == timeless(theirs), words


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
PLACES = ("url", "store", "backend")


def timeless(answer: Any) -> Any:
    """The answer without what two runs cannot have in common."""
    if isinstance(answer, dict):
        return {key: timeless(value) for key, value in answer.items() if key not in PLACES}
    if isinstance(answer, list):
        return [timeless(value) for value in answer]
    return TIME.sub("then", answer) if isinstance(answer, str) else answer


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
