"""Which action retention takes on a record, and why; pure, and blind to order (RET-1, RET-2)."""

from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from loki_storage.batch import Insert, Require
from loki_storage.enums import (
    AuditAction,
    EntityType,
    PeriodUnit,
    PolicyKind,
    RetentionAction,
    RetentionTrigger,
)
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    ExportLog,
    Kind,
    RetentionPolicy,
    RetentionState,
    Validation,
)
from loki_storage.query import Query
from loki_storage.rules.change import NO_CLIENT, Change, Removal, Step, edit, guarded_edit

__all__ = [
    "DESTRUCTIVE",
    "EDITABLE",
    "EXPORT_LOG",
    "FOREVER_DAYS",
    "KIND_OF",
    "Decision",
    "Term",
    "check_policy",
    "create",
    "criteria_of",
    "decide",
    "delete",
    "due_at",
    "end_of",
    "is_due",
    "kept_by",
    "period_fields",
    "revised",
    "selection",
    "unchanged",
    "update",
]

FOREVER_DAYS = 36_500
_SHORTEST = {PeriodUnit.DAYS: 1, PeriodUnit.MONTHS: 28, PeriodUnit.YEARS: 365}
"""Days that a unit has at least."""

EXPORT_LOG = "export_log"
"""The entity type of policies for exports: their files and logs."""

KIND_OF: Mapping[str, Kind] = {
    EntityType.DOCUMENT: Document,
    EntityType.VALIDATION: Validation,
    EntityType.CORRECTION: Correction,
    EntityType.AUDIT: AuditEntry,
    EXPORT_LOG: ExportLog,
}
"""What policies may be about, and the kind that their criteria select from."""

DESTRUCTIVE = frozenset({RetentionAction.ANONYMIZE, RetentionAction.DELETE})
"""What an unexpired minimum forbids. ``archive`` keeps all there is (RET-4); a hold forbids it."""

_MILDNESS = {action: rank for rank, action in enumerate(RetentionAction)}
EDITABLE = (
    *("name", "description", "retention_days", "action", "criteria", "is_active", "priority"),
    *("period_amount", "period_unit", "trigger", "kind", "every_days"),
    *("citation", "text_date", "verified"),
)
"""What ``update`` may change."""


# --- Periods --------------------------------------------------------------------------------------


def end_of(start: datetime, amount: int, unit: str) -> datetime | None:
    """``start`` and so many days, calendar months or years; None: not within the calendar.

    A day that the month does not have falls on its last: 29 February and a year is 28 February.
    """
    try:
        if unit == PeriodUnit.FOREVER:
            return None
        if unit == PeriodUnit.DAYS:
            return start + timedelta(days=amount)
        months = start.month - 1 + amount * (12 if unit == PeriodUnit.YEARS else 1)
        year, month = start.year + months // 12, months % 12 + 1
        return start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))
    except (OverflowError, ValueError):
        return None


def due_at(policy: RetentionPolicy, began: datetime | None) -> datetime | None:
    """When the period ends that began then; None: never (RET-1)."""
    if began is None:
        return None
    amount = policy.retention_days if policy.period_amount is None else policy.period_amount
    return end_of(began, amount, policy.period_unit)


def is_due(policy: RetentionPolicy, began: datetime | None, now: datetime) -> bool:
    """Whether ``now >= trigger + period`` (inclusive)."""
    end = due_at(policy, began)
    return end is not None and now >= end


def period_fields(
    days: int | None, amount: int | None, unit: PeriodUnit | str | None
) -> dict[str, Any]:
    """``retention_days`` and the period it stands for, of what a caller gave of them."""
    if unit is None and amount is None:
        if days is None:
            raise InvalidValue("retention_days", "is required, or a period")
        return {"retention_days": days, "period_amount": None, "period_unit": PeriodUnit.DAYS}
    if days is not None:
        raise InvalidValue("retention_days", "cannot be given together with a period")
    word = RetentionPolicy.domains["period_unit"].accept("period_unit", unit or PeriodUnit.DAYS)
    if word == PeriodUnit.FOREVER:
        if amount is not None:
            raise InvalidValue("period_amount", "has no meaning with forever")
        return {"retention_days": FOREVER_DAYS, "period_amount": None, "period_unit": word}
    amount = RetentionPolicy.domains["period_amount"].accept("period_amount", amount)  # type: ignore[assignment]
    if amount is None:
        raise InvalidValue("period_amount", "is required")
    days = min(FOREVER_DAYS, amount * _SHORTEST[PeriodUnit(str(word))])
    return {"retention_days": days, "period_amount": amount, "period_unit": word}


# --- Policies -------------------------------------------------------------------------------------


def check_policy(policy: RetentionPolicy) -> None:
    """``InvalidValue`` or ``InvalidField`` where a policy could not be run."""
    if policy.entity_type not in KIND_OF:
        raise InvalidField(policy.entity_type, "has no retention", KIND_OF)
    criteria_of(policy)
    members = (EntityType.VALIDATION, EntityType.CORRECTION)
    if policy.action == RetentionAction.ARCHIVE and policy.entity_type in members:
        raise InvalidValue("action", "archive is for documents, with all that hangs on them")
    whole = policy.entity_type in (EntityType.AUDIT, EXPORT_LOG)
    if whole and policy.action != RetentionAction.DELETE:
        raise InvalidValue("action", f"must be delete for {policy.entity_type}")
    if whole and policy.trigger != RetentionTrigger.CREATED:
        raise InvalidValue("trigger", f"must be created for {policy.entity_type}")
    if policy.entity_type == EntityType.AUDIT and policy.stored("criteria") is not None:
        raise InvalidValue("criteria", "are not possible for audit")
    if policy.trigger == RetentionTrigger.SUPERSEDED and policy.entity_type != EntityType.DOCUMENT:
        raise InvalidValue("trigger", "superseded is known of documents only")


