"""Connections to a SQLite file, and waiting one's turn."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy.pool import Pool

from loki_storage.deadline import time_left
from loki_storage.errors import InvalidValue, StorageError, Unavailable
from loki_storage_sql.connections import Connection
from loki_storage_sqlite.dialect import install_functions, know_driver
from loki_storage_sqlite.errors import is_busy, translate

__all__ = ["Connect", "SqliteConnection", "connect", "factory", "patiently"]

T = TypeVar("T")
Connect = Callable[..., Any]
"""Takes what ``sqlite3.connect`` takes; gives such a connection, of any driver like it."""
CACHED_STATEMENTS = 256
LONGEST_PAUSE = 0.002
_PRAGMAS = "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF"
"""Of a connection. WAL mode is the file's, and is set once we know that the file is ours."""


class SqliteConnection(Connection):
    """Begins transactions itself, and waits for other connections fairly."""

    __slots__ = ("_patience",)

    def __init__(self, pool: Pool, log: Any, patience: float) -> None:
        super().__init__(pool.connect(), pool, log)
        self._patience = patience

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        self.tell(text)
        try:
            return self.driver.execute(text, parameters)
        except Exception as error:  # of whichever driver
            if not is_busy(error):
                raise
        return patiently(lambda: self.driver.execute(text, parameters), self._patience)


def patiently(attempt: Callable[[], T], seconds: float) -> T:
    """Try until no other connection is in the way, for so many seconds and within the deadline.

    Short random pauses: SQLite's own handler waits ever longer, and starves some writers.
    """
    left = time_left()
    end = time.monotonic() + (seconds if left is None else min(seconds, left))
    while True:
        try:
            return attempt()
        except Exception as error:  # of whichever driver
            if not is_busy(error) or time.monotonic() >= end:
                raise
        time.sleep(random.uniform(0, LONGEST_PAUSE))


def connect(path: str, synchronous: str, patience: float, open: Connect) -> Any:
    """A connection to an existing file; nothing begins implicitly on it."""
    connection = _opened(path, open)
    try:
        install_functions(connection)
        script = f"PRAGMA synchronous={synchronous}; {_PRAGMAS}"
        patiently(lambda: connection.executescript(script), patience)
    except BaseException:
        connection.close()
        raise
    return connection


def factory(connect: Connect | str | None) -> Connect:
    """What opens connections: ``sqlite3.connect``, the host's own, or its ``"module:function"``."""
    if isinstance(connect, str):
        module, _, name = connect.partition(":")
        try:
            connect = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidValue("connect", "names no function: module:function") from error
    if connect is not None and not callable(connect):
        raise InvalidValue("connect", "must be a function that takes what sqlite3.connect takes")
    return sqlite3.connect if connect is None else connect


def _opened(path: str, open: Connect) -> Any:
    try:
        connection = open(
            f"file:{quote(os.fsencode(path))}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
    except (sqlite3.Error, StorageError):
        raise
    except Exception as error:  # the host's own code: its message may hold a key
        if hasattr(error, "sqlite_errorcode"):
            raise translate(error) from None
        raise Unavailable(f"the connect= function failed ({type(error).__name__})") from None
    know_driver(connection)
    return connection
