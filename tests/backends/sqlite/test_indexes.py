"""Every query that the specification lists an index for is served by the documented one.

The table in docs/schema.md is the test's data. Queries go through the backend, on a populated
file; what it asks SQLite is explained.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeGuard

import attrs
import pytest
import sqlalchemy as sa

from loki_storage.batch import Batch, Insert
from loki_storage.models import (
    KINDS,
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    GateStatus,
    Kind,
    Record,
    RiskLevel,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.protocol import Backend
from loki_storage.query import Compare, Condition, InQuery, Not, Order, Query, all_of, equals
from loki_storage.values import Boolean, Integer, Time
from loki_storage_sql.migrations import upgrade
from loki_storage_sql.tables import schema_for
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.dialect import install_functions

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "schema.md"
TENANT = "acme"
START = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENTS, RESULTS = 40, 30

# The specification's indexes, table by table, as it lists them.
SPECIFIED = {
    "documents": """content_hash; document_type; client_id; tenant_id; user_id; is_latest;
        is_deleted; created_at; client_id, created_at; document_type, created_at;
        tenant_id, document_type""",
    "validations": """document_id; status; overall_risk; client_id; document_id, created_at;
        status, overall_risk; client_id, created_at""",
    "validation_results": """validation_id; scope; gate_key; status; severity;
        validation_id, scope; gate_key, status; module_id, gate_id""",
    "corrections": """document_id; validation_id; status; client_id; document_id, status;
        validation_id, status; correction_type, status""",
    "correction_history": """correction_id; changed_at; correction_id, changed_at;
        change_type, changed_at""",
    "audit_trail": """action; entity_type; entity_id; actor_id; timestamp; action, timestamp;
        entity_type, entity_id, timestamp; actor_id, timestamp""",
}


@attrs.frozen
class Served:
    """One row of the documentation's table."""

    table: str
    columns: tuple[str, ...]
    by: tuple[str, ...]
    """The indexes, in the order in which they are searched."""


def documented() -> Iterator[Served]:
    for line in DOCUMENTATION.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] in SPECIFIED:
            columns, by = (re.findall(r"`(\w+)`", cell) for cell in cells[1:3])
            yield Served(cells[0], tuple(columns), tuple(by))


DOCUMENTED = list(documented())


def test_documentation_lists_the_45_indexes_of_the_specification() -> None:
    specified = [
        (table, tuple(column.strip() for column in columns.split(",")))
        for table, indexes in SPECIFIED.items()
        for columns in indexes.split(";")
    ]
    assert len(specified) == 45
    assert [(served.table, served.columns) for served in DOCUMENTED] == specified


# --- A populated store ----------------------------------------------------------------------------


class Store:
    """A backend on a file, and what it asks SQLite."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, list[str]()
        url = f"sqlite:///{path}"
        upgrade(url)
        self.backend: Backend = open_sqlite(url)
        sa.event.listen(self.backend.engine().pool, "connect", self._listen)
        self._keys = dict(key_names(path))

    def _listen(self, driver: sqlite3.Connection, _: object) -> None:
        driver.set_trace_callback(self.asked.append)

    def plan(self, ask: Callable[[], object]) -> list[str]:
        """SQLite's plan for the last thing that was asked."""
        self.asked.clear()
        ask()
        return explain(self.path, next(s for s in reversed(self.asked) if "SELECT" in s))

    def indexes(self, plan: list[str]) -> list[str]:
        """The indexes of a plan, keys by the name of their constraint."""
        found = [re.search(r"USING (?:COVERING )?INDEX (\w+)", step) for step in plan]
        return [self._keys.get(match[1], match[1]) for match in found if match]


def explain(path: Path, statement: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        install_functions(connection)
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("indexes") / "store.db")
    store.backend.apply(Batch(TENANT, [Insert(Tag(**ids(1), name="vip", created_at=START))]))
    for n in range(1, DOCUMENTS + 1):
        store.backend.apply(Batch(TENANT, [Insert(record) for record in intercepted(n)]))
    yield store
    store.backend.close()


def ids(id: int) -> dict[str, Any]:
    return {"id": id, "tenant_id": TENANT}


def intercepted(n: int) -> Iterator[Record]:
    time, client = START + timedelta(hours=n), f"client_{n % 3}"
    yield Chain(**ids(n), client_id=client)
    yield Document(
        **ids(n),
        content_hash=f"{n:064x}",
        document_type="email",
        content="x" * n,
        content_length=n,
        client_id=client,
        root_id=n,
        created_at=time,
        updated_at=time,
    )
    yield DocumentTag(**ids(n), document_id=n, tag_id=1)
    yield Validation(
        **ids(n),
        document_id=n,
        modules_used=[],
        request_hash=f"{n:064x}",
        client_id=client,
        created_at=time,
    )
    yield from results(n, client, time)
    yield Correction(
        **ids(n),
        document_id=n,
        validation_id=n,
        correction_type="rewrite",
        client_id=client,
        created_at=time,
        updated_at=time,
    )
    yield CorrectionHistory(
        **ids(n), correction_id=n, change_type="created", new_status="pending", changed_at=time
    )
    yield AuditEntry(
        **ids(n),
        document_id=n,
        validation_id=n,
        action="create",
        entity_type="document",
        entity_id=n,
        actor_id="ann",
        timestamp=time,
        client_id=client,
    )


