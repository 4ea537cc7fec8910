"""The same revisions as on SQLite: up, as expected, down, nothing lost, in any schema."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loki_storage import open_storage
from loki_storage.errors import SchemaOutdated, Unavailable
from loki_storage_sql.migrations import (
    EXPECTED_REVISION,
    check,
    current,
    downgrade,
    exclusive,
    script,
    upgrade,
)
from loki_storage_sql.places import ServerPlace
from loki_storage_sql.tables import schema_for
from tests.backends.postgresql.conftest import VERSIONS

ROOT = Path(__file__).resolve().parents[3]
Ask = Callable[..., list[tuple[Any, ...]]]
NAMES = """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '{}' AND c.relkind IN ('r', 'v')"""


@pytest.fixture(params=[None, "loki"])
def place(request: pytest.FixtureRequest, empty: str) -> ServerPlace:
    return ServerPlace(sa.make_url(empty), request.param)


def names(ask: Ask, place: ServerPlace, url: str) -> set[str]:
    return {name for (name,) in ask(NAMES.format(place._schema or "public"), of=url)}


def alembic(url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "alembic", *words],
        cwd=ROOT,
        env={**os.environ, "LOKI_STORAGE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_up_makes_what_is_expected_and_down_leaves_nothing(
    empty: str, place: ServerPlace, ask: Ask
) -> None:
    assert current(place) is None
    upgrade(place)
    assert current(place) == EXPECTED_REVISION
    assert check(place) == []
    assert names(ask, place, empty) == {*schema_for("postgresql").names, "alembic_version"}
    downgrade(place, "base")
    assert current(place) is None
    assert names(ask, place, empty) == {"alembic_version"}


def test_check_tells_what_differs(empty: str, place: ServerPlace, ask: Ask) -> None:
    upgrade(place)
    with exclusive(place) as connection:
        connection.exec_driver_sql("ALTER TABLE tags DROP COLUMN color")
        connection.exec_driver_sql("CREATE TABLE beside_ours (id int)")
        connection.exec_driver_sql("DROP VIEW validation_results")
    column, view = check(place)
    assert "color" in column
    assert "validation_results" in view


def test_every_revision_keeps_the_rows(empty: str, ask: Ask) -> None:
    upgrade(empty, "0001")
    ask(
        "INSERT INTO tags (tenant_id, id, name, created_at) VALUES ('a', 1, 'vip', now())", of=empty
    )
    policies = (
        "INSERT INTO data_retention_policies (tenant_id, id, name, entity_type, retention_days, "
        "action, is_active, priority, total_processed, total_affected, created_at, updated_at) "
        "VALUES ('a', 1, 'old', 'document', 30, 'delete', true, 100, 0, 0, now(), now())"
    )
    ask(policies, of=empty)
    with pytest.raises(SchemaOutdated):
        check(empty)
    upgrade(empty)
    with open_storage(empty) as storage:
        kinds = {record.table for record in storage.dump("a")}
    assert kinds == {"tags", "data_retention_policies"}
    downgrade(empty, "0001")
    assert ask("SELECT name FROM tags", of=empty) == [("vip",)]
    assert ask("SELECT name FROM data_retention_policies", of=empty) == [("old",)]


def test_failed_migration_leaves_nothing(empty: str, ask: Ask) -> None:
    ask("CREATE TABLE audit_trail (id int)", of=empty)
    with pytest.raises(Unavailable, match="42P07"):  # duplicate_table
        upgrade(empty)
    assert ask(NAMES.format("public"), of=empty) == [("audit_trail",)]


@pytest.mark.parametrize("version", VERSIONS[:1], indirect=True)
def test_alembic_itself_does_the_same(empty: str, ask: Ask) -> None:
    for words in (("upgrade", "head"), ("check",), ("downgrade", "base"), ("upgrade", "head")):
        done = alembic(empty, *words)
        assert done.returncode == 0, done.stderr
    in_schema = alembic(empty, "-x", "schema=loki", "upgrade", "head")
    assert in_schema.returncode == 0, in_schema.stderr
    assert current(ServerPlace(sa.make_url(empty), "loki")) == EXPECTED_REVISION
    open_storage(empty, schema="loki").close()


def test_script_makes_the_same_as_the_migration(empty: str, ask: Ask) -> None:
    ask(script("postgresql"), of=empty)
    assert check(empty) == []
    open_storage(empty).close()
