r"""Labeled tab-separated values (ltsv.org) as an export format of loki-storage.

A line per row, ``label:value`` pairs between tabs. A tab, a line end and a backslash in a value are
``\t``, ``\n``, ``\r`` and ``\\``; a pair that is missing is NULL.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from loki_storage import ExportFormatSpec, hookimpl
from loki_storage.export_format import ExportTable, Row

__all__ = ["loki_register_export_formats", "read", "write"]

_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_CHARACTERS = {escape: character for character, escape in _ESCAPES.items()}
_HEADER = "# "


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """The columns as a comment, then a line per row."""
    file.write((_HEADER + "\t".join(table.header) + "\n").encode())
    for row in rows:
        cells = zip(table.header, row, strict=True)
        pairs = [f"{name}:{_escaped(_text(cell))}" for name, cell in cells if cell is not None]
        file.write(("\t".join(pairs) + "\n").encode())


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows; every cell is text, loki-storage knows the types."""
    header = file.readline().decode().rstrip("\n").removeprefix(_HEADER).split("\t")
    for line in file:
        text = line.decode().rstrip("\n")
        pairs = (pair.partition(":") for pair in text.split("\t") if pair)
        yield {
            **dict.fromkeys(header),
            **{name: _unescaped(cell) for name, _, cell in pairs},
        }


@hookimpl
def loki_register_export_formats() -> list[ExportFormatSpec]:
    """What this plugin offers."""
    return [ExportFormatSpec("ltsv", ".ltsv", write, read, "labeled tab-separated values")]


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if isinstance(cell, datetime) else str(cell)


def _escaped(text: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda found: _ESCAPES[found[0]], text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda found: _CHARACTERS[found[0]], text)
