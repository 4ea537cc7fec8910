"""What distributed PostgreSQL (Citus) refuses is not in the schema; names are short."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from loki_storage_sql.tables import schema_for

SCHEMA = schema_for("postgresql")
TABLES = SCHEMA.metadata.tables
STORE_WIDE = {"id_leases", "store_settings"}
"""Reference tables: small, the same on every node, without a tenant."""
OWNED = sorted(TABLES.keys() - STORE_WIDE)


def constraints(table: str, *types: type[sa.Constraint]) -> list[sa.Constraint]:
    return [one for one in TABLES[table].constraints if isinstance(one, types)]


def unique_keys(table: str) -> Iterator[list[str]]:
    keys = constraints(table, sa.PrimaryKeyConstraint, sa.UniqueConstraint)
    yield from ([column.name for column in key.columns] for key in keys)  # type: ignore[attr-defined]
    indexes = (index for index in TABLES[table].indexes if index.unique)
    yield from ([column.name for column in index.columns] for index in indexes)


def test_every_table_has_a_tenant_but_the_stores_own() -> None:
    assert {name for name in TABLES if "tenant_id" in TABLES[name].columns} == set(OWNED)


@pytest.mark.parametrize("table", OWNED)
def test_tenant_and_id_are_the_primary_key(table: str) -> None:
    assert [column.name for column in TABLES[table].primary_key] == ["tenant_id", "id"]
    assert not TABLES[table].columns["tenant_id"].nullable


@pytest.mark.parametrize("table", OWNED)
def test_tenant_is_in_every_unique_key(table: str) -> None:
    assert all("tenant_id" in key for key in unique_keys(table))


@pytest.mark.parametrize("table", OWNED)
def test_tenant_leads_every_reference_and_nothing_is_set_null(table: str) -> None:
    for reference in constraints(table, sa.ForeignKeyConstraint):
        assert isinstance(reference, sa.ForeignKeyConstraint)
        pairs = [(e.parent.name, e.column.name) for e in reference.elements]
        assert pairs[0] == ("tenant_id", "tenant_id")
        assert reference.ondelete is reference.onupdate is None
        assert not reference.deferrable
        assert reference.referred_table.name in OWNED


@pytest.mark.parametrize("table", OWNED)
def test_tenant_leads_every_index(table: str) -> None:
    """Every statement carries the tenant, and on one node a tenant's rows lie together."""
    assert all(next(iter(index.columns)).name == "tenant_id" for index in TABLES[table].indexes)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_no_value_is_made_by_the_database(table: str) -> None:
    """No sequences, no identities, no computed columns: ids are leased."""
    for column in TABLES[table].columns:
        assert column.identity is None
        assert column.computed is None
        assert not column.autoincrement or column.autoincrement == "auto"
    assert "SERIAL" not in str(
        CreateTable(TABLES[table]).compile(dialect=sa.dialects.postgresql.dialect())
    )


def test_names_are_at_most_54_bytes() -> None:
    parts: list[Any] = [o for t in TABLES.values() for o in (*t.constraints, *t.indexes)]
    names = {str(part.name) for part in parts}
    assert max(map(len, names)) <= 54


@pytest.mark.postgresql
def test_nothing_but_tables_indexes_and_one_view(url: str, ask: Callable[..., Any]) -> None:
    assert ask("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == [(0,)]
    kinds = (
        "SELECT DISTINCT relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    assert sorted(kind for (kind,) in ask(kinds)) == ["i", "r", "v"]
    functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert ask(functions) == [(0,)]
