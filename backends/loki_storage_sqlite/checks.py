"""What ``doctor`` asks a SQLite store: its library, its settings, its file and the disk below."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from loki_storage.protocol import Check
from loki_storage_sql.connections import Connection

__all__ = ["check_content", "check_file", "check_settings"]

WAL_RESET_BUG = (3, 7, 0), (3, 51, 2)
"""The first and the last version in which connections that checkpoint at once damage a file."""
LEAST_SPACE = 100_000_000
LARGEST_LOG = 256_000_000
_SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


def check_settings(connection: Connection) -> Iterator[Check]:
    """The library and the connection; reads no table."""
    yield _version(str(_asked(connection, "SELECT sqlite_version()")))
    yield _journal(str(_asked(connection, "PRAGMA journal_mode")))
    yield _synchronous(int(str(_asked(connection, "PRAGMA synchronous"))))


def check_file(path: str) -> Iterator[Check]:
    """Modes and sizes of the file and those beside it. Opens none: that would drop locks."""
    files = [Path(f"{path}{end}") for end in ("", "-wal", "-shm")]
    yield from _modes([file for file in files if file.exists()])
    yield _log(files[1])
    yield _space(files[0])


def check_content(connection: Connection) -> Iterator[Check]:
    """Every page and every reference; reads the whole file."""
    found = _asked(connection, "PRAGMA quick_check(1)")
    if found == "ok":
        yield Check("pages", "ok", "every page is sound")
    else:
        yield Check("pages", "problem", "the file is damaged", "restore the newest backup")
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(1)
    if not broken:
        yield Check("references", "ok", "every reference holds")
    else:
        told = f"a row of {broken[0][0]} refers to one of {broken[0][2]} that is not there"
        yield Check("references", "problem", told, "restore the newest backup")


def _asked(connection: Connection, text: str) -> object:
    row = connection.execute(text).fetchone()
    return None if row is None else row[0]


def _version(version: str) -> Check:
    first, last = WAL_RESET_BUG
    number = tuple(int(part) for part in version.split(".")[:3])
    if not first <= number <= last:
        return Check("library", "ok", f"SQLite {version}")
    return Check(
        "library",
        "warning",
        f"SQLite {version} has the WAL-reset bug (3.7.0 to 3.51.2): connections that checkpoint at "
        "the same moment may damage the file, which is rare",
        "use a Python with SQLite 3.51.3 or newer; until then keep verified backups, and few "
        "processes on one file",
    )


def _journal(mode: str) -> Check:
    if mode == "wal":
        return Check("journal", "ok", "a write-ahead log")
    return Check(
        "journal",
        "problem",
        f"the journal mode is {mode}: readers and writers stop each other",
        "opening the store sets WAL; where it does not stay, the file is on a network disk or "
        "another program uses it: move it, or stop that",
    )


def _synchronous(level: int) -> Check:
    name = _SYNCHRONOUS.get(level, str(level))
    if name in ("FULL", "EXTRA"):
        return Check("durability", "ok", f"synchronous={name}: a commit survives a power loss")
    told = f"synchronous={name}: the last commits may be lost when the power fails"
    advice = 'open the store with synchronous="FULL"'
    return Check("durability", "warning" if name == "NORMAL" else "problem", told, advice)


def _modes(files: list[Path]) -> Iterator[Check]:
    if os.name != "posix":
        return
    open_to_others = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if open_to_others:
        names = ", ".join(file.name for file in open_to_others)
        told = f"others than the owner may read or write: {names}"
        paths = " ".join(str(file) for file in open_to_others)
        yield Check("file modes", "problem", told, f"chmod 600 {paths}")
    elif files:
        yield Check("file modes", "ok", "the owner's alone")
    folder = files[0].parent.stat().st_mode if files else 0
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        told = "everybody may remove or replace the file: its folder is writable for all"
        yield Check("folder mode", "problem", told, f"chmod o-w {files[0].parent}")


def _log(log: Path) -> Check:
    size = log.stat().st_size if log.exists() else 0
    if size <= LARGEST_LOG:
        return Check("log size", "ok", f"{size:,} bytes wait for a checkpoint")
    return Check(
        "log size",
        "warning",
        f"the write-ahead log has {size:,} bytes: somebody reads for a very long time",
        "close sessions, snapshots and streams that are left open",
    )


def _space(file: Path) -> Check:
    free = shutil.disk_usage(file.parent).free
    if free >= LEAST_SPACE:
        return Check("disk space", "ok", f"{free:,} bytes are free")
    told = f"only {free:,} bytes are free on the disk of the database"
    return Check("disk space", "problem", told, "make room: without it even deleting fails")
