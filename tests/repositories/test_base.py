"""AUD-4: audited reads; sessions that may not write."""

from collections.abc import Callable

import pytest

from loki_storage import Query, Session, Storage
from loki_storage.errors import (
    InvalidValue,
    ReadOnly,
    StorageFull,
)
from loki_storage.models import Document
from tests.programs import entries, view
from tests.stores import Fault, new_tenant, unsteady

Begin = Callable[..., Session]


READS: dict[str, Callable[[Session, Document], object]] = {
    "documents.get_by_id": lambda s, d: s.documents.get_by_id(d.id),
    "documents.get_all": lambda s, d: s.documents.get_all(),
    "documents.filter_by": lambda s, d: s.documents.filter_by(client_id="a"),
    "documents.get_by_hash": lambda s, d: s.documents.get_by_hash(d.content_hash, "a"),
    "documents.get_latest_version": lambda s, d: s.documents.get_latest_version(d.id),
    "documents.get_version_history": lambda s, d: s.documents.get_version_history(d.id),
    "documents.get_as_of": lambda s, d: s.documents.get_as_of(d.id, d.created_at),
    "documents.get_by_client": lambda s, d: s.documents.get_by_client("a"),
    "documents.tags_of": lambda s, d: s.documents.tags_of(d.id),
    "documents.verify": lambda s, d: s.documents.verify(d.id),
    "validations.get_recent": lambda s, d: s.validations.get_recent(),
    "validations.get_by_document": lambda s, d: s.validations.get_by_document(d.id),
    "validations.get_results": lambda s, d: s.validations.get_results(1),
    "validations.get_with_results": lambda s, d: s.validations.get_with_results(1),
    "corrections.get_by_document": lambda s, d: s.corrections.get_by_document(d.id),
    "corrections.get_by_validation": lambda s, d: s.corrections.get_by_validation(1),
    "corrections.get_pending": lambda s, d: s.corrections.get_pending(),
    "corrections.get_history": lambda s, d: s.corrections.get_history(1),
    "audit.get_by_document": lambda s, d: s.audit.get_by_document(d.id),
    "audit.get_by_actor": lambda s, d: s.audit.get_by_actor("alice"),
    "tags.get_by_name": lambda s, d: s.tags.get_by_name("urgent"),
    "tags.list_with_counts": lambda s, d: s.tags.list_with_counts(),
}


@pytest.fixture(scope="module")
def read_document(store: Storage) -> Document:
    with store.session(tenant=new_tenant()) as session:
        return session.documents.create_document("text", "email", "a", tags=["urgent"])


@pytest.mark.parametrize("name", READS)
def test_read_is_audited_once_before_anything_is_handed_out(
    store: Storage, read_document: Document, name: str
) -> None:
    tenant = read_document.tenant_id
    before = entries(view(store.backend, tenant))
    session = store.session(tenant=tenant, audit_reads=True, actor="alice")
    READS[name](session, read_document)
    (entry,) = entries(view(store.backend, tenant)) - before
    assert (entry.action, entry.actor_id) == ("read", "alice")
    assert Query.from_json(entry.metadata_json["query"]).tenant == tenant
    assert entry.changes is None


@pytest.mark.parametrize("name", READS)
def test_read_that_cannot_be_audited_fails(
    store: Storage, read_document: Document, name: str
) -> None:
    backend, storage = unsteady(store)
    backend.fail(*[Fault(StorageFull("full"))] * 9)
    session = storage.session(tenant=read_document.tenant_id, audit_reads=True)
    with pytest.raises(StorageFull):
        READS[name](session, read_document)


def test_audited_read_tells_the_ids_and_commits_nothing_else(begin: Begin) -> None:
    with begin() as session:
        made = [session.documents.create_document(f"{n}", "email", "a") for n in range(3)]
    session = begin(audit_reads=True)
    session.documents.update(made[0].id, title="pending")
    session.documents.get_all()
    (entry,) = begin().audit.get_by_action("read")
    told = {id for first, last in entry.metadata_json["ids"] for id in range(first, last + 1)}
    assert told == {document.id for document in made}
    assert entry.entity_type == "document"
    assert session.pending
    assert begin().documents.filter_by(title="pending") == []


def test_rules_own_reads_are_not_audited(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("text", "email", "a")
    with begin(audit_reads=True) as session:
        session.documents.add_tag(document.id, "urgent")
        session.documents.remove_tag(document.id, "urgent")
        session.documents.create_document("more", "email", "a", tags=["x"])
        tag = session.tags.create("y")
        session.tags.update(tag.id, color="#00ff00")
        session.tags.delete(tag.id)
        session.documents.update(document.id, title="new")
        session.documents.delete(document.id)
    begin(audit_reads=True).documents.purge([document.id])
    assert begin().audit.get_by_action("read") == []


def test_reads_are_not_audited_unless_asked(begin: Begin) -> None:
    begin().documents.get_all()
    assert begin().audit.count() == 0


WRITES: dict[str, Callable[[Session, Document], object]] = {
    "create": lambda s, d: s.documents.create_document("new", "email", "a"),
    "version": lambda s, d: s.documents.create_version(d.id, "new"),
    "update": lambda s, d: s.documents.update(d.id, title="new"),
    "delete": lambda s, d: s.documents.delete(d.id),
    "add_tag": lambda s, d: s.documents.add_tag(d.id, "new"),
    "create_tag": lambda s, d: s.tags.create("new"),
    "validate": lambda s, d: s.validations.create_validation(d.id, ["m"], "a"),
    "correct": lambda s, d: s.corrections.create_correction(d.id, "rewrite", "a"),
    "log": lambda s, d: s.audit.log("seen", "document"),
}


@pytest.mark.parametrize("name", WRITES)
def test_read_only_session_writes_nothing(
    store: Storage, read_document: Document, name: str
) -> None:
    backend, storage = unsteady(store)
    with storage.session(tenant=read_document.tenant_id, read_only=True) as session:
        with pytest.raises(ReadOnly):
            WRITES[name](session, read_document)
        assert session.documents.get_by_id(read_document.id) == read_document
    assert backend.batches == []


def test_read_only_session_purges_nothing(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("text", "email", "a")
        session.documents.delete(document.id)
    with pytest.raises(ReadOnly):
        begin(read_only=True).documents.purge([document.id])


def test_audited_reads_need_a_session_that_may_write(store: Storage) -> None:
    with pytest.raises(InvalidValue, match="audit_reads"):
        store.session(read_only=True, audit_reads=True)
