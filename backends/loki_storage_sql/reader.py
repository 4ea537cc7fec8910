"""The reading half of a relational backend: queries to statements, rows to records.

Where a dialect cannot say a condition exactly (``Statement.exact``), the rows that come back are
judged again by ``matching.py`` inside one snapshot, and the protocol's defaults do the rest.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from itertools import islice
from typing import Any, TypeVar
from weakref import WeakSet

import attrs
import sqlalchemy as sa

from loki_storage.errors import LockTimeout, Unavailable
from loki_storage.lines import Blocks, Form
from loki_storage.matching import matcher
from loki_storage.models import Kind, Record, domain_of
from loki_storage.protocol import Count, Day, Group, Measure, Reader, check_aggregate
from loki_storage.query import Compare, InQuery, Query
from loki_storage_sql.codecs import record_decoder, row_decoder
from loki_storage_sql.compiler import Compiler, Statement, text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.packing import PACKED
from loki_storage_sql.shapes import Matching, Shaper
from loki_storage_sql.tables import schema_for

__all__ = ["Language", "Snapshot", "SqlReader", "language_for"]

R = TypeVar("R", bound=Record)


class Language:
    """Queries to statements and rows to values, for one dialect. Thread-safe."""

    def __init__(self, dialect: Dialect, packed: bool | None = None) -> None:
        """``packed``: see ``Scope``."""
        self.dialect = dialect
        self.compiler = Compiler(dialect, schema_for(dialect.name).tables, packed)
        self._by_id: dict[Kind, Statement] = {}
        self._decoders: dict[Kind, Callable[[Any], Any]] = {}

    def select(
        self, query: Query, fields: tuple[str, ...] | None = None
    ) -> tuple[Statement, list[Any]]:
        """The statement for these fields of a query (all), and the values for its slots."""
        shaper = Shaper(self.dialect)
        matching, window = shaper.matching(query), shaper.window(query)
        return self.compiler.select(matching, window, fields), shaper.values

    def by_id(self, kind: Kind, tenant: str, id: int) -> tuple[Statement, list[Any]]:
        """What ``select`` gives for a tenant's row of this id, without the query."""
        number = kind.domains["id"].operand("id", id)
        values = [kind.domains["tenant_id"].accept("tenant", tenant), number]
        statement = self._by_id.get(kind)
        if statement is None:
            query = Query(kind, tenant, Compare("id", "eq", id))
            statement = self._by_id[kind] = self.select(query)[0]
        return statement, values

    def lines(
        self, query: Query, fields: tuple[str, ...], form: Form
    ) -> tuple[Statement, list[Any]] | None:
        """The statement for lines of these fields; None where Python writes them."""
        shaper = Shaper(self.dialect)
        matching, window = shaper.matching(query), shaper.window(query)
        statement = self.compiler.lines(matching, window, fields, form)
        return None if statement is None else (statement, shaper.values)

    def matching(self, query: Query) -> tuple[Matching, list[Any]]:
        """Which rows match, whatever limit, offset and cursor say, and the values for its slots."""
        shaper = Shaper(self.dialect)
        return shaper.matching(query), shaper.values

    def decoder(self, kind: Kind) -> Callable[[Any], Any]:
        """What turns a row of all fields into a record."""
        decode = self._decoders.get(kind)
        if decode is None:
            decode = self._decoders[kind] = record_decoder(kind, self.dialect)
        return decode


@cache
def language_for(dialect: Dialect, packed: bool | None = None) -> Language:
    """The dialect's language: what one store has compiled serves all others of the process."""
    return Language(dialect, packed)


@cache
def _packed_texts(dialect: Dialect, of_tenant: bool) -> tuple[str, list[str]]:
    """A SELECT that tells whether any text is packed; its parameters are all the tenant."""
    assert dialect.packing is not None
    found: list[sa.ColumnElement[bool]] = []
    for kind, fields in PACKED.items():
        table = schema_for(dialect.name).tables[kind]
        packed = [dialect.packing.packed(table, field).is_not(None) for field in fields]
        rows: sa.Select[Any] = (
            sa.select(sa.literal_column("1")).select_from(table).where(sa.or_(*packed))
        )
        ours = rows.where(table.c.tenant_id == sa.bindparam("tenant")) if of_tenant else rows
        found.append(ours.exists())
    return text_of(sa.select(sa.or_(*found)), dialect)


