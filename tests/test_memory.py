"""``memory://``: named stores, their life, and what a handle may still do after ``close``."""

from threading import Thread

import pytest

from loki_storage import Storage, open_storage
from loki_storage.errors import Unavailable
from loki_storage.memory import MemoryBackend
from loki_storage.models import Document, Tag
from loki_storage.query import Query


def put(storage: Storage, text: str) -> Document:
    with storage.session() as session:
        return session.documents.create_document(text, "email", "a")


def test_store_without_a_name_is_new_each_time() -> None:
    with open_storage("memory://") as one, open_storage("memory://") as two:
        put(one, "text")
        assert list(two.dump()) == []


def test_named_store_is_shared_while_any_handle_is_open() -> None:
    one, two = open_storage("memory://shared"), open_storage("memory://shared")
    with open_storage("memory://other") as other:
        made = put(one, "text")
        assert list(other.dump()) == []
    one.close()
    one.close()
    assert two.session().documents.get_by_id(made.id) == made
    assert put(two, "more").id > made.id
    two.close()
    with open_storage("memory://shared") as again:
        assert list(again.dump()) == []


def test_closed_handle_raises_and_the_others_go_on() -> None:
    one, two = MemoryBackend("handles"), MemoryBackend("handles")
    stream = one.select(Query(Document, None))
    one.close()
    for call in (
        lambda: one.reserve({Tag: 1}),
        lambda: one.select(Query(Document, None)),
        lambda: one.count(Query(Document, None)),
        lambda: one.ping(),
        lambda: next(stream),
        lambda: one.snapshot(None).__enter__(),
    ):
        with pytest.raises(Unavailable):
            call()
    two.ping()
    two.close()


def test_stream_sees_the_moment_of_its_first_record() -> None:
    with open_storage("memory://") as storage:
        put(storage, "one")
        put(storage, "two")
        unstarted, started = (storage.stream(Query(Document, None)) for _ in range(2))
        assert next(started).content == "one"
        put(storage, "three")
        assert [row.content for row in started] == ["two"]
        assert [row.content for row in unstarted] == ["one", "two", "three"]


def test_snapshot_is_one_view_over_many_reads() -> None:
    with open_storage("memory://") as storage:
        made = put(storage, "one")
        with storage.backend.snapshot(None) as view:
            put(storage, "two")
            with storage.session() as session:
                session.documents.update(made.id, title="new")
            assert view.count(Query(Document, None)) == 1
            assert view.get_many(Document, [made.id], None) == {made.id: made}
            assert list(view.dump())[1] == made


def test_threads_see_whole_commits_only() -> None:
    """A document and its tag link come together, or not at all."""
    with open_storage("memory://") as storage:
        torn: list[tuple[int, int]] = []
        done: list[bool] = []

        def watch() -> None:
            while not done:
                with storage.backend.snapshot(None) as view:
                    seen = view.count(Query(Document, None)), view.count(Query(Tag, None))
                if seen[0] != seen[1]:
                    torn.append(seen)

        watcher = Thread(target=watch)
        watcher.start()
        for number in range(50):
            with storage.session() as session:
                session.documents.create_document(f"{number}", "email", "a", tags=[f"{number}"])
        done.append(True)
        watcher.join()
        assert torn == []
