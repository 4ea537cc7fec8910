"""Timing of queries and commits: what is told, when, and what never is."""

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loki_storage import Query, Storage, open_storage
from loki_storage.errors import ConnectionLost, InvalidValue
from loki_storage.models import Document
from loki_storage.observing import TIMED, Observed
from loki_storage.protocol import Backend
from loki_storage.query import equals
from tests.stores import Fault, unsteady

SECRET = "a text that nobody may log"
QUERIES = "loki_storage.queries"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == QUERIES]


def work(storage: Storage, tenant: str) -> None:
    with storage.session(tenant=tenant, actor=SECRET) as session:
        document = session.documents.create_document(SECRET, "email", SECRET, title=SECRET)
    with storage.session(tenant=tenant) as session:
        session.documents.get_by_id(document.id)
        session.documents.filter_by(title=SECRET)
        session.documents.count(client_id=SECRET)
        session.documents.exists(document.id)
        list(session.rows(session.query(Document, equals(title=SECRET)), ["title"]))
        list(session.search(session.query(Document)))
        session.tags.list_with_counts()


def test_queries_and_commits_are_told_at_debug_without_values(
    store: Storage, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="loki_storage"):
        work(store, tenant)
    lines = told(caplog)
    for word in (
        "ms: commit ",
        "insert documents",
        "ms: get documents by id: 1 records",
        "ms: select documents of the tenant where title = <str>",
        "ms: count documents",
        "ms: exists documents",
        "ms: rows documents",
        "ms: search documents",
        "ms: aggregate document_tags",
    ):
        assert any(word in line for line in lines), word
    assert SECRET not in caplog.text


def test_nothing_is_told_otherwise(
    store: Storage, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="loki_storage"):
        work(store, tenant)
    assert told(caplog) == []


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of the observer's: each look at it is as much later as it says."""
    step = [0.0]
    now = [0.0]

    def later() -> float:
        now[0] += step[0]
        return now[0]

    monkeypatch.setattr("loki_storage.observing.perf_counter", later)
    return step


def test_slow_ones_are_warnings_from_the_threshold_on(
    tenant: str, caplog: pytest.LogCaptureFixture, time: list[float]
) -> None:
    caplog.set_level(logging.INFO, logger="loki_storage")
    with open_storage("memory://", slow_query=0.5) as storage:
        time[0] = 0.49
        with storage.session() as session:
            session.count(session.query(Document, equals(title=SECRET)))
        assert told(caplog) == []
        time[0] = 0.5
        with storage.session() as session:
            session.count(session.query(Document, equals(title=SECRET)))
    (line,) = told(caplog)
    assert line.startswith("slow (500.0 ms): count documents of the tenant where title = <str>")
    assert caplog.records[-1].levelno == logging.WARNING


def test_threshold_0_is_never(caplog: pytest.LogCaptureFixture, time: list[float]) -> None:
    caplog.set_level(logging.INFO, logger="loki_storage")
    time[0] = 10_000.0
    with open_storage("memory://", slow_query=0) as storage:
        work(storage, "default")
    assert told(caplog) == []


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "1"])
def test_threshold_is_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(InvalidValue, match="slow_query"):
        open_storage("memory://", slow_query=seconds)


def test_stream_is_timed_without_its_consumers_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("loki_storage.observing.perf_counter", lambda: now[0])

    def slowly() -> Iterator[int]:
        for n in range(3):
            now[0] += 1.0
            yield n

    backend: Any = type("Slow", (), {"select": lambda self, query: slowly()})()
    for _ in Observed(backend, 2.5).select(Query(Document, "a")):
        now[0] += 100.0
    (line,) = told(caplog)
    assert line.startswith("slow (3000.0 ms): select documents")
    assert line.endswith("3 records")


@pytest.mark.parametrize("count", [0, 1, TIMED - 1, TIMED, TIMED + 1, 3 * TIMED])
def test_stream_gives_every_record_and_closes_what_it_streams(count: int) -> None:
    closed: list[int] = []

    def found() -> Iterator[int]:
        try:
            yield from range(count)
        finally:
            closed.append(1)

    backend: Any = type("Some", (), {"select": lambda self, query: found()})()
    observed = Observed(backend, 1.0)
    assert list(observed.select(Query(Document, "a"))) == list(range(count))
    stream: Any = observed.select(Query(Document, "a"))
    next(stream, None)
    stream.close()
    assert len(closed) == 2


def test_every_method_of_a_backend_is_passed_on() -> None:
    """Else a capability would silently be the slow default of the observer."""
    public = {name for name, _ in inspect.getmembers(Backend, callable) if name[0] != "_"}
    assert public <= set(vars(Observed))


def test_observer_changes_no_signature() -> None:
    for name in vars(Observed):
        if name[0] != "_":
            own: Callable[..., Any] = getattr(Observed, name)
            base: Callable[..., Any] = getattr(Backend, name)
            assert list(inspect.signature(own).parameters) == list(
                inspect.signature(base).parameters
            )


def test_opening_is_told_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="loki_storage"):
        open_storage("memory://u:hunter2@h").close()
    assert "opened memory://u:***@h" in caplog.text


def test_broken_connection_in_a_commit_is_a_warning(
    store: Storage, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend, storage = unsteady(store)
    backend.fail(Fault(ConnectionLost("gone"), applied=True))
    with storage.session(tenant=tenant) as session:
        session.documents.create_document(SECRET, "email", "acme")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"the connection broke in commit {session.receipt}: applying it again"
    )


def test_library_prints_nothing_by_itself() -> None:
    handlers = logging.getLogger("loki_storage").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
