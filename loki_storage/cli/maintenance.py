"""``loki-storage maintenance run``: what is due, once, for cron or systemd; or in a loop."""

import time
from pathlib import Path

import click

from loki_storage.cli.invocation import Failure, Invocation, maintaining
from loki_storage.cli.output import Column, print_json, print_table
from loki_storage.maintenance import Chore, maintain

__all__ = ["maintenance_commands"]


@click.group("maintenance")
def maintenance_commands() -> None:
    """Do what is due: retention, old exports and backups."""


@maintenance_commands.command("run")
@click.option("--export-dir", type=click.Path(path_type=Path), default=Path("data/exports"))
@click.option("--backup-dir", type=click.Path(path_type=Path), help="Also remove old backups.")
@click.option("--audit-days", type=click.IntRange(1, 36_500), help="Also remove older entries.")
@click.option("--wait", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds.")
@click.option("--watch", is_flag=True, help="Go on until interrupted, in the foreground.")
@click.option("--every", type=click.IntRange(1), default=3600, show_default=True, help="Seconds.")
@maintaining
def run_maintenance(
    invocation: Invocation,
    only_tenant: str | None,
    export_dir: Path,
    backup_dir: Path | None,
    audit_days: int | None,
    wait: float,
    watch: bool,
    every: int,
) -> None:
    """Do what is due once, and exit with 2 if a part of it failed.

    Retention policies run when their next run has come. --watch: again --every so many seconds.
    """
    while True:
        with invocation.existing() as storage:
            chores = maintain(
                storage,
                actor=invocation.actor,
                tenant=only_tenant,
                export_dir=export_dir,
                backup_dir=backup_dir,
                audit_days=audit_days,
                patience=wait,
            )
        _print_chores(invocation, chores)
        if not watch:
            break
        time.sleep(every)
    failed = [chore.name for chore in chores if chore.error is not None]
    if failed:
        raise Failure(f"not done: {', '.join(failed)}; the others are")


def _print_chores(invocation: Invocation, chores: list[Chore]) -> None:
    if invocation.as_json:
        print_json({"chores": [{"name": c.name, **c.done, "error": c.error} for c in chores]})
        return
    columns = [Column("what"), Column("done", share=3), Column("error", share=2)]
    rows = [(c.name, ", ".join(f"{n}: {v}" for n, v in c.done.items()), c.error) for c in chores]
    print_table(columns, rows)
