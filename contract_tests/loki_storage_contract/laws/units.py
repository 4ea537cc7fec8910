"""TXN: units of work, lost races, lost connections."""

from collections.abc import Callable, Mapping
from itertools import repeat

import pytest
from hypothesis import strategies as st

from loki_storage.errors import (
    Contention,
    IllegalTransition,
    OutcomeUnknown,
    StaleVersion,
    StaleWrite,
)
from loki_storage.models import AuditEntry, Document, Tag
from loki_storage.storage import Session
from loki_storage_contract.faults import Fault, Recorder, Unreliable
from loki_storage_contract.histories import CLIENT, TENANT, Call, histories, play, session_of
from loki_storage_contract.laws.versions import three_versions
from loki_storage_contract.races import together
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged

History = list[Call]
SHARE = 0.5


class Left(Exception):
    """Why a block was left."""


@proves("TXN-1", share=SHARE, history=histories)
def an_exception_leaves_the_store_as_it_was(store: Store, history: History) -> None:
    """Whatever is pending when the block is left."""
    moment = list(play(store, history))[-1]
    before = store.dump()
    with pytest.raises(Left), moment.session:
        raise Left
    assert store.dump() == before
    assert not moment.session.pending


@proves("TXN-1")
def any_exception_discards(store: Store) -> None:
    """An interrupt too."""
    for kind in (Left, KeyboardInterrupt, GeneratorExit, SystemExit):
        before = store.dump()
        with pytest.raises(kind), session_of(store) as session:  # noqa: PT012
            session.documents.create_document("one", "email", CLIENT)
            raise kind
        assert not session.pending
        assert store.dump() == before


@proves("TXN-1", "BAT-2")
def a_unit_of_work_is_one_batch(store: Store) -> None:
    """However much it does to one row."""
    recorder = Recorder(store.backend)
    with store.storage(recorder).session(tenant=TENANT) as session:
        document = session.documents.create_document("one", "email", CLIENT)
        session.documents.update(document.id, title="a")
        session.documents.update(document.id, title="b")
        version = session.documents.create_version(document.id, "two")
        session.documents.delete(document.id)
        session.documents.restore(version.id)
    assert len(recorder.batches) == 1
    head = session.documents.get_latest_version(document.id)
    assert head is not None
    assert (head.id, head.title) == (version.id, "b")


@proves("TXN-2", share=SHARE, history=histories)
def nobody_sees_what_is_not_committed(store: Store, history: History) -> None:
    """Another session, and the store itself, show the last commit."""
    other, committed = session_of(store), None
    for moment in play(store, history):
        if committed is None or moment.call.operation == "commit":
            committed = store.dump()
        assert store.dump() == committed
        shown = {row.id for row in other.documents.get_all(versions="all")}
        assert shown == {r.id for r in committed if isinstance(r, Document) and not r.is_deleted}


@proves("TXN-3", share=SHARE, history=histories)
def a_failed_operation_spoils_nothing(store: Store, history: History) -> None:
    """Neither in the session's view, nor in what is committed in the end."""
    view: Mapping[int, Document] = {}
    session: Session | None = None
    for moment in play(store, history):
        view, session = moment.after, moment.session
        if moment.error is not None:
            assert (moment.changed, moment.told) == (False, 0)
            assert moment.chains == moment.chains_before
    assert session is not None
    session.commit()
    assert {row.id: row for row in store.all(Document)} == view


@proves("TXN-4")
def run_retries_until_every_writer_is_through(store: Store) -> None:
    """Writers that each append a version to the head that they read."""
    head = three_versions(session_of(store))[-1]
    storages = [store.storage(), store.storage(store.other)]

    def append(session: Session) -> int:
        latest = session.documents.get_latest_version(head)
        assert latest is not None
        return session.documents.create_version(latest.id, "more").id

    def writer(n: int) -> Callable[[], int]:
        return lambda: storages[n % 2].run(append, timeout=30, tenant=TENANT)

    outcomes = together(*map(writer, range(6)))
    rows = store.all(Document)
    assert sorted(row.version for row in rows) == list(range(1, 10))
    assert {row.id for row in rows} >= set(outcomes)


@proves("TXN-4")
def run_gives_up_at_its_deadline(store: Store) -> None:
    """``Contention``, and nothing was written."""
    calls: list[int] = []

    def lose(session: Session) -> None:
        session.documents.create_document(f"{len(calls)}", "email", CLIENT)
        calls.append(1)
        raise StaleWrite("documents", 1)

    def run() -> None:
        store.storage().run(lose, timeout=0.1, tenant=TENANT)

    error = unchanged(store, run, Contention)
    assert error.retryable
    assert len(calls) > 1


@proves("TXN-4")
def run_passes_other_errors_on(store: Store) -> None:
    """At once, with nothing written."""
    calls: list[int] = []

    def fail(session: Session) -> None:
        session.documents.create_document("one", "email", CLIENT)
        calls.append(1)
        raise Left

    unchanged(store, lambda: store.storage().run(fail, tenant=TENANT), Left)
    assert len(calls) == 1


faults = st.lists(st.sampled_from(["before", "after", None]), max_size=4)
"""What happens to each attempt; the ones after that arrive."""


