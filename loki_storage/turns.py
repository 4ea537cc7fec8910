"""Turns: writers who meet at one row queue for it, instead of losing race after race.

It is an optimization: whether a unit of work may commit is for its guards to say, as ever.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from loki_storage.deadline import within
from loki_storage.errors import StaleVersion, StaleWrite, StorageError
from loki_storage.models import KINDS, Chain, Kind
from loki_storage.protocol import Backend
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["Turn", "Turns"]

AT_ONCE = 0.001
"""Seconds within which a thread comes back that is in a loop."""

Row = tuple[Kind, int]


class Turn:
    """A unit of work's place in the queue for a row, once it has lost a race for it."""

    def __init__(self, backend: Backend, tenant: str, stack: ExitStack) -> None:
        self._backend, self._tenant, self._stack = backend, tenant, stack
        self._row: Row | None = None
        self.kept: Row | None = None
        """The row, where the unit has really written it."""

    def take(self, row: Row, seconds: float) -> None:
        """Wait for the row's turn, that many seconds at most."""
        self._stack.close()
        self._row = row
        with within(seconds):
            self._stack.enter_context(self._backend.turn(self._tenant, *row))

    def after(self, error: StorageError, seconds: float) -> bool:
        """Wait for the turn of the row that was lost; False: there is none, or it was ours."""
        row = _lost(error)
        if row is None or row == self._row:
            return False
        self.take(row, seconds)
        return True

    def note(self, unit: UnitOfWork) -> None:
        """This is what is going to be committed."""
        self.kept = self._row if self._row and unit.writes(*self._row) else None


class Turns:
    """What the threads of a storage queue for."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._threads = backend, _Threads()

    @contextmanager
    def of(self, tenant: str, seconds: float) -> Iterator[Turn]:
        """A unit of work's turn, until its end.

        A thread that comes back at once, in a loop, queues for the same row right away: it would
        only get in the way of those who wait.
        """
        last, began = self._threads.last, time.monotonic()
        with ExitStack() as stack:
            turn = Turn(self._backend, tenant, stack)
            if last is not None and last[0] == tenant and began < self._threads.until:
                turn.take(last[1], seconds)
            yield turn
        self._threads.last = (tenant, turn.kept) if turn.kept else None
        self._threads.until = time.monotonic() + AT_ONCE


class _Threads(threading.local):
    """For each thread the row of its last turn, and until when it is taken to want it again."""

    last: tuple[str, Row] | None = None
    until = 0.0


def _lost(error: StorageError) -> Row | None:
    """The row for which a unit of work has lost a race, as far as the error tells."""
    if isinstance(error, StaleVersion) and error.root_id is not None:
        return Chain, error.root_id
    if isinstance(error, StaleWrite):
        kind = KINDS.get(error.kind)
        return None if kind is None else (kind, error.id)
    return None
