"""Does what is due, once: retention, expired exports, old backups, traces in files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from loki_storage.backup_manager import BackupManager
from loki_storage.errors import StorageError
from loki_storage.export_manager import ExportManager
from loki_storage.models import AuditEntry, ExportLog
from loki_storage.protocol import Count
from loki_storage.query import Query
from loki_storage.retention.manager import RetentionManager
from loki_storage.rules.change import Actor
from loki_storage.storage import Storage

__all__ = ["Chore", "maintain"]


@attrs.frozen
class Chore:
    """One kind of work, and what came of it; ``error`` names the error that stopped it."""

    name: str
    done: dict[str, Any] = attrs.field(factory=dict)
    error: str | None = None


def maintain(
    storage: Storage,
    *,
    actor: Actor | str | None = None,
    tenant: str | None = None,
    export_dir: Path | str = "data/exports",
    backup_dir: Path | str | None = None,
    audit_days: int | None = None,
    patience: float = 60.0,
) -> list[Chore]:
    """All chores, one after the other; one that fails does not keep the others from being done.

    Retention runs the policies whose ``next_run`` has come, of every tenant or of one (policies for
    ``audit`` clean the trail up). ``backup_dir``: also remove old backups there, as
    ``cleanup_old_backups`` does by itself. ``audit_days``: also remove audit entries older than
    that, where no policy does. ``patience``: seconds to wait for another run of retention.
    """
    chores: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("retention", lambda: _retention(storage, actor, tenant, patience)),
        ("exports", lambda: _exports(storage, actor, tenant, export_dir)),
    ]
    if backup_dir is not None:
        backups = BackupManager(storage, backup_dir, actor=actor, tenant=tenant)
        chores.append(("backups", lambda: {"removed": backups.cleanup_old_backups()}))
    if audit_days is not None:
        chores.append(("audit", lambda: _audit(storage, actor, tenant, audit_days)))
    chores.append(("files", lambda: _files(storage)))
    return [_tried(name, chore) for name, chore in chores]


def _tried(name: str, chore: Callable[[], dict[str, Any]]) -> Chore:
    try:
        return Chore(name, chore())
    except StorageError as error:
        return Chore(name, error=f"{type(error).__name__}: {error}")


def _retention(
    storage: Storage, actor: Actor | str | None, tenant: str | None, patience: float
) -> dict[str, Any]:
    manager = RetentionManager(storage, actor=actor, tenant=tenant)
    plan = manager.preview(due_only=True)
    report = manager.run(plan, patience=patience)
    return {
        "affected": report.affected,
        "skipped": report.skipped,
        "runs": [each.run_id for each in report.tenants],
    }


def _exports(
    storage: Storage, actor: Actor | str | None, tenant: str | None, folder: Path | str
) -> dict[str, Any]:
    tenants = [tenant] if tenant is not None else _tenants_of(storage, Query(ExportLog, None))
    removed = [
        name
        for each in tenants
        for name in ExportManager(
            storage, folder, actor=actor, tenant=each
        ).cleanup_expired_exports()
    ]
    return {"removed": removed}


def _audit(
    storage: Storage, actor: Actor | str | None, tenant: str | None, days: int
) -> dict[str, Any]:
    tenants = [tenant] if tenant is not None else _tenants_of(storage, Query(AuditEntry, None))
    removed = 0
    for each in tenants:
        with storage.session(actor=actor, tenant=each) as session:
            removed += session.audit.cleanup_old_entries(days)
    return {"removed": removed}


def _files(storage: Storage) -> dict[str, Any]:
    storage.backend.tidy()
    return {}


def _tenants_of(storage: Storage, query: Query) -> list[str]:
    groups = storage.backend.aggregate(query, ["tenant_id"], [Count()])
    return [str(group.key[0]) for group in groups]
