"""What a backup holds, what a restore brings back, which backups go (BAK-1 to BAK-3)."""

import hashlib
import os
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Storage, open_storage
from loki_storage.backup_manager import BackupManager
from loki_storage.backups.names import SUFFIX
from loki_storage.enums import AuditAction
from loki_storage.errors import (
    BackupError,
    IllegalTransition,
    InvalidValue,
    OnHold,
    StorageDamaged,
    Unsupported,
)
from loki_storage.models import KINDS, AuditEntry, Document, LegalHold
from loki_storage.query import Query, equals
from tests.backups.stores import BACKENDS, fill, hold, kinds_of, rows, store, without
from tests.stores import CLOCK, unsteady

RESTORE = AuditAction.RESTORE_STORE


@pytest.fixture
def told(manager: BackupManager) -> dict[str, Any]:
    return manager.create_backup("daily", metadata={"why": "test"})


def path_of(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


# What is in it


def test_store_to_back_up_has_every_kind_that_can_be_made(storage: Storage) -> None:
    """Policies, holds, runs and what is archived come from retention, with tests of their own."""
    later = {"archived_documents", "data_retention_policies", "legal_holds", "retention_runs"}
    assert kinds_of(storage) >= KINDS.keys() - later


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("target", BACKENDS)
def test_restored_store_is_equal_row_by_row(
    manager: BackupManager, storage: Storage, tmp_path: Path, target: str, compress: bool
) -> None:
    before = rows(storage)
    manager.create_backup("daily", compress=compress)
    with store(target, tmp_path, "restored") as other:
        restored = BackupManager(other, tmp_path / "backups").restore_backup("daily")
        assert without(rows(other), RESTORE) == before
        assert restored["tables"] == {
            kind.table: other.backend.count(Query(kind, None)) - (kind is AuditEntry)
            for kind in KINDS.values()
        }


def test_backup_tells_what_it_is(
    told: dict[str, Any], storage: Storage, folder: Path, manager: BackupManager
) -> None:
    path = path_of(folder, told["name"])
    assert told["name"].startswith(f"daily-{CLOCK():%Y}")
    assert told["size"] == path.stat().st_size
    assert told["checksum"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["created_at"] == CLOCK()
    assert told["metadata"] == {"why": "test"}
    assert told["tables"]["documents"] == storage.backend.count(Query(Document, None))
    assert (told["tenant"], told["consistent"], told["include_audit"]) == (None, True, True)
    assert told["audited"] is True
    assert manager.verify_backup("daily") == {k: v for k, v in told.items() if k != "audited"}
    (listed,) = manager.list_backups()
    assert listed["name"] == told["name"]


def test_modes_are_private_and_nothing_is_left(told: dict[str, Any], folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(folder, told["name"]).stat().st_mode) == 0o600
    assert os.listdir(folder) == [f"{told['name']}{SUFFIX}"]


def test_names_of_one_moment_differ(manager: BackupManager) -> None:
    """The tests' clock stands still."""
    names = [manager.create_backup("daily")["name"] for _ in range(3)]
    assert len(set(names)) == 3
    assert [each["name"] for each in manager.list_backups()] == names[::-1]


def test_audit_can_be_left_out_and_the_manifest_says_so(
    manager: BackupManager, tmp_path: Path
) -> None:
    told = manager.create_backup("lean", include_audit=False)
    assert told["include_audit"] is False
    assert "audit_trail" not in told["tables"]
    with store("memory", tmp_path) as other:
        BackupManager(other, tmp_path / "backups").restore_backup("lean")
        (entry,) = other.backend.select(Query(AuditEntry, None))
        assert entry.action == RESTORE
        told_rows = {row["kind"]: row["ids"] for row in entry.changes["rows"]}
        found = {r.id for r in rows(other) if isinstance(r, Document)}
        ids = {id for first, last in told_rows["documents"] for id in range(first, last + 1)}
        assert ids == found


def test_one_tenant_can_be_asked_for(storage: Storage, folder: Path, tmp_path: Path) -> None:
    told = BackupManager(storage, folder, tenant="other").create_backup("one")
    assert told["tenant"] == "other"
    with store("sqlite", tmp_path, "restored") as target:
        manager = BackupManager(target, folder)
        manager.restore_backup("one")
        assert without(rows(target), RESTORE) == without(
            list(storage.dump("other")), AuditAction.BACKUP
        )
        with pytest.raises(InvalidValue, match="all tenants"):
            manager.restore_backup("one", replace=True)


def test_backup_and_restore_are_in_the_trail(manager: BackupManager, storage: Storage) -> None:
    told = manager.create_backup("daily")
    manager.restore_backup("daily", replace=True)
    with storage.session() as session:
        (entry,) = session.audit.get_by_entity("store")
    assert (entry.action, entry.actor_id) == (RESTORE, "operator")
    assert entry.metadata_json["name"] == told["name"]
    assert entry.metadata_json["checksum"] == told["checksum"]


def test_made_backup_is_in_the_trail(
    told: dict[str, Any], storage: Storage, manager: BackupManager
) -> None:
    with storage.session() as session:
        (entry,) = session.audit.get_by_entity("store")
    assert (entry.action, entry.actor_id) == (AuditAction.BACKUP, "operator")
    assert entry.metadata_json["checksum"] == told["checksum"]


def test_progress_counts_rows(manager: BackupManager) -> None:
    seen: list[tuple[int, int]] = []
    manager.create_backup("daily", progress=lambda done, of: seen.append((done, of)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] > 0
    assert len({of for _, of in seen}) == 1


def test_backend_without_snapshots_needs_to_be_asked_and_it_is_told(
    storage: Storage, folder: Path
) -> None:
    manager = BackupManager(unsteady(storage)[1], folder)
    with pytest.raises(Unsupported):
        manager.create_backup("daily")
    assert os.listdir(folder) == []
    assert manager.create_backup("daily", consistent=False)["consistent"] is False


# Restores


def test_store_that_is_not_empty_is_left_alone(manager: BackupManager, storage: Storage) -> None:
    manager.create_backup("daily")
    before = rows(storage)
    with pytest.raises(IllegalTransition, match="not empty"):
        manager.restore_backup("daily")
    assert rows(storage) == before


def test_restore_takes_the_place_of_what_is_there(manager: BackupManager, storage: Storage) -> None:
    before = rows(storage)
    manager.create_backup("daily")
    fill(storage, "default", "third")
    manager.restore_backup("daily", replace=True)
    assert without(rows(storage), RESTORE) == before


def test_ids_go_on_after_a_restore(
    manager: BackupManager, storage: Storage, tmp_path: Path
) -> None:
    """Also above what was purged: an id is never used twice."""
    with storage.session() as session:
        last = session.documents.create_document("last", "email", "c")
        session.documents.delete(last.id)
    with storage.session() as session:
        session.documents.purge([last.id])
    manager.create_backup("daily")
    with store("sqlite", tmp_path, "restored") as other:
        BackupManager(other, tmp_path / "backups").restore_backup("daily")
        with other.session() as session:
            assert session.documents.create_document("new", "email", "c").id > last.id


def test_others_who_have_the_store_open_go_on(tmp_path: Path, folder: Path) -> None:
    """Ids leased before, findings known before, rows read before: all is looked at again."""
    with store("sqlite", tmp_path) as first, store("sqlite", tmp_path) as second:
        fill(first)
        manager = BackupManager(first, folder)
        for _ in range(3):
            fill(second, "default", "other")
        later = manager.create_backup("later")
        with store("sqlite", tmp_path, "early") as early:
            fill(early)
            fill(early)
            BackupManager(early, folder).create_backup("early")
        manager.restore_backup("early", replace=True)
        assert list(second.dump()) == list(first.dump())
        for storage in (second, first):
            storage.run(lambda s: s.documents.create_document(f"{s.now()}{id(s)}", "email", "c"))
            storage.run(validated)
        manager.restore_backup(later["name"], replace=True)
        for storage in (second, first):
            storage.run(validated)
        assert list(second.dump()) == list(first.dump())


def validated(session: Any) -> None:
    document = session.documents.get_all(limit=1)[0]
    validation = session.validations.create_validation(document.id, ["m"], "c")
    session.validations.start_validation(validation.id)
    session.validations.add_result(validation.id, "module", "m.g", "fail", severity="high")


def test_session_that_began_before_a_restore_meets_a_retryable_error(tmp_path: Path) -> None:
    """Its ids may be taken by now; the next attempt leases new ones."""
    folder = tmp_path / "backups"
    with store("sqlite", tmp_path) as first, store("sqlite", tmp_path) as second:
        with second.session() as session:  # leases ids
            session.documents.create_document("one", "email", "c")
        with store("sqlite", tmp_path, "big") as big:
            for _ in range(30):
                with big.session() as session:
                    session.documents.create_document(f"{_}", "email", "c")
            BackupManager(big, folder).create_backup("big")
        BackupManager(first, folder).restore_backup("big", replace=True)
        made = second.run(lambda s: s.documents.create_document("new", "email", "c"))
        assert made.id > 30


def test_hold_forbids_to_replace_what_it_lies_on(manager: BackupManager, storage: Storage) -> None:
    manager.create_backup("daily")
    hold(storage)
    before = rows(storage)
    with pytest.raises(OnHold, match="case 7"):
        manager.restore_backup("daily", replace=True)
    assert rows(storage) == before


def test_hold_that_is_placed_during_the_restore_forbids_it_all_the_same(
    manager: BackupManager, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the target and the moment when it is replaced."""
    manager.create_backup("daily")
    reserve = storage.backend.reserve
    held: list[bool] = []

    def placing(counts: Any) -> Any:
        if not held:
            held.append(True)
            hold(storage)
        return reserve(counts)

    monkeypatch.setattr(storage.backend, "reserve", placing)
    with pytest.raises(OnHold, match="case 7"):
        manager.restore_backup("daily", replace=True)
    assert held
    assert storage.backend.exists(Query(LegalHold, None))
    assert len(rows(storage)) > 1


def test_holds_are_restored(storage: Storage, manager: BackupManager, tmp_path: Path) -> None:
    hold(storage)
    before = rows(storage)
    manager.create_backup("daily")
    with store("memory", tmp_path) as other:
        BackupManager(other, tmp_path / "backups").restore_backup("daily")
        assert without(rows(other), RESTORE) == before


def test_target_url_is_opened_and_laid_out(manager: BackupManager, tmp_path: Path) -> None:
    manager.create_backup("daily")
    url = f"sqlite:///{tmp_path / 'new.db'}"
    manager.restore_backup("daily", url)
    with open_storage(url) as opened:
        assert opened.backend.count(Query(Document, None))
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


def test_log_that_a_lost_file_has_left_is_no_part_of_the_new_one(
    manager: BackupManager, tmp_path: Path
) -> None:
    manager.create_backup("daily")
    (tmp_path / "lost.db-wal").write_bytes(b"pages of the former file")
    with pytest.raises(StorageDamaged, match=r"lost\.db-wal"):
        manager.restore_backup("daily", f"sqlite:///{tmp_path / 'lost.db'}")
    assert not (tmp_path / "lost.db").exists()


def test_unknown_backup_is_told(manager: BackupManager) -> None:
    for call in (manager.restore_backup, manager.verify_backup, manager.delete_backup):
        with pytest.raises(BackupError, match="no backup nightly"):
            call("nightly")


# Native copies


@pytest.mark.parametrize("target", BACKENDS)
@pytest.mark.parametrize("compress", [True, False])
def test_native_copy_is_restored_anywhere(tmp_path: Path, target: str, compress: bool) -> None:
    folder = tmp_path / "backups"
    with store("sqlite", tmp_path) as storage, store(target, tmp_path, "restored") as other:
        fill(storage, "default", "other")
        before = rows(storage)
        manager = BackupManager(storage, folder)
        told = manager.create_backup("copy", native=True, compress=compress)
        assert told["native"] is True
        assert sum(told["tables"].values()) == len(before)
        assert manager.verify_backup("copy")["tables"] == told["tables"]
        BackupManager(other, folder).restore_backup("copy")
        assert without(rows(other), RESTORE) == before
        assert len(os.listdir(folder)) == 1


def test_native_copy_needs_a_file_and_is_whole(tmp_path: Path) -> None:
    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, tmp_path / "backups")
        with pytest.raises(Unsupported):
            manager.create_backup("copy", native=True)
        with pytest.raises(InvalidValue):
            manager.create_backup("copy", native=True, include_audit=False)
        assert manager.list_backups() == []
        assert os.listdir(tmp_path / "backups") == []


def test_file_that_the_host_opens_itself_has_no_native_copy(tmp_path: Path) -> None:
    """It may be encrypted; its rows can be backed up all the same."""

    def connect(*args: Any, **options: Any) -> Any:
        return sqlite3.connect(*args, **options)

    with open_storage(f"sqlite:///{tmp_path / 'own.db'}", connect=connect) as storage:
        manager = BackupManager(storage, tmp_path / "b")
        with pytest.raises(Unsupported, match="encrypted"):
            manager.create_backup("copy", native=True)
        assert manager.create_backup("rows")["native"] is False


# Which go


def at_days(manager: BackupManager, *days: int) -> list[str]:
    """Backups made so many days ago; the oldest first."""
    now, names = CLOCK.time, []
    try:
        for ago in days:
            CLOCK.time = now - timedelta(days=ago)
            names.append(manager.create_backup("daily")["name"])
    finally:
        CLOCK.time = now
    return names


@pytest.mark.parametrize(
    ("count", "days", "gone"),
    [(10, 30, 0), (2, 30, 2), (0, 30, 2), (3, 0, 1), (0, 0, 3), (1, 5, 3), (0, 45, 1)],
)
def test_backup_stays_that_either_rule_keeps(
    tmp_path: Path, count: int, days: int, gone: int
) -> None:
    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, tmp_path / "backups")
        names = at_days(manager, 60, 40, 20, 6)
        assert manager.cleanup_old_backups(keep_count=count, keep_days=days) == names[:gone]
        assert [each["name"] for each in manager.list_backups()] == names[gone:][::-1]


def test_newest_whole_backup_stays_whatever_the_rules_say(tmp_path: Path) -> None:
    with store("memory", tmp_path) as storage:
        manager, folder = BackupManager(storage, tmp_path / "backups"), tmp_path / "backups"
        names = at_days(manager, 60, 50, 40)
        for damaged in names[1:]:
            path = path_of(folder, damaged)
            path.write_bytes(path.read_bytes()[:-1])
        assert manager.cleanup_old_backups(0, 0) == names[1:]
        assert [each["name"] for each in manager.list_backups()] == names[:1]


def test_other_names_stay_when_one_is_asked_for(tmp_path: Path) -> None:
    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, tmp_path / "backups")
        names = at_days(manager, 60, 50)
        CLOCK.time -= timedelta(days=60)
        weekly = manager.create_backup("weekly")["name"]
        CLOCK.time += timedelta(days=60)
        assert manager.cleanup_old_backups(0, 0, name="daily") == names[:1]
        assert weekly in [each["name"] for each in manager.list_backups()]


@pytest.mark.parametrize(("count", "days"), [(-1, 30), (10, -1), ("10", 30), (True, 30)])
def test_rules_are_numbers(manager: BackupManager, count: Any, days: Any) -> None:
    with pytest.raises(InvalidValue):
        manager.cleanup_old_backups(count, days)


def test_deleting_takes_one(manager: BackupManager) -> None:
    names = [manager.create_backup("daily")["name"] for _ in range(2)]
    assert manager.delete_backup("daily") == names[1]
    assert manager.delete_backup(names[0]) == names[0]
    assert manager.list_backups() == []


def test_queries_are_still_answered_after_a_restore(
    manager: BackupManager, storage: Storage
) -> None:
    manager.create_backup("daily")
    manager.restore_backup("daily", replace=True)
    with storage.session() as session:
        found = session.select(session.query(Document, equals(is_latest=True)))
        assert [each for each in found if each.title == "0"]
