"""The ``loki-storage`` command: its commands, those of plugins, and the one edge for errors."""

import logging
import sys
import traceback
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from loki_storage.cli.audit import audit_commands
from loki_storage.cli.backends import backends_command
from loki_storage.cli.backup import backup_commands
from loki_storage.cli.config import config_commands
from loki_storage.cli.contract import contract_commands
from loki_storage.cli.corrections import corrections_commands
from loki_storage.cli.demo import demo_command
from loki_storage.cli.doctor import doctor_command
from loki_storage.cli.documents import documents_commands
from loki_storage.cli.export import export_command, exports_commands
from loki_storage.cli.extensions import plugin_commands
from loki_storage.cli.ingest import ingest_command
from loki_storage.cli.invocation import Failure
from loki_storage.cli.maintenance import maintenance_commands
from loki_storage.cli.migrate import migrate_commands
from loki_storage.cli.new_backend import new_backend_command
from loki_storage.cli.retention import retention_commands
from loki_storage.cli.status import status_command
from loki_storage.cli.tags import tags_commands
from loki_storage.cli.validations import validations_commands
from loki_storage.errors import StorageError

__all__ = ["application", "run"]

LOGGER = logging.getLogger("loki_storage")
INTERRUPTED = 130


class _Application(click.Group):
    """Translates errors at one edge, and finds commands of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *sorted(plugin_commands().keys() - self.commands.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Ours first; plugins are asked only for a name that is not ours."""
        return self.commands.get(cmd_name) or plugin_commands().get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StorageError as error:
            _tell_where(error)
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(
    "loki-storage", cls=_Application, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(
    package_name="loki-storage", prog_name="loki-storage", message="%(prog)s %(version)s"
)
def application() -> None:
    """Storage for what a compliance interceptor sees and decides.

    The store is named by --url, LOKI_STORAGE_URL or loki-storage.toml; otherwise it is the SQLite
    file data/loki.db.
    """


for _command in (
    demo_command,
    ingest_command,
    status_command,
    doctor_command,
    documents_commands,
    validations_commands,
    corrections_commands,
    audit_commands,
    tags_commands,
    export_command,
    exports_commands,
    backup_commands,
    retention_commands,
    maintenance_commands,
    backends_command,
    config_commands,
    migrate_commands,
    contract_commands,
    new_backend_command,
):
    application.add_command(_command)


def run() -> NoReturn:
    """The process's command, and its exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks
    application()
    raise AssertionError("click exits")


def _tell_where(error: BaseException) -> None:
    """Types and places of an error and its causes, for ``--verbose``: no messages, no values."""
    LOGGER.debug("%s", type(error).__name__)
    for frame in traceback.extract_tb(error.__traceback__):
        LOGGER.debug("  %s:%s in %s", frame.filename, frame.lineno, frame.name)
    cause = error.__cause__ or error.__context__
    if cause is not None:
        _tell_where(cause)
