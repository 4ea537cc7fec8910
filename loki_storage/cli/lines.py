"""JSON lines: one object a line, with a reason for each line that is none.

A reason names the place, never what stands there.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import attrs
import orjson

from loki_storage.errors import InvalidValue

__all__ = ["MAXIMUM_LINE", "Line", "parse_line", "read_lines"]

MAXIMUM_LINE = 256 * 2**20
"""Bytes; a longer line is refused without being held in memory."""


@attrs.frozen
class Line:
    """One line of the input; ``data`` is None where it was too long to be read."""

    number: int
    data: bytes | None
    octets: int


def read_lines(stream: BinaryIO, maximum: int = MAXIMUM_LINE) -> Iterator[Line]:
    """The lines that hold anything, numbered from 1; memory is bounded by ``maximum``."""
    number = 0
    while data := stream.readline(maximum + 1):
        number += 1
        octets = len(data)
        if octets > maximum and not data.endswith(b"\n"):
            yield Line(number, None, octets + _rest_of_line(stream))
            continue
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")  # Windows begins UTF-8 files with it
        yield Line(number, data.strip(), octets)


def parse_line(data: bytes | None) -> dict[str, Any]:
    """The object of a line, or ``InvalidValue`` with what is wrong with it.

    Of keys that come twice the last one counts. Integers of any length are read exactly.
    """
    if data is None:
        raise InvalidValue("line", f"is longer than {MAXIMUM_LINE // 2**20} MiB")
    try:
        value = _loads_exactly(data) if _has_long_integer(data) else orjson.loads(data)
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    except json.JSONDecodeError as error:
        raise _not_json(data, error) from None
    except (ValueError, RecursionError):
        raise InvalidValue("line", "holds a number or a nesting beyond all limits") from None
    if not isinstance(value, dict):
        raise InvalidValue("line", "must be a JSON object")
    return value


_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_LONG = b"0" * 19


def _has_long_integer(data: bytes) -> bool:
    """Whether orjson may meet an integer beyond 64 bits, which it would round (15x a regex)."""
    return _LONG in data.translate(_TO_ZERO)


def _loads_exactly(data: bytes) -> Any:
    return json.loads(data.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _not_json(data: bytes, error: json.JSONDecodeError) -> InvalidValue:
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        return _not_utf8(problem)
    if error.pos >= len(text):
        return InvalidValue("line", f"is cut off: the JSON does not end (column {len(text)})")
    return InvalidValue("line", f"is not JSON (column {error.pos + 1})")


def _not_utf8(error: UnicodeDecodeError) -> InvalidValue:
    return InvalidValue("line", f"is not UTF-8 (byte {error.start + 1})")


def _rest_of_line(stream: BinaryIO) -> int:
    """Skip to the end of the line; the bytes that were skipped."""
    skipped = 0
    while data := stream.readline(2**20):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped
