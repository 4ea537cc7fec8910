"""AUD, TAG, TEN: what the trail tells, labels, and tenants that know nothing of each other."""

from collections.abc import Callable
from typing import Any

import pytest

from loki_storage.errors import Duplicate, DuplicateDocument, NotFound, StorageError
from loki_storage.models import AuditEntry, DocumentTag, Record, Tag
from loki_storage.query import And, Condition, InQuery, Not, Or, Query
from loki_storage.rules.change import Actor
from loki_storage.storage import Session
from loki_storage_contract.faults import Recorder
from loki_storage_contract.histories import CLIENT, TENANT, Call, histories, play, session_of
from loki_storage_contract.races import outcome
from loki_storage_contract.registry import proves
from loki_storage_contract.scripts import SECRET, write_everything
from loki_storage_contract.store import Store
from loki_storage_contract.trail import entries_of, explains

History = list[Call]
SHARE = 0.5


@proves("AUD-1", share=SHARE, history=histories)
def each_operation_that_changes_something_is_told_once(store: Store, history: History) -> None:
    """One entry per changed document, none for what changes nothing or fails."""
    for moment in play(store, history):
        if moment.call.operation != "rollback":
            assert moment.told == moment.changed


@proves("AUD-1")
def an_entry_says_who_what_and_when(store: Store) -> None:
    """The session's actor and request, the chain's root, the client."""
    actor = Actor("alice", "api", ip_address="::1", user_agent="a/1", request_id="r")
    with store.storage().session(actor=actor, tenant=TENANT) as session:
        document = session.documents.create_document("one", "email", CLIENT)
        version = session.documents.create_version(document.id, "two")
        session.tags.create("x")
    created, appended, tag = store.all(AuditEntry)
    for entry in (created, appended):
        assert (entry.entity_type, entry.entity_id) == ("document", document.id)
        assert (entry.document_id, entry.client_id) == (document.id, CLIENT)
    for entry in (created, appended, tag):
        assert (entry.actor_id, entry.actor_type, entry.ip_address) == ("alice", "api", "::1")
        assert (entry.user_agent, entry.request_id) == ("a/1", "r")
        assert (entry.timestamp, entry.tenant_id) == (store.clock.now, TENANT)
    assert (tag.client_id, tag.document_id) == ("-", None)
    told = {row["op"]: row["ids"] for row in appended.changes["rows"]}
    assert told == {"insert": [[version.id] * 2], "update": [[document.id] * 2]}


@proves("AUD-1")
def without_an_actor_it_is_the_system(store: Store) -> None:
    """``Actor("system", type="system")``."""
    with store.storage().session() as session:
        session.tags.create("x")
    (entry,) = store.all(AuditEntry)
    assert (entry.actor_id, entry.actor_type) == ("system", "system")


@proves("AUD-1")
def long_text_and_evidence_are_told_by_hash(store: Store) -> None:
    """Content, corrected content, diffs, evidence and tracebacks are in no entry."""
    session = session_of(store)
    for _ in write_everything(session):
        session.commit()
    for entry in store.all(AuditEntry):
        assert SECRET not in str(entry.stored("changes")), entry.action
        assert SECRET not in str(entry.stored("metadata_json")), entry.action


@proves("AUD-2", share=SHARE, history=histories)
def the_entries_explain_every_change(store: Store, history: History) -> None:
    """Composed, the entries of a history are the difference between two dumps."""
    before = store.dump()
    moments = list(play(store, history))
    moments[-1].session.commit()
    after = store.dump()
    explains(entries_of(before, after), before, after)


@proves("AUD-2", "TXN-1")
def whatever_the_api_writes_is_explained(store: Store) -> None:
    """Each commit by itself, and all of them together."""
    session, first = session_of(store), store.dump()
    before = first
    for name in write_everything(session):
        session.commit()
        after = store.dump()
        assert entries_of(before, after), name
        explains(entries_of(before, after), before, after)
        before = after
    explains(entries_of(first, before), first, before)


@proves("AUD-2")
def entries_compose_whatever_their_ids(store: Store) -> None:
    """A session may hold an older id than another one that commits first."""
    first, second = session_of(store), session_of(store)
    document = first.documents.create_document("one", "email", CLIENT)
    first.commit()
    before = store.dump()
    with pytest.raises(DuplicateDocument):
        first.documents.create_document("one", "email", CLIENT)
    for session, title in ((second, "second"), (first, "first")):
        session.documents.update(document.id, title=title)
        session.commit()
    after = store.dump()
    explains(entries_of(before, after), before, after)


