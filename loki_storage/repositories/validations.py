"""Validations and what their gates said."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

from loki_storage.authorization import not_an_operation
from loki_storage.enums import GateStatus, ResultScope, RiskLevel, Severity
from loki_storage.errors import (
    Duplicate,
    InvalidValue,
    NotFound,
)
from loki_storage.models import Document, Validation, ValidationResult
from loki_storage.protocol import Max
from loki_storage.query import (
    And,
    Condition,
    InQuery,
    Order,
    Query,
    Text,
    equals,
)
from loki_storage.query_builder import ValidationQueryBuilder, ValidationResultQueryBuilder
from loki_storage.query_builder.chains import of_document
from loki_storage.query_builder.dates import Moment
from loki_storage.query_builder.visibility import visible
from loki_storage.repositories import races
from loki_storage.repositories.base import DEFAULT_LIMIT
from loki_storage.repositories.outcomes import OnError, Outcome, written
from loki_storage.repositories.validation_statistics import ValidationStatistics
from loki_storage.rules import validations as rules
from loki_storage.rules.change import Change
from loki_storage.rules.names import item_list, name_list
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonValue

__all__ = ["ValidationRepository"]

Described = Mapping[str, Any]


class ValidationRepository(ValidationStatistics):
    """Validations of the session's tenant; those of deleted documents only on request (DEL-1)."""

    noun = "validation"

    # Writing

    def create_validation(
        self,
        document_id: int,
        modules_used: Iterable[str],
        client_id: str,
        user_id: str | None = None,
        config: JsonValue = None,
        request_hash: str | None = None,
    ) -> Validation:
        """A pending validation of a live document version (VLD-4).

        A ``request_hash`` that is known for the same document returns the validation that has it,
        and writes nothing; for another document it is ``Duplicate``. Without one it is random.
        """
        document = self._document(document_id)
        known = self._known(client_id, request_hash)
        if known is not None:
            return self._replay(known, document)
        rules.require_version(document, client_id)
        validation = Validation(
            id=self._new_id(),
            tenant_id=self._session.tenant,
            document_id=document_id,
            modules_used=[*name_list("modules_used", modules_used)],
            config=config,
            request_hash=os.urandom(32).hex() if request_hash is None else request_hash,
            client_id=client_id,
            user_id=user_id,
            created_at=self._session.now(),
        )
        self._session.add(
            rules.create(validation, document),
            races.known_request(self._session, validation),
            races.deleted_version(self._session, document_id),
        )
        return validation

    def start_validation(self, id: int) -> Validation:
        """pending -> in_progress (VLD-1)."""
        validation, document = self._running(id)
        return self._done(rules.start(validation, document, self._session.now()), id)

    def add_result(
        self,
        validation_id: int,
        scope: ResultScope | str,
        gate_key: str,
        status: GateStatus | str,
        severity: Severity | str | None = None,
        message: str | None = None,
        suggestion: str | None = None,
        legal_source: str | None = None,
        module_id: str | None = None,
        gate_id: str | None = None,
        confidence_score: float | None = None,
        evidence: JsonValue = None,
        metadata: JsonValue = None,
        gate_version: str | None = None,
    ) -> ValidationResult:
        """What one gate said; the validation must be in progress (VLD-1, VLD-2)."""
        result = {
            "scope": scope,
            "gate_key": gate_key,
            "status": status,
            "severity": severity,
            "message": message,
            "suggestion": suggestion,
            "legal_source": legal_source,
            "module_id": module_id,
            "gate_id": gate_id,
            "confidence_score": confidence_score,
            "evidence": evidence,
            "metadata": metadata,
            "gate_version": gate_version,
        }
        return self.add_results(validation_id, [result])[0]

    @overload
    def add_results(
        self,
        validation_id: int,
        results: Iterable[Described],
        on_error: Literal["raise"] = "raise",
    ) -> list[ValidationResult]: ...
    @overload
    def add_results(
        self,
        validation_id: int,
        results: Iterable[Described],
        on_error: Literal["report"],
    ) -> list[Outcome[ValidationResult]]: ...
    def add_results(
        self,
        validation_id: int,
        results: Iterable[Described],
        on_error: OnError = "raise",
    ) -> list[ValidationResult] | list[Outcome[ValidationResult]]:
        """What several gates said: mappings of ``add_result``'s arguments.

        One batch, all or nothing; with ``on_error="report"`` batches of 100 that are committed at
        once, and an ``Outcome`` for each result, which names its place in the list, from 0 (TXN-9).
        A validation that takes none is refused either way, before any.
        """
        given = item_list("results", results)
        if on_error == "report":
            rules.check_takes_results(self._running(validation_id)[0])

        def write(session: UnitOfWork, some: Sequence[Described]) -> list[ValidationResult]:
            return ValidationRepository(session)._add_all(validation_id, some)

        return written(self._session, given, range(len(given)), write, on_error)

    def complete_validation(
        self, id: int, overall_risk: RiskLevel | str | None = None
    ) -> Validation:
        """in_progress -> completed; the risk is what is said, else the worst failure's (VLD-3)."""
        validation, document = self._running(id)
        risk = self._worst_failure(id) if overall_risk is None else overall_risk
        now = self._session.now()
        return self._done(rules.complete(validation, document, now, RiskLevel(_known(risk))), id)

    def fail_validation(
        self, id: int, error_message: str | None, error_traceback: str | None = None
    ) -> Validation:
        """pending or in_progress -> failed (VLD-1)."""
        validation, document = self._running(id)
        now = self._session.now()
        change = rules.fail(validation, document, now, error_message, error_traceback)
        return self._done(change, id)

    def cancel_validation(self, id: int) -> Validation:
        """pending or in_progress -> cancelled (VLD-1)."""
        validation, document = self._running(id)
        return self._done(rules.cancel(validation, document, self._session.now()), id)

    # Reading

    @not_an_operation
    def query(self) -> ValidationQueryBuilder:
        """Validations by any condition, in any order."""
        return ValidationQueryBuilder(self._session)

    @not_an_operation
    def query_results(self) -> ValidationResultQueryBuilder:
        """What gates said, by any condition, in any order."""
        return ValidationResultQueryBuilder(self._session)

    def get_results(
        self, validation_id: int, include_deleted: bool = False
    ) -> list[ValidationResult]:
        """All results of a validation, in the order in which they came."""
        shown = And(()) if include_deleted else self._visible_results()
        return self._list(self._results(validation_id).narrow(shown))

    def get_with_results(
        self, id: int, include_deleted: bool = False
    ) -> tuple[Validation, list[ValidationResult]] | None:
        """A validation and all its results, in one round trip."""
        shown = And(()) if include_deleted else self._visible()
        found, results = self._lists(self._query(equals(id=id), shown), self._results(id))
        return (found[0], results) if found else None

    def get_by_document(self, document_id: int, versions: str = "all") -> list[Validation]:
        """The validations of the document (``versions="this"``: of this version), newest first."""
        of = of_document(self._session.tenant, document_id, versions)
        return self._list(self._query(of, self._visible(), order=(Order("created_at", True),)))

    def get_recent(self, client_id: str | None = None, limit: int = 10) -> list[Validation]:
        """The newest validations, of one client or of all."""
        found = self.query() if client_id is None else self.query().by_client(client_id)
        return self._list(found.order_by("created_at", "desc").limit(limit).build())

    def get_by_risk_level(
        self,
        risk: RiskLevel | str,
        client_id: str | None = None,
        start_date: Moment | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[Validation]:
        """Validations of an overall risk, of one client or of all, newest first."""
        found = self.query().by_risk(risk).date_range(start_date)
        found = found if client_id is None else found.by_client(client_id)
        return self._list(found.order_by("created_at", "desc").limit(limit).build())

    def search_results(
        self,
        query: str | None = None,
        scope: ResultScope | str | None = None,
        status: GateStatus | str | None = None,
        severity: Severity | str | None = None,
        limit: int = DEFAULT_LIMIT,
        client_id: str | None = None,
    ) -> list[ValidationResult]:
        """What gates said, newest first; each argument that is given narrows it.

        ``query``: a text in message, suggestion, legal source or gate key, literally and whatever
        its case (QRY-4).
        """
        given = {"scope": scope, "status": status, "severity": severity, "client_id": client_id}
        found = self.query_results().filter_by(**{k: v for k, v in given.items() if v is not None})
        if query is not None:
            fields = ("message", "suggestion", "legal_source", "gate_key")
            found = found.or_filter(*(Text("contains", f, query, False) for f in fields))
        return self._list(found.order_by("created_at", "desc").limit(limit).build())

    def _add_all(self, validation_id: int, given: Sequence[Described]) -> list[ValidationResult]:
        validation, document = self._running(validation_id)
        ids = self._session.new_ids({ValidationResult: len(given)}).get(ValidationResult, [])
        now = self._session.now()
        records = [
            _result(fields, id, validation, now) for fields, id in zip(given, ids, strict=True)
        ]
        change = rules.add_results(validation, document, records)
        if change is not None:
            self._session.add(change)
        return records

    # What rules ask of the store

    def _visible_results(self) -> Condition:
        return visible(ValidationResult, self._session.tenant)

    def _results(self, validation_id: int) -> Query:
        return self._session.query(
            ValidationResult, equals(validation_id=validation_id), order=(Order("id"),)
        )

    def _document(self, id: int) -> Document:
        document = self._session.get(Document, id)
        if document is None:
            raise NotFound("document", id)
        return document

    def _running(self, id: int) -> tuple[Validation, Document]:
        """A validation and its document version, which must be live, in one round trip."""
        mine = self._query(equals(id=id))
        of = self._session.query(Document, InQuery("id", mine, "document_id"))
        found, documents = self._session.select_many([mine, of])
        if not found or documents[0].is_deleted:
            raise NotFound(self.noun, id)
        return found[0], documents[0]

    def _known(self, client_id: str, request_hash: str | None) -> Validation | None:
        if request_hash is None:
            return None
        query = self._query(equals(client_id=client_id, request_hash=request_hash))
        return next(iter(self._session.select(query)), None)

    def _replay(self, known: Validation, document: Document) -> Validation:
        if self._document(known.document_id).root_id != document.root_id:
            raise Duplicate(Validation.table, ("client_id", "request_hash"))
        return known

    def _worst_failure(self, id: int) -> RiskLevel:
        failed = equals(validation_id=id, status=GateStatus.FAIL)
        query = self._session.query(ValidationResult, failed)
        worst = self._session.aggregate(query, measures=[Max("severity")])[0].values[0]
        return RiskLevel.NONE if worst is None else RiskLevel(worst)

    def _done(self, change: Change, id: int) -> Validation:
        self._session.add(change)
        return self._found(self._session.get(Validation, id), id)


def _known(risk: RiskLevel | str) -> RiskLevel:
    return Validation.domains["overall_risk"].accept("overall_risk", risk)  # type: ignore[return-value]


def _result(
    fields: Mapping[str, Any], id: int, validation: Validation, now: datetime
) -> ValidationResult:
    if not isinstance(fields, Mapping):
        raise InvalidValue("result", "must be a mapping")
    named = {("metadata_json" if name == "metadata" else name): v for name, v in fields.items()}
    key = named.get("gate_key")
    if isinstance(key, str):
        module, gate = rules.gate_names(key, named.get("module_id"), named.get("gate_id"))
        named |= {"module_id": module, "gate_id": gate}
    try:
        return ValidationResult(
            id=id,
            tenant_id=validation.tenant_id,
            validation_id=validation.id,
            client_id=validation.client_id,
            created_at=now,
            **named,
        )
    except TypeError:
        raise InvalidValue(
            "result", "must have the arguments of add_result, and no others"
        ) from None
