"""Ends what hangs: a backend that never answers fails its law, and the run goes on.

By a signal, so that whatever the main thread waits for is given up: a lock, a socket, a loop. Where
there are no such signals (Windows) and in other threads nothing is ended.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Hung", "deadline"]

AGAIN = 1.0
"""Seconds until what swallowed the first end, or hangs while it cleans up, is ended again."""


class Hung(BaseException):
    """Nothing came back in time. No ``Exception``: what hangs must not catch it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing came back within {seconds:g} s")
        self.seconds = seconds


@contextmanager
def deadline(seconds: float) -> Iterator[Callable[[], None]]:
    """``Hung`` is raised here when this takes longer; what is given begins the time anew.

    Not to be nested.
    """
    if not _can_be_ended():
        yield lambda: None
        return

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)

    def end(number: int, frame: FrameType | None) -> None:
        hung = Hung(seconds)
        for stack in _other_threads():
            hung.add_note(stack)
        raise hung

    before = signal.signal(signal.SIGALRM, end)
    try:
        begin()
        yield begin
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _can_be_ended() -> bool:
    return hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()


def _other_threads() -> Iterator[str]:
    """Where every other thread is: of two clients, the one that holds the lock."""
    frames, us = sys._current_frames(), threading.current_thread()
    for thread in threading.enumerate():
        if thread is not us and thread.ident in frames:
            stack = traceback.format_stack(frames[thread.ident])
            yield f"{thread.name}:\n{''.join(stack)}"