@proves("AUD-2")
def an_operation_that_changes_nothing_writes_nothing(store: Store) -> None:
    """No batch reaches the backend."""
    with session_of(store) as session:
        document = session.documents.create_document("one", "email", CLIENT, tags=["x"])
    recorder = Recorder(store.backend)
    with store.storage(recorder).session(tenant=TENANT) as session:
        session.documents.update(document.id, title=None)
        session.documents.restore(document.id)
        session.documents.restore_version(document.id)
        session.documents.add_tag(document.id, "x")
        session.documents.remove_tag(document.id, "y")
        session.documents.create_document("one", "email", CLIENT, on_duplicate="return")
    assert recorder.batches == []


@proves("AUD-3", share=SHARE, history=histories)
def entries_are_never_changed(store: Store, history: History) -> None:
    """What was told stays as it was told."""
    seen: dict[int, Record] = {}
    for moment in play(store, history):
        if moment.call.operation == "commit":
            entries = {entry.id: entry for entry in store.all(AuditEntry)}
            assert seen.items() <= entries.items()
            seen = dict(entries)


@proves("TAG-1")
def a_name_is_one_tag_of_a_tenant(store: Store) -> None:
    """By code point; another tenant has its own."""
    storage, names = store.storage(), ["a", "A", "é", "e\u0301", " a"]
    for tenant in ("t1", "t2"):
        with storage.session(tenant=tenant) as session:
            for name in names:
                session.tags.create(name)
            with pytest.raises(Duplicate):
                session.tags.create("a")
    assert sorted(tag.name for tag in store.all(Tag, "t2")) == sorted(names)


@proves("TAG-1", "TXN-7")
def tags_created_by_name_at_once_are_one(store: Store) -> None:
    """Who commits second joins the first one's tag, and finds its link there already."""
    session = session_of(store)
    ids = [session.documents.create_document(text, "email", CLIENT).id for text in ("a", "b")]
    session.commit()
    for mine, theirs in ((ids[0], ids[1]), (ids[0], ids[0])):
        name = f"{mine} and {theirs}"
        first, second = session_of(store), session_of(store)
        second.documents.add_tag(mine, name)
        first.documents.add_tag(theirs, name)
        before = store.dump()
        first.commit()
        second.commit()
        (tag,) = [tag for tag in store.all(Tag) if tag.name == name]
        links = {link.document_id for link in store.all(DocumentTag) if link.tag_id == tag.id}
        assert links == {mine, theirs}
        explains(entries_of(before, store.dump()), before, store.dump())


@proves("TAG-1", "DEL-5", "TXN-7")
def a_tag_on_a_document_that_goes_meanwhile(store: Store) -> None:
    """Is refused as one on a deleted document, at commit."""
    first, second = session_of(store), session_of(store)
    document = first.documents.create_document("one", "email", CLIENT)
    first.commit()
    second.documents.add_tag(document.id, "x")
    first.documents.delete(document.id)
    first.commit()
    with pytest.raises(NotFound):
        second.commit()
    assert store.all(Tag) == []


@proves("TXN-7", "TXN-4")
def another_documents_race_is_not_a_missing_document(store: Store) -> None:
    """A document of this unit of work is not taken for one that somebody deleted."""
    first, second = session_of(store), session_of(store)
    other = first.documents.create_document("other", "email", CLIENT)
    first.commit()
    new = second.documents.create_document("new", "email", CLIENT)
    second.documents.add_tag(new.id, "x")
    second.validations.create_validation(new.id, ["m"], CLIENT)
    second.documents.update(other.id, title="ours")
    first.documents.update(other.id, title="theirs")
    first.commit()
    with pytest.raises(StorageError) as lost:
        second.commit()
    assert lost.value.retryable


@proves("TAG-2")
def a_tag_is_the_documents(store: Store) -> None:
    """Every version shows it; it outlasts versions, delete and restore."""
    session = session_of(store)
    document = session.documents.create_document("one", "email", CLIENT, tags=["x"])
    version = session.documents.create_version(document.id, "two")
    session.documents.delete_version(version.id)
    session.documents.delete(document.id)
    session.documents.restore(document.id)
    session.commit()
    for id in (document.id, version.id):
        assert [tag.name for tag in session.documents.tags_of(id)] == ["x"]


@proves("TAG-2")
def a_deleted_tag_takes_its_links_along(store: Store) -> None:
    """In one batch."""
    with session_of(store) as session:
        document = session.documents.create_document("one", "email", CLIENT, tags=["x", "y"])
    recorder = Recorder(store.backend)
    with store.storage(recorder).session(tenant=TENANT) as session:
        tag = session.tags.get_by_name("x")
        assert tag is not None
        session.tags.delete(tag.id)
    assert len(recorder.batches) == 1
    assert [tag.name for tag in session.documents.tags_of(document.id)] == ["y"]
    assert len(store.all(DocumentTag)) == 1


