"""Ingesting: JSON lines into the store, each line one atomic intercept, and the tally of it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO

import attrs

from loki_storage.cli.lines import Line, parse_line, read_lines
from loki_storage.cli.progress import Watched
from loki_storage.errors import (
    Conflict,
    Contention,
    Forbidden,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    OnHold,
    StorageError,
)
from loki_storage.intercepts import Intercept
from loki_storage.storage import Storage

__all__ = ["Ingestion", "Tally", "ingest"]

OF_THE_LINE = (
    Conflict,
    Forbidden,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    OnHold,
)
"""Errors that concern one line; after any other the store cannot be expected to take the next."""
PATIENCE = 60.0
"""Seconds that a line may wait for other writers."""
MAXIMUM_TOLD = 1_000
"""Bad lines that the summary lists; the others are only counted, and told as they come."""


@attrs.define
class Tally:
    """What an ingest came to. ``error``: what stopped it before its end."""

    recorded: int = 0
    replayed: int = 0
    failed: int = 0
    new_documents: int = 0
    reused_documents: int = 0
    versions: int = 0
    results: int = 0
    corrections: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    error: StorageError | None = None
    failures: list[tuple[int, str]] = attrs.field(factory=list, repr=False)

    @property
    def rate(self) -> float:
        """Intercepts per second."""
        return (self.recorded + self.replayed) / self.seconds if self.seconds else 0.0


@attrs.frozen
class Ingestion:
    """Into which store, on whose behalf, and for whom lines without a client are."""

    storage: Storage
    tenant: str
    actor: str | None
    default_client: str

    def record(self, line: Line, tally: Tally) -> None:
        """Parse and record one line; raises what is wrong with it."""
        data = parse_line(line.data)
        tenant = _tenant(data, self.tenant)
        intercept = Intercept.from_line(data, default_client=self.default_client)
        recorded = self.storage.run(
            lambda session: session.record_intercept(intercept),
            timeout=PATIENCE,
            actor=self.actor,
            tenant=tenant,
        )
        if recorded.replayed:
            tally.replayed += 1
            return
        tally.recorded += 1
        tally.new_documents += not recorded.reused
        tally.reused_documents += recorded.reused
        tally.versions += recorded.version is not None
        tally.results += intercept.result_count
        tally.corrections += intercept.correction_count


def ingest(ingestion: Ingestion, stream: BinaryIO, watched: Watched) -> Tally:
    """Record every line of a stream; bad lines are told and passed over.

    Ctrl-C lets the line that is being stored finish. An error of the store ends it all; both leave
    the tally of what was stored.
    """
    tally, started = Tally(), time.monotonic()
    with _patient_interrupt() as interrupt:
        try:
            for line in read_lines(stream):
                with interrupt.held():
                    _record(ingestion, line, tally, watched)
                watched.advance(line.octets)
        except KeyboardInterrupt:
            tally.interrupted = True
        except StorageError as error:
            tally.error = error
    tally.seconds = time.monotonic() - started
    return tally


def _record(ingestion: Ingestion, line: Line, tally: Tally, watched: Watched) -> None:
    if line.data == b"":
        return
    try:
        ingestion.record(line, tally)
    except Contention:
        raise  # whoever holds the store for so long would make every line wait
    except OF_THE_LINE as error:
        reason = str(error).removeprefix("line: ")
        tally.failed += 1
        watched.say(f"line {line.number}: {reason}")
        if len(tally.failures) < MAXIMUM_TOLD:
            tally.failures.append((line.number, reason))


def _tenant(data: dict[str, Any], default: str) -> str:
    """The line's tenant, taken out of it; what it is worth is checked where a session begins."""
    tenant = data.pop("tenant", None)
    return default if tenant is None else tenant


class _Interrupt:
    """SIGINT at once while nothing is being stored, else after the commit; the second at once."""

    def __init__(self) -> None:
        self._holding = self._pending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._holding or self._pending:
            raise KeyboardInterrupt
        self._pending = True

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._pending:
            raise KeyboardInterrupt


@contextmanager
def _patient_interrupt() -> Iterator[_Interrupt]:
    interrupt = _Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
