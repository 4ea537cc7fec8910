"""The whole schema.

Revision: 0001
Before:
Created: 2026-11-24
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Column = sa.Column[Any]


class Sqlite:
    """Ids are the rowid, so unique in the whole store; times are microseconds since 1970, UTC."""

    integer = sa.Integer
    time = sa.BigInteger
    now = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    random_key = "lower(hex(randomblob(32)))"

    def text(self, limit: int | None = None) -> sa.types.TypeEngine[str]:
        return sa.String(limit) if limit else sa.Text()

    def keys(self, table: str, *, referenced: bool = False) -> list[SchemaItem]:
        keys: list[SchemaItem] = [sa.PrimaryKeyConstraint("id", name=f"pk_{table}")]
        return [*keys, unique(table, "id")] if referenced else keys

    def flag(self, table: str, column: str) -> list[SchemaItem]:
        return [check(table, column, f"{column} IN (0, 1)")]

    def index(self, table: str, *columns: str, carries: Sequence[str] = (), **options: Any) -> None:
        name = options.pop("name", f"ix_{table}_{'_'.join(columns)}")
        op.create_index(name, table, ["tenant_id", *columns, *carries], **options)

    def where(self, condition: str) -> dict[str, Any]:
        return {"sqlite_where": sa.text(condition)}

    def flag_is_set(self, column: str) -> dict[str, Any]:
        return self.where(f"{column} = 1")

    def gate_results(self) -> None:
        """By finding alone, an intercept's 173 results lie on as many pages of an index.

        By block (4,096 results) and finding they lie on a dozen; SQLite skips from block to block.
        """
        block = sa.Column("block", sa.Integer(), sa.Computed("id >> 12", persisted=False))
        op.create_table("gate_results", *gate_results(self), block)
        op.create_index("ix_gate_results_validation_id", "gate_results", ["validation_id"])
        op.create_index("ix_gate_results_finding_id", "gate_results", ["block", "finding_id"])

    def view(self) -> None:
        """The tenant is the finding's: then results are counted by the index alone."""
        op.execute(VIEW.format(tenant="f.tenant_id", same_tenant=""))

    def statistics(self) -> None:
        """Tell the planner what no figures of its own could: it decides before there are rows.

        Without any it takes "this tenant" to be as selective as "this document", and sorts a whole
        tenant for a page. Blocks are told larger than they are, so that it never prefers to walk
        the results of all tenants. A later ANALYZE replaces all this by what it finds.
        """
        op.execute("ANALYZE gate_results")  # makes the table of statistics, the only way there is
        for line in STATISTICS.strip().splitlines():
            table, index, figures = line.split(" ", 2)
            op.execute(f"INSERT INTO sqlite_stat1 VALUES ('{table}', '{index}', '{figures}')")


class Postgresql:
    """The tenant leads every key, as distributed PostgreSQL needs it."""

    integer = sa.BigInteger
    now = "now()"
    random_key = "replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')"

    def time(self) -> sa.types.TypeEngine[datetime]:
        return postgresql.TIMESTAMP(timezone=True)

    def text(self, limit: int | None = None) -> sa.types.TypeEngine[str]:
        return sa.String(limit, collation="C") if limit else sa.Text(collation="C")

    def keys(self, table: str, *, referenced: bool = False) -> list[SchemaItem]:
        return [sa.PrimaryKeyConstraint("tenant_id", "id", name=f"pk_{table}")]

    def flag(self, table: str, column: str) -> list[SchemaItem]:
        return []

    def index(self, table: str, *columns: str, carries: Sequence[str] = (), **options: Any) -> None:
        name = options.pop("name", f"ix_{table}_{'_'.join(columns)}")
        if carries:
            options["postgresql_include"] = list(carries)
        op.create_index(name, table, ["tenant_id", *columns], **options)

    def where(self, condition: str) -> dict[str, Any]:
        return {"postgresql_where": sa.text(condition)}

    def flag_is_set(self, column: str) -> dict[str, Any]:
        return self.where(f"{column} = true")

    def gate_results(self) -> None:
        op.create_table("gate_results", *gate_results(self))
        self.index("gate_results", "validation_id")
        self.index("gate_results", "finding_id")

    def view(self) -> None:
        same_tenant = "f.tenant_id = r.tenant_id AND "
        op.execute(VIEW.format(tenant="r.tenant_id", same_tenant=same_tenant))

    def statistics(self) -> None:
        """The server keeps its own."""


