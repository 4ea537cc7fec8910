"""Repositories: the API over one area each, on a session (``X(session)`` or ``session.x``)."""

from loki_storage.repositories.audit import AuditRepository
from loki_storage.repositories.corrections import CorrectionRepository
from loki_storage.repositories.documents import DocumentRepository
from loki_storage.repositories.exports import ExportLogRepository
from loki_storage.repositories.outcomes import Outcome
from loki_storage.repositories.tags import TagRepository
from loki_storage.repositories.validations import ValidationRepository

__all__ = [
    "AuditRepository",
    "CorrectionRepository",
    "DocumentRepository",
    "ExportLogRepository",
    "Outcome",
    "TagRepository",
    "ValidationRepository",
]
