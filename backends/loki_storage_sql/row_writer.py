"""Writes the rows of one kind: one statement for any number of operations that look alike."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from loki_storage.batch import Delete, Guarded, Update
from loki_storage.errors import StaleWrite
from loki_storage.models import Kind
from loki_storage.rows import Rows
from loki_storage.values import Integer
from loki_storage_sql.codecs import field_encoder, record_encoder, rows_encoder
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Clause, Dialect

__all__ = [
    "ID",
    "Fields",
    "Rejected",
    "RowWriter",
    "among_ids",
    "insert_of",
    "insert_text",
    "update_text",
]

Fields = tuple[str, ...]
CACHED_STATEMENTS = 1024
ID = Integer(minimum=1)
"""The domain of ids."""
MANY = 4
"""Rows from which the database's way for many pays."""


class Rejected(Exception):
    """A guard failed, or a key or a reference does not hold; which one is found by reading."""


class RowWriter:
    """Encodes operations on one kind and runs them. Thread-safe."""

    def __init__(
        self,
        kind: Kind,
        table: sa.Table,
        dialect: Dialect,
        *,
        readable: sa.Table | None = None,
        fields: Fields = (),
    ) -> None:
        """``table`` holds ``fields``; ``readable`` all of the kind's. By default they are one."""
        self.kind, self.table, self.dialect = kind, table, dialect
        self._readable = table if readable is None else readable
        self.fields = fields or tuple(kind.domains)
        self._encoders = {f: field_encoder(domain, dialect) for f, domain in kind.domains.items()}
        self.encode = rows_encoder(kind, dialect, self.fields)
        self.encode_few = record_encoder(kind, dialect, self.fields)

    def insert(self, connection: Connection, rows: Rows[Any]) -> None:
        if len(rows) < MANY:
            text = insert_text(self.dialect, self.table, self.fields)
            connection.executemany(text, self.encode_few(rows.records))
        else:
            encoded = self.encode(rows)
            self.dialect.insert_many(connection, self.table, encoded.columns, encoded.same)

    def update(
        self, connection: Connection, tenant: str, updates: Sequence[Update], guard: Fields
    ) -> None:
        """Updates of the same fields under guards on the same fields."""
        text, names = update_text(self.dialect, self.table, tuple(updates[0].changes), guard)
        self.run(connection, text, names, [self.values(tenant, update) for update in updates])

    def delete(
        self, connection: Connection, tenant: str, deletes: Sequence[Delete], guard: Fields
    ) -> None:
        """Deletes under guards on the same fields, at least one."""
        text, names = delete_text(self.dialect, self.table, guard)
        self.run(connection, text, names, [self.values(tenant, delete) for delete in deletes])

    def delete_all(self, connection: Connection, tenant: str, ids: Sequence[int]) -> None:
        """Delete these rows, whatever is in them."""
        text, names = delete_many_text(self.dialect, self.table)
        values = {"tenant": tenant, "ids": self.dialect.list_encoder(ID)(ids)}
        cursor = connection.execute(text, [values[name] for name in names])
        if cursor.rowcount != len(ids):
            raise Rejected

    def require(
        self, connection: Connection, tenant: str, operations: Sequence[Guarded], guard: Fields
    ) -> None:
        """Read what the guards ask for; ``StaleWrite`` for the first that fails."""
        text, names = require_text(self.dialect, self._readable, guard)
        ids = self.dialect.list_encoder(ID)([operation.id for operation in operations])
        values = {"tenant": tenant, "ids": ids}
        cursor = connection.execute(text, [values[name] for name in names])
        found = {id: stored for id, *stored in cursor.fetchall()}
        for operation in operations:
            expected = [self.encoded(field, operation.guard[field]) for field in guard]
            if found.get(operation.id) != expected:
                raise StaleWrite(self.kind.table, operation.id)

    def run(
        self,
        connection: Connection,
        text: str,
        names: Sequence[str],
        values: Sequence[dict[str, Any]],
    ) -> None:
        """Run a statement once per row; each must find its row."""
        rows = [[row[name] for name in names] for row in values]
        if connection.executemany(text, rows) != len(rows):
            raise Rejected

    def values(self, tenant: str, operation: Update | Delete) -> dict[str, Any]:
        """An operation's values by the names of the statements' parameters."""
        values: dict[str, Any] = {"tenant": tenant, "id": operation.id}
        if isinstance(operation, Update):
            for field, value in operation.changes.items():
                values[f"new_{field}"] = self.encoded(field, value)
        for field, value in operation.guard.items():
            values[f"old_{field}"] = self.encoded(field, value)
        return values

    def encoded(self, field: str, value: Any) -> Any:
        """The field's value as the driver takes and gives it."""
        encode = self._encoders[field]
        return value if value is None or encode is None else encode(value)


