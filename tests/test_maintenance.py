"""Maintenance does what is due, once, and one failure does not stop the rest."""

from pathlib import Path
from typing import Any

import pytest

from loki_storage.backup_manager import BackupManager
from loki_storage.errors import Forbidden
from loki_storage.export_manager import ExportManager
from loki_storage.maintenance import maintain
from loki_storage.models import AuditEntry
from loki_storage.storage import Storage
from tests.retention.places import Place, fill
from tests.stores import CLOCK, Fault, unsteady


@pytest.fixture
def place(store: Storage, tenant: str) -> Place:
    return Place(store, tenant)


def test_policies_run_when_they_are_due_and_not_before(place: Place, tmp_path: Path) -> None:
    place.policy(every_days=7)
    fill(place, 1)
    assert _done(place, tmp_path)["retention"]["affected"] == 1
    fill(place, 1)
    CLOCK.advance(days=-26)
    assert _done(place, tmp_path)["retention"]["affected"] == 0
    CLOCK.advance(days=26)
    assert _done(place, tmp_path)["retention"]["affected"] == 1


def test_expired_exports_and_old_audit_entries_go(place: Place, tmp_path: Path) -> None:
    fill(place, 1, days=0)
    exports = ExportManager(place.storage, tmp_path, tenant=place.tenant)
    file = Path(exports.export_documents("json", "client", "alice")["file_path"])
    CLOCK.advance(days=400)
    done = _done(place, tmp_path, audit_days=365)
    assert done["exports"]["removed"] == [file.name]
    assert not file.exists()
    assert done["audit"]["removed"] > 0
    oldest = min(row.timestamp for row in place.rows(AuditEntry))  # type: ignore[attr-defined]
    assert oldest > CLOCK().replace(year=CLOCK().year - 1) - (CLOCK() - CLOCK())


def test_old_backups_go_and_the_newest_stay(place: Place, tmp_path: Path) -> None:
    fill(place, 1, days=0)
    backups = BackupManager(place.storage, tmp_path / "backups", tenant=place.tenant)
    for _ in range(11):
        backups.create_backup("nightly")
        CLOCK.advance(seconds=1)
    CLOCK.advance(days=31)
    done = _done(place, tmp_path, backup_dir=tmp_path / "backups")
    assert len(done["backups"]["removed"]) == 1
    assert len(backups.list_backups()) == 10


def test_one_failure_does_not_stop_the_rest(place: Place, tmp_path: Path) -> None:
    place.policy()
    fill(place, 1, days=400)
    backend, storage = unsteady(place.storage)
    backend.fail(*[Fault(PermissionErrorOfOurs()) for _ in range(1)])
    chores = maintain(storage, tenant=place.tenant, export_dir=tmp_path, audit_days=365)
    errors = {chore.name: chore.error for chore in chores}
    assert errors.pop("retention") is not None
    assert set(errors.values()) == {None}


class PermissionErrorOfOurs(Forbidden):
    def __init__(self) -> None:
        super().__init__("no")

    """Whatever stops a chore."""


def _done(place: Place, folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    chores = maintain(place.storage, tenant=place.tenant, export_dir=folder, **options)
    assert [chore.error for chore in chores] == [None] * len(chores)
    return {chore.name: chore.done for chore in chores}
