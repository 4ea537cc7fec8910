"""Retention: periods with units, triggers and minimums; legal holds; runs.

Revision: 0002
Before: 0001
Created: 2026-11-25

Columns are added with defaults, so that an SDK of revision 0001 may still write (MIG-2).
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

POLICIES = "data_retention_policies"
UNITS = "('days', 'months', 'years', 'forever')"
STATISTICS = (
    ("legal_holds", "sqlite_autoindex_legal_holds_1", "100 100 1"),
    ("retention_runs", "uq_retention_runs_active", "100 1"),
)
Column = sa.Column[Any]


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    widen_policies(sqlite)
    op.create_table("legal_holds", *holds(sqlite))
    op.create_table("retention_runs", *runs(sqlite))
    active = sa.text("active = 1" if sqlite else "active = true")
    op.create_index(
        "uq_retention_runs_active",
        "retention_runs",
        ["tenant_id"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
    if sqlite:  # what the planner needs to know before there are rows, see revision 0001
        for table, index, figures in STATISTICS:
            op.execute(f"INSERT INTO sqlite_stat1 VALUES ('{table}', '{index}', '{figures}')")


def downgrade() -> None:
    op.drop_table("retention_runs")
    op.drop_table("legal_holds")
    for column in reversed(NEW_COLUMNS):
        op.execute(f'ALTER TABLE {POLICIES} DROP COLUMN "{column}"')


# Name -> type, NOT NULL with a default or neither, and what the database refuses.
NEW_COLUMNS = {
    "period_amount": ("integer", "", "period_amount > 0"),
    "period_unit": ("text20", "NOT NULL DEFAULT 'days'", f"period_unit IN {UNITS}"),
    "trigger": ("text100", "NOT NULL DEFAULT 'created'", None),
    "kind": ("text20", "NOT NULL DEFAULT 'maximum'", "kind IN ('minimum', 'maximum')"),
    "every_days": ("integer", "NOT NULL DEFAULT 1", "every_days > 0"),
    "citation": ("text", "", None),
    "text_date": ("text10", "", None),
    "verified": ("flag", "NOT NULL DEFAULT false", None),
}


def widen_policies(sqlite: bool) -> None:
    """In plain SQL: SQLite takes a constraint with a column, Alembic would copy the table."""
    types = {
        "integer": "INTEGER" if sqlite else "BIGINT",
        "flag": "BOOLEAN",
        **{name: f"VARCHAR({size})" for name, size in (("text20", 20), ("text100", 100))},
        "text10": "VARCHAR(10)",
        "text": "TEXT",
    }
    for column, (type, needs, condition) in NEW_COLUMNS.items():
        if sqlite and type == "flag":
            condition = f"{column} IN (0, 1)"
        collation = ' COLLATE "C"' if not sqlite and type.startswith("text") else ""
        refused = f" CONSTRAINT ck_{POLICIES}_{column} CHECK ({condition})" if condition else ""
        name = '"trigger"' if sqlite and column == "trigger" else column
        declared = f"{name} {types[type]}{collation} {needs}{refused}"
        op.execute(f"ALTER TABLE {POLICIES} ADD COLUMN {declared}")


def holds(sqlite: bool) -> list[SchemaItem]:
    return [
        *ids(sqlite),
        required("name", text(sqlite, 200)),
        required("entity_type", text(sqlite, 50)),
        required("placed_by", text(sqlite, 100)),
        required("placed_at", time(sqlite)),
        optional("released_at", time(sqlite)),
        optional("released_by", text(sqlite, 100)),
        required("reason", text(sqlite)),
        optional("ids", text(sqlite)),
        optional("query", text(sqlite)),
        optional("release_reason", text(sqlite)),
        key(sqlite, "legal_holds"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_legal_holds_name"),
    ]


def runs(sqlite: bool) -> list[SchemaItem]:
    table = "retention_runs"
    flags = [check(table, "active", "active IN (0, 1)")] if sqlite else []
    return [
        *ids(sqlite),
        required("plan_hash", text(sqlite, 64)),
        required("active", sa.Boolean()),
        required("owner", text(sqlite, 100)),
        required("lease_until", time(sqlite)),
        required("as_of", time(sqlite)),
        required("position", integer(sqlite)),
        required("started_at", time(sqlite)),
        required("started_by", text(sqlite, 100)),
        optional("finished_at", time(sqlite)),
        optional("progress", text(sqlite)),
        optional("certificate", text(sqlite)),
        key(sqlite, table),
        check(table, "position", "position >= 0"),
        *flags,
    ]


def ids(sqlite: bool) -> list[SchemaItem]:
    return [required("id", integer(sqlite)), required("tenant_id", text(sqlite, 100))]


def key(sqlite: bool, table: str) -> SchemaItem:
    return sa.PrimaryKeyConstraint(*([] if sqlite else ["tenant_id"]), "id", name=f"pk_{table}")


def integer(sqlite: bool) -> sa.types.TypeEngine[Any]:
    return sa.Integer() if sqlite else sa.BigInteger()


def time(sqlite: bool) -> sa.types.TypeEngine[Any]:
    return sa.BigInteger() if sqlite else postgresql.TIMESTAMP(timezone=True)


def text(sqlite: bool, limit: int | None = None) -> sa.types.TypeEngine[Any]:
    collation = None if sqlite else "C"
    return sa.String(limit, collation=collation) if limit else sa.Text(collation=collation)


def required(name: str, type: sa.types.TypeEngine[Any]) -> Column:
    return sa.Column(name, type, nullable=False, autoincrement=False)


def optional(name: str, type: sa.types.TypeEngine[Any]) -> Column:
    return sa.Column(name, type, nullable=True, autoincrement=False)


def check(table: str, column: str, condition: str) -> SchemaItem:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{column}"))
