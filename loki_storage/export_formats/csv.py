r"""CSV: RFC 4180 in UTF-8, a header, and every cell such that it can be read back.

- NULL is ``\N``; the empty text is empty. Text that is ``\N`` itself, or that with more
  backslashes, has one backslash more.
- Text that a spreadsheet would run as a formula (it begins with ``= + - @``, their full-width
  forms, a tab or a line end) has an apostrophe in front, and so has text that begins with an
  apostrophe. ``raw=True`` leaves this out, for programs; read such a file with ``raw=True``.
- Times are ISO 8601 in UTC with microseconds, flags ``true`` and ``false``, JSON is its text.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from io import TextIOWrapper
from typing import Any, BinaryIO

from loki_storage.errors import ExportError
from loki_storage.export_format import ExportFormatSpec, ExportTable, Row, field_domain
from loki_storage.hookspecs import hookimpl
from loki_storage.values import Boolean, Domain, Integer, Json, Number, Text, Time, Word

__all__ = ["NULL", "loki_register_export_formats", "read", "unescaped", "write"]

NULL = r"\N"
FORMULA = frozenset("=+-@\t\r\n＝＋－＠'")  # noqa: RUF001 - the full-width forms are meant
"""How a cell begins that a spreadsheet may run, and the apostrophe that keeps it from that."""
END = "\r\n"
REMEMBERED_TIMES = 1024
"""Rows that were stored together share their times."""
_IS_NULL = re.compile(r"\\+N").fullmatch
_LONGEST_FIELD = 2**31 - 1


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row], *, raw: bool = False) -> None:
    """Write the rows. ``raw`` leaves out what keeps spreadsheets from running formulas."""
    put = file.write
    put((",".join(table.header) + END).encode())
    for line in map(_encoder([column.domain for column in table.columns], raw), rows):
        put(line.encode())


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
    return [ExportFormatSpec("csv", ".csv", write, read, "comma-separated values, UTF-8")]


def unescaped(cell: str, is_text: bool) -> str | None:
    """What a cell stands for; ``is_text``: whether an apostrophe in front was added."""
    if cell == NULL:
        return None
    if is_text and cell[:1] == "'":
        return cell[1:]
    return cell[1:] if _IS_NULL(cell) else cell


def is_quoted(domain: Domain | None) -> bool:
    """Whether cells of this domain may begin like a formula."""
    return domain is None or isinstance(domain, Text | Json)


# One function per table, without a loop over its fields; and lines of our own, because the csv
# module looks at each character. Text is quoted always, all else never.


def _encoder(domains: Sequence[Domain], raw: bool) -> Callable[[Row], str]:
    scope: dict[str, Any] = {
        "cell": _raw_text if raw else _text,
        "special": frozenset("\\") if raw else FORMULA | {"\\"},
        "iso": _iso,
    }
    cells = [f"c{n}" for n in range(len(domains))]
    steps = [step for pair in zip(cells, domains, strict=True) for step in _steps(*pair)]
    body = "\n    ".join([f"{', '.join(cells)}, = row", *steps])
    line = ",".join(f"{{{cell}}}" for cell in cells)
    exec(f"def encode(row):\n    {body}\n    return f'{line}\\r\\n'", scope)
    encode: Callable[[Row], str] = scope["encode"]
    return encode


def _steps(cell: str, domain: Domain) -> Iterator[str]:
    """The statements that turn a value into what stands in the file."""
    match domain:
        case Integer() | Number() | Word(open=False):
            some = []
        case Time():
            some = [f"{cell} = iso({cell})"]
        case Boolean():
            some = [f"{cell} = 'true' if {cell} else 'false'"]
        case _:
            some = [
                f"if {cell}[:1] in special: {cell} = cell({cell})",
                f"""if '"' in {cell}: {cell} = {cell}.replace('"', '""')""",
                f"""{cell} = f'"{{{cell}}}"'""",
            ]
    if not domain.nullable:
        yield from some
        return
    yield f"if {cell} is None: {cell} = {NULL!r}"
    if some:
        yield "else:"
        yield from (f"    {step}" for step in some)


def _text(text: str) -> str:
    return f"'{text}" if text[:1] in FORMULA else _raw_text(text)


def _raw_text(text: str) -> str:
    return f"\\{text}" if _IS_NULL(text) else text


@lru_cache(REMEMBERED_TIMES)
def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
