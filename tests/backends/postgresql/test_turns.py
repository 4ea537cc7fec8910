"""Turns: an advisory lock, and the connection that has it."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import psycopg
import pytest

from loki_storage import open_storage
from loki_storage.batch import Batch, Insert
from loki_storage.deadline import within
from loki_storage.errors import ConnectionLost, PoolExhausted
from loki_storage.models import Chain, Tag
from loki_storage.query import Query
from loki_storage_postgresql.backend import _THREAD, PostgresqlBackend
from tests.backends.postgresql.test_faults import add, ids, tag, until

Ask = Callable[..., list[tuple[Any, ...]]]
Open = Callable[..., PostgresqlBackend]
pytestmark = pytest.mark.postgresql
OURS = """FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
"""Other tests use the same server."""
HELD = f"SELECT count(*) {OURS} AND granted"
WAITING = f"SELECT count(*) {OURS} AND NOT granted"


@contextmanager
def others_turn(backend: PostgresqlBackend, ask: Ask, id: int = 1) -> Iterator[threading.Thread]:
    """Somebody else has the turn, and a thread that has not started yet waits for the next."""
    waiting = threading.Thread(target=lambda: take(backend, id))
    with backend.turn("a", Chain, id):
        yield waiting
    waiting.join(10)
    assert not waiting.is_alive()


def take(backend: PostgresqlBackend, id: int) -> None:
    with backend.turn("a", Chain, id):
        add(backend, 7)


def test_one_waits_for_the_other(backend: PostgresqlBackend, ask: Ask) -> None:
    with others_turn(backend, ask) as waiting:
        waiting.start()
        until(lambda: ask(WAITING) == [(1,)])
        assert ids(backend) == []
    assert ids(backend) == [7]
    assert ask(HELD) == [(0,)]


def test_other_rows_have_other_turns(backend: PostgresqlBackend) -> None:
    with backend.turn("a", Chain, 1):
        other = threading.Thread(target=take, args=(backend, 2))
        other.start()
        other.join(10)
        assert not other.is_alive()


