"""``loki-storage retention``: policies, previews, runs, legal holds and certificates."""

from pathlib import Path
from typing import Any

import click

from loki_storage.cli.invocation import Failure, Invocation, maintaining, printing, reading, writing
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
)
from loki_storage.enums import PeriodUnit, PolicyKind, RetentionAction
from loki_storage.models import ArchivedDocument, RetentionPolicy
from loki_storage.query import Query
from loki_storage.retention import Plan, Report, RetentionManager
from loki_storage.retention.pack import PACKS, install, pack
from loki_storage.rules.retention import KIND_OF
from loki_storage.storage import Session
from loki_storage.values import parse

__all__ = ["retention_commands"]


@click.group("retention")
def retention_commands() -> None:
    """Run retention policies; place legal holds."""


# --- Policies -------------------------------------------------------------------------------------


@retention_commands.group("policies")
def policies_commands() -> None:
    """List retention policies; add them, switch them on and off."""


@policies_commands.command("list")
@reading
def list_policies(invocation: Invocation) -> None:
    """List policies by priority."""
    with invocation.session() as session:
        found = session.retention.list()
    if invocation.as_json:
        print_json({"policies": [as_fields(policy) for policy in found]})
    elif found:
        print_table(_POLICY_COLUMNS, [_policy_row(policy) for policy in found])
    else:
        click.echo(f"no policies: try `{invocation.command('retention policies add --help')}`")


@policies_commands.command("add")
@click.argument("name")
@click.option(
    "--for", "entity_type", type=click.Choice(list(map(str, KIND_OF))), default="document"
)
@click.option(
    "--action", type=click.Choice([each.value for each in RetentionAction]), default="delete"
)
@click.option("--days", type=click.IntRange(1), help="The period in days.")
@click.option("--period", metavar="N", type=click.IntRange(1), help="The period, in --unit.")
@click.option(
    "--unit",
    type=click.Choice([each.value for each in PeriodUnit]),
    help="Of --period; forever has none.",
)
@click.option("--trigger", default="created", show_default=True, help="Or the name of an event.")
@click.option(
    "--kind",
    type=click.Choice([each.value for each in PolicyKind]),
    default="maximum",
    show_default=True,
)
@click.option("--priority", type=int, default=100, show_default=True, help="The lowest wins.")
@click.option("--criteria", type=click.Path(exists=True, path_type=Path), help="A query as JSON.")
@click.option("--citation", help="The rule behind it.")
@click.option("--inactive", is_flag=True, help="Store it switched off.")
@writing
def add_policy(
    invocation: Invocation,
    name: str,
    entity_type: str,
    action: str,
    days: int | None,
    period: int | None,
    unit: str | None,
    trigger: str,
    kind: str,
    priority: int,
    criteria: Path | None,
    citation: str | None,
    inactive: bool,
) -> None:
    """Add a policy.

    Its period is --days, or --period with --unit. It runs with the next `retention run` unless it
    is --inactive.
    """
    query = None if criteria is None else Query.from_json(parse(criteria.read_text("utf-8")))

    def add(session: Session) -> RetentionPolicy:
        return session.retention.create(
            name,
            entity_type,
            action,
            days,
            period_amount=period,
            period_unit=unit,
            trigger=trigger,
            kind=kind,
            priority=priority,
            criteria=query,
            citation=citation,
            is_active=not inactive,
        )

    _print_policies(invocation, [_change(invocation, add)])


@policies_commands.command("install")
@click.argument("ids", nargs=-1)
@click.option("--pack", "name", type=click.Choice(list(PACKS)), default="uk", show_default=True)
@click.option("--activate", is_flag=True, help="Switch them on at once.")
@writing
def install_policies(
    invocation: Invocation, ids: tuple[str, ...], name: str, activate: bool
) -> None:
    """Add a starter pack's policies, or those of these IDS, switched off."""

    def add(session: Session) -> list[RetentionPolicy]:
        return install(session.retention, name, ids or None, active=activate)

    _print_policies(invocation, _change(invocation, add))


