"""``loki-storage doctor``: what is wrong with the store, and what to do."""

from typing import Any

import attrs
import click
from rich.text import Text

from loki_storage.cli.invocation import Invocation, migrating
from loki_storage.cli.output import Column, note, plural, print_fields, print_json, print_table
from loki_storage.configuration import load_settings
from loki_storage.health import Health, examine
from loki_storage.protocol import Check

__all__ = ["doctor_command"]


@click.command("doctor")
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@migrating
def doctor_command(invocation: Invocation, strict: bool) -> None:
    """Name what is wrong with the store, and what to do.

    Exit code 1 where something is wrong. Reads the whole store; writes nothing.
    """
    settings = load_settings(invocation.url)
    health = examine(settings)
    failed = bool(health.problems or (strict and health.warnings))
    if invocation.as_json:
        print_json(_as_json(invocation, health))
    else:
        _print(invocation, health)
    if failed:
        raise click.exceptions.Exit(1)


def _as_json(invocation: Invocation, health: Health) -> dict[str, Any]:
    return {
        "url": invocation.where,
        "backend": health.backend,
        "ok": health.ok,
        "pool": dict(health.pool),
        "checks": [attrs.asdict(check) for check in health.checks],
    }


def _print(invocation: Invocation, health: Health) -> None:
    print_fields([("store", invocation.where), ("backend", health.backend)])
    print_table(_COLUMNS, [(check.name, _status(check), _told(check)) for check in health.checks])
    if health.problems or health.warnings:
        found = [plural(len(health.problems), "problem"), plural(len(health.warnings), "warning")]
        note(" and ".join(found))
    else:
        note("all is well")


_COLUMNS = [Column("check"), Column("status"), Column("found", share=1, wrap=True)]
_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def _status(check: Check) -> Text:
    return Text(check.status, style=_STYLES[check.status])


def _told(check: Check) -> str:
    return check.told if check.advice is None else f"{check.told}; {check.advice}"
