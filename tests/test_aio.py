"""``AsyncStorage``: nothing blocks the loop, nothing cancelled is half done or left over."""

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import (
    AsyncStorage,
    Batch,
    Query,
    Session,
    Storage,
    StorageError,
    open_storage,
)
from loki_storage.errors import InvalidValue, StaleWrite, Unavailable
from loki_storage.models import AuditEntry, Document, Tag
from loki_storage.plugins import plugin_manager
from tests.stores import CLOCK, Fault, Unsteady, new_tenant, rows, unsteady

REQUEST: ContextVar[str] = ContextVar("request", default="none")


def create(session: Session, text: str = "text", tags: tuple[str, ...] = ("a", "b")) -> Document:
    return session.documents.create_document(text, "email", "acme", tags=tags)


async def cancelled(task: "asyncio.Future[Any]") -> bool:
    """Whether a task ended by being cancelled."""
    await asyncio.wait([task])
    return task.cancelled()


# --- A unit of work ----------------------------------------------------------------------------


def test_unit_of_work_is_committed(store: Storage, tenant: str) -> None:
    async def main() -> Document:
        return await AsyncStorage(store).run(create, tenant=tenant, actor="alice")

    document = asyncio.run(main())
    assert rows(store.backend, tenant, Document) == [document]
    with store.session(tenant=tenant) as session:
        assert {entry.actor_id for entry in session.audit.get_all()} == {"alice"}


def test_migration_is_in_the_trail(file: Storage) -> None:
    async def main() -> None:
        storage = AsyncStorage(file)
        await storage.migrate("-1")
        await storage.migrate(actor="alice")
        await storage.migrate()

    asyncio.run(main())
    with file.session() as session:
        (entry,) = session.audit.get_all()
    assert (entry.action, entry.entity_type, entry.actor_id) == ("migrate", "store", "alice")
    assert entry.metadata_json["to"] == file.backend.schema_revision()


def test_error_of_the_unit_is_raised_and_discards_it(store: Storage, tenant: str) -> None:
    def failing(session: Session) -> None:
        create(session)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(AsyncStorage(store).run(failing, tenant=tenant))
    assert rows(store.backend, tenant, Document, Tag, AuditEntry) == []


def test_lost_race_runs_the_unit_again(store: Storage, tenant: str) -> None:
    backend, storage = unsteady(store)
    backend.fail(Fault(StaleWrite("documents", 1)))
    seen: list[Session] = []

    def unit(session: Session) -> None:
        seen.append(session)
        create(session)

    asyncio.run(AsyncStorage(storage).run(unit, tenant=tenant))
    assert len(seen) == 2
    assert len(rows(store.backend, tenant, Document)) == 1


def test_context_variables_are_carried_in_and_stay_the_callers(store: Storage, tenant: str) -> None:
    def unit(session: Session) -> str:
        told = REQUEST.get()
        REQUEST.set("changed")
        return told

    async def main() -> tuple[str, str]:
        REQUEST.set("r-1")
        return await AsyncStorage(store).run(unit, tenant=tenant), REQUEST.get()

    assert asyncio.run(main()) == ("r-1", "r-1")


def test_loop_goes_on_while_a_unit_runs(store: Storage, tenant: str) -> None:
    """The unit ends only once the loop has done something: a blocked loop would never end."""
    go_on = threading.Event()

    async def main() -> bool:
        unit = asyncio.create_task(
            AsyncStorage(store).run(lambda session: go_on.wait(30), tenant=tenant)
        )
        await asyncio.sleep(0)
        go_on.set()
        return await unit

    assert asyncio.run(main())


def test_as_many_run_at_once_as_there_are_threads(store: Storage, tenant: str) -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def unit(session: Session) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(30)
        with lock:
            running -= 1

    async def main() -> None:
        storage = AsyncStorage(store, threads=3)
        await asyncio.gather(*(storage.run(unit, tenant=tenant) for _ in range(9)))

    asyncio.run(main())
    assert most == 3


