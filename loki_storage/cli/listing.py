"""What several commands show of documents: one row each, with versions and the latest risk."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Any

import attrs
import click

from loki_storage.cli.invocation import Invocation
from loki_storage.cli.output import Cell, Column, minutes, note, number, print_table, styled
from loki_storage.models import AuditEntry, Document, Kind, Validation
from loki_storage.query import Condition, In, Order, all_of
from loki_storage.storage import Session

__all__ = [
    "DOCUMENT_COLUMNS",
    "Listed",
    "chosen",
    "document_row",
    "limit_option",
    "listed",
    "print_listing",
]

CHUNK = 500
"""Ids in one condition: far below any database's limit of parameters."""

limit_option = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows at most."
)


@attrs.frozen
class Listed:
    """A document (or one version of it) as lists show it; ``risk`` is its latest validation's."""

    id: int
    root_id: int
    title: str | None
    client_id: str
    document_type: str
    version: int
    content_length: int
    created_at: datetime
    is_deleted: bool
    versions: int = 0
    validations: int = 0
    risk: str | None = None


_STORED = [field.name for field in attrs.fields(Listed)][:9]

DOCUMENT_COLUMNS = [
    Column("id", right=True),
    Column("title", share=3),
    Column("client", share=2),
    Column("type", share=2),
    Column("ver", right=True),
    Column("checks", right=True, from_width=110),
    Column("risk"),
    Column("chars", right=True, from_width=110),
    Column("created (UTC)", from_width=90),
]


def document_row(document: Listed, *, of_versions: bool = False) -> Sequence[Cell]:
    """The cells for ``DOCUMENT_COLUMNS``."""
    return (
        document.id,
        document.title,
        document.client_id,
        document.document_type,
        document.version if of_versions else document.versions,
        document.validations,
        styled("deleted" if document.is_deleted else document.risk),
        number(document.content_length),
        minutes(document.created_at),
    )


def listed(
    session: Session, conditions: Iterable[Condition], *, limit: int, of_versions: bool = False
) -> list[Listed]:
    """Documents, newest first, without their content.

    Counts and risk are those of the whole document, or, ``of_versions``, of the one version.
    """
    newest = (Order("created_at", True),)
    query = session.query(Document, all_of(*conditions), order=newest, limit=limit)
    rows = [Listed(*row) for row in session.rows(query, _STORED)]
    if of_versions:
        groups = {row.id: row.id for row in rows}
    else:
        groups = _live_versions(session, [row.root_id for row in rows])
    return _counted(session, rows, groups)


def _live_versions(session: Session, roots: Iterable[int]) -> dict[int, int]:
    """Live versions of chains: id -> root id."""
    rows = _rows(session, Document, "root_id", roots, ("id", "root_id", "is_deleted"))
    return {id: root for id, root, is_deleted in rows if not is_deleted}


def _counted(session: Session, rows: list[Listed], groups: dict[int, int]) -> list[Listed]:
    """The rows with what belongs to their group: versions, validations, the latest risk."""
    versions, checks = Counter(groups.values()), Counter[int]()
    latest: dict[int, tuple[datetime, int, str | None]] = {}
    fields = ("document_id", "created_at", "id", "overall_risk")
    for document_id, *validation in _rows(session, Validation, "document_id", groups, fields):
        group = groups[document_id]
        checks[group] += 1
        latest[group] = max(latest.get(group, _NEVER), tuple(validation), key=itemgetter(0, 1))
    return [
        attrs.evolve(
            row,
            versions=versions[group],
            validations=checks[group],
            risk=latest.get(group, _NEVER)[2],
        )
        for row in rows
        for group in (groups[row.id],)
    ]


_NEVER = (datetime.min.replace(tzinfo=UTC), 0, None)


def print_listing(
    invocation: Invocation,
    session: Session,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    total: int,
) -> None:
    """A table and how much of all it is; where it is empty, why and what to do."""
    if rows:
        print_table(columns, rows)
        if len(rows) < total:
            note(f"{number(len(rows))} of {number(total)}; more with --limit")
    elif session.exists(session.query(AuditEntry)):
        click.echo("nothing matches")
    else:
        click.echo(f"nothing stored yet: run `{invocation.command('ingest FILE')}`")


def chosen(**filters: str | None) -> dict[str, Any]:
    """The filters that were asked for."""
    return {name: value for name, value in filters.items() if value is not None}


def _rows(
    session: Session, kind: Kind, field: str, ids: Iterable[int], fields: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Fields of the records that have one of these ids in a field."""
    left = iter(ids)
    while chunk := tuple(islice(left, CHUNK)):
        yield from session.rows(session.query(kind, In(field, chunk)), fields)
