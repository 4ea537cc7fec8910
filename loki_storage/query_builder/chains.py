"""Documents by any of their versions: one member of a chain stands for all of it (VER-8)."""

from __future__ import annotations

from typing import Literal

from loki_storage.errors import InvalidValue
from loki_storage.models import Document
from loki_storage.query import Condition, InQuery, Query, equals

__all__ = ["Members", "members", "of_document"]

Members = Literal["all", "this"]


def members(tenant: str | None, id: int, versions: str = "all") -> Query:
    """The versions of the document that ``id`` is a version of, or only this one."""
    if versions not in ("all", "this"):
        raise InvalidValue("versions", 'must be "all" or "this"')
    if id is None:
        raise InvalidValue("document_id", "is required")
    this = Query(Document, tenant, equals(id=id))
    chain = Query(Document, tenant, InQuery("root_id", this, "root_id"))
    return this if versions == "this" else chain


def of_document(tenant: str | None, id: int, versions: str = "all") -> Condition:
    """``document_id`` is among these versions."""
    return InQuery("document_id", members(tenant, id, versions), "id")
