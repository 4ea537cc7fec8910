"""Recording intercepts: document, validation, results, corrections and audit as one batch."""

from collections.abc import Sequence
from datetime import datetime

import attrs

from loki_storage.batch import Batch
from loki_storage.errors import (
    Conflict,
    Duplicate,
    InvalidValue,
    NotFound,
    StaleWrite,
    StorageError,
)
from loki_storage.intercepts import Intercept, RecordedIntercept, StoredIntercept
from loki_storage.models import (
    AuditEntry,
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Validation,
    ValidationResult,
)
from loki_storage.query import InQuery, Order, equals
from loki_storage.repositories import DocumentRepository
from loki_storage.rules import corrections as correction_rules
from loki_storage.rules import documents as document_rules
from loki_storage.rules import validations as validation_rules
from loki_storage.rules.change import Change
from loki_storage.rules.corrections import Applied
from loki_storage.unit_of_work import Lost, UnitOfWork

__all__ = ["Intercepts"]


@attrs.frozen
class _Plan:
    """What one recording is made of, once the store was read and ids were leased."""

    intercept: Intercept
    ids: dict[Kind, list[int]]
    now: datetime
    tenant: str
    by: str


class Intercepts:
    """Records and reads intercepts in a session."""

    def __init__(self, session: UnitOfWork) -> None:
        self._session = session
        self._documents = DocumentRepository(session)

    def record(self, intercept: Intercept) -> RecordedIntercept:
        """One batch, or nothing where its ``request_hash`` is known.

        The document is reused when a live version of the client has exactly this text: a head
        first, then the lowest id. Raises ``DuplicateDocument`` or ``StaleWrite`` at commit where
        another writer recorded the same text at the same time; ``storage.run`` joins it (DUP-4).
        """
        if not isinstance(intercept, Intercept):
            raise InvalidValue("intercept", "must be an Intercept")
        known, live = self._read(intercept)
        if known is not None:
            return self._replayed(known, intercept)
        reused = _preferred(live, intercept.document)
        plan = self._plan(intercept)
        if reused is None:
            document, version = self._create(plan)
        else:
            document, version = reused, self._correct(plan, reused)
        validation = self._validate(plan, document, new=reused is None)
        self._record_corrections(plan, document, validation, version, new=reused is None)
        return RecordedIntercept(document, validation, version, False, reused is not None)

    def get(self, validation_id: int) -> StoredIntercept | None:
        """What was recorded as this validation, in two round trips.

        ``Forbidden`` where what the report is rebuilt from is masked.
        """
        self._session.check_readable(Validation, "config")
        self._session.check_readable(ValidationResult, "evidence", "metadata_json", "gate_key")
        query = self._session.query
        mine = query(Validation, equals(id=validation_id))
        validations, documents, results, corrections = self._session.select_many(
            [
                mine,
                query(Document, InQuery("id", mine, "document_id")),
                query(ValidationResult, equals(validation_id=validation_id), order=(Order("id"),)),
                query(Correction, equals(validation_id=validation_id), order=(Order("id"),)),
            ]
        )
        if not validations or documents[0].is_deleted:
            return None
        self._session.note_read(mine, [validation_id])
        recorded = [c for c in corrections if c.created_at == validations[0].created_at]
        version = self._version_of(recorded)
        return StoredIntercept(documents[0], version, validations[0], results, corrections)

    # Reading

    def _read(self, intercept: Intercept) -> tuple[Validation | None, list[Document]]:
        """The validation of this request, and the live versions with this text: one round trip."""
        client, query = intercept.client_id, self._session.query
        known, live = self._session.select_many(
            [
                query(Validation, equals(client_id=client, request_hash=intercept.request_hash)),
                query(
                    Document,
                    equals(
                        client_id=client,
                        content_hash=intercept.document_hash,
                        is_deleted=False,
                    ),
                ),
            ]
        )
        return (known[0] if known else None), live

    def _replayed(self, known: Validation, intercept: Intercept) -> RecordedIntercept:
        document = self._session.get_many(Document, (known.document_id,), self._session.tenant)
        of_it = equals(validation_id=known.id, created_at=known.created_at)  # not added later
        corrections = self._session.query(Correction, of_it, order=(Order("id"),), limit=1)
        version = self._version_of(list(self._session.select(corrections)))
        return RecordedIntercept(document[known.document_id], known, version, True, True)

    def _version_of(self, corrections: Sequence[Correction]) -> Document | None:
        """The version that applied corrections brought, as the first one's history names it."""
        if not corrections:
            return None
        query = self._session.query(
            CorrectionHistory, equals(correction_id=corrections[0].id, change_type="applied")
        )
        applied = [Applied.of(row) for row in self._session.select(query)]
        version = next((step.version for step in applied if step.version is not None), None)
        return None if version is None else self._session.get(Document, version)

    # Writing

    def _plan(self, intercept: Intercept) -> _Plan:
        counts: dict[Kind, int] = {
            Document: 2 if intercept.corrected is not None else 1,
            Validation: 1,
            ValidationResult: intercept.result_count,
            Correction: intercept.correction_count,
            CorrectionHistory: intercept.correction_count,
            AuditEntry: 3 if intercept.correction_count else 2,
        }
        ids = self._session.new_ids({kind: n for kind, n in counts.items() if n})
        session = self._session
        return _Plan(intercept, ids, session.now(), session.tenant, session.actor.id)

    def _create(self, plan: _Plan) -> tuple[Document, Document | None]:
        """A new document, and its corrected text as version 2."""
        intercept = plan.intercept
        document = document_rules.first_version(
            id=plan.ids[Document].pop(0),
            tenant=plan.tenant,
            now=plan.now,
            content=intercept.document,
            document_type=intercept.document_type,
            client_id=intercept.client_id,
            title=intercept.title,
            source=intercept.source,
            user_id=intercept.user_id,
        )
        version = None
        if intercept.corrected is not None:
            version = document_rules.second_version(
                document, id=plan.ids[Document].pop(0), content=intercept.corrected
            )
            document = document.replaced({"is_latest": False})
        self._add(plan, document_rules.create_intercepted(document, version))
        return document, version

    def _correct(self, plan: _Plan, document: Document) -> Document | None:
        """The corrected text as the head's next version; none on an earlier version."""
        intercept = plan.intercept
        if intercept.corrected is None or not document.is_latest:
            return None
        parent, view = self._view(document)
        version = document_rules.new_version(
            view,
            id=plan.ids[Document].pop(0),
            content=intercept.corrected,
            now=plan.now,
            user_id=intercept.user_id,
        )
        self._add(plan, document_rules.create_version(view, parent, version))
        return version

    def _view(self, document: Document) -> tuple[Document, document_rules.ChainView]:
        try:
            return self._documents.view(document.id)
        except NotFound as gone:  # deleted since it was found: run again, it is stored anew
            raise StaleWrite(Document.table, document.id) from gone

    def _validate(self, plan: _Plan, document: Document, *, new: bool) -> Validation:
        intercept, id = plan.intercept, plan.ids[Validation][0]
        validation = intercept.validation(
            id=id, tenant=plan.tenant, document_id=document.id, now=plan.now
        )
        ids = plan.ids.get(ValidationResult, [])
        results = intercept.results(ids, plan.tenant, id, plan.now)
        self._add(plan, validation_rules.record(validation, results, document, new=new))
        return validation

    def _record_corrections(
        self,
        plan: _Plan,
        document: Document,
        validation: Validation,
        version: Document | None,
        *,
        new: bool,
    ) -> None:
        ids = plan.ids.get(Correction)
        if not ids:
            return
        applies = version is not None or (plan.intercept.corrected is None and document.is_latest)
        records = plan.intercept.corrections(
            ids, document, validation.id, plan.now, by=plan.by if applies else None
        )
        applied = Applied(tuple(ids))
        if version is not None:
            applied = Applied(tuple(ids), version.id, document.id)
        history = plan.ids[CorrectionHistory]
        self._add(
            plan, correction_rules.record(records, history, applied, document, plan.by, new=new)
        )

    def _add(self, plan: _Plan, change: Change) -> None:
        request_id = plan.intercept.request_id
        if request_id is not None:
            change = attrs.evolve(change, request_id=request_id)
        self._session.add(change, self._lost(plan))

    def _lost(self, plan: _Plan) -> Lost:
        def lost(error: Conflict, batch: Batch) -> StorageError | None:
            if not isinstance(error, Duplicate):
                return None
            if "request_hash" in error.fields:
                return StaleWrite(Validation.table, plan.ids[Validation][0])
            live = self._read(plan.intercept)[1]
            return document_rules.duplicate_of(_preferred(live, plan.intercept.document))

        return lost


def _preferred(live: Sequence[Document], text: str) -> Document | None:
    """The live version to reuse: a head first, then the lowest id."""
    same = [document for document in live if document.content == text]
    return next((document for document in same if document.is_latest), same[0] if same else None)
