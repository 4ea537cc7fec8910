"""Lists and counts over 100,000 documents come from indexes, and the last page costs what the
first one does: told by the plans and the rows that the databases look at, never by time.
"""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from loki_storage import Session, Storage, open_storage
from loki_storage.models import Document
from loki_storage.plugins import plugin_manager
from loki_storage.query import Query
from loki_storage.query_builder import DocumentQueryBuilder
from loki_storage.query_builder.cursors import cursor_of
from loki_storage_postgresql import open_postgresql
from loki_storage_sqlite import open_sqlite
from tests.postgresql.shared import drop, store_url, versions
from tests.stores import CLOCK

DOCUMENTS, PAGE, TENANT = 100_000, 100, "acme"
NUMBERS = f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {DOCUMENTS})"
CHAINS = "INSERT INTO document_chains (id, tenant_id, client_id, revision, live)"
DOCUMENT_ROWS = """INSERT INTO documents (id, tenant_id, content_hash, document_type,
    content_length, language, client_id, version, root_id, is_latest, created_at, updated_at,
    is_deleted, content)"""

Build = Callable[[Session], DocumentQueryBuilder]
LISTS: dict[str, Build] = {
    "by client": lambda s: s.documents.query().by_client("client 7").order_by("created_at", "desc"),
    "by client, heads": lambda s: (
        s.documents.query().latest_versions().by_client("client 7").order_by("created_at", "desc")
    ),
    "by type": lambda s: s.documents.query().by_type("email").order_by("created_at", "desc"),
    "newest": lambda s: s.documents.query().order_by("created_at", "desc"),
    "oldest": lambda s: s.documents.query().order_by("created_at"),
    "by id": lambda s: s.documents.query(),
}
COUNTS: dict[str, tuple[Build, str]] = {
    "by client": (
        lambda s: s.documents.query().by_client("client 7"),
        "ix_documents_client_id_created_at",
    ),
    "by type": (
        lambda s: s.documents.query().latest_versions().by_type("email"),
        "ix_documents_document_type_created_at",
    ),
    "deleted": (lambda s: s.documents.query().only_deleted(), "ix_documents_deleted_at_is_deleted"),
}


def row(time: str, false: str, true: str, text: str) -> str:
    """Document n: of one of 20 clients, three at a time, every 500th of them deleted."""
    return f"""SELECT n, '{TENANT}', {text}, CASE n % 4 WHEN 0 THEN 'email' ELSE 'nda' END, 9, 'en',
        'client ' || (n % 20), 1, n, CASE n % 500 WHEN 0 THEN {false} ELSE {true} END, {time},
        {time}, CASE n % 500 WHEN 0 THEN {true} ELSE {false} END, 'content' FROM t"""


def chains(false: str, true: str) -> str:
    live = f"CASE n % 500 WHEN 0 THEN {false} ELSE {true} END"
    return f"SELECT n, '{TENANT}', 'client ' || (n % 20), 0, {live} FROM t"


def first_and_last(session: Session, build: Build) -> list[Query]:
    """The queries of the first and of the last full page; the last by its place, not by walking."""
    query = build(session).limit(PAGE)
    turned = query.build()
    backwards = [(order.field, "asc" if order.descending else "desc") for order in turned.order]
    end = build(session)._with(order=())
    for key in backwards or [("id", "desc")]:
        end = end.order_by(*key)
    tail = end.limit(PAGE + 1).all()
    cursor = cursor_of(turned, tail[-1], {})
    last = query.after(cursor)
    assert last.all() == tail[:-1][::-1]
    assert last.page().next_cursor is None
    return [turned, last.build()]


# --- SQLite ----------------------------------------------------------------------------------


class Steps:
    """A backend on a file, and how many steps its virtual machine takes."""

    def __init__(self, path: Path) -> None:
        self.taken = 0
        backend = open_sqlite(f"sqlite:///{path}")
        sa.event.listen(backend.engine().pool, "connect", self._listen)
        self.session = Storage(backend, plugin_manager().hook, CLOCK).session(tenant=TENANT)
        self.close = backend.close

    def _listen(self, driver: sqlite3.Connection, _: object) -> None:
        driver.set_progress_handler(self._step, 1)

    def _step(self) -> int:
        self.taken += 1
        return 0

    def of(self, query: Query) -> int:
        self.taken = 0
        found = list(self.session.select(query))
        assert found
        return self.taken


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    path = tmp_path_factory.mktemp("large") / "loki.db"
    open_storage(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"{CHAINS} {NUMBERS} {chains('0', '1')}")
        time, text = "1767225600000000 + n / 3 * 1000", "printf('%064d', n)"
        connection.execute(f"{DOCUMENT_ROWS} {NUMBERS} {row(time, '0', '1', text)}")
        connection.execute("UPDATE documents SET deleted_at = updated_at WHERE is_deleted = 1")
    connection.close()
    steps = Steps(path)
    yield steps
    steps.close()