class Connected:
    """A connection while it is needed, and the edge where the driver's errors become ours."""

    __slots__ = ("_connection", "_reader")

    def __init__(self, reader: "SqlReader") -> None:
        self._reader = reader

    def __enter__(self) -> Connection:
        self._connection = self._reader._acquire()
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reader, connection = self._reader, self._connection
        dialect = reader._language.dialect
        if not isinstance(error, dialect.driver_errors):
            reader._release(connection)
            return
        meaning = reader._translated(error)
        if dialect.is_conflict(error) or isinstance(meaning, LockTimeout):
            reader._release(connection)
        else:
            reader._give_up(connection)
        raise meaning from error


class SqlReader(Reader):
    """Reads through connections that the subclass hands out."""

    _language: Language

    @abstractmethod
    def _acquire(self) -> Connection:
        """A connection to read with; ``Unavailable`` once this reader is closed."""

    @abstractmethod
    def _release(self, connection: Connection) -> None:
        """The connection is not needed any more."""

    def _execute(self, connection: Connection, statement: Statement, values: Sequence[Any]) -> Any:
        return connection.execute(statement.text, statement.parameters(values))

    def _open(self, connection: Connection, statement: Statement, values: Sequence[Any]) -> Any:
        """Rows to iterate over, and to close."""
        return connection.stream(statement.text, statement.parameters(values))

    def _connected(self) -> "Connected":
        return Connected(self)

    def _translated(self, error: Exception) -> Exception:
        return self._language.dialect.translate(error)

    @abstractmethod
    def _check_open(self) -> None:
        """``Unavailable`` once this reader is closed."""

    @abstractmethod
    def _give_up(self, connection: Connection) -> None:
        """The same after an error: it may be broken, or read-only until it is opened anew."""

    @abstractmethod
    def _view(self, tenant: str | None) -> AbstractContextManager["Snapshot"]:
        """One consistent view over several reads."""

    def select(self, query: Query) -> Iterator[Any]:
        self._check_open()
        statement, values = self._language.select(query)
        if statement.if_plain:
            return self._informed_rows(query, lambda view: view.select(query))
        if statement.exact:
            return self._stream(statement, values, self._language.decoder(query.kind))
        return self._judged(query, statement, values)

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        wanted = tuple(dict.fromkeys(ids))
        if len(wanted) != 1 or tenant is None:
            return super().get_many(kind, wanted, tenant)
        # By far the most frequent read: its shape is known, so no query is made.
        statement, values = self._language.by_id(kind, tenant, wanted[0])
        decode = self._language.decoder(kind)
        records = map(decode, self._fetch(statement, values))
        return {record.id: record for record in records}

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        selected = [self._language.select(query) for query in queries]
        if not all(statement.exact and not statement.if_plain for statement, _ in selected):
            return super().select_many(queries)
        with self._connected() as connection:
            found = self._fetch_many(connection, selected)
        decoders = [self._language.decoder(query.kind) for query in queries]
        return [list(map(decode, rows)) for decode, rows in zip(decoders, found, strict=True)]

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        self._check_open()
        for field in fields:
            domain_of(query.kind, field)
        statement, values = self._language.select(query, tuple(fields))
        if statement.if_plain:
            return self._informed_rows(query, lambda view: view.rows(query, fields))
        if not statement.exact:
            return super().rows(query, fields)
        decode = row_decoder(query.kind, self._language.dialect, fields)
        return self._stream(statement, values, decode)

    def lines(self, query: Query, fields: Sequence[str], form: Form) -> Blocks:
        self._check_open()
        for field in fields:
            domain_of(query.kind, field)
        asked = self._language.lines(query, tuple(fields), form)
        if asked is None:
            return super().lines(query, fields, form)
        if asked[0].if_plain:
            return self._informed_rows(query, lambda view: view.lines(query, fields, form))
        return self._read(*asked, lambda connection, cursor: connection.blocks(cursor, form))

    def count(self, query: Query) -> int:
        matching, values = self._language.matching(query)
        statement = self._language.compiler.count(matching)
        if statement.if_plain:
            with self._informed(query) as view:
                return view.count(query)
        if not statement.exact:
            return super().count(query)
        return int(self._fetch(statement, values)[0][0])

    def exists(self, query: Query) -> bool:
        matching, values = self._language.matching(query)
        statement = self._language.compiler.exists(matching)
        if statement.if_plain:
            with self._informed(query) as view:
                return view.exists(query)
        if not statement.exact:
            return super().exists(query)
        return bool(self._fetch(statement, values)[0][0])

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        check_aggregate(query.kind, by, measures)
        matching, values = self._language.matching(query)
        compiled = self._language.compiler.aggregate(matching, tuple(by), tuple(measures))
        if compiled.statement.if_plain:
            with self._informed(query) as view:
                return view.aggregate(query, by, measures)
        if not compiled.statement.exact:
            return super().aggregate(query, by, measures)
        rows = self._fetch(compiled.statement, values)
        return [compiled.aggregation.group(row) for row in rows]

    def explain(self, query: Query) -> str:
        """In words, then the statement and the database's plan; where it is inexact, that too."""
        statement, values = self._language.select(query)
        asked = attrs.evolve(statement, text=f"{self._language.dialect.explain} {statement.text}")
        plan = [str(row[-1]) for row in self._fetch(asked, values)]
        judged = [] if statement.exact else ["rows are judged again in Python"]
        text = " ".join(statement.text.split())
        return "\n".join([super().explain(query), text, *judged, *plan])

    @contextmanager
    def _informed(self, query: Query) -> "Iterator[Snapshot]":
        """A view in which it is known whether the database must test packed texts."""
        with self._view(query.tenant) as view:
            yield view.knowing(query.tenant)

    def _informed_rows(
        self, query: Query, read: Callable[["Snapshot"], Iterator[Any]]
    ) -> Iterator[Any]:
        with self._informed(query) as view:
            yield from read(view)

    def _fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        with self._connected() as connection:
            found: list[Any] = self._execute(connection, statement, values).fetchall()
            return found

    def _fetch_many(
        self, connection: Connection, selected: Sequence[tuple[Statement, Sequence[Any]]]
    ) -> list[list[Any]]:
        return connection.fetch_many(
            [(statement.text, statement.parameters(values)) for statement, values in selected]
        )

    def _stream(
        self, statement: Statement, values: Sequence[Any], decode: Callable[[Any], Any]
    ) -> Iterator[Any]:
        """Row by row, so that memory is that of one row. The first ``next()`` takes the moment."""
        return self._read(statement, values, lambda connection, cursor: map(decode, cursor))

    def _read(
        self,
        statement: Statement,
        values: Sequence[Any],
        read: Callable[[Connection, Any], Iterator[Any]],
    ) -> Iterator[Any]:
        with self._connected() as connection:
            cursor = self._open(connection, statement, values)
            try:
                yield from read(connection, cursor)
            finally:
                # Where its connection was closed before it, it is as good as closed.
                with suppress(*self._language.dialect.driver_errors):
                    cursor.close()

    def _judged(self, query: Query, statement: Statement, values: Sequence[Any]) -> Iterator[Any]:
        with self._view(query.tenant) as view:
            matches = matcher(query, view._members)
            rows = view._stream(statement, values, self._language.decoder(query.kind))
            stop = None if query.limit is None else query.offset + query.limit
            yield from islice(filter(matches, rows), query.offset, stop)

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = self.select(condition.query)
        pairs = ((record.tenant_id, record.stored(condition.its_field)) for record in found)
        return {(tenant, value) for tenant, value in pairs if value is not None}


