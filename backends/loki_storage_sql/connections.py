"""A pooled driver connection as this package uses it: text in, rows out, the text logged."""

import logging
import time
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy.pool import Pool, PoolProxiedConnection

from loki_storage.lines import Blocks, Form, joined

__all__ = ["Connection"]


class Connection:
    """Checked out of its pool until ``release``. For one thread at a time."""

    __slots__ = ("_log", "_pooled", "driver", "pool", "since")

    def __init__(self, pooled: PoolProxiedConnection, pool: Pool, log: Any) -> None:
        self._pooled, self.pool, self._log = pooled, pool, log
        self.driver: Any = pooled.dbapi_connection
        self.since = time.monotonic()

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        """The driver's cursor after this statement. Parameters are never logged."""
        self.tell(text)
        return self.driver.execute(text, parameters)

    def executemany(self, text: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement once per row; how many rows of the table that met."""
        self.tell(text)
        cursor = self.driver.cursor()
        try:
            cursor.executemany(text, rows)
            met: int = cursor.rowcount
            return met
        finally:
            cursor.close()

    def stream(self, text: str, parameters: Sequence[Any]) -> Any:
        """Rows one by one, to be closed; memory does not grow with their number."""
        return self.execute(text, parameters)

    def blocks(self, cursor: Any, form: Form) -> Blocks:
        """Blocks of the lines that are the only column of a stream's rows."""
        return joined(form, map(itemgetter(0), cursor))

    def fetch_many(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
        """All rows of each statement, in one round trip where the driver can."""
        return [self.execute(*statement).fetchall() for statement in statements]

    def tell(self, text: str) -> None:
        """Log a statement's text, as SQLAlchemy does."""
        if self._log.isEnabledFor(logging.INFO):
            self._log.info(text)

    @property
    def is_valid(self) -> bool:
        """Whether it is still open, as far as we know."""
        return self._pooled.is_valid

    def release(self) -> None:
        """Give it back to the pool."""
        self._pooled.close()

    def discard(self) -> None:
        """Close it for good; nothing the second time."""
        if self._pooled.is_valid:
            self._pooled.invalidate()
