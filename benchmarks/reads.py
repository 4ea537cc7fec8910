"""What reading costs against SQLAlchemy's ORM doing the same on the same store: CPU time, ratios.

python benchmarks/reads.py [documents] [--postgresql] [--without-collector]    20,000 unless told

Both give whole documents with enums, aware times and JSON, a unit of work (a session) each. The
garbage collector is on, as it is for users: what a reader leaves behind decides how often it runs.
``--without-collector`` shows the reading alone.
"""

import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa
from measure import Ratio, compare, table
from sqlalchemy import orm

from loki_storage import DocumentType, Session, Storage, open_storage
from tests.postgresql.installations import installations
from tests.postgresql.servers import running

GETS, PAGES, PAGE = 2_000, 40, 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What the ratio may be: the ORM takes at least five times as long on get, 2.4 on streaming.
GET, STREAM = 0.2, 0.417


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware datetime; on SQLite, which has no such type, microseconds since 1970."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        stored = sa.BigInteger() if dialect.name == "sqlite" else sa.DateTime(timezone=True)
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return (value - EPOCH) // timedelta(microseconds=1) if _counts(value, dialect) else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return EPOCH + timedelta(microseconds=value) if _counts(value, dialect) else value


def _counts(value: Any, dialect: sa.Dialect) -> bool:
    return value is not None and dialect.name == "sqlite"


class Base(orm.DeclarativeBase):
    """The ORM's registry."""


class OrmDocument(Base):
    """The table ``documents`` as people map it."""

    __tablename__ = "documents"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    tenant_id: orm.Mapped[str]
    content_hash: orm.Mapped[str]
    document_type: orm.Mapped[DocumentType] = orm.mapped_column(
        sa.Enum(DocumentType, native_enum=False, values_callable=lambda e: [m.value for m in e])
    )
    content_length: orm.Mapped[int]
    title: orm.Mapped[str | None]
    source: orm.Mapped[str | None]
    language: orm.Mapped[str | None]
    client_id: orm.Mapped[str]
    user_id: orm.Mapped[str | None]
    version: orm.Mapped[int]
    parent_id: orm.Mapped[int | None]
    root_id: orm.Mapped[int]
    is_latest: orm.Mapped[bool]
    created_at: orm.Mapped[datetime] = orm.mapped_column(Moment)
    updated_at: orm.Mapped[datetime] = orm.mapped_column(Moment)
    deleted_at: orm.Mapped[datetime | None] = orm.mapped_column(Moment)
    is_deleted: orm.Mapped[bool]
    content: orm.Mapped[str]
    description: orm.Mapped[str | None]
    metadata_json: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)


def fill(path: Path, documents: int) -> None:
    """So many documents of 20 clients, written with plain SQL."""
    open_storage(f"sqlite:///{path}").close()
    numbers = (
        f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {documents})"
    )
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO document_chains (id, tenant_id, client_id, revision, live) "
            f"{numbers} SELECT n, 'default', 'client ' || (n % 20), 0, 1 FROM t"
        )
        connection.execute(
            "INSERT INTO documents (id, tenant_id, content_hash, document_type, content_length, "
            "title, language, client_id, version, root_id, is_latest, created_at, updated_at, "
            "is_deleted, content, metadata_json) "
            f"{numbers} SELECT n, 'default', printf('%064d', n), 'email', 400, 'Title ' || n, 'en',"
            " 'client ' || (n % 20), 1, n, 1, 1767225600000000 + n * 1000, "
            "1767225600000000 + n * 1000, 0, printf('%.*c', 400, 'x'), '{\"page\":1}' FROM t"
        )
    connection.close()


def fill_server(url: str, documents: int) -> None:
    """The same through the SDK."""
    given = [
        {
            "content": f"{n:08} {'x' * 391}",
            "document_type": "email",
            "client_id": f"client {n % 20}",
            "title": f"Title {n}",
            "language": "en",
            "metadata": {"page": 1},
        }
        for n in range(documents)
    ]
    with open_storage(url, create=True) as storage, storage.session() as session:
        session.documents.create_documents(given)


Run = Callable[[], object]


