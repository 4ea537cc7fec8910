"""QRY-2, QRY-6, AUD-4: builders are values, what is not known is refused, reads can be audited."""

from collections.abc import Callable
from typing import Any

import pytest

from loki_storage.batch import Batch
from loki_storage.errors import ConnectionLost, InvalidField, InvalidValue, Unavailable
from loki_storage.models import AuditEntry, Document
from loki_storage.protocol import Backend
from loki_storage.query import Compare, Order, Query
from loki_storage.storage import Session
from loki_storage_contract.faults import Proxy
from loki_storage_contract.histories import CLIENT, TENANT, session_of
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, storage_over


def documents_of(store: Store) -> Session:
    """A session whose tenant has five documents."""
    session = session_of(store)
    for n in range(5):
        session.documents.create_document(f"text {n}", "email", CLIENT, title="ab"[n % 2])
    session.commit()
    return session


@proves("QRY-2")
def what_is_not_known_is_refused(store: Store) -> None:
    """Fields, operators, orders, filters and options; close names are suggested."""
    session = documents_of(store)
    query, documents = session.documents.query(), session.documents
    calls: list[Callable[[], object]] = [
        lambda: Query(Document, TENANT, Compare("titel", "eq", "a")),
        lambda: Query(Document, TENANT, Compare("title", "like", "a")),  # type: ignore[arg-type]
        lambda: Query(Document, TENANT, order=[Order("titel")]),
        lambda: query.equals("titel", "a"),
        lambda: query.filter_by(titel="a"),
        lambda: query.order_by("titel"),
        lambda: query.contains("titel", "a"),
        lambda: query.is_null("titel"),
        lambda: query.aggregate(by=["titel"]),
        lambda: documents.filter_by(titel="a"),
        lambda: documents.count(titel="a"),
        lambda: documents.get_all(order_by="titel"),
        lambda: session.audit.filter_by(actionn="create"),
    ]
    for call in calls:
        with pytest.raises(InvalidField):
            call()
    with pytest.raises(InvalidField, match="title"):
        query.equals("titel", "a")


@proves("QRY-2", "QRY-1")
def what_has_no_order_is_not_ordered_by(store: Store) -> None:
    """Content, JSON and booleans."""
    query = documents_of(store).documents.query()
    for field in ("content", "metadata_json", "is_latest"):
        with pytest.raises(InvalidField):
            query.order_by(field)


@proves("QRY-6")
def a_builder_is_a_value(store: Store) -> None:
    """Each step gives a new one; those before stay, and each answers the same again."""
    session = documents_of(store)
    start = session.documents.query()
    steps: list[Callable[[Any], Any]] = [
        lambda query: query.equals("title", "a"),
        lambda query: query.order_by("id"),
        lambda query: query.contains("content", "text"),
        lambda query: query.limit(2),
        lambda query: query.not_deleted(),
        lambda query: query.offset(1),
    ]
    builders = [start]
    for step in steps:
        before = [builder.build() for builder in builders]
        builders.append(step(builders[-1]))
        assert builders[-1] is not builders[-2]
        assert [builder.build() for builder in builders[:-1]] == before
    answers = [[row.id for row in builder.all()] for builder in builders]
    assert [[row.id for row in builder.all()] for builder in builders] == answers
    assert [len(ids) for ids in answers] == [5, 3, 3, 3, 2, 2, 2]


@proves("AUD-4")
def each_audited_call_is_told(store: Store) -> None:
    """One entry per call, with the ids; none where it was not asked for."""
    made = documents_of(store)
    ids = sorted(row.id for row in made.documents.get_all())
    session = store.storage().session(actor="bob", tenant=TENANT, audit_reads=True)
    made.documents.get_by_id(ids[0])
    assert told(store) == []
    session.documents.get_by_id(ids[0])
    assert told(store) == [[ids[0]]]
    session.documents.query().order_by("id").limit(2).all()
    session.documents.get_all()
    assert told(store) == [[ids[0]], ids[:2], ids]
    entries = [entry for entry in store.all(AuditEntry) if entry.action == "read"]
    assert {entry.actor_id for entry in entries} == {"bob"}


def told(store: Store) -> list[list[int]]:
    """The ids that each audited read tells."""
    entries = sorted(store.all(AuditEntry), key=lambda entry: entry.id)
    metadata: list[Any] = [entry.metadata_json for entry in entries if entry.action == "read"]
    return [
        [id for first, last in data["ids"] for id in range(first, last + 1)] for data in metadata
    ]


class Unwritable(Proxy):
    """Reads, and loses every batch."""

    def apply(self, batch: Batch) -> None:
        raise ConnectionLost("lost while writing")


@proves("AUD-4")
def what_cannot_be_told_is_not_read(store: Store) -> None:
    """The read fails before its first record is handed out."""
    documents_of(store)
    unwritable: Backend = Unwritable(store.backend)
    storage = storage_over(unwritable, store.clock)
    session = storage.session(tenant=TENANT, audit_reads=True, timeout=0.2)
    for read in (session.documents.get_all, session.documents.query().all):
        with pytest.raises(Unavailable):
            read()
    assert told(store) == []


@proves("AUD-4")
def audited_reads_need_a_session_that_writes(store: Store) -> None:
    """Not with ``read_only``."""
    with pytest.raises(InvalidValue):
        store.storage().session(tenant=TENANT, audit_reads=True, read_only=True)
