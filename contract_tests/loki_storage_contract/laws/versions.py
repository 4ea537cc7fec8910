"""DOC and VER: chains of versions."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import strategies as st

from loki_storage.errors import InvalidField, NotFound, StaleVersion, StaleWrite, StorageError
from loki_storage.models import AuditEntry, Document
from loki_storage.protocol import Backend
from loki_storage.storage import Session
from loki_storage_contract.children import in_processes
from loki_storage_contract.histories import (
    CLIENT,
    TENANT,
    Call,
    Moment,
    chains_of,
    histories,
    play,
    session_of,
)
from loki_storage_contract.races import together
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Clock, Store, storage_over
from loki_storage_contract.values import HOSTILE_TEXTS

History = list[Call]
SHARE = 0.5
FIXED = (
    *("content", "content_hash", "content_length", "document_type", "client_id", "user_id"),
    *("version", "parent_id", "root_id", "created_at"),
)
DESCRIPTIVE = ("title", "description", "source", "language", "metadata_json")


def three_versions(session: Session) -> list[int]:
    """A committed document of three versions; their ids."""
    document = session.documents.create_document("one", "email", CLIENT, title="title")
    second = session.documents.create_version(document.id, "two")
    third = session.documents.create_version(second.id, "three")
    session.commit()
    return [document.id, second.id, third.id]


any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@proves("DOC-1", content=st.sampled_from(HOSTILE_TEXTS) | any_text)
def hash_and_length_follow_the_content(store: Store, content: str) -> None:
    """SHA-256 of the UTF-8 bytes, and code points; ``verify`` finds them right."""
    with session_of(store) as session:
        document = session.documents.create_document(content, "email", CLIENT)
    found = session.documents.get_by_id(document.id)
    assert found == document
    assert document.content_hash == sha256(content.encode()).hexdigest()
    assert document.content_length == len(content)
    assert session.documents.verify(document.id)


@proves("VER-1", share=SHARE, history=histories)
def numbers_have_no_gaps(store: Store, history: History) -> None:
    """1..n over live and deleted rows; a row keeps its number, a number its row."""
    numbers: dict[int, int] = {}
    for moment in play(store, history):
        for chain in chains_of(moment.after).values():
            assert [row.version for row in chain] == list(range(1, len(chain) + 1))
        for row in moment.after.values():
            assert numbers.setdefault(row.id, row.version) == row.version


@proves("VER-1", "VER-2")
def numbers_of_deleted_versions_are_not_given_again(store: Store) -> None:
    """The next number follows the deleted ones too, and so does the parent."""
    with session_of(store) as session:
        first, second, third = three_versions(session)
        session.documents.delete_version(third)
        new = session.documents.create_version(second, "four")
    assert (new.version, new.parent_id, new.root_id) == (4, third, first)
    entry = store.all(AuditEntry)[-1]
    assert entry.metadata_json["built_on"] == second


@proves("VER-2", share=SHARE, history=histories)
def a_chain_is_a_chain(store: Store, history: History) -> None:
    """Each version's parent is the one before it, and the first one names the chain."""
    for moment in play(store, history):
        for root_id, chain in chains_of(moment.after).items():
            assert chain[0].id == root_id
            assert [row.parent_id for row in chain] == [None, *(row.id for row in chain[:-1])]


@proves("VER-3", share=SHARE, history=histories)
def the_head_is_the_highest_live_version(store: Store, history: History) -> None:
    """Exactly one while there is a live version, else none."""
    for moment in play(store, history):
        for chain in chains_of(moment.after).values():
            live = [row.id for row in chain if not row.is_deleted]
            assert [row.id for row in chain if row.is_latest] == live[-1:]


