"""The life of a relational backend: laid out, used by many, forked, looked into, closed."""

import logging
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loki_storage.batch import Batch, Insert, Update
from loki_storage.errors import (
    InvalidField,
    InvalidValue,
    SchemaOutdated,
    StaleWrite,
    StorageDamaged,
    Unavailable,
)
from loki_storage.lines import ARRAYS
from loki_storage.memory import MemoryBackend
from loki_storage.models import KINDS, Chain, Document, Record, Tag
from loki_storage.protocol import Backend
from loki_storage.query import Order, Query
from loki_storage_sql.migrations import EXPECTED_REVISION
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend
from tests.hostile import SECRET
from tests.strategies import MIDNIGHT, sample

EVERYTHING = Query(Chain, "a")


def chains(count: int, tenant: str = "a") -> list[Any]:
    return [Chain(id=n, tenant_id=tenant, client_id="c") for n in range(1, count + 1)]


def insert(backend: Backend, records: list[Any]) -> None:
    backend.apply(Batch(records[0].tenant_id, map(Insert, records)))


def again(backend: SqliteBackend) -> SqliteBackend:
    """The same file, opened once more."""
    other = open_sqlite(f"sqlite:///{backend._path}", synchronous="NORMAL")
    assert isinstance(other, SqliteBackend)
    return other


# --- Layout (MIG-1) ------------------------------------------------------------------------------


