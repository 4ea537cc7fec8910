"""DUP: one text, stored once or twice."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from loki_storage.errors import DuplicateDocument, StorageError
from loki_storage.intercepts import Intercept
from loki_storage.models import Chain, Document, Validation
from loki_storage.protocol import Backend
from loki_storage.storage import Session
from loki_storage_contract.children import in_processes
from loki_storage_contract.faults import Recorder
from loki_storage_contract.histories import (
    CLIENT,
    TENANT,
    Call,
    Moment,
    histories,
    play,
    session_of,
)
from loki_storage_contract.races import together
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Clock, Store, storage_over

History = list[Call]
SHARE = 0.5
TEXT = "the same text"


def create(session: Session, text: str = TEXT, client: str = CLIENT, **options: Any) -> Document:
    return session.documents.create_document(text, "email", client, **options)


@proves("DUP-1", share=SHARE, history=histories)
def creating_looks_at_live_heads(store: Store, history: History) -> None:
    """``raise`` names one of the same text, ``return`` gives one, ``allow`` stores another."""
    for moment in play(store, history):
        if moment.call.operation == "create_document":
            _created(moment)


def _created(moment: Moment) -> None:
    way = ("raise", "return", "allow")[moment.call.pick % 3]
    heads = [row for row in moment.before.values() if row.is_latest]
    same = {row.id for row in heads if row.content == moment.call.text}
    if same and way == "raise":
        assert isinstance(moment.error, DuplicateDocument)
        assert moment.error.existing_id in same
    elif same and way == "return":
        assert moment.result.id in same
    else:
        assert moment.result.id not in moment.before
        return
    assert not moment.changed
    assert moment.told == 0


@proves("DUP-1", share=SHARE, history=histories)
def a_claim_ends_with_headship_or_life(store: Store, history: History) -> None:
    """``text_claim`` is the head's hash or NULL, is set at creation only, and never set again."""
    for moment in play(store, history):
        for root_id, chain in moment.chains.items():
            root, was = moment.after[root_id], moment.chains_before.get(root_id)
            if chain.text_claim is not None:
                assert root.is_latest
                assert chain.text_claim == root.content_hash
            if was is None:
                claimed = chain.text_claim is not None
                assert claimed is (moment.call.pick % 3 != 2)
            elif moment.call.operation != "rollback" and chain.text_claim != was.text_claim:
                assert chain.text_claim is None
                assert not root.is_latest


@proves("DUP-1")
def versions_and_restores_are_not_refused_for_their_text(store: Store) -> None:
    """A text comes back in any order, claimed by another document or not."""
    with session_of(store) as session:
        first = create(session)
        session.documents.delete(first.id)
        second = create(session)
        session.documents.restore(first.id)
        third = create(session, "another")
        session.documents.create_version(third.id, TEXT)
        session.documents.delete(second.id)
        session.documents.restore(second.id)
    heads = [row for row in store.all(Document) if row.is_latest]
    assert [row.content for row in heads] == [TEXT] * 3


@proves("DUP-1", "BAT-3")
def a_claim_passes_on_in_one_commit(store: Store) -> None:
    """A document that gives its text up, and a new one with it, in one unit of work."""
    session = session_of(store)
    for give_up in (
        session.documents.delete,
        session.documents.delete_version,
        lambda id: session.documents.create_version(id, "other"),
    ):
        store.reset()
        old = create(session)
        session.commit()
        give_up(old.id)
        new = create(session)
        session.commit()
        claims = {chain.id: chain.text_claim for chain in store.all(Chain)}
        assert claims == {old.id: None, new.id: new.content_hash}


def creating(store: Store, n: int, way: str) -> Callable[[], int]:
    storage = store.storage(store.other if n % 2 else None)

    def create_one() -> int:
        with storage.session(tenant=TENANT) as session:
            return create(session, on_duplicate=way).id

    return create_one


def one_wins(store: Store, outcomes: list[Any]) -> None:
    """One document, and ``DuplicateDocument`` for all others, which names it."""
    (document,) = store.all(Document)
    lost = [error for error in outcomes if error != document.id]
    assert len(lost) == len(outcomes) - 1
    for error in lost:
        assert isinstance(error, DuplicateDocument)
        assert error.existing_id == document.id
        assert error.retryable


@proves("DUP-1", "TXN-7")
def of_creations_of_one_text_one_wins(store: Store) -> None:
    """In threads, on two handles."""
    for _ in range(5):
        store.reset()
        one_wins(store, together(*(creating(store, n, "raise") for n in range(6))))


