"""What a tenant's documents must be, written from the laws alone (VER, DEL, DUP, TAG, AUD-1).

Nothing of the SDK is imported but its errors: what the state machine compares must not share a
mistake with what it is compared with. A ``World`` is an immutable value, so a commit keeps one and
a rollback goes back to one. What follows from the laws is derived, never stored: a version's number
is its place, its parent the version before it, the head the highest live one.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Self

import attrs

from loki_storage.errors import (
    DuplicateDocument,
    IllegalTransition,
    NotFound,
    StaleVersion,
    StaleWrite,
    StorageError,
)

__all__ = ["Document", "Refused", "Version", "World", "merged"]

_TICK = timedelta(microseconds=1)
_DESCRIPTIVE = ("title", "description", "source", "language", "metadata_json")


class Refused(Exception):
    """The laws refuse the operation with this error, whose attributes are among these values."""

    def __init__(self, error: type[StorageError], **facts: Sequence[int | None]) -> None:
        super().__init__(error.__name__)
        self.error, self.facts = error, facts


@attrs.frozen(kw_only=True)
class Version:
    """One version: what its own row says."""

    id: int
    content: str
    created_at: datetime
    user_id: str | None = None
    title: str | None = None
    description: str | None = None
    source: str | None = None
    language: str | None = "en"
    metadata_json: Any = None
    deleted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Document:
    """A document with all of its versions, in order."""

    client_id: str
    document_type: str
    versions: tuple[Version, ...]
    tags: frozenset[str] = frozenset()
    revision: int = 0
    text_claim: str | None = None
    """The text itself; the store holds its hash."""

    @property
    def root_id(self) -> int:
        return self.versions[0].id

    @property
    def live(self) -> list[Version]:
        return [version for version in self.versions if version.deleted_at is None]

    @property
    def head(self) -> Version | None:
        return self.live[-1] if self.live else None

    def version(self, id: int) -> Version:
        return next(version for version in self.versions if version.id == id)

    def row(self, version: Version) -> dict[str, Any]:
        """The row of a version as the store must hold it, but for ``updated_at``."""
        place = self.versions.index(version)
        return {
            **attrs.asdict(version, recurse=False),
            "content_hash": sha256(version.content.encode()).hexdigest(),
            "content_length": len(version.content),
            "document_type": self.document_type,
            "client_id": self.client_id,
            "root_id": self.root_id,
            "version": place + 1,
            "parent_id": self.versions[place - 1].id if place else None,
            "is_latest": version == self.head,
            "is_deleted": version.deleted_at is not None,
        }

    def changed(self, *versions: Version) -> Self:
        """These versions instead of those with the same ids; one operation more (VER-10).

        Version 1 loses the claim on its text with its headship or its life (DUP-1).
        """
        by_id = {version.id: version for version in versions}
        now = attrs.evolve(self, versions=tuple(by_id.get(v.id, v) for v in self.versions))
        head = now.head
        claim = self.text_claim if head is not None and head.id == self.root_id else None
        return attrs.evolve(now, revision=self.revision + 1, text_claim=claim)

    def claims(self, other: "Document") -> bool:
        """Whether both claim one text, which only one may (DUP-1)."""
        mine, theirs = (self.client_id, self.text_claim), (other.client_id, other.text_claim)
        return self.text_claim is not None and mine == theirs

    def next_deletion(self, now: datetime) -> datetime:
        """Later than every deletion of the chain that still shows (DEL-1)."""
        times = [version.deleted_at for version in self.versions if version.deleted_at]
        return max([now, *(time + _TICK for time in times)])


Entity = tuple[str, int]
"""What an audit entry is about: entity type and id."""


@attrs.frozen(kw_only=True)
class World:
    """All documents and tags of a tenant, and what the audit must tell, in order."""

    documents: Mapping[int, Document] = attrs.field(factory=dict)
    tags: Mapping[str, int] = attrs.field(factory=dict)
    audited: tuple[Entity, ...] = ()
    validations: Mapping[int, Any] = attrs.field(factory=dict)
    """Of ``reviews``, by id; so are corrections."""
    corrections: Mapping[int, Any] = attrs.field(factory=dict)
    updated: Mapping[int, datetime] = attrs.field(factory=dict)
    """``updated_at`` per version, as it was last seen: the laws say when it moves, not where to."""

    # What there is.

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        """The row of every version, by id."""
        return {
            version.id: document.row(version)
            for document in self.documents.values()
            for version in document.versions
        }

    @property
    def reviewed(self) -> tuple[object, object]:
        """Every validation and correction."""
        return self.validations, self.corrections

    @property
    def heads(self) -> Iterator[tuple[Document, Version]]:
        for document in self.documents.values():
            if document.head is not None:
                yield document, document.head

    def of(self, id: int) -> Document:
        """The document that a version belongs to; ``NotFound`` for an unknown id."""
        for document in self.documents.values():
            if any(version.id == id for version in document.versions):
                return document
        raise Refused(NotFound)

    def live(self, id: int) -> tuple[Document, Version, Version]:
        """A live version's document, itself, and the head; ``NotFound`` if it is deleted."""
        document = self.of(id)
        version = document.version(id)
        if version.deleted_at is not None or document.head is None:
            raise Refused(NotFound)
        return document, version, document.head

    def same_text(self, client_id: str, content: str) -> list[int]:
        """The client's live heads that have exactly this text (DUP-1)."""
        return [
            head.id
            for document, head in self.heads
            if document.client_id == client_id and head.content == content
        ]

    def as_of(self, id: int, time: datetime, *, include_deleted: bool = False) -> Version | None:
        """The highest version of then that is live today, or was only deleted since (VER-8)."""
        found = [
            version
            for version in self.of(id).versions
            if version.created_at <= time
            and (version.deleted_at is None or (include_deleted and version.deleted_at > time))
        ]
        return found[-1] if found else None

    def changed_in(self, later: "World") -> "World":
        """Those of the documents that are others in a later world."""
        changed = {r: d for r, d in self.documents.items() if later.documents.get(r) != d}
        return attrs.evolve(self, documents=changed)

    # What is done.

    def create(
        self, version: Version, client_id: str, document_type: str, on_duplicate: str
    ) -> "World":
        """A new document; the world as it is where one of the same text is returned (DUP-1)."""
        same = self.same_text(client_id, version.content)
        if same and on_duplicate == "raise":
            raise Refused(DuplicateDocument, existing_id=same)
        if same and on_duplicate == "return":
            return self
        document = Document(
            client_id=client_id,
            document_type=document_type,
            versions=(version,),
            text_claim=None if on_duplicate == "allow" else version.content,
        )
        return self._with(document)

    def create_version(self, parent_id: int, version: Version, **given: Any) -> "World":
        """A version on the head, with what is not given inherited from it (VER-4, VER-7)."""
        document, parent, head = self.live(parent_id)
        if parent != head:
            raise Refused(StaleVersion, current_id=[head.id])
        return self.appended(document, version, given)

    def revert(self, version_id: int, version: Version) -> "World":
        """A version with the text of an earlier one (VER-9)."""
        document, source, _ = self.live(version_id)
        return self.appended(document, attrs.evolve(version, content=source.content), {})

    def update(self, id: int, **fields: Any) -> "World":
        """Other descriptive fields of the head (VER-5)."""
        document, version, head = self.live(id)
        if version != head:
            raise Refused(StaleVersion, current_id=[head.id])
        changed = attrs.evolve(version, **fields)
        return self if changed == version else self._with(document.changed(changed))

    def delete(self, id: int, now: datetime) -> "World":
        """Every live version is deleted, with one time (DEL-1, DEL-3)."""
        document = self.of(id)
        return self._deleted(document, document.live, now)

    def delete_version(self, id: int, now: datetime) -> "World":
        """One version is deleted (DEL-1, DEL-3)."""
        document = self.of(id)
        return self._deleted(document, [v for v in document.live if v.id == id], now)

    def restore(self, id: int, now: datetime) -> "World":
        """What was deleted last comes back, unless the document is live (DEL-4)."""
        document = self.of(id)
        if document.live:
            return self
        times = [version.deleted_at for version in document.versions if version.deleted_at]
        return self._restored(
            document, [v for v in document.versions if v.deleted_at == max(times)]
        )

    def restore_version(self, id: int, now: datetime) -> "World":
        """One version comes back (DEL-4)."""
        document = self.of(id)
        dead = [v for v in document.versions if v.id == id and v.deleted_at is not None]
        return self._restored(document, dead)

    def purge(self, id: int) -> "World":
        """A deleted document is gone for ever; its audit entries and its tags stay (DEL-6)."""
        document = self.of(id)
        if document.live:
            raise Refused(IllegalTransition)
        left = {root: d for root, d in self.documents.items() if root != document.root_id}
        gone = {version.id for version in document.versions}
        world = attrs.evolve(
            self,
            documents=left,
            validations=_without(self.validations, gone),
            corrections=_without(self.corrections, gone),
        )
        return world.told("document", document.root_id)

    def add_tag(self, id: int, name: str, tag_id: int) -> "World":
        """A tag on a live document; a new name becomes a tag (TAG-1, TAG-2, DEL-5)."""
        document, _, _ = self.live(id)
        if name in document.tags:
            return self
        world = self if name in self.tags else self._tag(name, tag_id)
        return world._with(attrs.evolve(document, tags=document.tags | {name}))

    def remove_tag(self, id: int, name: str, tag_id: int) -> "World":
        """A tag taken from a live document (TAG-1)."""
        document, _, _ = self.live(id)
        if name not in document.tags:
            return self
        return self._with(attrs.evolve(document, tags=document.tags - {name}))

    def seen(self, updated: Mapping[int, datetime]) -> "World":
        """The same, with ``updated_at`` as the store shows it now."""
        return attrs.evolve(self, updated=dict(updated))

    def appended(
        self, document: Document, version: Version, given: Mapping[str, Any] = MappingProxyType({})
    ) -> "World":
        """The document with one version more, which inherits what is not given (VER-7)."""
        last, head = document.versions[-1], document.head
        inherited = {name: getattr(head, name) for name in _DESCRIPTIVE}
        moment = max(version.created_at, last.created_at)
        new = attrs.evolve(version, **{**inherited, **given}, created_at=moment)
        longer = attrs.evolve(document, versions=(*document.versions, new))
        return self._with(longer.changed())

    def _deleted(self, document: Document, versions: list[Version], now: datetime) -> "World":
        if not versions:
            return self
        moment = document.next_deletion(now)
        return self._with(
            document.changed(*(attrs.evolve(version, deleted_at=moment) for version in versions))
        )

    def _restored(self, document: Document, versions: list[Version]) -> "World":
        if not versions:
            return self
        return self._with(
            document.changed(*(attrs.evolve(version, deleted_at=None) for version in versions))
        )

    def _tag(self, name: str, id: int) -> "World":
        return attrs.evolve(self, tags={**self.tags, name: id}).told("tag", id)

    def _with(self, document: Document) -> "World":
        """This document as it is now, told by one audit entry (AUD-1)."""
        documents = {**self.documents, document.root_id: document}
        return attrs.evolve(self, documents=documents).told("document", document.root_id)

    def told(self, entity_type: str, entity_id: int) -> "World":
        """One audit entry more (AUD-1)."""
        return attrs.evolve(self, audited=(*self.audited, (entity_type, entity_id)))


