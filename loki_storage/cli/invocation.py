"""What every command is given: which store, which tenant, tables or JSON."""

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import attrs
import click

from loki_storage.configuration import load_settings, safe_url
from loki_storage.errors import SchemaOutdated
from loki_storage.models import DEFAULT_TENANT
from loki_storage.storage import Session, Storage, open_storage

__all__ = [
    "Failure",
    "Invocation",
    "maintaining",
    "migrating",
    "printing",
    "reading",
    "whole_store",
    "writing",
]

Command = Callable[..., None]
LOGGER = logging.getLogger("loki_storage")


class Failure(click.ClickException):
    """What stops a command: a message on stderr that says what to do next, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", err=True)


def _or_none(url: str | None) -> str | None:
    return url or None


@attrs.frozen
class Invocation:
    """The options that commands share."""

    url: str | None = attrs.field(default=None, converter=_or_none, repr=False)
    tenant: str = DEFAULT_TENANT
    as_json: bool = False
    actor: str | None = None

    @property
    def address(self) -> str:
        """The store's URL; it may hold a password."""
        return load_settings(self.url).url

    @property
    def where(self) -> str:
        """The store's URL as it may be shown."""
        return safe_url(self.address)

    @contextmanager
    def storage(self) -> Iterator[Storage]:
        """The store, open for writing; laid out where it is empty: who writes asks for that."""
        with open_storage(self.url, create=True) as storage:
            yield storage

    @contextmanager
    def existing(self) -> Iterator[Storage]:
        """The store, which must be there: to look at one never creates it."""
        try:
            storage = open_storage(self.url, create=False)
        except SchemaOutdated as error:
            if error.found is not None:
                raise
            hint = self.command("ingest FILE")
            raise Failure(f"there is no store at {self.where} yet; run `{hint}`") from error
        with storage:
            yield storage

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A read-only unit of work on a store that is there."""
        with (
            self.existing() as storage,
            storage.session(tenant=self.tenant, read_only=True) as unit,
        ):
            yield unit

    def command(self, words: str) -> str:
        """A command line for the same store, to be shown as what to try next."""
        tenant = "" if self.tenant == DEFAULT_TENANT else f" --tenant {shlex.quote(self.tenant)}"
        url = "" if self.url is None else f" --url {shlex.quote(safe_url(self.url))}"
        return f"loki-storage {words}{tenant}{url}"


def printing(command: Command) -> Command:
    """Options of a command that needs no store."""
    return _with_options(command, (_JSON, _VERBOSE))


def migrating(command: Command) -> Command:
    """Options of a command that is about the store as a whole."""
    return _with_options(command, (_URL, _JSON, _VERBOSE))


def reading(command: Command) -> Command:
    """Options of a command that reads a store."""
    return _with_options(command, (_URL, _TENANT, _JSON, _VERBOSE))


def writing(command: Command) -> Command:
    """Options of a command that writes records."""
    return _with_options(command, (_URL, _TENANT, _ACTOR, _JSON, _VERBOSE))


def whole_store(command: Command) -> Command:
    """Options of a command about the store with all its tenants, which the trail tells of."""
    return _with_options(command, (_URL, _ACTOR, _JSON, _VERBOSE))


def maintaining(command: Command) -> Command:
    """Options of a command that works on every tenant, unless one is named (``only_tenant``)."""
    return _with_options(command, (_URL, _ONLY_TENANT, _ACTOR, _JSON, _VERBOSE))


_URL = click.option(
    "--url",
    metavar="URL",
    help="The store, like sqlite:///loki.db.  [default: see `loki-storage config show`]",
)
_TENANT = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose records these are."
)
_ONLY_TENANT = click.option("--tenant", "only_tenant", help="This one only.  [default: all]")
_ACTOR = click.option("--actor", help="Who acts, for the audit trail.  [default: the system]")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_VERBOSE = click.option("--verbose", is_flag=True, help="Tell on stderr what happens inside.")


def _with_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    @wraps(command)
    def invoked(*args: Any, verbose: bool, **options: Any) -> None:
        if verbose:
            _log_to_stderr()
        shared = {
            f.name: options.pop(f.name) for f in attrs.fields(Invocation) if f.name in options
        }
        command(Invocation(**shared), *args, **options)

    wrapped: Command = invoked
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _log_to_stderr() -> None:
    """Our own loggers: their lines hold no stored text (ERR)."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)

    def restore() -> None:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)

    click.get_current_context().find_root().call_on_close(restore)
