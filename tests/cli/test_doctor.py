import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def sound(run: Run, url: str) -> str:
    """The URL option of a store that is well."""
    assert run("migrate up", url).exit_code == 0
    return url


def test_sound_store_is_exit_code_0(run: Run, sound: str) -> None:
    result = run("doctor", sound)
    assert result.exit_code == 0, result.stdout
    for word in ("journal", "schema", "findings", "file modes", "clock", "plugins"):
        assert word in result.stdout


def test_problem_is_exit_code_1_and_says_what_to_do(run: Run, sound: str, tmp_path: Path) -> None:
    (tmp_path / "loki.db").chmod(0o644)
    result = run("doctor", sound)
    assert result.exit_code == 1
    assert "chmod 600" in result.stdout
    assert "1 problem" in result.stdout


def test_absent_store_is_a_problem_and_stays_absent(run: Run, url: str, tmp_path: Path) -> None:
    result = run("doctor", url)
    assert result.exit_code == 1
    assert "loki-storage migrate up" in " ".join(result.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_document_also_where_something_is_wrong(run: Run, url: str) -> None:
    result = run("doctor --json", url)
    assert result.exit_code == 1
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["ok"] is False
    assert set(told) == {"url", "backend", "ok", "pool", "checks"}
    assert set(told["checks"][0]) == {"name", "status", "told", "advice"}


def test_warnings_fail_only_where_that_is_asked_for(
    run: Run, sound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage_sqlite.checks.LARGEST_LOG", -1)
    assert run("doctor", sound).exit_code == 0
    assert run("doctor --strict", sound).exit_code == 1


def test_password_is_not_shown(run: Run) -> None:
    result = run("doctor", "--url=mongo://u:hunter2@h/")
    assert result.exit_code == 1
    assert "hunter2" not in result.stdout


def test_memory_is_well(run: Run) -> None:
    assert run("doctor --url memory://").exit_code == 0
