"""Run by every Alembic command, and by the SDK when it migrates: which database, which tables.

The database is ``-x url=...``, else the environment's ``LOKI_STORAGE_URL``, else the default file,
as ``open_storage`` finds it. The SDK hands in a connection, or for a script the dialect's name.
"""

from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import Connection, make_url

from loki_storage.configuration import load_settings, make_parent
from loki_storage_sql.migrations import exclusive
from loki_storage_sql.tables import schema_for


def main() -> None:
    config = context.config
    if config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        write_script(config.attributes.get("dialect") or make_url(url()).get_backend_name())
    elif "connection" in config.attributes:
        migrate(config.attributes["connection"])
    else:
        make_parent(url())
        with exclusive(url()) as connection:
            migrate(connection)


def url() -> str:
    return load_settings(context.get_x_argument(as_dictionary=True).get("url")).url


def migrate(connection: Connection) -> None:
    """Inside the caller's transaction, which covers all revisions, tables included."""
    context.configure(connection=connection, **options(connection.dialect.name))
    context.run_migrations()


def write_script(dialect: str) -> None:
    context.configure(dialect_name=dialect, literal_binds=True, **options(dialect))
    with context.begin_transaction():
        context.run_migrations()


def options(dialect: str) -> dict[str, Any]:
    return {
        "target_metadata": schema_for(dialect).metadata,
        # Alembic thinks that SQLite cannot undo DDL; it can, once the driver does not interfere.
        "transactional_ddl": True,
        # SQLite changes a column by making the table anew.
        "render_as_batch": True,
    }


main()
