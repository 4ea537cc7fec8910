"""Markdown: a table of backends and a matrix of laws, for a README or a CI server's summary."""

from collections.abc import Iterator, Sequence

from loki_storage_contract.reports.groups import grouped, title
from loki_storage_contract.reports.report import LawReport, Report, labels
from loki_storage_contract.verdicts import Outcome

__all__ = ["SIGNS", "markdown", "row", "summary"]

SIGNS: dict[Outcome, str] = {
    "passed": "✓",
    "failed": "✗",
    "waived": "≈",
    "absent": "–",
    "not claimed": "○",
    "not run": "?",
}
"""An outcome's sign: shape tells, so that colour need not."""


def markdown(reports: Sequence[Report]) -> str:
    """The reports as one Markdown page."""
    return "\n".join(_lines(reports)) + "\n"


def summary(report: Report) -> str:
    """``58 passed, 2 not claimed`` of the laws that count."""
    return ", ".join(f"{n} {outcome}" for outcome in SIGNS if (n := report.count(outcome)))


def _lines(reports: Sequence[Report]) -> Iterator[str]:
    yield "# The contract of loki-storage"
    yield ""
    yield "| backend | verdict | laws | database | profile | examples |"
    yield "|---|---|---|---|---|---:|"
    for report in reports:
        yield row(
            f"**{report.subject.name}** {report.subject.distribution} {report.subject.version}",
            "✓ keeps the contract" if report.ok else "✗ breaks the contract",
            summary(report),
            report.subject.database,
            f"{report.profile}, seed {report.seed}",
            f"{report.examples:,}",
        )
    yield from _matrix(reports)
    yield from _failures(reports)


def _matrix(reports: Sequence[Report]) -> Iterator[str]:
    found = [{law.id: law for law in report.required} for report in reports]
    for group, laws in grouped(set().union(*found)):
        yield ""
        yield f"## {group.title}"
        yield ""
        yield row("law", "", *labels(reports))
        yield "|---|---|" + "---|" * len(reports)
        for law in laws:
            yield row(law.id, title(law), *(_cell(laws.get(law.id)) for laws in found))


def _cell(law: LawReport | None) -> str:
    outcome: Outcome = "not run" if law is None else law.outcome
    return f"{SIGNS[outcome]} {outcome}"


def _failures(reports: Sequence[Report]) -> Iterator[str]:
    for report in reports:
        for failure, laws in report.broken.items():
            yield ""
            yield f"### {report.subject.name} breaks {', '.join(laws)}"
            yield ""
            yield from ["```text", failure.error, f"at {failure.place}", *failure.trace]
            yield from ["", failure.replay, "```"]


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cell.strip().replace('|', chr(92) + '|') for cell in cells)} |"
