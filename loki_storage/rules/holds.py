"""Rules for legal holds (HLD): placing, releasing, what one covers."""

from collections.abc import Iterable
from datetime import datetime

from loki_storage.batch import Insert
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import IllegalTransition, InvalidField, InvalidValue
from loki_storage.models import Correction, Document, Kind, LegalHold, Validation
from loki_storage.query import Query
from loki_storage.rules.change import NO_CLIENT, Change, Step, guarded_edit, ranges
from loki_storage.rules.retention import selection

__all__ = [
    "HELD",
    "check_hold",
    "covered_ids",
    "covered_query",
    "id_ranges",
    "place",
    "release",
]

HELD: dict[str, Kind] = {
    EntityType.DOCUMENT: Document,
    EntityType.VALIDATION: Validation,
    EntityType.CORRECTION: Correction,
}
"""What a hold may be on. A hold on a member protects its whole document from being destroyed."""


def check_hold(hold: LegalHold) -> None:
    """``InvalidValue`` or ``InvalidField`` for a hold that could not be judged."""
    if hold.entity_type not in HELD:
        raise InvalidField(hold.entity_type, "cannot be held", HELD)
    if (hold.stored("ids") is None) is (hold.stored("query") is None):
        raise InvalidValue("ids", "or a query is required, and only one of them")
    covered_query(hold)


def place(hold: LegalHold, state: Step) -> Change:
    """A new hold."""
    check_hold(hold)
    return _change(AuditAction.HOLD, hold, [Insert(hold), state])


def release(hold: LegalHold, now: datetime, by: str, reason: str | None, state: Step) -> Change:
    """End one hold; others on the same records stay (HLD-2)."""
    if hold.released_at is not None:
        raise IllegalTransition(f"hold {hold.id} is released already")
    ended = guarded_edit(hold, released_at=now, released_by=by, release_reason=reason)
    return _change(AuditAction.RELEASE, hold, [ended, state])


def id_ranges(ids: Iterable[int]) -> list[list[int]]:
    """Ids as a hold keeps them: as ranges, each once."""
    return ranges(set(ids))


def covered_ids(hold: LegalHold) -> tuple[Kind, set[int]]:
    """The kind of a hold, and the ids that it names."""
    ids = hold.ids or []
    return HELD[hold.entity_type], {id for first, last in ids for id in range(first, last + 1)}


def covered_query(hold: LegalHold) -> Query | None:
    """The query of a hold that names no ids."""
    return selection("query", hold.query, HELD[hold.entity_type], hold.tenant_id)


def _change(action: AuditAction, hold: LegalHold, steps: list[Step]) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.HOLD,
        entity_id=hold.id,
        client_id=NO_CLIENT,
        steps=steps,
        metadata={"name": hold.name},
    )