@pytest.mark.parametrize("threads", [0, -1, 1_001, True, "8", None])
def test_number_of_threads_is_bounded(store: Storage, threads: Any) -> None:
    with pytest.raises(InvalidValue):
        AsyncStorage(store, threads=threads)


# --- Cancelling a unit -------------------------------------------------------------------------


class Interrupting(Unsteady):
    """At its n-th call it has the task cancelled, and waits until the loop has done so."""

    def __init__(self, storage: Storage, at: int) -> None:
        super().__init__(storage.backend)
        self._at = at
        self.task: asyncio.Task[Any] | None = None

    def reserve(self, counts: Any) -> Any:
        self._interrupt()
        return super().reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        self._interrupt()
        return super().select(query)

    def apply(self, batch: Batch) -> None:
        self._interrupt()
        super().apply(batch)

    def _interrupt(self) -> None:
        self._at -= 1
        if self._at == 0:
            assert self.task is not None
            done = threading.Event()
            self.task.get_loop().call_soon_threadsafe(self._cancel, done)
            assert done.wait(30)
            time.sleep(0.005)  # the loop delivers it in its next round

    def _cancel(self, done: threading.Event) -> None:
        assert self.task is not None
        self.task.cancel()
        done.set()


def test_unit_cancelled_at_any_call_is_whole_or_nothing(store: Storage) -> None:
    """Every call of a unit of two commits' worth, until one more than there are."""
    outcomes: set[tuple[bool, int]] = set()
    for at in range(1, 30):
        tenant, backend = new_tenant(), Interrupting(store, at)
        storage = Storage(backend, plugin_manager().hook, CLOCK)

        was_cancelled = asyncio.run(_interrupted(storage, backend, tenant))
        found = [len(rows(store.backend, tenant, kind)) for kind in (Document, Tag, AuditEntry)]
        assert found in ([0, 0, 0], [2, 1, 3]), f"half a unit after call {at}"
        outcomes.add((was_cancelled, found[0]))
        if not was_cancelled:
            break
    # Before the commit, in the commit, and past the last call.
    assert outcomes == {(True, 0), (True, 2), (False, 2)}


async def _interrupted(storage: Storage, backend: Interrupting, tenant: str) -> bool:
    unit = AsyncStorage(storage).run(_document_with_version, tenant=tenant)
    backend.task = asyncio.create_task(unit)
    ended = await cancelled(backend.task)
    calls = backend.calls
    await asyncio.sleep(0.002)
    assert backend.calls == calls, "it goes on behind the caller's back"
    return ended


def _document_with_version(session: Session) -> None:
    document = create(session, tags=("a",))
    session.documents.create_version(document.id, "another text")


@settings(max_examples=25)
@given(
    turns=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    threads=st.integers(1, 3),
    again=st.booleans(),
)
def test_units_cancelled_at_any_turn_of_the_loop_are_whole_or_nothing(
    turns: list[int], threads: int, again: bool
) -> None:
    tenant = new_tenant()

    async def main() -> None:
        async with await AsyncStorage.open("memory://", threads=threads) as storage:
            units = [
                asyncio.create_task(storage.run(partial(create, text=f"text {n}"), tenant=tenant))
                for n in range(len(turns))
            ]
            for unit, turn in zip(units, turns, strict=True):
                for _ in range(turn):
                    await asyncio.sleep(0)
                unit.cancel()
                if again:
                    await asyncio.sleep(0)
                    unit.cancel()
            await asyncio.wait(units)
            backend = storage.storage.backend
            documents: list[Any] = rows(backend, tenant, Document)
            assert len({document.content_hash for document in documents}) == len(documents)
            finished = sum(not unit.cancelled() for unit in units)
            assert finished <= len(documents)
            # A document, two tags on it: the first one brings the tags, each is one entry.
            told = len(rows(backend, tenant, AuditEntry)) - len(rows(backend, tenant, Tag))
            assert told >= len(documents)
            assert len(rows(backend, tenant, Tag)) == (2 if documents else 0)

    asyncio.run(main())