def test_prepared_store_is_opened_without_alembic(backend: SqliteBackend) -> None:
    program = (
        "import sys; from loki_storage_sqlite import open_sqlite; "
        f"b = open_sqlite('sqlite:///{backend._path}'); b.prepare(create=True); b.close(); "
        "assert 'sqlalchemy' in sys.modules; assert 'alembic' not in sys.modules"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0


def test_empty_store_is_laid_out_only_when_asked(tmp_path: Path) -> None:
    backend = open_sqlite(f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(SchemaOutdated) as caught:
        backend.prepare(create=False)
    assert (caught.value.found, caught.value.expected) == (None, EXPECTED_REVISION)
    assert not list(tmp_path.iterdir())
    backend.prepare(create=True)
    assert backend.count(EVERYTHING) == 0
    backend.close()


def test_other_revision_is_named(backend: SqliteBackend) -> None:
    with backend._transaction() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutdated) as caught:
        again(backend).prepare(create=True)
    assert caught.value.found == "9999"


def test_stamped_store_without_tables_is_damaged(backend: SqliteBackend) -> None:
    with backend._transaction() as connection:
        connection.execute("DROP VIEW validation_results")
    with pytest.raises(StorageDamaged, match="alembic stamp base && alembic upgrade head"):
        again(backend).prepare(create=True)


def test_store_taken_down_is_empty_again(backend: SqliteBackend) -> None:
    backend.migrate("base")
    with pytest.raises(SchemaOutdated):
        backend.prepare(create=False)
    backend.prepare(create=True)
    assert backend.count(EVERYTHING) == 0


def test_unknown_revision_is_refused(backend: SqliteBackend) -> None:
    with pytest.raises(InvalidValue, match="revision"):
        backend.migrate("no such")


# --- Ids (BAT-8) ---------------------------------------------------------------------------------


def test_ids_of_several_kinds_come_in_one_call(backend: SqliteBackend) -> None:
    assert backend.reserve({Chain: 3, Tag: 1, Document: 0}) == {
        Chain: range(1, 4),
        Tag: range(1, 2),
        Document: range(1, 1),
    }
    assert backend.reserve({Chain: 2}) == {Chain: range(4, 6)}
    assert backend.reserve(dict.fromkeys(KINDS.values(), 1))[Tag] == range(2, 3)
    assert backend.reserve({}) == {}


def test_ids_never_overlap_between_threads_and_openings(backend: SqliteBackend) -> None:
    others = [again(backend) for _ in range(3)]

    def lease(number: int) -> list[int]:
        mine = [backend, *others][number % 4]
        return [id for _ in range(10) for id in mine.reserve({Chain: 3})[Chain]]

    with ThreadPoolExecutor(8) as threads:
        leased = [id for ids in threads.map(lease, range(8)) for id in ids]
    for other in others:
        other.close()
    assert sorted(leased) == list(range(1, 8 * 30 + 1))


def test_loaded_records_raise_the_leases(backend: SqliteBackend) -> None:
    memory = MemoryBackend()
    insert(memory, [*chains(3), sample(Document).evolve(id=40, tenant_id="a", root_id=1)][:3])
    insert(memory, [Tag(id=700, tenant_id="b", name="x", created_at=MIDNIGHT)])
    backend.load(memory.dump())
    assert list(backend.dump()) == list(memory.dump())
    assert backend.reserve({Tag: 1})[Tag].start > 700


# --- Streams and snapshots (BAT-7) ---------------------------------------------------------------


def test_stream_sees_the_moment_of_its_first_next(backend: SqliteBackend) -> None:
    insert(backend, chains(3))
    stream = backend.select(EVERYTHING)
    insert(backend, [Chain(id=4, tenant_id="a", client_id="c")])
    first = next(stream)
    backend.apply(Batch("a", [Update(Chain, 3, {"revision": 9})]))
    assert [first, *stream] == [*chains(3), Chain(id=4, tenant_id="a", client_id="c")]
    assert backend.get_many(Chain, [3], "a")[3].revision == 9


def test_writing_goes_on_while_streams_are_open(backend: SqliteBackend) -> None:
    insert(backend, chains(100))
    for record in backend.select(EVERYTHING):
        backend.apply(Batch("a", [Update(Chain, record.id, {"revision": record.id})]))
    assert [row.revision for row in backend.select(EVERYTHING)] == list(range(1, 101))


def test_stream_takes_the_memory_of_a_row(backend: SqliteBackend) -> None:
    insert(backend, chains(2_000))
    documents = [
        sample(Document).evolve(
            id=n, tenant_id="a", root_id=n, parent_id=None, version=1, content="x" * 10_000
        )
        for n in range(1, 2_001)
    ]
    insert(backend, documents)
    del documents
    query = Query(Document, "a")
    list(backend.select(query.evolve(limit=9)))
    tracemalloc.start()
    assert sum(1 for _ in backend.select(query)) == 2_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000  # of 20 MB


def test_snapshot_sees_one_moment_over_many_reads(backend: SqliteBackend) -> None:
    insert(backend, chains(2))
    with backend.snapshot("a") as view:
        insert(backend, [Chain(id=3, tenant_id="a", client_id="c")])
        assert view.count(EVERYTHING) == 2
        assert view.get_many(Chain, [1, 3], "a").keys() == {1}
        assert view.select_many([EVERYTHING, EVERYTHING]) == [chains(2)] * 2
        assert list(view.dump("a")) == chains(2)
    assert backend.count(EVERYTHING) == 3


def test_snapshot_is_over_when_its_block_is(backend: SqliteBackend) -> None:
    insert(backend, chains(3))
    with backend.snapshot("a") as view:
        stream = view.select(EVERYTHING)
        next(stream)
    with pytest.raises(Unavailable):
        next(stream)
    with pytest.raises(Unavailable, match="snapshot"):
        view.select(EVERYTHING)
    insert(backend, [Chain(id=4, tenant_id="a", client_id="c")])
    assert backend.count(EVERYTHING) == 4


# --- Threads and forks ---------------------------------------------------------------------------


def test_of_writers_on_one_row_exactly_one_wins_each_round(backend: SqliteBackend) -> None:
    insert(backend, chains(1))
    start = threading.Barrier(6)

    def increment(_: int) -> int:
        won = 0
        for revision in range(20):
            start.wait()
            try:
                change = {"revision": revision + 1}
                backend.apply(Batch("a", [Update(Chain, 1, change, {"revision": revision})]))
                won += 1
            except StaleWrite:
                pass
        return won

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(increment, range(6))) == 20
    assert next(iter(backend.select(EVERYTHING))).revision == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_of_a_fork_has_connections_of_its_own(backend: SqliteBackend) -> None:
    insert(backend, chains(3))
    stream = backend.select(EVERYTHING)
    next(stream)
    inherited = backend._acquire().driver
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with backend._connected() as connection:
                fresh = connection.driver is not inherited
            insert(backend, [Chain(id=9, tenant_id="a", client_id="child")])
            code = 0 if fresh and backend.count(EVERYTHING) == 4 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [record.id for record in stream] == [2, 3]
    insert(backend, [Chain(id=10, tenant_id="a", client_id="c")])
    assert backend.count(EVERYTHING) == 5


# --- The engine, and what is told about it -------------------------------------------------------


def test_engine_is_the_same_until_its_options_change(backend: SqliteBackend) -> None:
    engine = backend.engine()
    assert backend.engine(pool_size=5) is engine
    stream = backend.select(EVERYTHING)
    insert(backend, chains(2))
    next(stream)
    other = backend.engine(pool_size=7)
    assert other is not engine
    assert backend.stats()["pool_size"] == 7
    assert [record.id for record in stream] == [2]
    assert backend.engine(echo=False) is other
    assert backend.count(EVERYTHING) == 2


def test_unknown_option_of_the_engine_is_refused(backend: SqliteBackend) -> None:
    with pytest.raises(InvalidField, match="did you mean 'pool_size'"):
        backend.engine(poolsize=7)


