"""Rules for the audit trail itself (AUD-3)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from loki_storage.batch import DeleteMany
from loki_storage.enums import AuditAction, EntityType
from loki_storage.models import AuditEntry
from loki_storage.rules.change import NO_CLIENT, Change, ranges
from loki_storage.values import Integer, JsonValue

__all__ = ["check_cleanup", "cleanup", "cleanup_limit", "event"]


def event(
    action: str,
    entity_type: str,
    entity_id: int | None,
    client_id: str,
    document_id: int | None,
    validation_id: int | None,
    metadata: JsonValue,
) -> Change:
    """An event of the application's own: it changes no row."""
    return Change(
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        client_id=client_id,
        document_id=document_id,
        validation_id=validation_id,
        steps=(),
        metadata=metadata,
    )


def check_cleanup(retention_days: int, batch_size: int) -> None:
    """``InvalidValue`` outside 1..36,500 days and 1..10,000 entries a batch."""
    for name, value, most in (
        ("retention_days", retention_days, 36_500),
        ("batch_size", batch_size, 10_000),
    ):
        Integer(1, most).accept(name, value)


def cleanup_limit(now: datetime, retention_days: int) -> datetime:
    """00:00 UTC of (today - days): with one day or more never within the last 24 hours."""
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    try:
        return midnight - timedelta(days=retention_days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def cleanup(entries: Sequence[AuditEntry], before: datetime) -> Change:
    """Remove old entries, told by their range, count and digest."""
    ids = [entry.id for entry in entries]
    told: JsonValue = {
        "before": before.isoformat(),
        "count": len(entries),
        "ids": ranges(ids),  # type: ignore[dict-item]
        "digest": f"sha256:{_digest(entries)}",
    }
    return Change(
        action=AuditAction.CLEANUP,
        entity_type=EntityType.AUDIT,
        entity_id=None,
        client_id=NO_CLIENT,
        steps=[DeleteMany(AuditEntry, ids)],
        metadata=told,
    )


def _digest(entries: Sequence[AuditEntry]) -> str:
    """SHA-256 over id, time and action of each entry, in id order."""
    lines = (
        f"{entry.id} {entry.timestamp.isoformat()} {entry.action}\n"
        for entry in sorted(entries, key=lambda entry: entry.id)
    )
    return sha256("".join(lines).encode()).hexdigest()