class Ours:
    """Reads through sessions of loki-storage."""

    def __init__(self, storage: Storage, ids: list[int]) -> None:
        self._storage, self._ids = storage, ids

    def get(self) -> Run:
        def run() -> None:
            for id in self._ids:
                with self._storage.session() as session:
                    assert session.documents.get_by_id(id) is not None

        return run

    def stream(self) -> Run:
        def run() -> None:
            with self._storage.session() as session:
                assert sum(1 for _ in session.documents.query().iter())

        return run

    def storage_stream(self) -> Run:
        query = self._storage.session().documents.query().build()
        return lambda: sum(1 for _ in self._storage.stream(query))

    def pages(self) -> Run:
        def run() -> None:
            with self._storage.session() as session:
                assert sum(map(len, self._pages(session))) == PAGES * PAGE

        return run

    def _pages(self, session: Session) -> Iterator[list[Any]]:
        query, cursor = session.documents.query().order_by("created_at", "desc").limit(PAGE), None
        for _ in range(PAGES):
            page = query.after(cursor).page()
            cursor = page.next_cursor
            yield page.records


class Orm:
    """The same with SQLAlchemy's ORM."""

    def __init__(self, url: str, ids: list[int]) -> None:
        made = sa.make_url(url)
        driver = "postgresql+psycopg" if made.drivername == "postgresql" else made.drivername
        self._sessions = orm.sessionmaker(sa.create_engine(made.set(drivername=driver)))
        self._ids = ids

    def get(self) -> Run:
        def run() -> None:
            for id in self._ids:
                with self._sessions() as session:
                    found = session.get(OrmDocument, id)
                    assert found is not None
                    assert found.tenant_id == "default"

        return run

    def stream(self) -> Run:
        def run() -> None:
            live = sa.select(OrmDocument).where(
                OrmDocument.tenant_id == "default", OrmDocument.is_deleted.is_(False)
            )
            with self._sessions() as session:
                found = session.scalars(live.execution_options(yield_per=1_000))
                assert sum(1 for _ in found)

        return run

    def pages(self) -> Run:
        def run() -> None:
            with self._sessions() as session:
                assert sum(map(len, self._pages(session))) == PAGES * PAGE

        return run

    def _pages(self, session: orm.Session) -> Iterator[list[OrmDocument]]:
        place = sa.tuple_(OrmDocument.created_at, OrmDocument.id)
        newest = (
            sa.select(OrmDocument)
            .where(OrmDocument.tenant_id == "default", OrmDocument.is_deleted.is_(False))
            .order_by(OrmDocument.created_at.desc(), OrmDocument.id.desc())
            .limit(PAGE)
        )
        query = newest
        for _ in range(PAGES):
            page = list(session.scalars(query))
            end = sa.tuple_(sa.literal(page[-1].created_at, Moment()), sa.literal(page[-1].id))
            query = newest.where(place < end)
            yield page


def measured(url: str, documents: int, collecting: bool) -> list[Ratio]:
    chance = Random(1)
    ids = [chance.randint(1, documents) for _ in range(GETS)]
    with open_storage(url) as storage:
        ours, theirs = Ours(storage, ids), Orm(url, ids)
        for make in (ours.get, theirs.get, ours.stream, theirs.stream, ours.pages, theirs.pages):
            make()()  # statements are compiled once per process
        pairs: list[tuple[str, Callable[[], Run], Callable[[], Run], float | None]] = [
            ("get by id, against the ORM", ours.get, theirs.get, GET),
            ("builder.iter(), against the ORM", ours.stream, theirs.stream, STREAM),
            ("storage.stream(), against the ORM", ours.storage_stream, theirs.stream, STREAM),
            ("pages by cursor, against the ORM", ours.pages, theirs.pages, None),
            ("floor: the ORM against itself", theirs.get, theirs.get, None),
        ]
        return [
            compare(name, contender, floor, limit=limit, collecting=collecting)
            for name, contender, floor, limit in pairs
        ]


@contextmanager
def store(documents: int, server: bool) -> Iterator[str]:
    """The URL of a filled store that goes afterwards."""
    if server:
        with running(installations()[0], {}) as started:
            fill_server(started.url(), documents)
            yield started.url()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "loki.db"
            fill(path, documents)
            yield f"sqlite:///{path}"


def main() -> int:
    given = set(sys.argv[1:])
    server, collecting = "--postgresql" in given, "--without-collector" not in given
    documents = int((given - {"--postgresql", "--without-collector"} or {"20000"}).pop())
    with store(documents, server) as url:
        ratios = measured(url, documents, collecting)
    print(f"{documents:,} documents; CPU time of ours / the ORM's")
    print(table(ratios))
    return 0 if all(ratio.passed for ratio in ratios) else 1


if __name__ == "__main__":
    raise SystemExit(main())
