"""Nothing but a backup of the folder is ever read, written or deleted, whatever the name."""

import os
from pathlib import Path
from typing import Any

import pytest

from loki_storage.backup_manager import BackupManager
from loki_storage.backups.names import SUFFIX, checked_name
from loki_storage.errors import BackupError, InvalidValue, StorageError
from tests.backups.stores import store

HOSTILE: list[Any] = [
    *("", " ", ".", "..", "...", "/", "\\", "//", "~", "-", "_", "--help", ".hidden", "-rf"),
    *("../up", "..\\up", "a/b", "a\\b", "/etc/passwd", "/absolute", "C:\\x", "C:x", "\\\\host\\x"),
    *("a/../b", "a/..", "./a", "a/.", "a..b", "a.", "a ", " a", "a b", "a\tb", "a\nb", "a\0b"),
    *("a\x1bb", "a*", "a?", "a[b]", "a:b", "a|b", "a<b", "a>b", 'a"b', "a'b", "a;b", "a&b"),
    *("$HOME", "%2e%2e%2f", "a%00b", "é", "a\u202eb", "\uff0e\uff0e", "a\ufeff", "\U0001f600"),
    *("con", "NUL", "Com1.txt", "lpt9", "aux.zip", "x" * 101, "file:///x", "-" * 5),
    *("daily-20260101T000000000000Z", None, 5, b"daily", Path("daily"), ["daily"]),
]
LEGAL = ["a", "A1", "daily_backup", "daily.backup", "a-b", "1", "x" * 100, "console", "a.b.c"]


def test_table_has_more_than_sixty_names() -> None:
    assert len(HOSTILE) > 60


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_hostile_name_is_refused_and_touches_nothing(tmp_path: Path, name: Any) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f"up{SUFFIX}").write_text("precious")
    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, tmp_path / "backups")
        before = tree(tmp_path)
        with pytest.raises(InvalidValue):
            manager.create_backup(name)
        for call in (
            manager.restore_backup,
            manager.verify_backup,
            manager.delete_backup,
        ):
            with pytest.raises((InvalidValue, BackupError)):
                call(name)
        assert tree(tmp_path) == before


@pytest.mark.parametrize("name", LEGAL)
def test_plain_name_is_taken(name: str) -> None:
    assert checked_name(name) == name


def test_links_folders_and_other_files_are_no_backups(tmp_path: Path) -> None:
    folder, outside = tmp_path / "backups", tmp_path / "outside"
    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, folder)
        told = manager.create_backup("daily")
        kept = folder / f"{told['name']}{SUFFIX}"
        kept.rename(outside)
        links = [f"linked-20260101T00000000000{n}Z" for n in range(3)]
        (folder / f"{links[0]}{SUFFIX}").symlink_to(outside)
        (folder / f"{links[1]}{SUFFIX}").symlink_to(tmp_path / "nowhere")
        (folder / f"{links[2]}{SUFFIX}").mkdir()
        (folder / f"daily-20261399T000000000000Z{SUFFIX}").write_text("no such day")
        (folder / "notes.txt").write_text("notes")
        assert manager.list_backups() == []
        assert manager.cleanup_old_backups(0, 0) == []
        for name in (*links, "linked", "daily", "notes.txt"):
            for call in (manager.verify_backup, manager.delete_backup, manager.restore_backup):
                with pytest.raises(BackupError):
                    call(name)
    assert outside.exists()
    assert len(os.listdir(folder)) == 5


def test_link_that_takes_a_backup_s_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the folder and the opening of the file."""
    from loki_storage.backups import names

    with store("memory", tmp_path) as storage:
        manager = BackupManager(storage, tmp_path / "backups")
        path = tmp_path / "backups" / f"{manager.create_backup('daily')['name']}{SUFFIX}"
        find = names.find

        def swapped(folder: Path, name: object) -> Any:
            found = find(folder, name)
            path.rename(tmp_path / "away")
            path.symlink_to(tmp_path / "away")
            return found

        monkeypatch.setattr("loki_storage.backup_manager.find", swapped)
        with pytest.raises(StorageError):
            manager.verify_backup("daily")
