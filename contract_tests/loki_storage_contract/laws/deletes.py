"""DEL: soft delete, restore, purge."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from loki_storage.errors import IllegalTransition, NotFound
from loki_storage.models import AuditEntry, Chain, Document, DocumentTag, RetentionState, Tag
from loki_storage.query import Query
from loki_storage.storage import Session
from loki_storage_contract.histories import (
    CLIENT,
    TENANT,
    Call,
    Moment,
    histories,
    play,
    session_of,
)
from loki_storage_contract.laws.versions import three_versions
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged

History = list[Call]
SHARE = 0.5
TICK = timedelta(microseconds=1)


@proves("DEL-1", share=SHARE, history=histories)
def deleting_takes_every_live_version(store: Store, history: History) -> None:
    """``delete`` with one time, ``delete_version`` one version; later than every other time."""
    for moment in play(store, history):
        if moment.call.operation in ("delete", "delete_version") and moment.error is None:
            live = {row.id for row in moment.members(moment.before) if not row.is_deleted}
            whole = moment.call.operation == "delete"
            expected = live if whole else live & {moment.id}
            _deleted_together(moment, expected)


def _deleted_together(moment: Moment, expected: set[int]) -> None:
    before, after = moment.members(moment.before), moment.members(moment.after)
    gone = {row.id for row in after if row.is_deleted and not moment.before[row.id].is_deleted}
    assert gone == expected
    times = {row.deleted_at for row in after if row.id in gone}
    others = [row.deleted_at for row in before if row.deleted_at is not None]
    if gone:
        (time,) = times
        assert time is not None
        assert time >= max([moment.now, *(other + TICK for other in others)])


@proves("DEL-1")
def times_of_deletion_differ(store: Store) -> None:
    """Although the clock stands still, or goes back."""
    with session_of(store) as session:
        first, second, third = three_versions(session)
        session.documents.delete_version(third)
        session.documents.delete_version(first)
        store.clock.advance(hours=-1)
        session.documents.delete(second)
    times = {row.id: row.deleted_at for row in store.all(Document)}
    one, two, three = times[first], times[second], times[third]
    assert one is not None
    assert two is not None
    assert three is not None
    assert one - three >= TICK
    assert two - one >= TICK


@proves("DEL-1")
def deleting_the_only_live_version_deletes_the_document(store: Store) -> None:
    """Then it is restored by either way."""
    with session_of(store) as session:
        first, second, third = three_versions(session)
        for id in (second, first, third):
            session.documents.delete_version(id)
        (chain,) = list(session.select(Query(Chain, TENANT)))
        assert chain.live is False
        assert session.documents.restore(first).is_deleted
        assert [row.id for row in session.documents.get_version_history(first)] == [third]


@proves("DEL-1")
def children_leave_with_their_document(store: Store) -> None:
    """Validations and corrections of a deleted version are shown on request only."""
    session = session_of(store)
    first, _, third = three_versions(session)
    validations = {
        id: session.validations.create_validation(id, ["m"], CLIENT).id for id in (first, third)
    }
    corrections = {
        id: session.corrections.create_correction(id, "rewrite", CLIENT).id for id in (first, third)
    }
    session.commit()
    session.documents.delete_version(third)
    for repository, ids in ((session.validations, validations), (session.corrections, corrections)):
        shown: Any = repository
        assert [row.id for row in shown.get_all()] == [ids[first]]
        assert shown.get_by_id(ids[third]) is None
        assert shown.get_by_id(ids[third], include_deleted=True) is not None
        assert shown.count() == 1


@proves("DEL-2", share=SHARE, history=histories)
def default_reads_show_no_deleted_row(store: Store, history: History) -> None:
    """By id, in lists, counts, histories and statistics."""
    for moment in play(store, history):
        documents = moment.session.documents
        live = {row.id for row in moment.after.values() if not row.is_deleted}
        heads = {row.id for row in moment.after.values() if row.is_latest}
        assert {row.id for row in documents.get_all(versions="all")} == live
        assert {row.id for row in documents.get_by_client(CLIENT)} == heads
        assert {row.id for row in documents.filter_by(client_id=CLIENT)} <= live
        assert documents.count(versions="all") == len(live)
        assert documents.exists(moment.id) == (moment.id in live)
        assert (documents.get_by_id(moment.id) is not None) == (moment.id in live)
        for row in moment.after.values():
            found = documents.get_by_hash(row.content_hash, CLIENT)
            assert found is None or found.id in heads


@proves("DEL-3", share=SHARE, history=histories)
def flag_and_time_agree(store: Store, history: History) -> None:
    """``is_deleted`` where there is a ``deleted_at``, and there alone."""
    for moment in play(store, history):
        for row in moment.after.values():
            assert row.is_deleted is (row.deleted_at is not None)


@proves("DEL-3", share=SHARE, history=histories)
def what_is_already_so_is_left_alone(store: Store, history: History) -> None:
    """No time moves, nothing is audited, the record is returned; an unknown id is ``NotFound``."""
    for moment in play(store, history):
        done = _ALREADY.get(moment.call.operation)
        if done is None:
            continue
        row = moment.before.get(moment.id)
        if row is None:
            assert type(moment.error) is NotFound
        else:
            assert moment.result == moment.after[row.id]
            assert moment.changed is not done(moment, row)
            assert moment.told == moment.changed


_ALREADY: dict[str, Callable[[Moment, Document], bool]] = {
    "delete": lambda moment, row: moment.head is None,
    "delete_version": lambda moment, row: row.is_deleted,
    "restore": lambda moment, row: moment.head is not None,
    "restore_version": lambda moment, row: not row.is_deleted,
}


@proves("DEL-3")
def unknown_ids_are_not_found(store: Store) -> None:
    """Of nobody, and of another tenant."""
    with store.storage().session(tenant="t2") as other:
        foreign = other.documents.create_document("theirs", "email", CLIENT).id
    session = session_of(store)
    documents = session.documents
    for id in (2**40, foreign):
        for call in (
            documents.delete,
            documents.delete_version,
            documents.restore,
            documents.restore_version,
        ):
            unchanged(store, lambda: call(id), NotFound)  # noqa: B023
    assert not session.pending


@proves("DEL-4", share=SHARE, history=histories)
def restoring_brings_back_what_went_last(store: Store, history: History) -> None:
    """The rows with the greatest time of deletion, or the one version."""
    for moment in play(store, history):
        rows = moment.members(moment.before)
        if moment.error is not None or not rows:
            continue
        times = [row.deleted_at for row in rows if row.deleted_at is not None]
        if moment.call.operation == "restore" and moment.head is None:
            back = {row.id for row in rows if row.deleted_at == max(times)}
        elif moment.call.operation == "restore_version":
            back = {moment.id} - {row.id for row in rows if not row.is_deleted}
        else:
            continue
        live = {row.id for row in rows if not row.is_deleted}
        now = {row.id for row in moment.members(moment.after) if not row.is_deleted}
        assert now - live == back


@proves("DEL-4", share=SHARE, history=histories, ends=st.sampled_from(["delete", "delete_version"]))
def deleting_and_restoring_is_the_identity(store: Store, history: History, ends: str) -> None:
    """But for ``updated_at``, and the chain's claims and revision."""
    moment = list(play(store, history))[-1]
    session = moment.session
    heads = [row for row in moment.after.values() if row.is_latest]
    for head in heads:
        before = _apart_from_times(session)
        getattr(session.documents, ends)(head.id)
        getattr(session.documents, ends.replace("delete", "restore"))(head.id)
        assert _apart_from_times(session) == before