Layout = Sqlite | Postgresql
LAYOUTS: dict[str, Layout] = {"sqlite": Sqlite(), "postgresql": Postgresql()}

VIEW = """\
CREATE VIEW validation_results AS
SELECT r.id, {tenant}, r.validation_id, r.client_id,
    f.scope, f.module_id, f.gate_id, f.gate_key, f.status, f.severity,
    f.message, f.suggestion, f.legal_source,
    r.confidence_score, r.evidence, r.metadata_json,
    f.gate_version,
    r.created_at
FROM gate_results AS r
JOIN gate_findings AS f ON {same_tenant}f.id = r.finding_id"""

# Rows in all, then rows that agree on the first column, on the first two, ... What somebody asks
# for by status, action or type is told to be rarer than it is: then the index is taken.
STATISTICS = """
document_chains sqlite_autoindex_document_chains_1 1000000 1000000 1
document_chains sqlite_autoindex_document_chains_2 1000000 1000000 10000 1
document_chains sqlite_autoindex_document_chains_3 1000000 1000000 10000 1
documents sqlite_autoindex_documents_1 1000000 1000000 1
documents sqlite_autoindex_documents_2 1000000 1000000 2 1
documents uq_documents_root_id_is_latest 1000000 1000000 1
documents ix_documents_content_hash_client_id 1000000 1000000 3 2
documents ix_documents_client_id_created_at 1000000 1000000 10000 10 10 10
documents ix_documents_document_type_created_at 1000000 1000000 10000 10 10 10
documents ix_documents_created_at 1000000 1000000 10
documents ix_documents_user_id_created_at 100000 100000 1000 10
documents ix_documents_deleted_at_is_deleted 10000 10000 10
documents ix_documents_parent_id 500000 500000 1
tags sqlite_autoindex_tags_1 1000 1000 1
tags sqlite_autoindex_tags_2 1000 1000 1
document_tags sqlite_autoindex_document_tags_1 1000000 1000000 3 1
document_tags ix_document_tags_tag_id_document_id 1000000 1000000 3000 1
validations sqlite_autoindex_validations_1 1000000 1000000 1
validations sqlite_autoindex_validations_2 1000000 1000000 10000 1
validations ix_validations_document_id_created_at 1000000 1000000 3 1
validations ix_validations_client_id_created_at 1000000 1000000 10000 10
validations ix_validations_status_overall_risk 1000000 1000000 1000 300
validations ix_validations_overall_risk_created_at 1000000 1000000 1000 10
validations ix_validations_created_at 1000000 1000000 10
gate_findings sqlite_autoindex_gate_findings_1 100000 1000 1
gate_findings ix_gate_findings_gate_key_status 100000 1000 4 2
gate_findings ix_gate_findings_module_id_gate_id 100000 1000 60 4
gate_findings ix_gate_findings_status 100000 1000 100
gate_findings ix_gate_findings_severity 100000 1000 100
gate_findings ix_gate_findings_scope 100000 1000 100
gate_results ix_gate_results_validation_id 10000000 170
gate_results ix_gate_results_finding_id 10000000 16384 20
corrections sqlite_autoindex_corrections_1 1000000 1000000 1
corrections ix_corrections_document_id_status 1000000 1000000 5 3
corrections ix_corrections_validation_id_status 1000000 1000000 5 3
corrections ix_corrections_client_id_status 1000000 1000000 10000 1000
corrections ix_corrections_status_correction_type 1000000 1000000 1000 500
correction_history ix_correction_history_correction_id_changed_at 1000000 1000000 2 1
correction_history ix_correction_history_change_type_changed_at 1000000 1000000 10000 10
correction_history ix_correction_history_changed_at 1000000 1000000 10
audit_trail ix_audit_trail_timestamp 1000000 1000000 10
audit_trail ix_audit_trail_action_timestamp 1000000 1000000 10000 10
audit_trail ix_audit_trail_actor_id_timestamp 1000000 1000000 10000 10
audit_trail ix_audit_trail_client_id_timestamp 1000000 1000000 10000 10
audit_trail ix_audit_trail_entity_type_timestamp 1000000 1000000 10000 10
audit_trail ix_audit_trail_entity_id_entity_type_timestamp 1000000 1000000 10 5 1
audit_trail ix_audit_trail_document_id_timestamp 1000000 1000000 10 1
audit_trail ix_audit_trail_validation_id_timestamp 1000000 1000000 10 1
audit_trail ix_audit_trail_request_id 100000 100000 5
data_retention_policies sqlite_autoindex_data_retention_policies_1 100 100 1
retention_state sqlite_autoindex_retention_state_1 100 1
id_leases sqlite_autoindex_id_leases_1 10 1
store_settings sqlite_autoindex_store_settings_1 10 1
"""

