"""Connections: reused, bounded in number and time, never lost to who waits for one."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loki_storage.batch import Batch, Insert
from loki_storage.deadline import within
from loki_storage.errors import PoolExhausted
from loki_storage.models import Chain
from loki_storage.query import Query
from loki_storage_sql.pool import DeadlinePool, Shelf
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend

EVERYTHING = Query(Chain, "a")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SqliteBackend]:
    """Two connections in all."""
    backend = opened(tmp_path, pool_size=1, max_overflow=1)
    backend.prepare(create=True)
    backend.apply(Batch("a", [Insert(Chain(id=n, tenant_id="a", client_id="c")) for n in (1, 2)]))
    yield backend
    backend.close()


def opened(folder: Path, **options: Any) -> SqliteBackend:
    options = {"pool_timeout": 0.05, **options}
    backend = open_sqlite(f"sqlite:///{folder}/loki.db", synchronous="NORMAL", **options)
    assert isinstance(backend, SqliteBackend)
    return backend


def checkouts(backend: SqliteBackend) -> list[Any]:
    told: list[Any] = []
    sa.event.listen(backend.engine(), "checkout", lambda *facts: told.append(facts))
    return told


def test_call_after_call_uses_one_connection_without_a_checkout(small: SqliteBackend) -> None:
    list(small.select(EVERYTHING))
    told = checkouts(small)
    for _ in range(5):
        assert small.count(EVERYTHING) == 2
    assert told == []
    assert small.stats()["checked_out"] == 0


def test_open_streams_have_a_connection_each(small: SqliteBackend) -> None:
    streams: list[Any] = [small.select(EVERYTHING) for _ in range(2)]
    assert [next(stream).id for stream in streams] == [1, 1]
    assert small.stats() == {"pool_size": 1, "checked_in": 0, "checked_out": 2, "overflow": 1}
    with pytest.raises(PoolExhausted, match="pool_size"):
        next(small.select(EVERYTHING))
    streams[0].close()
    assert small.count(EVERYTHING) == 2
    del streams
    assert small.stats()["checked_out"] == 0


def test_deadline_of_the_caller_bounds_the_wait(tmp_path: Path, small: SqliteBackend) -> None:
    patient = opened(tmp_path, pool_size=1, max_overflow=0, pool_timeout=60)
    stream = patient.select(EVERYTHING)
    next(stream)
    started = time.monotonic()
    with pytest.raises(PoolExhausted), within(0.05):
        patient.count(EVERYTHING)
    assert time.monotonic() - started < 30
    patient.close()


def test_pool_keeps_its_own_timeout_when_it_is_made_anew() -> None:
    pool = DeadlinePool(lambda: None, timeout=7)  # type: ignore[arg-type]
    with within(1):
        again = pool.recreate()
        assert again.timeout() <= 1
    assert again.timeout() == 7


def test_who_waits_gets_what_others_give_back(tmp_path: Path, small: SqliteBackend) -> None:
    """More threads than connections: nobody starves while one lies on the shelf."""
    busy = opened(tmp_path, pool_size=2, max_overflow=1, pool_timeout=30)
    start = threading.Barrier(8)

    def read_often(_: int) -> int:
        start.wait()
        return sum(busy.count(EVERYTHING) for _ in range(100))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read_often, range(8))) == [200] * 8
    assert busy.stats()["checked_out"] == 0
    busy.close()


class Lent:
    """A connection that tells where it went."""

    def __init__(self) -> None:
        self.since, self.released = time.monotonic(), threading.Event()

    def release(self) -> None:
        self.released.set()

    discard = release


def test_what_is_put_back_goes_to_who_waits_before_it_goes_on_the_shelf() -> None:
    waiting, first, second = threading.Event(), Lent(), Lent()
    shelf: Any

    def connect() -> Any:
        waiting.set()
        assert first.released.wait(9)
        return second

    shelf = Shelf(Any, connect, size=2, seconds=60)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(shelf.take)
        waiting.wait()
        shelf.put(first)
        assert taken.result() is second
    assert len(shelf) == 0
    shelf.put(second)
    assert (len(shelf), second.released.is_set()) == (1, False)


def test_shelf_leaves_one_connection_to_users_of_the_engine(tmp_path: Path) -> None:
    only = opened(tmp_path, pool_size=1, max_overflow=0)
    only.prepare(create=True)
    only.count(EVERYTHING)
    with only.engine().connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM documents")) == 0
    only.close()


def test_connections_are_replaced_after_their_time(tmp_path: Path) -> None:
    restless = opened(tmp_path, pool_recycle=0)
    restless.prepare(create=True)
    made: list[Any] = []
    sa.event.listen(restless.engine(), "connect", lambda *facts: made.append(facts))
    for _ in range(3):
        time.sleep(0.002)
        restless.count(EVERYTHING)
    assert len(made) >= 2
    restless.close()


@pytest.mark.parametrize("left", ["a stream", "a snapshot"])
def test_nothing_stays_open_after_close(tmp_path: Path, left: str) -> None:
    backend = opened(tmp_path)
    backend.prepare(create=True)
    backend.apply(Batch("a", [Insert(Chain(id=n, tenant_id="a", client_id="c")) for n in (1, 2)]))
    closed: list[Any] = []
    sa.event.listen(backend.engine(), "close", lambda *facts: closed.append(facts))
    if left == "a stream":
        stream = backend.select(EVERYTHING)
        next(stream)
        backend.close()
        assert [record.id for record in stream] == [2]
    else:
        with backend.snapshot("a"):
            backend.close()
    assert len(closed) >= 1
    assert not list(tmp_path.glob("*-wal"))  # SQLite removes it with the last connection
