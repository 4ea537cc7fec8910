"""Schema revisions: which one a store has, and how it gets to another one.

The revisions are Alembic's, in ``migrations/``. Alembic is imported only where something is to be
done; whether a store is up to date is a comparison with ``EXPECTED_REVISION``.

A migration is one transaction, tables included: whatever happens in the middle, the store is as it
was. Others that migrate the same store at the same time wait, and then find nothing left to do.
Errors of Alembic, SQLAlchemy and the driver are translated here (ERR).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from loki_storage.errors import InvalidValue, SchemaOutdated, Unavailable
from loki_storage_sql.places import Place, Where, place_of
from loki_storage_sql.tables import Schema, schema_for

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "EXPECTED_REVISION",
    "check",
    "current",
    "downgrade",
    "exclusive",
    "include_name",
    "script",
    "scripts_folder",
    "upgrade",
]

EXPECTED_REVISION = "0004"
"""The revision that this SDK reads and writes: the newest in ``migrations/versions``."""

Moved = tuple[str | None, str | None]
"""The revision before and after a migration; None: no store."""
_HERE = Path(__file__).resolve().parent
# Alembic keeps the migration that runs in module variables, so threads take turns.
_ALEMBIC = threading.RLock()


def current(where: Where) -> str | None:
    """The store's revision; None where there is no store yet, or one without any tables."""
    place = place_of(where)
    if not place.exists():
        return None
    with _translating(place), place.connected() as connection:
        return _revision_of(connection)


def upgrade(where: Where, revision: str = "head") -> Moved:
    """Bring a store up to a revision; a SQLite file that is not there is created (mode 0600).

    The revision before, and the one now. Raises ``InvalidValue`` for a revision that there is not,
    ``SchemaOutdated`` where the store's own is one of another SDK.
    """
    from alembic import command

    return _move(where, command.upgrade, revision)


def downgrade(where: Where, revision: str) -> Moved:
    """Take a store back to a revision. What the later ones hold is lost: ``base`` drops it all.

    Raises as ``upgrade`` does.
    """
    from alembic import command

    return _move(where, command.downgrade, revision)


def script(dialect: str, revision: str = "head") -> str:
    """The SQL that brings an empty store to a revision (``from:to``: that brings it from there)."""
    from alembic import command
    from alembic.util import CommandError

    written = StringIO()
    try:
        with _ALEMBIC:
            command.upgrade(_config(output_buffer=written, dialect=dialect), revision, sql=True)
    except CommandError as error:
        raise _no_revision() from error
    return written.getvalue()


def check(where: Where) -> list[str]:
    """How the tables differ from what this SDK expects; empty: they do not.

    Each difference is the Alembic operation that would remove it. Raises ``SchemaOutdated`` for a
    store of another revision.
    """
    revision = current(where)
    if revision != EXPECTED_REVISION:
        raise SchemaOutdated(revision, EXPECTED_REVISION)
    place = place_of(where)
    with _translating(place), place.connected() as connection:
        schema = schema_for(connection.dialect.name)
        return [*_differences(connection, schema), *_missing_views(connection, schema)]


@contextmanager
def exclusive(where: Where) -> Iterator[sa.Connection]:
    """A connection in one transaction, beside which no other one migrates. Commits at the end."""
    with place_of(where).exclusive() as connection:
        yield connection


def include_name(schema: Schema) -> Callable[[str | None, str, Any], bool]:
    """Alembic's filter of what to compare: on a server, other tables may stand beside ours."""

    def ours(name: str | None, type_: str, parents: Any) -> bool:
        return type_ != "table" or not schema.layout.shares or name in schema.names

    return ours


def scripts_folder() -> Path:
    """Where Alembic's files are: beside this module in a wheel, at the root of a checkout."""
    shipped = _HERE / "_migrations"
    return shipped if shipped.is_dir() else _HERE.parents[1] / "migrations"


@contextmanager
def _translating(place: Place) -> Iterator[None]:
    """The edge where the driver's errors, and SQLAlchemy's about them, become ours."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise place.translate(error.orig or error) from error
    except OSError as error:
        raise Unavailable(
            "the database file cannot be created; check its path, its folder and their permissions"
        ) from error


# --- Alembic --------------------------------------------------------------------------------------


def _move(where: Where, command: Callable[["Config", str], None], revision: str) -> Moved:
    from alembic.util import CommandError

    place = place_of(where)
    try:
        with _ALEMBIC, _translating(place), exclusive(place) as connection:
            before = _revision_of(connection)
            command(_config(connection=connection), revision)
            return before, _revision_of(connection)
    except CommandError as error:
        found = current(place)
        if found is not None and found not in _revisions():
            raise SchemaOutdated(found, EXPECTED_REVISION) from error
        raise _no_revision() from error


def _revision_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def _no_revision() -> InvalidValue:
    known = ", ".join(sorted(_revisions()))
    return InvalidValue("revision", f"must be head, base, or one of {known}, or steps like -1")


def _revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    folder = ScriptDirectory.from_config(_config())
    return {found.revision for found in folder.walk_revisions()}


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

    options = {"include_name": include_name(schema)}
    context = MigrationContext.configure(connection, opts=options)
    found = produce_migrations(context, schema.metadata)
    for operation in found.upgrade_ops.ops if found.upgrade_ops else ():
        lines = render_python_code(UpgradeOps([operation])).splitlines()
        yield "\n".join(line for line in lines if "# ###" not in line).strip()


def _missing_views(connection: sa.Connection, schema: Schema) -> list[str]:
    there = set(sa.inspect(connection).get_view_names())
    return [f"the view {name} is missing" for name in sorted(schema.views - there)]
