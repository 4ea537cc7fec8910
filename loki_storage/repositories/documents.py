"""Documents, their versions, deletes and restores, and their tags: one at a time."""

from collections.abc import Iterable, Sequence
from typing import Any

from loki_storage.errors import InvalidField, NotFound
from loki_storage.models import (
    Chain,
    Document,
    DocumentTag,
    DocumentType,
    Tag,
)
from loki_storage.query import (
    In,
    InQuery,
    Order,
    Query,
    all_of,
    any_of,
    equals,
)
from loki_storage.repositories import races
from loki_storage.repositories.bulk import BulkDocuments
from loki_storage.repositories.document_reads import DocumentReads
from loki_storage.repositories.tags import TagRepository
from loki_storage.rules import documents as rules
from loki_storage.rules import tags as tag_rules
from loki_storage.rules.change import Change
from loki_storage.rules.names import item_list, name_list
from loki_storage.unit_of_work import Lost
from loki_storage.values import JsonValue

__all__ = ["DocumentRepository"]


class DocumentRepository(BulkDocuments, DocumentReads):
    """Documents of the session's tenant."""

    # Writing

    def create_document(
        self,
        content: str,
        document_type: DocumentType | str,
        client_id: str,
        title: str | None = None,
        description: str | None = None,
        source: str | None = None,
        language: str | None = "en",
        user_id: str | None = None,
        metadata: JsonValue = None,
        tags: Sequence[str] = (),
        on_duplicate: rules.OnDuplicate = "raise",
    ) -> Document:
        """Store a new document as version 1 of its chain.

        ``on_duplicate`` says what to do where a live document of this client has exactly this text
        (DUP-1): ``"raise"`` ``DuplicateDocument``, ``"return"`` that document, ``"allow"`` another.
        ``tags`` are names; unknown ones are created. Limits: VAL-3. Two reads at most.
        """
        rules.check_on_duplicate(on_duplicate)
        ids = self._session.new_ids({Document: 1})
        document = rules.first_version(
            id=ids[Document][0],
            tenant=self._session.tenant,
            now=self._session.now(),
            content=content,
            document_type=document_type,
            client_id=client_id,
            title=title,
            description=description,
            source=source,
            language=language,
            user_id=user_id,
            metadata_json=metadata,
        )
        if on_duplicate != "allow":
            existing = self._same_text(document)
            if existing is not None and on_duplicate == "return":
                return existing
            if existing is not None:
                raise rules.duplicate_of(existing)
        with self._session.as_one():
            links = self._links(document.root_id, tags)
            change = rules.create(document, tags=links, on_duplicate=on_duplicate)
            lost = races.duplicate_document(lambda: self._same_text(document))
            self._session.add(change, lost)
        return document

    def create_version(
        self, parent_id: int, content: str, user_id: str | None = None, **descriptive: Any
    ) -> Document:
        """Append a version to the head ``parent_id`` (VER-4).

        Raises ``StaleVersion`` with ``.current_id`` where it is not the head, ``NotFound`` where
        the document is deleted. Other descriptive fields are inherited (VER-7).
        """
        parent, view = self.view(parent_id)
        return self._append(parent, view, content, user_id, rules.descriptive(descriptive))

    def update(self, id: int, **descriptive: Any) -> Document:
        """Change title, description, source, language or metadata of the head (VER-5)."""
        document, view = self.view(id)
        fields = rules.descriptive(descriptive)
        change = rules.update(view, document, self._session.now(), **fields)
        self._session.check_known(document, fields)
        if change is not None:
            self._session.add(change, races.stale_version(self._session, document))
        return self._updated(id)

    def revert_to(self, version_id: int, user_id: str | None = None) -> Document:
        """Append a version with exactly this version's content (VER-9)."""
        version, view = self.view(version_id)
        if version.is_deleted or view.head is None:
            raise NotFound(self.noun, version_id)
        return self._append(view.head, view, version.content, user_id, {}, action="revert")

    def delete(self, id: int, reason: str | None = None) -> Document:
        """Soft-delete the whole document, whichever of its versions is named (DEL-1, DEL-3)."""
        document, chain, versions = self._whole(id)
        change = rules.delete(chain, versions, self._session.now(), reason)
        return self._done(change, document)

    def delete_version(self, id: int) -> Document:
        """Soft-delete one version; of the only live one it is ``delete`` (DEL-1)."""
        document, chain, versions = self._whole(id)
        change = rules.delete_version(chain, versions, id, self._session.now())
        return self._done(change, document)

    def restore(self, id: int) -> Document:
        """Bring back a deleted document as it was before its last deletion (DEL-4)."""
        document, chain, versions = self._whole(id)
        return self._done(rules.restore(chain, versions, self._session.now()), document)

    def restore_version(self, id: int) -> Document:
        """Bring back one deleted version (DEL-4)."""
        document, chain, versions = self._whole(id)
        change = rules.restore_version(chain, versions, id, self._session.now())
        return self._done(change, document)

    def purge(self, ids: Iterable[int] | Query) -> list[int]:
        """Remove documents for ever, each in a commit of its own (DEL-6, TXN-9).

        Takes soft-deleted ones, and those that a policy would delete now. Returns the root ids that
        are gone. What a hold covers is ``OnHold``, what a minimum keeps and what is neither deleted
        nor due ``IllegalTransition``, after those before it are gone; a query passes over what is
        held or kept. ``IllegalTransition`` also in a session with pending writes.
        """
        from loki_storage.repositories.disposing import purge  # most never need it

        unit = DocumentRepository(self._session.fresh())
        return purge(unit._session, unit._roots(ids), strict=not isinstance(ids, Query))

    # Tags

    def add_tag(self, id: int, name: str) -> Tag:
        """Put a tag on the document; an unknown name becomes a tag (TAG-1, DEL-5)."""
        chain = self._live_chain(id)
        with self._session.as_one():
            tag, known = TagRepository(self._session).named(name)
            if known and self._link(chain.id, tag.id) is not None:
                return tag
            link = self._fresh_link(chain.id, tag.id)
            change = tag_rules.link(chain, [link])
            there = races.link_there(self._session, link)
            self._session.add(change, there, self._deleted_lost(id, chain))
        return tag

    def remove_tag(self, id: int, name: str) -> None:
        """Take a tag from the document; one that it does not have changes nothing (TAG-1)."""
        chain = self._live_chain(id)
        tag = TagRepository(self._session).of_name(name)
        link = None if tag is None else self._link(chain.id, tag.id)
        if link is not None:
            self._session.add(tag_rules.unlink(chain, link), self._deleted_lost(id, chain))

    # What rules ask of the store

    def _same_text(self, document: Document) -> Document | None:
        heads = equals(
            client_id=document.client_id, content_hash=document.content_hash, is_latest=True
        )
        found = list(self._session.select(self._query(heads, self._visible())))
        return rules.same_text(found, document.content)

    def view(self, id: int) -> tuple[Document, rules.ChainView]:
        """A member, its chain, head and last number, in one round trip; ``NotFound`` if deleted."""
        chain_of, member = self._same_chain(id), equals(id=id)
        head = all_of(chain_of, equals(is_latest=True))
        queries = [
            # First, so that all that follows is at least as new as the revision that is guarded.
            self._session.query(Chain, InQuery("id", self._query(member), "root_id")),
            self._query(any_of(member, head)),
            self._query(chain_of, order=(Order("version", True),), limit=1),
        ]
        chains, found, last = self._session.select_many(queries)
        document = next((each for each in found if each.id == id), None)
        latest = next((each for each in found if each.is_latest), None)
        if document is None or document.is_deleted or latest is None or not chains:
            raise NotFound(self.noun, id)
        return document, rules.ChainView(chains[0], latest, last[0])

    def _whole(self, id: int) -> tuple[Document, Chain, list[Document]]:
        """A member, its chain and all its versions, in one round trip."""
        chains = self._session.query(Chain, InQuery("id", self._query(equals(id=id)), "root_id"))
        found, versions = self._session.select_many(
            [chains, self._query(self._same_chain(id), order=(Order("version"),))]
        )
        member = next((version for version in versions if version.id == id), None)
        if member is None or not found:
            raise NotFound(self.noun, id)
        return member, found[0], versions

    def _append(
        self,
        parent: Document,
        view: rules.ChainView,
        content: str,
        user_id: str | None,
        fields: dict[str, Any],
        action: str = "version",
    ) -> Document:
        document = rules.new_version(
            view,
            id=self._new_id(),
            content=content,
            now=self._session.now(),
            user_id=user_id,
            **fields,
        )
        change = rules.create_version(view, parent, document, action)
        self._session.add(change, races.stale_version(self._session, parent))
        return document

    def _done(self, change: Change | None, document: Document) -> Document:
        """Add a change, if there is one, and give the record as the session sees it now."""
        if change is None:
            return document
        self._session.add(change)
        return self._stored(document.id)

    def _deleted_lost(self, id: int, chain: Chain) -> Lost:
        return races.deleted_document(self._session, id, chain.id)

    def _live_chain(self, id: int) -> Chain:
        member = equals(id=id, is_deleted=False)
        query = self._session.query(Chain, InQuery("id", self._query(member), "root_id"))
        chain: Chain | None = next(iter(self._session.select(query)), None)
        if chain is None or not chain.live:
            raise NotFound(self.noun, id)
        return chain

    def _link(self, root_id: int, tag_id: int) -> DocumentTag | None:
        query = self._session.query(DocumentTag, equals(document_id=root_id, tag_id=tag_id))
        return next(iter(self._session.select(query)), None)

    def _links(self, root_id: int, names: Sequence[str]) -> list[DocumentTag]:
        tags, listed = TagRepository(self._session), name_list("tags", names)
        return [self._fresh_link(root_id, tags.named(n)[0].id) for n in dict.fromkeys(listed)]

    def _fresh_link(self, root_id: int, tag_id: int) -> DocumentTag:
        id = self._session.new_ids({DocumentTag: 1})[DocumentTag][0]
        return self._new_link(id, root_id, tag_id)

    def _roots(self, ids: Iterable[int] | Query) -> list[int]:
        """The chains of these documents, each once."""
        if not isinstance(ids, Query):
            wanted = item_list("ids", ids)
            fields = ("id", "root_id")
            roots = dict(self._session.rows(self._query(In("id", wanted)), fields))
            self._check_found(wanted, roots)
            return list(dict.fromkeys(roots[id] for id in wanted))
        if ids.kind is not Document:
            raise InvalidField(ids.kind.table, "are no documents; purge takes those only")
        return list(dict.fromkeys(root_id for (root_id,) in self._session.rows(ids, ("root_id",))))
