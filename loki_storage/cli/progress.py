"""The progress of a long command, on stderr, and only where a person watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from loki_storage.cli.output import console, escaped

__all__ = ["Watched", "counting", "progress"]


class Watched(Protocol):
    """What a long command tells while it runs."""

    def advance(self, octets: int) -> None:
        """One more line is done."""

    def say(self, text: str) -> None:
        """A line on stderr that stays."""


@contextmanager
def progress(total: int | None, noun: str) -> Iterator[Watched]:
    """A bar over ``total`` bytes (None: not known), or nothing but remarks without a terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    measured = (BarColumn(), TaskProgressColumn()) if total else (SpinnerColumn(),)
    columns = (*measured, _Rate(noun), *((TimeRemainingColumn(),) if total else ()))
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        yield _Bar(bar, total)


@contextmanager
def counting(noun: str) -> Iterator[Callable[[int, int], None] | None]:
    """What is called with how many are done, of how many; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (BarColumn(), TaskProgressColumn(), _Rate(noun), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, done=0)
        yield lambda done, total: bar.update(task, completed=done, total=total, done=done)


class _Silent:
    def advance(self, octets: int) -> None:
        pass

    def say(self, text: str) -> None:
        console(stderr=True).print(Text(escaped(text)), soft_wrap=True)


class _Bar:
    def __init__(self, bar: Progress, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total, done=0)
        self._done = 0

    def advance(self, octets: int) -> None:
        self._done += 1
        self._bar.update(self._task, advance=octets, done=self._done)

    def say(self, text: str) -> None:
        self._bar.console.print(Text(escaped(text)), soft_wrap=True)


class _Rate(ProgressColumn):
    """How many are done, and how many a second."""

    def __init__(self, noun: str) -> None:
        super().__init__()
        self._noun = noun

    def render(self, task: Task) -> Text:
        done = task.fields["done"]
        rate = f", {done / task.elapsed:,.0f}/s" if task.elapsed else ""
        return Text(f"{done:,} {self._noun}{rate}")
