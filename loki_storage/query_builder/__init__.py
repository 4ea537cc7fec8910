"""Query builders: ``DocumentQueryBuilder(session)``, or ``session.documents.query()``.

A builder is an immutable value. Steps say what matches (``filters``), in which order and which part
of it (``builder``), in the words of each kind (``kinds``); then one call asks the store. Laws: QRY.
"""

from loki_storage.enums import SortOrder
from loki_storage.query_builder.builder import Page, QueryBuilder
from loki_storage.query_builder.kinds import (
    AuditQueryBuilder,
    CorrectionQueryBuilder,
    DocumentQueryBuilder,
    ValidationQueryBuilder,
    ValidationResultQueryBuilder,
)

__all__ = [
    "AuditQueryBuilder",
    "CorrectionQueryBuilder",
    "DocumentQueryBuilder",
    "Page",
    "QueryBuilder",
    "SortOrder",
    "ValidationQueryBuilder",
    "ValidationResultQueryBuilder",
]
