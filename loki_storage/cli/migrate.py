"""``loki-storage migrate``: schema revisions of the store (MIG)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from loki_storage.cli.invocation import Failure, Invocation, migrating
from loki_storage.cli.output import print_fields, print_json
from loki_storage.configuration import load_settings, make_parent, scheme_of
from loki_storage.errors import Unsupported
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.protocol import Backend

__all__ = ["migrate_commands", "revisions"]


@click.group("migrate")
def migrate_commands() -> None:
    """Bring the store's schema to a revision, or look at it."""


@migrate_commands.command("up")
@click.argument("revision", default="head")
@migrating
def up(invocation: Invocation, revision: str) -> None:
    """Upgrade to REVISION (default: the newest); an absent store is created."""
    with _runner(invocation) as (url, runner):
        make_parent(url)
        before = runner.current(url)
        runner.upgrade(url, revision)
        _tell_move(invocation, before, runner.current(url))


@migrate_commands.command("down")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
@migrating
def down(invocation: Invocation, revision: str, yes: bool) -> None:
    """Downgrade to REVISION; what the later ones hold is lost, with "base" everything."""
    with _runner(invocation) as (url, runner):
        before = runner.current(url)
        if before is None:
            raise Failure(f"there is no store at {invocation.where}")
        if not yes and sys.stdin.isatty():
            click.confirm(
                f"{invocation.where}: what later revisions hold is lost; go on?", abort=True
            )
        runner.downgrade(url, revision)
        _tell_move(invocation, before, runner.current(url))


@migrate_commands.command("status")
@migrating
def status(invocation: Invocation) -> None:
    """Show the store's revision and the one that this SDK needs."""
    with _runner(invocation) as (url, runner):
        found, expected = runner.current(url), runner.EXPECTED_REVISION
    if invocation.as_json:
        print_json({"revision": found, "expected": expected, "up_to_date": found == expected})
        return
    print_fields(
        [
            ("store", invocation.where),
            ("revision", found or "none"),
            ("expected", expected),
            ("next", None if found == expected else invocation.command("migrate up")),
        ]
    )


@migrate_commands.command("check")
@migrating
def check(invocation: Invocation) -> None:
    """Compare the store's tables with what this SDK expects; exit code 1 where they differ."""
    with _runner(invocation) as (url, runner):
        differences = runner.check(url)
    if invocation.as_json:
        print_json({"differences": differences})
    else:
        click.echo("\n".join(differences) or "the tables are as expected")
    if differences:
        raise click.exceptions.Exit(1)


@migrate_commands.command("sql")
@click.argument("revision", default="head")
@migrating
def sql(invocation: Invocation, revision: str) -> None:
    """Print the SQL that brings an empty store to REVISION (FROM:TO: from there)."""
    with _runner(invocation) as (url, runner):
        script = runner.script(scheme_of(url).partition("+")[0], revision)
    if invocation.as_json:
        print_json({"sql": script})
    else:
        click.echo(script, nl=False)


def revisions(url: str) -> ModuleType | None:
    """The runner of schema revisions, for a backend that has any; it brings SQLAlchemy."""
    spec = find_backend(scheme_of(url), plugin_manager())
    backend: Backend = spec.open(url)
    try:
        if type(backend).migrate is Backend.migrate:
            return None
    finally:
        backend.close()
    from loki_storage_sql import migrations

    return migrations


@contextmanager
def _runner(invocation: Invocation) -> Iterator[tuple[str, ModuleType]]:
    """The store's URL and the runner of its revisions; their libraries' errors become ours."""
    url = load_settings(invocation.url).url
    runner = revisions(url)
    if runner is None:
        raise Unsupported(f"the {scheme_of(url)} backend has no schema revisions to migrate")
    try:
        yield url, runner
    except Exception as error:
        # Known by their names, because no layer above the backends imports these libraries.
        library = type(error).__module__.partition(".")[0]
        if library not in ("alembic", "sqlalchemy"):
            raise
        raise Failure(_explained(library, error)) from error


def _explained(library: str, error: Exception) -> str:
    """What happened, without SQL and parameters, which SQLAlchemy's messages hold."""
    if library == "alembic":
        return f"{error}; `loki-storage migrate status` tells the revisions"
    driver = getattr(error, "orig", None) or error
    name = getattr(driver, "sqlite_errorname", None) or type(driver).__name__
    return f"the database refuses ({name}); nothing was changed"


def _tell_move(invocation: Invocation, before: str | None, now: str | None) -> None:
    if invocation.as_json:
        print_json({"before": before, "revision": now})
    elif before == now:
        click.echo(f"already at revision {now or 'base'}")
    else:
        click.echo(f"from revision {before or 'base'} to {now or 'base'}")
