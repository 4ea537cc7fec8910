"""The SQLite backend: ``sqlite:///relative.db``, ``sqlite:////absolute.db``.

``sqlite://`` and ``sqlite:///:memory:`` are a private temporary file, removed on close: one
in-memory connection shared by threads would lose data.
"""

from collections.abc import Callable
from typing import Any, Literal

from loki_storage.hookspecs import hookimpl
from loki_storage.protocol import Backend, BackendSpec

__all__ = ["loki_register_backends", "open_sqlite"]


def open_sqlite(
    url: str,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_timeout: float = 30.0,
    pool_recycle: int = 3600,
    busy_timeout: float = 10.0,
    synchronous: Literal["FULL", "NORMAL", "EXTRA"] = "FULL",
    echo: bool = False,
    connect: Callable[..., Any] | str | None = None,
) -> Backend:
    """The backend of a SQLite file; the file is not touched yet.

    ``pool_timeout``: seconds to wait for a connection; ``busy_timeout``: seconds to wait for other
    writers; ``pool_recycle``: seconds after which a connection is replaced. ``synchronous``:
    "NORMAL" is faster, and may lose the last commits when the power fails. ``echo`` logs
    statements, never their parameters. ``connect``: opens connections instead of
    ``sqlite3.connect``, takes the same arguments, and may come from another driver like it, for
    encrypted files; also as ``"module:function"``. Raises ``InvalidValue`` for a URL that names no
    file.
    """
    # Plugins are imported to be listed, too: SQLAlchemy is loaded only where it is used.
    from loki_storage_sqlite.backend import SqliteBackend

    return SqliteBackend(
        url,
        busy_timeout=busy_timeout,
        synchronous=synchronous,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=pool_timeout,
        pool_recycle=pool_recycle,
        echo=echo,
        connect=connect,
    )


@hookimpl
def loki_register_backends() -> list[BackendSpec]:
    """What this plugin offers."""
    return [
        BackendSpec(
            "sqlite",
            open_sqlite,
            summary="one SQLite file; any number of threads and processes of one machine",
            schemes=("sqlite",),
            creates=True,
        )
    ]
