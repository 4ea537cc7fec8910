"""Finds what is due and decides on it, a page at a time; writes nothing (RET-1, RET-2)."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from loki_storage.archives import Archived, archived_sets
from loki_storage.enums import EntityType, PeriodUnit, PolicyKind, RetentionTrigger
from loki_storage.models import (
    ArchivedDocument,
    Correction,
    Document,
    ExportLog,
    Kind,
    RetentionPolicy,
    Validation,
)
from loki_storage.query import And, Compare, Condition, In, IsNull, Not, Order, all_of, any_of
from loki_storage.repositories.judging import Judge, Page
from loki_storage.repositories.retained import matching, record_sets
from loki_storage.retention.archiving import UNREADABLE
from loki_storage.retention.cutoffs import audit_days
from loki_storage.retention.plan import Items, Planned, TenantPlan
from loki_storage.rules import retention as rules
from loki_storage.rules.change import told
from loki_storage.rules.retained import RecordSet
from loki_storage.rules.retention import Decision, Term
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonValue

__all__ = ["PAGE", "export_decisions", "member_sets", "plan_tenant", "snapshot"]

PAGE = 200
"""Records that are read and judged together."""

_SNAPSHOT = tuple(
    field
    for field in RetentionPolicy.domains
    if field not in ("last_run", "next_run", "total_processed", "total_affected")
)


def plan_tenant(
    session: UnitOfWork, as_of: datetime, chosen: Collection[str] | None = None
) -> TenantPlan:
    """What a run would do for the session's tenant by the policies as they are now."""
    judge = Judge.read(session, chosen)
    items = Items()
    for find in (_documents, _archived, _validations, _corrections, _exports, _audit):
        for planned in find(session, judge, as_of):
            items.add(planned)
    return TenantPlan(session.tenant, as_of, tuple(map(snapshot, judge.policies)), items)


def snapshot(policy: RetentionPolicy) -> dict[str, JsonValue]:
    """A policy as plans and certificates keep it."""
    return {field: told(field, policy.stored(field)) for field in _SNAPSHOT}


# --- Documents, validations, corrections ----------------------------------------------------------


