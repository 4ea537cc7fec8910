"""Archive: what stays in the store of documents that were moved to an archive store.

Revision: 0003
Before: 0002
Created: 2026-11-25

A table of its own, so an SDK of revision 0002 may still write (MIG-2); it does not see what is
archived.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "archived_documents"
COUNTS = ("size", "row_count")


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    integer = sa.Integer() if sqlite else sa.BigInteger()
    time = sa.BigInteger() if sqlite else postgresql.TIMESTAMP(timezone=True)
    columns: list[tuple[str, sa.types.TypeEngine[Any]]] = [
        ("id", integer),
        ("tenant_id", text(sqlite, 100)),
        ("client_id", text(sqlite, 100)),
        ("document_type", text(sqlite, 50)),
        ("created_at", time),
        ("archived_at", time),
        ("archived_by", text(sqlite, 100)),
        ("policy", text(sqlite, 200)),
        ("bundle", text(sqlite, 100)),
        ("sha256", text(sqlite, 64)),
        ("size", integer),
        ("row_count", integer),
        ("lowest_id", integer),
        ("highest_id", integer),
        ("members", text(sqlite)),
    ]
    key = [] if sqlite else ["tenant_id"]
    op.create_table(
        TABLE,
        *(sa.Column(n, type, nullable=False, autoincrement=False) for n, type in columns),
        sa.PrimaryKeyConstraint(*key, "id", name=f"pk_{TABLE}"),
        *(sa.CheckConstraint(f"{n} >= 0", name=op.f(f"ck_{TABLE}_{n}")) for n in COUNTS),
    )


def downgrade() -> None:
    op.drop_table(TABLE)


def text(sqlite: bool, limit: int | None = None) -> sa.types.TypeEngine[Any]:
    collation = None if sqlite else "C"
    return sa.String(limit, collation=collation) if limit else sa.Text(collation=collation)
