"""What the pages show works: Python and console blocks run, each page in a folder of its own."""

import os
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import dev
from loki_storage.samples import open_intercepts
from loki_storage.session import close_default
from tests.docs.pages import FENCE, PAGES, Block, blocks, name
from tests.postgresql.shared import database, versions

PROMPT = "$ "
PREFIX = "LOKI_STORAGE_"
NO_CODE = ("text",)
"""Drawings and listings; every other language must be one that runs here."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a newcomer would try the page: nothing but a file of intercepts."""
    monkeypatch.chdir(tmp_path)
    for variable in [each for each in os.environ if each.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    with open_intercepts() as lines:
        samples = tmp_path / "loki_storage" / "samples"
        samples.mkdir(parents=True)
        (samples / "intercepts.jsonl").write_text(lines.read(), "utf-8")
    close_default()
    yield tmp_path
    close_default()


def run_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks in order; Python ones share one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        match block.language:
            case "python":
                run_python(block, namespace)
            case "console":
                for command in commands(block):
                    run_command(command, capsys)
            case language:
                where = f"{name(block.page)}:{block.line}"
                assert language in NO_CODE, f"{where}: {language or 'unnamed'} code is never run"


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    padding = "\n" * (block.line - 1)  # so that a traceback names the page's own line
    exec(compile(padding + block.text, str(block.page), "exec"), namespace)


def commands(block: Block) -> Iterator[list[str]]:
    for line in block.text.splitlines():
        where = f"{name(block.page)}: {line}"
        assert line.startswith(PROMPT), f"{where} does not begin with {PROMPT!r}"
        yield shlex.split(line.removeprefix(PROMPT), comments=True)


def run_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    match words:
        case ["loki-storage", *arguments]:
            run_loki_storage(arguments, capsys)
        case ["python3", "dev.py", command, *_]:
            # One of them runs this test; that the demo works is shown on the built wheel.
            assert command in dev.COMMANDS
        case _:
            raise AssertionError(f"a page shows a command that nobody runs: {shlex.join(words)}")


def run_loki_storage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The installed command, in this process."""
    (script,) = entry_points(group="console_scripts", name="loki-storage")
    main = script.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["loki-storage", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    told = capsys.readouterr()
    assert (ended.value.code or 0) == 0, f"loki-storage {shlex.join(arguments)}: {told.err}"
    assert told.out.strip(), f"loki-storage {shlex.join(arguments)} says nothing"


SERVER_PAGE = "docs/postgresql.md"


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) != SERVER_PAGE], ids=name)
def test_code_on_the_page_runs(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_page(page, capsys)


@pytest.mark.postgresql
def test_code_on_the_page_of_a_server_runs(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (page,) = (page for page in PAGES if name(page) == SERVER_PAGE)
    with database(versions()[0]) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        run_page(page, capsys)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_fence_on_the_page_is_a_block(page: Path) -> None:
    assert page.read_text("utf-8").count(FENCE) == 2 * len(blocks(page))


def test_readme_shows_python_and_commands() -> None:
    shown = {block.language for block in blocks(PAGES[0])}
    assert {"python", "console"} <= shown


@pytest.mark.parametrize(
    ("language", "text", "error"),
    [
        ("python", "raise KeyError('x')", KeyError),
        ("python", "from loki_storage import no_such_name", ImportError),
        ("console", "$ rm -rf data", AssertionError),
        ("console", "$ python3 dev.py no_such_command", AssertionError),
        ("console", "$ loki-storage no-such-command", AssertionError),
        ("console", "$ loki-storage documents list --url sqlite:///absent.db", AssertionError),
        ("console", "loki-storage backends", AssertionError),
        ("bash", "loki-storage backends", AssertionError),
        ("", "loki-storage backends", AssertionError),
    ],
)
def test_code_that_does_not_work_fails(
    language: str,
    text: str,
    error: type[Exception],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = folder / "page.md"
    page.write_text(f"{FENCE}{language}\n{text}\n{FENCE}\n")
    with pytest.raises(error):
        run_page(page, capsys)


def test_block_sees_what_blocks_before_it_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "page.md"
    first, listed, last = "```python\nx = 1\n```\n", "- x:\n  ```text\n  y\n  ```\n", "x == 1"
    page.write_text(f"{first}\n{listed}\n```python\nassert {last}\n```\n")
    run_page(page, capsys)
