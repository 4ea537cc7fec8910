"""The declared tables say what the records say, on every dialect."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from loki_storage.errors import Unsupported
from loki_storage.models import KINDS, Kind, RetentionState, ValidationResult
from loki_storage.values import Boolean, Domain, Integer, Json, Number, Text, Time, Word
from loki_storage_sql.migrations import upgrade
from loki_storage_sql.packing import packed_columns
from loki_storage_sql.tables import FINDING_FIELDS, RESULT_FIELDS, Schema, schema_for

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}
LONGEST_NAME = 54

# Domain -> column type, per dialect. That the domains are the specification's, see test_models.py.
TYPES = {
    "sqlite": {
        Integer: "INTEGER",
        Number: "DOUBLE",
        Boolean: "BOOLEAN",
        Time: "BIGINT",
        Json: "TEXT",
        Text: "TEXT",
    },
    "postgresql": {
        Integer: "BIGINT",
        Number: "DOUBLE PRECISION",
        Boolean: "BOOLEAN",
        Time: "TIMESTAMP WITH TIME ZONE",
        Json: 'TEXT COLLATE "C"',
        Text: 'TEXT COLLATE "C"',
    },
}


def column_type(dialect: str, domain: Domain) -> str:
    if isinstance(domain, Text) and domain.limit is not None:
        return TYPES[dialect][Text].replace("TEXT", f"VARCHAR({domain.limit})")
    return next(type for of, type in TYPES[dialect].items() if isinstance(domain, of))


def rendered(table: sa.Table, dialect: str) -> str:
    return str(CreateTable(table).compile(dialect=DIALECTS[dialect]))


@pytest.fixture(params=DIALECTS)
def schema(request: pytest.FixtureRequest) -> Schema:
    return schema_for(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A real SQLite store, as the migrations make it."""
    path = tmp_path / "store.db"
    upgrade(f"sqlite:///{path}")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    yield connection
    connection.close()


PACKED = ("BYTEA", True)


# --- Against the records -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.table)
def test_columns_are_the_fields_with_their_domains(schema: Schema, kind: Kind) -> None:
    table, dialect = schema.tables[kind], schema.layout.name
    assert table.name == kind.table
    found = {
        column.name: (column.type.compile(dialect=DIALECTS[dialect]), column.nullable)
        for column in table.columns
    }
    packed = {} if dialect == "sqlite" else dict.fromkeys(packed_columns(kind.table), PACKED)
    assert found == packed | {
        field: (column_type(dialect, domain), domain.nullable)
        for field, domain in kind.domains.items()
    }


def test_results_and_findings_hold_every_field_of_a_result_once(schema: Schema) -> None:
    assert sorted([*RESULT_FIELDS, *FINDING_FIELDS]) == sorted(ValidationResult.domains)
    assert set(FINDING_FIELDS) < {column.name for column in schema.gate_findings.columns}
    assert set(RESULT_FIELDS) < {column.name for column in schema.gate_results.columns}


def test_columns_without_a_limit_come_last(schema: Schema) -> None:
    for kind, table in schema.tables.items():
        if kind is not ValidationResult:
            names = [column.name for column in table.columns if column.name in kind.domains]
            unbounded = [is_unbounded(kind.domains[name]) for name in names]
            assert unbounded == sorted(unbounded), table.name


def is_unbounded(domain: Domain) -> bool:
    return isinstance(domain, Json) or (isinstance(domain, Text) and domain.limit is None)


def test_unique_keys_are_those_of_the_records(schema: Schema) -> None:
    for kind, table in schema.tables.items():
        expected = {(("tenant_id", *u.fields), tuple(u.where)) for u in kind.unique}
        assert unique_keys(table) - {(("tenant_id", "id"), ())} == expected, table.name


