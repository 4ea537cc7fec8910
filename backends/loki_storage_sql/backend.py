"""``SqlBackend``: the protocol on a relational database. A plugin adds dialect and connections."""

import os
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from math import inf
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import Pool

from loki_storage.batch import Batch, check
from loki_storage.errors import (
    IllegalTransition,
    InvalidField,
    InvalidValue,
    PoolExhausted,
    SchemaOutdated,
    StorageDamaged,
    Unavailable,
)
from loki_storage.models import Kind, Record
from loki_storage.protocol import NOT_EMPTY, Backend, Check, Reader, is_empty
from loki_storage.query import Compare, Query, equals
from loki_storage.rows import Rows
from loki_storage_sql.compacting import packed, parts, saved_bytes, texts_of
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.migrations import EXPECTED_REVISION, downgrade, upgrade
from loki_storage_sql.places import Place
from loki_storage_sql.pool import Shelf
from loki_storage_sql.reader import Snapshot, SqlReader, language_for
from loki_storage_sql.restoring import delete_all, insert_all, raise_leases
from loki_storage_sql.row_writer import ID, Rejected
from loki_storage_sql.soundness import check_findings
from loki_storage_sql.tables import schema_for
from loki_storage_sql.writer import Plan, Writer, disturbs_references, plan

__all__ = ["Lookup", "SqlBackend"]


