"""What doctor finds on a PostgreSQL store, each fault made for real where a test may make it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from loki_storage import Check, open_storage
from loki_storage.configuration import load_settings
from loki_storage.health import examine
from loki_storage_postgresql import checks

Ask = Callable[..., Any]
Look = Callable[..., dict[str, Check]]


@pytest.fixture
def look(url: str) -> Look:
    """The checks of a store, by name."""

    def looked(of: str = url, **options: Any) -> dict[str, Check]:
        health = examine(load_settings(of, {}, **options))
        return {check.name: check for check in health.checks}

    return looked


@pytest.fixture
def writer(url: str, ask: Ask) -> Iterator[str]:
    """The URL of a role that may read and write rows, and nothing else."""
    role = f"checked_{sa.make_url(url).database}"
    ask(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    yield sa.make_url(url).set(username=role, password="x").render_as_string(hide_password=False)
    ask(f"DROP OWNED BY {role}")
    ask(f"DROP ROLE {role}")


def role_of(writer: str) -> str:
    return str(sa.make_url(writer).username)


def test_sound_store_is_well(look: Look, writer: str) -> None:
    found = look(writer)
    assert {name for name, check in found.items() if check.status != "ok"} <= {"durability"}
    assert {"server", "timeouts", "rights", "findings", "server clock"} <= set(found)


def test_superuser_is_a_warning(look: Look) -> None:
    assert look()["role"].status == "warning"


def test_role_without_a_right_is_a_problem(look: Look, writer: str, ask: Ask) -> None:
    ask(f"REVOKE DELETE ON documents, tags FROM {role_of(writer)}")
    found = look(writer)["rights"]
    assert found.status == "problem"
    assert found.told == "the role lacks DELETE on documents, DELETE on tags"


def test_row_level_security_that_hides_rows_is_a_warning(look: Look, writer: str, ask: Ask) -> None:
    ask("ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
    assert look(writer)["row-level security"].status == "warning"
    assert look()["row-level security"].status == "ok", "it does not bind a superuser"


def test_timeouts_without_end_are_a_warning(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look()["timeouts"].status == "ok"
    monkeypatch.setattr(checks, "TIMEOUTS", ("lock_timeout", "idle_session_timeout"))
    found = look()["timeouts"]
    assert found.status == "warning"
    assert found.told == "idle_session_timeout without an end"


@pytest.mark.parametrize("setting", ["synchronous_commit"])
def test_commits_that_may_be_lost_are_a_problem(
    look: Look, writer: str, ask: Ask, setting: str
) -> None:
    ask(f"ALTER ROLE {role_of(writer)} SET {setting} = off")
    found = look(writer)["durability"]
    assert found.status == "problem"
    assert setting in found.told


def test_read_only_role_is_a_problem(look: Look, writer: str, ask: Ask) -> None:
    ask(f"ALTER ROLE {role_of(writer)} SET default_transaction_read_only = on")
    assert look(writer)["writable"].status == "problem"


def test_session_that_idles_in_a_transaction_is_a_warning(
    look: Look, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "IDLE_SECONDS", 0)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
        time.sleep(0.01)
        found = look()["idle in transaction"]
        assert found.status == "warning"
        assert found.told.startswith("1 sessions")
    assert look()["idle in transaction"].status == "ok"


def test_clock_of_the_server_is_compared(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 100)
    found = look()["server clock"]
    assert found.status == "problem"
    assert "differ by" in found.told


def test_server_with_few_connections_left_is_a_warning(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "FEW_LEFT", 0.0)
    assert look()["connections"].status == "warning"


def test_old_server_is_a_warning(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OLDEST", 10**9)
    assert look()["server"].status == "warning"


def test_finding_that_was_changed_is_found(look: Look, url: str, ask: Ask) -> None:
    with open_storage(url) as storage, storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
        validation = session.validations.create_validation(document.id, ["m"], "acme")
        session.validations.start_validation(validation.id)
        session.validations.add_result(validation.id, "module", "m.a", "pass", message="said")
    assert look()["findings"].status == "ok"
    ask("UPDATE gate_findings SET message = 'forged'")
    found = look()["findings"]
    assert found.status == "problem"
    assert "forged" not in found.told


def test_to_look_leaves_no_trace(look: Look, url: str, ask: Ask) -> None:
    tables = "SELECT count(*) FROM audit_trail", "SELECT * FROM id_leases ORDER BY 1"
    before = [ask(text) for text in tables]
    look()
    assert [ask(text) for text in tables] == before


def test_server_that_does_not_answer_is_a_problem_without_its_password(look: Look) -> None:
    found = look("postgresql://u:hunter2@127.0.0.1:1/db", connect_timeout=1.0)
    assert "problem" in {check.status for check in found.values()}
    assert "hunter2" not in str(found)
