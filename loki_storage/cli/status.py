"""``loki-storage status``: where the store is and what is in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from rich.text import Text

from loki_storage.cli.invocation import Invocation, reading
from loki_storage.cli.migrate import revisions
from loki_storage.cli.output import (
    Cell,
    Column,
    bar,
    console,
    number,
    plural,
    print_fields,
    print_json,
    print_table,
    size,
    styled,
)
from loki_storage.configuration import load_settings
from loki_storage.models import KINDS, Document
from loki_storage.query import Query, equals
from loki_storage.storage import Session, Storage

__all__ = ["print_gates", "print_risks", "status_command"]


@click.command("status")
@reading
def status_command(invocation: Invocation) -> None:
    """Show where the store is, what it holds and found."""
    with (
        invocation.existing() as storage,
        storage.session(tenant=invocation.tenant, read_only=True) as session,
    ):
        found = _look(invocation, storage, session)
    if invocation.as_json:
        print_json(attrs.asdict(found))
    else:
        _print(invocation, found)


@attrs.frozen
class _Status:
    """What ``--json`` shows; ``tables`` counts rows of all tenants, the rest is the tenant's."""

    url: str
    backend: str
    schema_revision: str | None
    file_bytes: int | None
    tables: Mapping[str, int]
    tenant: str
    documents: Mapping[str, int]
    risk_breakdown: Mapping[str, int]
    top_gate_failures: Sequence[Mapping[str, Any]]


def _look(invocation: Invocation, storage: Storage, session: Session) -> _Status:
    url = load_settings(invocation.url).url
    schema = revisions(url)
    tables = [kind for kind in KINDS.values() if not kind.internal]
    return _Status(
        url=invocation.where,
        backend=storage.name,
        schema_revision=None if schema is None else schema.runner.current(schema.place),
        file_bytes=_file_bytes(url),
        tables={kind.table: storage.backend.count(Query(kind, None)) for kind in tables},
        tenant=invocation.tenant,
        documents={
            "documents": session.documents.count(),
            "versions": session.documents.count(versions="all"),
            "deleted_versions": session.count(session.query(Document, equals(is_deleted=True))),
        },
        risk_breakdown=session.validations.get_risk_breakdown(),
        top_gate_failures=session.validations.get_gate_failure_stats(limit=5),
    )


def _file_bytes(url: str) -> int | None:
    """The size of the file that a URL names, its write-ahead log included; None for a server."""
    name = url.partition(":///")[2]
    files = [path for path in (Path(name), Path(f"{name}-wal")) if path.is_file()]
    return sum(path.stat().st_size for path in files) if files else None


def _print(invocation: Invocation, found: _Status) -> None:
    print_fields(
        [
            ("store", found.url),
            ("backend", found.backend),
            ("schema", found.schema_revision),
            ("size", None if found.file_bytes is None else size(found.file_bytes)),
            ("tenant", found.tenant),
            ("documents", _told(found.documents)),
        ]
    )
    if not any(found.tables.values()):
        click.echo(f"\nnothing stored yet: run `{invocation.command('ingest FILE')}`")
        return
    rows = [(table, number(count)) for table, count in found.tables.items()]
    print_table([Column("table"), Column("rows", right=True)], rows, "tables (all tenants)")
    print_risks(found.risk_breakdown)
    print_gates(found.top_gate_failures)


def _told(documents: Mapping[str, int]) -> str:
    told = f"{number(documents['documents'])}, {plural(documents['versions'], 'version')}"
    deleted = documents["deleted_versions"]
    return f"{told}, {plural(deleted, 'more version')} deleted" if deleted else told


def print_risks(breakdown: Mapping[str, int]) -> None:
    """How many validations have each overall risk, with bars."""
    scale = max(5, min(30, console().width - 30)) / max(1, *breakdown.values())
    rows: list[Sequence[Cell]] = []
    for risk, count in breakdown.items():
        word = styled(risk)
        rows.append((word, number(count), Text(bar(scale * count), style=word.style)))
    print_table(_RISK_COLUMNS, rows, "validations by risk")


def print_gates(gates: Sequence[Mapping[str, Any]]) -> None:
    """The gates that failed most often, with their worst severity."""
    if not gates:
        return
    rows = [
        (gate["gate_key"], number(gate["failure_count"]), styled(gate["max_severity"]))
        for gate in gates
    ]
    print_table(_GATE_COLUMNS, rows, "top failing gates")


_RISK_COLUMNS = [Column("risk"), Column("validations", right=True), Column("")]
_GATE_COLUMNS = [
    Column("gate", share=1),
    Column("failures", right=True),
    Column("worst severity"),
]
