"""Schema revisions: which one a store has, and how it gets to another one.

The revisions are Alembic's, in ``migrations/``. Alembic is imported only where something is to be
done; whether a store is up to date is a comparison with ``EXPECTED_REVISION``.

A migration is one transaction, tables included: whatever happens in the middle, the store is as it
was. Others that migrate the same store at the same time wait, and then find nothing left to do.
SQLAlchemy's errors are not translated here; ``error.orig`` is the driver's.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from loki_storage.errors import InvalidValue, SchemaOutdated
from loki_storage_sql.tables import Schema, schema_for

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "EXPECTED_REVISION",
    "check",
    "current",
    "downgrade",
    "exclusive",
    "script",
    "scripts_folder",
    "upgrade",
]

EXPECTED_REVISION = "0002"
"""The revision that this SDK reads and writes: the newest in ``migrations/versions``."""

PATIENCE = 60.0
"""Seconds to wait for others that migrate or write."""

_HERE = Path(__file__).resolve().parent
# Alembic keeps the migration that runs in module variables, so threads take turns.
_ALEMBIC = threading.RLock()

Url = str | sa.URL


def current(url: Url) -> str | None:
    """The store's revision; None where there is no store yet, or one without any tables."""
    if not _exists(url):
        return None
    with _connected(url) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return revision


def upgrade(url: Url, revision: str = "head") -> None:
    """Bring a store up to a revision; a SQLite file that is not there is created (mode 0600)."""
    from alembic import command

    with _ALEMBIC, exclusive(url) as connection:
        command.upgrade(_config(connection=connection), revision)


def downgrade(url: Url, revision: str) -> None:
    """Take a store back to a revision. What the later ones hold is lost: ``base`` drops it all."""
    from alembic import command

    with _ALEMBIC, exclusive(url) as connection:
        command.downgrade(_config(connection=connection), revision)


def script(dialect: str, revision: str = "head") -> str:
    """The SQL that brings an empty store to a revision (``from:to``: that brings it from there)."""
    from alembic import command

    written = StringIO()
    with _ALEMBIC:
        command.upgrade(_config(output_buffer=written, dialect=dialect), revision, sql=True)
    return written.getvalue()


def check(url: Url) -> list[str]:
    """How the tables differ from what this SDK expects; empty: they do not.

    Each difference is the Alembic operation that would remove it. Raises ``SchemaOutdated`` for a
    store of another revision.
    """
    revision = current(url)
    if revision != EXPECTED_REVISION:
        raise SchemaOutdated(revision, EXPECTED_REVISION)
    with _connected(url) as connection:
        schema = schema_for(connection.dialect.name)
        return [*_differences(connection, schema), *_missing_views(connection, schema)]


@contextmanager
def exclusive(url: Url) -> Iterator[sa.Connection]:
    """A connection in one transaction, beside which no other one migrates. Commits at the end."""
    _create(url)
    with _connected(url, begin="BEGIN IMMEDIATE") as connection, connection.begin():
        yield connection


def scripts_folder() -> Path:
    """Where Alembic's files are: beside this module in a wheel, at the root of a checkout."""
    shipped = _HERE / "_migrations"
    return shipped if shipped.is_dir() else _HERE.parents[1] / "migrations"


# --- Connections ----------------------------------------------------------------------------------


@contextmanager
def _connected(url: Url, begin: str = "BEGIN") -> Iterator[sa.Connection]:
    path = _file(url)
    engine = _server_engine(url) if path is None else _file_engine(path, begin)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _server_engine(url: Url) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True)


def _file_engine(path: Path, begin: str) -> sa.Engine:
    """The driver begins nothing by itself: it would wait for the first INSERT."""

    def connect() -> sqlite3.Connection:
        address = f"{path.resolve().as_uri()}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.NullPool, hide_parameters=True
    )
    sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql(begin))
    return engine


def _create(url: Url) -> None:
    """Create the file of a SQLite store, readable by its owner only, as its side files will be."""
    path = _file(url)
    if path is None:
        return
    # Never open a file that is there: closing it would drop SQLite's locks in this process, and
    # another process that closes the store then removes the log that this one still writes to.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _exists(url: Url) -> bool:
    path = _file(url)
    return path is None or path.exists()


def _file(url: Url) -> Path | None:
    """The file of a SQLite store; None for a server."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise InvalidValue("url", "must name a file: sqlite:///relative.db, sqlite:////absolute.db")
    return Path(str(parsed.database))


# --- Alembic --------------------------------------------------------------------------------------


def _config(output_buffer: StringIO | None = None, **attributes: Any) -> "Config":
    """What ``migrations/env.py`` reads; not from a file, so that it works in a wheel too."""
    from alembic.config import Config

    config = Config(output_buffer=output_buffer)
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config


def _differences(connection: sa.Connection, schema: Schema) -> Iterator[str]:
    from alembic.autogenerate import produce_migrations, render_python_code
    from alembic.migration import MigrationContext
    from alembic.operations.ops import UpgradeOps

    found = produce_migrations(MigrationContext.configure(connection), schema.metadata)
    for operation in found.upgrade_ops.ops if found.upgrade_ops else ():
        lines = render_python_code(UpgradeOps([operation])).splitlines()
        yield "\n".join(line for line in lines if "# ###" not in line).strip()


def _missing_views(connection: sa.Connection, schema: Schema) -> list[str]:
    there = set(sa.inspect(connection).get_view_names())
    return [f"the view {name} is missing" for name in sorted(schema.views - there)]