@pytest.mark.parametrize("name", LISTS)
def test_sqlite_last_page_costs_what_the_first_costs(sqlite: Steps, name: str) -> None:
    first, last = first_and_last(sqlite.session, LISTS[name])
    costs = [sqlite.of(query) for query in (first, last)]
    assert costs[1] <= 1.5 * costs[0]
    half = first.evolve(limit=PAGE // 2)
    assert costs[0] <= 2.2 * sqlite.of(half), "every row that is looked at is one of the page"


@pytest.mark.parametrize("name", LISTS)
def test_sqlite_list_is_served_by_an_index(sqlite: Steps, name: str) -> None:
    for query in first_and_last(sqlite.session, LISTS[name]):
        plan = sqlite.session.explain(query).splitlines()[2:]
        assert "SEARCH documents USING INDEX" in plan[0].replace("COVERING ", "")
        # Equal times are put in order of id; nothing else is sorted.
        assert set(plan[1:]) <= {"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"}


@pytest.mark.parametrize("name", COUNTS)
def test_sqlite_count_reads_an_index_alone(sqlite: Steps, name: str) -> None:
    build, index = COUNTS[name]
    assert build(sqlite.session).count() > 0
    plan = build(sqlite.session).explain()
    assert index in plan
    sqlite.taken = 0
    counted = build(sqlite.session).count()
    assert sqlite.taken <= 12 * counted + 100, "a few steps for each row that is counted"


# --- PostgreSQL ------------------------------------------------------------------------------


class Plans:
    """A store on PostgreSQL, and what it looked at to answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.backend: Any = open_postgresql(url)
        self.session = Storage(self.backend, plugin_manager().hook, CLOCK).session(tenant=TENANT)

    def scanned(self, query: Query) -> int:
        """Rows that the scans of the plan read, those that they dropped among them."""
        statement, values = self.backend._language.select(query)
        asked = f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, FORMAT JSON) {statement.text}"
        with psycopg.connect(self._url) as connection:
            cursor = psycopg.RawCursor(connection)
            found = cursor.execute(asked.encode(), statement.parameters(values)).fetchone()
        assert found is not None
        return sum(_rows(found[0][0]["Plan"]))


def _rows(node: dict[str, Any]) -> Iterator[int]:
    assert node["Node Type"] not in ("Seq Scan", "Sort"), node
    if "Scan" in node["Node Type"]:
        yield int(node["Actual Rows"]) + int(node.get("Rows Removed by Filter", 0))
    for inner in node.get("Plans", ()):
        yield from _rows(inner)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Plans]:
    url = store_url(versions()[-1])
    with psycopg.connect(url, autocommit=True) as connection:
        time = "timestamptz '2026-01-01' + n / 3 * interval '1 millisecond'"
        series = f"WITH t AS (SELECT generate_series(1, {DOCUMENTS}) AS n)"
        connection.execute(f"{CHAINS} {series} {chains('false', 'true')}".encode())
        text = "lpad(n::text, 64, '0')"
        connection.execute(f"{DOCUMENT_ROWS} {series} {row(time, 'false', 'true', text)}".encode())
        connection.execute("UPDATE documents SET deleted_at = updated_at WHERE is_deleted")
        connection.execute("VACUUM ANALYZE documents")
    plans = Plans(url)
    yield plans
    plans.backend.close()
    drop(versions()[-1], url)


@pytest.mark.postgresql
@pytest.mark.parametrize("name", LISTS)
def test_postgresql_pages_look_at_what_they_return(postgresql: Plans, name: str) -> None:
    first, last = first_and_last(postgresql.session, LISTS[name])
    for query in (first, last):
        deleted = PAGE // 20  # of those that are read in order, one in 500 is deleted
        assert PAGE <= postgresql.scanned(query) <= PAGE + deleted


@pytest.mark.postgresql
def test_store_has_what_it_should_have(postgresql: Plans) -> None:
    query = postgresql.session.documents.query()
    assert query.include_deleted().count() == DOCUMENTS
    assert query.only_deleted().count() == DOCUMENTS // 500
    newest = query.order_by("created_at", "desc").first()
    assert isinstance(newest, Document)
    assert newest.created_at < datetime(2026, 1, 2, tzinfo=UTC)
