"""How long a call into a backend may take: set by the caller's session, asked by the backend."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["time_left", "within"]

_DEADLINE: ContextVar[float | None] = ContextVar("loki_storage_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bound what happens inside to so many seconds, or to the bound around it if that is nearer."""
    outer, own = _DEADLINE.get(), time.monotonic() + seconds
    token = _DEADLINE.set(own if outer is None else min(outer, own))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def time_left() -> float | None:
    """Seconds until the caller's deadline, at least 0; None where there is none.

    A backend waits for locks and connections no longer than that, and then raises
    ``LockTimeout``, ``PoolExhausted`` or ``Timeout`` (TXN-4).
    """
    deadline = _DEADLINE.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())
