"""Commands that plugins add (hook ``loki_register_commands``)."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from loki_storage.hookspecs import PROJECT
from loki_storage.plugins import plugin_manager

__all__ = ["plugin_commands"]


@cache
def plugin_commands() -> dict[str, click.Command]:
    """Commands of all installed plugins, by name; a broken plugin offers none, and is told of.

    Of two with one name the plugin that comes first by its own name has it.
    """
    commands: dict[str, click.Command] = {}
    for point in sorted(entry_points(group=PROJECT), key=lambda point: point.name, reverse=True):
        commands |= {str(command.name): command for command in _commands_of(point)}
    return commands


def _commands_of(point: EntryPoint) -> list[click.Command]:
    manager = plugin_manager()
    try:
        manager.register(point.load(), name=point.name)
        offered: list[Any] = [one for some in manager.hook.loki_register_commands() for one in some]
    except Exception as error:  # a plugin's fault must not stop the others
        click.echo(
            f"warning: plugin {point.name!r} is broken ({type(error).__name__}); "
            "see `loki-storage backends`",
            err=True,
        )
        return []
    return [command for command in offered if isinstance(command, click.Command)]