@proves("DUP-1", "TXN-7")
def creations_that_may_be_doubles_all_win(store: Store) -> None:
    """With ``allow`` every writer stores its own."""
    outcomes = together(*(creating(store, n, "allow") for n in range(6)))
    assert {row.id for row in store.all(Document)} == set(outcomes)


@proves("DUP-1", "TXN-7")
def a_race_is_lost_in_the_rules_own_words(store: Store) -> None:
    """Two sessions that both saw no such text: the second commit names the first one's."""
    for way in ("raise", "return"):
        store.reset()
        first, second = session_of(store), session_of(store)
        mine = create(first)
        create(second, on_duplicate=way)
        first.commit()
        with pytest.raises(DuplicateDocument) as lost:
            second.commit()
        assert lost.value.existing_id == mine.id


@proves("DUP-1", "TXN-4")
def who_returns_the_same_joins_when_run_again(store: Store) -> None:
    """``run`` with ``return``: all writers get one document."""
    storages = [store.storage(), store.storage(store.other)]

    def creating(n: int) -> Callable[[], int]:
        return lambda: storages[n % 2].run(
            lambda session: create(session, on_duplicate="return").id, tenant=TENANT
        )

    outcomes = together(*map(creating, range(6)))
    assert set(outcomes) == {row.id for row in store.all(Document)}
    assert len(set(outcomes)) == 1


def create_in_process(backend: Backend, argument: object) -> int:
    with storage_over(backend, Clock()).session(tenant=TENANT) as session:
        return create(session).id


@proves("DUP-1", needs=("processes",))
def of_processes_that_create_one_text_one_wins(store: Store) -> None:
    """The same in three processes."""
    one_wins(store, in_processes(store.target, create_in_process, [None] * 3))


@proves("DUP-2")
def tenants_and_clients_do_not_meet(store: Store) -> None:
    """Each may have the text, in any way of creating; a version and a race too."""
    storage = store.storage()
    owners = [(tenant, client) for tenant in ("t1", "t2") for client in ("c1", "c2")]
    for tenant, client in owners:
        with storage.session(tenant=tenant) as session:
            create(session, client=client)
    assert len({row.id for row in store.all(Document)}) == 4
    with storage.session(tenant="t1") as session:
        assert create(session, client="c2", on_duplicate="return").client_id == "c2"


@proves("DUP-2", owner=st.sampled_from([None, ("t2", "c1"), ("t1", "c2")]), share=0.1)
def nothing_tells_that_another_has_the_text(store: Store, owner: tuple[str, str] | None) -> None:
    """The same calls reach the backend, and ids say nothing, whoever has the text."""
    if owner is not None:
        with store.storage().session(tenant=owner[0]) as session:
            create(session, client=owner[1])
    recorder = Recorder(store.backend)
    with store.storage(recorder).session(tenant=TENANT) as session:
        create(session)
    assert recorder.calls == ["reserve", "select", "apply"]


@proves("DUP-3")
def a_deleted_text_can_be_stored_again(store: Store) -> None:
    """In a later unit of work, and again after that."""
    ids = set()
    for _ in range(3):
        with session_of(store) as session:
            ids.add(create(session).id)
        with session_of(store) as session:
            session.documents.delete(max(ids))
    assert len(ids) == 3


def intercept(n: int) -> Intercept:
    return Intercept.from_report(TEXT, "email", CLIENT, {"modules": {}}, request_hash=f"{n}")


@proves("DUP-4", "TXN-4")
def of_intercepts_of_one_text_one_creates_the_document(store: Store) -> None:
    """The others join it: one document, a validation each."""
    storages = [store.storage(), store.storage(store.other)]

    def record(n: int) -> Callable[[], int]:
        return lambda: storages[n % 2].run(
            lambda session: session.record_intercept(intercept(n)).document.id, tenant=TENANT
        )

    outcomes = together(*map(record, range(6)))
    assert not [error for error in outcomes if isinstance(error, StorageError)]
    (document,) = store.all(Document)
    assert set(outcomes) == {document.id}
    assert len(store.all(Validation)) == 6


@proves("DUP-4")
def an_intercept_claim_ends_with_version_1(store: Store) -> None:
    """As long as that row lives the text is reused; then another document is created."""
    with session_of(store) as session:
        first = session.record_intercept(intercept(1)).document
        session.documents.create_version(first.id, "corrected")
    with session_of(store) as session:
        assert session.record_intercept(intercept(2)).document.id == first.id
        session.documents.delete_version(first.id)
    with session_of(store) as session:
        assert session.record_intercept(intercept(3)).document.id != first.id