def _apart_from_times(session: Session) -> list[Any]:
    documents = session.select(Query(Document, TENANT))
    chains = session.select(Query(Chain, TENANT))
    return [
        *(row.replaced({"updated_at": row.created_at}) for row in documents),
        *(row.replaced({"revision": 0, "text_claim": None}) for row in chains),
    ]


@proves("DEL-5")
def nothing_is_added_to_a_deleted_document(store: Store) -> None:
    """Version, description, revert, tag, validation, result, correction."""
    session = session_of(store)
    first, second, third = three_versions(session)
    session.documents.add_tag(first, "there")
    validation = session.validations.create_validation(third, ["m"], CLIENT).id
    session.validations.start_validation(validation)
    session.documents.delete(first)
    session.commit()
    attempts: list[Callable[[], object]] = [
        lambda: session.documents.create_version(third, "four"),
        lambda: session.documents.update(third, title="new"),
        lambda: session.documents.revert_to(second),
        lambda: session.documents.add_tag(first, "new"),
        lambda: session.documents.remove_tag(first, "there"),
        lambda: session.validations.create_validation(third, ["m"], CLIENT),
        lambda: session.validations.add_result(validation, "module", "m.g", "pass"),
        lambda: session.corrections.create_correction(third, "rewrite", CLIENT),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert not session.pending


@proves("DEL-5")
def a_validation_goes_on_after_a_restore(store: Store) -> None:
    """What was in progress is in progress again."""
    with session_of(store) as session:
        first, _, third = three_versions(session)
        validation = session.validations.create_validation(third, ["m"], CLIENT).id
        session.validations.start_validation(validation)
        session.documents.delete(first)
        session.documents.restore(first)
        session.validations.add_result(validation, "module", "m.g", "fail", "high")
        done = session.validations.complete_validation(validation)
    assert (done.status, done.fail_count) == ("completed", 1)


@proves("DEL-6", share=SHARE, history=histories)
def no_delete_removes_a_row(store: Store, history: History) -> None:
    """Rows only go with a rollback, before they were committed."""
    for moment in play(store, history):
        if moment.call.operation != "rollback":
            assert moment.before.keys() <= moment.after.keys()


@proves("DEL-6", "TAG-2")
def a_purge_takes_a_deleted_document_whole(store: Store) -> None:
    """With all that hangs on it; its audit entries stay, and its tags."""
    session = session_of(store)
    first, _, third = three_versions(session)
    other = session.documents.create_document("other", "email", CLIENT, tags=["x"])
    session.documents.add_tag(first, "x")
    validation = session.validations.create_validation(third, ["m"], CLIENT).id
    session.validations.start_validation(validation)
    session.validations.add_result(validation, "module", "m.g", "fail")
    session.corrections.create_correction(third, "rewrite", CLIENT, validation_id=validation)
    session.documents.delete(first)
    session.commit()
    entries = store.all(AuditEntry)
    assert session.documents.purge([third]) == [first]
    left = Counter(type(record) for record in store.dump() if not isinstance(record, AuditEntry))
    # The count of holds is guarded from the first purge on: its row is all that is new.
    assert left == dict.fromkeys((Chain, Document, DocumentTag, Tag, RetentionState), 1)
    assert [document.id for document in store.all(Document)] == [other.id]
    assert store.all(AuditEntry)[: len(entries)] == entries
    assert [entry.action for entry in store.all(AuditEntry)[len(entries) :]] == ["purge"]


@proves("DEL-6")
def a_live_document_is_not_purged(store: Store) -> None:
    """``IllegalTransition``; those before it in the call are gone."""
    session = session_of(store)
    first, _, _ = three_versions(session)
    unchanged(store, lambda: session.documents.purge([first]), IllegalTransition)
    unchanged(store, lambda: session.documents.purge([2**40]), NotFound)


@proves("DEL-6", "BAT-8")
def ids_of_purged_rows_are_not_given_again(store: Store) -> None:
    """Not even to a storage that was opened later."""
    session = session_of(store)
    ids = three_versions(session)
    session.documents.delete(ids[0])
    session.commit()
    session.documents.purge([ids[0]])
    for _ in range(3):
        assert not set(three_versions(session_of(store))) & set(ids)
        session.documents.delete(store.all(Document)[0].id)
        session.commit()


@proves("DEL-7")
def only_documents_and_tags_can_be_deleted(store: Store) -> None:
    """Validations, corrections and audit entries offer no delete."""
    session = session_of(store)
    for repository in (session.validations, session.corrections, session.audit):
        assert not [name for name in dir(repository) if name.startswith(("delete", "purge"))]
