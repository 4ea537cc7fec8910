"""Several actors at once: threads behind a barrier."""

import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Barrier, Thread
from typing import TypeVar

from loki_storage.errors import StorageError

__all__ = ["outcome", "together"]

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds until a race that hangs fails."""


def outcome(action: Callable[[], T]) -> T | StorageError:
    """What an action returns, or the error of ours that it raises."""
    try:
        return action()
    except StorageError as error:
        return error


def together(*actions: Callable[[], T]) -> list[T | StorageError]:
    """Run all actions at the same moment, each in a thread; their outcomes, in order.

    Raises what an action raises that is no error of ours, ``AssertionError`` where one hangs.
    """
    barrier = Barrier(len(actions))
    jobs: list[Future[T | StorageError]] = [Future() for _ in actions]

    def run(action: Callable[[], T], job: "Future[T | StorageError]") -> None:
        try:
            barrier.wait(PATIENCE)
            job.set_result(outcome(action))
        except BaseException as error:
            job.set_exception(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads in Python take turns too rarely to meet
    try:
        for pair in zip(actions, jobs, strict=True):
            Thread(target=run, args=pair, daemon=True).start()
        return [job.result(PATIENCE) for job in jobs]
    except FutureTimeout:
        raise AssertionError("an action has not come to its end") from None
    finally:
        sys.setswitchinterval(before)
