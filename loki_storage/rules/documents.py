"""Rules for documents, versions, soft delete and duplicates (DOC, VER, DEL, DUP)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import attrs

from loki_storage.batch import Insert, Require
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import (
    DuplicateDocument,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleVersion,
)
from loki_storage.models import Chain, Document, DocumentTag, Record
from loki_storage.rows import Rows
from loki_storage.rules.change import Change, Changes, Edit, Step, edit
from loki_storage.values import JsonValue

__all__ = [
    "DESCRIPTIVE",
    "ChainView",
    "OnDuplicate",
    "check_on_duplicate",
    "content_hash",
    "create",
    "create_all",
    "create_intercepted",
    "create_version",
    "delete",
    "delete_version",
    "descriptive",
    "duplicate_of",
    "first_version",
    "first_versions",
    "kept",
    "new_version",
    "require_live",
    "restore",
    "restore_version",
    "same_text",
    "second_version",
    "update",
]

OnDuplicate = Literal["raise", "return", "allow"]
DESCRIPTIVE = ("title", "description", "source", "language", "metadata_json")
"""The fields of a head that ``update`` may change, and a new version inherits (VER-5, VER-7)."""
_TICK = timedelta(microseconds=1)


@attrs.frozen
class ChainView:
    """What an operation on a chain must know of it: its bookkeeping, its head, its last number."""

    chain: Chain
    head: Document | None
    last: Document

    @property
    def root_id(self) -> int:
        return self.chain.id


def content_hash(content: str) -> str:
    """SHA-256 of the UTF-8 bytes, as hex (DOC-1)."""
    return sha256(content.encode()).hexdigest()


def _text(content: str) -> dict[str, Any]:
    """The content, checked before anything is made of it, and what follows from it (DOC-1)."""
    text = str(Document.domains["content"].accept("content", content))
    return {"content": text, "content_hash": content_hash(text), "content_length": len(text)}


def check_on_duplicate(on_duplicate: str) -> None:
    """``InvalidValue`` for anything but the three ways."""
    if on_duplicate not in ("raise", "return", "allow"):
        raise InvalidValue("on_duplicate", 'must be "raise", "return" or "allow"')


def same_text(heads: Sequence[Document], content: str) -> Document | None:
    """The live head that already holds exactly this text (DUP-1)."""
    return next((head for head in heads if head.content == content), None)


def first_version(*, id: int, tenant: str, content: str, now: datetime, **fields: Any) -> Document:
    """Version 1 of a new document; its id names the chain."""
    return Document(
        id=id,
        tenant_id=tenant,
        root_id=id,
        created_at=now,
        updated_at=now,
        **_text(content),
        **fields,
    )


def first_versions(
    ids: Sequence[int], tenant: str, now: datetime, fields: Mapping[str, Sequence[Any]]
) -> Rows[Document]:
    """Version 1 of each of many new documents, at least one; ``fields`` are columns, checked."""
    texts = fields["content"]
    columns = {
        **fields,
        "id": ids,
        "root_id": ids,
        "content_hash": list(map(content_hash, texts)),
        "content_length": list(map(len, texts)),
    }
    first = {field: column[0] for field, column in columns.items()}
    document = Document(tenant_id=tenant, created_at=now, updated_at=now, **first)
    return Rows.copies(document, **columns)


def second_version(document: Document, *, id: int, content: str) -> Document:
    """Version 2 of a document that is created in the same moment."""
    later = {"id": id, "version": 2, "parent_id": document.id}
    return document.replaced({**later, **_text(content)})


def create(
    document: Document, *, tags: Iterable[DocumentTag] = (), on_duplicate: OnDuplicate
) -> Change:
    """Store version 1; its text is claimed unless another of the same text is welcome (DUP-1)."""
    claim = None if on_duplicate == "allow" else document.content_hash
    return _created(document, [], claim, None, tags)


def create_all(
    documents: Rows[Document],
    claimed: Sequence[bool],
    tags: Sequence[Sequence[DocumentTag]] = (),
) -> Changes:
    """``create`` of each of many documents; ``claimed``: whether its text is (DUP-1).

    ``tags``: of each document; nothing where none has any.
    """
    hashes, clients = documents.column("content_hash"), documents.column("client_id")
    claims = [hash if claims else None for hash, claims in zip(hashes, claimed, strict=True)]
    chain = Chain(id=documents.ids[0], tenant_id=documents[0].tenant_id, client_id=clients[0])
    chains = Rows.copies(chain, id=documents.ids, client_id=clients, text_claim=claims)
    return Changes(
        action=AuditAction.CREATE,
        ids=documents.ids,
        client_ids=clients,
        rows=[chains, documents],
        others=[list(map(Insert, links)) for links in tags],
    )


def _created(
    document: Document,
    versions: Sequence[Document],
    text_claim: str | None,
    intercept_claim: str | None,
    tags: Iterable[DocumentTag],
) -> Change:
    chain = Chain(
        id=document.id,
        tenant_id=document.tenant_id,
        client_id=document.client_id,
        revision=len(versions),
        text_claim=text_claim,
        intercept_claim=intercept_claim,
    )
    records: list[Record] = [chain, document, *versions, *tags]
    return _change(AuditAction.CREATE, chain, [Insert(record) for record in records])


def create_intercepted(document: Document, corrected: Document | None) -> Change:
    """Store an intercepted document, and its corrected text as version 2 (DUP-1, DUP-4)."""
    claim = document.content_hash
    if corrected is None:
        return _created(document, [], claim, claim, ())
    return _created(document, [corrected], None, claim, ())


def create_version(
    view: ChainView, parent: Document, document: Document, action: str = AuditAction.VERSION
) -> Change:
    """Append a version that ``new_version`` built on the head (VER-4)."""
    if view.head is None:
        raise NotFound("document", parent.id)
    if parent.id != view.head.id:
        raise StaleVersion(parent.id, view.head.id, view.root_id)
    steps: list[Step] = [
        edit(
            view.head,
            is_latest=False,
            updated_at=max(document.created_at, view.head.updated_at),
        ),
        Insert(document),
        _revise(view.chain, text_claim=None),
    ]
    metadata: JsonValue = {"built_on": view.head.id, "version": document.version}
    return _change(action, view.chain, steps, metadata)


def new_version(
    view: ChainView, *, id: int, content: str, now: datetime, user_id: str | None, **given: Any
) -> Document:
    """The next version: the next number after live and deleted ones alike (VER-1, VER-2, VER-7)."""
    head = view.head or view.last
    _check_descriptive(given)
    described = {name: head.stored(name) for name in DESCRIPTIVE} | given
    moment = max(now, view.last.created_at)
    return Document(
        id=id,
        tenant_id=head.tenant_id,
        root_id=view.root_id,
        document_type=head.document_type,
        client_id=head.client_id,
        version=view.last.version + 1,
        parent_id=view.last.id,
        user_id=user_id,
        created_at=moment,
        updated_at=moment,
        **_text(content),
        **described,
    )


def update(view: ChainView, document: Document, now: datetime, **fields: Any) -> Change | None:
    """Change descriptive fields of the head; None where nothing would change (VER-5)."""
    _check_descriptive(fields)
    if view.head is None or document.is_deleted:
        raise NotFound("document", document.id)
    if document.id != view.head.id:
        raise StaleVersion(document.id, view.head.id, view.root_id)
    changed = edit(document, **fields)
    if not changed.changes:
        return None
    moved = edit(document, **changed.changes, updated_at=max(now, document.updated_at))
    return _change(AuditAction.UPDATE, view.chain, [moved, _revise(view.chain)])


def delete(
    chain: Chain, versions: Sequence[Document], now: datetime, reason: str | None = None
) -> Change | None:
    """Soft-delete every live version with one time, after every other of the chain (DEL-1)."""
    live = [version for version in versions if not version.is_deleted]
    if not live:
        return None
    moment = _deletion_time(versions, now)
    steps: list[Step] = [_deleted(version, moment) for version in live]
    claims = _claims_lost(chain, deleted=live, head_changes=True)
    steps.append(_revise(chain, live=False, **claims))
    metadata: JsonValue = None if reason is None else {"reason": reason}
    return _change(AuditAction.DELETE, chain, steps, metadata)


def delete_version(
    chain: Chain, versions: Sequence[Document], id: int, now: datetime
) -> Change | None:
    """Soft-delete one version; the highest live one is the head afterwards (DEL-1)."""
    version = next(v for v in versions if v.id == id)
    live = [v for v in versions if not v.is_deleted]
    if version.is_deleted:
        return None
    if live == [version]:
        return delete(chain, versions, now)
    moment = _deletion_time(versions, now)
    steps: list[Step] = [_deleted(version, moment)]
    if version.is_latest:
        heir = max((v for v in live if v is not version), key=lambda v: v.version)
        steps.append(edit(heir, is_latest=True, updated_at=max(moment, heir.updated_at)))
    claims = _claims_lost(chain, deleted=[version], head_changes=version.is_latest)
    steps.append(_revise(chain, **claims))
    return _change(AuditAction.DELETE, chain, steps, {"version": version.version})


def restore(chain: Chain, versions: Sequence[Document], now: datetime) -> Change | None:
    """Bring back the versions that were deleted last; nothing on a live document (DEL-4)."""
    if any(not version.is_deleted for version in versions):
        return None
    latest = max(v.deleted_at for v in versions if v.deleted_at is not None)
    back = [version for version in versions if version.deleted_at == latest]
    head = max(back, key=lambda version: version.version)
    steps: list[Step] = [_restored(v, is_latest=v is head, now=now) for v in back]
    return _change(AuditAction.RESTORE, chain, [*steps, _revise(chain, live=True)])


def restore_version(
    chain: Chain, versions: Sequence[Document], id: int, now: datetime
) -> Change | None:
    """Bring back one version; it is the head if it is now the highest live one (DEL-4)."""
    version = next(v for v in versions if v.id == id)
    if not version.is_deleted:
        return None
    head = next((v for v in versions if v.is_latest), None)
    leads = head is None or version.version > head.version
    steps: list[Step] = [_restored(version, is_latest=leads, now=now)]
    claims: dict[str, object] = {}
    if head is not None and leads:
        steps.append(edit(head, is_latest=False, updated_at=max(now, head.updated_at)))
        claims = _claims_lost(chain, deleted=(), head_changes=True)
    steps.append(_revise(chain, live=True, **claims))
    return _change(AuditAction.RESTORE, chain, steps, {"version": version.version})


def kept(root_id: int, policy: str | None) -> IllegalTransition:
    """The error that names the policy which keeps a document (RET-2)."""
    return IllegalTransition(f"retention policy {policy!r} keeps document {root_id} for now")


def require_live(chain: Chain) -> Require:
    """What a tag link asks of its document (VER-10)."""
    return Require(Chain, chain.id, {"live": True})


def duplicate_of(existing: Document | None) -> DuplicateDocument:
    """The error that names the live document with the same text."""
    return DuplicateDocument(None if existing is None else existing.id)


def _change(action: str, chain: Chain, steps: Sequence[Step], metadata: JsonValue = None) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.DOCUMENT,
        entity_id=chain.id,
        document_id=chain.id,
        client_id=chain.client_id,
        steps=steps,
        metadata=metadata,
    )


def _revise(chain: Chain, **changes: object) -> Edit:
    """One more operation on the chain, guarded by the revision that was read (VER-10)."""
    return edit(chain, {"revision": chain.revision}, revision=chain.revision + 1, **changes)


def _claims_lost(
    chain: Chain, *, deleted: Sequence[Document], head_changes: bool
) -> dict[str, object]:
    """The claims that end: the text's with version 1's headship, the intercept's with its life."""
    lost: dict[str, object] = {}
    if head_changes:
        lost["text_claim"] = None
    if any(version.version == 1 for version in deleted):
        lost["intercept_claim"] = None
    return lost


