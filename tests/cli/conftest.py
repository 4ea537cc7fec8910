"""Runs commands in this process, on real SQLite files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loki_storage.cli.application import application
from loki_storage.samples import open_intercepts

Run = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _plain_terminal() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LOKI_STORAGE_URL", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def run() -> Run:
    """``run("documents list", url, input=...)``: words of a command, then arguments as they are."""

    def invoke(words: str, *arguments: object, **options: Any) -> Result:
        command = [*words.split(), *map(str, arguments)]
        return CliRunner().invoke(application, command, catch_exceptions=False, **options)

    return invoke


@pytest.fixture(scope="session")
def read(run: Run) -> Callable[..., Any]:
    """What a command answers with ``--json``."""

    def parsed(words: str, *arguments: object) -> Any:
        result = run(words, *arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return parsed


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"--url=sqlite:///{tmp_path / 'loki.db'}"


@pytest.fixture(scope="session")
def samples() -> list[dict[str, Any]]:
    with open_intercepts() as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def store(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL option of a store with all sample intercepts; for reading only."""
    option = f"--url=sqlite:///{tmp_path_factory.mktemp('samples') / 'loki.db'}"
    result = run("demo", option)
    assert result.exit_code == 0, result.stderr
    return option


@pytest.fixture(scope="session")
def as_lines() -> Callable[..., bytes]:
    """JSON lines of objects; bytes as they are."""

    def joined(*values: Any) -> bytes:
        lines = (
            value if isinstance(value, bytes) else json.dumps(value).encode() for value in values
        )
        return b"".join(line + b"\n" for line in lines)

    return joined
