"""Which file a URL names, who may read it, and when it goes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from loki_storage.batch import Batch, Insert
from loki_storage.errors import InvalidField, InvalidValue, Unavailable
from loki_storage.hookspecs import PROJECT
from loki_storage.models import Chain
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.query import Query
from loki_storage_sqlite import loki_register_backends, open_sqlite
from loki_storage_sqlite.backend import SqliteBackend

EVERYTHING = Query(Chain, "a")
CHAIN = Chain(id=1, tenant_id="a", client_id="c")


def opened(url: str) -> SqliteBackend:
    backend = open_sqlite(url)
    assert isinstance(backend, SqliteBackend)
    return backend


def prepared(url: str) -> SqliteBackend:
    backend = opened(url)
    backend.prepare(create=True)
    return backend


@pytest.mark.parametrize("relative", [True, False])
def test_url_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    monkeypatch.chdir(tmp_path)
    backend = opened("sqlite:///my store.db" if relative else f"sqlite:///{tmp_path}/my store.db")
    monkeypatch.chdir("/")
    backend.prepare(create=True)
    assert (tmp_path / "my store.db").is_file()
    backend.close()


@pytest.mark.parametrize("name", ["a?b.db", "100%.db", "a#b.db", "ä😀.db"])
def test_name_of_a_file_is_taken_literally(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/{name}".replace("?", "%3F")
    backend = opened(url)
    backend._path = str(tmp_path / name)
    backend.prepare(create=True)
    assert (tmp_path / name).is_file()
    backend.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_no_file_is_a_private_one_that_goes_on_close(url: str) -> None:
    first, second = prepared(url), prepared(url)
    first.apply(Batch("a", [Insert(CHAIN)]))
    assert (first.count(EVERYTHING), second.count(EVERYTHING)) == (1, 0)
    paths = [Path(backend._path) for backend in (first, second)]
    assert all(mode(path) == 0o600 and mode(path.parent) == 0o700 for path in paths)
    first.close()
    second.close()
    assert not any(path.parent.exists() for path in paths)


def test_private_file_goes_at_exit_and_not_with_a_child() -> None:
    program = (
        "import os; from loki_storage_sqlite import open_sqlite\n"
        "b = open_sqlite('sqlite://'); b.prepare(create=True)\n"
        "if os.fork() == 0: raise SystemExit(0)\n"
        "os.wait(); assert os.path.exists(b._path); print(b._path)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).parent.exists()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("sqlite://loki.db", InvalidValue),
        ("sqlite://user@host/loki.db", InvalidValue),
        ("sqlite:loki.db", InvalidValue),
        ("sqlite:///loki.db?timeout=9", InvalidField),
    ],
)
def test_url_that_means_something_else_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_sqlite(url)


def test_unknown_synchronous_is_refused() -> None:
    with pytest.raises(InvalidValue, match="FULL, EXTRA, NORMAL"):
        open_sqlite("sqlite://", synchronous="OFF")  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_and_its_side_files_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        backend = prepared(f"sqlite:///{tmp_path}/loki.db")
        backend.apply(Batch("a", [Insert(CHAIN)]))
        modes = {path.name: mode(path) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"loki.db": 0o600, "loki.db-wal": 0o600, "loki.db-shm": 0o600}
    backend.close()


def test_folder_that_is_not_there_is_named_as_the_cause(tmp_path: Path) -> None:
    backend = opened(f"sqlite:///{tmp_path}/nowhere/loki.db")
    with pytest.raises(Unavailable, match="folder"):
        backend.prepare(create=True)


def test_folder_in_place_of_a_file_is_named_as_the_cause(tmp_path: Path) -> None:
    backend = opened(f"sqlite:///{tmp_path}")
    with pytest.raises(Unavailable, match="cannot be opened"):
        backend.prepare(create=True)


def test_connections_are_set_up(tmp_path: Path) -> None:
    backend = prepared(f"sqlite:///{tmp_path}/loki.db")
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
        "page_size": 4096,
    }
    with backend._connected() as connection:
        found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected}
    assert found == expected
    backend.close()


def test_plugin_is_listed_without_sqlalchemy() -> None:
    program = (
        "import sys; from loki_storage_sqlite import loki_register_backends as r; "
        "(spec,) = r(); assert spec.schemes == ('sqlite',) and spec.creates; "
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_plugin_is_found_by_its_scheme() -> None:
    assert find_backend("sqlite", plugin_manager()) == loki_register_backends()[0]
    assert PROJECT == "loki_storage"


@pytest.mark.parametrize("processes", [6])
def test_processes_that_open_one_empty_file_at_once_all_succeed(
    tmp_path: Path, processes: int
) -> None:
    program = (
        "from loki_storage_sqlite import open_sqlite; from loki_storage.models import Chain\n"
        f"b = open_sqlite('sqlite:///{tmp_path}/loki.db'); b.prepare(create=True)\n"
        "print(b.reserve({Chain: 1})[Chain].start); b.close()"
    )
    command = [sys.executable, "-c", program]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    told = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * processes, told
    assert sorted(int(out) for out, _ in told) == list(range(1, processes + 1))
