"""``loki-storage backends``: what is installed to store with."""

import click
from rich.text import Text

from loki_storage.cli.invocation import Invocation, printing
from loki_storage.cli.output import Column, print_json, print_table
from loki_storage.plugins import Installed, installed

__all__ = ["backends_command"]


@click.command("backends")
@printing
def backends_command(invocation: Invocation) -> None:
    """List the installed backends, broken ones with their error."""
    found = installed()
    if invocation.as_json:
        print_json({"backends": [_as_json(backend) for backend in found]})
        return
    print_table(_COLUMNS, [(b.name, b.distribution, b.version, _summary(b)) for b in found])


_COLUMNS = [
    Column("backend"),
    Column("distribution"),
    Column("version"),
    Column("summary", share=1, wrap=True),
]


def _summary(backend: Installed) -> Text | str:
    if backend.spec is None:
        return Text(backend.error or "", style="red")
    return str(backend.spec.summary)


def _as_json(backend: Installed) -> dict[str, object]:
    spec = backend.spec
    return {
        "name": backend.name,
        "distribution": backend.distribution,
        "version": backend.version,
        "summary": None if spec is None else spec.summary,
        "schemes": [] if spec is None else list(spec.schemes),
        "protocol_version": None if spec is None else spec.protocol_version,
        "error": backend.error,
    }
