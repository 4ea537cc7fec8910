"""JSON and JSON lines: an object per row, its stored JSON as JSON, times in ISO 8601 in UTC.

``json`` is one array with an object a line, ``jsonl`` is the lines alone. Both are exact: text,
key order and numbers of any length come back as they were stored.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

import attrs

from loki_storage.errors import ExportError
from loki_storage.export_format import ExportFormatSpec, ExportTable, Row, field_domain
from loki_storage.hookspecs import hookimpl
from loki_storage.lines import OBJECTS, Blocks, Form, encoded
from loki_storage.values import Json, canonical, parse

__all__ = [
    "loki_register_export_formats",
    "read",
    "read_lines",
    "write",
    "write_array",
    "write_jsonl",
    "write_lines",
]


def write_jsonl(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """An object per line."""
    write_lines(file, table, partial(encoded, columns=table.domains, rows=rows))


def write_lines(file: BinaryIO, table: ExportTable, lines: Callable[[Form], Blocks]) -> None:
    """The same of lines."""
    for block, _ in lines(OBJECTS):
        file.write(block)


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """One array, an object per line."""
    write_array(file, table, partial(encoded, columns=table.domains, rows=rows))


def write_array(file: BinaryIO, table: ExportTable, lines: Callable[[Form], Blocks]) -> None:
    """The same of lines."""
    between = b"\n"
    file.write(b"[")
    for block, _ in lines(_MEMBERS):
        file.write(between)
        file.write(block[: -len(_MEMBERS.end)])
        between = _MEMBERS.end.encode()
    file.write(b"\n]\n")


_MEMBERS = attrs.evolve(OBJECTS, end=",\n")


def read_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows; stored JSON as canonical text."""
    for line in file:
        if not line.isspace():
            yield _row(line)


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows of an array; line by line where each object has a line of its own."""
    first = file.readline()
    if first.strip() != b"[":
        yield from map(_cells, _array(b"".join(chain([first], file))))
        return
    for line in file:
        text = line.strip()
        if text == b"]":
            return
        yield _row(text.removesuffix(b","))
    raise ExportError("the file ends before its array does; it is cut")


@hookimpl
def loki_register_export_formats() -> list[ExportFormatSpec]:
    """What this plugin offers."""
    return [
        ExportFormatSpec("json", ".json", write, read, "one JSON array of objects", write_array),
        ExportFormatSpec(
            "jsonl", ".jsonl", write_jsonl, read_lines, "a JSON object per line", write_lines
        ),
    ]


def _row(line: bytes) -> dict[str, Any]:
    try:
        found: Any = parse(line.decode())
    except ValueError as error:
        raise ExportError("the file holds a line that is not JSON; it is cut or altered") from error
    return _cells(found)


def _array(text: bytes) -> list[Any]:
    try:
        found: Any = parse(text.decode())
    except ValueError as error:
        raise ExportError("the file is not JSON; it is cut or altered") from error
    return list(found)


def _cells(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ExportError("the file holds what is not an object; it is no export")
    return {
        name: canonical(value, name, bounded=False) if _is_json(name, value) else value
        for name, value in found.items()
    }


def _is_json(name: str, value: object) -> bool:
    return value is not None and isinstance(field_domain(name), Json)
