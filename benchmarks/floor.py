"""The floor: the raw driver, writing the same rows into the same schema.

Nothing here is assumed. A store is filled through the SDK; then its own DDL is read back from it,
and the rows that each batch left in each physical table.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["PLAIN_INDEXES", "Rows", "Written", "connect", "create", "plain_schema", "write"]

Rows = dict[str, list[tuple[Any, ...]]]
"""Physical table -> rows, parents before children."""


@attrs.frozen
class Written:
    """What one batch left in the physical tables."""

    rows: Rows

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))


def connect(path: Path) -> sqlite3.Connection:
    """A raw connection with the backend's own settings."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def create(path: Path, ddl: Iterable[str]) -> sqlite3.Connection:
    """A new database of this schema."""
    connection = connect(path)
    for statement in ddl:
        connection.execute(statement)
    return connection


def ddl_of(path: Path) -> list[str]:
    """The schema of a database, tables before what is built on them."""
    connection = sqlite3.connect(path)
    kinds = {"table": 0, "index": 1, "view": 2, "trigger": 3}
    found = connection.execute(
        "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    )
    rows = sorted(found, key=lambda row: kinds[row[0]])
    connection.close()
    return [sql for _, sql in rows]


def write(connection: sqlite3.Connection, batches: Iterable[Written]) -> None:
    """Each batch as one transaction, each table as one ``executemany``."""
    for batch in batches:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in batch.rows.items():
            if rows:
                connection.executemany(_insert(connection, table), rows)
        connection.execute("COMMIT")


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns that are written; generated ones are not among them."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _insert(connection: sqlite3.Connection, table: str) -> str:
    key = id(connection), table
    if key not in _INSERTS:
        names = columns_of(connection, table)
        marks = ",".join("?" * len(names))
        _INSERTS[key] = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    return _INSERTS[key]


_INSERTS: dict[tuple[int, str], str] = {}


def read_batches(path: Path, ids: Sequence[dict[str, list[int]]]) -> list[Written]:
    """The rows that batches left, given the ids that each inserted into each table."""
    connection = sqlite3.connect(path)
    seen: set[Any] = set()
    batches = []
    for inserted in ids:
        rows: Rows = {}
        for table, wanted in inserted.items():
            rows[table] = _by_id(connection, table, wanted)
        findings = _new_findings(connection, inserted.get("gate_results", []), seen)
        ordered = {"gate_findings": findings, **rows} if findings else rows
        batches.append(Written(ordered))
    connection.close()
    return batches


def _by_id(connection: sqlite3.Connection, table: str, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    names = ", ".join(columns_of(connection, table))
    sql = f"SELECT {names} FROM {table} WHERE id = ?"
    return [row for id in ids for row in connection.execute(sql, (id,))]


def _new_findings(
    connection: sqlite3.Connection, results: Sequence[int], seen: set[Any]
) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for id in results:
        (finding,) = connection.execute(
            "SELECT finding_id FROM gate_results WHERE id = ?", (id,)
        ).fetchone()
        if finding not in seen:
            seen.add(finding)
            found += _by_id(connection, "gate_findings", [finding])
    return sorted(found)


PLAIN_INDEXES = {
    "pruned": (
        "CREATE INDEX p1 ON validation_results (gate_key, status)",
        "CREATE INDEX p2 ON validation_results (validation_id, scope)",
        "CREATE INDEX p3 ON validation_results (module_id, gate_id)",
    ),
    "literal": (
        "CREATE INDEX l1 ON validation_results (validation_id)",
        "CREATE INDEX l2 ON validation_results (scope)",
        "CREATE INDEX l3 ON validation_results (gate_key)",
        "CREATE INDEX l4 ON validation_results (status)",
        "CREATE INDEX l5 ON validation_results (severity)",
        "CREATE INDEX l6 ON validation_results (validation_id, scope)",
        "CREATE INDEX l7 ON validation_results (gate_key, status)",
        "CREATE INDEX l8 ON validation_results (module_id, gate_id)",
    ),
}
"""Indexes on results in the plain layout: the best three, and the specification's own."""

LITERAL_OTHERS = {
    "documents": (
        "content_hash", "document_type", "client_id", "tenant_id", "user_id", "is_latest",
        "is_deleted", "created_at", "client_id, created_at", "document_type, created_at",
        "tenant_id, document_type",
    ),
    "validations": (
        "document_id", "status", "overall_risk", "client_id", "document_id, created_at",
        "status, overall_risk", "client_id, created_at",
    ),
    "corrections": (
        "document_id", "validation_id", "status", "client_id", "document_id, status",
        "validation_id, status", "correction_type, status",
    ),
    "correction_history": (
        "correction_id", "changed_at", "correction_id, changed_at", "change_type, changed_at",
    ),
    "audit_trail": (
        "action", "entity_type", "entity_id", "actor_id", "timestamp", "action, timestamp",
        "entity_type, entity_id, timestamp", "actor_id, timestamp",
    ),
}  # fmt: skip
"""The specification's other indexes, as it lists them."""


def plain_schema(ddl: Sequence[str], indexes: str) -> list[str]:
    """The store's schema with results in one table of all columns, and these indexes on it."""
    kept = [sql for sql in ddl if not _is_about(sql, "gate_results", "gate_findings")]
    kept = [sql for sql in kept if "validation_results" not in sql]
    others: list[str] = []
    if indexes == "literal":
        kept = [sql for sql in kept if not sql.startswith(("CREATE INDEX",))]
        others = [
            f"CREATE INDEX lit_{table}_{n} ON {table} ({columns})"
            for table, keys in LITERAL_OTHERS.items()
            for n, columns in enumerate(keys)
        ]
    table = (
        "CREATE TABLE validation_results (id INTEGER PRIMARY KEY, tenant_id, validation_id "
        "REFERENCES validations (id), client_id, scope, module_id, gate_id, gate_key, status, "
        "severity, message, suggestion, legal_source, confidence_score, evidence, metadata_json, "
        "gate_version, created_at)"
    )
    return [*kept, table, *others, *PLAIN_INDEXES[indexes]]


def _is_about(sql: str, *tables: str) -> bool:
    return any(table in sql.split("(")[0] for table in tables)


def plain_rows(path: Path, batch: Written) -> Written:
    """The batch as the plain layout holds it: results with all their columns."""
    connection = sqlite3.connect(path)
    rows = {t: r for t, r in batch.rows.items() if t not in ("gate_results", "gate_findings")}
    ids = [row[0] for row in batch.rows.get("gate_results", [])]
    columns = (
        "id, tenant_id, validation_id, client_id, scope, module_id, gate_id, gate_key, status, "
        "severity, message, suggestion, legal_source, confidence_score, evidence, metadata_json, "
        "gate_version, created_at"
    )
    rows["validation_results"] = [
        connection.execute(
            f"SELECT {columns} FROM validation_results WHERE id = ?", (id,)
        ).fetchone()
        for id in ids
    ]
    connection.close()
    return Written(rows)
