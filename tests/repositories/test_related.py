"""``session.related``: what one read per record would give, in one statement for all of them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
from loki_storage.errors import InvalidField, InvalidValue, StorageFull
from loki_storage.models import (
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    Kind,
    Record,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.repositories.related import RELATIONSHIPS
from tests.programs import PRELUDE, perform, program, view
from tests.stores import Fault, new_tenant, unsteady

NAMES = [(kind, name) for kind, named in RELATIONSHIPS.items() for name in named]


def live(session: Session) -> dict[Kind, list[Any]]:
    """Rows that default reads show, by plain queries and Python."""
    tables: dict[Kind, list[Any]] = {}
    for row in view(session, session.tenant):
        tables.setdefault(type(row), []).append(row)
    documents = [row for row in tables.get(Document, []) if not row.is_deleted]
    ids = {row.id for row in documents}
    runs = [row for row in tables.get(Validation, []) if row.document_id in ids]
    corrections = [row for row in tables.get(Correction, []) if row.document_id in ids]
    kept = {
        Document: documents,
        Validation: runs,
        ValidationResult: within(tables, ValidationResult, "validation_id", runs),
        Correction: corrections,
        CorrectionHistory: within(tables, CorrectionHistory, "correction_id", corrections),
    }
    return {**tables, **kept}


def within(tables: dict[Kind, list[Any]], kind: Kind, field: str, parents: list[Any]) -> list[Any]:
    ids = {row.id for row in parents}
    return [row for row in tables.get(kind, []) if getattr(row, field) in ids]


def expected(rows: dict[Kind, list[Any]], record: Any, name: str) -> set[Record]:
    links = rows.get(DocumentTag, [])
    if name == "tags":
        ids = {link.tag_id for link in links if link.document_id == record.root_id}
        return {tag for tag in rows.get(Tag, []) if tag.id in ids}
    if name == "documents":
        roots = {link.document_id for link in links if link.tag_id == record.id}
        return {d for d in rows[Document] if d.root_id in roots and d.is_latest}
    to = RELATIONSHIPS[type(record)][name]
    return {
        row
        for row in rows.get(to.kind, [])
        if getattr(row, to.theirs) == getattr(record, to.ours)
        and getattr(record, to.ours) is not None
    }


@settings(max_examples=15)
@given(steps=program(20), committed=st.booleans())
def test_relationship_is_what_one_read_per_record_gives(
    store: Storage, steps: list[Any], committed: bool
) -> None:
    with store.session(tenant=new_tenant()) as session:
        for step in [*PRELUDE, ("add_tag", 0, 1), ("append", 0, 1), *steps]:
            perform(session, step)
        if committed:
            session.commit()
        everything: dict[Kind, list[Any]] = {}
        for row in view(session, session.tenant):
            everything.setdefault(type(row), []).append(row)
        rows = live(session)
        for kind, name in NAMES:
            given_records = everything.get(kind, [])
            found = session.related(given_records, name)
            assert {id: set(records) for id, records in found.items()} == {
                record.id: expected(rows, record, name) for record in given_records
            }, name


def test_lists_have_the_order_of_their_reads(store: Storage) -> None:
    with store.session(tenant=new_tenant()) as session:
        first = session.documents.create_document("1", "email", "a", tags=["b", "a", "c"])
        second = session.documents.create_version(first.id, "2")
        runs = [session.validations.create_validation(second.id, ["m"], "a") for _ in range(3)]
    found = session.related([second], "validations")[second.id]
    assert found == session.validations.get_by_document(second.id, versions="this")
    assert [run.id for run in found] == [run.id for run in reversed(runs)]
    assert session.related([first], "tags")[first.id] == session.documents.tags_of(first.id)
    history = session.related([second], "versions")[second.id]
    assert history == session.documents.get_version_history(first.id)
    assert session.related([second], "parent")[second.id] == history[:1]
    trail = session.related([first], "audit_trails")[first.id]
    assert trail == session.audit.get_by_document(second.id)


def test_deleted_ones_are_there_on_request(store: Storage) -> None:
    with store.session(tenant=new_tenant()) as session:
        document = session.documents.create_document("1", "email", "a", tags=["b"])
        run = session.validations.create_validation(document.id, ["m"], "a")
        tag = session.tags.get_by_name("b")
        assert tag is not None
        document = session.documents.delete(document.id)
    assert session.related([document], "validations") == {document.id: []}
    assert session.related([document], "validations", include_deleted=True) == {document.id: [run]}
    assert session.related([run], "document") == {run.id: []}
    assert session.related([run], "document", include_deleted=True) == {run.id: [document]}
    assert session.related([tag], "documents") == {tag.id: []}
    assert session.related([tag], "documents", include_deleted=True) == {tag.id: [document]}


def test_of_nothing_is_nothing(store: Storage) -> None:
    assert store.session(tenant=new_tenant()).related([], "results") == {}


@pytest.mark.parametrize(
    ("records", "name", "error"),
    [
        (["x"], "tags", InvalidValue),
        ("x", "tags", InvalidValue),
        (5, "tags", InvalidValue),
        (None, "tags", InvalidValue),
    ],
)
def test_what_are_no_records_is_refused(
    store: Storage, records: Any, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.session(tenant=new_tenant()).related(records, name)


def test_unknown_relationship_is_refused(store: Storage) -> None:
    with store.session(tenant=new_tenant()) as session:
        document = session.documents.create_document("1", "email", "a")
        tag = session.tags.create("b")
        with pytest.raises(InvalidField, match="did you mean 'validations'"):
            session.related([document], "validation")
        for name in (None, 5, ["tags"]):
            with pytest.raises(InvalidField):
                session.related([document], name)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue):
            session.related([document, tag], "tags")


def test_record_of_another_tenant_has_nothing_here(store: Storage) -> None:
    with store.session(tenant=new_tenant()) as session:
        document = session.documents.create_document("1", "email", "a", tags=["b"])
        session.validations.create_validation(document.id, ["m"], "a")
    other = store.session(tenant=new_tenant())
    for name in RELATIONSHIPS[Document]:
        assert other.related([document], name) == {document.id: []}


def test_reading_is_audited_first(store: Storage) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        document = session.documents.create_document("1", "email", "a", tags=["b"])
    store.session(tenant=tenant, audit_reads=True).related([document], "tags")
    (entry,) = store.session(tenant=tenant).audit.get_by_action("read")
    assert entry.entity_type == "tag"
    backend, storage = unsteady(store)
    backend.fail(Fault(StorageFull("full")))
    with pytest.raises(StorageFull):
        storage.session(tenant=tenant, audit_reads=True).related([document], "versions")


READS: dict[str, Callable[[Session, int], object]] = {
    "get_with_validations": lambda s, id: s.documents.get_with_validations(id),
    "diff": lambda s, id: s.documents.diff(id, id),
    "search": lambda s, id: s.documents.search("1"),
    "get_by_tenant": lambda s, id: s.documents.get_by_tenant(s.tenant),
    "get_by_risk_level": lambda s, id: s.validations.get_by_risk_level("high"),
    "search_results": lambda s, id: s.validations.search_results("1"),
    "audit.search": lambda s, id: s.audit.search(entity_type="document"),
    "audit.get_recent": lambda s, id: s.audit.get_recent(),
    "documents.get_statistics": lambda s, id: s.documents.get_statistics(),
}


@pytest.mark.parametrize("name", READS)
def test_new_reads_are_audited_once(store: Storage, name: str) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        document = session.documents.create_document("1", "email", "a")
    READS[name](store.session(tenant=tenant, audit_reads=True), document.id)
    assert store.session(tenant=tenant).audit.count(action="read") == 1
