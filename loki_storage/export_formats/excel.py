"""Excel (``.xlsx``): every text is text, nothing is rounded, run, or cut.

- NULL is an empty cell; the empty text is ``_x0000_``.
- What XML cannot hold (control characters, U+FFFE, U+FFFF) and a carriage return are written as
  ``_xHHHH_``, which spreadsheets show as the character; ``_xHHHH_`` in a text is written with its
  underscore escaped (``_x005F_xHHHH_``), as the file format asks.
- Times are text in ISO 8601 in UTC with microseconds; numbers that Excel would round are text.
- Text beyond 32,767 characters goes on in the sheet ``continued`` (sheet, row, column, text).
- A table beyond 1,048,576 rows goes on in the next sheet (``documents``, ``documents 2``, ...).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

from openpyxl import Workbook, load_workbook  # type: ignore[import-untyped]
from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]
from openpyxl.cell.cell import ERROR_CODES  # type: ignore[import-untyped]
from openpyxl.styles import Font  # type: ignore[import-untyped]
from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]

from loki_storage.export_format import Column, ExportFormatSpec, ExportTable, Row
from loki_storage.hookspecs import hookimpl
from loki_storage.values import Boolean, Domain, Integer, Number, Text, Time

__all__ = ["loki_register_export_formats", "read", "write"]

MOST_ROWS = 1_048_576
"""Rows of a sheet, its header included."""
MOST_CHARACTERS = 32_767
"""Of a cell, in UTF-16 units; a character beyond the first plane is two."""
SAFE_INTEGER = 10**15
CONTINUED = "continued"
CONTINUED_HEADER = ["sheet", "row", "column", "text"]
EMPTY = "_x0000_"

_SPECIAL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9a-fA-F]{4}_)")
_ESCAPE = re.compile(r"_x([0-9a-fA-F]{4})_")
_LONGEST_PLAIN = MOST_CHARACTERS // 2


def write(
    file: BinaryIO, table: ExportTable, rows: Iterator[Row], *, rows_per_sheet: int = MOST_ROWS
) -> None:
    """Write the rows. ``rows_per_sheet``: 2 to 1,048,576, the header included."""
    Integer(2, MOST_ROWS).accept("rows_per_sheet", rows_per_sheet)
    workbook = Workbook(write_only=True)
    sheets = _Sheets(workbook, table, rows_per_sheet)
    try:
        for row in rows:
            sheets.append(row)
        sheets.finish()
        workbook.save(file)
    except BaseException:
        _forget(workbook)
        raise


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows, continued texts joined."""
    workbook = load_workbook(file, read_only=True)
    try:
        names = workbook.sheetnames
        longer = _Continued(_cells_of(workbook, [n for n in names if _is_continued(n)]))
        for name in names:
            if not _is_continued(name):
                yield from _rows_of(workbook[name], name, longer)
    finally:
        workbook.close()


@hookimpl
def loki_register_export_formats() -> list[ExportFormatSpec]:
    """What this plugin offers."""
    return [ExportFormatSpec("excel", ".xlsx", write, read, "Excel workbook")]


class _Sheets:
    """The sheets of a workbook that is being written; a full one is followed by the next."""

    def __init__(self, workbook: Any, table: ExportTable, most: int) -> None:
        self._workbook, self._most = workbook, most
        self._table = table.name[:20]
        self._header, self._widths = table.header, list(map(_width, table.columns))
        self._makers = [_maker(column.domain) for column in table.columns]
        self._continued: Any = None
        self._number, self._row = 0, most
        self._more_number, self._more_row = 0, most

    def append(self, row: Row) -> None:
        if self._row >= self._most:
            self._begin()
        self._row += 1
        self._sheet.append([self._cell(n, value) for n, value in enumerate(row)])

    def finish(self) -> None:
        """A table without rows has its header all the same."""
        if not self._number:
            self._begin()

    def _begin(self) -> None:
        self._number += 1
        self._title = _title(self._table, self._number)
        self._sheet = _sheet(self._workbook, self._title, self._header, self._widths)
        self._row = 1

    def _cell(self, column: int, value: Any) -> Any:
        if value is None:
            return None
        made = self._makers[column](value)
        if type(made) is not str:
            return made
        if len(made) > _LONGEST_PLAIN and _units(made) > MOST_CHARACTERS:
            first, *others = _parts(made)
            for part in others:
                self._continue(column, part)
            made = first
        return _text_cell(self._sheet, made)

    def _continue(self, column: int, part: str) -> None:
        if self._more_row >= self._most:
            self._more_number += 1
            title = _title(CONTINUED, self._more_number)
            self._continued = _sheet(self._workbook, title, CONTINUED_HEADER, [20, 10, 20, 100])
            self._more_row = 1
        self._more_row += 1
        cell = _text_cell(self._continued, part)
        self._continued.append([self._title, self._row, self._header[column], cell])


