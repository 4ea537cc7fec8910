"""``loki-storage config``: which settings count, and where they come from."""

import click

from loki_storage.cli.invocation import Invocation, migrating
from loki_storage.cli.output import Column, print_fields, print_json, print_table
from loki_storage.configuration import load_settings, scheme_of, shown
from loki_storage.plugins import find_backend, plugin_manager

__all__ = ["config_commands"]


@click.group("config")
def config_commands() -> None:
    """Look at the settings."""


@config_commands.command("show")
@migrating
def show(invocation: Invocation) -> None:
    """Show every setting, its value and its source, without passwords."""
    settings = load_settings(invocation.url)
    spec = find_backend(scheme_of(settings.url), plugin_manager())
    found = shown(spec, settings)
    if invocation.as_json:
        listed = [{"name": s.name, "value": _plain(s.value), "source": s.source} for s in found]
        print_json({"backend": spec.name, "file": settings.file_name, "settings": listed})
        return
    print_fields([("backend", spec.name), ("file", settings.file_name)])
    print_table(_COLUMNS, [(s.name, str(_plain(s.value)), s.source) for s in found])


_COLUMNS = [Column("setting"), Column("value", share=1, wrap=True), Column("source")]


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | None) else repr(value)