def test_unit_that_waits_for_its_turn_never_begins(store: Storage, tenant: str) -> None:
    go_on, began = threading.Event(), threading.Event()

    def waiting(session: Session) -> None:
        began.set()
        go_on.wait(30)

    async def main() -> None:
        storage = AsyncStorage(store, threads=1)
        first = asyncio.create_task(storage.run(waiting, tenant=tenant))
        await asyncio.to_thread(began.wait, 30)
        second = asyncio.create_task(storage.run(create, tenant=tenant))
        await asyncio.sleep(0.01)
        second.cancel()
        assert await cancelled(second)
        assert not first.done(), "it did not wait for the first"
        go_on.set()
        await first
        await storage.run(lambda session: None, tenant=tenant)

    asyncio.run(main())
    assert rows(store.backend, tenant, Document) == []


def test_timeout_of_asyncio_discards_the_unit(store: Storage, tenant: str) -> None:
    go_on = threading.Event()

    def slow(session: Session) -> None:
        create(session)
        go_on.wait(30)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        async with asyncio.timeout(0.01):
            await AsyncStorage(store).run(slow, tenant=tenant)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert rows(store.backend, tenant, Document, AuditEntry) == []


def test_cancelled_unit_that_failed_is_told_in_the_log(
    store: Storage, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    def failing(session: Session) -> None:
        go_on.wait(30)
        raise Unavailable("the disk is gone")

    async def main() -> None:
        unit = asyncio.create_task(AsyncStorage(store).run(failing, tenant=tenant))
        await asyncio.sleep(0.01)
        unit.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await cancelled(unit)

    asyncio.run(main())
    assert "a cancelled unit of work ended with: the disk is gone" in caplog.text


# --- Streams -----------------------------------------------------------------------------------


def fill(store: Storage, tenant: str, count: int) -> list[int]:
    with store.session(tenant=tenant) as session:
        return [create(session, f"text {n}", ()).id for n in range(count)]


def test_stream_gives_every_record_in_pages(store: Storage, tenant: str) -> None:
    ids = fill(store, tenant, 7)

    async def main() -> list[list[int]]:
        pages = AsyncStorage(store).stream(Query(Document, tenant), page_size=3)
        return [[document.id for document in page] async for page in pages]

    assert asyncio.run(main()) == [ids[:3], ids[3:6], ids[6:]]


def test_stream_sees_the_moment_of_its_first_page(store: Storage, tenant: str) -> None:
    ids = fill(store, tenant, 4)

    async def main() -> list[int]:
        storage = AsyncStorage(store)
        found: list[int] = []
        async for page in storage.stream(Query(Document, tenant), page_size=2):
            more = partial(create, text=f"more {len(found)}", tags=())
            await storage.run(more, tenant=tenant)
            found += [document.id for document in page]
        return found

    assert asyncio.run(main()) == ids


def pool(storage: Storage) -> dict[str, int | None]:
    return storage.backend.stats()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(f"sqlite:///{tmp_path / 'loki.db'}", synchronous="NORMAL") as storage:
        yield storage


Ending = Callable[[AsyncStorage, Any], Awaitable[None]]


async def by_break(storage: AsyncStorage, stream: Any) -> None:
    async for _ in stream:
        break


async def by_aclose(storage: AsyncStorage, stream: Any) -> None:
    await anext(stream)
    await stream.aclose()


async def by_error(storage: AsyncStorage, stream: Any) -> None:
    async def consume() -> None:
        async for _ in stream:
            raise KeyError

    with pytest.raises(KeyError):
        await consume()


async def by_cancelling(storage: AsyncStorage, stream: Any) -> None:
    async def consume() -> None:
        async for _ in stream:
            await asyncio.sleep(60)

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.05)
    task.cancel()
    assert await cancelled(task)


