"""Turns a page of planned records into changes, judged anew: what to do, or why not (RET-3)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import repeat
from secrets import token_hex
from typing import Any

import attrs

from loki_storage.archives import Archived, archived_sets
from loki_storage.enums import EntityType, RetentionAction
from loki_storage.errors import ArchiveError
from loki_storage.models import (
    ArchivedDocument,
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    ExportLog,
    Kind,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.query import In, equals
from loki_storage.repositories.judging import Judge
from loki_storage.repositories.retained import (
    Child,
    Key,
    children_first,
    children_of,
    record_sets,
    rows_under,
)
from loki_storage.retention.archiving import UNREADABLE, Names, move, rewrite
from loki_storage.retention.certificate import Line
from loki_storage.retention.plan import Planned
from loki_storage.retention.planner import export_decisions, member_sets
from loki_storage.retention.reads import reads_of, reads_of_sets
from loki_storage.rules import disposal
from loki_storage.rules.change import Change, Removal
from loki_storage.rules.retained import Member, RecordSet
from loki_storage.rules.retention import EXPORT_LOG, KIND_OF, Decision
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonText, JsonValue, canonical

__all__ = ["RemoveFile", "Task", "tasks"]

LOGGER = logging.getLogger("loki_storage")

"""A row to remove: its kind, id and time."""


RemoveFile = Callable[[ExportLog], str | None]
"""Removes an export's file; why it stays, if it does."""


@attrs.frozen
class Task:
    """A planned record with what is to be done: a change of so many rows, or why nothing is."""

    item: Planned
    change: Change | None = None
    reason: str = ""
    lines: tuple[Line, ...] = ()
    packs: tuple[Key, ...] = ()
    """Rows to compress."""
    left: tuple[str, ...] = ()
    """Bundles that no stub names once the change is committed."""


def tasks(
    session: UnitOfWork,
    judge: Judge,
    items: Sequence[Planned],
    now: datetime,
    told: JsonValue,
    remove_file: RemoveFile,
    names: Names,
) -> Iterator[Task]:
    """A task for each item, in order. ``told`` goes into each audit entry."""
    make = _Makers(session, judge, now, told, remove_file, names)
    start = 0
    while start < len(items):
        entity_type = items[start].entity_type
        end = start
        while end < len(items) and items[end].entity_type == entity_type:
            end += 1
        yield from make.all_of(entity_type, items[start:end])
        start = end


