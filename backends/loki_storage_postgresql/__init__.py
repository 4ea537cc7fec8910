"""The PostgreSQL backend: ``postgresql://user:password@host:5432/database``, through psycopg 3."""

from collections.abc import Callable
from typing import Any

from loki_storage.errors import InvalidValue, PluginError
from loki_storage.hookspecs import hookimpl
from loki_storage.protocol import Backend, BackendSpec

__all__ = ["loki_register_backends", "open_postgresql"]


def open_postgresql(
    url: str,
    *,
    schema: str | None = None,
    row_level_security: bool = False,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_timeout: float = 30.0,
    pool_recycle: int = 3600,
    connect_timeout: float = 10.0,
    statement_timeout: float = 30.0,
    lock_timeout: float = 10.0,
    idle_in_transaction_timeout: float = 60.0,
    tcp_user_timeout: float = 10.0,
    application_name: str = "loki-storage",
    prepare_threshold: int | None = 5,
    connect: Callable[[], Any] | None = None,
    engine: Any = None,
    echo: bool = False,
) -> Backend:
    """The backend of a PostgreSQL database; nothing is connected to yet.

    ``schema``: where the tables are; by default where the role's ``search_path`` leads.
    ``row_level_security``: every transaction says for which tenant it is, and policies show it no
    other tenant's rows; reads across tenants are then ``Forbidden``.
    ``pool_timeout``: seconds to wait for a connection; ``pool_recycle``: seconds after which one is
    replaced. Seconds that the server may take, whatever its own settings: ``connect_timeout``,
    ``statement_timeout``, ``lock_timeout`` (for rows that others write),
    ``idle_in_transaction_timeout`` (a slow reader of a stream or snapshot), ``tcp_user_timeout``
    (for a network that swallows packets). What the URL says of these wins, and it takes libpq's
    other parameters too (``?sslmode=verify-full``). ``prepare_threshold``: executions after which a
    statement is prepared; None: never, for poolers that cannot. ``connect``: gives psycopg
    connections instead of the URL, for tokens that expire. ``engine``: SQLAlchemy's, with psycopg,
    that makes the connections instead; it is not closed with the store. ``echo`` logs statements,
    never their parameters. Raises ``InvalidValue`` for a URL that is none or an engine of another
    driver, ``PluginError`` without psycopg.
    """
    # Plugins are imported to be listed, too: SQLAlchemy and the driver only where they are used.
    try:
        from loki_storage_postgresql.backend import PostgresqlBackend, Sessions
        from loki_storage_postgresql.connections import detached_from
        from loki_storage_postgresql.security import SecuredBackend
    except ImportError as error:
        if error.name and error.name.partition(".")[0] not in ("psycopg", "psycopg_c"):
            raise
        raise PluginError(
            'the PostgreSQL backend needs psycopg: pip install "loki-storage[postgresql]"'
        ) from error
    if engine is not None:
        if connect is not None:
            raise InvalidValue("engine", "cannot be given together with connect")
        connect = detached_from(engine)
    sessions = Sessions(
        url=url,
        connect=connect,
        connect_timeout=connect_timeout,
        statement_timeout=statement_timeout,
        lock_timeout=lock_timeout,
        idle_in_transaction_timeout=idle_in_transaction_timeout,
        tcp_user_timeout=tcp_user_timeout,
        application_name=application_name,
        prepare_threshold=prepare_threshold,
    )
    return (SecuredBackend if row_level_security else PostgresqlBackend)(
        sessions,
        schema=schema,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=pool_timeout,
        pool_recycle=pool_recycle,
        echo=echo,
    )


@hookimpl
def loki_register_backends() -> list[BackendSpec]:
    """What this plugin offers."""
    return [
        BackendSpec(
            "postgresql",
            open_postgresql,
            summary="a PostgreSQL database, for any number of machines",
            schemes=("postgresql",),
        )
    ]
