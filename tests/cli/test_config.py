from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_value_is_told_with_its_source(
    read: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "loki-storage.toml").write_text('url = "sqlite:///x.db"\npool_size = 7\n')
    monkeypatch.setenv("LOKI_STORAGE_MAX_OVERFLOW", "3")
    told = read("config show")
    assert (told["backend"], told["file"]) == ("sqlite", "loki-storage.toml")
    found = {row["name"]: (row["value"], row["source"]) for row in told["settings"]}
    assert found["url"] == ("sqlite:///x.db", "loki-storage.toml")
    assert found["pool_size"] == (7, "loki-storage.toml")
    assert found["max_overflow"] == (3, "environment: LOKI_STORAGE_MAX_OVERFLOW")
    assert found["echo"] == (False, "default")
    assert not (folder / "x.db").exists()


def test_argument_wins_and_passwords_are_hidden(run: Run, folder: Path) -> None:
    (folder / "loki-storage.toml").write_text('url = "acme://u:hunter2@h"\n')
    result = run("config show --url memory://")
    assert result.exit_code == 0
    assert "memory://" in result.stdout
    result = run("config show")
    assert result.exit_code == 2
    assert "hunter2" not in result.stdout + result.stderr


def test_slip_is_told(run: Run, folder: Path) -> None:
    (folder / "loki-storage.toml").write_text("pool_sise = 7\n")
    result = run("config show --url sqlite:///x.db")
    assert result.exit_code == 2
    assert "did you mean 'pool_size'" in result.stderr


def test_other_commands_use_the_file(run: Run, read: Any, folder: Path) -> None:
    (folder / "loki-storage.toml").write_text('url = "sqlite:///named.db"\n')
    assert run("migrate up").exit_code == 0
    assert (folder / "named.db").exists()
    assert read("status")["url"] == "sqlite:///named.db"
