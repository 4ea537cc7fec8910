"""The specification's own examples of health and of the engine, word for word but for the path."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loki_storage import get_session
from loki_storage.errors import PoolExhausted
from loki_storage.session import close_default, default_storage

HEALTH = """
from backend.db.session import DatabaseHealth

# Check connection
is_healthy = DatabaseHealth.check_connection()

# Get pool statistics
stats = DatabaseHealth.get_stats()

# Get table counts
counts = DatabaseHealth.get_table_counts()
"""
EXHAUSTION = """
# Solution: Increase pool size or check for connection leaks
from backend.db.session import get_engine
engine = get_engine(pool_size=10, max_overflow=20)
"""
SLOW = """
# Solution: Enable SQL logging to identify problematic queries
from backend.db.session import get_engine
engine = get_engine(echo=True)
"""
TABLES = [
    "audit_trail",
    "correction_history",
    "corrections",
    "data_retention_policies",
    "document_tags",
    "documents",
    "export_logs",
    "tags",
    "validation_results",
    "validations",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing but an empty folder: the default store is created in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOKI_STORAGE_URL", raising=False)
    close_default()
    yield tmp_path
    close_default()


def run(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(example.replace("backend.db.", "loki_storage."), names)
    return names


def test_health(folder: Path) -> None:
    found = run(HEALTH)
    assert found["is_healthy"] is True
    assert found["stats"]["backend"] == "sqlite"
    assert found["stats"]["pool_size"] == 5
    assert set(TABLES) <= set(found["counts"])
    assert set(found["counts"].values()) == {0}
    with get_session() as session:
        session.documents.create_document("text", "email", "acme")
    before = list(default_storage().dump())
    again = run(HEALTH)
    assert (again["counts"]["documents"], again["counts"]["audit_trail"]) == (1, 1)
    assert list(default_storage().dump()) == before, "to look leaves a trace"


def hold(count: int) -> list[Any]:
    """So many open streams, which have a connection each."""
    streams = []
    for _ in range(count):
        with get_session(timeout=0.05) as session:
            stream: Any = session.select(session.documents.query().build())
            next(stream)
            streams.append(stream)
    return streams


def test_pool_exhaustion_and_its_solution(folder: Path) -> None:
    with get_session() as session:
        for n in range(2):
            session.documents.create_document(f"text {n}", "email", "acme")
    full = hold(15)  # a pool of 5, and 10 beyond it
    with pytest.raises(PoolExhausted, match="raise pool_size"):
        hold(1)
    engine = run(EXHAUSTION)["engine"]
    assert engine.pool.size() == 10
    more = hold(30)
    with pytest.raises(PoolExhausted):
        hold(1)
    for stream in [*full, *more]:
        assert len(list(stream)) == 1, "an open one keeps its engine"
    assert run(HEALTH)["stats"]["pool_size"] == 10


def test_slow_queries_and_their_solution(
    folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "a text that nobody may log"
    try:
        with caplog.at_level(logging.INFO, logger="sqlalchemy.engine"):
            run(SLOW)
            with get_session() as session:
                session.documents.create_document(secret, "email", "acme")
            with get_session() as session:
                assert session.documents.count(title=secret) == 0
    finally:
        run(SLOW.replace("True", "False"))
    told = caplog.text + capsys.readouterr().out
    assert "INSERT INTO documents" in told
    assert "SELECT count" in told
    assert secret not in told