class Snapshot(SqlReader):
    """Reads of one transaction, on one connection, until it is closed."""

    def __init__(self, language: Language, connection: Connection) -> None:
        self._language = language
        self._connection: Connection | None = connection
        self._cursors: WeakSet[Any] = WeakSet()

    def close(self) -> None:
        """Also close what still streams: an open cursor would keep the transaction's view."""
        self._connection = None
        for cursor in list(self._cursors):
            cursor.close()

    def _acquire(self) -> Connection:
        if self._connection is None:
            raise Unavailable("this snapshot has ended; take another one")
        return self._connection

    def _release(self, connection: Connection) -> None:
        """The connection is kept until the snapshot ends."""

    def _give_up(self, connection: Connection) -> None:
        """It is the snapshot's owner who decides; a late stream may not even have it any more."""

    def _check_open(self) -> None:
        self._acquire()

    def _open(self, connection: Connection, statement: Statement, values: Sequence[Any]) -> Any:
        cursor = super()._open(connection, statement, values)
        self._cursors.add(cursor)
        return cursor

    def _view(self, tenant: str | None) -> AbstractContextManager["Snapshot"]:
        return nullcontext(self)

    def knowing(self, tenant: str | None) -> "Snapshot":
        """This view with a language that knows whether a text is packed; a tenant's, if named."""
        dialect, connection = self._language.dialect, self._acquire()
        text, names = _packed_texts(dialect, tenant is not None)
        (packed,) = connection.execute(text, [tenant for _ in names]).fetchone()
        view = Snapshot(language_for(dialect, bool(packed)), connection)
        view._cursors = self._cursors
        return view
