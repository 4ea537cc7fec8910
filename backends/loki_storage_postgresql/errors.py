"""PostgreSQL's errors as ours, by SQLSTATE. The server's own text is left out: it quotes values."""

import psycopg

from loki_storage.errors import (
    ConnectionLost,
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

__all__ = ["is_conflict", "is_race", "translate"]

_CONFLICTS = frozenset(("23505", "23503"))
_RACES = frozenset(("40001", "40P01"))
"""Serialization failure and deadlock: nothing was written, and the same may succeed at once."""

_Meaning = tuple[type[StorageError], str]

_MEANINGS: dict[str, _Meaning] = {
    "40001": (LockTimeout, "another writer was in the way; try again"),
    "40P01": (LockTimeout, "another writer was in the way; try again"),
    "55P03": (LockTimeout, "another writer held a row for longer than lock_timeout; try again"),
    "57014": (Timeout, "the statement took longer than statement_timeout"),
    "25P03": (Timeout, "a stream or snapshot was idle for longer than its timeout allows"),
    "25P04": (Timeout, "the transaction took longer than the server allows"),
    "57P05": (ConnectionLost, "the server has closed an idle session; try again"),
    "57P01": (ConnectionLost, "an administrator has ended the connection; try again"),
    "57P02": (ConnectionLost, "the server has crashed and recovers; try again"),
    "57P03": (ConnectionLost, "the server is starting up or shutting down; try again"),
    "57P04": (Unavailable, "the database was dropped"),
    "53300": (ConnectionLost, "the server has no connection left; try again, or raise its limit"),
    "53100": (StorageFull, "the server's disk is full; nothing was written"),
    "53200": (Unavailable, "the server is out of memory"),
    "54000": (InvalidValue, ""),
    "25006": (ReadOnly, "the server takes no writes: it is a standby, or set to read-only"),
    "42501": (Forbidden, "the database refuses this to its role"),
    "3D000": (Unavailable, "there is no such database; create it"),
    "3F000": (StorageDamaged, "there is no such schema in the database"),
    "58030": (Unavailable, "the server's disk reports an error"),
}
_CLASSES: dict[str, _Meaning] = {
    "08": (ConnectionLost, "the connection broke; try again"),
    "28": (Forbidden, "the server refuses the URL's user or password"),
    "53": (Unavailable, "the server is short of resources"),
    "54": (InvalidValue, ""),
    "58": (Unavailable, "the server's system reports an error"),
    "42": (StorageDamaged, "the schema is not the one that this SDK expects"),
    "22": (StorageDamaged, "the schema refuses what the value domain allows"),
    "23": (StorageDamaged, "the schema refuses what the value domain allows"),
    "XX": (StorageDamaged, "the server reports damaged data or an error of its own"),
}
_UNKNOWN: _Meaning = (Unavailable, "the database does not answer as expected")
_BROKEN: _Meaning = (ConnectionLost, "the connection to the server failed or broke; try again")


def is_conflict(error: Exception) -> bool:
    """Whether the error tells of a unique key or a reference that does not hold."""
    return _code(error) in _CONFLICTS


def is_race(error: Exception) -> bool:
    """Whether other writers were in the way, nothing was written, and it may succeed at once."""
    return _code(error) in _RACES


def translate(error: Exception) -> StorageError:
    """The error of ours that a driver's error means."""
    code = _code(error)
    if code is None:
        return _without_code(error)
    meaning, text = _MEANINGS.get(code) or _CLASSES.get(code[:2]) or _UNKNOWN
    if meaning is InvalidValue:
        return InvalidValue("record", "is larger than PostgreSQL can store (1 GB)")
    return meaning(f"{text} (SQLSTATE {code})")


def _without_code(error: Exception) -> StorageError:
    """What the client's library says by itself: the server cannot be reached, or is gone."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return ConnectionLost("the server did not answer within connect_timeout; try again")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        meaning, text = _BROKEN
        return meaning(text)
    if isinstance(error, psycopg.DataError):
        return StorageDamaged("the database holds a value that the SDK never writes")
    meaning, text = _UNKNOWN
    return meaning(f"{text} ({type(error).__name__})")


def _code(error: Exception) -> str | None:
    return error.sqlstate if isinstance(error, psycopg.Error) else None
