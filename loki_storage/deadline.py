"""How long a call into a backend may take: set by the caller's session, asked by the backend."""

import random
import time
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["pauses", "time_left", "within"]

_DEADLINE: ContextVar[float | None] = ContextVar("loki_storage_deadline", default=None)


class within:
    """Bound what happens inside to so many seconds, or to the bound around it if that is nearer."""

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        outer, own = _DEADLINE.get(), time.monotonic() + self._seconds
        self._token = _DEADLINE.set(own if outer is None else min(outer, own))

    def __exit__(self, *error: object) -> None:
        _DEADLINE.reset(self._token)


def time_left() -> float | None:
    """Seconds until the caller's deadline, at least 0; None where there is none.

    A backend waits for locks and connections no longer than that, and then raises
    ``LockTimeout``, ``PoolExhausted`` or ``Timeout`` (TXN-4).
    """
    deadline = _DEADLINE.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def pauses() -> Iterator[float]:
    """Pauses with full jitter that double up to a quarter of a second."""
    bound = 0.002
    while True:
        yield random.uniform(0, bound)
        bound = min(2 * bound, 0.25)
