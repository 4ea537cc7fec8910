"""Processes of their own over a target's store: they begin at one moment, and may be killed.

A child imports nothing but the kit and what the program needs: no ``__main__`` of the host, which
``multiprocessing`` would run again.
"""

import atexit
import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

from loki_storage.errors import StorageError
from loki_storage.protocol import Backend
from loki_storage_contract.target import BackendTarget

__all__ = ["Child", "Program", "in_processes", "serve", "tell"]

Program = Callable[[Backend, Any], Any]
"""A function of a module; what it returns or the error of ours that it raises is its outcome."""
_CODE = """
import sys
sys.path[:] = {path!r}
from loki_storage_contract.children import serve
serve()
"""


class Child:
    """A process that opens a target's store when it is told to, and runs programs on it."""

    def __init__(self) -> None:
        self.path = _path()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(path=self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def prepare(self, target: BackendTarget, program: Program, argument: Any) -> None:
        """Name the store to open and what to do; it begins at ``go``."""
        _send(_stream(self._process.stdin), (target.open, program, argument))

    def hear(self) -> Any:
        """The next value that it tells: "open", what its program tells, the program's outcome.

        ``EOFError`` where the process ended before.
        """
        return _receive(_stream(self._process.stdout))

    def go(self) -> None:
        """Let the program begin."""
        _send(_stream(self._process.stdin), None)

    def stop(self) -> None:
        """End it at once, wherever it is (SIGKILL); what it told before can still be heard."""
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End it, and hear nothing more of it."""
        self.stop()
        for stream in (self._process.stdin, self._process.stdout):
            _stream(stream).close()


def _path() -> list[str]:
    """Where a child finds modules and plugins: where its parent does."""
    return [os.getcwd(), *filter(None, sys.path)]


_idle: list[Child] = []
"""Children that wait for the next program: to start Python and import the SDK takes a second."""


def _child() -> Child:
    """One that waits, unless it began before something was installed here; else a new one."""
    while _idle:
        child = _idle.pop()
        if child.path == _path():
            return child
        child.kill()
    return Child()


@atexit.register
def _end_children() -> None:
    while _idle:
        _idle.pop().kill()


def in_processes(target: BackendTarget, program: Program, arguments: Sequence[Any]) -> list[Any]:
    """``program(backend, argument)`` per argument at the same moment, each in a process."""
    children = [_child() for _ in arguments]
    try:
        for child, argument in zip(children, arguments, strict=True):
            child.prepare(target, program, argument)
        for child in children:
            assert child.hear() == "open"
        for child in children:
            child.go()
        outcomes = [child.hear() for child in children]
    except BaseException:
        for child in children:
            child.kill()
        raise
    _idle.extend(children)
    return outcomes


def tell(value: Any) -> None:
    """In a child: pass a value on to the parent, at once."""
    _send(sys.stdout.buffer, value)


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _send(stream: IO[bytes], value: Any) -> None:
    stream.write(base64.b64encode(pickle.dumps(value)) + b"\n")
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the process ended before it answered")
    return pickle.loads(base64.b64decode(line))


def serve() -> None:
    """What a child does: one program after the other, until it is killed or forgotten."""
    while True:
        try:
            open_backend, program, argument = _receive(sys.stdin.buffer)
        except EOFError:
            return
        backend = open_backend()
        try:
            tell("open")
            _receive(sys.stdin.buffer)
            tell(_outcome(program, backend, argument))
        finally:
            backend.close()


def _outcome(program: Program, backend: Backend, argument: Any) -> Any:
    try:
        return program(backend, argument)
    except StorageError as error:
        return error