@policies_commands.command("packs")
@click.option("--pack", "name", type=click.Choice(list(PACKS)), default="uk", show_default=True)
@printing
def show_pack(invocation: Invocation, name: str) -> None:
    """Show what a starter pack has, with citations; not legal advice."""
    rows = pack(name)
    if invocation.as_json:
        print_json({"policies": rows})
        return
    columns = [Column("id"), Column("name", share=2), Column("citation", share=3, wrap=True)]
    print_table(columns, [(row["id"], row["name"], row["citation"]) for row in rows])
    note("not legal advice; the wording of none of them was verified")


@policies_commands.command("activate")
@click.argument("name")
@writing
def activate_policy(invocation: Invocation, name: str) -> None:
    """Switch a policy on."""
    _switch(invocation, name, on=True)


@policies_commands.command("deactivate")
@click.argument("name")
@writing
def deactivate_policy(invocation: Invocation, name: str) -> None:
    """Switch a policy off; a minimum that is off protects nothing."""
    _switch(invocation, name, on=False)


# --- Preview and run ------------------------------------------------------------------------------


@retention_commands.command("preview")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Keep the plan in this file.")
@click.option("--records", is_flag=True, help="Each record with the reason, not counts alone.")
@maintaining
def preview_command(
    invocation: Invocation, only_tenant: str | None, output: Path | None, records: bool
) -> None:
    """Show what a run would do, and why; writes nothing to the store.

    With -o the plan can be approved, and carried out by `retention run --plan FILE`.
    """
    with invocation.existing() as storage:
        plan = RetentionManager(storage, tenant=only_tenant).preview()
    if output is not None:
        plan.write(output)
    _print_plan(invocation, plan, records)


