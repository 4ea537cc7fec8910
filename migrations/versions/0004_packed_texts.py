"""Packed texts: what ``compress`` makes of long ones.

Revision: 0004
Before: 0003
Created: 2026-11-25

PostgreSQL has columns for them; SQLite keeps them where the text was. An SDK of revision 0003
would read neither, so it may not write any more (MIG-2).
"""

from typing import Any

import sqlalchemy as sa
import zstandard
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PACKED = {"documents": ("content",), "corrections": ("original_content", "corrected_content")}
AT_ONCE = 100


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for table, fields in PACKED.items():
            names = [f"{field}_packed" for field in fields]
            for name in names:
                op.add_column(table, sa.Column(name, postgresql.BYTEA(), nullable=True))
            packed = sa.text(" OR ".join(f"{name} IS NOT NULL" for name in names))
            op.create_index(f"ix_{table}_packed", table, ["tenant_id"], postgresql_where=packed)
    set_oldest_writer(revision)


def downgrade() -> None:
    """Texts are made plain before their columns go."""
    sqlite = op.get_context().dialect.name == "sqlite"
    for table, fields in PACKED.items():
        for field in fields:
            (unpack_sqlite if sqlite else unpack_postgresql)(table, field)
        if not sqlite:
            op.drop_index(f"ix_{table}_packed", table)
            for field in reversed(fields):
                op.drop_column(table, f"{field}_packed")
    set_oldest_writer("0001")


def unpack_sqlite(table: str, field: str) -> None:
    packed = f"SELECT tenant_id, id, {field} FROM {table} WHERE typeof({field}) = 'blob'"
    unpack(packed, f"UPDATE {table} SET {field} = :text WHERE tenant_id = :tenant AND id = :id")


def unpack_postgresql(table: str, field: str) -> None:
    column = f"{field}_packed"
    packed = f"SELECT tenant_id, id, {column} FROM {table} WHERE {column} IS NOT NULL"
    changes = f"{field} = :text, {column} = NULL"
    unpack(packed, f"UPDATE {table} SET {changes} WHERE tenant_id = :tenant AND id = :id")


def unpack(select: str, update: str) -> None:
    connection = op.get_bind()
    while rows := connection.execute(sa.text(f"{select} LIMIT {AT_ONCE}")).fetchall():
        for tenant, id, packed in rows:
            values = {"tenant": tenant, "id": id, "text": text_of(packed)}
            connection.execute(sa.text(update), values)


def text_of(packed: Any) -> str:
    plain = bytes(packed)
    if plain.startswith(zstandard.FRAME_HEADER):
        plain = zstandard.decompress(plain)
    return plain.decode()


def set_oldest_writer(revision: str) -> None:
    op.execute(f"UPDATE store_settings SET value = '{revision}' WHERE name = 'oldest_writer'")
