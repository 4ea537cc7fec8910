"""Every read of a tenant's documents, compared with the model."""

from datetime import datetime, timedelta
from typing import Any

from loki_storage import models
from loki_storage.query import Order, Query
from loki_storage.storage import Session
from loki_storage_contract.model import Document, Version, World

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
            assert record.updated_at >= max(now, before.updated.get(id, now))
    return after.seen({id: record.updated_at for id, record in found.items()})


def same(record: models.Document, row: dict[str, Any]) -> None:
    assert {field: getattr(record, field) for field in row} == row


def show(session: Session, world: World, turn: int, now: datetime) -> None:
    """The session shows what the model says.

    Every row is compared. The other reads take turns (there are many): half of them at a time, of
    the document that changed last and of one more, with another member standing for it each time.
    """
    rows = world.rows
    for record in stored_rows(session):
        same(record, rows[record.id])
        assert record.updated_at == world.updated[record.id]
    for read in _LISTS[turn % 2 :: 2]:
        read(session, world)
    roots = list(world.documents)
    last = {id for kind, id in world.audited[-1:] if kind == "document" and id in world.documents}
    for root in last | set(roots[turn % len(roots) :][:1] if roots else ()):
        document = world.documents[root]
        member = document.versions[turn // 2 % len(document.versions)]
        for read_one in _READS[turn % 2 :: 2]:
            read_one(session, document, member)
        _as_of(
            session, world, member, (now, member.created_at, member.created_at - _TICK)[turn % 3]
        )


def _heads(world: World) -> list[tuple[str, int]]:
    """Client and id of each live head, newest first."""
    heads = sorted(world.heads, key=lambda pair: (pair[1].created_at, pair[1].id), reverse=True)
    return [(document.client_id, head.id) for document, head in heads]


def _all_heads(session: Session, world: World) -> None:
    found = [record.id for record in session.documents.get_all()]
    assert found == [id for _, id in _heads(world)]


def _heads_of_clients(session: Session, world: World) -> None:
    for client in {document.client_id for document in world.documents.values()}:
        found = [record.id for record in session.documents.get_by_client(client)]
        assert found == [id for owner, id in _heads(world) if owner == client]


def _counts(session: Session, world: World) -> None:
    live = [version for document in world.documents.values() for version in document.live]
    assert session.documents.count() == len(_heads(world))
    assert session.documents.count(versions="all") == len(live)


def _heads_by_hash(session: Session, world: World) -> None:
    for document, head in world.heads:
        found = session.documents.get_by_hash(
            document.row(head)["content_hash"], document.client_id
        )
        assert found is not None
        assert found.id in world.same_text(document.client_id, head.content)


_LISTS = (_all_heads, _heads_of_clients, _counts, _heads_by_hash)


def _by_id(session: Session, document: Document, member: Version) -> None:
    """A deleted version is shown only on request (DEL-2)."""
    found = session.documents.get_by_id(member.id)
    assert (found is not None) == (member.deleted_at is None)
    assert _id(session.documents.get_by_id(member.id, include_deleted=True)) == member.id


def _exists(session: Session, document: Document, member: Version) -> None:
    assert session.documents.exists(member.id) == (member.deleted_at is None)


def _latest(session: Session, document: Document, member: Version) -> None:
    assert _id(session.documents.get_latest_version(member.id)) == _id(document.head)


def _history(session: Session, document: Document, member: Version) -> None:
    found = session.documents.get_version_history(member.id)
    assert [record.id for record in found] == [version.id for version in document.live]


def _whole_history(session: Session, document: Document, member: Version) -> None:
    found = session.documents.get_version_history(member.id, include_deleted=True)
    assert [record.id for record in found] == [version.id for version in document.versions]


def _tags(session: Session, document: Document, member: Version) -> None:
    assert {tag.name for tag in session.documents.tags_of(member.id)} == document.tags


_READS = (_by_id, _latest, _history, _exists, _whole_history, _tags)


def _as_of(session: Session, world: World, member: Version, time: datetime) -> None:
    for deleted in (False, True):
        found = session.documents.get_as_of(member.id, time, include_deleted=deleted)
        assert _id(found) == _id(world.as_of(member.id, time, include_deleted=deleted))


def _id(found: Any) -> int | None:
    return None if found is None else int(found.id)


def hide(session: Session, id: int) -> None:
    """An id that the tenant must not know is read as if nobody had it (TEN-1)."""
    documents = session.documents
    assert documents.get_by_id(id, include_deleted=True) is None
    assert documents.get_latest_version(id) is None
    assert documents.get_version_history(id, include_deleted=True) == []
    assert documents.tags_of(id) == []
    assert not documents.exists(id)
