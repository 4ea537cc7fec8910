import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from loki_storage import open_storage
from loki_storage.cli import ingestion, lines

Run = Callable[..., Result]
Lines = Callable[..., bytes]


@pytest.fixture
def one(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return samples[0]


def summary(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def test_ingest_records_every_line(
    run: Run, read: Any, url: str, samples: list[dict[str, Any]], as_lines: Lines, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(as_lines(*samples))
    result = run("ingest", path, url, "--json")
    assert result.exit_code == 0
    told = summary(result)
    assert told["recorded"] == len(samples)
    assert told["replayed"] == told["failed"] == 0
    assert told["errors"] == []
    assert sum(told["documents"].values()) == len(samples)
    counts = read("status", url)["tables"]
    assert counts["validations"] == told["recorded"]
    assert counts["documents"] == told["documents"]["new"] + told["versions"]
    assert counts["validation_results"] == told["results"]
    assert counts["corrections"] == told["corrections"]


def test_second_ingest_writes_nothing(
    run: Run, url: str, samples: list[dict[str, Any]], as_lines: Lines, tmp_path: Path
) -> None:
    run("ingest -", url, input=as_lines(*samples))
    with open_storage(url.removeprefix("--url=")) as storage:
        before = list(storage.dump())
    again = summary(run("ingest - --json", url, input=as_lines(*samples)))
    assert (again["recorded"], again["replayed"]) == (0, len(samples))
    assert again["versions"] == again["results"] == again["corrections"] == 0
    with open_storage(url.removeprefix("--url=")) as storage:
        assert list(storage.dump()) == before


def test_bad_line_is_reported_and_the_rest_goes_on(
    run: Run, read: Any, url: str, samples: list[dict[str, Any]], as_lines: Lines
) -> None:
    bad = [b'{"document": "SECRET', b"[1]", b"\xff\xfe", b'{"document": "SECRET"}']
    wrong_type = samples[0] | {"document": ["SECRET"]}
    data = as_lines(samples[0], *bad, b"", b"  ", wrong_type, samples[1])
    result = run("ingest - --json", url, input=data)
    assert result.exit_code == 1
    told = summary(result)
    assert (told["recorded"], told["failed"]) == (2, 5)
    assert [error["line"] for error in told["errors"]] == [2, 3, 4, 5, 8]
    assert "line 4: is not UTF-8" in result.stderr
    assert "SECRET" not in result.stdout + result.stderr
    assert read("status", url)["tables"]["validations"] == 2


def test_bad_line_stores_nothing_of_itself(
    run: Run, read: Any, url: str, one: dict[str, Any], as_lines: Lines
) -> None:
    for broken in (
        one | {"report": None},
        one | {"report": one["report"] | {"document_hash": "0" * 64}},
        one | {"client_id": ""},
        one | {"document": "a\0b"},
        one | {"document_type": " "},
        one | {"title": "x" * 501},
        one | {"user_id": 5},
        one | {"tenant": ["acme"]},
        one | {"tenant": ""},
        one | {"corrections": "none"},
    ):
        result = run("ingest - --json", url, input=as_lines(broken))
        assert result.exit_code == 1, broken.keys()
        assert summary(result)["failed"] == 1
    tables = read("status", url)["tables"]
    assert not any(tables.values())


def test_windows_line_ends_and_byte_order_mark(run: Run, url: str, one: dict[str, Any]) -> None:
    data = b"\xef\xbb\xbf" + json.dumps(one).encode() + b"\r\n\r\n"
    assert run("ingest -", url, input=data).exit_code == 0


def test_integers_beyond_64_bits_come_back(
    run: Run, read: Any, url: str, one: dict[str, Any], as_lines: Lines
) -> None:
    large = json.loads(json.dumps(one))
    large["report"]["analyzers"]["pii"]["count"] = 10**40
    assert run("ingest -", url, input=as_lines(large)).exit_code == 0
    assert read("validations show 1 --report", url) == large["report"]


def test_client_and_tenant_of_lines_without_any(
    run: Run, read: Any, url: str, one: dict[str, Any], as_lines: Lines
) -> None:
    bare = {key: one[key] for key in ("document", "document_type", "report")}
    assert run("ingest - --client acme-ltd --tenant t1", url, input=as_lines(bare)).exit_code == 0
    assert run("ingest -", url, input=as_lines(bare | {"tenant": "t2"})).exit_code == 0
    assert read("documents list --tenant t1", url)["documents"][0]["client_id"] == "acme-ltd"
    assert read("documents list --tenant t2", url)["documents"][0]["client_id"] == "default"
    assert read("documents list", url)["documents"] == []


def test_actor_is_in_the_audit(
    run: Run, read: Any, url: str, one: dict[str, Any], as_lines: Lines
) -> None:
    run("ingest - --actor nightly", url, input=as_lines(one))
    assert {entry["actor_id"] for entry in read("audit list", url)["entries"]} == {"nightly"}


def test_summary_is_a_table(run: Run, url: str, one: dict[str, Any], as_lines: Lines) -> None:
    result = run("ingest -", url, input=as_lines(one))
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[:3])
    assert {name: told[name].strip() for name in told} == {
        "recorded": "1",
        "replayed": "0",
        "failed": "0",
    }
    assert "loki-storage documents list --url" in result.stdout
    assert result.stderr == ""


def test_empty_input(run: Run, url: str) -> None:
    result = run("ingest - --json", url, input=b"\n\n")
    assert result.exit_code == 0
    assert summary(result)["recorded"] == 0


def test_line_that_is_too_long(
    run: Run, url: str, one: dict[str, Any], as_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = 2 * len(as_lines(one))
    monkeypatch.setattr(lines.read_lines, "__defaults__", (small,))
    result = run("ingest - --json", url, input=as_lines(b"x" * (3 * small), one))
    assert (summary(result)["recorded"], summary(result)["failed"]) == (1, 1)
    assert "line 1: is longer than" in result.stderr


def test_failures_beyond_the_listed_are_counted(
    run: Run, url: str, as_lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "MAXIMUM_TOLD", 2)
    told = summary(run("ingest - --json", url, input=as_lines(*[b"no"] * 5)))
    assert told["failed"] == 5
    assert len(told["errors"]) == 2


def test_missing_file_is_wrong_usage(run: Run, url: str, tmp_path: Path) -> None:
    result = run("ingest", tmp_path / "nothing.jsonl", url)
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert not (tmp_path / "loki.db").exists()


def test_store_that_cannot_be_used_stops_it(
    run: Run, tmp_path: Path, one: dict[str, Any], as_lines: Lines
) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("these are notes, not a database " * 100)
    result = run("ingest -", f"--url=sqlite:///{foreign}", input=as_lines(one))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert foreign.read_text().startswith("these are notes")


COMMAND = [sys.executable, "-c", "from loki_storage.cli import main; main()"]


@pytest.fixture
def ingesting(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ingests what it is fed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "ingest", "-", url, "--json"], stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        yield process
        process.kill()


def feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def test_nothing_is_lost_while_others_open_and_close_the_store(
    ingesting: subprocess.Popen[bytes], url: str, samples: list[dict[str, Any]], as_lines: Lines
) -> None:
    for count, sample in enumerate(samples[:5], 1):
        feed(ingesting, as_lines(sample))
        wait_for(ingesting, url, count)
    out, _ = ingesting.communicate(timeout=60)
    assert json.loads(out)["recorded"] == stored(url) == 5


@pytest.mark.skipif(os.name == "nt", reason="signals are sent in another way there")
def test_interrupt_ends_with_the_summary_so_far(
    ingesting: subprocess.Popen[bytes], url: str, samples: list[dict[str, Any]], as_lines: Lines
) -> None:
    feed(ingesting, as_lines(*samples[:3]))
    wait_for(ingesting, url, 3)
    ingesting.send_signal(signal.SIGINT)
    out, err = ingesting.communicate(timeout=60)
    assert ingesting.returncode == 130
    told = json.loads(out)
    assert (told["recorded"], told["interrupted"]) == (3, True)
    assert err.decode().startswith("interrupted: ")


def stored(url: str) -> int:
    path = Path(url.removeprefix("--url=sqlite:///"))
    if not path.exists():
        return 0
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        return session.validations.count()


def wait_for(process: subprocess.Popen[bytes], url: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while stored(url) != count:
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def interrupted(times: int) -> list[str]:
    """What is stored of a line when that many interrupts come meanwhile."""
    interrupt, stored = ingestion._Interrupt(), []
    with contextlib.suppress(KeyboardInterrupt), interrupt.held():
        for _ in range(times):
            interrupt(signal.SIGINT, None)
        stored.append("line")
    return stored


def test_interrupt_waits_for_the_line_that_is_being_stored() -> None:
    assert interrupted(1) == ["line"]


def test_second_interrupt_does_not_wait() -> None:
    assert interrupted(2) == []


def test_interrupt_is_raised_once_the_line_is_stored() -> None:
    interrupt = ingestion._Interrupt()
    held = interrupt.held()
    held.__enter__()
    interrupt(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        held.__exit__(None, None, None)