def test_transactions_of_the_engine_are_transactions(backend: SqliteBackend) -> None:
    insert(backend, chains(1))
    with backend.engine().connect() as connection:
        connection.execute(sa.text("UPDATE document_chains SET revision = 5"))
        connection.rollback()
    assert list(backend.select(EVERYTHING)) == chains(1)


@pytest.mark.parametrize("how", ["echo", "level"])
def test_statements_are_logged_and_parameters_are_not(
    backend: SqliteBackend, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    if how == "echo":
        backend.engine(echo=True)
    else:
        caplog.set_level(logging.DEBUG, logger="sqlalchemy.engine")
        backend.engine(pool_size=4)
    secret = Chain(id=1, tenant_id="a", client_id=SECRET)
    insert(backend, [secret])
    assert list(backend.select(EVERYTHING)) == [secret]
    texts = [entry.getMessage() for entry in caplog.records if entry.name.startswith("sqlalchemy")]
    assert any(text.startswith("INSERT INTO document_chains") for text in texts)
    assert any(text.startswith("SELECT") for text in texts)
    assert "COMMIT" in texts
    assert SECRET not in caplog.text


# --- Closed (BAT-9) ------------------------------------------------------------------------------

CALLS: dict[str, Callable[[SqliteBackend], object]] = {
    "reserve": lambda b: b.reserve({Chain: 1}),
    "select": lambda b: b.select(EVERYTHING),
    "apply": lambda b: insert(b, chains(1)),
    "empty apply": lambda b: b.apply(Batch("a", ())),
    "get_many": lambda b: b.get_many(Chain, [1], "a"),
    "select_many": lambda b: b.select_many([EVERYTHING]),
    "count": lambda b: b.count(EVERYTHING),
    "exists": lambda b: b.exists(EVERYTHING),
    "aggregate": lambda b: b.aggregate(EVERYTHING),
    "lines": lambda b: list(b.lines(EVERYTHING, ["id"], ARRAYS)),
    "rows": lambda b: b.rows(EVERYTHING, ["id"]),
    "search": lambda b: b.search(EVERYTHING),
    "explain": lambda b: b.explain(EVERYTHING),
    "dump": lambda b: next(b.dump()),
    "load": lambda b: b.load(chains(1)),
    "prepare": lambda b: b.prepare(create=True),
    "migrate": lambda b: b.migrate(),
    "compact": lambda b: b.compact(Document, [1], "a"),
    "compactable": lambda b: b.compactable(Document, [1], "a"),
    "ping": lambda b: b.ping(),
    "checks": lambda b: list(b.checks(deep=True)),
    "restore": lambda b: b.restore([], lambda view: None),
    "copy_file": lambda b: b.copy_file("copy.db"),
    "stats": lambda b: b.stats(),
    "tidy": lambda b: b.tidy(),
    "engine": lambda b: b.engine(),
    "snapshot": lambda b: b.snapshot("a").__enter__(),
}


CONSTANTS = {"schema_revision", "database_version", "turn"}
"""What needs no store."""


@pytest.mark.parametrize("call", CALLS)
def test_closed_backend_is_unavailable(backend: SqliteBackend, call: str) -> None:
    backend.close()
    backend.close()
    with pytest.raises(Unavailable, match="closed"):
        CALLS[call](backend)


def test_stream_begun_after_close_is_unavailable(backend: SqliteBackend) -> None:
    stream = backend.select(EVERYTHING)
    backend.close()
    with pytest.raises(Unavailable):
        next(stream)


@pytest.mark.parametrize("through", [nullcontext, lambda b: b.snapshot("a")])
def test_stream_that_is_left_over_ends_in_silence(
    backend: SqliteBackend, through: Callable[[SqliteBackend], Any]
) -> None:
    """Whoever fails in the middle leaves it to the garbage collector, which can only complain."""
    insert(backend, chains(3))
    with through(backend) as reader:
        stream = reader.select(EVERYTHING)
        next(stream)
    backend.close()
    stream.close()


def test_every_derived_method_is_in_the_list() -> None:
    public = {name for name in dir(Backend) if not name.startswith("_")}
    assert public - {"close", *CONSTANTS} == set(CALLS) - {"empty apply"}


def test_page_after_page_is_the_stream(backend: SqliteBackend) -> None:
    records: list[Record] = []
    insert(backend, chains(25))
    query = Query(Chain, "a", order=[Order("client_id"), Order("id", True)], limit=10)
    after = None
    while page := list(backend.select(query.evolve(after=after))):
        records += page
        after = ("c", page[-1].id)
    assert [record.id for record in records] == list(range(25, 0, -1))
