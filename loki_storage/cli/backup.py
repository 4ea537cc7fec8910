"""``loki-storage backup``: all that is stored into a file, and back."""

from collections.abc import Sequence
from typing import Any

import click

from loki_storage.backup_manager import BackupManager
from loki_storage.cli.invocation import Failure, Invocation, whole_store
from loki_storage.cli.output import (
    Cell,
    Column,
    minutes,
    note,
    number,
    print_fields,
    print_json,
    print_table,
    size,
)
from loki_storage.cli.progress import counting
from loki_storage.configuration import safe_url

__all__ = ["backup_commands"]

_FOLDER = click.option(
    "--dir", "folder", default="data/backups", show_default=True, help="The folder of backups."
)


@click.group("backup")
def backup_commands() -> None:
    """Create, check and restore backups."""


@backup_commands.command("create")
@click.argument("name", default="backup")
@click.option("--native", is_flag=True, help="A copy of the SQLite file instead of rows; faster.")
@click.option("--no-compress", is_flag=True, help="Store the rows as they are.")
@click.option("--no-audit", is_flag=True, help="Leave the audit trail out.")
@click.option("--tenant", "only", help="This tenant only.  [default: all of them]")
@_FOLDER
@whole_store
def create_backup(
    invocation: Invocation,
    name: str,
    native: bool,
    no_compress: bool,
    no_audit: bool,
    only: str | None,
    folder: str,
) -> None:
    """Back up the store at one moment; read back before it counts.

    NAME, "backup" unless told, gets the time in UTC, so that a daily job never meets its own files.
    """
    with invocation.existing() as storage, counting("rows") as progress:
        manager = BackupManager(storage, folder, actor=invocation.actor, tenant=only)
        told = manager.create_backup(
            name,
            compress=not no_compress,
            include_audit=not no_audit,
            native=native,
            progress=progress,
        )
    _print(invocation, told)


@backup_commands.command("list")
@_FOLDER
@whole_store
def list_backups(invocation: Invocation, folder: str) -> None:
    """List backups, newest first."""
    found = BackupManager(None, folder).list_backups()
    if invocation.as_json:
        print_json({"backups": found})
    elif found:
        print_table(_COLUMNS, [_row(each) for each in found])
    else:
        click.echo(f"no backups in {folder}: run `{invocation.command('backup create NAME')}`")


@backup_commands.command("verify")
@click.argument("name")
@_FOLDER
@whole_store
def verify_backup(invocation: Invocation, name: str, folder: str) -> None:
    """Read a backup to its last row. Exit code 2 where it is not whole."""
    _print(invocation, BackupManager(None, folder).verify_backup(name), "whole")


@backup_commands.command("restore")
@click.argument("name")
@click.option("--to", "target", metavar="URL", help="The store to restore into.  [default: --url]")
@click.option("--replace", is_flag=True, help="In the place of all that the target holds.")
@_FOLDER
@whole_store
def restore_backup(
    invocation: Invocation, name: str, target: str | None, replace: bool, folder: str
) -> None:
    """Restore a backup: all of it, or the target stays as it was.

    NAME is that of one backup, or the bare name for the newest with it. The target must be empty,
    unless --replace is given.
    """
    url = target or invocation.url
    if replace and url is None:
        raise Failure("--replace needs --to URL or --url URL: name what is to be replaced")
    with counting("rows") as progress:
        manager = BackupManager(None, folder, actor=invocation.actor)
        told = manager.restore_backup(
            name, url or invocation.address, replace=replace, progress=progress
        )
    if invocation.as_json:
        print_json(told)
        return
    print_fields(
        [
            ("restored", told["name"]),
            ("into", safe_url(url or invocation.address)),
            ("rows", number(sum(told["tables"].values()))),
            ("archived", _archived(told)),
            ("made (UTC)", minutes(told["created_at"])),
        ]
    )


@backup_commands.command("prune")
@click.option("--keep-count", type=click.IntRange(0), default=10, show_default=True)
@click.option("--keep-days", type=click.IntRange(0), default=30, show_default=True)
@click.option("--name", help="Backups with this bare name only.")
@_FOLDER
@whole_store
def prune_backups(
    invocation: Invocation, keep_count: int, keep_days: int, name: str | None, folder: str
) -> None:
    """Remove backups that neither rule keeps; never the last whole one."""
    removed = BackupManager(None, folder).cleanup_old_backups(keep_count, keep_days, name=name)
    if invocation.as_json:
        print_json({"removed": removed})
        return
    for each in removed:
        click.echo(each)
    note(f"{number(len(removed))} removed")


@backup_commands.command("delete")
@click.argument("name")
@_FOLDER
@whole_store
def delete_backup(invocation: Invocation, name: str, folder: str) -> None:
    """Remove one backup."""
    removed = BackupManager(None, folder).delete_backup(name)
    if invocation.as_json:
        print_json({"removed": [removed]})
    else:
        click.echo(f"removed {removed}")


def _archived(told: dict[str, Any]) -> str | None:
    """What of the store is not in its backups."""
    count = told["tables"].get("archived_documents", 0)
    return f"{number(count)} documents: their bundles are in the archive only" if count else None


def _print(invocation: Invocation, told: dict[str, Any], state: str | None = None) -> None:
    if invocation.as_json:
        print_json(told)
        return
    print_fields(
        [
            ("backup", told["name"]),
            ("state", state),
            ("rows", number(sum(told["tables"].values()))),
            ("archived", _archived(told)),
            ("size", size(told["size"])),
            ("SHA-256", told["checksum"]),
            ("made (UTC)", minutes(told["created_at"])),
            ("tenant", told["tenant"] or "all"),
            ("audit trail", None if told["include_audit"] else "left out"),
        ]
    )


_COLUMNS = [
    Column("backup", share=2),
    Column("made (UTC)"),
    Column("rows", right=True),
    Column("size", right=True),
    Column("from"),
    Column("of", share=1),
    Column("", share=2),
]


def _row(each: dict[str, Any]) -> Sequence[Cell]:
    if "problem" in each:
        return each["name"], minutes(each["created_at"]), None, None, None, None, each["problem"]
    remarks = [
        *(["a copy of the file"] if each["native"] else []),
        *([] if each["include_audit"] else ["without the audit trail"]),
        *([] if each["consistent"] else ["not of one moment"]),
    ]
    return (
        each["name"],
        minutes(each["created_at"]),
        number(sum(each["tables"].values())),
        size(each["size"]),
        each["backend"],
        each["tenant"] or "all tenants",
        ", ".join(remarks),
    )