RISKS = "('critical', 'high', 'medium', 'low', 'none')"


def upgrade() -> None:
    layout = LAYOUTS[op.get_context().dialect.name]
    create_documents(layout)
    create_tags(layout)
    create_validations(layout)
    create_results(layout)
    create_corrections(layout)
    create_audit_trail(layout)
    create_retention(layout)
    create_export_logs(layout)
    create_store(layout)
    layout.statistics()


def downgrade() -> None:
    op.execute("DROP VIEW validation_results")
    for table in (
        "store_settings",
        "id_leases",
        "retention_state",
        "export_logs",
        "data_retention_policies",
        "audit_trail",
        "correction_history",
        "corrections",
        "gate_results",
        "gate_findings",
        "validations",
        "document_tags",
        "tags",
        "documents",
        "document_chains",
    ):
        op.drop_table(table)


# --- Tables ---------------------------------------------------------------------------------------
# Columns of unbounded length come last: a row is read from its start, and a text may be long.


def create_documents(layout: Layout) -> None:
    text, integer, time = layout.text, layout.integer, layout.time
    op.create_table(
        "document_chains",
        *ids(layout),
        required("client_id", text(100)),
        required("revision", integer()),
        required("live", sa.Boolean()),
        optional("text_claim", text(64)),
        optional("intercept_claim", text(64)),
        *layout.keys("document_chains", referenced=True),
        unique("document_chains", "client_id", "text_claim"),
        unique("document_chains", "client_id", "intercept_claim"),
        at_least_0("document_chains", "revision"),
        *layout.flag("document_chains", "live"),
    )
    op.create_table(
        "documents",
        *ids(layout),
        required("content_hash", text(64)),
        required("document_type", text(50)),
        required("content_length", integer()),
        optional("title", text(500)),
        optional("source", text(500)),
        optional("language", text(10)),
        required("client_id", text(100)),
        optional("user_id", text(100)),
        required("version", integer()),
        optional("parent_id", integer(), "the version with the number before"),
        required("root_id", integer(), "the chain: the id of version 1"),
        required("is_latest", sa.Boolean()),
        required("created_at", time()),
        required("updated_at", time()),
        optional("deleted_at", time()),
        required("is_deleted", sa.Boolean()),
        required("content", text()),
        optional("description", text()),
        optional("metadata_json", text()),
        *layout.keys("documents", referenced=True),
        unique("documents", "root_id", "version"),
        reference("documents", "parent_id", "documents"),
        reference("documents", "root_id", "document_chains"),
        at_least_0("documents", "content_length"),
        check("documents", "version", "version > 0"),
        *layout.flag("documents", "is_latest"),
        *layout.flag("documents", "is_deleted"),
    )
    index_documents(layout)


