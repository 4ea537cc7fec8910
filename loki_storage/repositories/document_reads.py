"""Reading documents: by id, hash and chain, at a time, in pages, by text, with their children."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loki_storage.authorization import not_an_operation
from loki_storage.enums import DocumentType
from loki_storage.errors import InvalidValue
from loki_storage.models import Document, DocumentTag, Kind, Tag, Validation
from loki_storage.protocol import Count
from loki_storage.query import (
    And,
    Compare,
    Condition,
    InQuery,
    Order,
    Query,
    all_of,
    any_of,
    equals,
)
from loki_storage.query_builder import DocumentQueryBuilder
from loki_storage.query_builder.chains import of_document
from loki_storage.query_builder.dates import Moment
from loki_storage.query_builder.reading import found_by
from loki_storage.query_builder.visibility import visible
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.rules import documents as rules

if TYPE_CHECKING:
    from loki_storage.rules.differences import DocumentDiff

__all__ = ["DocumentReads", "Versions"]

Versions = Literal["heads", "all"]
RECENT = 10


class DocumentReads(Repository[Document]):
    """Documents are their heads, unless ``versions="all"`` asks for all live versions."""

    kind: ClassVar[Kind] = Document
    noun = "document"

    @not_an_operation
    def query(self) -> DocumentQueryBuilder:
        """Versions by any condition, in any order."""
        return DocumentQueryBuilder(self._session)

    # One

    def get_by_id(
        self, id: int, include_deleted: bool = False, include_archived: bool = False
    ) -> Document | None:
        """The version, or None where it is unknown, another tenant's, or deleted (DEL-2).

        ``include_archived``: also from the archive, to be read only. A read by key; it costs a
        third of the query that an audited read is told by.
        """
        if include_archived:
            return self._beside(document_id=id).get_by_id(id, include_deleted)
        if self._session.context.audit_reads:
            return super().get_by_id(id, include_deleted)
        document = self._session.get(Document, id)
        if document is None or (document.is_deleted and not include_deleted):
            return None
        self._session.hand_out([document])
        return document

    def get_by_hash(self, content_hash: str, client_id: str) -> Document | None:
        """The client's live head with this content hash; of several the first stored."""
        heads = equals(client_id=client_id, content_hash=content_hash, is_latest=True)
        return self._first(self._query(heads, self._visible()))

    def get_with_validations(
        self, id: int, include_deleted: bool = False, versions: str = "all"
    ) -> tuple[Document, list[Validation]] | None:
        """A version, and the validations of its document (``versions="this"``: its own).

        The newest first, all in one round trip; None where ``get_by_id`` gives None.
        """
        tenant = self._session.tenant
        of = of_document(tenant, id, versions)
        shown = [] if include_deleted else [visible(Validation, tenant)]
        newest = (Order("created_at", True),)
        this = self._query(equals(id=id), And(()) if include_deleted else self._visible())
        runs = self._session.query(Validation, all_of(of, *shown), order=newest)
        found, validations = self._lists(this, runs)
        return (found[0], validations) if found else None

    def verify(self, id: int) -> bool:
        """Whether the stored content still has the stored hash and length (DOC-1)."""
        self._session.check_readable(Document, "content", "content_hash")
        document = self._found(self.get_by_id(id, include_deleted=True), id)
        hashed = rules.content_hash(document.content) == document.content_hash
        return hashed and len(document.content) == document.content_length

    # Versions

    def get_latest_version(self, id: int, include_archived: bool = False) -> Document | None:
        """The live head of the chain that ``id`` is a member of (VER-8)."""
        if include_archived:
            return self._beside(document_id=id).get_latest_version(id)
        return self._first(self._query(self._same_chain(id), equals(is_latest=True)))

    def get_version_history(
        self, id: int, include_deleted: bool = False, include_archived: bool = False
    ) -> list[Document]:
        """The versions, ascending; any member may be named, also a deleted one (VER-8)."""
        if include_archived:
            return self._beside(document_id=id).get_version_history(id, include_deleted)
        where = all_of(self._same_chain(id), And(()) if include_deleted else self._visible())
        return self._list(self._query(where, order=(Order("version"),)))

    def get_as_of(
        self,
        id: int,
        time: datetime,
        include_deleted: bool = False,
        include_archived: bool = False,
    ) -> Document | None:
        """The highest version that was there at a time and is live today (VER-8).

        ``include_deleted``: one that was deleted since then counts, too.
        """
        if include_archived:
            return self._beside(document_id=id).get_as_of(id, time, include_deleted)
        live = self._visible()
        if include_deleted:
            live = any_of(live, Compare("deleted_at", "gt", time))
        there = Compare("created_at", "le", time)
        return self._first(
            self._query(self._same_chain(id), there, live, order=(Order("version", True),))
        )

    def diff(self, id_a: int, id_b: int, include_deleted: bool = False) -> DocumentDiff:
        """What differs from ``id_a`` to ``id_b``, versions of one document or of two.

        As a unified diff and as data. ``NotFound`` where one is unknown or deleted. One read; very
        long and very different texts are told as one change (4,000,000 pairs of lines).
        """
        self._session.check_readable(Document, "content")
        shown = And(()) if include_deleted else self._visible()
        either = any_of(equals(id=id_a), equals(id=id_b))
        found = {document.id: document for document in self._list(self._query(either, shown))}
        before, after = (self._found(found.get(id), id) for id in (id_a, id_b))
        from loki_storage.rules.differences import compare  # with difflib, for those who ask only

        return compare(before, after)

    # Many

    def get_all(
        self,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        order_by: str | None = None,
        ascending: bool = False,
        versions: Versions = "heads",
        include_archived: bool = False,
        **filters: Any,
    ) -> list[Document]:
        """A page of live documents, newest first.

        ``include_archived``: reads the bundles of all archived documents, or of a ``client_id``'s.
        """
        if include_archived:
            beside = self._beside(client_id=filters.get("client_id"))
            return beside.get_all(limit, offset, order_by, ascending, versions, **filters)
        order = Order(order_by or self.default_order, not ascending)
        query = self._filtered(filters).narrow(self._shown(versions))
        return self._list(query.evolve(order=(order,), limit=limit, offset=offset))

    def filter_by(self, versions: Versions = "heads", **filters: Any) -> list[Document]:
        """Up to 100 live documents that have these field values, newest first."""
        query = self._filtered(filters).narrow(self._shown(versions))
        return self._list(query.evolve(limit=DEFAULT_LIMIT))

    def count(self, versions: Versions = "heads", **filters: Any) -> int:
        """How many live documents (``versions="all"``: versions) have these field values."""
        return self._session.count(self._filtered(filters).narrow(self._shown(versions)))

    def get_by_client(
        self,
        client_id: str,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        include_deleted: bool = False,
        versions: Versions = "heads",
        include_archived: bool = False,
    ) -> list[Document]:
        """A client's documents, newest first; with ``include_deleted`` deleted versions too."""
        if include_archived:
            beside = self._beside(client_id=client_id)
            return beside.get_by_client(client_id, limit, offset, include_deleted, versions)
        shown = self._shown(versions)
        if include_deleted:
            shown = any_of(shown, equals(is_deleted=True))
        query = self._query(equals(client_id=client_id), shown, order=(Order("created_at", True),))
        return self._list(query.evolve(limit=limit, offset=offset))

    def get_by_tenant(
        self,
        tenant_id: str,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        include_deleted: bool = False,
        versions: Versions = "heads",
    ) -> list[Document]:
        """The session's own tenant's documents, newest first; another's are none (TEN-1)."""
        shown = self._shown(versions)
        if include_deleted:
            shown = any_of(shown, equals(is_deleted=True))
        query = self._query(equals(tenant_id=tenant_id), shown, order=(Order("created_at", True),))
        return self._list(query.evolve(limit=limit, offset=offset))

    def search(
        self,
        query: str,
        client_id: str | None = None,
        document_type: DocumentType | str | None = None,
        start_date: Moment | None = None,
        end_date: Moment | None = None,
        limit: int = 50,
        offset: int = 0,
        case_sensitive: bool = False,
        versions: Versions = "heads",
    ) -> list[Document]:
        """Documents with the text in content, title or description, literally (QRY-4).

        Best first where the store ranks, else newest first; ``%`` and ``_`` mean themselves. Days
        are of ``created_at``, in UTC, the end included.
        """
        found = self.query().search_content(query, case_sensitive)
        found = found.date_range(start_date, end_date).order_by("created_at", "desc")
        found = found if client_id is None else found.by_client(client_id)
        found = found if document_type is None else found.by_type(document_type)
        window = found.build().narrow(self._shown(versions)).evolve(limit=limit, offset=offset)
        return found_by(self._session.search, self._session, window)

    def get_statistics(self, client_id: str | None = None) -> dict[str, Any]:
        """How many live documents there are, of which types, and the ten newest; two reads.

        ``{"total_documents", "by_type": {type: n}, "recent_documents": [records]}``: documents,
        not versions.
        """
        client = [] if client_id is None else [equals(client_id=client_id)]
        heads = self._query(*client, self._shown("heads"), order=(Order("created_at", True),))
        groups = self._session.aggregate(heads, ["document_type"], [Count()])
        by_type = {str(group.key[0]): group.values[0] for group in groups}
        return {
            "total_documents": sum(by_type.values()),
            "by_type": by_type,
            "recent_documents": self._list(heads.evolve(limit=RECENT)),
        }

    def tags_of(self, id: int) -> list[Tag]:
        """The tags of the document that ``id`` is a version of, by name (TAG-2)."""
        links = Query(
            DocumentTag,
            self._session.tenant,
            InQuery("document_id", self._query(equals(id=id)), "root_id"),
        )
        query = self._session.query(Tag, InQuery("id", links, "tag_id"), order=(Order("name"),))
        return self._list(query)

    def _beside(self, **which: Any) -> DocumentReads:
        """These reads over the session's view with archived documents in it."""
        from loki_storage.archives import with_archived  # most have no archive

        return DocumentReads(with_archived(self._session, **which))

    # Conditions

    def _shown(self, versions: str) -> Condition:
        if versions not in ("heads", "all"):
            raise InvalidValue("versions", 'must be "heads" or "all"')
        return equals(is_latest=True) if versions == "heads" else self._visible()

    def _same_chain(self, id: int) -> Condition:
        return InQuery("root_id", self._query(equals(id=id)), "root_id")