def _deletion_time(versions: Sequence[Document], now: datetime) -> datetime:
    times = [version.deleted_at for version in versions if version.deleted_at is not None]
    return max([now, *(time + _TICK for time in times)])


def _deleted(version: Document, moment: datetime) -> Edit:
    return edit(
        version,
        is_deleted=True,
        deleted_at=moment,
        is_latest=False,
        updated_at=max(moment, version.updated_at),
    )


def _restored(version: Document, *, is_latest: bool, now: datetime) -> Edit:
    return edit(
        version,
        is_deleted=False,
        deleted_at=None,
        is_latest=is_latest,
        updated_at=max(now, version.updated_at),
    )


def _check_descriptive(fields: Mapping[str, object]) -> None:
    for name in fields:
        if name not in DESCRIPTIVE:
            raise InvalidField(name, "is not a descriptive field of a document", DESCRIPTIVE)


def descriptive(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Descriptive arguments as field names: the argument ``metadata`` is ``metadata_json``."""
    named = {("metadata_json" if name == "metadata" else name): v for name, v in fields.items()}
    for name in named:
        if name not in DESCRIPTIVE or "metadata_json" in fields:
            known = ("title", "description", "source", "language", "metadata")
            raise InvalidField(name, "is not a descriptive field of a document", known)
    return named