def index_documents(layout: Layout) -> None:
    flags = ("is_latest", "is_deleted")
    layout.index(
        "documents",
        "root_id",
        name="uq_documents_root_id_is_latest",
        unique=True,
        **layout.flag_is_set("is_latest"),
    )
    layout.index("documents", "content_hash", "client_id")
    layout.index("documents", "client_id", "created_at", carries=flags)
    layout.index("documents", "document_type", "created_at", carries=flags)
    layout.index("documents", "created_at")
    layout.index("documents", "user_id", "created_at", **layout.where("user_id IS NOT NULL"))
    layout.index(
        "documents",
        "deleted_at",
        name="ix_documents_deleted_at_is_deleted",
        **layout.flag_is_set("is_deleted"),
    )
    layout.index("documents", "parent_id", **layout.where("parent_id IS NOT NULL"))


def create_tags(layout: Layout) -> None:
    text = layout.text
    op.create_table(
        "tags",
        *ids(layout),
        required("name", text(100)),
        optional("category", text(50)),
        optional("color", text(7)),
        required("created_at", layout.time()),
        optional("description", text()),
        *layout.keys("tags", referenced=True),
        unique("tags", "name"),
    )
    op.create_table(
        "document_tags",
        *ids(layout),
        required("document_id", layout.integer(), "the chain's root id"),
        required("tag_id", layout.integer()),
        *layout.keys("document_tags"),
        unique("document_tags", "document_id", "tag_id"),
        reference("document_tags", "document_id", "document_chains"),
        reference("document_tags", "tag_id", "tags"),
    )
    layout.index("document_tags", "tag_id", "document_id")


def create_validations(layout: Layout) -> None:
    text, integer, time = layout.text, layout.integer, layout.time
    counts = [f"{word}_count" for word in COUNTED]
    statuses = "('pending', 'in_progress', 'completed', 'failed', 'cancelled')"
    op.create_table(
        "validations",
        *ids(layout),
        required("document_id", integer(), "a version's id"),
        required("status", text(20)),
        optional("started_at", time()),
        optional("completed_at", time()),
        optional("duration_ms", integer()),
        optional("overall_risk", text(20)),
        *(required(count, integer()) for count in counts),
        required("request_hash", text(64)),
        required("client_id", text(100)),
        optional("user_id", text(100)),
        required("created_at", time()),
        required("modules_used", text()),
        optional("config", text()),
        optional("error_message", text()),
        optional("error_traceback", text()),
        *layout.keys("validations", referenced=True),
        unique("validations", "client_id", "request_hash"),
        reference("validations", "document_id", "documents"),
        check("validations", "status", f"status IN {statuses}"),
        check("validations", "overall_risk", f"overall_risk IN {RISKS}"),
        *(at_least_0("validations", count) for count in ("duration_ms", *counts)),
    )
    layout.index("validations", "document_id", "created_at")
    layout.index("validations", "client_id", "created_at")
    layout.index("validations", "status", "overall_risk")
    layout.index("validations", "overall_risk", "created_at")
    layout.index("validations", "created_at")


COUNTED = ("critical", "high", "medium", "low", "pass", "fail", "warning")


def create_results(layout: Layout) -> None:
    """What a gate says is kept once per tenant; a result points at it. Read through the view."""
    text = layout.text
    op.create_table(
        "gate_findings",
        *ids(layout),
        required("scope", text(50)),
        optional("module_id", text(100)),
        required("gate_id", text(100)),
        required("gate_key", text(255)),
        optional("gate_version", text(20)),
        required("status", text(20)),
        optional("severity", text(20)),
        optional("message", text()),
        optional("suggestion", text()),
        optional("legal_source", text()),
        *layout.keys("gate_findings", referenced=True),
        check("gate_findings", "status", "status IN ('pass', 'fail', 'warning', 'skip', 'error')"),
        check("gate_findings", "severity", f"severity IN {RISKS}"),
    )
    layout.index("gate_findings", "gate_key", "status")
    layout.index("gate_findings", "module_id", "gate_id")
    layout.index("gate_findings", "status")
    layout.index("gate_findings", "severity")
    layout.index("gate_findings", "scope")
    layout.gate_results()
    layout.view()


