"""``PostgresqlBackend``: how to connect, how a batch is written, and whose fault a failure is."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from hashlib import blake2b
from typing import Any

import attrs
import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import Pool

from loki_storage.batch import Batch, check
from loki_storage.deadline import pauses, time_left
from loki_storage.errors import (
    BrokenReference,
    Conflict,
    ConnectionLost,
    Duplicate,
    Forbidden,
    LockTimeout,
    StorageDamaged,
    StorageError,
    Unavailable,
)
from loki_storage.models import Kind, ValidationResult
from loki_storage.protocol import Check
from loki_storage_postgresql.checks import check_server
from loki_storage_postgresql.connections import PostgresqlConnection, Sessions
from loki_storage_postgresql.dialect import PostgresqlDialect, dialect_for
from loki_storage_postgresql.errors import is_race
from loki_storage_postgresql.writer import WorkWriter
from loki_storage_sql.backend import Lookup, SqlBackend
from loki_storage_sql.connections import Connection
from loki_storage_sql.packing import packable, packed_columns, unpack
from loki_storage_sql.places import ServerPlace
from loki_storage_sql.pool import DeadlinePool, Shelf
from loki_storage_sql.row_writer import Rejected
from loki_storage_sql.tables import schema_for

__all__ = ["PostgresqlBackend", "Sessions"]

TRUSTED = 5.0
"""Seconds for which a connection that has answered is taken for alive."""
MOST_DEAD = 50
"""Connections that are found dead one after the other before we give up."""
MOST_WAITING = 100
"""Connections that wait for turns, where the pool has no end."""
PATIENCE = 10.0
"""Seconds to try again after a lost race, where the caller names no deadline."""


class PostgresqlBackend(SqlBackend):
    """A database of a server. A batch is one statement; a stream has a connection of its own."""

    _dialect: PostgresqlDialect
    _writer: WorkWriter

    def __init__(self, sessions: Sessions, *, schema: str | None, **options: Any) -> None:
        self._sessions, self._distrusted = sessions, 0.0
        super().__init__(dialect_for(schema), **options)

    def prepare(self, *, create: bool) -> None:
        """See ``Backend``. Also ``Forbidden`` where row-level security would hide rows."""
        super().prepare(create=create)
        with self._connected() as connection:
            self._check_visible(connection)

    def _check_visible(self, connection: Connection) -> None:
        if self._is_secured(connection):
            raise Forbidden(
                "row-level security hides rows from this role: open with row_level_security=True"
            )

    def _is_secured(self, connection: Connection) -> bool:
        (active,) = connection.execute(_SECURED, [self._dialect.qualified("documents")]).fetchone()
        return bool(active)

    def apply(self, batch: Batch) -> None:
        """See ``Backend``. What failed for no fault of the batch's is tried again."""
        left = time_left()
        deadline = time.monotonic() + (PATIENCE if left is None else left)
        for pause in pauses():
            try:
                self._apply(batch)
                return
            except Rejected as rejected:
                self._writer.forget()
                self._judge(batch, rejected)
                self._unpack(batch)
                if time.monotonic() + pause > deadline:
                    raise StorageDamaged(
                        "the database refuses a batch that breaks no rule; its schema is not this "
                        "SDK's: run `loki-storage migrate check`"
                    ) from rejected
            except LockTimeout as error:
                if not _was_race(error) or time.monotonic() + pause > deadline:
                    raise
            except StorageError:
                self._writer.forget()
                raise
            time.sleep(pause)

    def _apply(self, batch: Batch) -> None:
        with self._connected() as connection:
            assert isinstance(connection, PostgresqlConnection)
            work = self._writer.plan(connection, batch)
            if work.is_one_statement:
                self._writer.write(connection, work)
                return
            with connection.transaction():
                self._writer.write(connection, work)

    def _unpack(self, batch: Batch) -> None:
        """Make plain the texts that guards are about: SQL cannot compare them else."""
        for operation in batch.singles:
            table = operation.kind.table
            for field in (f for f in operation.guard if packable(table, f)):
                (beside,) = packed_columns(table, [field])
                row = f"tenant_id = $1 AND id = $2 AND {beside} IS NOT NULL"
                name, ours = self._dialect.qualified(table), [batch.tenant, operation.id]
                with self._connected() as connection:
                    text = f"SELECT {beside} FROM {name} WHERE {row}"
                    for (packed,) in connection.execute(text, ours).fetchall():
                        text = f"UPDATE {name} SET {field} = $3, {beside} = NULL WHERE {row}"
                        connection.execute(
                            f"{text} AND {beside} = $4", [*ours, unpack(packed), packed]
                        )

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        """See ``Backend``: an advisory lock, first come, first served, between processes too.

        Inside, the thread uses the connection that has the lock: nobody who has a turn waits for
        one of those who wait for theirs.
        """
        key = [_lock_key(self._dialect.qualified(kind.table), id, tenant)]
        connection = None if _THREAD.turn else self._queued(key)
        if connection is None:
            yield
            return
        turn = _THREAD.turn = _Turn(connection)
        try:
            yield
        finally:
            _THREAD.turn = None
            self._end(turn, key)

    def _end(self, turn: "_Turn", key: list[int]) -> None:
        """Give the lock back: with its session, where that cannot do it or has lost it anyway."""
        connection = turn.connection
        try:
            connection.execute("SELECT pg_advisory_unlock($1)", key)
        except psycopg.Error:
            connection.driver.close()
        except BaseException:
            connection.driver.close()
            raise
        finally:
            if turn.free:  # else a stream that goes on has it
                self._release(connection)

    def _queued(self, key: list[int]) -> PostgresqlConnection | None:
        """A connection with the lock; None where it cannot be had, then guards must do."""
        if self._sessions.prepare_threshold is None:  # a pooler may give each statement another one
            return None
        left = time_left()
        if not self._room.acquire(timeout=PATIENCE if left is None else left):
            return None
        try:
            return self._locked(key)
        finally:
            self._room.release()

    def _locked(self, key: list[int]) -> PostgresqlConnection | None:
        try:
            connection = self._acquire()
        except Unavailable:
            return None
        assert isinstance(connection, PostgresqlConnection)
        try:
            connection.execute("SELECT pg_advisory_lock($1)", key)
        except psycopg.Error:
            connection.discard()  # whether it has got the lock at the last moment is not known
            return None
        except BaseException:
            connection.discard()
            raise
        return connection

    def _judge(self, batch: Batch, rejected: Rejected) -> None:
        """Raise what the law says of a batch that was rejected a moment ago (BAT-4)."""
        if not isinstance(rejected, _Unnamed):
            batch = Batch(batch.tenant, batch.guarded)
        with self.snapshot(batch.tenant) as view:
            check(Lookup(view, batch.tenant), batch)

    # How to connect.

    def database_version(self) -> str:
        """The server's version."""
        with self._connected() as connection:
            ((version,),) = connection.execute("SHOW server_version").fetchall()
        return f"PostgreSQL {version.partition(' ')[0]}"

    def _create_engine(self, **options: Any) -> sa.Engine:
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._sessions.open,
            poolclass=DeadlinePool,
            pool_use_lifo=True,
            hide_parameters=True,
            **options,
        )
        # Sessions are in autocommit mode; who uses the engine directly gets transactions too.
        sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
        return engine

    def _new_shelf(self, engine: sa.Engine) -> Shelf:
        # Of those who wait for a turn some wait here: he who has it may need another connection.
        most = self._options["pool_size"] + self._options["max_overflow"]
        most = most if self._options["max_overflow"] >= 0 else MOST_WAITING
        self._room = threading.Semaphore(max(1, (most - 1) // 2))
        return super()._new_shelf(engine)

    def _create_writer(self) -> WorkWriter:
        return WorkWriter(self._dialect, self.schema)

    def _connection(self, pool: Pool) -> PostgresqlConnection:
        return self._new_connection(pool, self._engine.logger, self._sessions)

    def _new_connection(self, *args: Any) -> PostgresqlConnection:
        return PostgresqlConnection(*args)

    def _acquire(self) -> Connection:
        """A connection that answers: one that was idle, or that others like it failed, is asked."""
        turn = _THREAD.turn
        if turn is not None and turn.serves(self._shelf.pool) and self._answers(turn.connection):
            turn.free = False
            return turn.connection
        for _ in range(MOST_DEAD):
            connection = super()._acquire()
            assert isinstance(connection, PostgresqlConnection)
            if self._answers(connection):
                return connection
            connection.discard()
        raise ConnectionLost("the server ends every connection; try again")

    def _answers(self, connection: PostgresqlConnection) -> bool:
        try:
            if connection.used < max(time.monotonic() - TRUSTED, self._distrusted):
                connection.execute("SELECT 1")
                connection.note_use()
            connection.bind(time_left())
        except psycopg.Error:
            return False
        except BaseException:
            connection.discard()
            raise
        return True

    def _release(self, connection: Connection) -> None:
        assert isinstance(connection, PostgresqlConnection)
        idle, turn = connection.is_idle, _THREAD.turn
        if idle:
            connection.note_use()
        if turn is not None and connection is turn.connection:
            turn.free = True
        elif idle:
            super()._release(connection)
        else:
            connection.discard()

    def _give_up(self, connection: Connection) -> None:
        """After an error: most of them leave the connection as it was."""
        assert isinstance(connection, PostgresqlConnection)
        if not connection.is_idle and connection.driver.closed:
            self._distrusted = time.monotonic()
        self._release(connection)

    def _checks(self, connection: Connection, *, deep: bool) -> Iterable[Check]:
        return () if deep else check_server(connection, self.schema, self._dialect.schema)

    def _place(self) -> ServerPlace:
        url = sa.make_url("postgresql+psycopg://")
        return ServerPlace(url, self._dialect.schema, self._sessions.open_plain)

    def _relations(self, connection: Connection) -> set[str]:
        """Of what is there, what has a name of ours: others may use the same schema."""
        rows = connection.execute(_RELATIONS, [self._dialect.schema])
        ours = self.schema.names | {"alembic_version"}
        return {name for (name,) in rows if name in ours}

    # How to begin and end.

    def _begin(self, connection: Connection) -> None:
        connection.execute("BEGIN")

    def _begin_view(self, connection: Connection) -> None:
        # The first statement takes the moment.
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")

    def _defer_references(self, connection: Connection) -> None:
        """A statement's references are checked at its end."""

    def _write(self, connection: Connection, batch: Batch) -> None:
        assert isinstance(connection, PostgresqlConnection)
        self._writer.write(connection, self._writer.plan(connection, batch))

    def _see_all(self, connection: Connection) -> None:
        # Not "see all in spite of the policies": a read that they would narrow is an error.
        connection.execute("SET LOCAL row_security = off")

    def _exclude_writers(self, connection: Connection) -> None:
        preparer = self._dialect.sqlalchemy.identifier_preparer
        names = ", ".join(map(preparer.format_table, self.schema.metadata.sorted_tables))
        connection.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def _statement(self) -> AbstractContextManager[Connection]:
        return self._connected()

    # Whose fault it is.

    def _translated(self, error: Exception) -> Exception:
        if not self._dialect.is_conflict(error):
            return self._dialect.translate(error)
        assert isinstance(error, psycopg.Error)
        name = error.diag.constraint_name
        if name is None:  # a distributed database does not tell
            return _Unnamed()
        told = _constraints().get(name)
        return Rejected() if told is None else told()


@attrs.define
class _Turn:
    """A connection with an advisory lock, for the thread that waited for it."""

    connection: PostgresqlConnection
    free: bool = True

    def serves(self, pool: Pool) -> bool:
        return self.free and self.connection.pool is pool and self.connection.is_idle


class _Thread(threading.local):
    """What this thread has; a context would be copied, and outlive the turn."""

    turn: _Turn | None = None


_THREAD = _Thread()


def _lock_key(table: str, id: int, tenant: str) -> int:
    """A name as the server takes it; two that come out equal only wait for each other."""
    name = f"{table} {id} {tenant}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


class _Unnamed(Rejected):
    """A key or a reference does not hold, and the database does not say which."""


@cache
def _constraints() -> Mapping[str, Callable[[], Conflict]]:
    """What it means that a constraint is broken, by its name."""
    schema = schema_for("postgresql")
    kinds = {table.name: kind.table for kind, table in schema.tables.items()}
    kinds[schema.gate_results.name] = ValidationResult.table
    found: dict[str, Callable[[], Conflict]] = {}
    for table in schema.metadata.tables.values():
        if table.name in kinds:
            found.update(_meanings(table, kinds[table.name]))
    del found["fk_gate_results_finding_id"]  # our own affair: it was removed just now
    return found


def _meanings(table: sa.Table, kind: str) -> Iterator[tuple[str, Callable[[], Conflict]]]:
    for constraint in table.constraints:
        fields = tuple(c.name for c in getattr(constraint, "columns", ()) if c.name != "tenant_id")
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            yield str(constraint.name), partial(Duplicate, kind, fields)
        elif isinstance(constraint, sa.ForeignKeyConstraint):
            yield str(constraint.name), partial(BrokenReference, kind, fields[0])
    for index in table.indexes:
        fields = tuple(column.name for column in index.columns if column.name != "tenant_id")
        if index.unique:
            yield str(index.name), partial(Duplicate, kind, fields)


_SECURED = "SELECT row_security_active($1::text)"
_RELATIONS = """\
SELECT c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = coalesce($1::text, current_schema()) AND c.relkind IN ('r', 'p', 'v')"""


def _was_race(error: StorageError) -> bool:
    cause = error.__cause__
    return isinstance(cause, Exception) and is_race(cause)
