"""Backups of PostgreSQL: to SQLite and back, under load, replaced while others have it open."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from loki_storage import Storage, open_storage
from loki_storage.backup_manager import BackupManager
from loki_storage.enums import AuditAction
from loki_storage.errors import Forbidden, RestoreRejected
from loki_storage.models import Document
from loki_storage.query import Query
from tests.backups.stores import fill, rows, store, without
from tests.backups.test_manager import validated
from tests.backups.test_under_load import BACKUPS, Writers, check_whole
from tests.postgresql.shared import store_url, versions
from tests.stores import CLOCK

pytestmark = pytest.mark.postgresql
RESTORE = AuditAction.RESTORE_STORE


@contextmanager
def opened(url: str) -> Iterator[Storage]:
    with open_storage(url, clock=CLOCK) as storage:
        yield storage


@pytest.fixture
def url() -> str:
    return store_url(versions()[0])


def test_sqlite_restores_into_postgresql_and_back_equal_row_by_row(
    url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    with store("sqlite", tmp_path) as source, opened(url) as middle:
        fill(source, "default", "other")
        before = rows(source)
        BackupManager(source, folder).create_backup("out")
        BackupManager(middle, folder).restore_backup("out")
        assert without(rows(middle), RESTORE) == before
        told = BackupManager(middle, folder).create_backup("back")
        assert told["backend"] == "postgresql"
        with store("sqlite", tmp_path, "again") as target:
            BackupManager(target, folder).restore_backup("back")
            assert without(rows(target), RESTORE) == before
        again = middle.run(lambda s: s.documents.create_document("goes on", "email", "c"))
        assert again.id > max(row.id for row in before if isinstance(row, Document))


def test_native_copy_of_sqlite_restores_into_postgresql(url: str, tmp_path: Path) -> None:
    with store("sqlite", tmp_path) as source, opened(url) as target:
        fill(source)
        before = rows(source)
        BackupManager(source, tmp_path / "b").create_backup("copy", native=True)
        BackupManager(target, tmp_path / "b").restore_backup("copy")
        assert without(rows(target), RESTORE) == before


def test_replacing_is_seen_by_others_as_one_step(url: str, tmp_path: Path) -> None:
    """Leases, findings and rows that others know from before are looked at again."""
    with opened(url) as first, opened(url) as second:
        fill(first)
        manager = BackupManager(first, tmp_path / "b")
        manager.create_backup("early")
        early = without(rows(first), AuditAction.BACKUP)
        for _ in range(2):
            fill(second, "default", "other")
        later = manager.create_backup("later")["name"]
        manager.restore_backup("early", replace=True)
        assert without(rows(second), RESTORE) == early
        for storage in (second, first):
            storage.run(validated)
        manager.restore_backup(later, replace=True)
        for storage in (second, first):
            storage.run(validated)


def test_refused_restore_leaves_the_target(url: str, tmp_path: Path) -> None:
    with opened(url) as storage:
        fill(storage)
        manager = BackupManager(storage, tmp_path / "b")
        name = manager.create_backup("b")["name"]
        path = tmp_path / "b" / f"{name}.loki.zip"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        before = rows(storage)
        with pytest.raises(RestoreRejected):
            manager.restore_backup("b", replace=True)
        assert rows(storage) == before


def test_backups_and_restores_under_load_are_whole(url: str, tmp_path: Path) -> None:
    with opened(url) as storage, opened(url) as other:
        manager = BackupManager(storage, tmp_path / "b")
        with Writers(other, 2) as writers:
            for number in range(BACKUPS):
                acknowledged = list(writers.acknowledged)
                name = manager.create_backup("b")["name"]
                with store("memory", tmp_path, f"{number}") as target:
                    BackupManager(target, tmp_path / "b").restore_backup(name)
                    check_whole(target, acknowledged)
        with Writers(other, 1):
            for _ in range(3):
                manager.restore_backup("b", replace=True)


def test_rows_that_row_level_security_hides_are_forbidden_not_left_out(
    url: str, tmp_path: Path
) -> None:
    """A backup of all tenants by a role that may see one: no archive, let alone an empty one."""
    role = f"reader_{secrets.token_hex(4)}"
    with opened(url) as storage:
        fill(storage)
    with psycopg.connect(url, autocommit=True) as admin:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
            f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
            "ALTER TABLE documents ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY one ON documents TO {role} USING (tenant_id = 'default')",
        ):
            admin.execute(statement)
    limited = sa.make_url(url).set(username=role, password="x")
    try:
        address = limited.render_as_string(hide_password=False)
        with pytest.raises(Forbidden), opened(address) as storage:
            BackupManager(storage, tmp_path / "b").create_backup("b")
        assert list(tmp_path.rglob("*.zip")) == []
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


def test_backup_under_row_level_security_is_forbidden_or_of_one_tenant(
    url: str, tmp_path: Path
) -> None:
    """By a role that owns nothing: all tenants are ``Forbidden``, its own is whole."""
    owner, member = (f"{name}_{secrets.token_hex(4)}" for name in ("owner", "member"))
    address = sa.make_url(store_url(versions()[0]))

    def of(role: str) -> str:
        return address.set(username=role, password="x").render_as_string(hide_password=False)

    superuser = address.render_as_string(hide_password=False)
    with psycopg.connect(superuser, autocommit=True) as admin:
        for role in (owner, member):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        admin.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {owner}, {member}")
        try:
            open_storage(of(owner), create=True, row_level_security=True).close()
            rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
            admin.execute(f"GRANT {rights} TO {member}")
            with open_storage(of(member), row_level_security=True, clock=CLOCK) as storage:
                fill(storage, "default", "other")
                manager = BackupManager(storage, tmp_path / "all")
                with pytest.raises(Forbidden):
                    manager.create_backup("b")
                assert list(tmp_path.rglob("*.zip")) == []
                told = BackupManager(storage, tmp_path / "one", tenant="other").create_backup("b")
                assert told["tables"]["documents"] == storage.backend.count(
                    Query(Document, "other")
                )
        finally:
            admin.execute(f"DROP OWNED BY {owner}, {member} CASCADE")
            admin.execute(f"DROP ROLE {owner}, {member}")
