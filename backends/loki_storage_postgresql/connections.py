"""Connections to a PostgreSQL server: the driver's, in autocommit mode, with timeouts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import attrs
import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy.pool import Pool

from loki_storage.errors import InvalidValue
from loki_storage.lines import Blocks, Form
from loki_storage_postgresql.values import register_values
from loki_storage_sql.connections import Connection

__all__ = ["PostgresqlConnection", "Sessions", "detached_from"]

SHORT = 100
"""Rows of an answer that is taken as a whole."""
AT_ONCE = 1000
"""How many rows a longer stream asks for at once."""
TOLERANCE = 1.5
"""By how much a session's timeout may be off before it is set anew."""


@attrs.frozen(kw_only=True)
class Sessions:
    """How sessions are opened: where, and with which bounds. Times are in seconds."""

    url: str = attrs.field(repr=False)
    connect: Callable[[], Any] | None = None
    connect_timeout: float = 10.0
    statement_timeout: float = 30.0
    lock_timeout: float = 10.0
    idle_in_transaction_timeout: float = 60.0
    tcp_user_timeout: float = 10.0
    application_name: str = "loki-storage"
    prepare_threshold: int | None = 5
    parameters: Mapping[str, Any] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "parameters", _parameters(self.url))

    def open(self) -> "psycopg.Connection[Any]":
        """A new session, whatever the server, the database or the role have for defaults."""
        opened: psycopg.Connection[Any] = self._opened()
        try:
            opened.autocommit = True
            opened.row_factory = tuple_row
            opened.prepare_threshold = self.prepare_threshold
            register_values(opened)
            if self.connect is not None:
                settings = {**self._settings(), "client_encoding": "UTF8"}
                names, values = zip(*settings.items(), strict=True)
                opened.execute(_SET, [list(names), list(values)])
        except BaseException:
            opened.close()
            raise
        return opened

    def open_plain(self) -> "psycopg.Connection[Any]":
        """A session for SQLAlchemy alone, which begins transactions by itself."""
        opened = self.open()
        opened.autocommit = False
        return opened

    def _opened(self) -> "psycopg.Connection[Any]":
        if self.connect is not None:
            opened: psycopg.Connection[Any] = self.connect()
            return opened
        given = dict(self.parameters)
        ours = " ".join(f"-c {name}={_escaped(v)}" for name, v in self._settings().items())
        given["options"] = f"{ours} {given.get('options', '')}".strip()
        defaults = {
            "connect_timeout": max(2, round(self.connect_timeout)),
            "tcp_user_timeout": round(self.tcp_user_timeout * 1000),
            "application_name": self.application_name,
            "client_encoding": "UTF8",
        }
        return psycopg.connect(**{**defaults, **given})

    def _settings(self) -> dict[str, str]:
        return {
            "timezone": "UTC",
            "datestyle": "ISO",
            "extra_float_digits": "1",
            "standard_conforming_strings": "on",
            "default_transaction_isolation": "read committed",
            "statement_timeout": milliseconds(self.statement_timeout),
            "lock_timeout": milliseconds(self.lock_timeout),
            "idle_in_transaction_session_timeout": milliseconds(self.idle_in_transaction_timeout),
            # What a machine that has vanished leaves behind, locks of turns too, goes in a minute.
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        }


def detached_from(engine: sa.Engine) -> Callable[[], Any]:
    """A function that gives new connections as an engine makes them, with its events and arguments.

    They leave the engine's pool for good; the engine stays its owner's.
    """
    if getattr(engine, "name", None) != "postgresql" or engine.driver != "psycopg":
        raise InvalidValue("engine", "must be SQLAlchemy's, made with postgresql+psycopg://")

    def connect() -> Any:
        pooled = engine.raw_connection()
        opened: Any = pooled.dbapi_connection
        pooled.detach()
        opened.rollback()
        return opened

    return connect


_SET = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"


def milliseconds(seconds: float) -> str:
    """A timeout as the server takes it; 0 would mean none."""
    return str(max(1, round(seconds * 1000)))


