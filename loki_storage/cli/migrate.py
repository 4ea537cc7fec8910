"""``loki-storage migrate``: schema revisions of the store (MIG)."""

import sys
from typing import Any

import attrs
import click

from loki_storage.cli.invocation import Failure, Invocation, migrating, whole_store
from loki_storage.cli.output import print_fields, print_json
from loki_storage.configuration import backend_options, load_settings, make_parent, scheme_of
from loki_storage.errors import Unsupported
from loki_storage.plugins import find_backend, plugin_manager

__all__ = ["Revisions", "migrate_commands", "revisions"]


@click.group("migrate")
def migrate_commands() -> None:
    """Bring the store's schema to a revision, or look at it."""


@migrate_commands.command("up")
@click.argument("revision", default="head")
@whole_store
def up(invocation: Invocation, revision: str) -> None:
    """Upgrade to REVISION (default: the newest); an absent store is created.

    The audit trail tells of it, once the store is up to date.
    """
    store = _revisions(invocation)
    make_parent(store.url)
    before, now = store.runner.upgrade(store.place, revision)
    if before is not None and before != now == store.runner.EXPECTED_REVISION:
        with invocation.existing() as storage:
            storage.tell_migration(before, now, invocation.actor)
    _tell_move(invocation, before, now)


@migrate_commands.command("down")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
@migrating
def down(invocation: Invocation, revision: str, yes: bool) -> None:
    """Downgrade to REVISION; what the later ones hold is lost, with "base" everything."""
    store = _revisions(invocation)
    before = store.runner.current(store.place)
    if before is None:
        raise Failure(f"there is no store at {invocation.where}")
    if not yes and sys.stdin.isatty():
        click.confirm(f"{invocation.where}: what later revisions hold is lost; go on?", abort=True)
    _tell_move(invocation, *store.runner.downgrade(store.place, revision))


@migrate_commands.command("status")
@migrating
def status(invocation: Invocation) -> None:
    """Show the store's revision and the one that this SDK needs."""
    store = _revisions(invocation)
    found, expected = store.runner.current(store.place), store.runner.EXPECTED_REVISION
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
    store = _revisions(invocation)
    differences = store.runner.check(store.place)
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
    store = _revisions(invocation)
    script = store.runner.script(scheme_of(store.url).partition("+")[0], revision)
    if invocation.as_json:
        print_json({"sql": script})
    else:
        click.echo(script, nl=False)


@attrs.frozen
class Revisions:
    """The store's URL, the runner of its schema revisions, and where that finds it."""

    url: str = attrs.field(repr=False)
    runner: Any
    place: Any


def revisions(url: str | None) -> Revisions | None:
    """Those of the selected store, for a relational backend; it brings SQLAlchemy."""
    settings = load_settings(url)
    spec = find_backend(scheme_of(settings.url), plugin_manager())
    backend: Any = spec.open(settings.url, **backend_options(spec, settings))
    try:
        if not hasattr(backend, "place"):
            return None
        from loki_storage_sql import migrations

        return Revisions(settings.url, migrations, backend.place())
    finally:
        backend.close()


def _revisions(invocation: Invocation) -> Revisions:
    found = revisions(invocation.url)
    if found is None:
        scheme = scheme_of(load_settings(invocation.url).url)
        raise Unsupported(f"the {scheme} backend has no schema revisions to migrate")
    return found


def _tell_move(invocation: Invocation, before: str | None, now: str | None) -> None:
    if invocation.as_json:
        print_json({"before": before, "revision": now})
    elif before == now:
        click.echo(f"already at revision {now or 'base'}")
    else:
        click.echo(f"from revision {before or 'base'} to {now or 'base'}")
