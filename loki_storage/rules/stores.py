"""What the trail tells of the store as a whole: backups, restores, migrations (AUD-1)."""

from collections.abc import Mapping

from loki_storage.enums import AuditAction, EntityType
from loki_storage.rules.change import NO_CLIENT, Change
from loki_storage.values import JsonValue

__all__ = ["backed_up", "migrated", "restored"]


def backed_up(told: Mapping[str, JsonValue]) -> Change:
    """A backup was made; the store itself is as it was."""
    return _about_the_store(AuditAction.BACKUP, told)


def restored(told: Mapping[str, JsonValue]) -> Change:
    """All rows are those of a backup. Its own trail explains them."""
    return _about_the_store(AuditAction.RESTORE_STORE, told)


def migrated(before: str, now: str) -> Change:
    """The schema is of another revision; the records are the same."""
    return _about_the_store(AuditAction.MIGRATE, {"from": before, "to": now})


def _about_the_store(action: str, told: Mapping[str, JsonValue]) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.STORE,
        entity_id=None,
        client_id=NO_CLIENT,
        steps=(),
        metadata=dict(told),
    )
