"""Every read of a tenant's documents, compared with the model."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from loki_storage import models
from loki_storage.query import Order, Query
from loki_storage.storage import Session
from loki_storage_contract.model import Document, World

__all__ = ["hide", "moved", "show"]

_TICK = timedelta(microseconds=1)


def stored_rows(session: Session) -> list[models.Document]:
    """Every version that the session sees, live or deleted, by id."""
    return list(session.select(Query(models.Document, session.tenant, order=[Order("id")])))


def moved(session: Session, before: World, after: World, now: datetime) -> World:
    """Compare the rows after an operation; ``updated_at`` moves where a row changed (VER-10)."""
    found = {record.id: record for record in stored_rows(session)}
    old, new = before.rows, after.rows
    assert found.keys() == new.keys()
    for id, record in found.items():
        same(record, new[id])
        if old.get(id) == new[id]:
            assert record.updated_at == before.updated[id], "it moved on a row that did not change"
        else:
            assert record.updated_at >= now
    return after.seen({id: record.updated_at for id, record in found.items()})


def same(record: models.Document, row: dict[str, Any]) -> None:
    assert {field: getattr(record, field) for field in row} == row


def show(session: Session, world: World, turn: int, now: datetime) -> None:
    """The session shows what the model says; ``turn`` chooses which member stands for a chain."""
    rows = world.rows
    for record in stored_rows(session):
        same(record, rows[record.id])
        assert record.updated_at == world.updated[record.id]
    _lists(session, world)
    for document in world.documents.values():
        _one_document(session, world, document, turn, now)


def _lists(session: Session, world: World) -> None:
    """Default reads show live heads, newest first (DEL-2)."""
    documents = session.documents
    heads = sorted(world.heads, key=lambda pair: (pair[1].created_at, pair[1].id), reverse=True)
    ids = [head.id for _, head in heads]
    assert [record.id for record in documents.get_all()] == ids
    assert documents.count() == len(ids)
    live = [version.id for d in world.documents.values() for version in d.live]
    assert documents.count(versions="all") == len(live)
    for client in {document.client_id for document in world.documents.values()}:
        mine = [head.id for document, head in heads if document.client_id == client]
        assert [record.id for record in documents.get_by_client(client)] == mine


def _one_document(
    session: Session, world: World, document: Document, turn: int, now: datetime
) -> None:
    documents, head = session.documents, document.head
    member = document.versions[turn % len(document.versions)]
    by_id = documents.get_by_id(member.id)
    assert (by_id is not None) == (member.deleted_at is None) == documents.exists(member.id)
    assert getattr(documents.get_by_id(member.id, include_deleted=True), "id", None) == member.id
    latest = documents.get_latest_version(member.id)
    assert getattr(latest, "id", None) == (head.id if head else None)
    history = documents.get_version_history(member.id)
    assert [record.id for record in history] == [version.id for version in document.live]
    everything = documents.get_version_history(member.id, include_deleted=True)
    assert [record.id for record in everything] == [v.id for v in document.versions]
    assert {tag.name for tag in documents.tags_of(member.id)} == document.tags
    for time in (now, member.created_at, member.created_at - _TICK):
        then, expected = documents.get_as_of(member.id, time), world.as_of(member.id, time)
        assert getattr(then, "id", None) == (expected.id if expected else None)


def hide(session: Session, ids: Iterable[int]) -> None:
    """Ids that the tenant must not know are read as if nobody had them (TEN-1)."""
    documents = session.documents
    for id in ids:
        assert documents.get_by_id(id, include_deleted=True) is None
        assert documents.get_latest_version(id) is None
        assert documents.get_version_history(id, include_deleted=True) == []
        assert documents.tags_of(id) == []
        assert not documents.exists(id)