def _without(children: Mapping[int, Any], versions: set[int]) -> dict[int, Any]:
    """Those that belong to none of these versions."""
    return {id: child for id, child in children.items() if child.document_id not in versions}


def merged(base: World, ours: World, theirs: World) -> World | list[Refused]:
    """What we did to ``base``, committed after they have made it ``theirs`` (VER-10, TXN-7).

    Where that race is lost: the errors that may tell it.
    """
    changed = {root: d for root, d in ours.documents.items() if base.documents.get(root) != d}
    lost = [
        refusal
        for root, document in changed.items()
        for refusal in _lost(base.documents.get(root), document, theirs)
    ]
    if lost:
        return lost
    kept = {root: _tagged(base, document, theirs) for root, document in changed.items()}
    return attrs.evolve(
        theirs,
        documents={**theirs.documents, **kept},
        tags={**theirs.tags, **ours.tags},
        audited=(*theirs.audited, *ours.audited[len(base.audited) :]),
        updated={**theirs.updated, **_moved(ours.updated, base.updated)},
    )


def _lost(base: Document | None, ours: Document, theirs: World) -> Iterator[Refused]:
    """Why our change of a document cannot follow theirs."""
    if base is None:
        if any(ours.claims(other) for other in theirs.documents.values()):
            same = theirs.same_text(ours.client_id, str(ours.text_claim))
            yield Refused(DuplicateDocument, existing_id=same)
        return
    now = theirs.documents[base.root_id]
    if ours.tags != base.tags and now.head is None:
        yield Refused(NotFound, id=[version.id for version in ours.versions])
    if ours.revision != base.revision and now.revision != base.revision:
        yield Refused(StaleVersion, current_id=[now.head.id if now.head else None])
        yield Refused(StaleWrite)


def _tagged(base: World, ours: Document, theirs: World) -> Document:
    """Our document; where we changed its tags only, theirs with these changes."""
    before = base.documents.get(ours.root_id)
    if before is None or ours.revision != before.revision:
        return ours
    now = theirs.documents[ours.root_id]
    tags = (now.tags | (ours.tags - before.tags)) - (before.tags - ours.tags)
    return attrs.evolve(now, tags=tags)


def _moved(after: Mapping[int, datetime], before: Mapping[int, datetime]) -> dict[int, datetime]:
    return {id: time for id, time in after.items() if before.get(id) != time}