# Statements, compiled once a process: their text, and the names of their parameters in its order.


@lru_cache(CACHED_STATEMENTS)
def insert_text(dialect: Dialect, table: sa.Table, fields: Fields) -> str:
    """An INSERT whose parameters are these fields in this order."""
    return text_of(insert_of(dialect, table, fields), dialect)[0]


@lru_cache(CACHED_STATEMENTS)
def update_text(
    dialect: Dialect, table: sa.Table, fields: Fields, guard: Fields
) -> tuple[str, list[str]]:
    """An UPDATE of one row under a guard."""
    changes: dict[str, Any] = {field: _parameter(table, field, "new") for field in fields}
    changes |= dict.fromkeys(dialect.beside(table.name, fields), sa.null())
    update = table.update().where(*_one_row(dialect, table, guard))
    return text_of(update.values(changes), dialect)


@lru_cache(CACHED_STATEMENTS)
def delete_text(dialect: Dialect, table: sa.Table, guard: Fields) -> tuple[str, list[str]]:
    """A DELETE of one row under a guard."""
    return text_of(table.delete().where(*_one_row(dialect, table, guard)), dialect)


@lru_cache(CACHED_STATEMENTS)
def delete_many_text(dialect: Dialect, table: sa.Table) -> tuple[str, list[str]]:
    """A DELETE of some rows by their ids."""
    return text_of(table.delete().where(*among_ids(dialect, table)), dialect)


@lru_cache(CACHED_STATEMENTS)
def require_text(dialect: Dialect, table: sa.Table, guard: Fields) -> tuple[str, list[str]]:
    """A SELECT of the id and the guarded fields of some rows."""
    statement = sa.select(table.c.id, *(dialect.text(table.c[field]) for field in guard))
    return text_of(statement.where(*among_ids(dialect, table)), dialect)


def insert_of(dialect: Dialect, table: sa.Table, fields: Fields) -> Any:
    """The INSERT of ``insert_text``; SQLAlchemy would order columns as the table does."""
    columns = [sa.column(field, table.c[field].type) for field in fields]
    values = {field: _parameter(table, field, "new") for field in fields}
    return dialect.insert(sa.table(table.name, *columns, schema=dialect.schema)).values(values)


def among_ids(dialect: Dialect, table: sa.Table) -> list[Clause]:
    """Rows of the parameter ``tenant`` whose id is in the parameter ``ids``."""
    among = dialect.among(table.c.id, sa.bindparam("ids"), ID)
    return [table.c.tenant_id == sa.bindparam("tenant"), among]


def _one_row(dialect: Dialect, table: sa.Table, guard: Fields) -> list[Clause]:
    return [
        table.c.tenant_id == sa.bindparam("tenant"),
        table.c.id == sa.bindparam("id"),
        *(
            dialect.text(table.c[f]).is_not_distinct_from(_parameter(table, f, "old"))
            for f in guard
        ),
    ]


def _parameter(table: sa.Table, field: str, prefix: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}_{field}", type_=table.c[field].type)