def criteria_of(policy: RetentionPolicy) -> Query | None:
    """The query that selects what a policy is about; None: everything of its kind.

    Only the condition counts. Of another kind or tenant, or with a window: ``InvalidValue``.
    """
    return selection("criteria", policy.criteria, KIND_OF[policy.entity_type], policy.tenant_id)


def selection(name: str, data: object, kind: Kind, tenant: str) -> Query | None:
    """A query in its JSON form that selects rows of a kind by a condition alone."""
    if data is None:
        return None
    query = Query.from_json(data)
    if query.kind is not kind or query.tenant != tenant:
        raise InvalidValue(name, f"must be a query on {kind.table} of this tenant")
    if query.limit is not None or query.offset or query.after is not None:
        raise InvalidValue(name, "must select by a condition alone, without a window")
    return query


def create(policy: RetentionPolicy, state: Step) -> Change:
    """A new policy."""
    check_policy(policy)
    return _change(AuditAction.CREATE, policy, [Insert(policy), state])


def update(policy: RetentionPolicy, now: datetime, state: Step, **fields: object) -> Change | None:
    """Change a policy; None where nothing would change."""
    changed = guarded_edit(policy, **fields)
    if not changed.changes:
        return None
    check_policy(policy.replaced(changed.operation.changes))
    moved = guarded_edit(policy, **fields, updated_at=max(now, policy.updated_at))
    return _change(AuditAction.UPDATE, policy, [moved, state])


def delete(policy: RetentionPolicy, state: Step) -> Change:
    """Remove a policy; the audit keeps what it was."""
    return _change(AuditAction.DELETE, policy, [Removal(policy), state])


def revised(state: RetentionState | None, id: int, tenant: str) -> Step:
    """One more change of policies or holds, guarded by the revision that was read (RET-3)."""
    if state is None:
        return Insert(RetentionState(id=id, tenant_id=tenant, revision=1))
    return edit(state, {"revision": state.revision}, revision=state.revision + 1)


def unchanged(state: RetentionState | None, id: int, tenant: str) -> Step:
    """What a batch that destroys asks for: no policy or hold has changed since (RET-3).

    Where there is no state yet, both this and the first hold insert it: one of them fails.
    """
    if state is None:
        return Insert(RetentionState(id=id, tenant_id=tenant))
    return Require(RetentionState, state.id, {"revision": state.revision})


def _change(action: str, policy: RetentionPolicy, steps: list[Step]) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.POLICY,
        entity_id=policy.id,
        client_id=NO_CLIENT,
        steps=steps,
        metadata={"name": policy.name},
    )


# --- The decision ---------------------------------------------------------------------------------


@attrs.frozen
class Term:
    """A policy that matches a record, and when its period began there (None: it did not)."""

    policy: RetentionPolicy
    began: datetime | None


@attrs.frozen
class Decision:
    """What happens to a record and why. ``policy`` is the one that decided; both are by name."""

    action: RetentionAction | None
    reason: str
    policy: str | None = None


def decide(
    now: datetime,
    terms: Iterable[Term],
    holds: Collection[str] = (),
    usable: Collection[RetentionAction] = tuple(RetentionAction),
    supported: Collection[RetentionAction] = tuple(RetentionAction),
) -> Decision | None:
    """At most one action (RET-2); None where nothing is due, so that there is nothing to tell.

    ``holds``: names of those that lie on the record. ``usable``: actions that are ``supported`` and
    would change something.
    """
    terms = list(terms)
    due = [
        term.policy
        for term in terms
        if term.policy.kind == PolicyKind.MAXIMUM and is_due(term.policy, term.began, now)
    ]
    if not due:
        return None
    if holds:
        return Decision(None, f"on hold: {min(holds)}")
    candidates = [policy for policy in due if policy.action in usable]
    if not candidates:
        best = min(due, key=_rank)
        missing = best.action not in supported
        reason = f"{best.action} is not supported" if missing else f"nothing to {best.action}"
        return Decision(None, reason, best.name)
    keeper = kept_by(now, terms)
    allowed = [p for p in candidates if keeper is None or p.action not in DESTRUCTIVE]
    if not allowed:
        return Decision(None, "kept by a minimum", keeper)
    winner = min(allowed, key=_rank)
    return Decision(winner.action, "due", winner.name)


def kept_by(now: datetime, terms: Iterable[Term]) -> str | None:
    """The minimum that protects for longest, by name; None: none does."""
    keeping = [term for term in terms if _keeps(term, now)]
    return max(keeping, key=_end_rank).policy.name if keeping else None


def _keeps(term: Term, now: datetime) -> bool:
    return term.policy.kind == PolicyKind.MINIMUM and not is_due(term.policy, term.began, now)


def _rank(policy: RetentionPolicy) -> tuple[int, int, str]:
    """The lowest number first, then the least destructive; a name makes it one of several."""
    return policy.priority, _MILDNESS[policy.action], policy.name


def _end_rank(term: Term) -> tuple[bool, float, str]:
    end = due_at(term.policy, term.began)
    return end is None, end.timestamp() if end else 0.0, term.policy.name
