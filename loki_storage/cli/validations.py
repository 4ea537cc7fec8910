"""``loki-storage validations``: what the gates said."""

from collections.abc import Iterable, Sequence

import click

from loki_storage.cli.invocation import Failure, Invocation, reading
from loki_storage.cli.listing import chosen, limit_option, print_listing
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
    styled,
)
from loki_storage.enums import GateStatus
from loki_storage.models import Correction, Validation, ValidationResult
from loki_storage.storage import Session

__all__ = ["validations_commands"]


@click.group("validations")
def validations_commands() -> None:
    """List validations; show one with its gate results."""


@validations_commands.command("list")
@click.option("--client", help="Of this client only.")
@click.option("--risk", help="With this overall risk only, like critical.")
@limit_option
@reading
def list_validations(
    invocation: Invocation, client: str | None, risk: str | None, limit: int
) -> None:
    """List validations, newest first."""
    filters = chosen(client_id=client, overall_risk=risk)
    with invocation.session() as session:
        rows = session.validations.get_all(limit=limit, **filters)
        total = session.validations.count(**filters)
        if invocation.as_json:
            shown = [as_fields(row, without=_BULKY) for row in rows]
            print_json({"validations": shown, "total": total})
            return
        print_listing(invocation, session, _COLUMNS, [_row(row) for row in rows], total)


@validations_commands.command("show")
@click.argument("id", type=int)
@click.option("--report", is_flag=True, help="The report as it came in, as JSON, nothing else.")
@click.option("--all", "everything", is_flag=True, help="Also gates that do not apply.")
@reading
def show_validation(invocation: Invocation, id: int, report: bool, everything: bool) -> None:
    """Show a validation and its gate results, failures first."""
    with invocation.session() as session:
        if report:
            print_json(_report(invocation, session, id))
            return
        found = session.validations.get_with_results(id)
        if found is None:
            raise _unknown(invocation, id)
        corrections = session.corrections.get_by_validation(id)
    validation, results = found
    if invocation.as_json:
        print_json(_as_json(validation, results, corrections))
    else:
        _print(invocation, validation, results, corrections, everything)


def _report(invocation: Invocation, session: Session, id: int) -> object:
    stored = session.get_intercept(id)
    if stored is None:
        raise _unknown(invocation, id)
    return stored.to_report()


def _unknown(invocation: Invocation, id: int) -> Failure:
    hint = invocation.command("validations list")
    return Failure(f"validation {id} was not found; `{hint}` lists them")


_BULKY = ("config", "error_traceback")


def _as_json(
    validation: Validation, results: Iterable[ValidationResult], corrections: Iterable[Correction]
) -> dict[str, object]:
    bulky = ("original_content", "corrected_content")
    return {
        "validation": as_fields(validation, without=_BULKY),
        "results": [as_fields(result) for result in results],
        "corrections": [as_fields(correction, without=bulky) for correction in corrections],
    }


# Tables

_COLUMNS = [
    Column("id", right=True),
    Column("document", right=True),
    Column("client", share=1),
    Column("risk"),
    Column("status"),
    Column("fail", right=True),
    Column("warn", right=True, from_width=90),
    Column("pass", right=True, from_width=90),
    Column("critical", right=True, from_width=100),
    Column("high", right=True, from_width=100),
    Column("recorded (UTC)"),
]


def _row(validation: Validation) -> Sequence[Cell]:
    return (
        validation.id,
        validation.document_id,
        validation.client_id,
        styled(validation.overall_risk),
        styled(validation.status),
        validation.fail_count,
        validation.warning_count,
        validation.pass_count,
        validation.critical_count,
        validation.high_count,
        minutes(validation.created_at),
    )


def _print(
    invocation: Invocation,
    validation: Validation,
    results: Sequence[ValidationResult],
    corrections: Sequence[Correction],
    everything: bool,
) -> None:
    skipped = sum(result.status is GateStatus.SKIP for result in results)
    print_fields(_fields(validation, skipped))
    shown = [r for r in results if everything or r.status is not GateStatus.SKIP]
    if shown:
        rows = [_result_row(result) for result in sorted(shown, key=_worst_first)]
        print_table(_RESULT_COLUMNS, rows, "gate results")
    if corrections:
        print_table(_CORRECTION_COLUMNS, map(_correction_row, corrections), "corrections")
    if skipped and not everything:
        note(f"{number(skipped)} not applicable, shown with --all")
    note(f"the text: {invocation.command(f'documents show {validation.document_id} --content')}")


def _fields(validation: Validation, skipped: int) -> list[tuple[str, Cell]]:
    v = validation
    took = None if v.duration_ms is None else f"{number(v.duration_ms)} ms"
    return [
        ("validation", str(v.id)),
        ("document", str(v.document_id)),
        ("client", v.client_id),
        ("risk", styled(v.overall_risk)),
        ("status", styled(v.status)),
        ("error", v.error_message),
        (
            "gates",
            f"{v.fail_count} fail, {v.warning_count} warn, {v.pass_count} pass, {skipped} n/a",
        ),
        (
            "severities",
            f"{v.critical_count} critical, {v.high_count} high, "
            f"{v.medium_count} medium, {v.low_count} low",
        ),
        ("modules", ", ".join(map(str, v.modules_used))),
        ("user", v.user_id),
        ("started", None if v.started_at is None else f"{minutes(v.started_at)} UTC"),
        ("took", took),
        ("recorded", f"{minutes(v.created_at)} UTC"),
    ]


_RESULT_COLUMNS = [
    Column("status"),
    Column("severity"),
    Column("gate", share=3, wrap=True),
    Column("message", share=4, wrap=True),
    Column("legal source", share=3, wrap=True, from_width=120),
]
_ORDER = {status: n for n, status in enumerate(("fail", "error", "warning", "pass", "skip"))}


def _worst_first(result: ValidationResult) -> tuple[int, int]:
    rank = -1 if result.severity is None else result.severity.rank
    return _ORDER[result.status], -rank


def _result_row(result: ValidationResult) -> Sequence[Cell]:
    return (
        styled(result.status),
        styled(result.severity),
        result.gate_key,
        result.message,
        result.legal_source,
    )


_CORRECTION_COLUMNS = [
    Column("id", right=True),
    Column("status"),
    Column("gate", share=1),
    Column("strategy", share=1),
    Column("why", share=2, wrap=True),
]


def _correction_row(correction: Correction) -> Sequence[Cell]:
    return (
        correction.id,
        styled(correction.status),
        correction.target_gate,
        correction.strategy,
        correction.reasoning,
    )
