"""Revisions: one way to make a schema, in one transaction, the same from every door."""

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from loki_storage.errors import InvalidValue, SchemaOutdated, StorageDamaged, Unavailable
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage_sql import migrations
from loki_storage_sql.migrations import EXPECTED_REVISION, check, current, downgrade, upgrade
from loki_storage_sql.tables import schema_for

Move = Callable[[str, str], None]
ROOT = Path(__file__).resolve().parents[3]
DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what Alembic reads, because some commands write there."""
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations", ignore=ignored)
    return tmp_path


def ask(path: Path, question: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def tell(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def names(path: Path) -> set[object]:
    found = ask(path, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
    return {name for (name,) in found} - {"sqlite_stat1"}


def add_tag(path: Path) -> None:
    tell(path, "INSERT INTO tags (id, tenant_id, name, created_at) VALUES (1, 'acme', 'vip', 0)")


# --- Up and down ----------------------------------------------------------------------------------


def test_expected_revision_is_the_newest() -> None:
    scripts = ScriptDirectory(str(migrations.scripts_folder()))
    assert scripts.get_heads() == [EXPECTED_REVISION]


def test_upgrade_makes_all_tables_and_views(path: Path, url: str) -> None:
    upgrade(url)
    assert names(path) == {*schema_for("sqlite").names, "alembic_version"}
    assert current(url) == EXPECTED_REVISION
    assert check(url) == []


def test_file_is_readable_by_its_owner_only(path: Path, url: str) -> None:
    upgrade(url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_upgrade_again_changes_nothing(path: Path, url: str) -> None:
    upgrade(url)
    add_tag(path)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    upgrade(url)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_downgrade_to_base_leaves_no_table_and_upgrade_works_again(path: Path, url: str) -> None:
    upgrade(url)
    add_tag(path)
    downgrade(url, "base")
    assert names(path) == {"alembic_version"}
    assert current(url) is None
    upgrade(url)
    assert check(url) == []
    assert ask(path, "SELECT count(*) FROM tags") == [(0,)]


def test_each_store_has_its_own_key_and_names_its_oldest_writer(tmp_path: Path) -> None:
    keys = set()
    for number in range(3):
        path = tmp_path / f"{number}.db"
        upgrade(f"sqlite:///{path}")
        (key, oldest) = ask(path, "SELECT value FROM store_settings ORDER BY name")
        assert oldest == ("0004",)  # an SDK from before does not know packed texts (MIG-2)
        assert re.fullmatch("[0-9a-f]{64}", str(key[0]))
        keys.add(key)
    assert len(keys) == 3


def test_planner_is_told_about_every_index(path: Path, url: str) -> None:
    upgrade(url)
    indexes = (
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name <> 'alembic_version'"
    )
    assert ask(path, f"{indexes} EXCEPT SELECT idx FROM sqlite_stat1") == []
    assert ask(path, f"SELECT idx FROM sqlite_stat1 EXCEPT {indexes}") == []


def test_a_later_revision_keeps_the_rows(
    checkout: Path, path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(url)
    add_tag(path)
    add_revision(checkout, 'op.add_column("tags", sa.Column("icon", sa.Text()))')
    monkeypatch.setattr(migrations, "scripts_folder", lambda: checkout / "migrations")
    upgrade(url)
    assert ask(path, "SELECT name, icon FROM tags") == [("vip", None)]
    assert current(url) == "9999"


def test_a_failing_revision_leaves_the_store_as_it_was(
    checkout: Path, path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(url)
    add_tag(path)
    before = names(path)
    add_revision(checkout, 'op.drop_table("export_logs")\n    op.drop_table("tags")\n    1 / 0')
    monkeypatch.setattr(migrations, "scripts_folder", lambda: checkout / "migrations")
    with pytest.raises(ZeroDivisionError):
        upgrade(url)
    assert names(path) == before
    assert ask(path, "SELECT name FROM tags") == [("vip",)]
    assert current(url) == EXPECTED_REVISION


def add_revision(checkout: Path, body: str) -> None:
    (checkout / "migrations" / "versions" / "9999_next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f'revision, down_revision = "9999", "{EXPECTED_REVISION}"\n'
        f"def upgrade():\n    {body}\n"
        "def downgrade():\n    pass\n"
    )


# --- Questions ------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_has_no_revision_and_is_not_made(path: Path, url: str) -> None:
    assert current(url) is None
    with pytest.raises(SchemaOutdated):
        check(url)
    assert not path.exists()


@pytest.mark.parametrize("move", [upgrade, downgrade])
def test_a_revision_that_there_is_not_is_named_as_the_cause(url: str, move: Move) -> None:
    upgrade(url)
    with pytest.raises(InvalidValue, match=f"revision: .*{EXPECTED_REVISION}"):
        move(url, "nonsense")
    assert check(url) == []
    with pytest.raises(InvalidValue, match="revision"):
        migrations.script("sqlite", "nonsense")


def test_a_store_of_a_later_sdk_says_so(path: Path, url: str) -> None:
    upgrade(url)
    tell(path, "UPDATE alembic_version SET version_num = '9999'")
    for move in (upgrade, downgrade):
        with pytest.raises(SchemaOutdated) as caught:
            move(url, EXPECTED_REVISION)
        assert (caught.value.found, caught.value.expected) == ("9999", EXPECTED_REVISION)


def test_errors_of_the_database_are_ours(path: Path, url: str) -> None:
    path.write_text("not a database" * 100)
    for act in (current, upgrade, check):
        with pytest.raises(Unavailable, match="SQLITE_NOTADB"):
            act(url)
    folder = f"sqlite:///{path.parent}/missing/loki.db"
    with pytest.raises(Unavailable, match="folder"):
        upgrade(folder)


def test_backend_tells_the_errors_of_its_place_in_its_own_words(path: Path, url: str) -> None:
    path.write_text("not a database" * 100)
    spec = find_backend("sqlite", plugin_manager())
    backend: Any = spec.open(url)
    with pytest.raises(StorageDamaged):
        upgrade(backend.place())
    backend.close()


def test_a_foreign_database_has_no_revision(path: Path, url: str) -> None:
    tell(path, "CREATE TABLE theirs (id INTEGER)")
    assert current(url) is None


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="must name a file"):
        upgrade(url)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP INDEX ix_documents_created_at", "create_index('ix_documents_created_at'"),
        ("DROP TABLE export_logs", "create_table('export_logs'"),
        (
            "ALTER TABLE export_logs DROP COLUMN file_path",
            "add_column('export_logs', sa.Column('file_path'",
        ),
        ("ALTER TABLE tags ADD COLUMN icon TEXT", "drop_column('tags', 'icon')"),
        ("CREATE TABLE ours (id INTEGER)", "drop_table('ours')"),
        ("DROP VIEW validation_results", "the view validation_results is missing"),
    ],
)
def test_check_tells_each_difference(path: Path, url: str, change: str, told: str) -> None:
    upgrade(url)
    tell(path, change)
    (difference,) = check(url)
    assert told in difference


def test_check_of_another_revision_names_both(path: Path, url: str) -> None:
    upgrade(url)
    tell(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutdated) as raised:
        check(url)
    assert (raised.value.found, raised.value.expected) == ("9999", EXPECTED_REVISION)


def test_alembic_is_imported_only_where_something_is_to_be_done(url: str) -> None:
    upgrade(url)
    code = (
        "import sys; from loki_storage_sql.migrations import EXPECTED_REVISION, current;"
        f"assert current({url!r}) == EXPECTED_REVISION; print('alembic' in sys.modules)"
    )
    assert run(sys.executable, "-c", code).stdout.strip() == "False"


# --- Declared and migrated are one schema ---------------------------------------------------------


def declared(dialect: str) -> list[str]:
    schema, compiler = schema_for(dialect), DIALECTS[dialect]
    found = []
    for table in schema.metadata.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=compiler)))
        found.extend(str(CreateIndex(index).compile(dialect=compiler)) for index in table.indexes)
        found.extend(comments(table) if dialect == "postgresql" else ())
    return sorted(parts(statement) for statement in found)


def comments(table: sa.Table) -> Iterator[str]:
    for column in table.columns:
        if column.comment:
            text = column.comment.replace("'", "''")
            yield f"COMMENT ON COLUMN {table.name}.{column.name} IS '{text}'"


def parts(statement: str) -> str:
    """A statement without what has no meaning: breaks, the order of columns and constraints."""
    lines = [line.strip().rstrip(",") for line in statement.strip().splitlines()]
    return "\n".join([lines[0], *sorted(lines[1:])])


ADDED = re.compile(
    r'ALTER TABLE (\w+) ADD COLUMN ("?\w+"?) (.*?)(?: DEFAULT \S+)?( CONSTRAINT .*)?$'
)


def widened(statements: list[str]) -> list[str]:
    """The tables as if later revisions' columns had been in them from the start.

    Such columns have defaults for an earlier SDK that still writes (MIG-2): not declared ones.
    """
    added = [found.groups() for found in map(ADDED.match, statements) if found]
    for table, *column in added:
        ((place, made),) = [
            (n, s) for n, s in enumerate(statements) if s.startswith(f"CREATE TABLE {table} ")
        ]
        head, *lines = made.splitlines()
        name, type, constraint = column
        mine = [f"{name} {type}".strip(), *([constraint.strip()] if constraint else [])]
        statements[place] = "\n".join([head, *mine, *lines])
    return statements


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrated_schema_is_the_declared_one(dialect: str) -> None:
    lines = migrations.script(dialect).splitlines()
    script = "\n".join(line for line in lines if not line.startswith("--"))
    statements = widened([statement.strip() for statement in script.split(";\n")])
    made = [
        parts(statement)
        for statement in statements
        if statement.startswith(("CREATE TABLE", "CREATE INDEX", "CREATE UNIQUE", "COMMENT"))
        and "alembic_version" not in statement
    ]
    assert sorted(made) == declared(dialect)


def test_script_makes_the_same_database(tmp_path: Path, path: Path, url: str) -> None:
    upgrade(url)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(migrations.script("sqlite"))
    schema = "SELECT type, name, tbl_name FROM sqlite_schema ORDER BY 1, 2"
    assert ask(other, schema) == ask(path, schema)
    assert check(f"sqlite:///{other}") == []


# --- Others at the same time, and sudden ends -----------------------------------------------------


def run(
    *command: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    if not environment:
        variables.pop("LOKI_STORAGE_URL", None)
    done = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_processes_that_prepare_one_file_at_once_all_succeed(path: Path, url: str) -> None:
    code = f"from loki_storage_sql.migrations import upgrade; upgrade({url!r})"
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: run(sys.executable, "-W", "error", "-c", code), range(6)))
    assert check(url) == []
    assert ask(path, "SELECT count(*) FROM store_settings") == [(2,)]


def test_threads_that_prepare_one_file_at_once_all_succeed(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    assert check(url) == []


DIES = """
import os, signal, sys
import sqlalchemy as sa
from loki_storage_sql.migrations import upgrade

