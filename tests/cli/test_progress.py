import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loki_storage.cli.progress import progress

COMMAND = [sys.executable, "-c", "from loki_storage.cli import main; main()"]


def test_without_a_terminal_only_remarks_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(100, "lines") as watched:
        watched.advance(50)
        watched.say("line 2: \x1b[31m is [bold]bad[/bold]")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "line 2: \\x1b[31m is [bold]bad[/bold]\n")


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("source", "shown"), [("file", "%"), ("-", "intercepts")])
def test_terminal_shows_a_bar_and_bad_lines(
    tmp_path: Path, url: str, samples: list[dict[str, Any]], as_lines: Any, source: str, shown: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(as_lines(*samples, b"nonsense"))
    screen, terminal = os.openpty()
    name = str(path) if source == "file" else "-"
    with path.open("rb") as lines:
        ran = subprocess.Popen(
            [*COMMAND, "ingest", name, url, "--json"],
            stdin=lines if source == "-" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        )
    os.close(terminal)
    seen = read_all(screen)
    out, _ = ran.communicate(timeout=60)
    assert shown in seen
    assert f"line {len(samples) + 1}: is not JSON" in seen
    assert out.startswith(b"{")


def read_all(screen: int) -> str:
    seen = b""
    try:
        while data := os.read(screen, 65536):
            seen += data
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(screen)
    return seen.decode(errors="replace")


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(
    "command",
    ["export audit --format csv --actor a", "backup create b", "backup restore b --replace"],
)
def test_terminal_shows_how_far_an_export_or_a_backup_is(
    tmp_path: Path, url: str, samples: list[dict[str, Any]], as_lines: Any, command: str
) -> None:
    """A bar with rows, rate and estimate on stderr; the answer alone on stdout."""
    (tmp_path / "in.jsonl").write_bytes(as_lines(*samples))
    subprocess.run([*COMMAND, "ingest", "in.jsonl", url], cwd=tmp_path, check=True)
    if "restore" in command:
        subprocess.run([*COMMAND, "backup", "create", "b", url], cwd=tmp_path, check=True)
    screen, terminal = os.openpty()
    ran = subprocess.Popen(
        [*COMMAND, *command.split(), url, "--json"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    seen = read_all(screen)
    out, _ = ran.communicate(timeout=60)
    assert ran.returncode == 0, seen
    assert re.search(r"100%.* [\d,]+ rows, [\d,]+/s", seen)
    assert re.search(r"\d:\d\d:\d\d", seen)
    assert out.startswith(b"{")
