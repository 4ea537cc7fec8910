"""TXN-2, TXN-4: ``open_storage``, sessions and ``storage.run``."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from loki_storage import Actor, BackendSpec, Session, Storage, open_storage, register_backend
from loki_storage.configuration import Settings
from loki_storage.errors import (
    ConnectionLost,
    Contention,
    DuplicateDocument,
    InvalidField,
    InvalidValue,
    LockTimeout,
    NotFound,
    PluginError,
    StaleVersion,
    StaleWrite,
    Timeout,
    Unavailable,
)
from loki_storage.memory import MemoryBackend, open_memory
from loki_storage.models import Document
from loki_storage.query import Query
from loki_storage.unit_of_work import MOST_KNOWN
from tests.stores import CLOCK, Fault, new_tenant, unsteady

Begin = Callable[..., Session]


@pytest.fixture
def document(begin: Begin) -> Document:
    with begin() as session:
        return session.documents.create_document("text", "email", "a", metadata={"count": 0})


def counted(fn: Callable[[Session], Any]) -> tuple[Callable[[Session], Any], list[int]]:
    """The function, and a list that grows by each call of it."""
    calls: list[int] = []

    def run(session: Session) -> Any:
        calls.append(1)
        return fn(session)

    return run, calls


# --- run -------------------------------------------------------------------------------------


def test_run_commits_and_gives_the_result(store: Storage, tenant: str) -> None:
    made = store.run(
        lambda session: session.documents.create_document("text", "email", "a"),
        tenant=tenant,
        actor="bob",
    )
    with store.session(tenant=tenant) as session:
        assert session.documents.get_by_id(made.id) == made
        assert [entry.actor_id for entry in session.audit.get_all()] == ["bob"]


def test_writers_on_one_document_lose_no_update(store: Storage, document: Document) -> None:
    """Each adds 1 to what it read."""
    start, errors = Barrier(4), list[BaseException]()

    def add(session: Session) -> None:
        found = session.documents.get_by_id(document.id)
        assert found is not None
        count = found.metadata_json["count"]
        session.documents.update(document.id, metadata={"count": count + 1})

    def work() -> None:
        start.wait()
        try:
            for _ in range(5):
                store.run(add, tenant=document.tenant_id, timeout=60)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.session(tenant=document.tenant_id) as session:
        assert session.documents.get_by_id(document.id).metadata_json == {"count": 20}  # type: ignore[union-attr]
        assert session.audit.count(action="update") == 20


def test_writers_on_one_head_make_one_chain(store: Storage, document: Document) -> None:
    start, made = Barrier(4), list[Document]()

    def append(session: Session) -> Document:
        head = session.documents.get_latest_version(document.id)
        assert head is not None
        return session.documents.create_version(head.id, f"after {head.id}")

    def work() -> None:
        start.wait()
        made.append(store.run(append, tenant=document.tenant_id, timeout=60))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.version for version in made) == [2, 3, 4, 5]
    with store.session(tenant=document.tenant_id) as session:
        history = session.documents.get_version_history(document.id)
    assert [version.content for version in history[1:]] == [
        f"after {version.id}" for version in history[:-1]
    ]


UPDATES: dict[str, Callable[[Session, int, Any], Any]] = {
    "document": lambda s, id, text: s.documents.update(id, description=text),
    "tag": lambda s, id, text: s.tags.update(id, description=text),
    "correction": lambda s, id, text: s.corrections.update(id, reasoning=text),
}
READS: dict[str, Callable[[Session, int], Any]] = {
    "document": lambda s, id: s.documents.get_by_id(id),
    "tag": lambda s, id: s.tags.get_by_name("tag"),
    "correction": lambda s, id: s.corrections.get_all()[0],
}


@pytest.mark.parametrize("kind", UPDATES)
def test_update_built_on_an_outdated_read_is_refused(
    begin: Begin, document: Document, kind: str
) -> None:
    with begin() as session:
        tag = session.tags.create("tag")
        correction = session.corrections.create_correction(document.id, "rewrite", "a")
    id = {"document": document.id, "tag": tag.id, "correction": correction.id}[kind]
    update, read = UPDATES[kind], READS[kind]
    session = begin()
    read(session, id)
    with begin() as other:
        update(other, id, "theirs")
    with pytest.raises(StaleWrite):
        update(session, id, "mine")
    assert not session.pending
    read(session, id)
    assert update(session, id, "mine") == update(session, id, "mine")
    update(session, id, "mine again")
    session.rollback()
    update(session, id, "blind")
    session.commit()


def test_reads_that_an_update_may_build_on_do_not_pile_up(begin: Begin) -> None:
    with begin() as session:
        made = [session.tags.create(f"{number:03}") for number in range(120)]
    session = begin()
    for tag in made:
        session.tags.get(tag.id)
    session.tags.get_all(limit=110)
    assert len(session._known) == MOST_KNOWN


def test_race_on_the_same_head_is_run_again_however_often_it_is_lost(
    begin: Begin, store: Storage, document: Document
) -> None:
    def lose(session: Session) -> None:
        session.documents.update(document.id, title="mine")
        if len(calls) < 5:
            with begin() as other:
                other.documents.update(document.id, source=f"theirs {len(calls)}")

    run, calls = counted(lose)
    store.run(run, tenant=document.tenant_id)
    assert len(calls) == 5
    assert begin().documents.get_by_id(document.id).title == "mine"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "unit"),
    [
        (StaleVersion, lambda s, d: s.documents.create_version(d.id, "new")),
        (StaleVersion, lambda s, d: s.documents.update(d.id, title="new")),
        (DuplicateDocument, lambda s, d: s.documents.create_document("head", "email", "a")),
    ],
)
def test_what_will_never_succeed_is_not_tried_until_the_deadline(
    begin: Begin, store: Storage, document: Document, error: type[Exception], unit: Any
) -> None:
    with begin() as session:
        session.documents.create_version(document.id, "head")
    run, calls = counted(lambda session: unit(session, document))
    started = time.monotonic()
    with pytest.raises(error):
        store.run(run, tenant=document.tenant_id, timeout=60)
    assert len(calls) == 2
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("error", [StaleWrite("documents", 1), LockTimeout("busy")])
def test_contention_until_the_deadline_is_told_as_such(
    store: Storage, tenant: str, error: Any
) -> None:
    backend, storage = unsteady(store)
    backend.fail(*[Fault(error)] * 10_000)
    run, calls = counted(lambda session: session.audit.log("seen", "document"))
    with pytest.raises(Contention) as caught:
        storage.run(run, tenant=tenant, timeout=0.1)
    assert caught.value.retryable
    assert caught.value.__cause__ is error
    assert len(calls) > 1


def test_store_that_stays_away_is_told_as_such(store: Storage, tenant: str) -> None:
    backend, storage = unsteady(store)
    backend.unreadable = 10**9
    run, calls = counted(lambda session: session.documents.get_all())
    with pytest.raises(ConnectionLost):
        storage.run(run, tenant=tenant, timeout=0.1)
    assert len(calls) > 1


def test_store_that_comes_back_is_read_again(store: Storage, document: Document) -> None:
    backend, storage = unsteady(store)
    backend.unreadable = 2
    found = storage.run(
        lambda session: session.documents.get_by_id(document.id), tenant=document.tenant_id
    )
    assert found == document


@pytest.mark.parametrize("error", [NotFound("document", 1), Timeout("slow"), ValueError("mine")])
def test_what_no_retry_helps_is_raised_at_once(begin: Begin, store: Storage, error: Any) -> None:
    def fail(session: Session) -> None:
        session.audit.log("lost", "document")
        raise error

    run, calls = counted(fail)
    with pytest.raises(type(error)):
        store.run(run, tenant=begin().tenant)
    assert len(calls) == 1
    assert begin().audit.count() == 0


def test_nothing_of_a_unit_that_is_run_again_is_kept_twice(
    begin: Begin, store: Storage, document: Document
) -> None:
    def unit(session: Session) -> None:
        session.documents.create_document(f"run {len(calls)}", "email", "a")
        session.documents.update(document.id, title="mine")
        if len(calls) == 1:
            with begin() as other:
                other.documents.update(document.id, title="theirs")

    run, calls = counted(unit)
    store.run(run, tenant=document.tenant_id)
    assert sorted(d.content for d in begin().documents.get_all()) == ["run 2", "text"]


# --- Sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["", None, 5, "a" * 101, "a\0", b"t"])
def test_tenant_outside_the_value_domain_is_refused(store: Storage, tenant: Any) -> None:
    with pytest.raises(InvalidValue, match="tenant"):
        store.session(tenant=tenant)


@pytest.mark.parametrize(
    "actor",
    [
        "",
        5,
        "a" * 101,
        b"alice",
        Actor(""),
        Actor("a", "robot"),
        Actor("a", ip_address="1" * 46),
        Actor("a", user_agent="a" * 501),
        Actor("a", request_id="a" * 101),
        Actor(None),  # type: ignore[arg-type]
    ],
)
def test_actor_outside_the_value_domain_is_refused(store: Storage, actor: Any) -> None:
    with pytest.raises(InvalidValue, match="actor"):
        store.session(actor=actor)


def test_repr_of_an_actor_keeps_what_the_browser_said() -> None:
    assert "secret" not in repr(Actor("a", user_agent="secret"))


def test_receipt_is_asked_for_in_a_tenant_or_in_all(store: Storage, tenant: str) -> None:
    with store.session(tenant=tenant) as session:
        session.audit.log("seen", "document")
    assert session.receipt is not None
    assert store.was_applied(session.receipt)
    assert store.was_applied(session.receipt, tenant=tenant)
    assert not store.was_applied(session.receipt, tenant=new_tenant())


def test_stream_gives_records_of_the_querys_tenant(store: Storage, document: Document) -> None:
    query = Query(Document, document.tenant_id)
    assert list(store.stream(query)) == [document]
    assert list(store.stream(query, tenant=document.tenant_id)) == [document]
    with pytest.raises(InvalidValue, match="tenant"):
        store.stream(query, tenant=new_tenant())


# --- Opening ---------------------------------------------------------------------------------


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    """A backend ``acme`` with options, and what it was opened with."""
    calls: list[Any] = []

    def open_acme(url: str, *, pool_size: int = 5, wait: float = 1.0, echo: bool = False) -> Any:
        calls.append((url, pool_size, wait, echo))
        return open_memory(url)

    with register_backend(BackendSpec("acme", open_acme, creates=True)):
        yield calls


def test_options_go_to_the_backend(opened: list[Any]) -> None:
    open_storage("acme://x", pool_size=7, echo=True).close()
    assert opened == [("acme://x", 7, 1.0, True)]


def test_unknown_option_is_refused_with_a_suggestion(opened: list[Any]) -> None:
    with pytest.raises(InvalidField, match="did you mean 'pool_size'"):
        open_storage("acme://x", pool_sise=7)
    with pytest.raises(InvalidField, match="memory backend"):
        open_storage("memory://", pool_size=7)


def test_arguments_go_before_settings(opened: list[Any]) -> None:
    settings = Settings("acme://settings", {"pool_size": 3, "wait": 2.0})
    open_storage(settings=settings).close()
    open_storage(settings=settings, pool_size=9).close()
    open_storage("acme://argument", settings=settings).close()
    assert opened == [
        ("acme://settings", 3, 2.0, False),
        ("acme://settings", 9, 2.0, False),
        ("acme://argument", 3, 2.0, False),
    ]


def test_environment_goes_after_both(opened: list[Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("LOKI_STORAGE_URL", "acme://environment")
    monkeypatch.setenv("LOKI_STORAGE_POOL_SIZE", "4")
    monkeypatch.setenv("LOKI_STORAGE_OF_ANOTHER_BACKEND", "1")
    open_storage().close()
    open_storage("acme://argument", pool_size=9).close()
    assert opened == [("acme://environment", 4, 1.0, False), ("acme://argument", 9, 1.0, False)]


@pytest.mark.parametrize("url", ["", "x", "/tmp/loki.db", ":memory:", "://x"])
def test_url_without_a_scheme_is_refused_without_telling_it(url: str, monkeypatch: Any) -> None:
    if not url:
        monkeypatch.setenv("LOKI_STORAGE_URL", "secret")
    with pytest.raises(InvalidValue) as caught:
        open_storage(url or None)
    assert "secret" not in str(caught.value)


def test_error_of_an_unknown_backend_tells_no_password() -> None:
    with pytest.raises(PluginError) as caught:
        open_storage("nosuch://user:secret@host/x")
    assert "secret" not in str(caught.value)


def test_store_that_cannot_be_made_ready_is_closed_again() -> None:
    closed: list[bool] = []

    class Unready(MemoryBackend):
        def prepare(self, *, create: bool) -> None:
            assert create is wanted
            raise Unavailable("not today")

        def close(self) -> None:
            closed.append(True)
            super().close()

    spec = BackendSpec("acme", lambda url: Unready(), creates=False)
    for wanted in (False, True):
        with register_backend(spec), pytest.raises(Unavailable):
            open_storage("acme://x", create=True if wanted else None)
    assert closed == [True, True]


def test_default_file_is_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOKI_STORAGE_URL", raising=False)
    with open_storage() as storage, storage.session() as session:
        session.audit.log("seen", "document")
    assert (tmp_path / "data" / "loki.db").exists()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_close_is_idempotent_and_final() -> None:
    storage = open_storage("memory://", clock=CLOCK)
    session = storage.session()
    storage.close()
    storage.close()
    for call in (
        lambda: session.documents.get_all(),
        lambda: session.documents.create_document("text", "email", "a"),
        lambda: storage.was_applied(1),
        lambda: list(storage.dump()),
    ):
        with pytest.raises(Unavailable):
            call()


def test_repr_names_the_backend_and_nothing_else() -> None:
    with open_storage("memory://secret") as storage:
        assert repr(storage) == "<Storage memory>"


def test_dump_of_equal_stores_is_equal(store: Storage, document: Document) -> None:
    with open_storage("memory://") as copy:
        copy.backend.load(store.dump(document.tenant_id))
        assert list(copy.dump()) == list(store.dump(document.tenant_id))
        with copy.session(tenant=document.tenant_id) as session:
            new = session.documents.create_document("new", "email", "a")
        assert new.id > document.id
