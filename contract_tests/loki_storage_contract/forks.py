"""Work in processes that fork from this one: what is imported here, each has at once."""

import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from time import monotonic
from typing import Any

import attrs

__all__ = ["CAN_FORK", "Ended", "Program", "Tell", "forked"]

CAN_FORK = "fork" in multiprocessing.get_all_start_methods()
Tell = Callable[[Any], None]
Program = Callable[[Tell], None]
"""What a process does; what it tells is pickled."""


@attrs.frozen
class Ended:
    """The last thing that is told of a process."""

    code: int | None
    """Its exit code, negative where a signal ended it; None where it took too long."""


@attrs.frozen
class _Running:
    number: int
    process: ForkProcess
    until: float


def forked(
    programs: Sequence[Program], at_once: int, timeout: float = float("inf")
) -> Iterator[tuple[int, Any]]:
    """Run each program in a process of its own; yields its number with whatever it tells.

    ``Ended`` comes last of each. One that takes longer than ``timeout`` seconds is killed, and all
    that still run are when nobody asks any more.
    """
    waiting = deque(enumerate(programs))
    running: dict[Connection, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, program = waiting.popleft()
                connection, process = _start(program)
                running[connection] = _Running(number, process, monotonic() + timeout)
            for connection in _ready(running):
                yield _heard(connection, running)
            for connection, late in list(running.items()):
                if late.until <= monotonic():
                    del running[connection]
                    _kill(late.process)
                    yield late.number, Ended(None)
    finally:
        for left in running.values():
            _kill(left.process)


def _start(program: Program) -> tuple[Connection, ForkProcess]:
    context = multiprocessing.get_context("fork")
    connection, its_end = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(program, its_end), daemon=True)
    process.start()
    its_end.close()  # so that the end of the process is the end of what it tells
    return connection, process


def _run(program: Program, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes by itself
    gc.freeze()  # what was imported stays: to look through it again and again takes a tenth
    program(connection.send)


def _ready(running: dict[Connection, _Running]) -> list[Any]:
    soonest = min(each.until for each in running.values())
    return wait(running, None if soonest == float("inf") else max(0.0, soonest - monotonic()))


def _heard(connection: Connection, running: dict[Connection, _Running]) -> tuple[int, Any]:
    each = running[connection]
    try:
        return each.number, connection.recv()
    except EOFError:
        del running[connection]
        each.process.join()
        return each.number, Ended(each.process.exitcode)


def _kill(process: ForkProcess) -> None:
    process.kill()
    process.join()
