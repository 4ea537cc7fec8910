"""JSON and JSON lines: an object per row, its stored JSON as JSON, times in ISO 8601 in UTC.

``json`` is one array with an object a line, ``jsonl`` is the lines alone. Both are exact: text,
key order and numbers of any length come back as they were stored.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import orjson

from loki_storage.errors import ExportError
from loki_storage.export_format import ExportFormatSpec, ExportTable, Row, field_domain
from loki_storage.hookspecs import hookimpl
from loki_storage.values import Json, canonical, parse

__all__ = [
    "loki_register_export_formats",
    "object_encoder",
    "read",
    "read_lines",
    "write",
    "write_lines",
]


def write_lines(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """An object per line."""
    put = file.write
    for line in map(object_encoder(table, end=True), rows):
        put(line)


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """One array, an object per line."""
    lines = map(object_encoder(table), rows)
    put = file.write
    put(b"[\n")
    for first in lines:
        put(first)
        for line in lines:
            put(b",\n")
            put(line)
        put(b"\n")
    put(b"]\n")


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
        ExportFormatSpec("json", ".json", write, read, "one JSON array of objects"),
        ExportFormatSpec("jsonl", ".jsonl", write_lines, read_lines, "a JSON object per line"),
    ]


def object_encoder(table: ExportTable, *, end: bool = False) -> Callable[[Row], bytes]:
    """A row to its object, with a line end if ``end``; stored JSON goes in as it is."""
    scope: dict[str, Any] = {"dumps": orjson.dumps, "Fragment": orjson.Fragment}
    cells = ", ".join(
        f"{column.name!r}: {_cell(f'r[{n}]', isinstance(column.domain, Json))}"
        for n, column in enumerate(table.columns)
    )
    option = f", option={orjson.OPT_APPEND_NEWLINE}" if end else ""
    exec(f"def encode(r):\n    return dumps({{{cells}}}{option})", scope)
    encode: Callable[[Row], bytes] = scope["encode"]
    return encode


def _cell(value: str, is_json: bool) -> str:
    return f"None if {value} is None else Fragment({value}.encode())" if is_json else value


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