@proves("VER-3")
def the_head_moves_with_deletes_and_restores(store: Store) -> None:
    """Down to the highest live version, up to the one that comes back."""
    with session_of(store) as session:
        first, second, third = three_versions(session)
        documents = session.documents
        for call, id, head in (
            (documents.delete_version, third, second),
            (documents.delete_version, first, second),
            (documents.delete_version, second, None),
            (documents.restore_version, first, first),
            (documents.restore_version, third, third),
            (documents.restore_version, second, third),
        ):
            call(id)
            latest = documents.get_latest_version(first)
            assert (None if latest is None else latest.id) == head


@proves("VER-4", share=SHARE, history=histories)
def versions_are_built_on_the_head(store: Store, history: History) -> None:
    """Anything else is refused, names the head, and changes nothing."""
    for moment in play(store, history):
        if moment.call.operation == "create_version":
            _built_on_the_head(moment)


def _built_on_the_head(moment: Moment) -> None:
    parent, head, error = moment.before.get(moment.id), moment.head, moment.error
    if parent is None or parent.is_deleted:
        assert type(error) is NotFound
    elif head is not None and parent.id != head.id:
        assert isinstance(error, StaleVersion)
        assert (error.document_id, error.current_id) == (parent.id, head.id)
    else:
        assert error is None
        assert moment.members(moment.after)[-1].id == moment.result.id
    assert (error is None) == moment.changed
    assert moment.told == (error is None)


@proves("VER-4", "TXN-7")
def of_writers_on_one_head_one_wins(store: Store) -> None:
    """In threads, on two handles: the others are told the new head, and write nothing."""
    session = session_of(store)
    head = three_versions(session)[-1]
    storages = [store.storage(), store.storage(store.other)]

    def write(n: int) -> Callable[[], int]:
        def write_one() -> int:
            with storages[n % 2].session(tenant=TENANT) as session:
                return session.documents.create_version(head, f"by {n}").id

        return write_one

    one_wins(store, head, together(*map(write, range(6))))


def one_wins(store: Store, head: int, outcomes: list[Any]) -> None:
    """One id, and ``StaleVersion`` for all others, which names it."""
    (winner,) = [result for result in outcomes if isinstance(result, int)]
    lost = [error for error in outcomes if error != winner]
    assert {(type(error), error.document_id, error.current_id) for error in lost} == {
        (StaleVersion, head, winner)
    }
    session = session_of(store)
    history = session.documents.get_version_history(head)
    assert [row.id for row in history][-2:] == [head, winner]
    assert len(history) == 4


def write_version(backend: Backend, head: int) -> int:
    with storage_over(backend, Clock()).session(tenant=TENANT) as session:
        return session.documents.create_version(head, "new").id


@proves("VER-4", needs=("processes",))
def of_processes_on_one_head_one_wins(store: Store) -> None:
    """The same in three processes."""
    head = three_versions(session_of(store))[-1]
    one_wins(store, head, in_processes(store.target, write_version, [head] * 3))


@proves("VER-5", share=SHARE, history=histories)
def what_is_stored_stays(store: Store, history: History) -> None:
    """No call changes content, creator or time of a version; describing changes the head alone."""
    for moment in play(store, history):
        described = moment.call.operation == "update" and moment.error is None
        for id in moment.before.keys() & moment.after.keys():
            fields = FIXED if described and id == moment.id else (*FIXED, *DESCRIPTIVE)
            same_fields(moment.before[id], moment.after[id], fields)


def same_fields(one: Document, other: Document, fields: tuple[str, ...]) -> None:
    assert {f: one.stored(f) for f in fields} == {f: other.stored(f) for f in fields}


@proves("VER-5")
def only_the_head_can_be_described(store: Store) -> None:
    """``update`` on an earlier version is refused, and so is any other field."""
    with session_of(store) as session:
        first, _, third = three_versions(session)
        with pytest.raises(StaleVersion) as refused:
            session.documents.update(first, title="new")
        assert refused.value.current_id == third
        for field in ("content", "content_hash", "client_id", "user_id", "version", "created_at"):
            with pytest.raises(InvalidField):
                session.documents.update(third, **{field: "x"})
        assert session.documents.update(third, title="new").title == "new"


