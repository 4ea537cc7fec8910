"""What differs between databases in the layout: column types, keys, and how an index covers.

A layout is chosen by SQLAlchemy's name of the dialect. Everything else about the tables is the
same everywhere and stands in ``tables.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Double,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import BYTEA, TIMESTAMP
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from loki_storage import values
from loki_storage.errors import Unsupported
from loki_storage.values import Domain
from loki_storage_sql.packing import packed_columns

__all__ = ["LAYOUTS", "Layout", "PostgresqlLayout", "SqliteLayout", "layout_for"]

_BLOCK_BITS = 12
"""Results per block, as a power of two: some 24 intercepts. Smaller: less writing, more seeking."""


class Layout(ABC):
    """The layout on one kind of database."""

    name: str
    """SQLAlchemy's name of the dialect."""
    integer: TypeEngine[Any]
    time: TypeEngine[Any]
    collation: str | None = None
    """Text is compared by code point (QRY-1); None where the database does so by itself."""
    result_indexes: Mapping[str, tuple[str, ...]]
    """By what ``gate_results`` is searched -> the columns of that index."""
    shares: bool
    """Whether a store's tables may stand beside those of others."""
    checks_booleans: bool
    """Whether a boolean column needs a CHECK, because the database has no such type."""

    def type_of(self, domain: Domain) -> TypeEngine[Any]:
        """The column type that holds every value of a domain exactly."""
        match domain:
            case values.Integer():
                return self.integer
            case values.Number():
                return Double()
            case values.Boolean():
                return Boolean(create_constraint=False)
            case values.Time():
                return self.time
            case values.Text(limit=int(limit)):
                return String(limit, collation=self.collation)
        return Text(collation=self.collation)

    @abstractmethod
    def keys(self, *, referenced: bool) -> list[SchemaItem]:
        """The primary key of a tenant's table, and what composite foreign keys point at."""

    def result_columns(self) -> list[Column[Any]]:
        """What a row of ``gate_results`` has here besides the declared columns."""
        return []

    def packed_columns(self, table: str) -> list[Column[Any]]:
        """Where packed texts of a table are, if not in the texts' own columns."""
        return []

    @abstractmethod
    def covering(self, columns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """How an index carries columns that it is not searched by: more columns, and options."""


class SqliteLayout(Layout):
    """Ids are the rowid, which makes them unique in the whole store; times are microseconds."""

    name = "sqlite"
    integer = Integer()  # INTEGER PRIMARY KEY, and nothing else, is the rowid
    time = BigInteger()
    # Ids are unique without the tenant. An intercept brings 173 results with as many findings: by
    # finding alone they lie on 173 pages, by block and finding on a dozen. SQLite skips from block
    # to block by itself (a skip-scan; the first revision stores the statistics that it needs).
    result_indexes = MappingProxyType(
        {"validation_id": ("validation_id",), "finding_id": ("block", "finding_id")}
    )
    shares = False
    checks_booleans = True

    def keys(self, *, referenced: bool) -> list[SchemaItem]:
        keys: list[SchemaItem] = [PrimaryKeyConstraint("id")]
        return [*keys, UniqueConstraint("tenant_id", "id")] if referenced else keys

    def result_columns(self) -> list[Column[Any]]:
        return [Column("block", Integer(), Computed(f"id >> {_BLOCK_BITS}", persisted=False))]

    def covering(self, columns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        return tuple(columns), {}


class PostgresqlLayout(Layout):
    """The tenant leads every key, as distributed PostgreSQL needs it."""

    name = "postgresql"
    integer = BigInteger()
    time = TIMESTAMP(timezone=True)
    collation = "C"
    result_indexes = MappingProxyType(
        {column: ("tenant_id", column) for column in ("validation_id", "finding_id")}
    )
    shares = True
    checks_booleans = False

    def keys(self, *, referenced: bool) -> list[SchemaItem]:
        return [PrimaryKeyConstraint("tenant_id", "id")]

    def packed_columns(self, table: str) -> list[Column[Any]]:
        return [Column(name, BYTEA()) for name in packed_columns(table)]

    def covering(self, columns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        return (), {"postgresql_include": list(columns)}


LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (SqliteLayout(), PostgresqlLayout())
}


def layout_for(dialect: str) -> Layout:
    """The layout on this dialect, or ``Unsupported``."""
    if dialect not in LAYOUTS:
        raise Unsupported(f"there is no layout for {dialect}, only for {', '.join(LAYOUTS)}")
    return LAYOUTS[dialect]
