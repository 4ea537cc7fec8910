"""PostgreSQL's values and expressions."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import repeat
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from loki_storage.errors import StorageError
from loki_storage.lines import Form
from loki_storage.values import Boolean, Domain, Integer, Number, Time
from loki_storage_postgresql import lines
from loki_storage_postgresql.errors import is_conflict, translate
from loki_storage_postgresql.folding import pattern
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Cell, Clause, Column, Dialect, Narrowing
from loki_storage_sql.packing import Apart

__all__ = ["PostgresqlDialect", "dialect_for"]


_INDEX = re.compile(r"\s*[+-]?\d")
_NULL: Column = sa.literal_column("'null'", sa.Text())


class PostgresqlDialect(Dialect):
    """Times are ``timestamptz`` in sessions set to UTC, flags booleans: the driver's own values."""

    name = "postgresql"
    # The server's own placeholders: the driver has nothing to rewrite, and quotes nothing.
    sqlalchemy = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    driver_errors = (psycopg.Error,)
    nulls_first = False
    packing = Apart()

    def __init__(self, schema: str | None) -> None:
        """``schema``: in which every name is looked up; None: where the session's path leads."""
        self.schema = schema

    def encoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        return None

    def decoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        return None

    def list_encoder(self, domain: Domain) -> Callable[[Sequence[Any]], Any]:
        return list

    def encode_path(self, path: Sequence[str | int]) -> list[str]:
        return [str(part) for part in path]

    def decides_path(self, path: Sequence[str | int]) -> bool:
        """A number is an index and a key to PostgreSQL: whichever it finds there."""
        return all(isinstance(part, str) and not _INDEX.match(part) for part in path)

    def decode_day(self, stored: date) -> date:
        return stored

    def among(self, column: Column, values: Column, domain: Domain) -> Clause:
        return column == sa.any_(sa.cast(values, postgresql.ARRAY(_element(domain))))

    def contains(self, column: Column, text: Column) -> Clause:
        return sa.func.strpos(column, text) > sa.literal_column("0")

    def encode_folded(self, op: str, folded: str) -> str:
        return pattern(op, folded)

    def folded_test(self, op: str, column: Column, text: Column) -> Narrowing:
        """PostgreSQL has no casefold that is Python's: a pattern lets some rows more through."""
        return Narrowing(column.op("~", is_comparison=True)(text), exact=False)

    def json_test(self, column: Column, path: Column, value: Column | None) -> Clause:
        """``json`` keeps the text that it is given, and gives parts of it as they are."""
        steps = sa.cast(path, postgresql.ARRAY(sa.Text()))
        part = sa.cast(sa.cast(column, postgresql.JSON()).op("#>")(steps), sa.Text())
        if value is None:
            return sa.func.coalesce(part, _NULL) == _NULL
        return part == value

    def day(self, column: Column) -> Column:
        return sa.cast(sa.func.timezone(sa.literal_column("'UTC'"), column), sa.Date())

    def line(self, form: Form, cells: Sequence[Cell]) -> Column | None:
        return lines.line(form, cells)

    def integer_sum(self, column: Column) -> tuple[Sequence[Column], Callable[..., int]]:
        """Sums of ``bigint`` are ``numeric``, which has no end."""
        return [sa.func.sum(column)], lambda total: int(total or 0)

    def insert(self, table: sa.TableClause) -> postgresql.Insert:
        return postgresql.insert(table)

    def insert_many(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Mapping[str, Sequence[Any]],
        same: Mapping[str, Any],
    ) -> None:
        quote, names = self.sqlalchemy.identifier_preparer.quote, (*columns, *same)
        fields = ", ".join(map(quote, names))
        text = f"COPY {self.qualified(table.name)} ({fields}) FROM STDIN"
        connection.tell(text)
        shared = map(repeat, same.values())
        with psycopg.Cursor(connection.driver) as cursor, cursor.copy(text) as copy:
            for row in zip(*columns.values(), *shared, strict=False):
                copy.write_row(row)

    def is_conflict(self, error: Exception) -> bool:
        return is_conflict(error)

    def translate(self, error: Exception) -> StorageError:
        return translate(error)


@cache
def dialect_for(schema: str | None) -> PostgresqlDialect:
    """The one that all stores in schemas of this name share, with what was compiled for it."""
    return PostgresqlDialect(schema)


def _element(domain: Domain) -> sa.types.TypeEngine[Any]:
    match domain:
        case Integer():
            return sa.BigInteger()
        case Number():
            return sa.Double()
        case Boolean():
            return sa.Boolean()
        case Time():
            return postgresql.TIMESTAMP(timezone=True)
    return sa.Text()
