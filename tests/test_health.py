"""Health: what is wrong is named with what to do, and to look leaves no trace."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Check, Health, Storage, open_storage
from loki_storage.configuration import load_settings
from loki_storage.health import examine, table_counts
from loki_storage.models import KINDS
from loki_storage.plugins import Installed
from loki_storage.unit_of_work import utc_now

PASSWORD = "hunter2"
ONE_EACH = dict.fromkeys(KINDS.values(), 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loki.db"
    with open_storage(f"sqlite:///{path}") as storage, storage.session() as session:
        session.documents.create_document("text", "email", "acme")
    return path


def look(url: str, clock: Callable[[], datetime] = utc_now, **options: Any) -> Health:
    return examine(load_settings(url, {}, **options), clock=clock)


def status(health: Health, name: str) -> str:
    (found,) = [check for check in health.checks if check.name == name]
    assert (found.advice is None) == (found.status == "ok"), "advice where it is not well, only"
    return found.status


# --- An open store -------------------------------------------------------------------------------


def test_health_of_an_open_store(store: Storage) -> None:
    health = store.health()
    # The tests' PostgreSQL server runs without fsync, and that is told.
    assert {check.name for check in health.problems} <= {"durability"}
    assert health.backend == store.name
    assert health.pool == store.backend.stats()
    assert health.answer_ms is not None
    assert {"answers", "clock"} <= {check.name for check in health.checks}


def test_health_of_a_closed_store_says_so() -> None:
    storage = open_storage("memory://")
    storage.close()
    health = storage.health()
    assert not health.ok
    assert health.answer_ms is None
    assert "closed" in health.problems[0].told


def test_warnings_are_no_problems() -> None:
    health = Health("x", (Check("a", "warning", "b", "c"), Check("d", "ok", "e")), {})
    assert health.ok
    assert [check.name for check in health.warnings] == ["a"]


def test_pool_beyond_its_size_is_a_warning(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loki.db"
    with open_storage(url, pool_size=1, max_overflow=5) as storage:
        with storage.session() as session:
            for n in range(5):
                session.documents.create_document(f"text {n}", "email", "acme")
        assert status(storage.health(), "pool") == "ok"
        query = session.documents.query().build()
        streams: list[Any] = [storage.stream(query) for _ in range(2)]
        for stream in streams:
            next(stream)
        assert status(storage.health(), "pool") == "warning"
        for stream in streams:
            stream.close()
        assert status(storage.health(), "pool") == "ok"


# --- No trace ------------------------------------------------------------------------------------


def test_looking_leaves_no_trace(store: Storage, tenant: str) -> None:
    with store.session(tenant=tenant) as session:
        session.documents.create_document("text", "email", "acme")
    before = list(store.dump())
    leased = {kind: ids.stop for kind, ids in store.backend.reserve(ONE_EACH).items()}
    store.health()
    table_counts(store.backend)
    list(store.backend.checks(deep=True))
    assert list(store.dump()) == before
    assert {kind: ids.start for kind, ids in store.backend.reserve(ONE_EACH).items()} == leased


def test_doctor_leaves_the_file_as_it_is(file: Path) -> None:
    before = file.read_bytes()
    assert look(f"sqlite:///{file}").ok
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["loki.db"]


def test_doctor_creates_nothing_where_nothing_is(tmp_path: Path) -> None:
    health = look(f"sqlite:///{tmp_path}/absent.db")
    assert [check.name for check in health.problems] == ["schema"]
    assert "loki-storage migrate up" in health.problems[0].told
    assert list(tmp_path.iterdir()) == []


# --- What does not work --------------------------------------------------------------------------


def test_store_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "loki.db"
    path.write_bytes(b"no database at all " * 100)
    path.chmod(0o600)
    health = look(f"sqlite:///{path}")
    assert any("not a SQLite database" in check.told for check in health.problems)


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        (f"mongo://u:{PASSWORD}@h/", {}, "no backend is installed"),
        (PASSWORD, {}, "must be like"),
        ("sqlite:///x.db", {"pool_sise": 3}, "pool_size"),
        ("sqlite:///x.db", {"synchronous": PASSWORD}, "synchronous"),
    ],
)
def test_settings_that_do_not_work_are_a_problem_and_no_secret(
    url: str, options: dict[str, Any], word: str
) -> None:
    health = look(url, **options)
    assert not health.ok
    assert word in health.problems[0].told
    assert PASSWORD not in str(health.checks)


def test_broken_plugin_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Installed("acme", "acme-loki", "2.5", None, "cannot be imported (ImportError)")
    monkeypatch.setattr("loki_storage.health.installed", lambda: [broken])
    health = look(f"sqlite:///{file}")
    assert [check.name for check in health.problems] == ["plugin"]
    assert "acme-loki 2.5" in health.problems[0].told
    assert "acme-loki" in str(health.problems[0].advice)


@pytest.mark.parametrize("days", [1, 400])
def test_clock_that_was_put_back_is_noticed(file: Path, days: int) -> None:
    health = look(f"sqlite:///{file}", clock=lambda: utc_now() - timedelta(days=days))
    assert status(health, "newest entry") == "problem"


def test_clock_that_was_never_set_is_noticed(file: Path) -> None:
    health = look(f"sqlite:///{file}", clock=lambda: datetime(1970, 1, 2, tzinfo=UTC))
    assert status(health, "clock") == "problem"


def test_clock_that_is_a_little_behind_is_well(file: Path) -> None:
    health = look(f"sqlite:///{file}", clock=lambda: utc_now() - timedelta(seconds=3))
    assert status(health, "newest entry") == "ok"


def test_store_without_the_newest_revision_is_a_problem(file: Path) -> None:
    from loki_storage_sql.migrations import downgrade

    downgrade(f"sqlite:///{file}", "0001")
    health = look(f"sqlite:///{file}")
    assert [check.name for check in health.problems] == ["schema"]
    assert "0001" in health.problems[0].told


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
