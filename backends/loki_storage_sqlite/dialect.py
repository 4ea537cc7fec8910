"""SQLite's values and expressions. What SQL cannot say, ``matching.py`` says as a SQL function."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from loki_storage.errors import StorageError
from loki_storage.lines import Form
from loki_storage.matching import json_at
from loki_storage.values import Boolean, Domain, Number, Time
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Cell, Clause, Column, Dialect, Narrowing
from loki_storage_sql.packing import InPlace, unpack
from loki_storage_sqlite import lines
from loki_storage_sqlite.blocks import insert_blocks
from loki_storage_sqlite.errors import is_conflict, translate

__all__ = ["SQLITE", "SqliteDialect", "install_functions", "know_driver"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND
_REMEMBERED_TIMES = 1024
"""Records of one unit of work share their times, and a hit costs a quarter of the sum."""


@lru_cache(_REMEMBERED_TIMES)
def _encode_time(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


@lru_cache(_REMEMBERED_TIMES)
def _decode_time(stored: int) -> datetime:
    return _EPOCH + stored * _MICROSECOND


class SqliteDialect(Dialect):
    """Times are integer microseconds since 1970 in UTC, flags 0 and 1."""

    name = "sqlite"
    sqlalchemy = sqlite.dialect(paramstyle="qmark")
    driver_errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    nulls_first = True
    explain = "EXPLAIN QUERY PLAN"
    packing = InPlace()

    def encoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        match domain:
            case Time():
                return _encode_time
            case Boolean():
                return int
        return None

    def decoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        match domain:
            case Time():
                return _decode_time
            case Boolean():
                return bool
        return None

    def list_encoder(self, domain: Domain) -> Callable[[Sequence[Any]], str]:
        return _encode_numbers if isinstance(domain, Number) else _encode_list

    def encode_path(self, path: Sequence[str | int]) -> str:
        return json.dumps(path, ensure_ascii=False)

    def decode_day(self, stored: int) -> date:
        return (_EPOCH + stored * timedelta(days=1)).date()

    def among(self, column: Column, values: Column, domain: Domain) -> Clause:
        member = sa.func.json_each(values).table_valued("value").c.value
        if isinstance(domain, Number):
            return column.in_(sa.select(sa.func.loki_number(member)))
        return column.in_(sa.select(member))

    def contains(self, column: Column, text: Column) -> Clause:
        return sa.func.instr(column, text) > sa.literal_column("0")

    def folded_test(self, op: str, column: Column, text: Column) -> Narrowing:
        return Narrowing(self.text_test(op, sa.func.loki_casefold(column), text))

    def json_test(self, column: Column, path: Column, value: Column | None) -> Clause:
        found = sa.func.loki_json_at(column, path)
        return found.is_(None) if value is None else found == value

    def likely(self, clause: Clause) -> Clause:
        # Else "id > ?" is found by the rowid, through the rows of all tenants.
        return sa.func.likely(clause)

    def day(self, column: Column) -> Column:
        # Division cuts towards zero, and times before 1970 are negative.
        day = sa.literal_column(str(_DAY), sa.BigInteger())
        return (column - (column % day + day) % day) // day

    def line(self, form: Form, cells: Sequence[Cell]) -> Column | None:
        return lines.line(form, cells)

    def integer_sum(self, column: Column) -> tuple[Sequence[Column], Callable[..., int]]:
        """In halves: a sum beyond 64 bits is an error in SQLite."""
        high = sa.func.sum(column.op(">>")(sa.literal_column("32")))
        low = sa.func.sum(column.op("&")(sa.literal_column("4294967295")))
        return [high, low], lambda high, low: ((high or 0) << 32) + (low or 0)

    def insert(self, table: sa.TableClause) -> sqlite.Insert:
        return sqlite.insert(table)

    def insert_many(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Mapping[str, Sequence[Any]],
        same: Mapping[str, Any],
    ) -> None:
        insert_blocks(connection, table.name, columns, same)

    def is_conflict(self, error: Exception) -> bool:
        return is_conflict(error)

    def translate(self, error: Exception) -> StorageError:
        return translate(error)


SQLITE = SqliteDialect()
"""The one that all stores share, and with it what was compiled for it."""


def know_driver(connection: Any) -> None:
    """Translate the errors of this connection's driver, too: SQLCipher's are no ``sqlite3`` ones.

    PEP 249: a connection offers its driver's exceptions.
    """
    error = connection.Error
    if not issubclass(error, SQLITE.driver_errors):
        SQLITE.driver_errors = (*SQLITE.driver_errors, error)


def install_functions(connection: Any) -> None:
    """Give a connection the functions that the statements call."""
    for name, arguments, function in (
        ("loki_casefold", 1, _casefold),
        ("loki_json_at", 2, _json_at),
        ("loki_number", 1, float.fromhex),
        ("loki_repr", 1, repr),
        ("loki_unpack", 1, unpack),
    ):
        connection.create_function(name, arguments, function, deterministic=True)


def _encode_list(values: Sequence[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _encode_numbers(values: Sequence[float]) -> str:
    """As text: SQLite reads a decimal fraction in JSON a little off."""
    return json.dumps([value.hex() for value in values])


def _casefold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _json_at(text: str | None, path: str) -> str | None:
    return json_at(text, _path(path))


@lru_cache(256)
def _path(text: str) -> tuple[str | int, ...]:
    return tuple(json.loads(text))
