r"""Rows as lines of bytes: what exports and backups are made of.

    CSV      1,"default","=1+1",2026-01-01T00:00:00.000000+00:00,true,\N      (``'=1+1`` unless raw)
    OBJECTS  {"id":1,"created_at":"2026-01-01T00:00:00.000000+00:00","is_latest":true}
    ARRAYS   [1,"default",1767225600000000,1,null]

Equal rows give equal bytes, whatever backend they are on (ACC-11). Here is how Python writes them;
a database that can write them itself saves the time to make Python's values of its own.

- Numbers are as ``repr`` writes them. Times are ISO 8601 in UTC with microseconds; in arrays they
  are microseconds since 1970, and flags 0 or 1. Stored JSON goes into objects as it is.
- In CSV, NULL is ``\N``, text that is ``\N`` or that with more backslashes has one backslash more.
  Text that a spreadsheet would run as a formula has an apostrophe in front, unless raw, and so has
  text that begins with one. Text is quoted always, all else never.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import attrs
import orjson

from loki_storage.values import Boolean, Domain, Integer, Json, Number, Time, Word

__all__ = [
    "ARRAYS",
    "CSV",
    "EPOCH",
    "FORMULA",
    "NULL",
    "OBJECTS",
    "RAW_CSV",
    "Blocks",
    "Form",
    "encoded",
    "encoder",
    "is_null_text",
    "joined",
]

Blocks = Iterator[tuple[bytes, int]]
"""Blocks of whole lines, and how many lines each has."""
NULL = r"\N"
FORMULA = frozenset("=+-@\t\r\n＝＋－＠'")  # noqa: RUF001 - the full-width forms are meant
"""How a cell begins that a spreadsheet may run, and the apostrophe that keeps it from that."""
BLOCK_ROWS = 200
BLOCK_SIZE = 1 << 20
"""A block ends with the line that brings it to so many rows, or bytes."""
is_null_text = re.compile(r"\\+N").fullmatch
"""Whether text looks like NULL, and has one backslash more in CSV."""
REMEMBERED_TIMES = 1024
"""Rows that were stored together share their times."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@attrs.frozen
class Form:
    """How a row becomes a line, and how a line ends."""

    style: Literal["csv", "object", "array"]
    end: str = "\n"
    raw: bool = False


CSV, RAW_CSV = Form("csv", "\r\n"), Form("csv", "\r\n", raw=True)
OBJECTS, ARRAYS = Form("object"), Form("array")


def encoded(form: Form, columns: Mapping[str, Domain], rows: Iterable[tuple[Any, ...]]) -> Blocks:
    """The lines of rows that hold what ``Reader.rows`` gives; ``columns``: what each may hold."""
    return joined(form, map(encoder(form, columns), rows))


def joined(form: Form, lines: Iterable[str] | Iterable[bytes]) -> Blocks:
    """Blocks of lines that have no ends yet."""
    iterator: Iterator[Any] = iter(lines)
    end = form.end
    while chunk := list(_some(iterator)):
        if isinstance(chunk[0], bytes):
            yield end.encode().join((*chunk, b"")), len(chunk)
        else:
            yield end.join((*chunk, "")).encode(), len(chunk)


def _some(lines: Iterator[Any]) -> Iterator[Any]:
    size = 0
    for line in islice(lines, BLOCK_ROWS):
        yield line
        size += len(line)
        if size >= BLOCK_SIZE:
            return


# One function per form and table, without a loop over its fields.


def encoder(form: Form, columns: Mapping[str, Domain]) -> Callable[[tuple[Any, ...]], Any]:
    """A function from a row to its line, text or bytes, without an end."""
    return _csv(form, columns) if form.style == "csv" else _json(form, columns)


def _json(form: Form, columns: Mapping[str, Domain]) -> Callable[[tuple[Any, ...]], bytes]:
    scope = {
        "dumps": orjson.dumps,
        "Fragment": orjson.Fragment,
        "iso": _iso,
        "microseconds": _microseconds,
    }
    as_object = form.style == "object"
    cells = [_member(f"c{n}", domain, as_object) for n, domain in enumerate(columns.values())]
    if as_object:
        pairs = zip(columns, cells, strict=True)
        line = f"{{{', '.join(f'{name!r}: {cell}' for name, cell in pairs)}}}"
    else:
        line = f"[{', '.join(cells)}]"
    return _built(scope, len(columns), [], f"dumps({line})")


def _member(cell: str, domain: Domain, as_object: bool) -> str:
    """What orjson is given for a cell."""
    match domain:
        case Time():
            value = f"iso({cell})" if as_object else f"microseconds({cell})"
        case Number():
            value = f"Fragment(repr({cell}).encode())"
        case Json() if as_object:
            value = f"Fragment({cell}.encode())"
        case Boolean() if not as_object:
            value = f"int({cell})"
        case _:
            return cell
    return f"None if {cell} is None else {value}" if domain.nullable else value


def _csv(form: Form, columns: Mapping[str, Domain]) -> Callable[[tuple[Any, ...]], str]:
    scope: dict[str, Any] = {
        "cell": _raw_text if form.raw else _text,
        "special": frozenset("\\") if form.raw else FORMULA | {"\\"},
        "iso": _iso,
    }
    domains = enumerate(columns.values())
    steps = [step for n, domain in domains for step in _steps(f"c{n}", domain)]
    line = ",".join(f"{{c{n}}}" for n in range(len(columns)))
    return _built(scope, len(columns), steps, f"f'{line}'")


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


def _built(scope: dict[str, Any], width: int, steps: list[str], result: str) -> Callable[..., Any]:
    cells = "".join(f"c{n}, " for n in range(width))
    body = "\n    ".join([f"{cells}= row" if width else "pass", *steps, f"return {result}"])
    exec(f"def encode(row):\n    {body}", scope)
    encode: Callable[..., Any] = scope["encode"]
    return encode


def _text(text: str) -> str:
    return f"'{text}" if text[:1] in FORMULA else _raw_text(text)


def _raw_text(text: str) -> str:
    return f"\\{text}" if is_null_text(text) else text


@lru_cache(REMEMBERED_TIMES)
def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


@lru_cache(REMEMBERED_TIMES)
def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND
