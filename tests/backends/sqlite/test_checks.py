"""What doctor finds on a SQLite file, each fault made for real."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Check, open_storage
from loki_storage_sqlite import checks, open_sqlite

Look = Callable[..., dict[str, Check]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "loki.db"
    with open_storage(f"sqlite:///{path}") as storage:

        def fill(session: Any) -> None:
            document = session.documents.create_document("text", "email", "acme")
            validation = session.validations.create_validation(document.id, ["m"], "acme")
            session.validations.start_validation(validation.id)
            for n in range(7):
                session.validations.add_result(validation.id, "module", f"m.{n}", "pass")

        for tenant in ("one", "two"):
            storage.run(fill, tenant=tenant)
    return path


@pytest.fixture
def look(path: Path) -> Look:
    """The checks of the file, by name."""

    def looked(*, deep: bool = False, **options: Any) -> dict[str, Check]:
        backend = open_sqlite(f"sqlite:///{path}", **options)
        try:
            return {check.name: check for check in backend.checks(deep=deep)}
        finally:
            backend.close()

    return looked


@pytest.fixture
def driver(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_sound_file_is_well(look: Look) -> None:
    assert {check.status for check in look(deep=True).values()} == {"ok"}
    quick = look()
    assert {name for name, check in quick.items() if check.status != "ok"} <= {"library"}


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("3.6.23", "ok"),
        ("3.7.0", "warning"),
        ("3.40.1", "warning"),
        ("3.51.2", "warning"),
        ("3.51.3", "ok"),
        ("3.52.0", "ok"),
        ("4.0.0", "ok"),
    ],
)
def test_versions_with_the_wal_reset_bug_are_named(version: str, status: str) -> None:
    check = checks._version(version)
    assert check.status == status
    assert version in check.told


def test_version_is_that_of_the_connection(look: Look) -> None:
    assert sqlite3.sqlite_version in look()["library"].told


def test_other_journal_mode_is_a_problem(look: Look, driver: sqlite3.Connection) -> None:
    assert driver.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    driver.close()
    assert look()["journal"].status == "problem"


@pytest.mark.parametrize(
    ("synchronous", "status"), [("FULL", "ok"), ("EXTRA", "ok"), ("NORMAL", "warning")]
)
def test_durability_is_that_of_the_setting(look: Look, synchronous: str, status: str) -> None:
    assert look(synchronous=synchronous)["durability"].status == status


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_file_that_others_may_read_is_a_problem(look: Look, path: Path, mode: int) -> None:
    path.chmod(mode)
    found = look()["file modes"]
    assert found.status == "problem"
    assert str(found.advice).startswith(f"chmod 600 {path}")
    path.chmod(0o600)
    assert look()["file modes"].status == "ok"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_folder_that_all_may_write_is_a_problem(look: Look, path: Path) -> None:
    path.parent.chmod(0o777)
    assert look()["folder mode"].status == "problem"
    path.parent.chmod(0o1777)
    assert "folder mode" not in look()


def test_log_that_grows_and_grows_is_a_warning(
    look: Look, monkeypatch: pytest.MonkeyPatch, driver: sqlite3.Connection
) -> None:
    monkeypatch.setattr(checks, "LARGEST_LOG", 1_000)
    driver.execute("BEGIN")
    driver.execute("SELECT count(*) FROM documents").fetchall()
    with open_storage(f"sqlite:///{driver_path(driver)}") as storage, storage.session() as session:
        session.documents.create_document("x" * 10_000, "email", "acme")
    assert look()["log size"].status == "warning"


def driver_path(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def test_disk_without_space_is_a_problem(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEAST_SPACE", 2**63)
    assert look()["disk space"].status == "problem"


@pytest.mark.parametrize("column", ["message", "gate_key", "severity"])
def test_finding_that_was_changed_is_found(
    look: Look, driver: sqlite3.Connection, column: str
) -> None:
    id = driver.execute("SELECT max(id) FROM gate_findings").fetchone()[0]
    value = "high" if column == "severity" else "forged"
    driver.execute(f"UPDATE gate_findings SET {column} = ? WHERE id = ?", (value, id))
    found = look(deep=True)["findings"]
    assert found.status == "problem"
    assert str(id) in found.told
    assert "forged" not in found.told


def test_findings_are_read_in_blocks(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in (1, 3, 14, 15):
        monkeypatch.setattr("loki_storage_sql.soundness.BLOCK", block)
        assert look(deep=True)["findings"].told.startswith("14 findings")


def test_key_that_is_lost_is_a_problem(look: Look, driver: sqlite3.Connection) -> None:
    driver.execute("DELETE FROM store_settings WHERE name = 'finding_key'")
    assert look(deep=True)["findings"].status == "problem"


def test_reference_that_does_not_hold_is_found(look: Look, driver: sqlite3.Connection) -> None:
    driver.execute("PRAGMA foreign_keys=OFF")
    driver.execute("DELETE FROM documents WHERE tenant_id = 'one'")
    found = look(deep=True)["references"]
    assert found.status == "problem"
    assert "documents" in found.told


def test_damaged_page_is_found(look: Look, path: Path, driver: sqlite3.Connection) -> None:
    (root,) = driver.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'audit_trail'"
    ).fetchone()
    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = driver.execute("PRAGMA page_size").fetchone()[0]
    driver.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x00" * 200)
    assert look(deep=True)["pages"].status == "problem"
