"""``loki-storage corrections``: what was proposed, applied, rejected or taken back."""

from collections.abc import Sequence

import click

from loki_storage.cli.diff import print_diff
from loki_storage.cli.invocation import Failure, Invocation, reading
from loki_storage.cli.listing import chosen, limit_option, print_listing
from loki_storage.cli.output import (
    Cell,
    Column,
    as_fields,
    minutes,
    print_fields,
    print_json,
    print_table,
    styled,
)
from loki_storage.enums import CorrectionStatus
from loki_storage.models import Correction, CorrectionHistory

__all__ = ["corrections_commands"]


@click.group("corrections")
def corrections_commands() -> None:
    """List corrections; show one with its history."""


@corrections_commands.command("list")
@click.option("--client", help="Of this client only.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in CorrectionStatus]),
    help="In this state only.",
)
@limit_option
@reading
def list_corrections(
    invocation: Invocation, client: str | None, status: str | None, limit: int
) -> None:
    """List corrections, newest first."""
    filters = chosen(client_id=client, status=status)
    with invocation.session() as session:
        rows = session.corrections.get_all(limit=limit, **filters)
        total = session.corrections.count(**filters)
        if invocation.as_json:
            shown = [as_fields(row, without=_BULKY) for row in rows]
            print_json({"corrections": shown, "total": total})
            return
        print_listing(invocation, session, _COLUMNS, [_row(row) for row in rows], total)


@corrections_commands.command("show")
@click.argument("id", type=int)
@reading
def show_correction(invocation: Invocation, id: int) -> None:
    """Show a correction, the texts that it holds and every step of its life."""
    with invocation.session() as session:
        correction = session.corrections.get_by_id(id)
        if correction is None:
            hint = invocation.command("corrections list")
            raise Failure(f"correction {id} was not found; `{hint}` lists them")
        history = session.corrections.get_history(id)
    if invocation.as_json:
        print_json({"correction": as_fields(correction), "history": list(map(as_fields, history))})
        return
    print_fields(_fields(correction))
    print_table(_HISTORY_COLUMNS, map(_history_row, history), "history")
    if correction.original_content is not None and correction.corrected_content is not None:
        print_diff(correction.original_content, correction.corrected_content, "what it changes")


_BULKY = ("original_content", "corrected_content")
_COLUMNS = [
    Column("id", right=True),
    Column("document", right=True),
    Column("client", share=1),
    Column("status"),
    Column("gate", share=1),
    Column("strategy", share=1),
    Column("why", share=1, from_width=110),
    Column("created (UTC)", from_width=90),
]


def _row(correction: Correction) -> Sequence[Cell]:
    return (
        correction.id,
        correction.document_id,
        correction.client_id,
        styled(correction.status),
        correction.target_gate,
        correction.strategy,
        correction.reasoning,
        minutes(correction.created_at),
    )


def _fields(correction: Correction) -> list[tuple[str, Cell]]:
    c = correction
    return [
        ("correction", str(c.id)),
        ("document", str(c.document_id)),
        ("validation", None if c.validation_id is None else str(c.validation_id)),
        ("client", c.client_id),
        ("type", c.correction_type),
        ("status", styled(c.status)),
        ("gate", c.target_gate),
        ("strategy", c.strategy),
        ("confidence", None if c.confidence is None else f"{c.confidence:.2f}"),
        ("why", c.reasoning),
        ("applied", _by(minutes(c.applied_at), c.applied_by)),
        ("reviewed", _by(minutes(c.reviewed_at), c.reviewed_by)),
        ("notes", c.review_notes),
        ("diff", c.stored("diff")),
        ("metadata", c.stored("metadata_json")),
        ("created", f"{minutes(c.created_at)} UTC"),
    ]


def _by(when: str | None, who: str | None) -> str | None:
    if when is None:
        return None
    return f"{when} UTC" if who is None else f"{when} UTC by {who}"


_HISTORY_COLUMNS = [
    Column("when (UTC)"),
    Column("change"),
    Column("status"),
    Column("by", share=1),
    Column("reason", share=1, wrap=True),
]


def _history_row(step: CorrectionHistory) -> Sequence[Cell]:
    return (
        minutes(step.changed_at),
        step.change_type,
        styled(step.new_status),
        step.changed_by,
        step.reason,
    )