@attrs.frozen
class _Makers:
    session: UnitOfWork
    judge: Judge
    now: datetime
    told: JsonValue
    remove_file: RemoveFile
    names: Names
    _texts: dict[tuple[str | None, str], JsonText] = attrs.field(factory=dict, init=False)
    _emptied: set[int] = attrs.field(factory=set, init=False)
    """Entries of reads that a change of this page empties already."""

    def all_of(self, entity_type: str, items: Sequence[Planned]) -> Iterator[Task]:
        planned = [item for item in items if item.action is not None]
        if entity_type == EntityType.DOCUMENT:
            make = self._documents(planned)
        elif entity_type == EXPORT_LOG:
            make = self._exports(planned)
        else:
            make = self._members(KIND_OF[entity_type], planned)
        for item in items:
            yield Task(item, reason=item.reason) if item.action is None else make(item)

    def _documents(self, items: Sequence[Planned]) -> Callable[[Planned], Task]:
        sets = {each.chain.id: each for each in record_sets(self.session, [i.id for i in items])}
        page = self.judge.page(self.session, list(sets.values()), _compressing(Document, items))
        archived = self._archived([item for item in items if item.id not in sets])
        refused = {
            item.id: _agreed(item, page.document(sets[item.id], self.now))
            for item in items
            if item.id in sets
        }

        def going(action: RetentionAction) -> list[RecordSet]:
            mine = (item.id for item in items if item.id in sets and item.action == action)
            return [sets[id] for id in mine if refused[id] is None]

        children = children_of(self.session, going(RetentionAction.DELETE))
        reads = reads_of_sets(self.session, going(RetentionAction.ANONYMIZE))
        self._emptied.update(entry.id for entries in reads.values() for entry in entries)

        def make(item: Planned) -> Task:
            if item.id not in sets:
                return next(archived)
            reason = refused[item.id]
            if reason is not None:
                return Task(item, reason=reason)
            each = sets[item.id]
            if item.action == RetentionAction.DELETE:
                return self._delete_set(item, each, children[item.id])
            if item.action == RetentionAction.ARCHIVE:
                return self._archive_set(item, each)
            if item.action == RetentionAction.COMPRESS:
                return self._compress(item, each.chain, each.members)
            return self._anonymize(item, each.chain, [*self._whole(each), *reads.get(item.id, ())])

        return make

    # The archive

    def _archive_set(self, item: Planned, each: RecordSet) -> Task:
        records = [record for record in self._whole(each) if type(record) is not AuditEntry]
        links = self.session.query(DocumentTag, equals(document_id=each.chain.id))
        records += [each.chain, *self.session.select(links)]
        name, told = self.names(each.chain.id), self._told(item)
        try:
            change = move(self.session, name, each, records, str(item.policy), told)
        except ArchiveError as error:
            LOGGER.warning("document %s stays where it is: %s", item.id, error)
            return Task(item, reason="the archive store did not take its bundle")
        rows = [(type(row), row.id, _time_of(row)) for row in records if not row.internal]
        return Task(item, change, "", _lines(rows, "archive"))

    def _archived(self, items: Sequence[Planned]) -> Iterator[Task]:
        """Tasks for documents that are in the archive, or nowhere, in the order of the items."""
        ids = [item.id for item in items]
        stubs = self.session.get_many(ArchivedDocument, ids, self.session.tenant)
        groups = archived_sets(self.session, [stubs[id] for id in ids if id in stubs])
        found: Archived | None = None
        for item in items:
            if item.id not in stubs:
                yield Task(item, reason="gone")
                continue
            if found is None or item.id not in found:
                found = next(groups)
            yield self._archived_task(item, stubs[item.id], found)

    def _archived_task(self, item: Planned, stub: ArchivedDocument, found: Archived) -> Task:
        if item.id in found.unreadable:
            return Task(item, reason=UNREADABLE)
        if item.id not in found.sets:
            return Task(item, reason="no longer in the archive")
        each = found.sets[item.id]
        page = self.judge.of_archived().page(found.view, [each])
        refused = _agreed(item, page.document(each, self.now))
        if refused is not None:
            return Task(item, reason=refused)
        there = attrs.evolve(self, session=found.view)
        if item.action == RetentionAction.DELETE:
            task = there._delete_set(item, each, children_of(there.session, [each])[item.id])
        else:
            task = there._anonymize(item, each.chain, there._whole(each))
        return self._elsewhere(task, stub, found.rows[item.id])

    def _elsewhere(self, task: Task, stub: ArchivedDocument, rows: Sequence[Record]) -> Task:
        if task.change is None:
            return task
        name = self.names(stub.id)
        try:
            change = rewrite(self.session, name, stub, rows, task.change)
        except ArchiveError as error:
            LOGGER.warning("archived document %s stays as it is: %s", stub.id, error)
            return Task(task.item, reason="the archive store did not take its bundle")
        return attrs.evolve(task, change=change, left=(stub.bundle,))

    def _members(self, kind: Kind, items: Sequence[Planned]) -> Callable[[Planned], Task]:
        sets = member_sets(self.session, kind, [item.id for item in items])
        distinct = {each.chain.id: each for each in sets.values()}
        page = self.judge.page(self.session, list(distinct.values()), _compressing(kind, items))
        chains = {root: each.chain for root, each in distinct.items()}

        def make(item: Planned) -> Task:
            each = sets.get(item.id)
            if each is None:
                return Task(item, reason="gone")
            member = each.member(kind, item.id)
            refused = _agreed(item, page.member(each, member, self.now))
            if refused is not None:
                return Task(item, reason=refused)
            if item.action == RetentionAction.COMPRESS:
                return self._compress(item, each.chain, [member])
            task = self._member(item, chains[each.chain.id], member)
            if task.change is not None:  # the next of this document builds on it
                chain = chains[each.chain.id]
                chains[chain.id] = chain.replaced({"revision": chain.revision + 1})
            return task

        return make

    def _exports(self, items: Sequence[Planned]) -> Callable[[Planned], Task]:
        logs = self.session.get_many(ExportLog, [i.id for i in items], self.session.tenant)
        asked = {id: log.requested_at for id, log in logs.items()}
        decisions = export_decisions(self.session, self.judge, self.now, asked)

        def make(item: Planned) -> Task:
            if item.id not in logs:
                return Task(item, reason="gone")
            refused = _agreed(item, decisions.get(item.id))
            if refused is not None:
                return Task(item, reason=refused)
            log = logs[item.id]
            kept = self.remove_file(log)
            if kept is not None:
                return Task(item, reason=kept)
            change = Change(
                action="delete",
                entity_type=EntityType.EXPORT,
                entity_id=log.id,
                client_id=log.client_id,
                steps=[Removal(log)],
                metadata=self._told(item),
            )
            return Task(item, change, "", ((ExportLog.table, log.id, log.requested_at, "delete"),))

        return make

    def _compress(self, item: Planned, chain: Chain, members: Iterable[Member]) -> Task:
        change = disposal.compress(chain, self._told(item), item.entity_type, item.id)
        return Task(item, change, packs=tuple((member.kind, member.id) for member in members))

    # Deleting: nothing but ids and times is read.

    def _delete_set(self, item: Planned, each: RecordSet, children: Sequence[Child]) -> Task:
        rows = [*children, *((m.kind, m.id, m.created_at) for m in children_first(each))]
        change = disposal.delete_set(each.chain, [row[:2] for row in rows], self._told(item))
        return Task(item, change, "", _lines(rows, "delete"))

    def _member(self, item: Planned, chain: Chain, member: Member) -> Task:
        if item.action == RetentionAction.ANONYMIZE:
            records = self._whole_member(member)
            owned = {(type(row), row.id): 0 for row in records if type(row) is not AuditEntry}
            reads = reads_of(self.session, owned).get(0, ())
            fresh = [entry for entry in reads if entry.id not in self._emptied]
            self._emptied.update(entry.id for entry in fresh)
            return self._anonymize(item, chain, [*records, *fresh])
        children = self._children_of_member(member)
        ids, told = [id for _, id, _ in children], self._told(item)
        if member.kind is Validation:
            orphaned = self.session.query(Correction, equals(validation_id=member.id))
            corrections: list[Correction] = list(self.session.select(orphaned))
            change = disposal.delete_validation(chain, member.id, ids, corrections, told)
        else:
            change = disposal.delete_correction(chain, member.id, ids, told)
        rows = [*children, (member.kind, member.id, member.created_at)]
        return Task(item, change, "", _lines(rows, "delete"))

    def _children_of_member(self, member: Member) -> list[Child]:
        kind: Kind = ValidationResult
        field, time = "validation_id", "created_at"
        if member.kind is Correction:
            kind, field, time = CorrectionHistory, "correction_id", "changed_at"
        found = rows_under(self.session, kind, field, time, [member.id])
        return [(kind, id, moment) for id, _, moment in found]

    # Anonymizing: whole rows are read, one set at a time.

    def _anonymize(self, item: Planned, chain: Chain, records: list[Record]) -> Task:
        change = disposal.anonymize(
            chain,
            records,
            (token_hex(16) for _ in repeat(None)),
            self._told(item),
            item.entity_type,
            item.id,
        )
        if change is None:
            return Task(item, reason="nothing to anonymize")
        touched = [step.before for step in change.steps if hasattr(step, "before")]
        rows = [(type(row), row.id, _time_of(row)) for row in touched if not row.internal]
        return Task(item, change, "", _lines(rows, "anonymize"))

    def _whole(self, each: RecordSet) -> list[Record]:
        query, documents = self.session.query, [m.id for m in each.versions]
        validations, corrections = (
            [m.id for m in each.validations],
            [m.id for m in each.corrections],
        )
        parts = self.session.select_many(
            [
                query(Document, In("id", documents)),
                query(Validation, In("id", validations)),
                query(ValidationResult, In("validation_id", validations)),
                query(Correction, In("id", corrections)),
                query(CorrectionHistory, In("correction_id", corrections)),
                query(AuditEntry, equals(document_id=each.chain.id)),
            ]
        )
        return [record for part in parts for record in part]

    def _whole_member(self, member: Member) -> list[Record]:
        query, id = self.session.query, member.id
        if member.kind is Validation:
            queries = [
                query(Validation, equals(id=id)),
                query(ValidationResult, equals(validation_id=id)),
                query(AuditEntry, equals(validation_id=id)),
            ]
        else:
            mine = equals(entity_type=EntityType.CORRECTION, entity_id=id)
            queries = [
                query(Correction, equals(id=id)),
                query(CorrectionHistory, equals(correction_id=id)),
                query(AuditEntry, mine),
            ]
        return [record for part in self.session.select_many(queries) for record in part]

    def _told(self, item: Planned) -> JsonText:
        """What the audit entry says besides the rows; the same text for many."""
        found = self._texts.get((item.policy, item.reason))
        if found is None:
            told: Any = self.told
            told = {"policy": item.policy, "reason": item.reason, **told}
            found = canonical(told, "metadata")
            self._texts[item.policy, item.reason] = found
        return found


def _agreed(item: Planned, decision: Decision | None) -> str | None:
    """None where today's decision is the planned one; else why the record is skipped."""
    if decision is None:
        return "no longer due"
    if decision.action is None:
        return decision.reason
    same = (decision.action, decision.policy) == (item.action, item.policy)
    return None if same else "decided otherwise since the preview"


def _compressing(kind: Kind, items: Iterable[Planned]) -> list[Key]:
    """Rows that a run which was killed may have compressed: they are told all the same."""
    return [(kind, item.id) for item in items if item.action == RetentionAction.COMPRESS]


def _lines(rows: Iterable[tuple[Kind, int, datetime | None]], action: str) -> tuple[Line, ...]:
    return tuple((kind.table, id, time, action) for kind, id, time in rows)


def _time_of(record: Record) -> datetime | None:
    for name in ("created_at", "changed_at", "timestamp"):
        if name in record.domains:
            time: datetime = getattr(record, name)
            return time
    return None