statements = 0

def count(*arguments):
    global statements
    statements += 1
    if statements == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.Engine, "after_cursor_execute", count)
upgrade(sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("statement", [3, 10, 40, 67])
def test_a_killed_upgrade_leaves_nothing_behind(path: Path, url: str, statement: int) -> None:
    command = [sys.executable, "-c", DIES, url, str(statement)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert path.exists()
    assert names(path) == set()
    upgrade(url)
    assert check(url) == []


# --- The alembic command, as the specification shows it -------------------------------------------


def alembic(checkout: Path, *arguments: str, **environment: str) -> str:
    done = run(sys.executable, "-m", "alembic", *arguments, cwd=checkout, **environment)
    return done.stdout


def test_alembic_commands_of_the_specification(checkout: Path) -> None:
    store = checkout / "data" / "loki.db"
    alembic(checkout, "upgrade", "head")
    assert names(store) == {*schema_for("sqlite").names, "alembic_version"}
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert "No new upgrade operations" in alembic(checkout, "check")
    assert f"{EXPECTED_REVISION} (head)" in alembic(checkout, "current")
    assert f"{EXPECTED_REVISION} (head)" in alembic(checkout, "history")
    assert "The whole schema" in alembic(checkout, "history", "--verbose")
    alembic(checkout, "downgrade", "-1")
    assert "0003" in alembic(checkout, "current")
    alembic(checkout, "downgrade", "0001")
    assert not {"archived_documents", "legal_holds"} & names(store)
    alembic(checkout, "upgrade", EXPECTED_REVISION)
    alembic(checkout, "downgrade", "base")
    assert names(store) == {"alembic_version"}
    alembic(checkout, "stamp", "head")
    assert f"{EXPECTED_REVISION} (head)" in alembic(checkout, "current")
    alembic(checkout, "stamp", "base")
    alembic(checkout, "upgrade", "head")
    assert check(f"sqlite:///{store}") == []


def test_asking_for_the_revision_makes_no_store(checkout: Path) -> None:
    assert alembic(checkout, "current") == ""
    assert not (checkout / "data").exists()


@pytest.mark.parametrize("arguments", [("check",), ("revision", "--autogenerate", "-m", "x")])
def test_comparing_makes_no_store(checkout: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "alembic", *arguments]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Target database is not up to date" in done.stdout + done.stderr
    assert not (checkout / "data").exists()


def test_autogenerate_finds_nothing(checkout: Path) -> None:
    alembic(checkout, "upgrade", "head")
    alembic(checkout, "revision", "--autogenerate", "-m", "Add new field")
    (made,) = (checkout / "migrations" / "versions").glob("*_add_new_field.py")
    bodies = re.findall(r"def \w+\(\) -> None:\n((?:    .*\n)+)", made.read_text())
    statements = [line.strip() for body in bodies for line in body.splitlines()]
    assert [line for line in statements if not line.startswith("#")] == ["pass", "pass"]
    alembic(checkout, "upgrade", "head")


def test_empty_revision_can_be_made(checkout: Path) -> None:
    alembic(checkout, "revision", "-m", "Custom migration")
    (made,) = (checkout / "migrations" / "versions").glob("*_custom_migration.py")
    compile(made.read_text(), made.name, "exec")
    assert f'down_revision = "{EXPECTED_REVISION}"' in made.read_text()


def test_database_is_the_argument_else_the_environment_else_the_default(checkout: Path) -> None:
    urls = {name: f"sqlite:///{checkout / name}.db" for name in ("argument", "environment")}
    alembic(
        checkout,
        "-x",
        f"url={urls['argument']}",
        "upgrade",
        "head",
        LOKI_STORAGE_URL=urls["environment"],
    )
    assert [path.name for path in checkout.glob("*.db")] == ["argument.db"]
    alembic(checkout, "upgrade", "head", LOKI_STORAGE_URL=urls["environment"])
    assert current(urls["environment"]) == EXPECTED_REVISION
    assert not (checkout / "data").exists()
    alembic(checkout, "upgrade", "head")
    assert (checkout / "data" / "loki.db").exists()


@pytest.mark.parametrize("server", ["sqlite:///x.db", "postgresql://ann:secret@nowhere/x"])
def test_alembic_writes_a_script_without_a_database(checkout: Path, server: str) -> None:
    script = alembic(checkout, "upgrade", "head", "--sql", LOKI_STORAGE_URL=server)
    assert "CREATE VIEW validation_results" in script
    assert script.strip().startswith("BEGIN;")
    assert script.strip().endswith("COMMIT;")
    assert "secret" not in script
    assert list(checkout.glob("*.db")) == []


def test_configuration_of_the_checkout_is_sound() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert Path(scripts.dir) == migrations.scripts_folder() == ROOT / "migrations"
