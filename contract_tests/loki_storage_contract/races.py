"""Several actors at once: threads behind a barrier, and processes of their own."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Barrier
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
    """Run all actions at the same moment, each in a thread; their outcomes, in order."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], T]) -> T | StorageError:
        barrier.wait(PATIENCE)
        return outcome(action)

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions, timeout=PATIENCE))


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
