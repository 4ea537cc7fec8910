"""Where a store is, as migrations reach it: the file or the server, and how to be alone there."""

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from loki_storage.errors import InvalidValue, StorageError, Unavailable

__all__ = ["PATIENCE", "FilePlace", "Place", "ServerPlace", "Where", "place_of"]

PATIENCE = 60.0
"""Seconds to wait for others that migrate or write."""


Translate = Callable[[Exception], StorageError]


def refused(error: Exception) -> StorageError:
    """What a driver's error means where no backend is there to say it: its code, no values."""
    names = (getattr(error, name, None) for name in ("sqlite_errorname", "sqlstate"))
    code = next((name for name in names if name), type(error).__name__)
    return Unavailable(f"the database refuses ({code}); nothing was changed")


class Place(ABC):
    """A database to migrate."""

    translate: Translate = staticmethod(refused)
    """The error of ours that a driver's error means; backends say it better."""

    def told_by(self, translate: Translate) -> Self:
        """This place, with errors as a backend translates them."""
        self.translate = translate
        return self

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything to connect to."""

    @abstractmethod
    def connected(self) -> AbstractContextManager[sa.Connection]:
        """A connection in a transaction that is rolled back at the end."""

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[sa.Connection]:
        """A connection in a transaction beside which no other one migrates; commits at the end."""


Where = str | sa.URL | Place


def place_of(where: Where) -> Place:
    """The place that a URL names."""
    if isinstance(where, Place):
        return where
    url = sa.make_url(where)
    if url.get_backend_name() == "sqlite":
        return FilePlace(url)
    return ServerPlace(url)


class FilePlace(Place):
    """A SQLite file."""

    def __init__(self, url: sa.URL, connect: Callable[..., Any] = sqlite3.connect) -> None:
        """``connect``: opens the file, and takes what ``sqlite3.connect`` takes."""
        if url.database in (None, "", ":memory:"):
            text = "must name a file: sqlite:///relative.db, sqlite:////absolute.db"
            raise InvalidValue("url", text)
        self._path, self._open = Path(str(url.database)), connect

    def exists(self) -> bool:
        return self._path.exists()

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        with _engine(self._connect, "BEGIN") as engine, engine.connect() as connection:
            yield connection

    @contextmanager
    def exclusive(self) -> Iterator[sa.Connection]:
        self._create()
        with _engine(self._connect, "BEGIN IMMEDIATE") as engine, engine.begin() as connection:
            yield connection

    def _connect(self) -> Any:
        address = f"{self._path.resolve().as_uri()}?mode=rw"
        return self._open(address, uri=True, timeout=PATIENCE, isolation_level=None)

    def _create(self) -> None:
        """Create the file, readable by its owner only, as its side files will be."""
        # Never open a file that is there: closing it would drop SQLite's locks in this process, and
        # another process that closes the store then removes the log that this one still writes to.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def _engine(connect: Callable[[], Any], begin: str) -> Iterator[sa.Engine]:
    """The driver begins nothing by itself: it would wait for the first INSERT."""
    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.NullPool, hide_parameters=True
    )
    sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql(begin))
    try:
        yield engine
    finally:
        engine.dispose()


class ServerPlace(Place):
    """A PostgreSQL database; with ``schema`` that schema of it, which is created if need be."""

    def __init__(
        self,
        url: sa.URL,
        schema: str | None = None,
        connect: Callable[[], Any] | None = None,
    ) -> None:
        """``connect``: makes the driver's connections, instead of what the URL says."""
        # One driver is supported; SQLAlchemy's own default is another one.
        self._url, self._schema = url.set(drivername="postgresql+psycopg"), schema
        self._options = {"creator": connect} if connect else {}

    def exists(self) -> bool:
        return True

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            self._url, poolclass=sa.NullPool, hide_parameters=True, **self._options
        )
        try:
            with engine.connect() as connection, connection.begin() as transaction:
                self._enter(connection)
                yield connection
                if transaction.is_active:
                    transaction.rollback()
        finally:
            engine.dispose()

    @contextmanager
    def exclusive(self) -> Iterator[sa.Connection]:
        with self.connected() as connection:
            wait = sa.text("SELECT set_config('lock_timeout', :wait, true)")
            connection.execute(wait, {"wait": f"{PATIENCE:.0f}s"})
            lock = sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
            connection.execute(lock, {"name": f"loki-storage {self._schema or ''}"})
            self._create(connection)
            yield connection
            connection.commit()

    def _enter(self, connection: sa.Connection) -> None:
        """Revisions name no schema; what they make keeps the one that it was made in."""
        connection.execute(sa.text("SELECT set_config('statement_timeout', '0', true)"))
        if self._schema is not None:
            path = connection.dialect.identifier_preparer.quote(self._schema)
            enter = sa.text("SELECT set_config('search_path', :path, true)")
            connection.execute(enter, {"path": path})

    def _create(self, connection: sa.Connection) -> None:
        if self._schema is not None and not sa.inspect(connection).has_schema(self._schema):
            connection.execute(sa.schema.CreateSchema(self._schema))