def _forget(workbook: Any) -> None:
    """Remove the files in the system's temporary folder where openpyxl keeps unfinished sheets."""
    for sheet in workbook.worksheets:
        writer = sheet._writer
        if writer is not None:
            with suppress(Exception):
                sheet.close()
            with suppress(OSError, ValueError):
                writer.cleanup()


def _sheet(workbook: Any, title: str, header: list[str], widths: list[int]) -> Any:
    sheet = workbook.create_sheet(title)
    sheet.freeze_panes = "A2"
    for number, width in enumerate(widths, 1):
        sheet.column_dimensions[get_column_letter(number)].width = width
    cells = [WriteOnlyCell(sheet, name) for name in header]
    for cell in cells:
        cell.font = Font(bold=True)
    sheet.append(cells)
    return sheet


def _title(name: str, number: int) -> str:
    return name if number == 1 else f"{name} {number}"


def _width(column: Column) -> int:
    """Wide enough for what the field usually holds."""
    match column.domain:
        case Integer() | Number() | Boolean():
            return 12
        case Time():
            return 33
        case Text(limit=int(limit)):
            return max(len(column.name) + 2, min(40, limit))
    return 60


# Values to cells


def _maker(domain: Domain) -> Any:
    match domain:
        case Time():
            return _iso
        case Boolean():
            return bool
        case Integer():
            return _integer
        case Number():
            return _number
    return _escaped


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _integer(number: int) -> int | str:
    return number if -SAFE_INTEGER < number < SAFE_INTEGER else str(number)


def _number(number: float) -> float | str:
    return number if float(f"{number:.15g}") == number else repr(number)


def _escaped(text: str) -> str:
    text = str.__str__(text)
    if not text:
        return EMPTY
    return _SPECIAL.sub(_escape, text) if _SPECIAL.search(text) else text


def _escape(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


def _text_cell(sheet: Any, text: str) -> Any:
    """Text as openpyxl takes it for text; what it would take for something else as a cell."""
    if text[0] != "=" and text not in ERROR_CODES:
        return text
    cell = WriteOnlyCell(sheet)
    cell.value, cell.data_type = text, "s"
    return cell


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _parts(text: str) -> list[str]:
    """Pieces that fit a cell, each cut where no escape is."""
    parts, start = [], 0
    while start < len(text):
        end = min(len(text), start + _LONGEST_PLAIN)
        if end < len(text):
            escape = _last_escape(text, start, end)
            end = escape if escape is not None else end
        parts.append(text[start:end])
        start = end
    return parts


def _last_escape(text: str, start: int, end: int) -> int | None:
    """Where an escape begins that a cut at ``end`` would go through."""
    for position in range(max(start + 1, end - 6), end):
        if _ESCAPE.match(text, position) and position + 7 > end:
            return position
    return None


# Cells to values


def _is_continued(name: str) -> bool:
    return name == CONTINUED or name.startswith(f"{CONTINUED} ")


def _cells_of(workbook: Any, names: Iterable[str]) -> Iterator[list[Any]]:
    for name in names:
        rows = workbook[name].iter_rows(values_only=True)
        next(rows, None)
        yield from map(list, rows)


class _Continued:
    """The sheet ``continued``, read along: its rows are in the order of the table's."""

    def __init__(self, rows: Iterator[list[Any]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def rest(self, sheet: str, row: int, column: str) -> str:
        parts = []
        while self._next and self._next[:3] == [sheet, row, column]:
            parts.append(_unescaped(str(self._next[3])))
            self._next = next(self._rows, None)
        return "".join(parts)


def _rows_of(sheet: Any, name: str, longer: _Continued) -> Iterator[dict[str, Any]]:
    rows = sheet.iter_rows(values_only=True)
    header = [str(cell) for cell in next(rows, ())]
    for number, cells in enumerate(rows, 2):
        found = dict.fromkeys(header)
        for column, cell in zip(header, cells, strict=False):
            if isinstance(cell, str):
                cell = _unescaped(cell) + longer.rest(name, number, column)
            found[column] = cell
        yield found


def _unescaped(text: str) -> str:
    if text == EMPTY:
        return ""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text