@proves("TXN-5", lost=faults, lost_reads=st.lists(st.booleans(), max_size=3))
def nothing_is_applied_twice(
    store: Store, lost: list[Fault | None], lost_reads: list[bool]
) -> None:
    """Whenever the connection breaks, the unit of work is in the store once, and says so."""
    unreliable = Unreliable(store.backend, lost, lost_reads)
    storage, calls = store.storage(unreliable), list[int]()

    def work(session: Session) -> int:
        calls.append(1)
        document = session.documents.create_document("one", "email", CLIENT, tags=["x"])
        return session.documents.create_version(document.id, "two").id

    head = storage.run(work, tenant=TENANT)
    assert len(calls) == 1
    assert [row.id for row in store.all(Document) if row.is_latest] == [head]
    assert (len(store.all(Document)), len(store.all(Tag)), len(store.all(AuditEntry))) == (2, 1, 3)


@proves("TXN-5", first=st.sampled_from(["before", "after"]), share=0.1)
def the_receipt_tells_whether_it_happened(store: Store, first: Fault) -> None:
    """Another writer is there between the lost commit and its repetition."""
    session = session_of(store)
    head = three_versions(session)[-1]
    theirs = session_of(store)

    def meanwhile() -> None:
        latest = theirs.documents.get_latest_version(head)
        assert latest is not None
        theirs.documents.update(latest.id, title="theirs")
        theirs.commit()

    storage = store.storage(Unreliable(store.backend, [first], between=meanwhile))
    ours = storage.session(tenant=TENANT)
    ours.documents.update(head, title="ours")
    if first == "before":
        with pytest.raises((StaleVersion, StaleWrite)):
            ours.commit()
    else:
        ours.commit()
        assert ours.receipt is not None
        assert storage.was_applied(ours.receipt)
    told = [entry.changes["fields"][0]["after"]["title"] for entry in store.all(AuditEntry)[3:]]
    assert sorted(told) == (["theirs"] if first == "before" else ["ours", "theirs"])


@proves("TXN-5", happened=st.booleans(), share=0.1)
def without_an_answer_nobody_knows(store: Store, happened: bool) -> None:
    """``OutcomeUnknown`` at the deadline; ``run`` does not try again; the receipt tells later."""
    fault: Fault = "after" if happened else "before"
    unreliable = Unreliable(store.backend, repeat(fault), repeat(True))
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        session.documents.create_document("one", "email", CLIENT)

    with pytest.raises(OutcomeUnknown) as unknown:
        store.storage(unreliable).run(work, timeout=0.1, tenant=TENANT)
    assert len(calls) == 1
    assert not unknown.value.retryable
    assert store.storage().was_applied(unknown.value.receipt) is happened
    assert len(store.all(Document)) == happened


@proves("TXN-6", needs=("durable",))
def what_was_committed_is_there_after_reopening(store: Store) -> None:
    """Every row of it, and nothing else."""
    session = session_of(store)
    head = three_versions(session)[-1]
    before = store.dump()
    session.documents.create_version(head, "not committed")
    store.reopen()
    assert store.dump() == before
    assert session_of(store).documents.create_version(head, "four").version == 4


@proves("TXN-7")
def a_lost_race_names_the_new_head(store: Store) -> None:
    """From ``commit`` and from the block's end alike."""
    session = session_of(store)
    head = three_versions(session)[-1]
    for by_commit in (True, False):
        ours, theirs = session_of(store), session_of(store)
        with pytest.raises(StaleVersion) as lost, ours:  # noqa: PT012
            ours.documents.create_version(head, "ours")
            new = theirs.documents.create_version(head, "theirs").id
            theirs.commit()
            if by_commit:
                ours.commit()
        assert (lost.value.current_id, lost.value.retryable) == (new, True)
        head = new


@proves("TXN-7")
def a_lost_race_with_a_delete_names_no_head(store: Store) -> None:
    """``current_id`` is None where the document has no live version any more."""
    ours, theirs = session_of(store), session_of(store)
    head = three_versions(theirs)[-1]
    ours.documents.create_version(head, "ours")
    theirs.documents.delete(head)
    theirs.commit()
    with pytest.raises(StaleVersion) as lost:
        ours.commit()
    assert lost.value.current_id is None


@proves("TXN-8")
def a_failed_commit_discards_and_the_session_goes_on(store: Store) -> None:
    """It shows the store again, and takes new work."""
    ours, theirs = session_of(store), session_of(store)
    head = three_versions(theirs)[-1]
    ours.documents.create_document("lost", "email", CLIENT)
    ours.documents.create_version(head, "ours")
    new = theirs.documents.create_version(head, "theirs")
    theirs.commit()
    before = store.dump()
    with pytest.raises(StaleVersion):
        ours.commit()
    assert (store.dump(), ours.pending) == (before, False)
    assert ours.documents.count() == 1
    ours.commit()
    assert store.dump() == before
    ours.documents.create_version(new.id, "again")
    ours.commit()
    latest = theirs.documents.get_latest_version(head)
    assert latest is not None
    assert latest.content == "again"


@proves("TXN-9")
def purge_and_cleanup_work_in_units_of_their_own(store: Store) -> None:
    """At once; they stay done when the block fails, and are refused beside pending work."""
    with session_of(store) as session:
        first, _, _ = three_versions(session)
        session.documents.delete(first)
    store.clock.advance(days=400)
    with pytest.raises(Left), session_of(store) as session:  # noqa: PT012
        session.documents.purge([first])
        session.audit.cleanup_old_entries(365)
        raise Left
    assert store.all(Document) == []
    assert {entry.action for entry in store.all(AuditEntry)} == {"purge", "cleanup"}
    session.documents.create_document("pending", "email", CLIENT)
    for call in (lambda: session.documents.purge([first]), session.audit.cleanup_old_entries):
        unchanged(store, call, IllegalTransition)
    assert session.pending
