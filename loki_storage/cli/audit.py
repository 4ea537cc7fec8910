"""``loki-storage audit``: who did what, and how busy the days were."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from loki_storage.cli.invocation import Invocation, reading
from loki_storage.cli.listing import chosen, limit_option, print_listing
from loki_storage.cli.output import (
    Cell,
    Column,
    as_fields,
    bar,
    console,
    minutes,
    number,
    print_json,
    print_table,
)
from loki_storage.models import AuditEntry
from loki_storage.storage import Session

__all__ = ["audit_commands", "print_timeline"]


@click.group("audit")
def audit_commands() -> None:
    """List the audit trail; show it as a timeline."""


@audit_commands.command("list")
@click.option(
    "--document", type=int, help="Of this document only, its validations and corrections."
)
@click.option("--client", help="Of this client only.")
@click.option("--action", help="This action only, like apply.")
@limit_option
@reading
def list_entries(
    invocation: Invocation,
    document: int | None,
    client: str | None,
    action: str | None,
    limit: int,
) -> None:
    """List what was done, newest first."""
    filters: dict[str, Any] = chosen(client_id=client, action=action)
    with invocation.session() as session:
        if document is not None:
            filters["document_id"] = _root(session, document)
        rows = session.audit.get_all(limit=limit, **filters)
        total = session.audit.count(**filters)
        if invocation.as_json:
            print_json({"entries": [as_fields(row) for row in rows], "total": total})
            return
        print_listing(invocation, session, _COLUMNS, [_row(row) for row in rows], total)


@audit_commands.command("timeline")
@click.option("--client", help="Of this client only.")
@click.option(
    "--days", type=click.IntRange(1, 3660), default=7, show_default=True, help="Until today."
)
@reading
def timeline(invocation: Invocation, client: str | None, days: int) -> None:
    """Show how much was done on each of the last days (UTC)."""
    with invocation.session() as session:
        listed = session.audit.get_activity_timeline(client, days)
    if invocation.as_json:
        print_json({"client": client, "days": listed})
    else:
        print_timeline(listed)


def print_timeline(days: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """A bar for each day, and what it is made of."""
    totals = [sum(day["actions"].values()) for day in days]
    width = max(8, (console().width - 50) // 3)
    scale = width / max(1, *totals)
    rows = [
        (
            f"{day['date']}",
            number(total),
            Text(bar(total * scale), style="cyan"),
            ", ".join(f"{count} {action}" for action, count in _most_first(day["actions"])),
        )
        for day, total in zip(days, totals, strict=True)
    ]
    print_table(_TIMELINE_COLUMNS, rows, title)


_TIMELINE_COLUMNS = [
    Column("day (UTC)"),
    Column("actions", right=True),
    Column(""),
    Column("of which", share=1, wrap=True),
]


def _most_first(actions: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(actions.items(), key=lambda item: (-item[1], item[0]))


def _root(session: Session, id: int) -> int:
    """The id of the chain's first version, by which the audit knows it; purged: the id itself."""
    document = session.documents.get_by_id(id, include_deleted=True)
    return id if document is None else document.root_id


_COLUMNS = [
    Column("id", right=True),
    Column("time (UTC)"),
    Column("actor", share=1),
    Column("action"),
    Column("entity"),
    Column("of", right=True),
    Column("document", right=True, from_width=90),
    Column("client", share=1),
    Column("request", share=1, from_width=120),
]


def _row(entry: AuditEntry) -> Sequence[Cell]:
    return (
        entry.id,
        minutes(entry.timestamp),
        entry.actor_id,
        entry.action,
        entry.entity_type,
        entry.entity_id,
        entry.document_id,
        entry.client_id,
        entry.request_id,
    )
