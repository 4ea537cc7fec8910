"""The tables, declared once for every relational database: what Alembic compares, people read.

Columns follow from the records' domains, unique keys and references from the record classes; this
module adds the indexes, the two tables behind ``validation_results``, and the store's own tables.
docs/schema.md explains the layout and says which index serves which query.

Two things to know when writing statements:

- ``schema.tables[ValidationResult]`` is a view. Read it; write ``gate_findings`` and
  ``gate_results`` instead.
- Compare flags with ``true()`` and ``false()``, not with parameters: a partial index
  (``is_latest``, ``is_deleted``) is chosen for a literal only.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import attrs
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    or_,
    true,
)
from sqlalchemy.schema import SchemaItem

from loki_storage import values
from loki_storage.models import (
    KINDS,
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    Kind,
    RetentionRun,
    Tag,
    Unique,
    Validation,
    ValidationResult,
)
from loki_storage.values import Domain, Word
from loki_storage_sql.layouts import Layout, layout_for

__all__ = ["FINDING_FIELDS", "RESULT_FIELDS", "Schema", "schema_for"]

FINDING_FIELDS = ValidationResult.said
"""What a finding consists of, besides its tenant; its id is a keyed hash of both."""

RESULT_FIELDS = (
    "id",
    "tenant_id",
    "validation_id",
    "client_id",
    "confidence_score",
    "evidence",
    "metadata_json",
    "created_at",
)
"""The fields of a ``ValidationResult`` that ``gate_results`` holds; a finding has the others."""


@attrs.frozen(eq=False)
class Schema:
    """The layout on one database.

    ``metadata`` holds what migrations create, without the view. ``tables`` says where each kind is
    read from; all but ``ValidationResult`` are written there too.
    """

    layout: Layout
    metadata: MetaData
    tables: Mapping[Kind, Table]
    gate_findings: Table
    gate_results: Table
    id_leases: Table
    store_settings: Table

    @property
    def views(self) -> frozenset[str]:
        """Names of the views that belong to the layout."""
        return frozenset({ValidationResult.table})

    @property
    def names(self) -> frozenset[str]:
        """Names of all tables and views that a store must have."""
        return self.views | frozenset(self.metadata.tables)


@cache
def schema_for(dialect: str) -> Schema:
    """The layout on this dialect (``sqlite``, ``postgresql``), built once; or ``Unsupported``."""
    layout = layout_for(dialect)
    metadata = MetaData(naming_convention=_NAMES)
    tables = {
        kind: _table(metadata, layout, kind.table, kind.domains, _constraints(kind))
        for kind in KINDS.values()
        if kind is not ValidationResult
    }
    findings = _table(metadata, layout, "gate_findings", _finding_domains())
    return Schema(
        layout=layout,
        metadata=metadata,
        tables=MappingProxyType(tables | {ValidationResult: _view(layout)}),
        gate_findings=findings,
        gate_results=_gate_results(metadata, layout),
        id_leases=_id_leases(metadata, layout),
        store_settings=_store_settings(metadata, layout),
    )


# --- Names: explicit, of one pattern, and short enough for what databases append (54 bytes) ------


def _columns(item: Any, table: Table) -> str:
    """The columns that tell this key from others of its table."""
    names = [column.name for column in item.columns]
    return "_".join(name for name in names if name != "tenant_id" or names == ["tenant_id"])


_NAMES: dict[str, Any] = {
    "columns": _columns,
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(columns)s",
    "fk": "fk_%(table_name)s_%(columns)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


# --- A table from a kind --------------------------------------------------------------------------


def _table(
    metadata: MetaData,
    layout: Layout,
    name: str,
    domains: Mapping[str, Domain],
    constraints: Sequence[SchemaItem] = (),
) -> Table:
    keys = layout.keys(referenced=name in _REFERENCED)
    checks = _checks(layout, name, domains)
    packed = layout.packed_columns(name)
    columns = [*_physical(layout, name, domains), *packed]
    table = Table(name, metadata, *columns, *keys, *constraints, *checks)
    for index in _INDEXES.get(name, ()):
        index.build(table, layout)
    if packed:  # what tells at once that nothing is packed
        any_packed = or_(*(column.is_not(None) for column in packed))
        Index(f"ix_{name}_packed", table.c.tenant_id, postgresql_where=any_packed)
    return table


def _physical(layout: Layout, table: str, domains: Mapping[str, Domain]) -> list[Column[Any]]:
    """Columns with unbounded ones last: a row is read from its start, and a text may be long."""
    ordered = sorted(domains.items(), key=lambda item: _is_unbounded(item[1]))
    return [_column(layout, table, field, domain) for field, domain in ordered]


def _is_unbounded(domain: Domain) -> bool:
    is_text = isinstance(domain, values.Text) and domain.limit is None
    return is_text or isinstance(domain, values.Json)


def _column(layout: Layout, table: str, field: str, domain: Domain) -> Column[Any]:
    return Column(
        field,
        layout.type_of(domain),
        nullable=domain.nullable,
        autoincrement=False,
        comment=_COMMENTS.get((table, field)),
    )


def _constraints(kind: Kind) -> list[SchemaItem]:
    unique = [UniqueConstraint("tenant_id", *u.fields) for u in kind.unique if not u.where]
    references = [_reference(r.field, r.kind.table) for r in kind.references]
    return [*unique, *references]


def _reference(field: str, table: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", field], [f"{table}.tenant_id", f"{table}.id"])


def _checks(layout: Layout, table: str, domains: Mapping[str, Domain]) -> Iterator[SchemaItem]:
    for field, domain in domains.items():
        condition = _check(layout, field, domain)
        if condition:
            yield CheckConstraint(condition, name=field)


def _check(layout: Layout, field: str, domain: Domain) -> str | None:
    """What the database itself refuses: words outside a closed vocabulary, negative counts."""
    match domain:
        case Word(open=False, members=members):
            return f"{field} IN ({', '.join(repr(word) for word in members)})"
        case values.Boolean() if layout.checks_booleans:
            return f"{field} IN (0, 1)"
        case values.Integer(minimum=0):
            return f"{field} >= 0"
        case values.Integer(minimum=1) if not field.endswith("id"):
            return f"{field} > 0"
    return None


# --- validation_results: a view over two tables -----------------------------------------------


def _finding_domains() -> dict[str, Domain]:
    domains = ValidationResult.domains
    return {field: domains[field] for field in ("id", "tenant_id", *FINDING_FIELDS)}


def _result_domains() -> dict[str, Domain]:
    domains = {field: ValidationResult.domains[field] for field in RESULT_FIELDS}
    return domains | {"finding_id": values.Integer(minimum=1)}


def _result_references() -> list[SchemaItem]:
    return [_reference("validation_id", "validations"), _reference("finding_id", "gate_findings")]


def _gate_results(metadata: MetaData, layout: Layout) -> Table:
    table = _table(metadata, layout, "gate_results", _result_domains(), _result_references())
    for column in layout.result_columns():
        table.append_column(column)
    for searched, columns in layout.result_indexes.items():
        Index(f"ix_gate_results_{searched}", *(table.c[name] for name in columns))
    return table


def _view(layout: Layout) -> Table:
    """The view as a table to select from, outside the metadata that migrations create."""
    name, domains = ValidationResult.table, ValidationResult.domains
    columns = [_column(layout, name, field, domain) for field, domain in domains.items()]
    return Table(name, MetaData(), *columns)


# --- The store's own tables ---------------------------------------------------------------------


def _id_leases(metadata: MetaData, layout: Layout) -> Table:
    """The next id of each kind that was never leased (BAT-8); no row yet: 1."""
    return Table(
        "id_leases",
        metadata,
        Column("kind", String(50, collation=layout.collation), primary_key=True),
        Column("next_id", BigInteger(), nullable=False),
        CheckConstraint("next_id > 0", name="next_id"),
    )


def _store_settings(metadata: MetaData, layout: Layout) -> Table:
    """Facts about this store: ``finding_key`` (hex), ``oldest_writer`` (MIG-2)."""
    return Table(
        "store_settings",
        metadata,
        Column("name", String(50, collation=layout.collation), primary_key=True),
        Column("value", Text(collation=layout.collation), nullable=False),
        Column("created_at", layout.time, nullable=False),
    )


# --- Indexes --------------------------------------------------------------------------------------


@attrs.frozen
class _Index:
    """Columns to search by, after the tenant; columns that are only carried; rows that count."""

    columns: tuple[str, ...]
    covering: tuple[str, ...] = ()
    unless_null: str | None = None
    flag: str | None = None
    unique: bool = False

    def build(self, table: Table, layout: Layout) -> Index:
        carried, options = layout.covering(self.covering) if self.covering else ((), {})
        condition = self._condition(table)
        if condition is not None:
            options |= {"sqlite_where": condition, "postgresql_where": condition}
        return Index(
            f"{'uq' if self.unique else 'ix'}_{table.name}_{self._name()}",
            *(table.c[name] for name in ("tenant_id", *self.columns, *carried)),
            unique=self.unique,
            **options,
        )

    def _name(self) -> str:
        return "_".join((*self.columns, *([self.flag] if self.flag else [])))

    def _condition(self, table: Table) -> Any:
        if self.flag:
            return table.c[self.flag] == true()
        return table.c[self.unless_null].is_not(None) if self.unless_null else None


def _index(*columns: str, **options: Any) -> _Index:
    return _Index(columns, **options)


def _partial(column: str, *more: str) -> _Index:
    """For columns that are mostly NULL: only rows that have a value."""
    return _Index((column, *more), unless_null=column)


def _unique(unique: Unique) -> _Index:
    (flag,) = unique.where
    return _Index(unique.fields, flag=flag, unique=True)


_INDEXES: dict[str, tuple[_Index, ...]] = {
    Document.table: (
        *(_unique(unique) for unique in Document.unique if unique.where),
        _index("content_hash", "client_id"),
        _index("client_id", "created_at", covering=("is_latest", "is_deleted")),
        _index("document_type", "created_at", covering=("is_latest", "is_deleted")),
        _index("created_at"),
        _partial("user_id", "created_at"),
        _index("deleted_at", flag="is_deleted"),
        _partial("parent_id"),
    ),
    DocumentTag.table: (_index("tag_id", "document_id"),),
    Validation.table: (
        _index("document_id", "created_at"),
        _index("client_id", "created_at"),
        _index("status", "overall_risk"),
        _index("overall_risk", "created_at"),
        _index("created_at"),
    ),
    "gate_findings": (
        _index("gate_key", "status"),
        _index("module_id", "gate_id"),
        _index("status"),
        _index("severity"),
        _index("scope"),
    ),
    Correction.table: (
        _index("document_id", "status"),
        _index("validation_id", "status"),
        _index("client_id", "status"),
        _index("status", "correction_type"),
    ),
    CorrectionHistory.table: (
        _index("correction_id", "changed_at"),
        _index("change_type", "changed_at"),
        _index("changed_at"),
    ),
    RetentionRun.table: tuple(_unique(unique) for unique in RetentionRun.unique),
    AuditEntry.table: (
        _index("timestamp"),
        _index("action", "timestamp"),
        _index("actor_id", "timestamp"),
        _index("client_id", "timestamp"),
        _index("entity_type", "timestamp"),
        _index("entity_id", "entity_type", "timestamp"),
        _partial("document_id", "timestamp"),
        _partial("validation_id", "timestamp"),
        _partial("request_id"),
    ),
}
"""Why each of them: docs/schema.md, and the test that explains every query of the specification."""

_REFERENCED = {kind.table for kind in (Chain, Correction, Document, Tag, Validation)} | {
    "gate_findings"
}

_COMMENTS = {
    ("documents", "parent_id"): "the version with the number before",
    ("documents", "root_id"): "the chain: the id of version 1",
    ("document_tags", "document_id"): "the chain's root id",
    ("validations", "document_id"): "a version's id",
    ("corrections", "document_id"): "a version's id",
    ("audit_trail", "document_id"): "the chain's root id; a plain number, without constraint",
    ("audit_trail", "validation_id"): "a plain number, without constraint",
    ("audit_trail", "entity_id"): "a plain number, without constraint",
}