def results(n: int, client: str, time: datetime) -> Iterator[Record]:
    for gate in range(RESULTS):
        yield ValidationResult(
            **ids(RESULTS * n + gate),
            validation_id=n,
            client_id=client,
            scope="module",
            module_id="gdpr",
            gate_id=f"gate_{gate}",
            gate_key=f"gdpr.gate_{gate}",
            status=GateStatus.FAIL if gate % 7 == n % 7 else GateStatus.PASS,
            severity=RiskLevel.HIGH,
            created_at=time,
        )


def key_names(path: Path) -> Iterator[tuple[str, str]]:
    """SQLite's own name of a unique key -> the name of its constraint."""
    with closing(sqlite3.connect(path)) as connection:
        for table in schema_for("sqlite").metadata.tables.values():
            for _, index, _, origin, _ in connection.execute(f"PRAGMA index_list({table.name})"):
                columns = [row[2] for row in connection.execute(f"PRAGMA index_info({index})")]
                for constraint in table.constraints if origin == "u" else ():
                    if is_unique_key(constraint) and list(constraint.columns.keys()) == columns:
                        yield index, str(constraint.name)


def is_unique_key(constraint: sa.Constraint) -> TypeGuard[sa.UniqueConstraint]:
    return isinstance(constraint, sa.UniqueConstraint)


# --- The specification's indexes ------------------------------------------------------------------

VALUES: dict[str, object] = {"status": "pending", "overall_risk": "high", "severity": "high"}


def question(served: Served) -> Query:
    """Each column equals something; a time is a lower bound, newest first."""
    kind = KINDS[served.table]
    conditions, order = list[Condition](), tuple[Order, ...]()
    for column in served.columns:
        match kind.domains[column]:
            case Time():
                conditions.append(Compare(column, "ge", START))
                order = (Order(column, descending=True),)
            case Integer():
                conditions.append(equals(**{column: 7}))
            case Boolean():
                conditions.append(equals(**{column: True}))
            case _ if column != "tenant_id":
                conditions.append(equals(**{column: value(kind, column)}))
    if served.columns == ("is_latest",):
        order = (Order("created_at", descending=True),)
    return Query(kind, TENANT, all_of(*conditions), order)


def value(kind: Kind, column: str) -> object:
    if kind is ValidationResult and column == "status":
        return "fail"
    return VALUES.get(column, "x")


@pytest.mark.parametrize("served", DOCUMENTED, ids=lambda s: f"{s.table}({','.join(s.columns)})")
def test_query_is_served_by_the_documented_index(store: Store, served: Served) -> None:
    plan = store.plan(lambda: list(store.backend.select(question(served))))
    assert store.indexes(plan) == list(served.by)
    assert [step for step in plan if step.startswith("SCAN")] == []


def test_every_index_is_documented() -> None:
    text = DOCUMENTATION.read_text("utf-8")
    indexes = {
        str(index.name)
        for dialect in ("sqlite", "postgresql")
        for table in schema_for(dialect).metadata.tables.values()
        for index in table.indexes
    }
    assert {name for name in indexes if f"`{name}`" not in text} == set()


# --- What else is asked often ---------------------------------------------------------------------

NEWEST = (Order("created_at", descending=True),)
DELETED = Query(Document, TENANT, equals(is_deleted=True))


def heads(**fields: object) -> Condition:
    return equals(is_latest=True, is_deleted=False, **fields)


def chain_of(id: int) -> Query:
    member = Query(Document, TENANT, equals(id=id))
    return Query(Document, TENANT, InQuery("root_id", member, "root_id"))


