"""The builders of each kind, with steps in the words of the domain."""

from __future__ import annotations

from typing import ClassVar, Self, TypeVar

import attrs

from loki_storage.enums import (
    AuditAction,
    CorrectionStatus,
    DocumentType,
    EntityType,
    GateStatus,
    ResultScope,
    RiskLevel,
    Severity,
    ValidationStatus,
)
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    DocumentTag,
    Kind,
    Record,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.query import InQuery, Text, any_of, equals
from loki_storage.query_builder.builder import QueryBuilder
from loki_storage.query_builder.chains import of_document
from loki_storage.query_builder.visibility import Shown
from loki_storage.values import Number

__all__ = [
    "AuditQueryBuilder",
    "CorrectionQueryBuilder",
    "DocumentQueryBuilder",
    "ValidationQueryBuilder",
    "ValidationResultQueryBuilder",
]

R = TypeVar("R", bound=Record)


class _Deletable(QueryBuilder[R]):
    """Steps for kinds of which rows can be deleted, by themselves or with their document."""

    def not_deleted(self) -> Self:
        """Live ones only: what is shown anyway (DEL-2)."""
        return self._showing("live")

    def include_deleted(self) -> Self:
        """Deleted ones, too."""
        return self._showing("all")

    def only_deleted(self) -> Self:
        """Deleted ones alone."""
        return self._showing("deleted")

    def include_archived(self) -> Self:
        """Those of archived documents, too: each answer reads their bundles, to be read only.

        Of one document or client where ``root_id``, ``id`` (of documents) or ``client_id`` are
        equal to a value and nothing else is asked by subqueries; more than 256 MiB of rows are
        ``ResultTooLarge``, a bundle that cannot be read is ``ArchiveError``. Deleted ones only with
        ``include_deleted``.
        """
        return attrs.evolve(self, archived=True)

    def _showing(self, shown: Shown) -> Self:
        return attrs.evolve(self, shown=shown)


class DocumentQueryBuilder(_Deletable[Document]):
    """Document versions: all live ones, unless ``latest_versions`` narrows them to heads."""

    kind: ClassVar[Kind] = Document

    def by_type(self, document_type: DocumentType | str) -> Self:
        """Documents of a type."""
        return self._is("document_type", document_type)

    def by_client(self, client_id: str) -> Self:
        """A client's documents."""
        return self._is("client_id", client_id)

    def by_user(self, user_id: str) -> Self:
        """Versions that a user made."""
        return self._is("user_id", user_id)

    def by_tag(self, name: str) -> Self:
        """Documents that have the tag of exactly this name (TAG-2)."""
        query = self._session.query
        tag = query(Tag, equals(name=Tag.domains["name"].accept("name", name)))
        links = query(DocumentTag, InQuery("tag_id", tag, "id"))
        return self._where(InQuery("root_id", links, "document_id"))

    def latest_versions(self) -> Self:
        """Heads only; of a deleted document there is none (VER-3)."""
        return self._where(equals(is_latest=True))

    def search_content(self, text: str, case_sensitive: bool = False) -> Self:
        """The text stands in content, title or description, literally (QRY-4)."""
        fields = ("content", "title", "description")
        found = [Text("contains", field, text, case_sensitive) for field in fields]
        return self._where(any_of(*found))


class ValidationQueryBuilder(_Deletable[Validation]):
    """Validations; those of deleted documents only on request (DEL-1)."""

    kind: ClassVar[Kind] = Validation

    def by_status(self, status: ValidationStatus | str) -> Self:
        """Validations in a status."""
        return self._is("status", status)

    def by_risk(self, risk: RiskLevel | str) -> Self:
        """Validations of an overall risk."""
        return self._is("overall_risk", risk)

    def by_document(self, document_id: int, versions: str = "all") -> Self:
        """Those of the document (``versions="this"``: of this version)."""
        return self._where(of_document(self._session.tenant, document_id, versions))

    def by_client(self, client_id: str) -> Self:
        """A client's validations."""
        return self._is("client_id", client_id)

    def completed_only(self) -> Self:
        """Validations that came to their end."""
        return self.by_status(ValidationStatus.COMPLETED)

    def high_risk(self) -> Self:
        """Overall risk high or critical."""
        return self.at_least("overall_risk", RiskLevel.HIGH)

    def with_failures(self) -> Self:
        """At least one gate failed."""
        return self.greater_than("fail_count", 0)


class ValidationResultQueryBuilder(_Deletable[ValidationResult]):
    """What gates said; of deleted documents only on request (DEL-1)."""

    kind: ClassVar[Kind] = ValidationResult

    def by_validation(self, validation_id: int) -> Self:
        """The results of a validation."""
        return self._is("validation_id", validation_id)

    def by_client(self, client_id: str) -> Self:
        """A client's results."""
        return self._is("client_id", client_id)

    def by_scope(self, scope: ResultScope | str) -> Self:
        """Results of a part of the engine."""
        return self._is("scope", scope)

    def by_module(self, module_id: str) -> Self:
        """A module's results."""
        return self._is("module_id", module_id)

    def by_gate(self, gate_key: str) -> Self:
        """A gate's results, by its full key."""
        return self._is("gate_key", gate_key)

    def by_status(self, status: GateStatus | str) -> Self:
        """Results of a status."""
        return self._is("status", status)

    def by_severity(self, severity: Severity | str) -> Self:
        """Results of a severity; ``is_null("severity")``: those without one."""
        return self._is("severity", severity)

    def failures_only(self) -> Self:
        """Gates that failed."""
        return self.by_status(GateStatus.FAIL)


class CorrectionQueryBuilder(_Deletable[Correction]):
    """Corrections; those of deleted documents only on request (DEL-1)."""

    kind: ClassVar[Kind] = Correction

    def by_status(self, status: CorrectionStatus | str) -> Self:
        """Corrections in a status."""
        return self._is("status", status)

    def by_document(self, document_id: int, versions: str = "all") -> Self:
        """Those of the document (``versions="this"``: of this version)."""
        return self._where(of_document(self._session.tenant, document_id, versions))

    def by_validation(self, validation_id: int) -> Self:
        """Those that came of a validation."""
        return self._is("validation_id", validation_id)

    def by_client(self, client_id: str) -> Self:
        """A client's corrections."""
        return self._is("client_id", client_id)

    def pending_only(self) -> Self:
        """Corrections that wait for a decision."""
        return self.by_status(CorrectionStatus.PENDING)

    def high_confidence(self, threshold: float = 0.8) -> Self:
        """A confidence of the threshold or more, 0.0 to 1.0."""
        return self.at_least("confidence", Number().accept("threshold", threshold))


class AuditQueryBuilder(QueryBuilder[AuditEntry]):
    """What was done, by whom, to what, when."""

    kind: ClassVar[Kind] = AuditEntry
    time_field: ClassVar[str] = "timestamp"

    def by_action(self, action: AuditAction | str) -> Self:
        """Entries of an action."""
        return self._is("action", action)

    def by_entity(self, entity_type: EntityType | str, entity_id: int | None = None) -> Self:
        """Entries about entities of a type, or about one of them."""
        found = self._is("entity_type", entity_type)
        return found if entity_id is None else found.equals("entity_id", entity_id)

    def by_actor(self, actor_id: str) -> Self:
        """What an actor did."""
        return self._is("actor_id", actor_id)

    def by_client(self, client_id: str) -> Self:
        """Entries about what belongs to a client."""
        return self._is("client_id", client_id)

    def by_request(self, request_id: str) -> Self:
        """What one request did."""
        return self._is("request_id", request_id)
