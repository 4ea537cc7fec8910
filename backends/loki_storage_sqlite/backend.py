"""``SqliteBackend``: which file, how to connect to it, how to begin, who removes it."""

import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import Pool

from loki_storage.errors import (
    InvalidField,
    InvalidValue,
    LockTimeout,
    SchemaOutdated,
    StorageDamaged,
    Unavailable,
    Unsupported,
)
from loki_storage.protocol import Check
from loki_storage_sql.backend import SqlBackend
from loki_storage_sql.connections import Connection
from loki_storage_sql.migrations import EXPECTED_REVISION
from loki_storage_sql.places import FilePlace
from loki_storage_sql.pool import DeadlinePool
from loki_storage_sqlite.checks import check_content, check_file, check_settings
from loki_storage_sqlite.connections import Connect, SqliteConnection, connect, factory, patiently
from loki_storage_sqlite.dialect import SQLITE

__all__ = ["SqliteBackend"]

_SYNCHRONOUS = ("FULL", "EXTRA", "NORMAL")


class SqliteBackend(SqlBackend):
    """A file in WAL mode; a connection per stream or transaction; one writer at a time."""

    def __init__(
        self,
        url: str,
        *,
        busy_timeout: float,
        synchronous: str,
        connect: Connect | str | None = None,
        **options: Any,
    ) -> None:
        if synchronous not in _SYNCHRONOUS:
            raise InvalidValue("synchronous", f"must be one of {', '.join(_SYNCHRONOUS)}")
        self._path, self._remove = _file(url, self)
        self._busy_timeout, self._synchronous = busy_timeout, synchronous
        self._driver_connect = factory(connect)
        super().__init__(SQLITE, **options)

    def prepare(self, *, create: bool) -> None:
        """See ``Backend``. A new file and its side files are readable by their owner only."""
        self._check_open()
        if create:
            _create(self._path)
        elif not os.path.exists(self._path):
            raise SchemaOutdated(None, EXPECTED_REVISION)
        super().prepare(create=create)
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode=WAL").close()

    def migrate(self, revision: str = "head") -> tuple[str | None, str | None]:
        """See ``SqlBackend``."""
        self._check_open()
        _create(self._path)
        return super().migrate(revision)

    def checks(self, *, deep: bool) -> list[Check]:
        """See ``Backend``. Of a file that is not there, nothing."""
        self._check_open()
        return super().checks(deep=deep) if os.path.exists(self._path) else []

    def copy_file(self, path: str) -> None:
        """See ``Backend``: by SQLite's online backup, in one step, so that it is of one moment."""
        if self._driver_connect is not sqlite3.connect:
            raise Unsupported(
                "a file that the host's own connect= opens may be encrypted, and a copy would "
                "not be; back up its rows, without native"
            )
        with self._connected() as connection, closing(sqlite3.connect(path)) as copy:
            copy.executescript("PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF")  # nobody's yet
            # One step holds a read transaction: in several, each write of others starts it anew.
            connection.driver.backup(copy)
            # The copy is a file by itself: without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE").close()

    def close(self) -> None:
        super().close()
        self._remove()

    def tidy(self) -> None:
        """Empty the log: freed pages of the file are overwritten already (``secure_delete``).

        ``LockTimeout`` where somebody reads or writes for longer than the busy timeout: what the
        log holds is then left for the next time.
        """
        with self._connected() as connection:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LockTimeout("another process uses the store: its log was not emptied")

    def _create_engine(self, **options: Any) -> sa.Engine:
        engine = sa.create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=DeadlinePool,
            pool_use_lifo=True,
            hide_parameters=True,
            **options,
        )
        # The driver begins nothing by itself; who uses the engine directly gets transactions too.
        sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
        return engine

    def _checks(self, connection: Connection, *, deep: bool) -> Iterator[Check]:
        if deep:
            yield from check_content(connection)
        else:
            yield from check_settings(connection)
            yield from check_file(self._path)

    def database_version(self) -> str:
        """The version of the SQLite that connections are made with."""
        with self._connected() as connection:
            return f"SQLite {connection.execute('SELECT sqlite_version()').fetchone()[0]}"

    def _commit(self, connection: Connection) -> None:
        connection.tell("COMMIT")
        patiently(connection.driver.commit, self._busy_timeout)

    def _connection(self, pool: Pool) -> SqliteConnection:
        return SqliteConnection(pool, self._engine.logger, self._busy_timeout)

    def _connect(self) -> Any:
        return connect(self._path, self._synchronous, self._busy_timeout, self._driver_connect)

    def _place(self) -> FilePlace:
        return FilePlace(sa.URL.create("sqlite", database=self._path), self._driver_connect)

    def _relations(self, connection: Connection) -> set[str]:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        return {name for (name,) in rows if not name.startswith("sqlite_")}

    def _begin(self, connection: Connection) -> None:
        # Deferred transactions that read before they write lose to others' commits.
        connection.execute("BEGIN IMMEDIATE")

    def _defer_references(self, connection: Connection) -> None:
        # Not always: a new parent then costs a search for children that wait for it.
        connection.execute("PRAGMA defer_foreign_keys=ON")

    def _begin_view(self, connection: Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()  # takes the moment


def _file(url: str, owner: object) -> tuple[str, Callable[[], object]]:
    """The path that a URL names, and what removes it on close (nothing, unless it is temporary)."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InvalidValue("url", "must be like sqlite:///file.db") from None
    if parsed.query:
        raise InvalidField(next(iter(parsed.query)), "is an option of open_storage, not of the URL")
    if parsed.host or parsed.username:
        raise InvalidValue("url", "has three slashes before a relative path, four before /")
    if parsed.database in (None, "", ":memory:"):
        return _temporary_file(owner)
    return os.path.abspath(str(parsed.database)), lambda: None


def _temporary_file(owner: object) -> tuple[str, Callable[[], object]]:
    """A file in a folder of its own, gone with its owner; a forked child leaves it alone."""
    folder = tempfile.mkdtemp(prefix="loki-storage-")  # mode 0700
    return os.path.join(folder, "loki.db"), weakref.finalize(owner, _remove, folder, os.getpid())


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _create(path: str) -> None:
    """Create an empty file if there is none. SQLite gives its side files the same mode."""
    left = [f"{path}{end}" for end in ("-wal", "-journal") if os.path.exists(f"{path}{end}")]
    if left and not os.path.exists(path):
        raise StorageDamaged(
            f"{left[0]} belongs to a database file that is gone, and would be taken for a part of "
            "the new one; move it away, or bring the file back"
        )
    try:
        # Never open a file that is there: closing it would drop SQLite's locks in this process.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(
            "the database file cannot be created; check its path, its folder and their permissions"
        ) from error
