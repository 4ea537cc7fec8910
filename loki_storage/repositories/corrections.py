"""Corrections of documents, their life and their history."""

from collections.abc import Sequence
from typing import Any, ClassVar

from loki_storage.authorization import not_an_operation
from loki_storage.enums import CorrectionStatus, CorrectionType
from loki_storage.errors import InvalidValue, NotFound, StaleVersion
from loki_storage.models import (
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Validation,
)
from loki_storage.query import And, Condition, InQuery, Order, Query, equals
from loki_storage.query_builder import CorrectionQueryBuilder
from loki_storage.query_builder.chains import of_document
from loki_storage.query_builder.visibility import visible
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.repositories.documents import DocumentRepository
from loki_storage.rules import corrections as rules
from loki_storage.rules.change import Change
from loki_storage.rules.names import item_list
from loki_storage.values import JsonValue

__all__ = ["CorrectionRepository"]


class CorrectionRepository(Repository[Correction]):
    """Corrections of the session's tenant; those of deleted documents only on request (DEL-1)."""

    kind: ClassVar[Kind] = Correction
    noun = "correction"

    # Writing

    def create_correction(
        self,
        document_id: int,
        correction_type: CorrectionType | str,
        client_id: str,
        validation_id: int | None = None,
        target_gate: str | None = None,
        original_content: str | None = None,
        corrected_content: str | None = None,
        diff: JsonValue = None,
        strategy: str | None = None,
        confidence: float | None = None,
        reasoning: str | None = None,
        metadata: JsonValue = None,
    ) -> Correction:
        """A pending correction of a live document version (COR-1).

        ``corrected_content`` is the whole new text; fragments belong in ``diff`` (COR-2).
        """
        document = self._document(document_id)
        validation, validated = self._validation(validation_id)
        ids = self._session.new_ids({Correction: 1, CorrectionHistory: 1})
        now = self._session.now()
        correction = Correction(
            id=ids[Correction][0],
            tenant_id=self._session.tenant,
            document_id=document_id,
            validation_id=validation_id,
            correction_type=correction_type,
            target_gate=target_gate,
            original_content=original_content,
            corrected_content=corrected_content,
            diff=diff,
            strategy=strategy,
            confidence=confidence,
            reasoning=reasoning,
            client_id=client_id,
            metadata_json=metadata,
            created_at=now,
            updated_at=now,
        )
        change = rules.create(
            correction, ids[CorrectionHistory][0], document, validation, validated, self._by()
        )
        self._session.add(change)
        return correction

    def apply_correction(
        self, id: int, applied_by: str | None = None, notes: str | None = None
    ) -> Correction:
        """pending -> applied; its text, if it has one, becomes the document's next version (COR-2).

        Raises ``StaleVersion`` where the head no longer has the text that it corrects.
        """
        return self._apply([id], None, applied_by, notes)[0]

    def apply_corrections(
        self,
        ids: Sequence[int],
        corrected_content: str | None = None,
        applied_by: str | None = None,
        notes: str | None = None,
    ) -> list[Correction]:
        """Apply several together as one new version; the text is the last one's unless given."""
        return self._apply(item_list("ids", ids), corrected_content, applied_by, notes)

    def reject_correction(
        self, id: int, rejected_by: str | None = None, reason: str | None = None
    ) -> Correction:
        """pending -> rejected."""
        correction, document = self._with_document(id)
        now = self._session.now()
        change = rules.reject(
            correction, document, self._history_id(), now, self._by(rejected_by), reason
        )
        return self._done(change, id)

    def review_correction(
        self, id: int, reviewed_by: str | None = None, notes: str | None = None
    ) -> Correction:
        """Note who reviewed a pending correction, and what they said."""
        correction, document = self._with_document(id)
        now = self._session.now()
        change = rules.review(
            correction, document, self._history_id(), now, self._by(reviewed_by), notes
        )
        return self._done(change, id)

    def update(self, id: int, **fields: Any) -> Correction:
        """Change what a pending correction proposes."""
        correction, document = self._with_document(id)
        named = {("metadata_json" if name == "metadata" else name): v for name, v in fields.items()}
        change = rules.update(
            correction, document, self._history_id(), self._session.now(), self._by(), named
        )
        self._session.check_known(correction, named)
        if change is not None:
            self._session.add(change)
        return self._updated(id)

    def revert_correction(
        self, id: int, reverted_by: str | None = None, reason: str | None = None
    ) -> Correction:
        """applied -> reverted, with all that were applied together; the text from before returns.

        Raises ``StaleVersion`` where the head no longer has the text that was applied (COR-2).
        """
        correction, _ = self._with_document(id)
        rules.check_revertible(correction)
        applied = self._applied(id)
        group = self._group(applied.group)
        versions = self._versions(group)
        reverted = rules.Applied(applied.group)
        with self._session.as_one():
            if applied.version is not None and applied.previous is not None:
                version = self._take_back(applied.version, applied.previous)
                reverted = rules.Applied(applied.group, version.id, applied.version)
            ids = self._history_ids(len(group))
            change = rules.revert(
                group, versions, ids, self._session.now(), self._by(reverted_by), reason, reverted
            )
            return self._done(change, id)

    # Reading

    @not_an_operation
    def query(self) -> CorrectionQueryBuilder:
        """Corrections by any condition, in any order."""
        return CorrectionQueryBuilder(self._session)

    def get_by_document(
        self,
        document_id: int,
        status: CorrectionStatus | str | None = None,
        versions: str = "all",
    ) -> list[Correction]:
        """The corrections of the document (``versions="this"``: of this version), newest first."""
        of = of_document(self._session.tenant, document_id, versions)
        return self._newest(of, *([] if status is None else [equals(status=status)]))

    def get_by_validation(self, validation_id: int) -> list[Correction]:
        """The corrections that came of a validation, in their order."""
        query = self._query(equals(validation_id=validation_id), self._visible())
        return self._list(query.evolve(order=(Order("id"),)))

    def get_pending(
        self, client_id: str | None = None, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[Correction]:
        """Corrections that wait for a decision, of one client or of all, newest first."""
        found = self.query().pending_only().order_by("created_at", "desc")
        found = found if client_id is None else found.by_client(client_id)
        return self._list(found.limit(limit).offset(offset).build())

    def get_statistics(self, client_id: str | None = None) -> dict[str, Any]:
        """How many corrections there are, by status and by type; one statement.

        ``{"total_corrections", "pending", "applied", "rejected", "reverted", "by_type":
        {type: n}}``.
        """
        found = self.query() if client_id is None else self.query().by_client(client_id)
        statuses = dict.fromkeys(map(str, CorrectionStatus), 0)
        by_type: dict[str, int] = {}
        for group in found.aggregate(["correction_type", "status"]):
            correction_type, status = map(str, group.key)
            by_type[correction_type] = by_type.get(correction_type, 0) + group.values[0]
            statuses[status] += group.values[0]
        return {"total_corrections": sum(statuses.values()), **statuses, "by_type": by_type}

    def get_history(self, id: int, include_deleted: bool = False) -> list[CorrectionHistory]:
        """Every step in a correction's life, oldest first."""
        shown = And(()) if include_deleted else visible(CorrectionHistory, self._session.tenant)
        return self._list(self._history(id).narrow(shown))

    # What rules ask of the store

    def _newest(self, *conditions: Condition) -> list[Correction]:
        query = self._query(*conditions, self._visible(), order=(Order("created_at", True),))
        return self._list(query)

    def _history(self, id: int) -> Query:
        return self._session.query(
            CorrectionHistory, equals(correction_id=id), order=(Order("id"),)
        )

    def _document(self, id: int) -> Document:
        document = self._session.get(Document, id)
        if document is None:
            raise NotFound("document", id)
        return document

    def _validation(self, id: int | None) -> tuple[Validation | None, Document | None]:
        if id is None:
            return None, None
        validation = self._session.get(Validation, id)
        if validation is None:
            raise NotFound("validation", id)
        return validation, self._session.get(Document, validation.document_id)

    def _with_document(self, id: int) -> tuple[Correction, Document]:
        """A correction and its document version, which must be live, in one round trip."""
        mine = self._query(equals(id=id))
        of = self._session.query(Document, InQuery("id", mine, "document_id"))
        found, documents = self._session.select_many([mine, of])
        if not found or documents[0].is_deleted:
            raise NotFound(self.noun, id)
        return found[0], documents[0]

    def _group(self, ids: Sequence[int]) -> list[Correction]:
        found = self._session.get_many(Correction, ids, self._session.tenant)
        for id in ids:
            if id not in found:
                raise NotFound(self.noun, id)
        return [found[id] for id in ids]

    def _apply(
        self, ids: Sequence[int], text: str | None, by: str | None, notes: str | None
    ) -> list[Correction]:
        group = self._group(ids)
        if not group or len({correction.id for correction in group}) != len(group):
            raise InvalidValue("ids", "must be one or more different corrections")
        versions = self._versions(group)
        text = group[-1].corrected_content if text is None else text
        applied = rules.Applied(tuple(ids))
        with self._session.as_one():
            if text is not None:
                head = self._head(versions[group[0].document_id])
                rules.check_applicable(group, versions, head)
                version = self._append(head, text)
                applied = rules.Applied(tuple(ids), version.id, head.id)
            history, now = self._history_ids(len(group)), self._session.now()
            change = rules.apply(group, versions, history, now, self._by(by), notes, applied)
            self._session.add(change)
        return self._group(ids)

    def _versions(self, group: Sequence[Correction]) -> dict[int, Document]:
        """The versions that these correct: live ones of one document."""
        ids = {correction.document_id for correction in group}
        versions = self._session.get_many(Document, ids, self._session.tenant)
        for correction in group:
            if versions[correction.document_id].is_deleted:
                raise NotFound(self.noun, correction.id)
        if len({version.root_id for version in versions.values()}) > 1:
            raise InvalidValue("ids", "must be corrections of one document")
        return versions

    def _head(self, version: Document) -> Document:
        """The head of a live version's document."""
        query = self._session.query(Document, equals(root_id=version.root_id, is_latest=True))
        head: Document | None = next(iter(self._session.select(query)), None)
        if head is None:
            raise NotFound("document", version.id)
        return head

    def _append(self, head: Document, text: str) -> Document:
        return DocumentRepository(self._session).create_version(
            head.id, text, self._session.actor.id
        )

    def _applied(self, id: int) -> rules.Applied:
        history = self._session.select(self._history(id))
        rows = [row for row in history if row.change_type == "applied"]
        return rules.Applied.of(rows[-1])

    def _take_back(self, version_id: int, previous_id: int) -> Document:
        """Append the text from before, if the head still has what was applied."""
        found = self._session.get_many(Document, (version_id, previous_id), self._session.tenant)
        applied, previous = found[version_id], found[previous_id]
        head = self._head(applied)
        if head.content_hash != applied.content_hash:
            raise StaleVersion(version_id, head.id)
        return self._append(head, previous.content)

    def _done(self, change: Change, id: int) -> Correction:
        self._session.add(change)
        return self._found(self._session.get(Correction, id), id)

    def _by(self, name: str | None = None) -> str:
        return self._session.actor.id if name is None else name

    def _history_id(self) -> int:
        return self._history_ids(1)[0]

    def _history_ids(self, count: int) -> list[int]:
        return self._session.new_ids({CorrectionHistory: count})[CorrectionHistory]