class SqlBackend(SqlReader, Backend):
    """Reads and writes through the pool of a SQLAlchemy engine. Thread-safe and fork-safe."""

    def __init__(self, dialect: Dialect, **options: Any) -> None:
        """``options`` are those of ``engine``."""
        self.schema = schema_for(dialect.name)
        self._dialect, self._language = dialect, language_for(dialect)
        self._writer: Any = self._create_writer()
        self._closed = False
        self._use(options)
        _OPEN.add(self)

    # What a plugin adds.

    @abstractmethod
    def _create_engine(self, **options: Any) -> sa.Engine:
        """A new engine with a pool of its own."""

    @abstractmethod
    def _begin(self, connection: Connection) -> None:
        """Begin a transaction that writes."""

    @abstractmethod
    def _defer_references(self, connection: Connection) -> None:
        """Have references checked at the end of this transaction, if they are not anyway."""

    @abstractmethod
    def _begin_view(self, connection: Connection) -> None:
        """Begin a transaction that reads one moment, which is now."""

    @abstractmethod
    def _relations(self, connection: Connection) -> set[str]:
        """The names of all tables and views where the store's are."""

    @abstractmethod
    def _place(self) -> Place:
        """Where the migrations find the store."""

    def _checks(self, connection: Connection, *, deep: bool) -> Iterable[Check]:
        """What this database can tell of its own soundness (``Backend.checks``)."""
        return ()

    def _create_writer(self) -> Any:
        """What writes batches, and can ``forget`` what it knows of the store."""
        return Writer(self._dialect, self.schema)

    def _write(self, connection: Connection, batch: Batch) -> None:
        """Write a batch within a transaction that is open already."""
        self._writer.write(connection, batch.tenant, plan(batch))

    def _see_all(self, connection: Connection) -> None:
        """Have reads fail in this transaction where the database would hide rows (TEN-2)."""

    def _exclude_writers(self, connection: Connection) -> None:
        """Let others read, but not write, until this transaction ends, unless that is so anyway."""

    def _commit(self, connection: Connection) -> None:
        connection.tell("COMMIT")
        connection.driver.commit()

    def _connection(self, pool: Pool) -> Connection:
        """A connection of the pool."""
        return Connection(pool.connect(), pool, self._engine.logger)

    # The protocol.

    def apply(self, batch: Batch) -> None:
        groups = plan(batch)
        try:
            with self._transaction() as connection:
                if disturbs_references(groups):
                    self._defer_references(connection)
                self._writer.write(connection, batch.tenant, groups)
        except Rejected:
            self._settle(batch, groups)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        self._check_open()
        if not counts:
            return {}
        text, names = _reserve_text(self._dialect, len(counts))
        values: dict[str, Any] = {}
        # In one order everywhere: two that lease the same kinds then wait instead of deadlocking.
        ordered = sorted(counts.items(), key=lambda lease: lease[0].table)
        for n, (kind, count) in enumerate(ordered):
            values[f"kind_{n}"], values[f"next_{n}"] = kind.table, count + 1
        with self._statement() as connection:
            rows = connection.execute(text, [values[name] for name in names]).fetchall()
        ends = dict(rows)
        return {
            kind: range(ends[kind.table] - count, ends[kind.table])
            for kind, count in counts.items()
        }

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._shelf.clear()
            self._engine.dispose()

    def prepare(self, *, create: bool) -> None:
        """See ``Backend``. Alembic is imported only where something is to be done (MIG-1)."""
        with self._connected() as connection:
            relations = self._relations(connection)
            found = self._revision(connection) if _STAMP in relations else None
        if found is None:
            self._prepare_empty(relations - {_STAMP}, create)
        elif found != EXPECTED_REVISION:
            raise SchemaOutdated(found, EXPECTED_REVISION)
        elif not relations >= self.schema.names:
            raise StorageDamaged(
                "the store is stamped as up to date, but tables are missing; "
                "`alembic stamp base && alembic upgrade head` lays out an empty store"
            )

    def place(self) -> Place:
        """Where ``loki_storage_sql.migrations`` finds the store, with its errors as ours."""
        return self._place().told_by(self._dialect.translate)

    def migrate(self, revision: str = "head") -> tuple[str | None, str | None]:
        """Up to a revision, or down: ``base``, or ``-1`` for one step. Down loses what it drops."""
        self._check_open()
        down = revision == "base" or revision.startswith("-")
        try:
            return (downgrade if down else upgrade)(self.place(), revision)
        except self._dialect.driver_errors as error:
            raise self._translated(error) from error

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        """See ``Backend``: one transaction, so that a crash at any moment leaves what was there."""
        try:
            with self._transaction() as connection:
                self._defer_references(connection)
                self._exclude_writers(connection)
                self._see_all(connection)
                view = Snapshot(self._language, connection)
                if allow is not None:
                    allow(view)
                if replace:
                    delete_all(connection, self._dialect, self.schema)
                elif not is_empty(view):
                    raise IllegalTransition(NOT_EMPTY)
                self._writer.forget()
                highest = insert_all(partial(self._write, connection), rows)
                raise_leases(connection, self._dialect, self.schema, highest)
                check(view)
                view.close()
        except Rejected as rejected:
            raise InvalidValue("rows", "break a unique key or a reference") from rejected

    def compact(self, kind: Kind, ids: Iterable[int], tenant: str) -> int | None:
        """See ``Backend``: a part at a time, so that writers wait for one part at most."""
        if self._dialect.packing is None:
            return None
        ids, saved = [*ids], 0
        for texts in texts_of(self._dialect, kind.table):
            for part in parts(self._of_ids(texts.sizes, tenant, ids)):
                rows = packed(texts, tenant, self._of_ids(texts.plain, tenant, part))
                with self._transaction() as connection:
                    connection.executemany(texts.pack[0], rows)
            saved += saved_bytes(self._of_ids(texts.packed, tenant, ids))
        return saved

    def compactable(self, kind: Kind, ids: Iterable[int], tenant: str) -> set[int]:
        """See ``Backend``."""
        if self._dialect.packing is None:
            return set()
        ids, texts = [*ids], texts_of(self._dialect, kind.table)
        return {id for each in texts for id, _ in self._of_ids(each.sizes, tenant, ids)}

    def schema_revision(self) -> str:
        return EXPECTED_REVISION

    def stats(self) -> dict[str, int | None]:
        self._check_open()
        pool: Any = self._engine.pool
        return {
            "pool_size": pool.size(),
            "checked_in": pool.checkedin() + len(self._shelf),
            "checked_out": max(0, pool.checkedout() - len(self._shelf)),
            "overflow": max(0, pool.overflow()),
        }

    def checks(self, *, deep: bool) -> list[Check]:
        """See ``Backend``."""
        with self._connected() as connection:
            found = list(self._checks(connection, deep=deep))
            return [*found, check_findings(connection, self._dialect)] if deep else found

    def engine(self, **options: Any) -> sa.Engine:
        """SQLAlchemy's engine; a new one for new work where the options differ from before."""
        self._check_open()
        for name in options:
            if name not in self._options:
                raise InvalidField(name, "is not an option of the engine", self._options)
        changed = {**self._options, **options}
        if changed != self._options:
            engine, shelf = self._engine, self._shelf
            self._use(changed)
            shelf.clear()
            engine.dispose()
        return self._engine

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Snapshot]:
        with self._connected() as connection:
            self._begin_view(connection)
            if tenant is None:
                self._see_all(connection)
            view = Snapshot(self._language, connection)
            try:
                yield view
            finally:
                view.close()
                self._roll_back(connection)

    # Inside.

    def _of_ids(self, text: tuple[str, list[str]], tenant: str, ids: Sequence[int]) -> list[Any]:
        """The rows of a statement about a tenant's rows of these ids."""
        values = {"tenant": tenant, "ids": self._dialect.list_encoder(ID)(ids)}
        with self._connected() as connection:
            found: list[Any] = connection.execute(text[0], [values[n] for n in text[1]]).fetchall()
            return found

    def _use(self, options: Mapping[str, Any]) -> None:
        self._options, self._engine = options, self._create_engine(**options)
        self._shelf = self._new_shelf(self._engine)

    def _new_shelf(self, engine: sa.Engine) -> Shelf:
        pool: Any = engine.pool
        size, overflow = self._options["pool_size"], self._options["max_overflow"]
        # One is always left to who uses the engine itself.
        room = size if overflow < 0 else min(size, size + overflow - 1)
        recycle = self._options["pool_recycle"]
        seconds = inf if recycle < 0 else recycle
        return Shelf(pool, lambda: self._connection(pool), room, seconds)

    def _prepare_empty(self, others: set[str], create: bool) -> None:
        if others:
            raise StorageDamaged(
                "the database holds tables of something else and no loki-storage store; "
                "choose an empty one"
            )
        if not create:
            raise SchemaOutdated(None, EXPECTED_REVISION)
        self.migrate()

    def _revision(self, connection: Connection) -> str | None:
        stamp = self._dialect.qualified(_STAMP)
        row = connection.execute(f"SELECT version_num FROM {stamp}").fetchone()
        return None if row is None else str(row[0])

    def _settle(self, batch: Batch, groups: Plan) -> None:
        """Say what the database has rejected; if that has gone away, apply once more.

        ``batch.check`` is the law (BAT-4), and it judges under the lock of this transaction.
        """
        try:
            with self._transaction() as connection:
                self._defer_references(connection)
                check(Lookup(Snapshot(self._language, connection), batch.tenant), batch)
                self._writer.write(connection, batch.tenant, groups)
        except Rejected as rejected:
            raise StorageDamaged(
                "the database refuses a batch that breaks no rule; its schema is not this SDK's: "
                "run `loki-storage migrate check`"
            ) from rejected

    def _statement(self) -> AbstractContextManager[Connection]:
        """A connection on which one statement that writes is a transaction."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back on any exception."""
        with self._connected() as connection:
            self._begin(connection)
            try:
                yield connection
                self._commit(connection)
            except BaseException:
                self._roll_back(connection)
                self._writer.forget()
                raise

    def _roll_back(self, connection: Connection) -> None:
        connection.tell("ROLLBACK")
        try:
            connection.driver.rollback()
        except self._dialect.driver_errors:
            connection.discard()  # what it was doing is undone with it

    def _translated(self, error: Exception) -> Exception:
        return Rejected() if self._dialect.is_conflict(error) else super()._translated(error)

    def _acquire(self) -> Connection:
        self._check_open()
        try:
            return self._shelf.take()
        except sa.exc.TimeoutError as error:
            raise PoolExhausted(
                "all connections are in use; close sessions and streams, or raise pool_size"
            ) from error
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error) from error

    def _release(self, connection: Connection) -> None:
        if connection.pool is not self._shelf.pool or not connection.is_valid:
            connection.discard()
            return
        self._shelf.put(connection)
        if self._closed:
            self._shelf.clear()

    def _give_up(self, connection: Connection) -> None:
        connection.discard()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("this storage is closed; open it again with open_storage")

    def _view(self, tenant: str | None) -> AbstractContextManager[Snapshot]:
        return self.snapshot(tenant)

    def _leave_parent(self) -> None:
        """In a forked child: the parent's connections are never used and never closed here."""
        _INHERITED.append((self._engine.pool, self._shelf))
        self._engine.dispose(close=False)
        self._shelf = self._new_shelf(self._engine)


