"""SQLite's errors as ours, by code. SQLite's own text is left out: it may quote SQL."""

import sqlite3

from loki_storage.errors import (
    Forbidden,
    InvalidValue,
    LockTimeout,
    ReadOnly,
    StorageDamaged,
    StorageError,
    StorageFull,
    Timeout,
    Unavailable,
)

__all__ = ["is_busy", "is_conflict", "translate"]

_CONFLICTS = frozenset(
    (
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
        sqlite3.SQLITE_CONSTRAINT,  # a driver without details; what it was is judged again anyway
    )
)
_PRIMARY = 0xFF
"""The part of an extended code that names the error; the rest is detail."""

_MEANINGS: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_BUSY: (LockTimeout, "another writer holds the database; try again"),
    sqlite3.SQLITE_LOCKED: (LockTimeout, "another writer holds the database; try again"),
    sqlite3.SQLITE_READONLY: (ReadOnly, "the database file cannot be written"),
    sqlite3.SQLITE_PERM: (Forbidden, "the system refuses access to the database file"),
    sqlite3.SQLITE_AUTH: (Forbidden, "the database refuses this statement"),
    sqlite3.SQLITE_FULL: (StorageFull, "no space is left; nothing was written"),
    sqlite3.SQLITE_CORRUPT: (StorageDamaged, "the database file is damaged; restore a backup"),
    sqlite3.SQLITE_NOTADB: (StorageDamaged, "the file is not a SQLite database"),
    sqlite3.SQLITE_CANTOPEN: (
        Unavailable,
        "the database file cannot be opened; check its path, its folder and their permissions",
    ),
    sqlite3.SQLITE_IOERR: (Unavailable, "the disk reports an error"),
    sqlite3.SQLITE_ABORT: (Unavailable, "the transaction that this read belonged to has ended"),
    sqlite3.SQLITE_INTERRUPT: (Timeout, "the operation was interrupted"),
    sqlite3.SQLITE_CONSTRAINT: (StorageDamaged, "the schema refuses what the value domain allows"),
    sqlite3.SQLITE_ERROR: (
        StorageDamaged,
        "the database cannot run this statement; its schema is not the expected one",
    ),
    sqlite3.SQLITE_SCHEMA: (Unavailable, "the schema has just changed; try again"),
}


def is_busy(error: Exception) -> bool:
    """Whether the error says that another connection is in the way for now."""
    return _code(error) & _PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_conflict(error: Exception) -> bool:
    """Whether the error tells of a unique key or a reference that does not hold."""
    return _code(error) in _CONFLICTS


def translate(error: Exception) -> StorageError:
    """The error of ours that a driver's error means."""
    code, name = _code(error), getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_TOOBIG or type(error).__name__ == "DataError":
        return InvalidValue("record", "is larger than SQLite can store (1 GB)")
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return Unavailable(f"the database file was moved or removed ({name})")
    meaning, text = _MEANINGS.get(code & _PRIMARY, (Unavailable, "the database does not answer"))
    return meaning(f"{text} ({name})")


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) or 0
