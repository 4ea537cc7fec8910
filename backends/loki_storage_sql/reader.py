"""The reading half of a relational backend: queries to statements, rows to records.

Where a dialect cannot say a condition exactly (``Statement.exact``), the rows that come back are
judged again by ``matching.py`` inside one snapshot, and the protocol's defaults do the rest.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from loki_storage.errors import Unavailable
from loki_storage.matching import matcher
from loki_storage.models import Kind, domain_of
from loki_storage.protocol import Count, Day, Group, Measure, Reader, check_aggregate
from loki_storage.query import InQuery, Query
from loki_storage_sql.codecs import record_decoder, row_decoder
from loki_storage_sql.compiler import Compiler, Statement
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.shapes import Matching, Shaper
from loki_storage_sql.tables import Schema

__all__ = ["Language", "Snapshot", "SqlReader"]

CACHED_DECODERS = 256


class Language:
    """Queries to statements and rows to values, for one dialect. Thread-safe."""

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        self.dialect = dialect
        self.compiler = Compiler(dialect, schema.tables)
        self.record_decoder = cache(self._record_decoder)
        self.row_decoder = lru_cache(CACHED_DECODERS)(self._row_decoder)

    def select(
        self, query: Query, fields: tuple[str, ...] | None = None
    ) -> tuple[Statement, list[Any]]:
        """The statement for these fields of a query (all), and the values for its slots."""
        shaper = Shaper(self.dialect)
        matching, window = shaper.matching(query), shaper.window(query)
        return self.compiler.select(matching, window, fields), shaper.values

    def matching(self, query: Query) -> tuple[Matching, list[Any]]:
        """Which rows match, whatever limit, offset and cursor say, and the values for its slots."""
        shaper = Shaper(self.dialect)
        return shaper.matching(query), shaper.values

    def _record_decoder(self, kind: Kind) -> Callable[[Any], Any]:
        return record_decoder(kind, self.dialect)

    def _row_decoder(self, kind: Kind, fields: tuple[str, ...]) -> Callable[[Any], Any]:
        return row_decoder(kind, self.dialect, fields)


class SqlReader(Reader):
    """Reads through connections that the subclass hands out."""

    _language: Language

    @abstractmethod
    def _acquire(self) -> Connection:
        """A connection to read with; ``Unavailable`` once this reader is closed."""

    @abstractmethod
    def _release(self, connection: Connection) -> None:
        """The connection is not needed any more."""

    @abstractmethod
    def _check_open(self) -> None:
        """``Unavailable`` once this reader is closed."""

    @abstractmethod
    def _view(self, tenant: str | None) -> AbstractContextManager["SqlReader"]:
        """One consistent view over several reads."""

    def select(self, query: Query) -> Iterator[Any]:
        self._check_open()
        statement, values = self._language.select(query)
        if statement.exact:
            return self._stream(statement, values, self._language.record_decoder(query.kind))
        return self._judged(query, statement, values)

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        self._check_open()
        for field in fields:
            domain_of(query.kind, field)
        statement, values = self._language.select(query, tuple(fields))
        if not statement.exact:
            return super().rows(query, fields)
        return self._stream(
            statement, values, self._language.row_decoder(query.kind, tuple(fields))
        )

    def count(self, query: Query) -> int:
        matching, values = self._language.matching(query)
        statement = self._language.compiler.count(matching)
        if not statement.exact:
            return super().count(query)
        return int(self._fetch(statement, values)[0][0])

    def exists(self, query: Query) -> bool:
        matching, values = self._language.matching(query)
        statement = self._language.compiler.exists(matching)
        if not statement.exact:
            return super().exists(query)
        return bool(self._fetch(statement, values)[0][0])

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        check_aggregate(query.kind, by, measures)
        matching, values = self._language.matching(query)
        compiled = self._language.compiler.aggregate(matching, tuple(by), tuple(measures))
        if not compiled.statement.exact:
            return super().aggregate(query, by, measures)
        rows = self._fetch(compiled.statement, values)
        return [compiled.aggregation.group(row) for row in rows]

    def _fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        connection = self._acquire()
        try:
            cursor = connection.execute(statement.text, statement.parameters(values))
            found: list[Any] = cursor.fetchall()
            return found
        except self._language.dialect.driver_errors as error:
            raise self._language.dialect.translate(error) from error
        finally:
            self._release(connection)

    def _stream(
        self, statement: Statement, values: Sequence[Any], decode: Callable[[Any], Any]
    ) -> Iterator[Any]:
        """Row by row, so that memory is that of one row. The first ``next()`` takes the moment."""
        connection = self._acquire()
        try:
            cursor = connection.execute(statement.text, statement.parameters(values))
            try:
                yield from map(decode, cursor)
            finally:
                cursor.close()
        except self._language.dialect.driver_errors as error:
            raise self._language.dialect.translate(error) from error
        finally:
            self._release(connection)

    def _judged(
        self, query: Query, statement: Statement, values: Sequence[Any]
    ) -> Iterator[Any]:
        with self._view(query.tenant) as view:
            matches = matcher(query, view._members)
            rows = view._stream(statement, values, self._language.record_decoder(query.kind))
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

    def close(self) -> None:
        self._connection = None

    def _acquire(self) -> Connection:
        if self._connection is None:
            raise Unavailable("this snapshot has ended; take another one")
        return self._connection

    def _release(self, connection: Connection) -> None:
        """The connection is kept until the snapshot ends."""

    def _check_open(self) -> None:
        self._acquire()

    def _view(self, tenant: str | None) -> AbstractContextManager[SqlReader]:
        return nullcontext(self)