BY_ID: list[Callable[[Session, int], object]] = [
    lambda session, id: session.documents.get_by_id(id, include_deleted=True),
    lambda session, id: session.documents.exists(id),
    lambda session, id: session.documents.get_latest_version(id),
    lambda session, id: session.documents.get_version_history(id, include_deleted=True),
    lambda session, id: session.documents.get_as_of(id, session.now()),
    lambda session, id: session.documents.tags_of(id),
    lambda session, id: session.documents.verify(id),
    lambda session, id: session.documents.create_version(id, "new"),
    lambda session, id: session.documents.update(id, title="new"),
    lambda session, id: session.documents.revert_to(id),
    lambda session, id: session.documents.delete(id),
    lambda session, id: session.documents.delete_version(id),
    lambda session, id: session.documents.restore(id),
    lambda session, id: session.documents.restore_version(id),
    lambda session, id: session.documents.purge([id]),
    lambda session, id: session.documents.add_tag(id, "x"),
    lambda session, id: session.documents.remove_tag(id, "x"),
    lambda session, id: session.tags.get(id),
    lambda session, id: session.tags.update(id, name="new"),
    lambda session, id: session.tags.delete(id),
    lambda session, id: session.validations.get_by_id(id),
    lambda session, id: session.validations.get_with_results(id),
    lambda session, id: session.validations.get_by_document(id),
    lambda session, id: session.validations.create_validation(id, ["m"], CLIENT),
    lambda session, id: session.validations.start_validation(id),
    lambda session, id: session.validations.add_result(id, "module", "m.g", "pass"),
    lambda session, id: session.validations.complete_validation(id),
    lambda session, id: session.validations.fail_validation(id, "broken"),
    lambda session, id: session.validations.cancel_validation(id),
    lambda session, id: session.corrections.get_by_id(id),
    lambda session, id: session.corrections.get_history(id),
    lambda session, id: session.corrections.get_by_document(id),
    lambda session, id: session.corrections.get_by_validation(id),
    lambda session, id: session.corrections.create_correction(id, "rewrite", CLIENT),
    lambda session, id: session.corrections.apply_correction(id),
    lambda session, id: session.corrections.reject_correction(id),
    lambda session, id: session.corrections.revert_correction(id),
    lambda session, id: session.audit.get_by_document(id),
    lambda session, id: session.audit.get_by_validation(id),
    lambda session, id: session.audit.get_by_id(id),
    lambda session, id: session.get_intercept(id),
]
"""Every call that takes an id."""


@proves("TEN-1", "DUP-2")
def another_tenants_id_is_an_unknown_id(store: Store) -> None:
    """Every call answers both alike, but for the id itself, and writes nothing."""
    with store.storage().session(tenant="t2") as theirs:
        for _ in write_everything(theirs):
            pass
    foreign = {record.id for record in store.dump("t2") if not record.internal}
    before, unknown = store.dump(), 2**40
    for call in BY_ID:
        session = session_of(store)
        nobodys_told = told(session, call, unknown)
        for id in sorted(foreign):
            assert told(session, call, id) == nobodys_told
            assert not session.pending
    assert store.dump() == before


def told(session: Session, call: Callable[[Session, int], object], id: int) -> object:
    """What a call gives or raises, with its id blotted out."""
    result: Any = outcome(lambda: call(session, id))
    session.rollback()
    if isinstance(result, StorageError):
        return type(result), str(result).replace(str(id), "ID")
    return result


@proves("TEN-2")
def every_query_and_batch_carries_the_tenant(store: Store) -> None:
    """Those of ``InQuery`` too."""
    recorder = Recorder(store.backend)
    session = store.storage(recorder).session(tenant=TENANT)
    for _ in write_everything(session):
        session.commit()
    assert {batch.tenant for batch in recorder.batches} == {TENANT}
    assert {tenant for query in recorder.queries for tenant in _tenants(query)} == {TENANT}


def _tenants(query: Query) -> set[str | None]:
    return {query.tenant, *_tenants_in(query.where)}


def _tenants_in(condition: Condition) -> set[str | None]:
    match condition:
        case And(parts) | Or(parts):
            return {tenant for part in parts for tenant in _tenants_in(part)}
        case Not(inner):
            return _tenants_in(inner)
        case InQuery(query=query):
            return _tenants(query)
    return set()