def gate_results(layout: Layout) -> list[SchemaItem]:
    text, integer = layout.text, layout.integer
    return [
        *ids(layout),
        required("validation_id", integer()),
        required("client_id", text(100)),
        optional("confidence_score", sa.Double()),
        required("created_at", layout.time()),
        required("finding_id", integer()),
        optional("evidence", text()),
        optional("metadata_json", text()),
        *layout.keys("gate_results"),
        reference("gate_results", "validation_id", "validations"),
        reference("gate_results", "finding_id", "gate_findings"),
    ]


def create_corrections(layout: Layout) -> None:
    text, integer, time = layout.text, layout.integer, layout.time
    statuses = "('pending', 'applied', 'rejected', 'reverted')"
    op.create_table(
        "corrections",
        *ids(layout),
        required("document_id", integer(), "a version's id"),
        optional("validation_id", integer()),
        required("correction_type", text(50)),
        optional("target_gate", text(255)),
        optional("strategy", text(100)),
        optional("confidence", sa.Double()),
        required("status", text(20)),
        optional("applied_at", time()),
        optional("applied_by", text(100)),
        optional("reviewed_at", time()),
        optional("reviewed_by", text(100)),
        required("client_id", text(100)),
        required("created_at", time()),
        required("updated_at", time()),
        optional("original_content", text()),
        optional("corrected_content", text()),
        optional("diff", text()),
        optional("reasoning", text()),
        optional("review_notes", text()),
        optional("metadata_json", text()),
        *layout.keys("corrections", referenced=True),
        reference("corrections", "document_id", "documents"),
        reference("corrections", "validation_id", "validations"),
        check("corrections", "status", f"status IN {statuses}"),
    )
    layout.index("corrections", "document_id", "status")
    layout.index("corrections", "validation_id", "status")
    layout.index("corrections", "client_id", "status")
    layout.index("corrections", "status", "correction_type")
    create_correction_history(layout)


def create_correction_history(layout: Layout) -> None:
    text = layout.text
    op.create_table(
        "correction_history",
        *ids(layout),
        required("correction_id", layout.integer()),
        required("change_type", text(50)),
        optional("previous_status", text(50)),
        required("new_status", text(50)),
        optional("changed_by", text(100)),
        required("changed_at", layout.time()),
        optional("changes", text()),
        optional("reason", text()),
        *layout.keys("correction_history"),
        reference("correction_history", "correction_id", "corrections"),
    )
    layout.index("correction_history", "correction_id", "changed_at")
    layout.index("correction_history", "change_type", "changed_at")
    layout.index("correction_history", "changed_at")


def create_audit_trail(layout: Layout) -> None:
    text, integer = layout.text, layout.integer
    plain = "a plain number, without constraint"
    op.create_table(
        "audit_trail",
        *ids(layout),
        optional("document_id", integer(), f"the chain's root id; {plain}"),
        optional("validation_id", integer(), plain),
        required("action", text(100)),
        required("entity_type", text(50)),
        optional("entity_id", integer(), plain),
        required("actor_id", text(100)),
        required("actor_type", text(50)),
        optional("ip_address", text(45)),
        optional("user_agent", text(500)),
        optional("request_id", text(100)),
        required("timestamp", layout.time()),
        required("client_id", text(100)),
        optional("changes", text()),
        optional("metadata_json", text()),
        *layout.keys("audit_trail"),
        check("audit_trail", "actor_type", "actor_type IN ('user', 'system', 'api')"),
    )
    for searched in ("action", "actor_id", "client_id", "entity_type"):
        layout.index("audit_trail", searched, "timestamp")
    layout.index("audit_trail", "timestamp")
    layout.index("audit_trail", "entity_id", "entity_type", "timestamp")
    for searched in ("document_id", "validation_id"):
        there = layout.where(f"{searched} IS NOT NULL")
        layout.index("audit_trail", searched, "timestamp", **there)
    layout.index("audit_trail", "request_id", **layout.where("request_id IS NOT NULL"))