def test_work_of_a_turn_needs_no_second_connection(url: str, opened: Open) -> None:
    """Else those who wait for their turn could keep from working him who has it."""
    backend = opened(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with backend.turn("a", Chain, 1):
        backend.reserve({Tag: 1})
        add(backend, 1)
        assert backend.count(Query(Tag, "a")) == 1
        with backend.snapshot("a") as view:
            assert view.exists(Query(Tag, "a"))
        with backend.turn("a", Chain, 2):
            add(backend, 2)
    assert ids(backend) == [1, 2]


def test_stream_that_outlives_a_turn_goes_on(backend: PostgresqlBackend, ask: Ask) -> None:
    backend.apply(Batch("a", [Insert(tag(number)) for number in range(1, 3001)]))
    with backend.turn("a", Chain, 1):
        stream = backend.select(Query(Tag, "a"))
        next(stream)
        assert backend.count(Query(Tag, "a")) == 3000
    assert ask(HELD) == [(0,)]
    assert len(list(stream)) == 2999
    add(backend, 3001)


def test_who_gets_no_turn_in_time_goes_on_without(backend: PostgresqlBackend, ask: Ask) -> None:
    def impatient() -> None:
        with within(0.2):
            take(backend, 1)

    with backend.turn("a", Chain, 1):
        other = threading.Thread(target=impatient)
        other.start()
        other.join(10)
        assert ids(backend) == [7]


def test_killed_connection_ends_a_turn_and_nothing_else(
    backend: PostgresqlBackend, ask: Ask
) -> None:
    with backend.turn("a", Chain, 1):
        ask(f"SELECT pg_terminate_backend(pid) {OURS}")
        until(lambda: ask(HELD) == [(0,)])
        with pytest.raises(ConnectionLost):
            ids(backend)
        add(backend, 1)
    assert ids(backend) == [1]


def test_without_sessions_of_ones_own_there_are_no_turns(url: str, opened: Open, ask: Ask) -> None:
    """A pooler may run each statement elsewhere, and the lock would stay behind."""
    backend = opened(url, prepare_threshold=None)
    with backend.turn("a", Chain, 1):
        assert ask(HELD) == [(0,)]
        add(backend, 1)


def test_stream_that_fails_in_a_turn_leaves_no_lock_behind(
    backend: PostgresqlBackend, ask: Ask
) -> None:
    """In a failed transaction nothing can be unlocked; the session goes, and the lock with it."""
    backend.apply(Batch("a", [Insert(tag(number)) for number in range(1, 3001)]))
    with backend.turn("a", Chain, 1):
        stream = backend.select(Query(Tag, "a"))
        next(stream)
        ask(f"SELECT pg_cancel_backend(pid) {OURS}")
        turn = _THREAD.turn
        assert turn is not None
        with pytest.raises(psycopg.Error):
            turn.connection.execute("SELECT 1/0")
    until(lambda: ask(HELD) == [(0,)])
    with pytest.raises(ConnectionLost):
        list(stream)
    assert len(ids(backend)) == 3000


def test_connection_that_breaks_before_it_is_bound_is_an_error_of_ours(
    url: str, opened: Open, ask: Ask
) -> None:
    backend = opened(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with backend.turn("a", Chain, 1):
        add(backend, 1)
        ask(f"SELECT pg_terminate_backend(pid) {OURS}")
        until(lambda: ask(HELD) == [(0,)])
        with within(1), pytest.raises(PoolExhausted):  # the broken one is still the turn's
            ids(backend)
    assert ids(backend) == [1]


def test_turn_is_of_its_thread_and_ends_with_it(url: str, opened: Open) -> None:
    """Contexts are copied into other threads and tasks, and go on after the turn."""
    backend = opened(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with backend.turn("a", Chain, 1):
        add(backend, 1)
        copied = copy_context()
        with ThreadPoolExecutor(1) as other, pytest.raises(PoolExhausted):
            other.submit(copied.run, ids, backend).result()
    with backend.snapshot("a"), pytest.raises(PoolExhausted):
        copied.run(ids, backend)
    assert copied.run(ids, backend) == [1]


def test_who_waits_leaves_connections_to_who_works(url: str, opened: Open, ask: Ask) -> None:
    backend = opened(url, pool_size=4, max_overflow=0, pool_timeout=0.1)
    backend.apply(Batch("a", [Insert(tag(number)) for number in range(1, 3001)]))
    with ThreadPoolExecutor(8) as others:
        with backend.turn("a", Chain, 1):
            waiting = [others.submit(wait, backend) for _ in range(8)]
            until(lambda: ask(WAITING) == [(1,)])
            stream = backend.select(Query(Tag, "a"))
            next(stream)
            assert backend.count(Query(Tag, "a")) == 3000
            stream.close()  # type: ignore[attr-defined]
        assert [done.result(10) for done in waiting] == [None] * 8
    assert ask(HELD) == [(0,)]


def wait(backend: PostgresqlBackend) -> None:
    with backend.turn("a", Chain, 1):
        backend.ping()


def test_schemas_have_turns_of_their_own(empty: str) -> None:
    with (
        open_storage(empty, schema="one", create=True) as one,
        open_storage(empty, schema="two", create=True) as two,
    ):
        first, second = one.backend, two.backend
        assert isinstance(first, PostgresqlBackend)
        assert isinstance(second, PostgresqlBackend)
        with first.turn("a", Chain, 1), ThreadPoolExecutor(1) as other, within(60):
            other.submit(wait, second).result(5)


def test_lock_of_a_killed_process_is_free(backend: PostgresqlBackend, url: str, ask: Ask) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == b"has it\n"
        assert ask(HELD) == [(1,)]
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(wait, backend)
            until(lambda: ask(WAITING) == [(1,)])
            holder.kill()
            waiting.result(5)
    assert ask(HELD) == [(0,)]


HOLDER = """
import sys, time
from loki_storage import open_storage
from loki_storage.models import Chain

with open_storage(sys.argv[1]).backend.turn("a", Chain, 1):
    print("has it", flush=True)
    time.sleep(60)
"""
