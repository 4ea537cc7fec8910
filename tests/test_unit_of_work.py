"""TXN-1, TXN-5, TXN-8, TXN-9: what a commit promises."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loki_storage import Actor, Batch, Session, Storage, hookimpl, open_storage
from loki_storage.errors import (
    ConnectionLost,
    Forbidden,
    IllegalTransition,
    InvalidValue,
    LockTimeout,
    OutcomeUnknown,
    PoolExhausted,
    StaleVersion,
    StaleWrite,
    StorageFull,
    Timeout,
)
from loki_storage.models import Document
from loki_storage.rules.change import Change
from loki_storage.unit_of_work import Lost
from tests.programs import entries, view
from tests.stores import CLOCK, Fault, new_tenant, unsteady

Begin = Callable[..., Session]

# --- Commit and rollback ---------------------------------------------------------------------


def test_nothing_pending_is_nothing_written(begin: Begin, store: Storage) -> None:
    backend, storage = unsteady(store)
    with storage.session(tenant=new_tenant()) as session:
        session.documents.get_all()
        session.commit()
    assert backend.batches == []
    assert session.receipt is None


def test_commit_is_one_batch_and_its_receipt_is_in_the_audit(store: Storage) -> None:
    backend, storage = unsteady(store)
    tenant = new_tenant()
    with storage.session(tenant=tenant) as session:
        document = session.documents.create_document("text", "email", "a", tags=["b"])
        session.documents.create_version(document.id, "more")
    assert len(backend.batches) == 1
    assert session.receipt is not None
    assert storage.was_applied(session.receipt)
    assert not storage.was_applied(session.receipt + 10**9)


def test_rollback_forgets_and_the_session_goes_on(begin: Begin) -> None:
    with begin() as session:
        session.documents.create_document("text", "email", "a")
        session.rollback()
        assert not session.pending
        assert session.documents.count() == 0
        kept = session.documents.create_document("text", "email", "a")
    with begin() as session:
        assert [each.id for each in session.documents.get_all()] == [kept.id]
        assert session.audit.count() == 1


def test_failed_commit_discards_and_the_session_goes_on(begin: Begin) -> None:
    with begin() as setup:
        document = setup.documents.create_document("text", "email", "a")
    session = begin()
    session.documents.create_document("lost", "email", "a")
    session.documents.create_version(document.id, "mine")
    with begin() as other:
        head = other.documents.create_version(document.id, "theirs")
    with pytest.raises(StaleVersion):
        session.commit()
    assert not session.pending
    assert session.documents.count() == 1
    session.documents.create_version(head.id, "again")
    session.commit()
    assert [each.content for each in session.documents.get_version_history(head.id)] == [
        "text",
        "theirs",
        "again",
    ]


def test_uncommitted_work_is_seen_by_nobody_else(begin: Begin) -> None:
    session, other = begin(), begin()
    session.documents.create_document("text", "email", "a")
    assert other.documents.count() == 0
    session.commit()
    assert other.documents.count() == 1


def test_what_failed_inside_an_operation_explains_nothing_later(store: Storage) -> None:
    backend, storage = unsteady(store)
    session = storage.session(tenant=new_tenant())
    asked: list[str] = []

    def explains(name: str) -> Lost:
        return lambda error, batch: asked.append(name)

    def event(name: str) -> Change:
        return Change(action=name, entity_type="thing", entity_id=None, client_id="-", steps=())

    session.add(event("kept"), explains("kept"))
    operation = session.as_one()
    operation.__enter__()
    session.add(event("dropped"), explains("dropped"))
    assert not operation.__exit__(StaleWrite, StaleWrite("tags", 1), None)
    backend.fail(Fault(StaleWrite("tags", 1)))
    with pytest.raises(StaleWrite):
        session.commit()
    assert asked == ["kept"]
    (batch,) = backend.batches
    assert len(batch.operations) == 1


# --- Connections lost while committing (TXN-5) -----------------------------------------------

LOST = ConnectionLost("gone")
NO_ANSWERS = [
    LOST,
    LockTimeout("busy"),
    Timeout("slow"),
    PoolExhausted("full"),
    StorageFull("full"),
]
faults = st.builds(Fault, st.sampled_from(NO_ANSWERS), st.booleans())


@settings(max_examples=30)
@example(lost_after=True, more=[])
@example(lost_after=False, more=[])
@given(st.booleans(), st.lists(faults, max_size=4))
def test_lost_connection_neither_loses_nor_repeats_a_commit(
    store: Storage, lost_after: bool, more: list[Fault]
) -> None:
    backend, storage = unsteady(store)
    tenant = new_tenant()
    backend.fail(Fault(LOST, lost_after), *more)
    with storage.session(tenant=tenant) as session:
        document = session.documents.create_document("text", "email", "a")
        session.documents.create_version(document.id, "more")
    assert 2 <= len(backend.batches) <= len(more) + 2
    assert all(batch is backend.batches[0] for batch in backend.batches)
    assert storage.was_applied(session.receipt or 0)
    found = view(store.backend, tenant)
    assert sum(isinstance(row, Document) for row in found) == 2
    assert len(entries(found)) == 2


def test_other_errors_of_the_first_attempt_are_the_callers(begin: Begin, store: Storage) -> None:
    backend, storage = unsteady(store)
    for error in NO_ANSWERS[1:]:
        backend.fail(Fault(error))
        with pytest.raises(type(error)), storage.session(tenant=new_tenant()) as session:
            session.audit.log("seen", "document")
    assert len(backend.batches) == len(NO_ANSWERS) - 1


@pytest.mark.parametrize("applied", [True, False])
def test_no_answer_until_the_deadline_is_an_unknown_outcome(store: Storage, applied: bool) -> None:
    backend, storage = unsteady(store)
    backend.fail(Fault(LOST, applied), *[Fault(LOST)] * 10_000)
    session = storage.session(tenant=new_tenant(), timeout=0.1)
    session.audit.log("seen", "document")
    with pytest.raises(OutcomeUnknown) as caught:
        session.commit()
    assert not caught.value.retryable
    assert storage.was_applied(caught.value.receipt) is applied
    assert session.receipt is None
    assert not session.pending


def test_unknown_outcome_is_never_run_again(store: Storage) -> None:
    backend, storage = unsteady(store)
    backend.fail(*[Fault(LOST)] * 10_000)
    runs: list[int] = []

    def unit(session: Session) -> None:
        runs.append(1)
        session.audit.log("seen", "document")

    with pytest.raises(OutcomeUnknown):
        storage.run(unit, timeout=0.1, tenant=new_tenant())
    assert len(runs) == 1


def test_race_lost_after_a_lost_connection_is_told_as_such(store: Storage) -> None:
    backend, storage = unsteady(store)
    tenant = new_tenant()
    with store.session(tenant=tenant) as setup:
        document = setup.documents.create_document("text", "email", "a")

    def meanwhile() -> None:
        with store.session(tenant=tenant) as other:
            other.documents.create_version(document.id, "theirs")

    backend.fail(Fault(LOST), Fault(LOST, meanwhile=meanwhile))
    with pytest.raises(StaleVersion), storage.session(tenant=tenant) as session:
        session.documents.create_version(document.id, "mine")
    with store.session(tenant=tenant) as reader:
        history = reader.documents.get_version_history(document.id)
    assert [version.content for version in history] == ["text", "theirs"]


def test_receipt_that_cannot_be_read_is_asked_for_again(store: Storage) -> None:
    backend, storage = unsteady(store)
    tenant = new_tenant()

    def blind() -> None:
        backend.unreadable = 2

    backend.fail(Fault(LOST, applied=True), Fault(None, meanwhile=blind))
    with storage.session(tenant=tenant) as session:
        session.documents.create_document("text", "email", "a")
    assert backend.unreadable == 0
    assert len(entries(view(store.backend, tenant))) == 1


def test_commit_that_removes_entries_has_a_receipt_of_its_own(store: Storage) -> None:
    backend, storage = unsteady(store)
    tenant = new_tenant()
    with storage.session(tenant=tenant) as session:
        session.audit.log("seen", "document")
    CLOCK.advance(days=3)
    backend.fail(Fault(LOST, applied=True))
    with storage.session(tenant=tenant) as session:
        assert session.audit.cleanup_old_entries(1) == 1
    (left,) = entries(view(store.backend, tenant))
    assert left.action == "cleanup"


# --- Hooks -----------------------------------------------------------------------------------


class Watch:
    """A plugin that sees every commit, and refuses or fails if it is told to."""

    def __init__(self, before: Exception | None = None, after: Exception | None = None) -> None:
        self.before, self.after = before, after
        self.seen: list[tuple[str, Batch, Any]] = []

    @hookimpl
    def loki_before_commit(self, batch: Batch, context: Any) -> None:
        self.seen.append(("before", batch, context))
        if self.before is not None:
            raise self.before

    @hookimpl
    def loki_after_commit(self, batch: Batch, context: Any) -> None:
        self.seen.append(("after", batch, context))
        if self.after is not None:
            raise self.after


def test_hooks_see_the_batch_before_and_after(store: Storage) -> None:
    watch = Watch()
    backend, storage = unsteady(store, watch)
    with storage.session(tenant=new_tenant(), actor="alice") as session:
        session.audit.log("seen", "document")
    assert [name for name, _, _ in watch.seen] == ["before", "after"]
    assert {id(batch) for _, batch, _ in watch.seen} == {id(backend.batches[0])}
    assert all(context is session.context for _, _, context in watch.seen)


def test_hook_that_refuses_a_commit_leaves_nothing_behind(store: Storage) -> None:
    watch = Watch(before=Forbidden("not today"))
    backend, storage = unsteady(store, watch)
    session = storage.session(tenant=new_tenant())
    session.audit.log("seen", "document")
    with pytest.raises(Forbidden):
        session.commit()
    assert not session.pending
    assert backend.batches == []
    watch.before = None
    session.audit.log("seen", "document")
    session.commit()
    assert session.audit.count() == 1


def test_hook_that_fails_after_a_commit_is_logged(
    store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    _, storage = unsteady(store, Watch(after=RuntimeError("mine")))
    with (
        caplog.at_level(logging.ERROR, "loki_storage"),
        storage.session(tenant=new_tenant()) as session,
    ):
        session.audit.log("seen", "document")
    assert session.audit.count() == 1
    told = [record.message for record in caplog.records if record.name == "loki_storage"]
    assert ["loki_after_commit" in message for message in told] == [True]


def test_hook_is_not_told_of_a_commit_that_failed(store: Storage) -> None:
    watch = Watch()
    backend, storage = unsteady(store, watch)
    backend.fail(Fault(StorageFull("full")))
    with pytest.raises(StorageFull), storage.session(tenant=new_tenant()) as session:
        session.audit.log("seen", "document")
    assert [name for name, _, _ in watch.seen] == ["before"]


# --- Units of their own (TXN-9) --------------------------------------------------------------


def test_purge_and_cleanup_refuse_a_session_with_pending_writes(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("text", "email", "a")
        session.documents.delete(document.id)
    session = begin()
    session.audit.log("seen", "document")
    with pytest.raises(IllegalTransition):
        session.documents.purge([document.id])
    with pytest.raises(IllegalTransition):
        session.audit.cleanup_old_entries()
    session.commit()
    assert begin().documents.get_by_id(document.id, include_deleted=True) is not None


def test_purge_stays_done_when_the_block_fails(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("text", "email", "a")
        session.documents.delete(document.id)
    session = begin()
    session.__enter__()
    session.documents.purge([document.id])
    session.audit.log("lost", "document")
    session.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert begin().documents.get_by_id(document.id, include_deleted=True) is None
    assert begin().audit.get_by_action("lost") == []


# --- Actors and times ------------------------------------------------------------------------


def test_actor_and_request_stand_in_every_entry(begin: Begin) -> None:
    actor = Actor("bob", "api", "10.0.0.1", "agent/1", "request 1")
    with begin(actor=actor) as session:
        document = session.documents.create_document("text", "email", "a", tags=["x"])
        session.documents.delete(document.id)
    for entry in begin().audit.get_all():
        assert (entry.actor_id, entry.actor_type) == ("bob", "api")
        assert (entry.ip_address, entry.user_agent) == ("10.0.0.1", "agent/1")
        assert entry.request_id == "request 1"
        assert entry.timestamp == CLOCK.time


def test_without_an_actor_the_system_acts(store: Storage, tenant: str) -> None:
    with store.session(tenant=tenant) as session:
        session.audit.log("seen", "document")
    (entry,) = session.audit.get_all()
    assert (entry.actor_id, entry.actor_type, entry.client_id) == ("system", "system", "-")


def test_clock_without_a_zone_is_refused() -> None:
    storage = open_storage("memory://", clock=lambda: CLOCK.time.replace(tzinfo=None))
    with storage, pytest.raises(InvalidValue, match="clock"):
        storage.session().documents.create_document("text", "email", "a")