def create_retention(layout: Layout) -> None:
    text, integer, time = layout.text, layout.integer, layout.time
    table, actions = "data_retention_policies", "('compress', 'archive', 'anonymize', 'delete')"
    op.create_table(
        table,
        *ids(layout),
        required("name", text(200)),
        required("entity_type", text(50)),
        required("retention_days", integer()),
        required("action", text(20)),
        required("is_active", sa.Boolean()),
        required("priority", integer()),
        optional("last_run", time()),
        optional("next_run", time()),
        required("total_processed", integer()),
        required("total_affected", integer()),
        required("created_at", time()),
        required("updated_at", time()),
        optional("created_by", text(100)),
        optional("description", text()),
        optional("criteria", text()),
        *layout.keys(table),
        unique(table, "name"),
        check(table, "retention_days", "retention_days > 0"),
        check(table, "action", f"action IN {actions}"),
        *layout.flag(table, "is_active"),
        at_least_0(table, "total_processed"),
        at_least_0(table, "total_affected"),
    )
    op.create_table(
        "retention_state",
        *ids(layout),
        required("revision", integer()),
        *layout.keys("retention_state"),
        sa.UniqueConstraint("tenant_id", name="uq_retention_state_tenant_id"),
        at_least_0("retention_state", "revision"),
    )


def create_export_logs(layout: Layout) -> None:
    text, integer, time = layout.text, layout.integer, layout.time
    op.create_table(
        "export_logs",
        *ids(layout),
        required("export_type", text(50)),
        required("entity_type", text(50)),
        required("record_count", integer()),
        optional("file_size_bytes", integer()),
        optional("file_path", text(500)),
        optional("file_hash", text(64)),
        required("status", text(50)),
        required("requested_by", text(100)),
        required("client_id", text(100)),
        required("requested_at", time()),
        optional("completed_at", time()),
        optional("expires_at", time()),
        optional("filters", text()),
        optional("fields", text()),
        optional("error_message", text()),
        *layout.keys("export_logs"),
        at_least_0("export_logs", "record_count"),
        at_least_0("export_logs", "file_size_bytes"),
    )


def create_store(layout: Layout) -> None:
    """What the store keeps about itself: next free ids, the findings' key, the oldest writer."""
    text = layout.text
    op.create_table(
        "id_leases",
        required("kind", text(50)),
        required("next_id", sa.BigInteger()),
        sa.PrimaryKeyConstraint("kind", name="pk_id_leases"),
        check("id_leases", "next_id", "next_id > 0"),
    )
    op.create_table(
        "store_settings",
        required("name", text(50)),
        required("value", text()),
        required("created_at", layout.time()),
        sa.PrimaryKeyConstraint("name", name="pk_store_settings"),
    )
    for name, value in (("finding_key", layout.random_key), ("oldest_writer", f"'{revision}'")):
        op.execute(f"INSERT INTO store_settings VALUES ('{name}', {value}, {layout.now})")


# --- Parts of a table -----------------------------------------------------------------------------


def ids(layout: Layout) -> list[SchemaItem]:
    return [required("id", layout.integer()), required("tenant_id", layout.text(100))]


def required(name: str, type: sa.types.TypeEngine[Any], comment: str | None = None) -> Column:
    return sa.Column(name, type, nullable=False, autoincrement=False, comment=comment)


def optional(name: str, type: sa.types.TypeEngine[Any], comment: str | None = None) -> Column:
    return sa.Column(name, type, nullable=True, autoincrement=False, comment=comment)


def unique(table: str, *columns: str) -> SchemaItem:
    return sa.UniqueConstraint("tenant_id", *columns, name=f"uq_{table}_{'_'.join(columns)}")


def reference(table: str, column: str, target: str) -> SchemaItem:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{target}.tenant_id", f"{target}.id"],
        name=f"fk_{table}_{column}",
    )


def check(table: str, column: str, condition: str) -> SchemaItem:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{column}"))


def at_least_0(table: str, column: str) -> SchemaItem:
    return check(table, column, f"{column} >= 0")