OFTEN: list[tuple[str, Query, list[str]]] = [
    (
        "a client's documents, newest first",
        Query(Document, TENANT, heads(client_id="client_1"), NEWEST, limit=100),
        ["ix_documents_client_id_created_at"],
    ),
    (
        "the tenant's documents, newest first",
        Query(Document, TENANT, heads(), NEWEST, limit=100),
        ["ix_documents_created_at"],
    ),
    (
        "a client's live versions with this text",
        Query(Document, TENANT, equals(client_id="client_1", content_hash="x", is_deleted=False)),
        ["ix_documents_content_hash_client_id"],
    ),
    (
        "a chain's versions",
        Query(Document, TENANT, equals(root_id=7), (Order("version"),)),
        ["uq_documents_root_id_version"],
    ),
    (
        "the head of a chain",
        Query(Document, TENANT, equals(root_id=7, is_latest=True)),
        ["uq_documents_root_id_is_latest"],
    ),
    (
        "a client's request",
        Query(Validation, TENANT, equals(client_id="client_1", request_hash="x")),
        ["uq_validations_client_id_request_hash"],
    ),
    (
        "a document's validations, newest first",
        Query(Validation, TENANT, InQuery("document_id", chain_of(7), "id"), NEWEST),
        ["ix_validations_document_id_created_at", "uq_documents_root_id_version"],
    ),
    (
        "the newest validations of documents that are not deleted",
        Query(Validation, TENANT, Not(InQuery("document_id", DELETED, "id")), NEWEST, limit=10),
        ["ix_validations_created_at", "ix_documents_deleted_at_is_deleted"],
    ),
    (
        "a validation's results, in the order in which they came",
        Query(ValidationResult, TENANT, equals(validation_id=7), (Order("id"),)),
        ["ix_gate_results_validation_id"],
    ),
    (
        "a client's pending corrections",
        Query(Correction, TENANT, equals(client_id="client_1", status="pending")),
        ["ix_corrections_client_id_status"],
    ),
    (
        "a document's history",
        Query(AuditEntry, TENANT, equals(document_id=7), (Order("timestamp", descending=True),)),
        ["ix_audit_trail_document_id_timestamp"],
    ),
    (
        "a validation's history",
        Query(AuditEntry, TENANT, equals(validation_id=7), (Order("timestamp", descending=True),)),
        ["ix_audit_trail_validation_id_timestamp"],
    ),
    (
        "a client's history",
        Query(AuditEntry, TENANT, equals(client_id="c"), (Order("timestamp", descending=True),)),
        ["ix_audit_trail_client_id_timestamp"],
    ),
    (
        "what one request did",
        Query(AuditEntry, TENANT, equals(request_id="x")),
        ["ix_audit_trail_request_id"],
    ),
    (
        "the documents with a tag",
        Query(DocumentTag, TENANT, equals(tag_id=1)),
        ["ix_document_tags_tag_id_document_id"],
    ),
    (
        "the tags of a document",
        Query(DocumentTag, TENANT, equals(document_id=7)),
        ["uq_document_tags_document_id_tag_id"],
    ),
]


@pytest.mark.parametrize(("query", "by"), [o[1:] for o in OFTEN], ids=[o[0] for o in OFTEN])
def test_frequent_query_is_served_by_an_index(store: Store, query: Query, by: list[str]) -> None:
    plan = store.plan(lambda: list(store.backend.select(query)))
    assert store.indexes(plan) == by
    assert [step for step in plan if step.startswith("SCAN")] == []


@pytest.mark.parametrize("condition", [heads(client_id="client_1"), heads(document_type="email")])
def test_documents_are_counted_by_the_index_alone(store: Store, condition: Condition) -> None:
    (step,) = store.plan(lambda: store.backend.count(Query(Document, TENANT, condition)))
    assert "USING COVERING INDEX" in step


def test_results_are_counted_by_status_by_indexes_alone(store: Store) -> None:
    query = Query(ValidationResult, TENANT)
    steps = store.plan(lambda: store.backend.aggregate(query, by=["status"]))
    searched = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    assert [("USING COVERING INDEX" in step) for step in searched] == [True, True]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.table)
def test_a_tenant_is_streamed_and_paged_by_id_without_sorting(store: Store, kind: Kind) -> None:
    whole = Query(kind, TENANT)
    page = Query(kind, TENANT, after=(7,), limit=100)
    for query in (whole, page):
        plan = store.plan(lambda query=query: list(store.backend.select(query)))  # type: ignore[misc]
        assert [step for step in plan if "TEMP B-TREE" in step] == []


def test_one_record_is_found_by_its_id(store: Store) -> None:
    for kind in KINDS.values():
        plan = store.plan(lambda kind=kind: store.backend.get_many(kind, [7], TENANT))  # type: ignore[misc]
        assert any("USING INTEGER PRIMARY KEY" in step for step in plan), kind.table


@pytest.mark.parametrize("table", sorted(schema_for("sqlite").metadata.tables))
def test_deleting_a_row_looks_for_its_children_by_index(store: Store, table: str) -> None:
    """SQLite checks references itself; without an index it walks the whole child table."""
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        key = "name = ''" if table == "store_settings" else "id = 1"
        key = "kind = ''" if table == "id_leases" else key
        steps = connection.execute(f"EXPLAIN DELETE FROM {table} WHERE {key}").fetchall()
    walked = [step for step in steps if step[1] == "Rewind"]
    # The skip-scan over the blocks of results begins so, too, and goes on by seeking.
    assert len(walked) == (1 if table == "gate_findings" else 0)
