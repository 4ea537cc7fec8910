"""Relationships of records, read for all of them together: never one statement each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import (
    AuditEntry,
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
from loki_storage.query import And, In, InQuery, Order, all_of, equals
from loki_storage.query_builder.reading import listed, listed_together
from loki_storage.query_builder.visibility import Shown, shown
from loki_storage.rules.names import item_list
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["RELATIONSHIPS", "related"]

Related = dict[int, list[Any]]


class Relationship(NamedTuple):
    """``theirs`` of the other kind's records equals ``ours``; in this order."""

    kind: Kind
    ours: str
    theirs: str
    order: tuple[Order, ...] = (Order("id"),)


_NEWEST = (Order("created_at", True),)
_LATEST = (Order("timestamp", True),)
_TAGS = Relationship(Tag, "root_id", "document_id", (Order("name"),))
_TAGGED = Relationship(Document, "id", "tag_id")

RELATIONSHIPS: Mapping[Kind, Mapping[str, Relationship]] = {
    Document: {
        "validations": Relationship(Validation, "id", "document_id", _NEWEST),
        "corrections": Relationship(Correction, "id", "document_id", _NEWEST),
        "audit_trails": Relationship(AuditEntry, "root_id", "document_id", _LATEST),
        "tags": _TAGS,
        "parent": Relationship(Document, "parent_id", "id"),
        "versions": Relationship(Document, "root_id", "root_id", (Order("version"),)),
    },
    Validation: {
        "results": Relationship(ValidationResult, "id", "validation_id"),
        "document": Relationship(Document, "document_id", "id"),
        "corrections": Relationship(Correction, "id", "validation_id"),
        "audit_trails": Relationship(AuditEntry, "id", "validation_id", _LATEST),
    },
    ValidationResult: {"validation": Relationship(Validation, "validation_id", "id")},
    Correction: {
        "history": Relationship(CorrectionHistory, "id", "correction_id"),
        "document": Relationship(Document, "document_id", "id"),
        "validation": Relationship(Validation, "validation_id", "id"),
    },
    CorrectionHistory: {"correction": Relationship(Correction, "correction_id", "id")},
    Tag: {"documents": _TAGGED},
}
"""Kind -> name -> relationship. Through links go a document's tags and a tag's documents."""


def related(
    session: UnitOfWork, records: Iterable[Record], name: str, include_deleted: bool
) -> Related:
    """``{id: [records]}``, of one that has none the empty list."""
    given = _listed(records)
    kinds = {type(record) for record in given}
    if len(kinds) > 1:
        raise InvalidValue("records", "must be of one kind")
    known = [to for kind in kinds or RELATIONSHIPS for to in RELATIONSHIPS.get(kind, ())]
    if str(name) not in known:
        raise InvalidField(name, "is not a relationship of these records", known)
    if not given:
        return {}
    (kind,) = kinds
    read = {"tags": _tags, "documents": _tagged}.get(name, _children)
    return read(session, given, RELATIONSHIPS[kind][name], "all" if include_deleted else "live")


def _listed(records: Iterable[Record]) -> list[Record]:
    given = item_list("records", records)
    if not all(isinstance(record, Record) for record in given):
        raise InvalidValue("records", "must be records")
    return given


def _children(
    session: UnitOfWork, records: Sequence[Record], to: Relationship, which: Shown
) -> Related:
    keys = {record.id: getattr(record, to.ours) for record in records}
    visible = shown(to.kind, session.tenant, which)
    wanted = all_of(In(to.theirs, set(keys.values()) - {None}), visible)
    found = _by(to.theirs, listed(session, session.query(to.kind, wanted, order=to.order)))
    return {id: list(found.get(key, ())) for id, key in keys.items()}


def _tags(session: UnitOfWork, records: Sequence[Any], to: Relationship, which: Shown) -> Related:
    """Through the links: two statements, in one round trip."""
    links = session.query(DocumentTag, In("document_id", {record.root_id for record in records}))
    query = session.query(Tag, InQuery("id", links, "tag_id"), order=to.order)
    tags, linked = listed_together(session, query, links)
    on = _by("tag_id", linked)
    tags_of: Related = {}
    for tag in tags:
        for link in on[tag.id]:
            tags_of.setdefault(link.document_id, []).append(tag)
    return {record.id: list(tags_of.get(record.root_id, ())) for record in records}


def _tagged(session: UnitOfWork, records: Sequence[Any], to: Relationship, which: Shown) -> Related:
    """The heads of the documents that have a tag; with deleted ones all their versions."""
    links = session.query(DocumentTag, In("tag_id", {record.id for record in records}))
    heads = equals(is_latest=True) if which == "live" else And(())
    query = session.query(Document, all_of(InQuery("root_id", links, "document_id"), heads))
    documents, linked = listed_together(session, query, links)
    of_root = _by("root_id", documents)
    found: Related = {record.id: [] for record in records}
    for link in linked:
        found[link.tag_id].extend(of_root.get(link.document_id, ()))
    return found


def _by(field: str, records: Iterable[Any]) -> Related:
    found: Related = {}
    for record in records:
        found.setdefault(getattr(record, field), []).append(record)
    return found