async def by_closing_the_storage(storage: AsyncStorage, stream: Any) -> None:
    await anext(stream)
    await storage.close()
    with pytest.raises(Unavailable):
        await anext(stream)


@pytest.mark.parametrize(
    "end", [by_break, by_aclose, by_error, by_cancelling, by_closing_the_storage]
)
def test_stream_left_early_gives_its_connection_back(file: Storage, end: Ending) -> None:
    fill(file, "default", 5)
    engine = file.backend.engine()

    async def main() -> None:
        storage = AsyncStorage(file)
        stream = storage.stream(Query(Document, "default"), page_size=1)
        await end(storage, stream)
        del stream
        gc.collect()
        for _ in range(50):  # a stream that was only dropped is finished by the loop
            await asyncio.sleep(0.002)

    asyncio.run(main())
    shelved = len(file.backend._shelf)  # type: ignore[attr-defined]
    assert engine.pool.checkedout() == shelved


def test_stream_cancelled_while_a_page_is_read_frees_everything(file: Storage) -> None:
    fill(file, "default", 5)
    backend = Interrupting(file, 1)
    storage = Storage(backend, plugin_manager().hook)

    async def main() -> None:
        async def consume() -> None:
            async for _ in AsyncStorage(storage).stream(Query(Document, "default")):
                raise AssertionError("cancelled before")

        backend.task = asyncio.create_task(consume())
        assert await cancelled(backend.task)

    asyncio.run(main())
    assert pool(file)["checked_out"] == 0


@pytest.mark.parametrize("size", [0, -1, 100_001, "10"])
def test_size_of_a_page_is_bounded(store: Storage, tenant: str, size: Any) -> None:
    with pytest.raises(InvalidValue):
        AsyncStorage(store).stream(Query(Document, tenant), page_size=size)


# --- Opening and closing -----------------------------------------------------------------------


def test_open_use_close() -> None:
    async def main() -> None:
        async with await AsyncStorage.open("memory://") as storage:
            document = await storage.run(create)
            assert await storage.was_applied(1)
            assert not await storage.was_applied(10**9)
            found = await storage.call(lambda: storage.storage.backend.count(Query(Document, None)))
            assert (document.id, found) == (1, 1)
        await storage.close()
        with pytest.raises(Unavailable):
            await storage.run(create)
        with pytest.raises(Unavailable):
            storage.stream(Query(Document, "default"))
        with pytest.raises(Unavailable):
            storage.storage.backend.count(Query(Document, None))

    asyncio.run(main())


def test_opening_fails_as_it_does_without_async(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        asyncio.run(AsyncStorage.open(f"sqlite:///{tmp_path / 'absent.db'}", create=False))


def test_cancelled_opening_leaves_no_open_store(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Storage] = []
    go_on = threading.Event()

    def slowly(url: str | None, **options: Any) -> Storage:
        go_on.wait(30)
        opened.append(open_storage(url, **options))
        return opened[-1]

    monkeypatch.setattr("loki_storage.aio.open_storage", slowly)

    async def main() -> None:
        task = asyncio.create_task(AsyncStorage.open("memory://"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await cancelled(task)

    asyncio.run(main())
    with pytest.raises(Unavailable):
        opened[0].backend.count(Query(Document, None))


def test_close_waits_for_what_runs(tenant: str) -> None:
    go_on, began = threading.Event(), threading.Event()

    def unit(session: Session) -> None:
        began.set()
        go_on.wait(30)
        create(session)

    async def main() -> None:
        storage = await AsyncStorage.open(f"memory://{tenant}")
        running = asyncio.create_task(storage.run(unit))
        await asyncio.to_thread(began.wait, 30)
        asyncio.get_running_loop().call_later(0.01, go_on.set)
        await asyncio.gather(storage.close(), storage.close())
        assert running.done()
        await running

    with open_storage(f"memory://{tenant}") as other:
        asyncio.run(main())
        assert other.backend.count(Query(Document, None)) == 1
