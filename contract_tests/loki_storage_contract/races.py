"""Several actors at once: threads behind a barrier, and processes of their own."""

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Barrier, Thread
from typing import Any, TypeVar

from loki_storage.errors import StorageError
from loki_storage.protocol import Backend
from loki_storage_contract.target import BackendTarget

__all__ = ["in_processes", "outcome", "together"]

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


Program = Callable[[Backend, Any], Any]


def in_processes(target: BackendTarget, program: Program, arguments: Sequence[Any]) -> list[Any]:
    """``program(backend, argument)`` per argument at the same moment, each in a process.

    The program is a function of a module. A typed error that it raises is its outcome.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(arguments))
    with ProcessPoolExecutor(
        len(arguments), context, initializer=_begin, initargs=(barrier,)
    ) as pool:
        jobs = [pool.submit(_job, target.open, program, argument) for argument in arguments]
        return [job.result(PATIENCE) for job in jobs]


_barrier: Any = None


def _begin(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _job(open: Callable[[], Backend], program: Program, argument: Any) -> Any:
    backend = open()
    try:
        _barrier.wait(PATIENCE)
        return outcome(lambda: program(backend, argument))
    finally:
        backend.close()
