"""A backup or a restore fails, or is killed, at every step: all of it is there, or nothing."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loki_storage import Storage, open_storage, whole_file
from loki_storage.backup_manager import BackupManager
from loki_storage.backups.names import SUFFIX
from loki_storage.enums import AuditAction
from loki_storage.errors import BackupError, StorageError
from tests.backups.stores import fill, rows, store, without
from tests.exports.test_faults import Steps, System, fail, kill, watched
from tests.stores import CLOCK

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
Act = Callable[[Storage], object]


class Connections:
    """What a SQLite store tells its connections to do, counted."""

    def __init__(self, steps: Steps, patch: pytest.MonkeyPatch) -> None:
        from loki_storage_sql.writer import Writer
        from loki_storage_sqlite.backend import SqliteBackend

        for owner, name in (
            (SqliteBackend, "_begin"),
            (SqliteBackend, "_commit"),
            (SqliteBackend, "copy_file"),
            (SqliteBackend, "reserve"),
            (Writer, "write"),
        ):
            self._count(owner, name, steps, patch)

    def _count(self, owner: type, name: str, steps: Steps, patch: pytest.MonkeyPatch) -> None:
        found = getattr(owner, name)

        def counted(*args: object) -> object:
            return steps("apply", found, *args)

        patch.setattr(owner, name, counted)


def attempt(url: str, act: Act, steps: Steps) -> StorageError | None:
    with open_storage(url, clock=CLOCK) as storage, pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_file, "os", System(steps))
        Connections(steps, patch)
        try:
            act(storage)
        except StorageError as error:
            return error
    return None


def killed(url: str, act: Act, steps: Steps) -> None:
    child = os.fork()
    if child == 0:
        try:
            attempt(url, act, steps)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("broken", [fail, kill])
def test_backup_that_breaks_at_any_step_is_whole_or_not_there(
    tmp_path: Path, broken: Callable[[str], None], native: bool
) -> None:
    with store("sqlite", tmp_path) as storage:
        fill(storage)
        before = rows(storage)
    url = f"sqlite:///{tmp_path / 'loki.db'}"

    def act_in(folder: Path) -> Act:
        return lambda storage: BackupManager(storage, folder).create_backup("b", native=native)

    dry = Steps(0, broken)
    assert attempt(url, act_in(tmp_path / "dry"), dry) is None
    outcomes = set()
    for at in range(1, dry.count + 1):
        folder = tmp_path / f"{at}"
        if broken is kill:
            killed(url, act_in(folder), Steps(at, broken))
        else:
            error = attempt(url, act_in(folder), Steps(at, broken))
            assert not any(name.startswith(".") for name in os.listdir(folder)) or error is None
        with open_storage("memory://") as other:
            manager = BackupManager(other, folder)
            found = manager.list_backups()
            outcomes.add(len(found))
            for each in found:
                manager.restore_backup(each["name"])
                trail = (AuditAction.BACKUP, AuditAction.RESTORE_STORE)
                assert without(rows(other), *trail) == before
            manager.create_backup("next")  # sweeps
        assert not any(name.endswith(".part") for name in os.listdir(folder))
    assert outcomes == {0, 1}


@pytest.mark.parametrize(("broken", "after"), [(fail, False), (kill, False), (kill, True)])
def test_restore_that_breaks_at_any_step_is_whole_or_leaves_the_target(
    tmp_path: Path, broken: Callable[[str], None], after: bool
) -> None:
    folder = tmp_path / "backups"
    with store("sqlite", tmp_path, "source") as source:
        fill(source, "default")
        new = rows(source)
        BackupManager(source, folder).create_backup("b")

    def act(storage: Storage) -> object:
        return BackupManager(storage, folder).restore_backup("b", replace=True)

    with store("sqlite", tmp_path, "template") as storage:
        fill(storage, "third")
        old = rows(storage)

    def target(name: str) -> str:
        shutil.copy(tmp_path / "template.db", tmp_path / f"{name}.db")
        return f"sqlite:///{tmp_path / name}.db"

    dry = Steps(0, broken)
    assert attempt(target("dry"), act, dry) is None
    outcomes = []
    for at in range(1, dry.count + 1):
        url = target(f"{at}")
        if broken is kill:
            killed(url, act, Steps(at, broken, after))
        else:
            attempt(url, act, Steps(at, broken, after))
        with open_storage(url) as storage:
            found = without(rows(storage), AuditAction.RESTORE_STORE)
            assert found in (old, new), f"step {at}"
            outcomes.append(found == new)
            storage.run(lambda s: s.documents.create_document("goes on", "email", "c"))
    assert not outcomes[0]
    assert outcomes[-1] == after


def test_what_a_killed_backup_has_left_goes_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    part = folder / f".b-20260101T000000000000Z{SUFFIX}.part"
    part.write_text("half of it")
    with store("memory", tmp_path) as storage:
        BackupManager(storage, folder).create_backup("b")
    assert not part.exists()


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with store("memory", tmp_path) as storage, pytest.raises(BackupError, match="created"):
        BackupManager(storage, tmp_path / "file" / "backups").create_backup("b")


def test_backup_of_a_store_that_takes_no_entry_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only disk is when one is needed most."""
    with store("sqlite", tmp_path) as storage:
        fill(storage)
        steps = Steps(1, fail)
        watched(storage, steps, monkeypatch)
        monkeypatch.setattr(whole_file, "os", os)
        told = BackupManager(storage, tmp_path / "b").create_backup("b")
        assert told["audited"] is False
        assert BackupManager(storage, tmp_path / "b").verify_backup("b")