@proves("VER-6", share=SHARE, texts=st.lists(st.sampled_from(["a", "b", ""]), min_size=1))
def any_text_may_follow_any(store: Store, texts: list[str]) -> None:
    """A -> B -> A, and an unchanged text."""
    with session_of(store) as session:
        head = session.documents.create_document(texts[0], "email", CLIENT)
        for text in texts[1:]:
            head = session.documents.create_version(head.id, text)
    history = session.documents.get_version_history(head.id)
    assert [row.content for row in history] == texts


@proves("VER-7", share=SHARE, history=histories)
def a_version_inherits_what_is_not_given(store: Store, history: History) -> None:
    """All but its text, its creator and its time."""
    for moment in play(store, history):
        if moment.call.operation in ("create_version", "revert_to") and moment.error is None:
            head, new = moment.head, moment.after[moment.result.id]
            assert head is not None
            same_fields(head, new, (*DESCRIPTIVE, "document_type", "client_id", "root_id"))
            assert new.created_at >= moment.now
            assert new.user_id == ("bob" if moment.call.operation == "create_version" else None)


@proves("VER-7", "TAG-2")
def a_version_takes_what_is_given(store: Store) -> None:
    """A given None too; the tags stay the document's."""
    with session_of(store) as session:
        document = session.documents.create_document(
            "one", "email", CLIENT, title="t", source="s", metadata={"a": 1}, tags=["x"]
        )
        new = session.documents.create_version(document.id, "two", title=None, metadata={})
    assert (new.title, new.source, new.metadata_json) == (None, "s", {})
    assert [tag.name for tag in session.documents.tags_of(new.id)] == ["x"]


@proves("VER-8", share=SHARE, history=histories)
def history_head_and_past_are_read_by_any_member(store: Store, history: History) -> None:
    """Whichever member is named, also a deleted one."""
    for moment in play(store, history):
        documents, rows = moment.session.documents, moment.members(moment.after)
        live = [row for row in rows if not row.is_deleted]
        assert documents.get_version_history(moment.id) == live
        assert documents.get_version_history(moment.id, include_deleted=True) == rows
        assert documents.get_latest_version(moment.id) == (live[-1] if live else None)
        for time in {row.created_at for row in rows}:
            then = [row for row in live if row.created_at <= time]
            assert documents.get_as_of(moment.id, time) == (then[-1] if then else None)


@proves("VER-8")
def time_in_a_chain_never_goes_back(store: Store) -> None:
    """Whatever the clock does."""
    with session_of(store) as session:
        document = session.documents.create_document("one", "email", CLIENT)
        store.clock.advance(hours=-1)
        second = session.documents.create_version(document.id, "two")
        store.clock.advance(minutes=1)
        session.documents.create_version(second.id, "three")
    times = [row.created_at for row in session.documents.get_version_history(document.id)]
    assert times == sorted(times)


@proves("VER-8")
def the_past_with_what_was_deleted_since(store: Store) -> None:
    """``include_deleted`` shows the version that was live at that time."""
    with session_of(store) as session:
        first = session.documents.create_document("one", "email", CLIENT)
        then = store.clock.advance(hours=1)
        second = session.documents.create_version(first.id, "two")
        store.clock.advance(hours=1)
        session.documents.delete_version(second.id)
    shown = session.documents.get_as_of(first.id, then)
    assert shown is not None
    assert shown.id == first.id
    found = session.documents.get_as_of(first.id, then, include_deleted=True)
    assert found is not None
    assert found.id == second.id


