"""What ``loki-storage contract`` prints: failures when they are found, then the laws by group."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from loki_storage.cli.output import Column, console, escaped, heading, note, print_table
from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.inventory import Law
from loki_storage_contract.rationales import RATIONALES
from loki_storage_contract.reports.groups import Group, grouped, title
from loki_storage_contract.reports.lines import failure_lines
from loki_storage_contract.reports.markdown import SIGNS, summary
from loki_storage_contract.reports.report import Report

__all__ = ["Stopped", "Told", "print_law", "print_laws", "print_run"]

_IN_FULL = 5
"""Failures that are told in full: of a backend that is broken altogether, more do not help."""
_STYLES = {"passed": "green", "failed": "bold red", "waived": "yellow", "not run": "red"}


class Stopped(Exception):
    """The first failure was told, and that is all that was asked for."""


class Told:
    """Tells of a run while it goes on: a bar where a person watches, each failure when it is found.

    Everything goes to stderr: what is asked for, the verdict, goes to stdout.
    """

    def __init__(self, checks: int, *, quiet: bool, first_only: bool = False) -> None:
        self._out = console(stderr=True)
        self._quiet, self._first_only, self._failed = quiet, first_only, 0
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._out,
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=checks)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._bar.disable:  # older versions of rich print a line even then
            self._bar.stop()

    def check(self, result: Any) -> None:
        """One check is done."""
        self._bar.update(self._task, advance=1, description=result.name)
        if result.outcome in ("failed", "not run") and not self._quiet:
            self._failed += 1
            _print_failure(self._bar.console, result, in_full=self._failed <= _IN_FULL)
            if self._first_only:
                raise Stopped


def _print_failure(out: Console, result: Any, *, in_full: bool) -> None:
    first, *lines = failure_lines(result)
    if not in_full:
        lines = [lines[0], lines[-1]]
    law, _, about = first.partition(": ")
    out.print(Text.assemble(("\n✗ ", "bold red"), (law, "bold"), f"  {about}"))
    for line in lines:
        _line(out, line, _style(line, result))


def _style(line: str, result: Any) -> str:
    if result.failure is not None and line == result.failure.error:
        return "red"
    if line.startswith("again: "):
        return "cyan"
    return "dim" if line.startswith(("in ", "the law: ", "why: ", "also about: ")) else ""


def _line(out: Console, text: str, style: str) -> None:
    out.print(Padding(Text(escaped(text), style=style), (0, 0, 0, 4), expand=False))


def print_run(report: Report, files: Iterable[Path]) -> None:
    """A run's verdict: a row per group of laws, those that do not hold, where reports are."""
    out, laws = console(), {law.id: law for law in report.required}
    heading(out, _what(report))
    rows = []
    for group, known in grouped(laws):
        outcomes = [laws[law.id].outcome for law in known]
        signs = Text.assemble(*((SIGNS[o], _STYLES.get(o, "dim")) for o in outcomes))
        rows.append((group.title, signs, f"{outcomes.count('passed')}/{len(outcomes)}"))
    print_table([Column("protects"), Column("laws"), Column("passed", right=True)], rows)
    for law in report.required:
        if law.outcome != "passed":
            _print_exception(out, law)
    for cell in report.cells:
        if cell.missing:
            out.print(Text(f"✗ {cell.rule}: {cell.outcome} never happened", style="red"))
    verdict = ("keeps the contract", "bold green") if report.ok else ("breaks it", "bold red")
    out.print(
        Text.assemble(
            f"\n{report.subject.name} ", verdict, f": {summary(report)}",
            f" in {report.seconds:,.1f} s, {report.examples:,} examples",
        )
    )  # fmt: skip
    shown = ", ".join(map(str, files))
    if shown:
        note(f"reports: {shown}")


def _what(report: Report) -> str:
    subject = report.subject
    parts = [
        subject.name,
        subject.database,
        f"{subject.distribution} {subject.version}".strip(),
        f"profile {report.profile}, seed {report.seed}",
        f"claims {', '.join(report.claims) or 'nothing'}",
    ]
    return " · ".join(part for part in parts if part)


def _print_exception(out: Console, law: Any) -> None:
    sign = Text(f"{SIGNS[law.outcome]} ", style=_STYLES.get(law.outcome, "dim"))
    about = title(ALL_LAWS[law.id])
    reason = law.waiver or ", ".join(law.unclaimed)
    out.print(
        Text.assemble(
            sign, (law.id, "bold"), f"  {about}: {law.outcome}", f" ({reason})" if reason else ""
        )
    )


def print_laws(groups: Iterable[tuple[Group, Sequence[Law]]]) -> None:
    """Every law in a line, by what it protects."""
    for group, laws in groups:
        print_table(
            [Column("law"), Column("", share=1, wrap=True), Column("can be broken by")],
            [(law.id, title(law), _breaker(law)) for law in laws],
            title=group.title,
        )
    note("`loki-storage contract laws VER-4` shows one in full, with the reason for it.")


def print_law(law: Law) -> None:
    """A law in full."""
    out = console()
    out.print(Text.assemble("\n", (law.id, "bold"), f"  {title(law)}", style="bold"))
    _line(out, law.text, "")
    if law.id in RATIONALES:
        _line(out, f"Why: {RATIONALES[law.id]}", "italic")
    _line(out, f"It can be broken by {_breaker(law)}.", "dim")


def _breaker(law: Law) -> str:
    return "a backend" if law.scope == "backend" else "the rules above"
