"""Repositories: the API over one area each, on a session (``X(session)`` or ``session.x``)."""

from typing import TYPE_CHECKING

from loki_storage.repositories.audit import AuditRepository
from loki_storage.repositories.corrections import CorrectionRepository
from loki_storage.repositories.documents import DocumentRepository
from loki_storage.repositories.exports import ExportLogRepository
from loki_storage.repositories.outcomes import Outcome
from loki_storage.repositories.tags import TagRepository
from loki_storage.repositories.validations import ValidationRepository

if TYPE_CHECKING:
    from loki_storage.repositories.retention import HoldRepository, RetentionRepository

__all__ = [
    "AuditRepository",
    "CorrectionRepository",
    "DocumentRepository",
    "ExportLogRepository",
    "HoldRepository",
    "Outcome",
    "RetentionRepository",
    "TagRepository",
    "ValidationRepository",
]


def __getattr__(name: str) -> object:
    """What most processes never need is imported when it is asked for (PEP 562)."""
    if name not in ("HoldRepository", "RetentionRepository"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from loki_storage.repositories import retention

    return getattr(retention, name)
