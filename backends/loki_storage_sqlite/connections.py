"""Connections to a SQLite file, and waiting one's turn."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy.pool import Pool

from loki_storage.deadline import time_left
from loki_storage_sql.connections import Connection
from loki_storage_sqlite.dialect import install_functions
from loki_storage_sqlite.errors import is_busy

__all__ = ["SqliteConnection", "connect", "patiently"]

T = TypeVar("T")
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
        except sqlite3.OperationalError as error:
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
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= end:
                raise
        time.sleep(random.uniform(0, LONGEST_PAUSE))


def connect(path: str, synchronous: str, patience: float) -> sqlite3.Connection:
    """A connection to an existing file; nothing begins implicitly on it."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        install_functions(connection)
        script = f"PRAGMA synchronous={synchronous}; {_PRAGMAS}"
        patiently(lambda: connection.executescript(script), patience)
    except BaseException:
        connection.close()
        raise
    return connection
