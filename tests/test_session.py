"""The default storage of a process: ``get_session``, ``get_engine``, ``DatabaseHealth``."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from loki_storage import DatabaseHealth, get_engine, get_session
from loki_storage.errors import InvalidValue, Unsupported
from loki_storage.models import KINDS
from loki_storage.session import close_default, default_storage


@pytest.fixture(params=["memory", "sqlite"])
def default(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A default storage of each kind; afterwards there is none."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/loki.db"}
    monkeypatch.setenv("LOKI_STORAGE_URL", urls[request.param])
    close_default()
    yield request.param
    close_default()


def test_sessions_share_one_storage(default: str) -> None:
    with get_session(actor="alice", tenant="acme") as session:
        made = session.documents.create_document("text", "email", "a")
    with get_session(tenant="acme") as session:
        assert session.documents.get_by_id(made.id) == made
    with get_session() as session:
        assert session.documents.count() == 0


def test_storage_is_opened_once_by_however_many_threads(default: str) -> None:
    found: list[Any] = []
    threads = [Thread(target=lambda: found.append(default_storage())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(storage) for storage in found}) == 1


def test_closed_default_is_opened_again_when_it_is_asked_for(default: str) -> None:
    first = default_storage()
    close_default()
    close_default()
    assert default_storage() is not first
    assert DatabaseHealth.check_connection()


def test_health_tells_backend_pool_and_counts(default: str) -> None:
    with get_session(tenant="acme") as session:
        document = session.documents.create_document("text", "email", "a", tags=["x"])
        session.documents.delete(document.id)
    assert DatabaseHealth.check_connection()
    stats = DatabaseHealth.get_stats()
    assert stats["backend"] == default
    assert stats.keys() == {"backend", "pool_size", "checked_in", "checked_out", "overflow"}
    assert (stats["pool_size"] is None) is (default == "memory")
    counts = DatabaseHealth.get_table_counts()
    assert counts.keys() == {name for name, kind in KINDS.items() if not kind.internal}
    assert (counts["documents"], counts["tags"], counts["document_tags"]) == (1, 1, 1)
    assert (counts["audit_trail"], counts["validations"]) == (3, 0)


def test_store_that_does_not_answer_is_not_healthy(default: str) -> None:
    default_storage().close()
    assert DatabaseHealth.check_connection() is False


def test_engine_is_sqlalchemys_where_there_is_one(default: str) -> None:
    if default == "memory":
        with pytest.raises(Unsupported):
            get_engine()
        return
    engine = get_engine()
    assert get_engine() is engine
    other = get_engine(pool_size=2)
    assert other is not engine
    assert other.pool.size() == 2
    with get_session() as session:
        session.documents.create_document("text", "email", "a")


@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 0},
        {"pool_size": "5"},
        {"max_overflow": -2},
        {"pool_recycle": 1.5},
        {"echo": "yes"},
    ],
)
def test_engine_takes_only_what_a_pool_can_have(default: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        get_engine(**options)


def test_engine_keeps_what_is_not_given(default: str) -> None:
    if default == "memory":
        return
    get_engine(pool_size=2, echo=False)
    engine = get_engine(max_overflow=1)
    assert (engine.pool.size(), engine.pool._max_overflow) == (2, 1)
