"""Races lost at commit, told in the words of the rule that lost (TXN-7).

Which of several failing rows a backend names is free (BAT-4). So each of these reads again what its
rule had read, and answers only where another writer has changed that. They run after the commit
failed, when nothing is pending: the session's view is the store.
"""

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from loki_storage.batch import Batch, Insert, Operation, holds
from loki_storage.enums import EntityType
from loki_storage.errors import (
    Conflict,
    Duplicate,
    DuplicateDocument,
    NotFound,
    StaleVersion,
    StaleWrite,
)
from loki_storage.models import (
    AuditEntry,
    Chain,
    Document,
    DocumentTag,
    Kind,
    Record,
    Tag,
    Validation,
)
from loki_storage.query import Condition, equals
from loki_storage.unit_of_work import Lost, UnitOfWork

__all__ = [
    "deleted_document",
    "deleted_version",
    "duplicate_document",
    "known_request",
    "link_there",
    "stale_version",
    "tag_there",
]


def duplicate_document(find: Callable[[], Document | None]) -> Lost:
    """``DuplicateDocument`` that names what ``find`` finds: the document with the same text."""

    def lost(error: Conflict, batch: Batch) -> DuplicateDocument | None:
        existing = find() if _duplicate(error, Chain) else None
        return None if existing is None else DuplicateDocument(existing.id)

    return lost


def stale_version(session: UnitOfWork, built_on: Document) -> Lost:
    """``StaleVersion`` where the head that this was built on is not the head any more."""

    def lost(error: Conflict, batch: Batch) -> StaleVersion | None:
        root_id = built_on.root_id
        heads = session.query(Document, equals(root_id=root_id, is_latest=True))
        chains, found = session.select_many([session.query(Chain, equals(id=root_id)), heads])
        if not _overtaken(chains, batch, root_id):
            return None
        head = found[0] if found else None
        if head is not None and head.id == built_on.id:
            return None
        return StaleVersion(built_on.id, None if head is None else head.id, root_id)

    return lost


def deleted_document(session: UnitOfWork, id: int, root_id: int) -> Lost:
    """``NotFound`` where the document was deleted."""

    def lost(error: Conflict, batch: Batch) -> NotFound | None:
        if _creates(batch, Chain, root_id):
            return None
        chain = session.get(Chain, root_id)
        return NotFound("document", id) if chain is None or not chain.live else None

    return lost


def deleted_version(session: UnitOfWork, id: int) -> Lost:
    """``NotFound`` where the document version was deleted."""

    def lost(error: Conflict, batch: Batch) -> NotFound | None:
        if _creates(batch, Document, id):
            return None
        version = session.get(Document, id)
        return NotFound("document", id) if version is None or version.is_deleted else None

    return lost


def known_request(session: UnitOfWork, validation: Validation) -> Lost:
    """``StaleWrite`` where another writer stored the request: run again, it is replayed (VLD-4)."""

    def lost(error: Conflict, batch: Batch) -> StaleWrite | None:
        known = _duplicate(error, Validation)
        return StaleWrite(Validation.table, validation.id) if known else None

    return lost


def tag_there(session: UnitOfWork, tag: Tag) -> Lost:
    """Where another writer created the name first, the links go to that tag."""

    def lost(error: Conflict, batch: Batch) -> Batch | None:
        if not _duplicate(error, Tag) or Insert(tag) not in batch.operations:
            return None
        winner = _first(session, Tag, equals(name=tag.name))
        return None if winner is None else _relinked(batch, tag.id, winner.id)

    return lost


def link_there(session: UnitOfWork, link: DocumentTag) -> Lost:
    """Where another writer put the tag on the document first, there is nothing left to do."""

    def lost(error: Conflict, batch: Batch) -> Batch | None:
        links = (op.record for op in batch.operations if isinstance(op, Insert))
        mine: Any = next((row for row in links if _is(row, link)), None)
        if mine is None or not _duplicate(error, DocumentTag):
            return None
        same = equals(document_id=mine.document_id, tag_id=mine.tag_id)
        return None if _first(session, DocumentTag, same) is None else _unlinked(batch, mine)

    return lost


def _duplicate(error: Conflict, kind: type[Record]) -> bool:
    return isinstance(error, Duplicate) and error.kind == kind.table


def _first(session: UnitOfWork, kind: type[Record], where: Condition) -> Any:
    return next(iter(session.select(session.query(kind, where, limit=1))), None)


def _overtaken(chains: Sequence[Chain], batch: Batch, root_id: int) -> bool:
    """Whether the chain has changed since the session read it; ``chains``: it, or nothing."""
    asked = (
        operation.guard
        for operation in batch.operations
        if not isinstance(operation, Insert) and operation.kind is Chain and operation.id == root_id
    )
    guard = next(asked, None)
    return guard is not None and not holds(chains[0] if chains else None, guard)


def _is(record: Record, link: DocumentTag) -> bool:
    return type(record) is DocumentTag and record.id == link.id


def _relinked(batch: Batch, loser: int, winner: int) -> Batch:
    """The batch without the tag that lost, its links moved to the one that won."""
    moved = (_moved(operation, loser, winner) for operation in batch.operations)
    return attrs.evolve(batch, operations=[operation for operation in moved if operation])


def _moved(operation: Operation, loser: int, winner: int) -> Operation | None:
    match operation:
        case Insert(Tag(id=id)) if id == loser:
            return None
        case Insert(AuditEntry(entity_type=EntityType.TAG, entity_id=id)) if id == loser:
            return None
        case Insert(DocumentTag(tag_id=id) as link) if id == loser:
            return Insert(link.evolve(tag_id=winner))
    return operation


def _unlinked(batch: Batch, link: DocumentTag) -> Batch:
    """The batch without a link, and without the audit entry that tells of it."""
    kept = (op for op in batch.operations if not (isinstance(op, Insert) and _of(op.record, link)))
    return attrs.evolve(batch, operations=kept)


def _of(record: Record, link: DocumentTag) -> bool:
    return _is(record, link) or (isinstance(record, AuditEntry) and _tells(record, link))


def _tells(entry: AuditEntry, link: DocumentTag) -> bool:
    """Whether an entry is about storing the link; ``add_tag``'s are about nothing else."""
    rows: Any = (entry.changes or {}).get("rows", ())
    return any(
        row["kind"] == link.table and row["op"] == "insert" and [link.id, link.id] in row["ids"]
        for row in rows
    )


def _creates(batch: Batch, kind: Kind, id: int) -> bool:
    """Whether the row is the batch's own: then nobody else can have deleted it."""
    return any(
        isinstance(operation, Insert) and (operation.kind, operation.id) == (kind, id)
        for operation in batch.operations
    )
