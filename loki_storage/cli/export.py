"""``loki-storage export`` and ``exports``: rows into a file, and the log of that."""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import click

from loki_storage.cli.invocation import Failure, Invocation, reading, writing
from loki_storage.cli.listing import limit_option
from loki_storage.cli.output import (
    Cell,
    Column,
    as_fields,
    minutes,
    note,
    number,
    print_fields,
    print_json,
    print_table,
    size,
    styled,
)
from loki_storage.cli.progress import counting
from loki_storage.export_formats import find_format, find_format_of_file, format_options
from loki_storage.export_manager import ExportManager
from loki_storage.exports.source import SOURCES
from loki_storage.models import ExportLog, Kind
from loki_storage.rules.exports import FAILED, PENDING
from loki_storage.storage import Storage
from loki_storage.values import Boolean, Integer, Number, Time

__all__ = ["export_command", "exports_commands"]

DEFAULT_FOLDER = "data/exports"
EXPORTS = {
    "documents": ExportManager.export_documents,
    "validations": ExportManager.export_validations,
    "results": ExportManager.export_results,
    "corrections": ExportManager.export_corrections,
    "audit": ExportManager.export_audit_trail,
}
_FOLDER = click.option(
    "--dir",
    "folder",
    default=DEFAULT_FOLDER,
    show_default=True,
    help="The folder of exports.",
)


@click.command("export")
@click.argument("table", type=click.Choice(list(EXPORTS)))
@click.option(
    "--format", "format_", help="csv, json, jsonl, excel, parquet, or a plugin's.  [default: csv]"
)
@click.option("--client", help="Rows of this client only.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Rows with this value; several times: all of them. Also start_date, end_date, risk_level.",
)
@click.option("--fields", help="These fields only, separated by commas.")
@click.option("--without", help="All fields but these, separated by commas.")
@click.option("--mask", help="Fields and JSON paths that read ***, separated by commas.")
@click.option(
    "--versions", type=click.Choice(["heads", "all"]), help="Of documents.  [default: heads]"
)
@click.option("--deleted", is_flag=True, help="Also what is soft-deleted.")
@click.option("--results", is_flag=True, help="Validations with their gate results.")
@click.option("--raw", is_flag=True, help="CSV for programs: formulas are left as they are.")
@click.option("--expires", type=click.IntRange(0), default=30, show_default=True, help="In days.")
@click.option("-o", "--output", metavar="FILE|-", help="This file, or standard output.")
@_FOLDER
@writing
def export_command(
    invocation: Invocation,
    table: str,
    format_: str | None,
    client: str | None,
    filters: tuple[str, ...],
    fields: str | None,
    without: str | None,
    mask: str | None,
    versions: str | None,
    deleted: bool,
    results: bool,
    raw: bool,
    expires: int,
    output: str | None,
    folder: str,
) -> None:
    """Export rows of a table to a file.

    All at one moment, told in the log of exports. The file is whole or not there. Without -o it
    lies in the folder of exports, under a name of its own; a file that is there is never
    overwritten.
    """
    options: dict[str, Any] = {
        "filters": dict(_filter(SOURCES[table].kind, text) for text in filters),
        "fields": _listed(fields),
        "without": _listed(without) or (),
        "mask": _listed(mask) or (),
        "expires_in": timedelta(days=expires),
        **({"versions": versions} if versions else {}),
        **({"include_deleted": True} if deleted else {}),
        **({"include_results": True} if results else {}),
        **({"raw": True} if raw else {}),
    }
    if output == "-":
        options["stream"] = sys.stdout.buffer
    elif output is not None:
        options["file_path"] = output
    with invocation.existing() as storage, counting("rows") as progress:
        manager = _manager(invocation, storage, folder)
        told = EXPORTS[table](
            manager,
            _format(format_, output, raw),
            client,
            invocation.actor or "system",
            progress=progress,
            **options,
        )
    if output != "-":
        _print_export(invocation, told)


@click.group("exports")
def exports_commands() -> None:
    """List exports; remove their files."""


