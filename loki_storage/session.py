"""The default storage of a process: ``get_session``, ``get_engine``, ``DatabaseHealth``."""

from threading import Lock
from typing import Any

from loki_storage.errors import StorageError
from loki_storage.models import KINDS
from loki_storage.query import Query
from loki_storage.storage import Session, Storage, open_storage

__all__ = [
    "DatabaseHealth",
    "Session",
    "close_default",
    "default_storage",
    "get_engine",
    "get_session",
]

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


def get_engine(**options: Any) -> Any:
    """The default storage's SQLAlchemy engine.

    ``pool_size``, ``max_overflow``, ``pool_recycle`` (seconds) and ``echo``, where given and other
    than before, make a new one for new sessions; open ones keep theirs. ``Unsupported`` on a
    backend without an engine.
    """
    return default_storage().backend.engine(**options)


class DatabaseHealth:
    """Is the default store there, and what is in it."""

    @staticmethod
    def check_connection() -> bool:
        """Whether the store answers."""
        try:
            default_storage().backend.ping()
        except StorageError:
            return False
        return True

    @staticmethod
    def get_stats() -> dict[str, str | int | None]:
        """The backend's name and its pool's figures; None where there is no pool."""
        storage = default_storage()
        return {"backend": storage.name, **storage.backend.stats()}

    @staticmethod
    def get_table_counts() -> dict[str, int]:
        """Rows per table, all tenants, soft-deleted ones included."""
        backend = default_storage().backend
        public = [kind for kind in KINDS.values() if not kind.internal]
        return {kind.table: backend.count(Query(kind, None)) for kind in public}
