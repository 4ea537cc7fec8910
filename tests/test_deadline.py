"""TXN-4: how long a call may take is told by the session and asked by the backend."""

import time
from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from typing import Any

import pytest

from loki_storage import Batch, Query, Session, Storage
from loki_storage.deadline import time_left, within
from loki_storage.memory import MemoryBackend
from loki_storage.models import Document, Kind, Tag
from loki_storage.plugins import plugin_manager


def test_without_a_deadline_there_is_no_time_left_to_tell() -> None:
    assert time_left() is None


def test_time_left_runs_down_to_nothing() -> None:
    with within(60):
        first = time_left()
        assert first is not None
        assert 59 < first <= 60
        time.sleep(0.01)
        assert (time_left() or 0) < first
    with within(-1):
        assert time_left() == 0.0
    assert time_left() is None


def test_nearer_of_two_deadlines_counts() -> None:
    with within(60):
        with within(1):
            assert (time_left() or 9) <= 1
        with within(1000):
            assert 59 < (time_left() or 0) <= 60


def test_deadline_ends_with_an_exception_too() -> None:
    with pytest.raises(ValueError, match="mine"), within(1):
        raise ValueError("mine")
    assert time_left() is None


def test_deadline_is_the_threads_own() -> None:
    seen: list[float | None] = []
    with within(60):
        thread = Thread(target=lambda: seen.append(time_left()))
        thread.start()
        thread.join()
    assert seen == [None]


class Asking(MemoryBackend):
    """Notes how much time each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float | None] = []

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        self.seen.append(time_left())
        return super().reserve(counts)

    def select(self, query: Query) -> Iterator[Any]:
        self.seen.append(time_left())  # at the first step: nothing happens before
        yield from super().select(query)

    def apply(self, batch: Batch) -> None:
        self.seen.append(time_left())
        super().apply(batch)


CALLS: dict[str, Callable[[Session], object]] = {
    "select": lambda s: list(s.select(s.query(Document))),
    "rows": lambda s: list(s.rows(s.query(Document), ["id"])),
    "search": lambda s: list(s.search(s.query(Document))),
    "count": lambda s: s.count(s.query(Document)),
    "exists": lambda s: s.exists(s.query(Document)),
    "aggregate": lambda s: s.aggregate(s.query(Document), ["id"]),
    "get_many": lambda s: s.get_many(Document, [1], s.tenant),
    "select_many": lambda s: s.select_many([s.query(Document), s.query(Tag)]),
    "both_views": lambda s: s.both_views(s.query(Document)),
    "new_ids": lambda s: s.new_ids({Tag: 1}),
    "write": lambda s: s.documents.create_document("text", "email", "a"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("pending", [False, True])
def test_every_call_of_a_session_has_its_timeout(name: str, pending: bool) -> None:
    backend = Asking()
    storage = Storage(backend, plugin_manager().hook)
    session = storage.session(timeout=5.0)
    if pending:
        session.documents.create_document("first", "email", "a")
    CALLS[name](session)
    session.commit()
    assert backend.seen
    assert all(left is not None and 4 < left <= 5 for left in backend.seen)


def test_stream_keeps_no_deadline_while_the_caller_works() -> None:
    storage = Storage(Asking(), plugin_manager().hook)
    with storage.session() as session:
        for number in range(3):
            session.documents.create_document(f"{number}", "email", "a")
    for _ in session.select(session.query(Document)):
        assert time_left() is None