@exports_commands.command("list")
@click.option("--client", help="Of this client only.")
@limit_option
@_FOLDER
@reading
def list_exports(invocation: Invocation, client: str | None, limit: int, folder: str) -> None:
    """List exports, newest first."""
    with invocation.existing() as storage:
        logs = _manager(invocation, storage, folder).get_export_history(client, limit)
    if invocation.as_json:
        print_json({"exports": [as_fields(log) for log in logs]})
    elif logs:
        print_table(_COLUMNS, [_row(log) for log in logs])
    else:
        click.echo(f"no exports: run `{invocation.command('export documents')}`")


@exports_commands.command("delete")
@click.argument("id", type=int)
@_FOLDER
@writing
def delete_export(invocation: Invocation, id: int, folder: str) -> None:
    """Remove an export's file; its log stays."""
    with invocation.existing() as storage:
        removed = _manager(invocation, storage, folder).delete_export(id)
    if invocation.as_json:
        print_json({"id": id, "removed": removed})
    else:
        click.echo(f"export {id}: " + ("its file is removed" if removed else "there is no file"))


@exports_commands.command("cleanup")
@click.option("--client", help="Of this client only.")
@_FOLDER
@writing
def cleanup_exports(invocation: Invocation, client: str | None, folder: str) -> None:
    """Remove the files of expired exports; their logs stay."""
    with invocation.existing() as storage:
        removed = _manager(invocation, storage, folder).cleanup_expired_exports(client)
    if invocation.as_json:
        print_json({"removed": removed})
        return
    for name in removed:
        click.echo(name)
    note(f"{number(len(removed))} removed")


def _manager(invocation: Invocation, storage: Storage, folder: str) -> ExportManager:
    return ExportManager(storage, folder, actor=invocation.actor, tenant=invocation.tenant)


# What was asked for


def _format(name: str | None, output: str | None, raw: bool) -> str:
    """The named format, else what the file's name ends with, else CSV."""
    if name is None and output not in (None, "-"):
        name = find_format_of_file(str(output)).name
    spec = find_format(name or "csv")
    if raw:
        format_options(spec.write, {"raw": True}, spec.name)
    return spec.name


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _filter(kind: Kind, text: str) -> tuple[str, Any]:
    """FIELD=VALUE, the value as the field holds it; no value: NULL, but for text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Failure(f"--filter needs FIELD=VALUE, not {name!r}")
    convert = _CONVERTERS.get(type(kind.domains.get(name)))
    if convert is None:
        return name, value
    try:
        return name, convert(value) if value else None
    except (KeyError, ValueError):
        raise Failure(f"--filter {name}: the value does not fit the field") from None


_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_CONVERTERS: dict[type, Callable[[str], Any]] = {
    Integer: int,
    Number: float,
    Boolean: lambda text: _FLAGS[text.lower()],
    Time: str,
}


# What came of it


def _print_export(invocation: Invocation, told: dict[str, Any]) -> None:
    if invocation.as_json:
        print_json(told)
        return
    print_fields(
        [
            ("export", told["export_id"]),
            ("rows", number(told["record_count"])),
            ("file", told["file_path"]),
            ("size", size(told["file_size"])),
            ("SHA-256", told["file_hash"]),
        ]
    )


_COLUMNS = [
    Column("id", right=True),
    Column("what"),
    Column("format"),
    Column("client", share=1),
    Column("by", share=1),
    Column("status"),
    Column("rows", right=True),
    Column("size", right=True),
    Column("requested (UTC)"),
    Column("file, or why not", share=3),
]


def _row(log: ExportLog) -> Sequence[Cell]:
    return (
        log.id,
        log.entity_type,
        log.export_type,
        log.client_id,
        log.requested_by,
        styled(log.status),
        None if log.status in (PENDING, FAILED) else number(log.record_count),
        None if log.file_size_bytes is None else size(log.file_size_bytes),
        minutes(log.requested_at),
        log.error_message if log.status == FAILED else log.file_path or "removed",
    )
