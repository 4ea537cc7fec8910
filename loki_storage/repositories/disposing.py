"""What removes rows for ever outside a run of retention: purge and audit cleanup (DEL-6, AUD-3)."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import count

import attrs

from loki_storage.enums import EntityType, RetentionAction
from loki_storage.errors import Conflict, OnHold
from loki_storage.models import ArchivedDocument, AuditEntry, Chain, Document, LegalHold, Record
from loki_storage.query import Compare, Order
from loki_storage.repositories.judging import Judge
from loki_storage.repositories.retained import (
    Coverage,
    active_holds,
    record_sets,
    retention_state,
)
from loki_storage.repositories.retention import unchanged
from loki_storage.rules import audit as audit_rules
from loki_storage.rules import documents as rules
from loki_storage.rules.change import Step
from loki_storage.rules.holds import covered_ids
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["free_entries", "oldest_entries", "purge", "remove_entries"]

ATTEMPTS = 10


def purge(
    session: UnitOfWork,
    root_id: int,
    whole: Callable[[int], tuple[Chain, list[Record]]],
    strict: bool,
) -> bool:
    """Remove a document in one commit; False where it stays, or another was faster.

    What is held or kept is an error if ``strict``. ``whole`` reads a chain with its children. Where
    another writer comes between, all is judged anew.
    """
    for attempt in count(1):
        try:
            return _purge(session, root_id, whole, strict)
        except Conflict:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("count never ends")


def _purge(
    session: UnitOfWork,
    root_id: int,
    whole: Callable[[int], tuple[Chain, list[Record]]],
    strict: bool,
) -> bool:
    judge = Judge.read(session)
    sets = record_sets(session, [root_id])
    if not sets:
        return False
    page, now = judge.page(session, sets), session.now()
    holds, keeper = page.coverage.over(sets[0]), page.kept_by(sets[0], now)
    if (holds or keeper) and not strict:
        return False
    if holds:
        raise OnHold(min(holds))
    if keeper:
        raise rules.kept(root_id, keeper)
    decision = page.document(sets[0], now)
    expired = decision is not None and decision.action == RetentionAction.DELETE
    change = rules.purge(*whole(root_id), expired=expired)
    guard = unchanged(session, judge.state)
    session.add(attrs.evolve(change, steps=[*change.steps, guard]))
    session.commit()
    return True


def remove_entries(session: UnitOfWork, old: Sequence[AuditEntry], before: datetime) -> int:
    """Remove those of a page of audit entries that no hold covers, in one commit."""
    guard, free = free_entries(session, old)
    if free:
        change = audit_rules.cleanup(free, before)
        session.add(attrs.evolve(change, steps=[*change.steps, guard]))
        session.commit()
    return len(free)


def oldest_entries(
    session: UnitOfWork, before: datetime, limit: int, last: tuple[datetime, int] | None
) -> list[AuditEntry]:
    """The oldest audit entries from before a time, after one of them."""
    older = Compare("timestamp", "lt", before)
    order = (Order("timestamp"),)
    return list(session.select(session.query(AuditEntry, older, order, limit, after=last)))


def free_entries(session: UnitOfWork, old: Sequence[AuditEntry]) -> tuple[Step, list[AuditEntry]]:
    """Those that no hold covers, and the step that lets a batch fail if a hold is placed since."""
    state, holds = retention_state(session), active_holds(session)
    held = _held(session, holds, old) if holds else set()
    return unchanged(session, state), [entry for entry in old if entry.id not in held]


def _held(
    session: UnitOfWork, holds: Sequence[LegalHold], entries: Sequence[AuditEntry]
) -> set[int]:
    """The ids of entries about a held document, also one that is gone, or about a hold."""
    roots = {entry.document_id for entry in entries if entry.document_id is not None}
    sets = record_sets(session, sorted(roots))
    coverage = Coverage.of(session, holds, sets)
    held = {each.chain.id for each in sets if coverage.over(each)}
    held |= _held_archived(session, holds, roots.difference(each.chain.id for each in sets))
    for kind, ids in map(covered_ids, holds):
        held |= roots & ids if kind is Document else set()
    ours = {hold.id for hold in holds}
    return {
        entry.id
        for entry in entries
        if entry.document_id in held
        or (entry.entity_type == EntityType.HOLD and entry.entity_id in ours)
    }


def _held_archived(
    session: UnitOfWork, holds: Sequence[LegalHold], roots: Collection[int]
) -> set[int]:
    """Those of these root ids that are in the archive and held, or cannot be read there."""
    stubs = session.get_many(ArchivedDocument, roots, session.tenant)
    if not stubs:
        return set()
    from loki_storage.archives import archived_sets  # most have no archive

    held = set[int]()
    for found in archived_sets(session, stubs.values()):
        coverage = Coverage.of(found.view, holds, list(found.sets.values()))
        held |= {id for id, each in found.sets.items() if coverage.over(each)}
        held |= set(found.unreadable)
    return held
