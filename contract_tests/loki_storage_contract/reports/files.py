"""A report's files: written whole or not at all, read back with a clear error."""

import json
from collections.abc import Sequence
from pathlib import Path

from loki_storage_contract.reports.badge import badge
from loki_storage_contract.reports.junit import junit
from loki_storage_contract.reports.markdown import markdown
from loki_storage_contract.reports.page import page
from loki_storage_contract.reports.report import Report, from_json

__all__ = ["as_text", "read_report", "render", "write_reports"]


def write_reports(report: Report, folder: Path) -> list[Path]:
    """Write ``report.json``, ``junit.xml``, ``report.md``, ``badge.svg`` and ``report.html``.

    The folder is made where it is missing. Raises ``OSError``.
    """
    texts = {
        "report.json": as_text(report),
        "junit.xml": junit(report),
        "report.md": markdown([report]),
        "badge.svg": badge(report),
        "report.html": page([report]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", errors="backslashreplace", newline="\n")
    return [folder / name for name in texts]


def render(reports: Sequence[Report], suffix: str) -> str:
    """The reports as ``.html`` or ``.md``, or one report as ``.xml`` (JUnit) or ``.svg`` (badge).

    Raises ``ValueError`` for another suffix, and for several reports where one is the most.
    """
    of_many = {".html": page, ".md": markdown}
    of_one = {".xml": junit, ".svg": badge, ".json": as_text}
    if suffix in of_many:
        return of_many[suffix](reports)
    if suffix not in of_one:
        raise ValueError(f"reports are written as {', '.join([*of_many, *of_one])}, not {suffix!r}")
    (report,) = reports if len(reports) == 1 else (None,)
    if report is None:
        raise ValueError(f"{suffix} holds one report; several make .html or .md")
    return of_one[suffix](report)


def as_text(report: Report) -> str:
    """The report's JSON, readable and the same for equal reports."""
    return json.dumps(report.to_json(), ensure_ascii=False, indent=1) + "\n"


def read_report(path: Path) -> Report:
    """A report from its JSON file; ``ValueError`` where it is none, ``OSError`` as it comes."""
    try:
        return from_json(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        what = str(error) if type(error) is ValueError else "is not JSON"
        raise ValueError(f"{path}: {what}") from error
