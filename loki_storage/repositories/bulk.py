"""Many documents at once: one batch, all or nothing, or bounded batches with outcomes (TXN-9).

Every document has its own audit entry (AUD-1). The number of reads does not grow with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar, overload

from loki_storage.errors import InvalidField, NotFound
from loki_storage.models import AuditEntry, Chain, Document, DocumentTag, Kind
from loki_storage.query import In, InQuery, Order, Query, equals
from loki_storage.query_builder import QueryBuilder
from loki_storage.repositories import races
from loki_storage.repositories.base import Repository
from loki_storage.repositories.outcomes import OnError, Outcome, written
from loki_storage.repositories.tags import TagRepository
from loki_storage.rows import Rows
from loki_storage.rules import documents as rules
from loki_storage.rules import tags as tag_rules
from loki_storage.rules.change import Change
from loki_storage.rules.describing import Described, described
from loki_storage.rules.names import item_list
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["BulkDocuments", "Documents"]

Documents = Iterable[int] | Query | QueryBuilder[Document]
"""Ids of versions, or a query for them; any version stands for its document."""
T = TypeVar("T")
Text = tuple[str, str]
"""A client, and a text of its."""
Rule = Callable[[Chain, Sequence[Document]], Change | None]


class BulkDocuments(Repository[Document]):
    """What one batch does to many documents.

    With ``on_error="raise"`` it is part of the session's unit of work, up to 100,000 items, and one
    that is refused refuses all. With ``"report"`` batches of 100 are committed at once, in units of
    their own (``IllegalTransition`` in a session with pending writes), and there is an ``Outcome``
    for each item, in their order.
    """

    kind: ClassVar[Kind] = Document

    @overload
    def create_documents(
        self,
        documents: Iterable[Mapping[str, Any]],
        on_duplicate: rules.OnDuplicate = "raise",
        on_error: Literal["raise"] = "raise",
    ) -> list[Document]: ...
    @overload
    def create_documents(
        self,
        documents: Iterable[Mapping[str, Any]],
        on_duplicate: rules.OnDuplicate = "raise",
        *,
        on_error: Literal["report"],
    ) -> list[Outcome[Document]]: ...
    def create_documents(
        self,
        documents: Iterable[Mapping[str, Any]],
        on_duplicate: rules.OnDuplicate = "raise",
        on_error: OnError = "raise",
    ) -> list[Document] | list[Outcome[Document]]:
        """Store new documents: mappings of ``create_document``'s arguments, in their order.

        ``on_duplicate`` is for those that do not say it themselves; a text that occurs twice among
        them is a duplicate like any other (DUP-1). Outcomes name the place in the list, from 0.
        """
        rules.check_on_duplicate(on_duplicate)
        given = item_list("documents", documents)
        write = partial(BulkDocuments._create_all, on_duplicate=on_duplicate)
        return self._bulk(given, range(len(given)), write, on_error)

    @overload
    def delete_documents(
        self, documents: Documents, reason: str | None = None, on_error: Literal["raise"] = "raise"
    ) -> list[Document]: ...
    @overload
    def delete_documents(
        self, documents: Documents, reason: str | None = None, *, on_error: Literal["report"]
    ) -> list[Outcome[Document]]: ...
    def delete_documents(
        self, documents: Documents, reason: str | None = None, on_error: OnError = "raise"
    ) -> list[Document] | list[Outcome[Document]]:
        """Soft-delete documents by ids or query, each as ``delete`` does (DEL-1, DEL-3)."""
        write = partial(BulkDocuments._delete_all, reason=reason)
        return self._bulk_by_id(documents, write, on_error)

    @overload
    def restore_documents(
        self, documents: Documents, on_error: Literal["raise"] = "raise"
    ) -> list[Document]: ...
    @overload
    def restore_documents(
        self, documents: Documents, on_error: Literal["report"]
    ) -> list[Outcome[Document]]: ...
    def restore_documents(
        self, documents: Documents, on_error: OnError = "raise"
    ) -> list[Document] | list[Outcome[Document]]:
        """Bring deleted documents back, each as ``restore`` does (DEL-4)."""
        return self._bulk_by_id(documents, BulkDocuments._restore_all, on_error)

    @overload
    def tag_documents(
        self, documents: Documents, name: str, on_error: Literal["raise"] = "raise"
    ) -> list[Document]: ...
    @overload
    def tag_documents(
        self, documents: Documents, name: str, on_error: Literal["report"]
    ) -> list[Outcome[Document]]: ...
    def tag_documents(
        self, documents: Documents, name: str, on_error: OnError = "raise"
    ) -> list[Document] | list[Outcome[Document]]:
        """Put a tag on documents, each as ``add_tag`` does (TAG-1)."""
        return self._bulk_by_id(documents, partial(BulkDocuments._tag_all, name=name), on_error)

    @overload
    def untag_documents(
        self, documents: Documents, name: str, on_error: Literal["raise"] = "raise"
    ) -> list[Document]: ...
    @overload
    def untag_documents(
        self, documents: Documents, name: str, on_error: Literal["report"]
    ) -> list[Outcome[Document]]: ...
    def untag_documents(
        self, documents: Documents, name: str, on_error: OnError = "raise"
    ) -> list[Document] | list[Outcome[Document]]:
        """Take a tag from documents, each as ``remove_tag`` does (TAG-1)."""
        return self._bulk_by_id(documents, partial(BulkDocuments._untag_all, name=name), on_error)

    # One batch, or many

    def _bulk_by_id(
        self, documents: Documents, write: Callable[..., list[Document]], on_error: OnError
    ) -> list[Document] | list[Outcome[Document]]:
        ids = self._ids(documents)
        return self._bulk(ids, ids, write, on_error)

    def _bulk(
        self,
        items: Sequence[T],
        names: Sequence[int],
        write: Callable[..., list[Document]],
        on_error: OnError,
    ) -> list[Document] | list[Outcome[Document]]:
        def on(session: UnitOfWork, some: Sequence[T]) -> list[Document]:
            return write(type(self)(session), some)

        return written(self._session, items, names, on, on_error)

    def _ids(self, documents: Documents) -> list[int]:
        if isinstance(documents, QueryBuilder):
            documents = documents.build()
        if not isinstance(documents, Query):
            return item_list("documents", documents)
        if documents.kind is not Document:
            raise InvalidField(documents.kind.table, "are no documents")
        return [id for (id,) in self._session.rows(documents, ("id",))]

    # The batches

    def _create_all(
        self, given: Sequence[Mapping[str, Any]], on_duplicate: rules.OnDuplicate
    ) -> list[Document]:
        session = self._session
        ids = session.new_ids({Document: len(given), AuditEntry: len(given)}).get(Document, [])
        wanted = described(given, on_duplicate)
        if not ids:
            return []
        documents = rules.first_versions(ids, session.tenant, session.now(), wanted.fields)
        answers = self._answers(documents, wanted.on_duplicate)
        new = [n for n, answer in enumerate(answers) if answer == n]
        made = self._created(documents, wanted, new) if new else ()
        records = dict(zip(new, made, strict=True))
        return [records[a] if isinstance(a, int) else a for a in answers]

    def _answers(
        self, documents: Rows[Document], asks: Sequence[rules.OnDuplicate]
    ) -> list[int | Document]:
        """What each document comes to: one that is there, or a new one's place among them."""
        there: dict[Text, int | Document] = {**self._same_texts(documents)}
        answers: list[int | Document] = []
        for n, (text, ask) in enumerate(zip(_texts(documents), asks, strict=True)):
            first = there.setdefault(text, n)
            if first != n and ask == "raise":
                raise rules.duplicate_of(documents[first] if isinstance(first, int) else first)
            answers.append(n if ask == "allow" else first)
        return answers

    def _created(
        self, documents: Rows[Document], wanted: Described, places: Sequence[int]
    ) -> Sequence[Document]:
        """The new ones among them, stored."""
        new = documents if len(places) == len(documents) else documents.at(places)
        claimed = [wanted.on_duplicate[n] != "allow" for n in places]
        tags = [wanted.tags[n] for n in places] if wanted.tags else []
        changes = rules.create_all(new, claimed, self._links_to(new.ids, tags))
        claiming = [n for n, claims in enumerate(claimed) if claims]
        lost = races.duplicate_document(partial(self._first_of_texts, new, claiming))
        self._session.add_all(changes, lost)
        return new.records

    def _links_to(
        self, roots: Sequence[int], tags: Sequence[Sequence[str]]
    ) -> list[list[DocumentTag]]:
        """The links of each document to its tags, which are created where there is none."""
        names = sorted({name for each in tags for name in each})
        if not names:
            return []
        tag_ids = TagRepository(self._session).all_named(names)
        ids = iter(self._link_ids(sum(map(len, tags))))
        return [
            [self._new_link(next(ids), root, tag_ids[name]) for name in each]
            for root, each in zip(roots, tags, strict=True)
        ]

    def _same_texts(self, documents: Rows[Document]) -> dict[Text, Document]:
        """The live heads that have one of these texts already."""
        heads = self._query(
            In("content_hash", set(documents.column("content_hash"))),
            In("client_id", set(documents.column("client_id"))),
            equals(is_latest=True),
            self._visible(),
        )
        there: dict[Text, Document] = {}
        for head in self._session.select(heads):
            there.setdefault((head.client_id, head.content), head)
        return there

    def _first_of_texts(self, documents: Rows[Document], places: Sequence[int]) -> Document | None:
        """The head that has the first of the texts at these places that any has."""
        there, texts = self._same_texts(documents), _texts(documents)
        return next((there[texts[n]] for n in places if texts[n] in there), None)

    def _delete_all(self, ids: Sequence[int], reason: str | None) -> list[Document]:
        now = self._session.now()
        return self._change_all(
            ids, lambda chain, versions: rules.delete(chain, versions, now, reason)
        )

    def _restore_all(self, ids: Sequence[int]) -> list[Document]:
        now = self._session.now()
        return self._change_all(ids, lambda chain, versions: rules.restore(chain, versions, now))

    def _change_all(self, ids: Sequence[int], rule: Rule) -> list[Document]:
        """What a rule makes of each document, read in one round trip."""
        query, members = self._session.query, self._query(In("id", ids))
        chains, versions = self._session.select_many(
            [
                query(Chain, InQuery("id", members, "root_id")),
                self._query(InQuery("root_id", members, "root_id"), order=(Order("version"),)),
            ]
        )
        of_chain: dict[int, list[Document]] = {chain.id: [] for chain in chains}
        for version in versions:
            of_chain[version.root_id].append(version)
        self._check_found(ids, {version.id for version in versions})
        self._session.new_ids({AuditEntry: len(chains)})
        for chain in chains:
            change = rule(chain, of_chain[chain.id])
            if change is not None:
                self._session.add(change)
        return self._as_seen(ids)

    def _tag_all(self, ids: Sequence[int], name: str) -> list[Document]:
        chains = self._live_chains(ids)
        if not chains:
            return []
        tag, known = TagRepository(self._session).named(name)
        linked = {link.document_id for link in self._links_of(chains, tag.id)} if known else set()
        new = [chain for chain in chains.values() if chain.id not in linked]
        self._session.new_ids({AuditEntry: len(new)})
        for chain, id in zip(new, self._link_ids(len(new)), strict=True):
            link = self._new_link(id, chain.id, tag.id)
            there = races.link_there(self._session, link)
            self._session.add(tag_rules.link(chain, [link]), there, self._deleted(chain))
        return self._as_seen(ids)

    def _untag_all(self, ids: Sequence[int], name: str) -> list[Document]:
        chains = self._live_chains(ids)
        tag = TagRepository(self._session).of_name(name)
        links = [] if tag is None else self._links_of(chains, tag.id)
        self._session.new_ids({AuditEntry: len(links)})
        for link in links:
            chain = chains[link.document_id]
            self._session.add(tag_rules.unlink(chain, link), self._deleted(chain))
        return self._as_seen(ids)

    # What they read

    def _live_chains(self, ids: Sequence[int]) -> dict[int, Chain]:
        """The chains of live versions, by root id, in their order; ``NotFound`` for others."""
        live = self._query(In("id", ids), self._visible())
        roots: dict[int, int] = dict(self._session.rows(live, ("id", "root_id")))
        self._check_found(ids, roots)
        found = self._session.get_many(Chain, set(roots.values()), self._session.tenant)
        return {roots[id]: found[roots[id]] for id in ids}

    def _links_of(self, chains: Iterable[int], tag_id: int) -> list[DocumentTag]:
        links = self._session.query(
            DocumentTag, equals(tag_id=tag_id), order=(Order("id"),)
        ).narrow(In("document_id", chains))
        return list(self._session.select(links))

    def _link_ids(self, count: int) -> list[int]:
        ids = self._session.new_ids({DocumentTag: count, AuditEntry: 0})
        return ids.get(DocumentTag, [])

    def _new_link(self, id: int, root_id: int, tag_id: int) -> DocumentTag:
        tenant = self._session.tenant
        return DocumentTag(id=id, tenant_id=tenant, document_id=root_id, tag_id=tag_id)

    def _as_seen(self, ids: Sequence[int]) -> list[Document]:
        found = self._session.get_many(Document, ids, self._session.tenant)
        return [found[id] for id in ids]

    def _check_found(self, ids: Iterable[int], found: Iterable[int]) -> None:
        there = set(found)
        for id in ids:
            if id not in there:
                raise NotFound("document", id)

    def _deleted(self, chain: Chain) -> Any:
        return races.deleted_document(self._session, chain.id, chain.id)


def _texts(documents: Rows[Document]) -> list[Text]:
    return list(zip(documents.column("client_id"), documents.column("content"), strict=True))
