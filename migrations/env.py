"""Run by every Alembic command, and by the SDK when it migrates: which database, which tables.

The database is ``-x url=...``, else the environment's ``LOKI_STORAGE_URL``, else the default file,
as ``open_storage`` finds it. The SDK hands in a connection, or for a script the dialect's name.
"""

from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, make_url

from loki_storage.configuration import backend_options, load_settings, make_parent, scheme_of
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage_sql.migrations import exclusive, include_name
from loki_storage_sql.places import Place
from loki_storage_sql.tables import schema_for


def main() -> None:
    config = context.config
    if config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        write_script(config.attributes.get("dialect") or make_url(url()).get_backend_name())
    elif "connection" in config.attributes:
        migrate(config.attributes["connection"])
    elif place().exists() or not looked_at_nothing():
        make_parent(url())
        with exclusive(place()) as connection:
            migrate(connection)


def looked_at_nothing() -> bool:
    """Whether the command only looks (``current``, ``check``): then no store is made for it."""
    with create_engine("sqlite://").connect() as nothing:
        context.configure(connection=nothing)
        looks = "destination_rev" not in context.get_context().opts
        if looks:
            context.run_migrations()
    return looks


def url() -> str:
    return load_settings(context.get_x_argument(as_dictionary=True).get("url")).url


def place() -> Place:
    """As the backend finds it by its settings: ``connect`` for SQLite, ``schema`` for PostgreSQL.

    ``-x schema=...`` names another schema.
    """
    schema = context.get_x_argument(as_dictionary=True).get("schema")
    options: dict[str, Any] = {"schema": schema} if schema else {}
    settings = load_settings(url(), **options)
    spec = find_backend(scheme_of(settings.url), plugin_manager())
    backend: Any = spec.open(settings.url, **backend_options(spec, settings))
    backend.close()
    found: Place = backend.place()
    return found


def migrate(connection: Connection) -> None:
    """Inside the caller's transaction, which covers all revisions, tables included."""
    context.configure(connection=connection, **options(connection.dialect.name))
    context.run_migrations()


def write_script(dialect: str) -> None:
    context.configure(dialect_name=dialect, literal_binds=True, **options(dialect))
    with context.begin_transaction():
        context.run_migrations()


def options(dialect: str) -> dict[str, Any]:
    schema = schema_for(dialect)
    return {
        "target_metadata": schema.metadata,
        "include_name": include_name(schema),
        # Alembic thinks that SQLite cannot undo DDL; it can, once the driver does not interfere.
        "transactional_ddl": True,
        # SQLite changes a column by making the table anew.
        "render_as_batch": True,
    }


main()
