r"""CSV: RFC 4180 in UTF-8, a header, and every cell such that it can be read back.

- NULL is ``\N``; the empty text is empty. Text that is ``\N`` itself, or that with more
  backslashes, has one backslash more.
- Text that a spreadsheet would run as a formula (it begins with ``= + - @``, their full-width
  forms, a tab or a line end) has an apostrophe in front, and so has text that begins with an
  apostrophe. ``raw=True`` leaves this out, for programs; read such a file with ``raw=True``.
- Times are ISO 8601 in UTC with microseconds, flags ``true`` and ``false``, JSON is its text.
"""

import csv
from collections.abc import Callable, Iterator
from functools import partial
from io import TextIOWrapper
from typing import Any, BinaryIO

from loki_storage.errors import ExportError
from loki_storage.export_format import ExportFormatSpec, ExportTable, Row, field_domain
from loki_storage.hookspecs import hookimpl
from loki_storage.lines import CSV, NULL, RAW_CSV, Blocks, Form, encoded, is_null_text
from loki_storage.values import Domain, Json, Text

__all__ = ["loki_register_export_formats", "read", "unescaped", "write", "write_lines"]

_LONGEST_FIELD = 2**31 - 1


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row], *, raw: bool = False) -> None:
    """Write the rows. ``raw`` leaves out what keeps spreadsheets from running formulas."""
    write_lines(file, table, partial(encoded, columns=table.domains, rows=rows), raw=raw)


def write_lines(
    file: BinaryIO, table: ExportTable, lines: Callable[[Form], Blocks], *, raw: bool = False
) -> None:
    """The same of lines."""
    form = RAW_CSV if raw else CSV
    file.write((",".join(table.header) + form.end).encode())
    for block, _ in lines(form):
        file.write(block)


def read(file: BinaryIO, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """The rows, their cells as text; what ``write`` added is undone."""
    # The module's own limit of 128 KiB is for the whole process, and contents are longer.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    text = TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        reader = csv.reader(text, strict=True)
        header = next(reader, [])
        quoted = [not raw and is_quoted(field_domain(name)) for name in header]
        for cells in reader:
            yield {
                name: unescaped(cell, is_text)
                for name, cell, is_text in zip(header, cells, quoted, strict=True)
            }
    except (ValueError, csv.Error) as error:
        raise ExportError("the file is not the CSV of an export; it is cut or altered") from error
    finally:
        text.detach()  # the file is the caller's


@hookimpl
def loki_register_export_formats() -> list[ExportFormatSpec]:
    """What this plugin offers."""
    summary = "comma-separated values, UTF-8"
    return [ExportFormatSpec("csv", ".csv", write, read, summary, write_lines)]


def unescaped(cell: str, is_text: bool) -> str | None:
    """What a cell stands for; ``is_text``: whether an apostrophe in front was added."""
    if cell == NULL:
        return None
    if is_text and cell[:1] == "'":
        return cell[1:]
    return cell[1:] if is_null_text(cell) else cell


def is_quoted(domain: Domain | None) -> bool:
    """Whether cells of this domain may begin like a formula."""
    return domain is None or isinstance(domain, Text | Json)
