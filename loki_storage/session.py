"""The default storage of a process: ``get_session``, ``get_engine``, ``DatabaseHealth``."""

import logging
from threading import Lock
from typing import Any

from loki_storage.errors import StorageError
from loki_storage.health import table_counts
from loki_storage.storage import Session, Storage, open_storage
from loki_storage.values import Boolean, Integer

__all__ = [
    "DatabaseHealth",
    "Session",
    "close_default",
    "default_storage",
    "get_engine",
    "get_session",
]

LOGGER = logging.getLogger("loki_storage")
_lock = Lock()
_default: Storage | None = None


def default_storage() -> Storage:
    """The storage of the settings (environment, else ``sqlite:///data/loki.db``), opened once."""
    global _default
    with _lock:
        if _default is None:
            _default = open_storage()
        return _default


def close_default() -> None:
    """Close the default storage; the next use opens it again."""
    global _default
    with _lock:
        storage, _default = _default, None
    if storage is not None:
        storage.close()


def get_session(**options: Any) -> Session:
    """A session of the default storage; the arguments are those of ``Storage.session``."""
    return default_storage().session(**options)


def get_engine(
    pool_size: int | None = None,
    max_overflow: int | None = None,
    pool_recycle: int | None = None,
    echo: bool | None = None,
) -> Any:
    """The default storage's SQLAlchemy engine.

    What is not given stays as it is; a store is opened with a ``pool_size`` of 5, a
    ``max_overflow`` of 10, a ``pool_recycle`` of 3600 seconds, without ``echo``. Where what is
    given differs, new sessions get a new engine; open ones keep theirs. ``Unsupported`` on a
    backend without an engine, ``InvalidValue`` for a number that a pool cannot have.
    """
    given = {
        "pool_size": _count("pool_size", pool_size, 1),
        "max_overflow": _count("max_overflow", max_overflow, -1),
        "pool_recycle": _count("pool_recycle", pool_recycle, -1),
        "echo": None if echo is None else Boolean().accept("echo", echo),
    }
    options = {name: value for name, value in given.items() if value is not None}
    return default_storage().backend.engine(**options)


class DatabaseHealth:
    """Is the default store there, and what is in it."""

    @staticmethod
    def check_connection() -> bool:
        """Whether the store answers; why it does not is told in the log.

        Leaves no trace: no row, no id, no audit entry.
        """
        try:
            default_storage().backend.ping()
        except StorageError as error:
            LOGGER.warning("the default storage does not answer: %s", error)
            return False
        return True

    @staticmethod
    def get_stats() -> dict[str, str | int | None]:
        """The backend's name and its pool's figures; None where there is no pool."""
        storage = default_storage()
        return {"backend": storage.name, **storage.backend.stats()}

    @staticmethod
    def get_table_counts() -> dict[str, int]:
        """Rows per table, all tenants, soft-deleted ones included; counts every row."""
        return table_counts(default_storage().backend)


def _count(name: str, value: int | None, least: int) -> object:
    return None if value is None else Integer(least, 1_000_000).accept(name, value)
