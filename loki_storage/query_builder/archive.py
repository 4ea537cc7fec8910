"""Which archived documents a query may be about: the fewer, the fewer bundles are read."""

from typing import Any

from loki_storage.conditions import walk
from loki_storage.models import Document
from loki_storage.query import And, Compare, InQuery, Query

__all__ = ["narrowed"]


def narrowed(query: Query) -> dict[str, Any]:
    """``document_id`` and ``client_id`` of all that can match, where the query says so.

    Nothing where it has subqueries: these may be about other documents.
    """
    if any(isinstance(node, InQuery) for node in walk(query.where)):
        return {}
    equal = {
        part.field: part.value
        for part in (query.where.conditions if isinstance(query.where, And) else (query.where,))
        if isinstance(part, Compare) and part.op == "eq"
    }
    found = {"client_id": equal.get("client_id")}
    if query.kind is Document:
        found["document_id"] = equal.get("id", equal.get("root_id"))
    return found