def unique_keys(table: sa.Table) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Columns of each unique key, and the flag that must be set."""
    keys = {
        (tuple(column.name for column in constraint.columns), ())
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    }
    flags: set[tuple[tuple[str, ...], tuple[str, ...]]] = {
        (tuple(column.name for column in index.columns), flags_of(index))
        for index in table.indexes
        if index.unique
    }
    return keys | flags


def flags_of(index: sa.Index) -> tuple[str, ...]:
    condition = str(index.dialect_options["postgresql"]["where"])
    name, _, value = condition.partition(" = ")
    assert value == "true"
    return (name.rpartition(".")[2],)


def test_references_are_those_of_the_records_and_carry_the_tenant(schema: Schema) -> None:
    for kind, table in schema.tables.items():
        if kind is ValidationResult:
            continue
        expected = {(r.field, r.kind.table) for r in kind.references}
        assert references(table) == expected, table.name
    results = {("validation_id", "validations"), ("finding_id", "gate_findings")}
    assert references(schema.gate_results) == results


def references(table: sa.Table) -> set[tuple[str, str]]:
    found = set()
    for key in table.foreign_key_constraints:
        target = key.referred_table
        assert key.column_keys[0] == "tenant_id"
        assert [element.column.name for element in key.elements] == ["tenant_id", "id"]
        assert ("tenant_id", "id") in {columns for columns, _ in all_keys(target)}
        assert (key.ondelete, key.onupdate) == (None, None)
        found.add((key.column_keys[1], target.name))
    return found


def all_keys(table: sa.Table) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return unique_keys(table) | {(tuple(c.name for c in table.primary_key.columns), ())}


# --- What one dialect asks for --------------------------------------------------------------------


def test_postgresql_keys_all_carry_the_tenant() -> None:
    """What distributed PostgreSQL refuses otherwise."""
    schema = schema_for("postgresql")
    own = {schema.id_leases.name, schema.store_settings.name}
    for table in schema.metadata.tables.values():
        if table.name not in own:
            assert [c.name for c in table.primary_key.columns] == ["tenant_id", "id"]
            assert all(columns[0] == "tenant_id" for columns, _ in unique_keys(table))


def test_postgresql_indexes_all_lead_with_the_tenant() -> None:
    for table in schema_for("postgresql").metadata.tables.values():
        for index in table.indexes:
            assert next(iter(index.columns)).name == "tenant_id", index.name


def test_sqlite_id_is_the_rowid(database: sqlite3.Connection) -> None:
    for kind in KINDS.values():
        if kind is not ValidationResult:
            columns = database.execute(f"PRAGMA table_info({kind.table})").fetchall()
            assert [(c[1], c[2]) for c in columns if c[5]] == [("id", "INTEGER")]


def test_names_are_explicit_unique_and_short(schema: Schema) -> None:
    names = list(schema.metadata.tables)
    for table in schema.metadata.tables.values():
        for constraint in table.constraints:
            assert f"CONSTRAINT {constraint.name} " in rendered(table, schema.layout.name)
            names.append(str(constraint.name))
        names.extend(str(index.name) for index in table.indexes)
    assert len(names) == len(set(names))
    assert [name for name in names if len(name.encode()) > LONGEST_NAME] == []


def test_tables_compile_for_their_dialect(schema: Schema) -> None:
    for table in schema.metadata.sorted_tables:
        assert rendered(table, schema.layout.name)
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=DIALECTS[schema.layout.name]))


def test_schema_names_tables_and_views(schema: Schema) -> None:
    own = {"gate_findings", "gate_results", "id_leases", "store_settings"}
    assert schema.names == set(KINDS) | own
    assert "validation_results" not in schema.metadata.tables


def test_other_dialects_are_unsupported() -> None:
    with pytest.raises(Unsupported, match="mysql"):
        schema_for("mysql")


# --- What the database itself refuses -------------------------------------------------------------

CLOSED = [
    (kind, field, domain)
    for kind in KINDS.values()
    for field, domain in kind.domains.items()
    if isinstance(domain, Word) and not domain.open
]
COUNTS = [
    (kind, field)
    for kind in KINDS.values()
    for field, domain in kind.domains.items()
    if isinstance(domain, Integer) and domain.minimum == 0
]
FLAGS = [
    ("documents", "is_latest"),
    ("documents", "is_deleted"),
    ("document_chains", "live"),
    ("data_retention_policies", "is_active"),
    ("data_retention_policies", "verified"),
    ("retention_runs", "active"),
]


def insert(database: sqlite3.Connection, table: str, **values: object) -> None:
    """A row with something in every column that needs it; references are not looked at."""
    columns = database.execute(f"PRAGMA table_info({table})").fetchall()
    row = {name: 1 if "INT" in type else "x" for _, name, type, needed, _, _ in columns if needed}
    row |= {name: 0 for _, name, type, *_ in columns if type == "BOOLEAN"}
    row |= SOUND.get(table, {}) | values
    marks = ", ".join("?" * len(row))
    database.execute("PRAGMA foreign_keys=OFF")
    database.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
    )


SOUND: dict[str, dict[str, Any]] = {
    "validations": {"status": "pending"},
    "gate_findings": {"status": "pass"},
    "corrections": {"status": "pending"},
    "audit_trail": {"actor_type": "user"},
    "data_retention_policies": {"action": "delete", "period_unit": "days", "kind": "maximum"},
}


def table_of(kind: Kind, field: str) -> str:
    if kind is not ValidationResult:
        return kind.table
    return "gate_findings" if field in FINDING_FIELDS else "gate_results"


@pytest.mark.parametrize(("kind", "field", "domain"), CLOSED)
def test_closed_words_are_checked(
    database: sqlite3.Connection, kind: Kind, field: str, domain: Word
) -> None:
    table = table_of(kind, field)
    for id, word in enumerate(domain.members, 1):
        insert(database, table, id=id, **{field: word}, **distinct(table, id))
    for word in ("", "unheard_of", next(iter(domain.members)).upper()):
        with pytest.raises(sqlite3.IntegrityError, match=f"ck_{table}_{field}"):
            insert(database, table, id=99, **{field: word}, **distinct(table, 99))


def distinct(table: str, id: int) -> dict[str, str]:
    """A value of its own for a unique key."""
    keys = {"validations": "request_hash", "data_retention_policies": "name"}
    return {keys[table]: str(id)} if table in keys else {}


@pytest.mark.parametrize(("kind", "field"), COUNTS)
def test_counts_are_not_negative(database: sqlite3.Connection, kind: Kind, field: str) -> None:
    insert(database, kind.table, **{field: 0})
    with pytest.raises(sqlite3.IntegrityError, match=f"ck_{kind.table}_{field}"):
        insert(database, kind.table, id=2, tenant_id="other", **{field: -1})


@pytest.mark.parametrize(("table", "field"), FLAGS)
def test_flags_are_0_or_1(database: sqlite3.Connection, table: str, field: str) -> None:
    insert(database, table, **{field: 1})
    with pytest.raises(sqlite3.IntegrityError, match=f"ck_{table}_{field}"):
        insert(database, table, id=2, tenant_id="other", **{field: 2})


def test_all_flags_are_tried() -> None:
    found = {
        (kind.table, field)
        for kind in KINDS.values()
        for field, domain in kind.domains.items()
        if isinstance(domain, Boolean)
    }
    assert found == set(FLAGS)


def test_retention_days_and_versions_count_from_1(database: sqlite3.Connection) -> None:
    for table, field in (("data_retention_policies", "retention_days"), ("documents", "version")):
        insert(database, table, **{field: 1})
        with pytest.raises(sqlite3.IntegrityError, match=f"ck_{table}_{field}"):
            insert(database, table, id=2, tenant_id="other", **{field: 0})


def test_references_do_not_cross_tenants(database: sqlite3.Connection) -> None:
    insert(database, "document_chains", id=1, tenant_id="a")
    insert(database, "tags", id=1, tenant_id="a")
    database.execute("PRAGMA foreign_keys=ON")
    link = "INSERT INTO document_tags (id, tenant_id, document_id, tag_id) VALUES (1, ?, 1, 1)"
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        database.execute(link, ("b",))
    database.execute(link, ("a",))


def test_retention_state_is_one_per_tenant(database: sqlite3.Connection) -> None:
    table = RetentionState.table
    insert(database, table, id=1, tenant_id="a")
    insert(database, table, id=2, tenant_id="b")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(database, table, id=3, tenant_id="a")


# --- validation_results ---------------------------------------------------------------------------


def test_view_has_the_fields_of_a_result_in_order(database: sqlite3.Connection) -> None:
    columns = database.execute("PRAGMA table_info(validation_results)").fetchall()
    assert [column[1] for column in columns] == list(ValidationResult.domains)


def test_view_shows_a_result_with_what_its_finding_says(database: sqlite3.Connection) -> None:
    finding = {field: f"the {field}" for field in FINDING_FIELDS}
    finding |= {"status": "fail", "severity": "high"}
    insert(database, "gate_findings", id=7, tenant_id="a", **finding)
    result = {
        "id": 3,
        "tenant_id": "a",
        "validation_id": 5,
        "client_id": "c",
        "confidence_score": 0.5,
        "evidence": "{}",
        "metadata_json": "[]",
        "created_at": 1,
    }
    insert(database, "gate_results", **result, finding_id=7)
    fields = ", ".join([*result, *finding])
    rows = database.execute(f"SELECT {fields} FROM validation_results").fetchall()
    assert rows == [(*result.values(), *finding.values())]