@proves("VER-8")
def the_past_without_what_was_deleted_before(store: Store) -> None:
    """What was deleted before a time was not deleted since."""
    with session_of(store) as session:
        first = session.documents.create_document("one", "email", CLIENT)
        second = session.documents.create_version(first.id, "two")
        session.documents.delete_version(second.id)
        later = store.clock.advance(hours=1)
    found = session.documents.get_as_of(first.id, later, include_deleted=True)
    assert found is not None
    assert found.id == first.id


@proves("VER-9", share=SHARE, history=histories)
def reverting_appends_the_exact_text(store: Store, history: History) -> None:
    """Of any live version of a live document; of a deleted one it is refused."""
    for moment in play(store, history):
        if moment.call.operation == "revert_to":
            source = moment.before.get(moment.id)
            if source is None or source.is_deleted:
                assert type(moment.error) is NotFound
            else:
                new = moment.members(moment.after)[-1]
                assert (new.content, new.id) == (source.content, moment.result.id)
                assert len(moment.after) == len(moment.before) + 1


@proves("VER-10", share=SHARE, history=histories)
def each_operation_adds_one_to_the_revision(store: Store, history: History) -> None:
    """Where it changes something; and ``updated_at`` moves only on rows that it changes."""
    for moment in play(store, history):
        if moment.call.operation == "rollback":
            continue
        for root_id, chain in moment.chains.items():
            was = moment.chains_before.get(root_id)
            touched = any(moment.before.get(r.id) != r for r in chains_of(moment.after)[root_id])
            assert chain.revision == (was.revision + touched if was else 0)
        _times_move_with_rows(moment)


def _times_move_with_rows(moment: Moment) -> None:
    for id in moment.before.keys() & moment.after.keys():
        was, now = moment.before[id], moment.after[id]
        if was.updated_at != now.updated_at:
            others = [field for field in now.domains if field != "updated_at"]
            assert any(was.stored(field) != now.stored(field) for field in others)


@proves("VER-10")
def time_of_the_last_change_never_goes_back(store: Store) -> None:
    """Whatever the clock does: of a row's changes the later one has no earlier time."""
    session = session_of(store)
    first, second, third = three_versions(session)
    documents = session.documents
    changes: list[Callable[[], object]] = [
        lambda: documents.update(third, title="new"),
        lambda: documents.delete_version(third),
        lambda: documents.restore_version(third),
        lambda: documents.create_version(third, "four"),
        lambda: documents.delete(first),
        lambda: documents.restore(second),
    ]
    for change in changes:
        before = {row.id: row.updated_at for row in store.all(Document)}
        store.clock.advance(seconds=-1)
        change()
        session.commit()
        after = {row.id: row.updated_at for row in store.all(Document)}
        assert all(after[id] >= time for id, time in before.items())


@proves("VER-10", "BAT-6")
def operations_on_one_chain_exclude_each_other(store: Store) -> None:
    """No two of them both commit on one view, whichever they are (write skew)."""
    operations: list[Callable[[Session, list[int]], object]] = [
        lambda session, ids: session.documents.create_version(ids[2], "four"),
        lambda session, ids: session.documents.update(ids[2], title="new"),
        lambda session, ids: session.documents.delete_version(ids[2]),
        lambda session, ids: session.documents.delete(ids[0]),
        lambda session, ids: session.documents.restore_version(ids[1]),
        lambda session, ids: session.documents.revert_to(ids[0]),
    ]
    for ours in operations:
        for theirs in operations:
            store.reset()
            _second_loses(store, ours, theirs)


def _second_loses(
    store: Store,
    ours: Callable[[Session, list[int]], object],
    theirs: Callable[[Session, list[int]], object],
) -> None:
    first, second = session_of(store), session_of(store)
    ids = three_versions(first)
    first.documents.delete_version(ids[1])
    first.commit()
    ours(second, ids)
    theirs(first, ids)
    first.commit()
    before = store.dump()
    with pytest.raises((StaleVersion, StaleWrite)) as lost:
        second.commit()
    error: StorageError = lost.value
    assert error.retryable
    assert store.dump() == before
