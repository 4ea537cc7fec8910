"""Locked, read-only, full, foreign and damaged files: typed errors, nothing lost, usable after."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from loki_storage.batch import Batch, Insert
from loki_storage.deadline import within
from loki_storage.errors import (
    InvalidValue,
    LockTimeout,
    ReadOnly,
    StorageDamaged,
    StorageError,
    StorageFull,
    Timeout,
    Unavailable,
)
from loki_storage.models import Chain, Document
from loki_storage.query import JsonEquals, Query, Text
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend
from loki_storage_sqlite.errors import translate
from tests.hostile import SECRET
from tests.strategies import sample

EVERYTHING = Query(Chain, "a")


def chain(id: int) -> Chain:
    return Chain(id=id, tenant_id="a", client_id=SECRET)


def insert(backend: SqliteBackend, *ids: int) -> None:
    backend.apply(Batch("a", [Insert(chain(id)) for id in ids]))


def document(id: int, size: int) -> Any:
    return sample(Document).evolve(
        id=id, tenant_id="a", root_id=id, parent_id=None, content=SECRET * size
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loki.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    backend = opened(path)
    backend.prepare(create=True)
    insert(backend, 1)
    yield backend
    backend.close()


def opened(path: Path) -> SqliteBackend:
    backend = open_sqlite(f"sqlite:///{path}", busy_timeout=0.1, synchronous="NORMAL")
    assert isinstance(backend, SqliteBackend)
    return backend


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def assert_usable(backend: SqliteBackend, *ids: int) -> None:
    insert(backend, 99)
    assert [record.id for record in backend.select(EVERYTHING)] == [*ids, 99]


# --- Waiting for other writers -------------------------------------------------------------------


def test_locked_database_can_be_read_and_is_written_after(
    backend: SqliteBackend, path: Path
) -> None:
    with locked(path):
        assert backend.count(EVERYTHING) == 1
        with pytest.raises(LockTimeout):
            insert(backend, 2)
        with pytest.raises(LockTimeout):
            backend.reserve({Chain: 1})
    assert_usable(backend, 1)


def test_deadline_of_the_caller_is_shorter_than_the_own_patience(path: Path) -> None:
    patient = open_sqlite(f"sqlite:///{path}", busy_timeout=60)
    patient.prepare(create=True)
    started = time.monotonic()
    with locked(path), pytest.raises(LockTimeout), within(0.05):
        patient.reserve({Chain: 1})
    assert time.monotonic() - started < 30
    patient.close()


def test_writer_waits_for_another_to_finish(path: Path, backend: SqliteBackend) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path):
            held.set()
            done.wait(0.03)

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(hold)
        held.wait()
        insert(backend, 2)
        waiting.result()
    assert_usable(backend, 1, 2)


def test_many_writers_all_get_their_turn(path: Path) -> None:
    backend = open_sqlite(f"sqlite:///{path}", synchronous="NORMAL", pool_size=8)
    backend.prepare(create=True)

    def write(first: int) -> None:
        for n in range(20):
            backend.apply(Batch("a", [Insert(chain(first * 100 + n))]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(1, 9)))
    assert backend.count(EVERYTHING) == 160
    backend.close()


# --- Files that are not what they should be -------------------------------------------------------


NO_DATABASES = [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096]


@pytest.mark.parametrize("content", NO_DATABASES)
def test_file_that_is_no_database_is_damaged_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    backend = opened(path)
    with pytest.raises(StorageDamaged):
        backend.prepare(create=True)
    backend.close()
    assert path.read_bytes() == content


def test_database_of_something_else_is_refused_and_stays_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name)")
    content = path.read_bytes()
    backend = opened(path)
    with pytest.raises(StorageDamaged, match="something else"):
        backend.prepare(create=True)
    backend.close()
    assert path.read_bytes() == content


def test_damaged_pages_are_damage(backend: SqliteBackend, path: Path) -> None:
    backend.apply(Batch("a", [Insert(chain(n)) for n in range(2, 2_000)]))
    backend.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for place in range(40 * 4096, size, 4096):
            file.seek(place)
            file.write(b"\x55" * 4096)
    broken = opened(path)
    with pytest.raises(StorageDamaged) as caught:
        list(broken.select(Query(Chain, "a")))
    assert SECRET not in str(caught.value)
    broken.close()


def test_file_that_was_removed_is_unavailable(backend: SqliteBackend, path: Path) -> None:
    backend.close()
    gone = opened(path)
    path.unlink()
    with pytest.raises(Unavailable, match="path"):
        gone.count(EVERYTHING)


def test_missing_table_is_damage(backend: SqliteBackend) -> None:
    with backend._transaction() as connection:
        connection.execute("DROP TABLE tags")
        connection.execute("ALTER TABLE document_chains RENAME TO elsewhere")
    with pytest.raises(StorageDamaged, match="schema"):
        backend.count(EVERYTHING)


def test_text_that_is_no_json_is_damage(backend: SqliteBackend) -> None:
    backend.apply(Batch("a", [Insert(document(1, 1))]))
    with backend._transaction() as connection:
        connection.execute("UPDATE documents SET metadata_json = '{'")
    with pytest.raises(StorageDamaged):
        backend.count(Query(Document, "a", JsonEquals("metadata_json", ["a"], 1)))


def test_schema_that_refuses_a_sound_record_is_damage(backend: SqliteBackend) -> None:
    with backend._transaction() as connection:
        connection.execute("CREATE UNIQUE INDEX x ON document_chains (client_id)")
    with pytest.raises(StorageDamaged, match="migrate check"):
        insert(backend, 2)
    with backend._transaction() as connection:
        connection.execute("DROP INDEX x")
    assert_usable(backend, 1)


# --- No room, no right, too large ----------------------------------------------------------------


def test_full_disk_loses_nothing(backend: SqliteBackend) -> None:
    with backend._connected() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + 1}").close()
    with pytest.raises(StorageFull):
        backend.apply(Batch("a", [Insert(chain(2)), Insert(document(2, 100_000))]))
    assert_usable(backend, 1)


def test_connection_that_may_only_read(backend: SqliteBackend) -> None:
    with backend._connected() as connection:
        connection.execute("PRAGMA query_only=ON").close()
    with pytest.raises(ReadOnly):
        insert(backend, 2)
    assert backend.count(EVERYTHING) == 1
    assert_usable(backend, 1)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs root to step down")
def test_file_that_others_own_is_read_only(backend: SqliteBackend, path: Path) -> None:
    """Run as somebody else: root may write everything."""
    for each in (path, *path.parent.glob("loki.db-*")):
        each.chmod(0o644)
    program = (
        "import os, sys\n"
        "from loki_storage.batch import *; from loki_storage.models import *\n"
        "from loki_storage.errors import *; from loki_storage.query import *\n"
        "from loki_storage_sqlite import open_sqlite; import loki_storage_sqlite.backend\n"
        "os.setuid(65534)\n"
        f"b = open_sqlite('sqlite:///{path}')\n"
        "try:\n"
        "    b.prepare(create=True)\n"
        "    assert b.count(Query(Chain, 'a')) == 1\n"
        "    b.reserve({Chain: 1})\n"
        "except (ReadOnly, Unavailable) as error: print(type(error).__name__)\n"
    )
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("ReadOnly", "Unavailable")
    assert_usable(backend, 1)


def test_record_that_sqlite_cannot_hold_is_refused(backend: SqliteBackend) -> None:
    with backend._connected() as connection:
        connection.driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    with pytest.raises(InvalidValue, match="larger"):
        backend.apply(Batch("a", [Insert(chain(2)), Insert(document(2, 10_000))]))
    assert_usable(backend, 1)


def test_interrupted_statement_is_a_timeout(backend: SqliteBackend) -> None:
    connection = backend._acquire()
    connection.driver.set_progress_handler(lambda: 1, 1)
    backend._release(connection)
    with pytest.raises(Timeout):
        backend.count(Query(Document, "a", Text("contains", "content", "a")))
    assert_usable(backend, 1)


# --- Codes ---------------------------------------------------------------------------------------

CODES = {
    name: code
    for name, code in vars(sqlite3).items()
    if name.startswith("SQLITE_") and isinstance(code, int) and "LIMIT" not in name
}


@pytest.mark.parametrize("name", [name for name in CODES if name.count("_") >= 1])
def test_every_code_becomes_an_error_of_ours_without_sqlites_text(name: str) -> None:
    error = sqlite3.OperationalError(f"near {SECRET}: syntax error")
    error.sqlite_errorcode, error.sqlite_errorname = CODES[name], name
    meant = translate(error)
    assert isinstance(meant, StorageError)
    assert SECRET not in str(meant)


def test_broken_connection_is_not_used_again(backend: SqliteBackend) -> None:
    connection = backend._acquire()
    connection.driver.close()
    backend._release(connection)
    with pytest.raises(Unavailable):
        backend.count(EVERYTHING)
    assert_usable(backend, 1)
