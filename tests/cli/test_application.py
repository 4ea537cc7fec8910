import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from loki_storage import hookimpl, open_storage
from loki_storage.cli import extensions
from loki_storage.cli.application import application

Run = Callable[..., Result]
COMMAND = [sys.executable, "-c", "from loki_storage.cli import main; main()"]


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


ALL = dict(commands(application))


WITHOUT_STORE = {
    *("backends", "contract laws", "contract prove", "contract report", "new-backend"),
    *("retention policies packs", "retention certificate verify"),
}


@pytest.mark.parametrize("words", ALL)
def test_every_command_has_help_json_and_verbose(run: Run, words: str) -> None:
    result = run(f"{words} --help")
    assert result.exit_code == 0
    names = {option for parameter in ALL[words].params for option in parameter.opts}
    assert {"--json", "--verbose"} <= names
    assert "--url" in names or words in WITHOUT_STORE
    assert ALL[words].get_short_help_str(200).endswith(".")


def test_short_helps_fit_on_a_line(run: Run) -> None:
    assert "..." not in run("--help", env={"COLUMNS": "80"}).stdout.partition("Commands:")[2]


READING = [
    "status",
    "documents list",
    "documents list --versions all --deleted",
    "documents show 1 --versions --content",
    "validations list",
    "validations show 1",
    "validations show 1 --report",
    "corrections list",
    "corrections show 1",
    "audit list",
    "audit timeline",
    "tags list",
    "migrate status",
    "migrate check",
    "migrate sql",
]


@pytest.mark.parametrize("words", READING)
def test_json_is_one_document_on_stdout_and_nothing_else(run: Run, store: str, words: str) -> None:
    result = run(f"{words} --json", store)
    assert (result.exit_code, result.stderr) == (0, "")
    assert isinstance(json.loads(result.stdout), dict)


@pytest.mark.parametrize("words", READING)
def test_looking_writes_nothing(run: Run, store: str, words: str) -> None:
    def stored() -> int:
        with open_storage(store.removeprefix("--url=")) as storage:
            return sum(1 for _ in storage.dump())

    before = stored()
    run(words, store)
    assert stored() == before


@pytest.mark.parametrize("words", [w for w in READING if w.endswith(" list")])
def test_every_list_of_an_empty_store_says_what_to_do(run: Run, words: str) -> None:
    result = run(f"{words} --url memory://")
    assert result.exit_code == 0
    expected = "nothing stored yet: run `loki-storage ingest FILE --url memory://`\n"
    assert result.stdout == expected


def test_version(run: Run) -> None:
    assert run("--version").stdout.startswith("loki-storage 0.")


def test_storage_error_is_told_without_traceback(run: Run) -> None:
    result = run("status --url nothing://here")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: no backend is installed for 'nothing'; installed: ")
    assert "Traceback" not in result.stderr


def test_password_is_in_no_error(run: Run) -> None:
    result = run("status --url nothing://me:hunter2@host/db --verbose")
    assert "hunter2" not in result.stderr + result.stdout


def test_verbose_tells_where_it_happened(run: Run) -> None:
    result = run("status --url nothing://here --verbose")
    assert "loki_storage: PluginError" in result.stderr
    assert " in find_backend" in result.stderr
    assert "PluginError" not in run("status --url nothing://here").stderr


def test_url_comes_from_the_environment(run: Run, store: str) -> None:
    url = store.removeprefix("--url=")
    assert url in run("status", env={"LOKI_STORAGE_URL": url}).stdout


def test_damaged_store_is_told_without_traceback(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "loki.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    for words in ("status", "documents list", "ingest -"):
        result = run(words, f"--url=sqlite:///{path}", input=b"{}\n")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")


def test_interrupt_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(invocation: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("loki_storage.cli.invocation.Invocation.existing", interrupted)
    assert run("status --url memory://").exit_code == 130


def test_importing_the_package_brings_neither_click_nor_rich() -> None:
    code = "import sys, loki_storage.cli; print(*({'click', 'rich'} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_process_prints_tables_in_any_encoding(store: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = subprocess.run(
        [*COMMAND, "audit", "timeline", store], capture_output=True, env=environment, check=True
    )
    assert ran.stderr == b""
    assert b"#" in ran.stdout
    assert ran.stdout.isascii()


def test_reader_that_goes_away_is_no_error(store: str) -> None:
    ran = subprocess.run(
        f"{sys.executable} -c 'from loki_storage.cli import main; main()' "
        f"validations show 1 --json {store} | head -1",
        shell=True,
        capture_output=True,
        check=True,
    )
    assert ran.stdout == b"{\n"
    assert ran.stderr == b""


# Plugins


class FakePoint:
    """An entry point whose plugin is at hand."""

    def __init__(self, name: str, plugin: object) -> None:
        self.name, self._plugin = name, plugin

    def load(self) -> object:
        if isinstance(self._plugin, Exception):
            raise self._plugin
        return self._plugin


class Greeting:
    @hookimpl
    def loki_register_commands(self) -> list[click.Command]:
        return [click.Command("greet", callback=lambda: click.echo("hello"), help="Say hello.")]


class Usurper:
    @hookimpl
    def loki_register_commands(self) -> list[click.Command]:
        return [click.Command("status", callback=lambda: click.echo("mine now"))]


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def install(**found: object) -> None:
        points = [FakePoint(name, plugin) for name, plugin in found.items()]
        monkeypatch.setattr(extensions, "entry_points", lambda group: points)
        extensions.plugin_commands.cache_clear()

    yield install
    extensions.plugin_commands.cache_clear()


def test_plugin_adds_a_command(run: Run, plugins: Callable[..., None]) -> None:
    plugins(greeter=Greeting())
    assert run("greet").stdout == "hello\n"
    assert "Say hello." in run("--help").stdout


def test_plugin_cannot_replace_a_command(run: Run, plugins: Callable[..., None]) -> None:
    plugins(usurper=Usurper())
    assert "mine now" not in run("status --url memory://").stdout


def test_broken_plugin_stops_nobody(run: Run, plugins: Callable[..., None]) -> None:
    plugins(broken=RuntimeError("secret detail"), greeter=Greeting())
    result = run("greet")
    assert result.stdout == "hello\n"
    assert "plugin 'broken' is broken (RuntimeError)" in result.stderr
    assert "secret detail" not in result.stderr


def test_unknown_command(run: Run) -> None:
    result = run("no-such-command")
    assert result.exit_code == 2
    assert "No such command" in result.stderr
