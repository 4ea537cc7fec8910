"""SQLAlchemy's pool, bounded by the caller's deadline, and a shelf in front of it.

A checkout costs more than reading a row by its id, so what was just given back lies on a shelf for
the next call. The pool counts it as checked out; nobody waits in the pool while it is there.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import Pool, QueuePool

from loki_storage.deadline import time_left
from loki_storage_sql.connections import Connection

__all__ = ["DeadlinePool", "Shelf"]


class DeadlinePool(QueuePool):
    """Waits for a connection no longer than its own timeout and the caller's session allow."""

    _longest: float

    @property
    def _timeout(self) -> float:
        left = time_left()
        return self._longest if left is None else min(self._longest, left)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._longest = seconds

    def recreate(self) -> QueuePool:
        pool: Any = super().recreate()
        pool._longest = self._longest
        return pool  # type: ignore[no-any-return]


class Shelf:
    """Up to ``size`` connections of one pool, each for at most ``seconds``. Thread-safe."""

    def __init__(
        self, pool: Pool, connect: Callable[[], Connection], size: int, seconds: float
    ) -> None:
        """``connect`` checks a connection out of the pool, and waits for it."""
        self.pool, self._connect, self._size, self._seconds = pool, connect, size, seconds
        self._connections: deque[Connection] = deque()
        self._waiting: deque[None] = deque()

    def __len__(self) -> int:
        return len(self._connections)

    def take(self) -> Connection:
        """The connection that was put here last, else one of the pool."""
        try:
            return self._connections.pop()
        except IndexError:
            return self._wait()

    def put(self, connection: Connection) -> None:
        self._connections.append(connection)
        # Looked at after the append: either the waiting thread sees the connection or we see it.
        if self._waiting or len(self._connections) > self._size or self._is_old(connection):
            self._give_back()

    def clear(self) -> None:
        """Close them."""
        while self._connections:
            try:
                self._connections.pop().discard()
            except IndexError:  # another thread has just taken it
                return

    def _wait(self) -> Connection:
        self._waiting.append(None)
        try:
            return self._connections.pop()
        except IndexError:
            return self._connect()
        finally:
            self._waiting.pop()

    def _give_back(self) -> None:
        try:
            connection = self._connections.pop()
        except IndexError:
            return
        connection.release()

    def _is_old(self, connection: Connection) -> bool:
        return time.monotonic() - connection.since > self._seconds