def _documents(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    due = _maybe_due(judge, EntityType.DOCUMENT, as_of)
    for rows in _pages(session, Document, "root_id", ("root_id",), due):
        roots = list(dict.fromkeys(root for (root,) in rows))
        sets = record_sets(session, roots)
        page = judge.page(session, sets)
        for each in sets:
            decision = page.document(each, as_of)
            if decision is not None:
                yield _planned(EntityType.DOCUMENT, each.chain.id, decision)


def _archived(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    """Documents in the archive are read from their bundles, so only those that may be due are."""
    judge = judge.of_archived()
    maxima = judge.about(EntityType.DOCUMENT, PolicyKind.MAXIMUM)
    bounds = [bound for policy in maxima if (bound := _archived_before(policy, as_of)) is not None]
    due = any_of(*bounds) if bounds else None
    for rows in _pages(session, ArchivedDocument, "id", ("id",), due):
        stubs = session.get_many(ArchivedDocument, [id for (id,) in rows], session.tenant)
        for each in archived_sets(session, stubs.values()):
            yield from _archived_fates(judge, each, as_of)


def _archived_fates(judge: Judge, found: Archived, as_of: datetime) -> Iterator[Planned]:
    for id in found.unreadable:
        yield Planned(EntityType.DOCUMENT, id, None, None, UNREADABLE)
    page = judge.page(found.view, list(found.sets.values()))
    for each in found.sets.values():
        decision = page.document(each, as_of)
        if decision is not None:
            yield _planned(EntityType.DOCUMENT, each.chain.id, decision)


def _archived_before(policy: RetentionPolicy, as_of: datetime) -> Condition | None:
    """What the stub of every document fulfils for which a policy is due; None: of none."""
    latest = _latest(policy, as_of)
    if latest is None or policy.trigger in (RetentionTrigger.CREATED, RetentionTrigger.UPDATED):
        return None if latest is None else Compare("created_at", "le", latest)
    return And(())


def _validations(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    return _members(session, judge, as_of, EntityType.VALIDATION)


def _corrections(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    return _members(session, judge, as_of, EntityType.CORRECTION)


def _members(
    session: UnitOfWork, judge: Judge, as_of: datetime, entity_type: str
) -> Iterator[Planned]:
    kind, due = rules.KIND_OF[entity_type], _maybe_due(judge, entity_type, as_of)
    for rows in _pages(session, kind, "id", ("id",), due):
        ids = [id for (id,) in rows]
        sets = member_sets(session, kind, ids)
        page = judge.page(session, list({each.chain.id: each for each in sets.values()}.values()))
        for id in ids:
            decision = _member(page, sets[id], kind, id, as_of) if id in sets else None
            if decision is not None:
                yield _planned(entity_type, id, decision)


def _member(page: Page, each: RecordSet, kind: Kind, id: int, as_of: datetime) -> Decision | None:
    """None also where the record goes with its document: one action per record and run."""
    whole = page.document(each, as_of)
    if whole is not None and whole.action is not None:
        return None
    return page.member(each, each.member(kind, id), as_of)


def member_sets(session: UnitOfWork, kind: Kind, ids: Sequence[int]) -> dict[int, RecordSet]:
    """The document set that each validation or correction belongs to."""
    parents = dict(session.rows(session.query(kind, In("id", ids)), ("id", "document_id")))
    versions = session.query(Document, In("id", list(set(parents.values()))))
    roots = dict(session.rows(versions, ("id", "root_id")))
    sets = {
        each.chain.id: each for each in record_sets(session, list(dict.fromkeys(roots.values())))
    }
    found = {id: sets.get(roots.get(parent, 0)) for id, parent in parents.items()}
    return {id: each for id, each in found.items() if each is not None}


def _planned(entity_type: str, id: int, decision: Decision) -> Planned:
    return Planned(entity_type, id, decision.action, decision.policy, decision.reason)


# --- Exports and the audit trail ------------------------------------------------------------------


def _exports(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    due = _maybe_due(judge, rules.EXPORT_LOG, as_of)
    for rows in _pages(session, ExportLog, "id", ("id", "requested_at"), due):
        for id, decision in export_decisions(session, judge, as_of, dict(rows)).items():
            yield _planned(rules.EXPORT_LOG, id, decision)


def export_decisions(
    session: UnitOfWork, judge: Judge, as_of: datetime, asked: dict[int, datetime]
) -> dict[int, Decision]:
    """The decisions on exports, by id and when they were asked for."""
    policies = judge.about(rules.EXPORT_LOG)
    matched = {}
    for policy in policies:
        query = rules.criteria_of(policy)
        where = None if query is None else query.where
        matched[policy.id] = matching(session, ExportLog, where, asked)
    decisions = {
        id: rules.decide(as_of, [Term(p, time) for p in policies if id in matched[p.id]])
        for id, time in asked.items()
    }
    return {id: decision for id, decision in decisions.items() if decision is not None}


def _audit(session: UnitOfWork, judge: Judge, as_of: datetime) -> Iterator[Planned]:
    """One item for the trail: its entries are not looked at one by one."""
    decided = audit_days(judge.about(EntityType.AUDIT), as_of)
    if decided is not None:
        policy, days = decided
        reason = "kept by a minimum" if days is None else f"entries older than {days} days"
        action = None if days is None else policy.action
        yield Planned(EntityType.AUDIT, policy.id, action, policy.name, reason)


# --- Finding --------------------------------------------------------------------------------------


def _pages(
    session: UnitOfWork, kind: Kind, key: str, fields: tuple[str, ...], due: Condition | None
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows that may be due, by their key, as short reads: none stays open beside the writers."""
    last = 0
    while due is not None:
        where = all_of(Compare(key, "gt", last), due)
        query = session.query(kind, where, order=(Order(key),), limit=PAGE)
        rows = list(session.rows(query, fields))
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def _maybe_due(judge: Judge, entity_type: str, as_of: datetime) -> Condition | None:
    """What every record that is due fulfils, and few others; None: nothing can be due."""
    maxima = judge.about(entity_type, PolicyKind.MAXIMUM)
    conditions = [each for policy in maxima for each in _possible(policy, as_of)]
    return any_of(*conditions) if conditions else None


def _possible(policy: RetentionPolicy, as_of: datetime) -> list[Condition]:
    query = rules.criteria_of(policy)
    criteria = And(()) if query is None else query.where
    latest = _latest(policy, as_of)
    if latest is None:
        return []
    kind = rules.KIND_OF[policy.entity_type]
    began = _BEGAN.get((kind, policy.trigger))
    if began is not None:
        return [all_of(began(latest), criteria)]
    if policy.trigger == RetentionTrigger.DELETED:  # of the document that a member belongs to
        return [criteria]
    held = "config" if kind is Validation else "metadata_json"
    return [all_of(Not(IsNull(held)), criteria)]


def _latest(policy: RetentionPolicy, as_of: datetime) -> datetime | None:
    """The latest beginning of a period that may be over; None: none is."""
    try:
        latest = as_of - timedelta(days=policy.retention_days)  # no unit has fewer days
    except OverflowError:
        return None
    return None if policy.period_unit == PeriodUnit.FOREVER else latest


def _at_most(field: str) -> Callable[[datetime], Condition]:
    return lambda latest: Compare(field, "le", latest)


_BEGAN: dict[tuple[Kind, str], Callable[[datetime], Condition]] = {
    (Document, RetentionTrigger.CREATED): _at_most("created_at"),
    (Document, RetentionTrigger.UPDATED): _at_most("updated_at"),
    (Document, RetentionTrigger.SUPERSEDED): lambda latest: all_of(
        Compare("version", "gt", 1), Compare("created_at", "le", latest)
    ),
    (Document, RetentionTrigger.DELETED): lambda latest: Compare("deleted_at", "le", latest),
    (Validation, RetentionTrigger.CREATED): _at_most("created_at"),
    (Validation, RetentionTrigger.UPDATED): _at_most("created_at"),
    (Correction, RetentionTrigger.CREATED): _at_most("created_at"),
    (Correction, RetentionTrigger.UPDATED): _at_most("updated_at"),
    (ExportLog, RetentionTrigger.CREATED): _at_most("requested_at"),
}
"""What the newest version, or the record itself, fulfils when its period has ended."""
