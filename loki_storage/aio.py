"""``AsyncStorage``: the whole API for asyncio, one hop to a worker thread for a whole unit of work.

    async with await AsyncStorage.open("sqlite:///loki.db") as storage:
        document = await storage.run(lambda session: session.documents.create_document(...))
        async for page in storage.stream(query):
            ...

The event loop never waits for the store. What is cancelled leaves no half of a unit of work: one
that has not begun never does, one whose commit has begun commits wholly, any other is discarded.
The cancelled ``await`` ends when that is decided, so nothing goes on behind the caller's back.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from threading import Event, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from loki_storage.errors import StorageError, Unavailable
from loki_storage.health import Health
from loki_storage.query import Query
from loki_storage.storage import Session, Storage, open_storage
from loki_storage.unit_of_work import Actor
from loki_storage.values import Integer

if TYPE_CHECKING:
    import asyncio

__all__ = ["DEFAULT_PAGE", "DEFAULT_THREADS", "AsyncStorage"]

LOGGER = logging.getLogger("loki_storage")
DEFAULT_THREADS = 8
DEFAULT_PAGE = 500
"""Records in a page of a stream."""

P = ParamSpec("P")
T = TypeVar("T")


class AsyncStorage:
    """A storage for asyncio, with a thread pool of its own. An async context manager.

    ``threads``: how many units of work run at once, further ones wait for their turn. Each running
    one and each open stream holds a connection: keep ``threads`` below ``pool_size`` +
    ``max_overflow``. It may be used from several event loops.
    """

    def __init__(self, storage: Storage, *, threads: int = DEFAULT_THREADS) -> None:
        Integer(1, 1_000).accept("threads", threads)
        self.storage = storage
        """The store itself, for code that runs in a thread already."""
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="loki-storage")
        self._streams: WeakSet[_Pages] = WeakSet()
        self._closed = False

    @classmethod
    async def open(
        cls, url: str | None = None, *, threads: int = DEFAULT_THREADS, **options: Any
    ) -> Self:
        """Open a store in a worker thread; the arguments are those of ``open_storage``."""
        from asyncio import CancelledError

        with ThreadPoolExecutor(1) as opener:
            call = opener.submit(lambda: open_storage(url, **options))
            try:
                return cls(await _settled(call), threads=threads)
            except CancelledError:
                if _succeeded(call):
                    await _settled(opener.submit(call.result().close))
                raise

    async def run(
        self, fn: Callable[[Session], T], *, timeout: float = 10.0, **session_options: Any
    ) -> T:
        """``Storage.run`` in a worker thread: ``fn(session)``, committed, again after a lost race.

        ``fn`` runs in that thread, sees the caller's context variables, and must not touch the
        event loop. Cancelled: the unit is discarded, unless its commit has begun. What ``fn``
        itself committed with ``session.commit()`` before was a unit of its own, and stays.
        """
        cancelled = Event()

        def unit(session: Session) -> T:
            _go_on(cancelled)
            result = fn(session)
            _go_on(cancelled)  # the commit comes next
            return result

        call = self._begin(lambda: self.storage.run(unit, timeout=timeout, **session_options))
        return await _settled(call, cancelled)

    async def call(self, fn: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """``fn(...)`` in a worker thread: for managers, and for whatever is no unit of work.

        Cancelled: what has begun is waited for, because nobody can tell how far it is.
        """
        return await _settled(self._begin(lambda: fn(*args, **named)))

    def stream(
        self, query: Query, *, page_size: int = DEFAULT_PAGE, **options: Any
    ) -> AsyncGenerator[list[Any], None]:
        """The query's records in pages of up to ``page_size``, at one moment: that of the first.

        A page is one hop. A stream holds a connection until it ends, is closed (``aclose()``), or
        is left by a ``break`` and collected; ``options`` are those of ``Storage.stream``.
        """
        Integer(1, 100_000).accept("page_size", page_size)
        self._check_open()
        pages = _Pages(lambda: self.storage.stream(query, **options), page_size)
        self._streams.add(pages)
        return self._paged(pages)

    async def was_applied(self, receipt: int, *, tenant: str | None = None) -> bool:
        """``Storage.was_applied`` in a worker thread."""
        return await self.call(self.storage.was_applied, receipt, tenant=tenant)

    async def health(self) -> Health:
        """``Storage.health`` in a worker thread."""
        return await self.call(self.storage.health)

    async def migrate(self, revision: str = "head", *, actor: Actor | str | None = None) -> None:
        """``Storage.migrate`` in a worker thread."""
        await self.call(self.storage.migrate, revision, actor=actor)

    async def close(self) -> None:
        """Wait for what runs, close open streams, then the store; idempotent.

        What comes later is ``Unavailable``.
        """
        self._closed = True
        with ThreadPoolExecutor(1) as closer:
            await _settled(closer.submit(self._close))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncStorage {self.storage.name}>"

    def _close(self) -> None:
        self._workers.shutdown(wait=True)
        for pages in list(self._streams):
            pages.release()
        self.storage.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("this storage is closed; open it again with AsyncStorage.open")

    def _begin(self, call: Callable[[], T]) -> Future[T]:
        """Have a worker do it, with the context variables of the caller."""
        self._check_open()
        return self._workers.submit(copy_context().run, call)

    async def _paged(self, pages: _Pages) -> AsyncGenerator[list[Any], None]:
        try:
            while page := await _settled(self._begin(pages.next)):
                yield page
        finally:
            await self._release(pages)

    async def _release(self, pages: _Pages) -> None:
        try:
            call = self._begin(pages.release)
        except (RuntimeError, Unavailable):  # closing the storage releases it
            return
        await _settled(call)


class _Pages:
    """The records of a stream, read in whichever worker thread has time."""

    def __init__(self, stream: Callable[[], Iterator[Any]], size: int) -> None:
        self._stream, self._size = stream, size
        self._lock = Lock()
        self._records: Iterator[Any] | None = None
        self._released = False

    def next(self) -> list[Any]:
        """The next page; after the last one an empty list."""
        with self._lock:
            if self._released:
                raise Unavailable("this stream is closed; begin a new one")
            if self._records is None:
                self._records = self._stream()
            return list(islice(self._records, self._size))

    def release(self) -> None:
        """Give back the stream's connection; idempotent."""
        with self._lock:
            self._released = True
            close = getattr(self._records, "close", None)
            if close is not None:
                close()
            self._records = None


class _Discarded(Exception):
    """Leaves a unit of work whose caller was cancelled."""


def _go_on(cancelled: Event) -> None:
    if cancelled.is_set():
        raise _Discarded


async def _settled(call: Future[T], cancelled: Event | None = None) -> T:
    """What a worker's call gives.

    Where the caller is cancelled: a call that has not begun never does; of any other the end is
    awaited, however often the caller is cancelled meanwhile. ``cancelled`` tells it to discard.
    """
    import asyncio  # 40 ms, and who comes here has it

    waiting = asyncio.wrap_future(call)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if call.cancel():
            raise
        if cancelled is not None:
            cancelled.set()
        await _ended(waiting)
        raise


async def _ended(waiting: asyncio.Future[Any]) -> None:
    import asyncio

    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            continue  # the caller will learn of it: the first one is raised again
    error = None if waiting.cancelled() else waiting.exception()
    if isinstance(error, StorageError):
        LOGGER.warning("a cancelled unit of work ended with: %s", error)


def _succeeded(call: Future[Any]) -> bool:
    return call.done() and not call.cancelled() and call.exception() is None
