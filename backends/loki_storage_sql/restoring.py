"""Rows that take the place of all that is stored, in one transaction (BAK-3).

Others see the old rows until the commit and the new ones after it: no file is switched, so that
connections of other processes, their locks and their log stay sound. Leases only go up, so that no
id which a process holds is given out again.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import sqlalchemy as sa

from loki_storage.batch import Batch, InsertMany
from loki_storage.models import KINDS, Kind
from loki_storage.rows import Rows
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.tables import Schema

__all__ = ["delete_all", "insert_all", "raise_leases"]


def delete_all(connection: Connection, dialect: Dialect, schema: Schema) -> None:
    """Empty every table of records, children first; leases and settings stay."""
    for text in _deletes(dialect, schema):
        connection.execute(text).close()


@cache
def _deletes(dialect: Dialect, schema: Schema) -> list[str]:
    kept = {schema.id_leases, schema.store_settings}
    tables = [table for table in reversed(schema.metadata.sorted_tables) if table not in kept]
    return [text_of(table.delete(), dialect)[0] for table in tables]


def insert_all(write: Callable[[Batch], None], parts: Iterable[Rows[Any]]) -> dict[Kind, int]:
    """Insert all parts, batch by batch, and give the highest id of each kind."""
    highest: dict[Kind, int] = {}
    for rows in parts:
        if not len(rows):
            continue
        (tenant,) = rows.tenants
        write(Batch(tenant, [InsertMany(rows)]))
        highest[rows.kind] = max(highest.get(rows.kind, 0), *rows.ids)
    return highest


def raise_leases(
    connection: Connection, dialect: Dialect, schema: Schema, highest: dict[Kind, int]
) -> None:
    """Have no id given out again that is stored now."""
    text, names = _raise_lease(dialect, schema)
    for kind in KINDS.values():
        if kind in highest:
            values = {"kind": kind.table, "next_id": highest[kind] + 1}
            connection.execute(text, [values[name] for name in names]).close()


@cache
def _raise_lease(dialect: Dialect, schema: Schema) -> tuple[str, list[str]]:
    leases = schema.id_leases
    insert = dialect.insert(leases).values(
        kind=sa.bindparam("kind"), next_id=sa.bindparam("next_id")
    )
    higher = insert.excluded.next_id > leases.c.next_id
    upsert = insert.on_conflict_do_update(
        index_elements=["kind"], set_={"next_id": insert.excluded.next_id}, where=higher
    )
    return text_of(upsert, dialect)
