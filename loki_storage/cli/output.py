"""What commands print: tables that line up at any width, or one JSON document.

Stored text is shown with its control characters escaped, and never read as rich's markup.
"""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loki_storage.models import Record

__all__ = [
    "Cell",
    "Column",
    "as_fields",
    "bar",
    "console",
    "escaped",
    "heading",
    "minutes",
    "note",
    "number",
    "plural",
    "print_fields",
    "print_json",
    "print_table",
    "print_text",
    "size",
    "styled",
]

PIPE_WIDTH = 160
"""Columns where nobody looks: wide enough for a grep."""

GAP = 2
LEAST = 6
"""Characters of the narrowest column that is still worth reading."""

Cell = str | int | Text | None


@attrs.frozen
class Column:
    """A column of a table.

    ``share``: 0 for a column that always has the room that it needs; the others divide what is left
    by their shares. What does not fit is cut with an ellipsis, or, if ``wrap``, goes on below.
    ``from_width``: the width of the terminal from which on the column is worth its place.
    """

    title: str
    right: bool = False
    share: int = 0
    wrap: bool = False
    from_width: int = 0


def console(*, stderr: bool = False) -> Console:
    """A console for now's stdout or stderr; no colour where it is no terminal, or for NO_COLOR."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPE_WIDTH
    return made


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell]], title: str | None = None
) -> None:
    """A table, under its title."""
    out = console()
    shown = [n for n, column in enumerate(columns) if column.from_width <= out.width]
    chosen = [columns[n] for n in shown]
    cells = [[_cell(row[n], columns[n]) for n in shown] for row in rows]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for column, width in zip(chosen, _widths(chosen, cells, out.width), strict=True):
        table.add_column(column.title, justify="right" if column.right else "left", width=width)
    for row in cells:
        table.add_row(*row)
    heading(out, title)
    out.print(table)


def print_fields(fields: Iterable[tuple[str, Cell]], title: str | None = None) -> None:
    """Names and values, one a line, those without a value left out."""
    out = console()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value is not None and value != "":
            table.add_row(name, value if isinstance(value, Text) else escaped(str(value)))
    heading(out, title)
    out.print(table)


def print_text(text: str, title: str | None = None) -> None:
    """Stored text, line by line as it is, unprintable characters escaped."""
    heading(console(), title)
    for line in text.replace("\r\n", "\n").split("\n"):
        click.echo(escaped(line, tabs=True))


def heading(out: Console, title: str | None) -> None:
    """What comes next, if it has a title."""
    if title is not None:
        out.print(Text(f"\n{escaped(title)}", style="bold"))


def note(text: str) -> None:
    """A remark under a table."""
    console().print(Text(f"\n{text}", style="dim"))


def print_json(document: object) -> None:
    """The one JSON document of a ``--json`` command, as UTF-8."""
    text = json.dumps(document, ensure_ascii=False, indent=2, default=_json_value)
    click.echo(text.encode(errors="backslashreplace"))  # of a lone surrogate that is its escape


def as_fields(record: Record, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A record as a JSON object, its public fields in their order."""
    return {name: getattr(record, name) for name in record.domains if name not in without}


# Words and numbers


def escaped(text: str, *, tabs: bool = False) -> str:
    """The text in one line that does nothing to a terminal: control characters as ``\\n``."""
    return text.translate(_ESCAPES | {9: "\t"} if tabs else _ESCAPES)


def minutes(moment: datetime | None) -> str | None:
    """A UTC time to the minute."""
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def number(count: int) -> str:
    """1,234."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """1 document, 2 documents."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(octets: int) -> str:
    """Bytes for people: 812 B, 1.2 MB."""
    amount = float(octets)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}" if amount < 100 else f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"


def bar(length: float) -> str:
    """A bar of that many characters, in eighths of one; what is not nothing is seen."""
    eighths = round(length * 8) or (1 if length else 0)
    if not console().encoding.lower().startswith("utf"):
        return "#" * ((eighths + 7) // 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def styled(word: str | None) -> Text:
    """A risk, severity or status in its colour."""
    return Text(word or "", style=_STYLES.get(word or "", ""))


_STYLES = {
    "critical": "bold red",
    "high": "red",
    "medium": "yellow",
    "low": "green",
    "none": "dim",
    "fail": "red",
    "failed": "red",
    "error": "magenta",
    "warning": "yellow",
    "pending": "yellow",
    "pass": "green",
    "applied": "green",
    "skip": "dim",
    "deleted": "dim",
}

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
_CONTROL = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, *_BIDI)
_ESCAPES: dict[int, str] = {code: repr(chr(code))[1:-1] for code in _CONTROL}


def _cell(value: Cell, column: Column) -> Text:
    text = value.copy() if isinstance(value, Text) else Text(_shown(value))
    text.no_wrap, text.overflow = not column.wrap, "fold" if column.wrap else "ellipsis"
    return text


def _shown(value: str | int | None) -> str:
    return "" if value is None else escaped(str(value))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """What each column gets: its need, or its part of what the others leave."""
    needs = [
        max(cell_len(column.title), *(row[n].cell_len for row in cells), 0)
        for n, column in enumerate(columns)
    ]
    left = width - GAP * len(columns) + 1 - sum(needs)
    open_columns = {n for n, column in enumerate(columns) if column.share}
    left += sum(needs[n] for n in open_columns)
    given = dict(enumerate(needs))
    while open_columns:
        shares = sum(columns[n].share for n in open_columns)
        parts = {n: max(LEAST, left * columns[n].share // shares) for n in open_columns}
        content = {n for n in open_columns if needs[n] <= parts[n]}
        if not content:
            given |= parts
            break
        left -= sum(needs[n] for n in content)
        open_columns -= content
    return [given[n] for n in range(len(columns))]


def _json_value(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