def _parameters(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition(":")
    try:
        return conninfo_to_dict(f"{scheme.partition('+')[0]}:{rest}")
    except psycopg.Error:
        text = "must be like postgresql://user:password@host:5432/database"
        raise InvalidValue("url", text) from None


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


class PostgresqlConnection(Connection):
    """One statement is one transaction, unless one was begun."""

    __slots__ = ("_info", "_sessions")

    def __init__(self, pool: Pool, log: Any, sessions: Sessions) -> None:
        pooled = pool.connect()
        super().__init__(pooled, pool, log)
        self._sessions = sessions
        info: dict[Any, Any] = pooled.record_info or {}
        self._info = info
        info.setdefault("used", time.monotonic())
        info.setdefault("bound", sessions.statement_timeout)

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        self.tell(text)
        return psycopg.RawCursor(self.driver).execute(text, parameters or None)

    def executemany(self, text: str, rows: Any) -> int:
        self.tell(text)
        with psycopg.RawCursor(self.driver) as cursor:
            cursor.executemany(text, rows)
            return cursor.rowcount

    def stream(self, text: str, parameters: Sequence[Any]) -> Any:
        """Most answers are short, and one round trip gives them whole; else a cursor begins."""
        cursor = self.execute(f"SELECT * FROM ({text}) AS q LIMIT {SHORT + 1}", parameters)
        return cursor if cursor.rowcount <= SHORT else _Stream(self, text, parameters)

    def blocks(self, cursor: Any, form: Form) -> Blocks:
        """A block for each answer of the server, of the bytes that it sent."""
        if self.driver.info.encoding != "utf-8":
            yield from super().blocks(cursor, form)
            return
        for answer in cursor.answers() if isinstance(cursor, _Stream) else [cursor]:
            result = answer.pgresult
            if result.ntuples:
                lines = [result.get_value(n, 0) for n in range(result.ntuples)]
                yield form.end.encode().join((*lines, b"")), len(lines)

    def fetch_many(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
        if len(statements) < 2 or not self.is_idle:  # see _Stream
            return super().fetch_many(statements)
        with self.driver.pipeline():
            cursors = [self.execute(*statement) for statement in statements]
        return [cursor.fetchall() for cursor in cursors]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Committed at the end, rolled back on any exception."""
        self.execute("BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if not self.driver.closed:
                self.driver.rollback()
            raise

    # What the pool's users ask.

    @property
    def is_idle(self) -> bool:
        """Whether it is open and outside any transaction."""
        return not self.driver.closed and self.driver.info.transaction_status is _IDLE

    @property
    def used(self) -> float:
        """When it was given back last (``time.monotonic``)."""
        used: float = self._info["used"]
        return used

    def note_use(self) -> None:
        """It has just answered."""
        self._info["used"] = time.monotonic()

    def bind(self, left: float | None) -> None:
        """Let the server stop what takes longer than the caller can wait."""
        longest = self._sessions.statement_timeout
        wanted = longest if left is None else min(longest, left)
        bound: float = self._info["bound"]
        if bound / TOLERANCE <= wanted <= bound * TOLERANCE:
            return
        # Waiting for a lock ends first: that error says that the same may succeed later.
        lock = min(self._sessions.lock_timeout, 0.9 * wanted)
        self.execute(_BIND, [milliseconds(wanted), milliseconds(lock)])
        self._info["bound"] = max(wanted, 0.001)


_IDLE = TransactionStatus.IDLE
_BIND = "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false)"
_NAMES = count(1)


class _Stream:
    """The rows of a query through a cursor of the server, some at a time."""

    def __init__(
        self, connection: PostgresqlConnection, text: str, parameters: Sequence[Any]
    ) -> None:
        self._connection, self._name = connection, f"loki_{next(_NAMES)}"
        self._begun = connection.is_idle
        # Not as a pipeline: the server then forgets the transaction's idle timeout (16 to 18).
        if self._begun:
            connection.execute("BEGIN READ ONLY")
        connection.execute(f"DECLARE {self._name} NO SCROLL CURSOR FOR {text}", parameters)
        self._rows = self._fetch()
        self._open = True

    def __iter__(self) -> Iterator[Any]:
        for answer in self.answers():
            yield from answer.fetchall()

    def answers(self) -> Iterator[Any]:
        """The server's answers, each a cursor with some rows."""
        answer = self._rows
        while answer.rowcount:
            yield answer
            if answer.rowcount < AT_ONCE or not self._open:
                return
            answer = self._fetch()

    def close(self) -> None:
        """Nothing the second time, or after the connection broke."""
        connection = self._connection
        if self._open and not connection.driver.closed:
            self._open = False
            in_error = connection.driver.info.transaction_status is TransactionStatus.INERROR
            if self._begun:
                connection.execute("ROLLBACK")
            elif not in_error:
                connection.execute(f"CLOSE {self._name}")

    def _fetch(self) -> Any:
        return self._connection.execute(f"FETCH {AT_ONCE} FROM {self._name}")