@cache
def _reserve_text(dialect: Dialect, kinds: int) -> tuple[str, list[str]]:
    """One statement that leases ids of so many kinds, and its parameters' names in its order."""
    leases = schema_for(dialect.name).id_leases
    rows: list[dict[str, Any]] = [
        {"kind": sa.bindparam(f"kind_{n}"), "next_id": sa.bindparam(f"next_{n}")}
        for n in range(kinds)
    ]
    insert = dialect.insert(leases).values(rows)
    # A new row begins at 1, so what is inserted is one more than what is added.
    added = insert.excluded.next_id - sa.literal_column("1")
    upsert = insert.on_conflict_do_update(
        index_elements=["kind"], set_={"next_id": leases.c.next_id + added}
    )
    return text_of(upsert.returning(leases.c.kind, leases.c.next_id), dialect)


_STAMP = "alembic_version"


class Lookup:
    """What ``batch.check`` asks, answered inside the transaction."""

    def __init__(self, view: SqlReader, tenant: str) -> None:
        self._view, self._tenant = view, tenant

    def get(self, kind: Kind, id: int) -> Record | None:
        found = self._view.select(Query(kind, self._tenant, Compare("id", "eq", id)))
        return next(iter(list(found)), None)

    def taken(self, kind: Kind, id: int) -> bool:
        return self._view.exists(Query(kind, None, Compare("id", "eq", id)))

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterable[Record]:
        return list(self._view.select(Query(kind, self._tenant, equals(**fields))))


_OPEN: weakref.WeakSet[SqlBackend] = weakref.WeakSet()
_INHERITED: list[object] = []


def _after_fork() -> None:
    for backend in list(_OPEN):
        backend._leave_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
