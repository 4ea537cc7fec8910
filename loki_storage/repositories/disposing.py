"""What removes rows for ever outside a run of retention: purge and audit cleanup (DEL-6, AUD-3)."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import attrs

from loki_storage.enums import EntityType, PolicyKind, RetentionAction
from loki_storage.errors import Conflict, OnHold
from loki_storage.models import ArchivedDocument, AuditEntry, Document, LegalHold
from loki_storage.query import Compare, Order
from loki_storage.repositories.judging import Judge, Page
from loki_storage.repositories.retained import (
    Child,
    Coverage,
    children_first,
    children_of,
    record_sets,
)
from loki_storage.repositories.retention import unchanged
from loki_storage.rules import audit as audit_rules
from loki_storage.rules import disposal
from loki_storage.rules import documents as rules
from loki_storage.rules.change import Change, Step
from loki_storage.rules.holds import covered_ids
from loki_storage.rules.retained import RecordSet
from loki_storage.rules.retention import Term, kept_by
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["free_entries", "oldest_entries", "purge", "remove_entries"]

ATTEMPTS = 10
TOGETHER = 100
"""Documents that are judged together."""


def purge(session: UnitOfWork, root_ids: Sequence[int], strict: bool) -> list[int]:
    """Remove documents, each in one commit; the ids of those that are gone by that.

    What is held or kept stays, and is an error if ``strict``. Judged and read by the hundred, so
    that reads do not grow with the documents; where another writer comes between, the rest is
    judged anew.
    """
    gone: list[int] = []
    done = attempt = 0
    while done < len(root_ids):
        try:
            for root_id, removed in _purged(session, root_ids[done : done + TOGETHER], strict):
                gone += [root_id] * removed
                done, attempt = done + 1, 0
        except Conflict:
            attempt += 1
            if attempt == ATTEMPTS:
                raise
    return gone


def _purged(
    session: UnitOfWork, root_ids: Sequence[int], strict: bool
) -> Iterator[tuple[int, bool]]:
    """Each of these documents, and whether it was removed, once that is committed."""
    judge = Judge.read(session)
    sets = {each.chain.id: each for each in record_sets(session, root_ids)}
    page, now = judge.page(session, list(sets.values())), session.now()
    children = children_of(session, sets.values())
    for root_id in root_ids:
        each = sets.get(root_id)
        change = None if each is None else _purge(page, each, children[root_id], now, strict)
        if change is not None:
            guard = unchanged(session, judge.state)
            session.add(attrs.evolve(change, steps=[*change.steps, guard]))
            session.commit()
        yield root_id, change is not None


def _purge(
    page: Page, each: RecordSet, children: Sequence[Child], now: datetime, strict: bool
) -> Change | None:
    holds, keeper = page.coverage.over(each), page.kept_by(each, now)
    if (holds or keeper) and not strict:
        return None
    if holds:
        raise OnHold(min(holds))
    if keeper:
        raise rules.kept(each.chain.id, keeper)
    decision = page.document(each, now)
    expired = decision is not None and decision.action == RetentionAction.DELETE
    rows = [(kind, id) for kind, id, _ in children]
    rows += [(member.kind, member.id) for member in children_first(each)]
    return disposal.purge(each.chain, rows, expired=expired)


def remove_entries(session: UnitOfWork, old: Sequence[AuditEntry], before: datetime) -> int:
    """Remove those of a page of audit entries that may go, in one commit."""
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
    """Those that no hold covers and no minimum keeps.

    With the step that lets a batch fail if a hold is placed or a policy changes since.
    """
    judge = Judge.read(session)
    held = _held(session, judge.holds, old) if judge.holds else set()
    minimums, now = judge.about(EntityType.AUDIT, PolicyKind.MINIMUM), session.now()
    free = [
        entry
        for entry in old
        if entry.id not in held
        and kept_by(now, [Term(policy, entry.timestamp) for policy in minimums]) is None
    ]
    return unchanged(session, judge.state), free


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
