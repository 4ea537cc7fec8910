"""Rules for tags and their links to documents (TAG)."""

from collections.abc import Sequence

from loki_storage.batch import Insert
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import InvalidField
from loki_storage.models import Chain, DocumentTag, Tag
from loki_storage.rules.change import NO_CLIENT, Change, Removal, Step, guarded_edit
from loki_storage.rules.documents import require_live

__all__ = ["EDITABLE", "create", "delete", "link", "unlink", "update"]


def create(tag: Tag) -> Change:
    """A new tag."""
    return _change(AuditAction.CREATE, tag, [Insert(tag)])


EDITABLE = ("name", "description", "category", "color")
"""What ``update`` may change."""


def update(tag: Tag, **fields: object) -> Change | None:
    """Change a tag; None where nothing would change."""
    for name in fields:
        if name not in EDITABLE:
            raise InvalidField(name, "cannot be updated on a tag", EDITABLE)
    changed = guarded_edit(tag, **fields)
    return _change(AuditAction.UPDATE, tag, [changed]) if changed.changes else None


def delete(tag: Tag, links: Sequence[DocumentTag]) -> Change:
    """Remove a tag and its links in one batch (TAG-2)."""
    steps: list[Step] = [*map(Removal, links), Removal(tag)]
    return _change(AuditAction.DELETE, tag, steps)


def link(chain: Chain, links: Sequence[DocumentTag]) -> Change:
    """Put tags on a live document."""
    return _document_change(chain, [*map(Insert, links), require_live(chain)])


def unlink(chain: Chain, link: DocumentTag) -> Change:
    """Take a tag from a live document."""
    return _document_change(chain, [Removal(link), require_live(chain)])


def _document_change(chain: Chain, steps: Sequence[Step]) -> Change:
    return Change(
        action=AuditAction.UPDATE,
        entity_type=EntityType.DOCUMENT,
        entity_id=chain.id,
        document_id=chain.id,
        client_id=chain.client_id,
        steps=steps,
    )


def _change(action: AuditAction, tag: Tag, steps: Sequence[Step]) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.TAG,
        entity_id=tag.id,
        client_id=NO_CLIENT,
        steps=steps,
    )
