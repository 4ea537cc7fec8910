"""Rows as lines of a backup, and back: a JSON array per row (``loki_storage.lines.ARRAYS``).

The lines of a table are canonical: equal rows give equal bytes on whatever backend, so a digest
over them tells whether two tables are equal. Reading checks each value as its domain does; limits
that a host may change (the length of content, of JSON) are not asked for again.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from types import NoneType
from typing import Any

import attrs
import orjson

from loki_storage.errors import InvalidValue, RestoreRejected
from loki_storage.lines import ARRAYS, EPOCH, Blocks
from loki_storage.models import Kind
from loki_storage.protocol import Reader, dump_order
from loki_storage.query import And, Condition, Query
from loki_storage.rows import Rows
from loki_storage.values import (
    Boolean,
    Domain,
    Integer,
    Json,
    JsonText,
    Number,
    Text,
    Time,
    Word,
    canonical,
    parse,
)

__all__ = ["CHUNK_ROWS", "Digest", "converted", "decoded", "lines_of"]

CHUNK_ROWS = 500
CHUNK_BYTES = 4 << 20
"""Rows that are handled together: as many, or that many bytes."""


class Digest:
    """Counts and digests lines on their way."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.rows = self.size = 0

    def add(self, block: bytes, rows: int) -> None:
        self._sha256.update(block)
        self.rows += rows
        self.size += len(block)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def lines_of(
    reader: Reader,
    kind: Kind,
    tenant: str | None,
    fields: Sequence[str] | None = None,
    where: Condition | None = None,
) -> Blocks:
    """Blocks of lines, and how many lines each has; parents first, as a dump."""
    condition = And(()) if where is None else where
    query = Query(kind, tenant, condition, order=dump_order(kind))
    return reader.lines(query, tuple(fields or kind.domains), ARRAYS)


def decoded(kind: Kind, fields: Sequence[str], lines: Iterable[bytes]) -> Iterator[Rows[Any]]:
    """The rows of lines, checked, some at a time, each part of one tenant.

    Raises ``RestoreRejected`` for a line that is no row of the kind.
    """
    return _parts(_decoder(kind, fields, _checker), lines)


def converted(kind: Kind, fields: Sequence[str], lines: Iterable[bytes]) -> Iterator[Rows[Any]]:
    """What ``decoded`` gives, for lines that it has been through before: half of the time."""
    return _parts(_decoder(kind, fields, _converter), lines)


def _parts(
    decode: Callable[[list[bytes]], Iterator[Rows[Any]]], lines: Iterable[bytes]
) -> Iterator[Rows[Any]]:
    iterator = iter(lines)
    while chunk := list(_some(iterator)):
        yield from decode(chunk)


def _some(lines: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for line in islice(lines, CHUNK_ROWS):
        yield line
        size += len(line)
        if size >= CHUNK_BYTES:
            return


Column = Callable[[Sequence[Any]], Sequence[Any]]


def _decoder(
    kind: Kind, fields: Sequence[str], reader: Callable[[str, Domain], Column]
) -> Callable[[list[bytes]], Iterator[Rows[Any]]]:
    columns = [(name, reader(name, kind.domains[name])) for name in fields]
    missing = _defaults(kind, fields)
    tenant, width = list(fields).index("tenant_id"), len(fields)

    def decode(lines: list[bytes]) -> Iterator[Rows[Any]]:
        try:
            rows = list(map(orjson.loads, lines))
            if any(type(row) is not list or len(row) != width for row in rows):
                raise ValueError
            for _, group in groupby(rows, key=itemgetter(tenant)):
                values = zip(columns, zip(*group, strict=True), strict=True)
                yield Rows(kind, {name: check(column) for (name, check), column in values}, missing)
        except (InvalidValue, TypeError, ValueError, RecursionError) as error:
            field = getattr(error, "field", None)
            where = f"{kind.table}.{field}" if field else kind.table
            raise RestoreRejected(f"{where}: the backup holds what is no such value") from error

    return decode


def _defaults(kind: Kind, fields: Sequence[str]) -> dict[str, Any]:
    """What fields store that a backup of an earlier version does not have (PLG-2)."""
    made: dict[str, Any] = {}
    for field in attrs.fields(kind):
        if field.alias in fields:
            continue
        if field.default is attrs.NOTHING:
            raise RestoreRejected(f"the backup has no {kind.table}.{field.alias}")
        made[field.alias] = kind.domains[field.alias].accept(field.alias, field.default)
    return made


def _checker(name: str, domain: Domain) -> Column:
    """What checks a column: each distinct value once."""
    accept = _accepted(name, domain)
    types = _TYPES.get(type(domain), frozenset([str]))

    def check(column: Sequence[Any]) -> list[Any]:
        # 1, 1.0 and True are equal, and only one of them is what the field holds.
        if not types.issuperset(set(map(type, column)) - {NoneType}):
            raise InvalidValue(name, "is of another type")
        known = {value: accept(value) for value in set(column)}
        return [known[value] for value in column]

    return check


_TYPES: dict[type[Domain], frozenset[type]] = {
    Boolean: frozenset([int]),
    Integer: frozenset([int]),
    Number: frozenset([float]),
    Time: frozenset([int]),
}
"""What lines hold, by what a field holds; all else is text."""


def _converter(name: str, domain: Domain) -> Column:
    """What makes of a checked column what records hold."""
    match domain:
        case Time():
            return _checker(name, domain)
        case Boolean():
            return lambda column: list(map(bool, column))
        case Json():
            return lambda column: [None if v is None else JsonText(v) for v in column]
        case Word():
            members = domain.members
            return lambda column: [members.get(v, v) for v in column]
    return lambda column: column


def _accepted(name: str, domain: Domain) -> Callable[[Any], Any]:
    accept: Callable[[str, Any], object] = domain.accept
    match domain:
        case Json():
            accept = _json
        case Time():
            accept = _time
        case Boolean():
            accept = _flag
        case Text(limit=None, minimum=0):
            accept = domain.operand
    nullable = domain.nullable

    def accepted(value: Any) -> Any:
        if value is None and not nullable:
            raise InvalidValue(name, "is required")
        return None if value is None else accept(name, value)

    return accepted


def _json(name: str, value: object) -> JsonText:
    """Canonical text, no longer bounded than it was."""
    if not isinstance(value, str) or canonical(parse(value), name, bounded=False) != value:
        raise InvalidValue(name, "must be canonical JSON")
    return JsonText(value)


def _time(name: str, value: int) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=value)
    except OverflowError as error:
        raise InvalidValue(name, "must be within the years 1 and 9999") from error


def _flag(name: str, value: object) -> bool:
    if value not in (0, 1):
        raise InvalidValue(name, "must be 0 or 1")
    return bool(value)