@retention_commands.command("run")
@click.option("--plan", "plan_file", type=click.Path(exists=True, path_type=Path), help="Of -o.")
@click.option("--certificates", type=click.Path(path_type=Path), help="A folder to keep them in.")
@click.option("--wait", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds.")
@maintaining
def run_command(
    invocation: Invocation,
    only_tenant: str | None,
    plan_file: Path | None,
    certificates: Path | None,
    wait: float,
) -> None:
    """Do what is due now, or carry out a plan; go on with a run that was killed.

    Holds and policies are looked at again inside each batch. --wait: for another run to end.
    """
    with invocation.existing() as storage:
        manager = RetentionManager(storage, actor=invocation.actor, tenant=only_tenant)
        plan = None if plan_file is None else Plan.read(plan_file)
        report = manager.run(plan, patience=wait)
    if certificates is not None:
        _keep(report, certificates)
    _print_report(invocation, report)


# --- The archive ----------------------------------------------------------------------------------


@retention_commands.command("archived")
@click.option("--client", help="Of this client only.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True)
@reading
def list_archived(invocation: Invocation, client: str | None, limit: int, offset: int) -> None:
    """List archived documents, by id."""
    with invocation.session() as session:
        found = session.retention.list_archived(client, limit, offset)
    if invocation.as_json:
        print_json({"archived": [as_fields(stub) for stub in found]})
    elif found:
        print_table(_ARCHIVED_COLUMNS, [_archived_row(stub) for stub in found])
    else:
        click.echo("no document is archived")


@retention_commands.command("unarchive")
@click.argument("ids", type=int, nargs=-1, required=True)
@writing
def unarchive_command(invocation: Invocation, ids: tuple[int, ...]) -> None:
    """Bring archived documents back as they were.

    IDS are those of any of their versions. Policies that are still due archive them again: place a
    hold before.
    """
    with invocation.existing() as storage:
        manager = RetentionManager(storage, actor=invocation.actor, tenant=invocation.tenant)
        back = manager.unarchive(ids)
    if invocation.as_json:
        print_json({"unarchived": back})
    else:
        click.echo(f"{number(len(back))} back: {', '.join(map(str, back)) or 'none was archived'}")


# --- Holds ----------------------------------------------------------------------------------------


@retention_commands.group("holds")
def holds_commands() -> None:
    """List, place and release legal holds."""


@holds_commands.command("list")
@click.option("--released", is_flag=True, help="Also those that are released.")
@reading
def list_holds(invocation: Invocation, released: bool) -> None:
    """List holds, oldest first."""
    with invocation.session() as session:
        _print_holds(invocation, session.retention.holds.list(active_only=not released))


@holds_commands.command("place")
@click.argument("name")
@click.option("--reason", required=True)
@click.option("--id", "ids", type=int, multiple=True, help="Of a record; several times: all.")
@click.option("--query", type=click.Path(exists=True, path_type=Path), help="A query as JSON.")
@click.option(
    "--for",
    "entity_type",
    type=click.Choice(["document", "validation", "correction"]),
    default="document",
)
@writing
def place_hold(
    invocation: Invocation,
    name: str,
    reason: str,
    ids: tuple[int, ...],
    query: Path | None,
    entity_type: str,
) -> None:
    """Protect records by a hold, on --id or on all that a --query matches, also later."""
    asked = None if query is None else Query.from_json(parse(query.read_text("utf-8")))

    def place(session: Session) -> Any:
        return session.retention.holds.place(name, reason, ids or None, asked, entity_type)

    _print_holds(invocation, [_change(invocation, place)])


@holds_commands.command("release")
@click.argument("name")
@click.option("--reason")
@writing
def release_hold(invocation: Invocation, name: str, reason: str | None) -> None:
    """End a hold; others on the same records stay."""
    released = _change(invocation, lambda session: session.retention.holds.release(name, reason))
    _print_holds(invocation, [released])


@holds_commands.command("covering")
@click.argument("document_id", type=int)
@reading
def covering_holds(invocation: Invocation, document_id: int) -> None:
    """Show the holds on a document or on what hangs on it."""
    with invocation.session() as session:
        _print_holds(invocation, session.retention.holds.covering(document_id))


# --- Certificates ---------------------------------------------------------------------------------


@retention_commands.group("certificate")
def certificate_commands() -> None:
    """Write out certificates of disposal; verify them."""


@certificate_commands.command("show")
@click.argument("run_id", type=int)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="This file.")
@maintaining
def show_certificate(
    invocation: Invocation, only_tenant: str | None, run_id: int, output: Path | None
) -> None:
    """Write the certificate of a run, byte for byte as it is kept."""
    with invocation.existing() as storage:
        text = RetentionManager(storage, tenant=only_tenant).certificate(run_id)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", "utf-8")


@certificate_commands.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@printing
def verify_certificate(invocation: Invocation, file: Path) -> None:
    """Check a certificate without a store; fails if a byte of it was changed."""
    facts = RetentionManager.verify_certificate(file)
    if invocation.as_json:
        print_json({"valid": True, "certificate": facts})
        return
    shown = ("tenant", "run", "actor", "as_of", "finished_at", "plan", "digest")
    print_fields([("valid", "yes"), *((name, facts.get(name)) for name in shown)])


# --- Showing --------------------------------------------------------------------------------------


_POLICY_COLUMNS = [
    Column("id", right=True),
    Column("name", share=3),
    Column("for"),
    Column("kind"),
    Column("action"),
    Column("period"),
    Column("trigger", share=1),
    Column("priority", right=True),
    Column("active"),
    Column("last run", from_width=120),
]


def _policy_row(policy: RetentionPolicy) -> tuple[Cell, ...]:
    amount = policy.retention_days if policy.period_amount is None else policy.period_amount
    unit = policy.period_unit
    return (
        policy.id,
        policy.name,
        policy.entity_type,
        policy.kind,
        "" if policy.kind == PolicyKind.MINIMUM else policy.action,
        unit if unit == PeriodUnit.FOREVER else f"{amount} {unit}",
        policy.trigger,
        policy.priority,
        "yes" if policy.is_active else "no",
        minutes(policy.last_run),
    )


_ARCHIVED_COLUMNS = [
    Column("id", right=True),
    Column("client", share=2),
    Column("type", share=1),
    Column("policy", share=2),
    Column("archived at"),
    Column("rows", right=True),
    Column("bundle", share=3, from_width=120),
]


def _archived_row(stub: ArchivedDocument) -> tuple[Cell, ...]:
    return (
        stub.id,
        stub.client_id,
        stub.document_type,
        stub.policy,
        minutes(stub.archived_at),
        number(stub.row_count),
        stub.bundle,
    )


def _print_policies(invocation: Invocation, policies: list[RetentionPolicy]) -> None:
    if invocation.as_json:
        print_json({"policies": [as_fields(policy) for policy in policies]})
    else:
        print_table(_POLICY_COLUMNS, [_policy_row(policy) for policy in policies])


def _print_plan(invocation: Invocation, plan: Plan, records: bool) -> None:
    rows = (
        [
            {"tenant": tenant, "id": each.id, "entity_type": each.entity_type, **_fate(each)}
            for tenant, each in plan.records()
        ]
        if records
        else plan.summary()
    )
    if invocation.as_json:
        print_json({"plan": plan.hash, "records": len(plan), "fates": rows})
        return
    if not rows:
        click.echo("nothing is due")
        return
    names = list(rows[0])
    columns = [Column(name.replace("_", " "), share=int(name in _WIDE)) for name in names]
    print_table(columns, [tuple(row[name] for name in names) for row in rows])
    note(f"plan {plan.hash}")


_WIDE = ("policy", "reason")


def _fate(each: Any) -> dict[str, Any]:
    return {"action": each.action, "policy": each.policy, "reason": each.reason}


def _print_report(invocation: Invocation, report: Report) -> None:
    if invocation.as_json:
        print_json(
            {
                "affected": report.affected,
                "skipped": report.skipped,
                "tenants": [
                    {
                        "tenant": each.tenant,
                        "run": each.run_id,
                        "plan": each.plan_hash,
                        "records": each.records,
                        "saved_bytes": each.saved_bytes,
                        "skipped": each.skipped,
                        "examples": each.examples,
                    }
                    for each in report.tenants
                ],
            }
        )
        return
    rows = [
        (each.tenant, each.run_id, what, number(count))
        for each in report.tenants
        for what, count in [
            *each.records.items(),
            *((f"skipped: {reason}", count) for reason, count in each.skipped.items()),
        ]
    ]
    if rows:
        columns = [Column("tenant", share=1), Column("run", right=True), Column("policy", share=3)]
        print_table([*columns, Column("records", right=True)], rows)
    saved = sum(sum(each.saved_bytes.values()) for each in report.tenants)
    told = f", {number(saved)} bytes saved" if saved else ""
    click.echo(f"{number(report.affected)} done, {number(report.skipped)} skipped{told}")


def _print_holds(invocation: Invocation, holds: Any) -> None:
    if invocation.as_json:
        print_json({"holds": [as_fields(hold) for hold in holds]})
        return
    if not holds:
        click.echo("no holds")
        return
    columns = [
        Column("id", right=True),
        Column("name", share=2),
        Column("on"),
        Column("reason", share=3),
        Column("placed by", share=1),
        Column("placed at"),
        Column("released at"),
    ]
    rows = [
        (
            hold.id,
            hold.name,
            f"{hold.entity_type} {'query' if hold.ids is None else 'ids'}",
            hold.reason,
            hold.placed_by,
            minutes(hold.placed_at),
            minutes(hold.released_at),
        )
        for hold in holds
    ]
    print_table(columns, rows)


def _keep(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in report.tenants:
        path = folder / f"disposal-run-{each.run_id}.json"
        path.write_text(each.certificate + "\n", "utf-8")


def _switch(invocation: Invocation, name: str, *, on: bool) -> None:
    def switch(session: Session) -> RetentionPolicy:
        policy = session.retention.get_by_name(name)
        if policy is None:
            raise Failure(f"there is no policy {name!r}; see `retention policies list`")
        change = session.retention.activate if on else session.retention.deactivate
        return change(policy.id)

    _print_policies(invocation, [_change(invocation, switch)])


def _change(invocation: Invocation, fn: Any) -> Any:
    with invocation.existing() as storage:
        return storage.run(fn, tenant=invocation.tenant, actor=invocation.actor)
