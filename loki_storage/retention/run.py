"""Carries out one tenant's plan: bounded batches, each a commit of its own, resumable (RET-3)."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from loki_storage.archives import discard
from loki_storage.batch import Insert
from loki_storage.enums import AuditAction, EntityType, PolicyKind
from loki_storage.errors import ArchiveError, Conflict, Contention, Duplicate, StaleWrite
from loki_storage.models import AuditEntry, Kind, RetentionPolicy, RetentionRun
from loki_storage.query import In, Order, equals
from loki_storage.repositories.disposing import free_entries, oldest_entries
from loki_storage.repositories.judging import Judge
from loki_storage.repositories.retention import unchanged
from loki_storage.retention.archiving import Names, orphans
from loki_storage.retention.certificate import EMPTY, Line, sealed
from loki_storage.retention.cutoffs import audit_days
from loki_storage.retention.plan import Planned, TenantPlan
from loki_storage.retention.planner import PAGE
from loki_storage.retention.progress import Progress
from loki_storage.retention.work import RemoveFile, Task, tasks
from loki_storage.rules.audit import cleanup, cleanup_limit
from loki_storage.rules.change import NO_CLIENT, Change, Edit, Step, guarded_edit
from loki_storage.rules.retention import end_of
from loki_storage.unit_of_work import UnitOfWork, pauses
from loki_storage.values import JsonText, JsonValue, canonical

__all__ = ["BATCH_ROWS", "LEASE", "TenantRun"]

LOGGER = logging.getLogger("loki_storage")

BATCH_ROWS = 400
"""Rows after which a batch is committed; a document is never split."""
LEASE = timedelta(seconds=30)
"""How long a run that gives no sign of life keeps others out."""
AUDIT_PAGE = 1000
"""Audit entries that one batch looks at."""
ATTEMPTS = 20
"""How often a batch is decided anew because others write to its records."""
REMAINS = (
    "audit entries without content; copies in backups and exports made before, until they expire"
)


@attrs.define
class TenantRun:
    """One run for one tenant. ``step`` is told after each commit how many records are done with."""

    open: Callable[[], UnitOfWork]
    owner: str
    patience: float = 60.0
    batch_rows: int = BATCH_ROWS
    step: Callable[[int], None] = lambda done: None
    remove_file: RemoveFile = lambda log: None

    def carry_out(
        self, plan: TenantPlan | None, remake: Callable[[datetime], TenantPlan]
    ) -> RetentionRun:
        """The finished run, with its certificate. One that was killed is gone on with.

        ``remake`` gives a plan as of a time: that of an unfinished run whose plan is not at hand,
        or now's. ``Contention`` where another run has the lease for longer than ``patience``.
        """
        done = None if plan is None else self._finished(plan.hash)
        if done is not None:
            return done
        row, plan = self._begin(plan, remake)
        items, progress = plan.items, Progress.from_json(row.progress)
        while row.position < len(items):
            page = items.part(row.position, PAGE)
            row, progress = self._page(row, plan, progress, page)
        return self._finish(row, progress, plan)

    # The lease

    def _begin(
        self, plan: TenantPlan | None, remake: Callable[[datetime], TenantPlan]
    ) -> tuple[RetentionRun, TenantPlan]:
        deadline = time.monotonic() + self.patience
        for pause in pauses():
            session = self.open()
            active = self._active(session)
            try:
                if active is None:
                    started = plan or remake(session.now())
                    return self._start(session, started), started
                if active.lease_until <= session.now():
                    if plan is None:
                        return self._take_over(session, active, 0), remake(active.as_of)
                    if plan.hash == active.plan_hash:
                        return self._take_over(session, active, active.position), plan
                    self.carry_out(None, remake)  # first things first: it gets its certificate
                    continue
            except (Duplicate, StaleWrite):
                continue
            if time.monotonic() >= deadline:
                raise Contention("another run of retention holds the lease; try again later")
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _active(self, session: UnitOfWork) -> RetentionRun | None:
        return next(iter(session.select(session.query(RetentionRun, equals(active=True)))), None)

    def _finished(self, plan_hash: str) -> RetentionRun | None:
        session = self.open()
        where = equals(plan_hash=plan_hash, active=False)
        newest = session.query(RetentionRun, where, order=(Order("id", True),), limit=1)
        for row in session.select(newest):
            return None if row.certificate is None else row
        return None

    def _start(self, session: UnitOfWork, plan: TenantPlan) -> RetentionRun:
        now, id = session.now(), session.new_ids({RetentionRun: 1})[RetentionRun][0]
        progress = Progress(audit_first=session.next_audit_id)
        row = RetentionRun(
            id=id,
            tenant_id=session.tenant,
            plan_hash=plan.hash,
            owner=self.owner,
            lease_until=now + LEASE,
            as_of=plan.as_of,
            started_at=now,
            started_by=session.actor.id,
            progress=_text(progress.to_json()),
        )
        told: JsonValue = {"plan": plan.hash, "records": len(plan.items)}
        session.add(_run_change(AuditAction.START, row, [Insert(row)], told))
        session.commit()
        return row

    def _take_over(self, session: UnitOfWork, row: RetentionRun, position: int) -> RetentionRun:
        lease = session.now() + LEASE
        taken = guarded_edit(row, "position", owner=self.owner, lease_until=lease)
        if position != row.position:
            taken = guarded_edit(row, owner=self.owner, lease_until=lease, position=position)
        told: JsonValue = {"resumed_at": position}
        session.add(_run_change(AuditAction.UPDATE, row, [taken], told))
        session.commit()
        return row.replaced(taken.operation.changes)

    # The batches

    def _page(
        self, row: RetentionRun, plan: TenantPlan, progress: Progress, items: Sequence[Planned]
    ) -> tuple[RetentionRun, Progress]:
        """All items of a page, in as many commits as it takes."""
        end, attempts = row.position + len(items), 0
        while row.position < end:
            left = items[len(items) - (end - row.position) :]
            try:
                for came in self._some(row, plan, progress, left, attempts):
                    (row, progress), attempts = came, 0
            except Conflict:
                self._still_ours(row)
                attempts += 1
                if attempts > ATTEMPTS:
                    busy = Task(left[0], reason="changed by others all the time")
                    row, progress = self._passed(row, progress, [busy])
                    attempts = 0
                time.sleep(next(pauses()))
        return row, progress

    def _some(
        self,
        row: RetentionRun,
        plan: TenantPlan,
        progress: Progress,
        left: Sequence[Planned],
        attempts: int,
    ) -> Iterator[tuple[RetentionRun, Progress]]:
        """Judge what is left as it is now and act on it; how far it came, after each commit."""
        session = self.open()
        judge = Judge.read(session, plan.chosen)
        if left[0].entity_type == EntityType.AUDIT:
            yield self._clean_audit(judge, row, plan, progress, left[0])
            return
        now = min(plan.as_of, session.now())  # a clock that was set back makes nothing due
        told: JsonValue = {"run": row.id, "plan": plan.hash}
        planned = [item for item in left if item.entity_type != EntityType.AUDIT]
        rows = 1 if attempts > ATTEMPTS // 2 else self.batch_rows
        names = Names(row.plan_hash, self.owner)
        found = tasks(session, judge, planned, now, told, self.remove_file, names)
        for batch in _batches(found, rows):
            row, progress = self._commit(session, judge, row, progress, batch)
            yield row, progress

    def _commit(
        self,
        session: UnitOfWork,
        judge: Judge,
        row: RetentionRun,
        progress: Progress,
        batch: Sequence[Task],
    ) -> tuple[RetentionRun, Progress]:
        changes = [task.change for task in batch if task.change is not None]
        if not changes:
            return self._passed(row, progress, batch)
        after = _after(progress, batch)
        _compress(session, batch, after)
        moved = self._moved(session, row, after, len(batch))
        guard = unchanged(session, judge.state)
        last = attrs.evolve(changes[-1], steps=[*changes[-1].steps, guard, moved])
        session.new_ids({AuditEntry: len(changes)})  # all of them at once
        for change in [*changes[:-1], last]:
            session.add(change)
        session.commit()
        discard(session.archive, [name for task in batch for name in task.left])
        self.step(len(batch))
        return row.replaced(moved.operation.changes), after

    def _passed(
        self, row: RetentionRun, progress: Progress, batch: Sequence[Task]
    ) -> tuple[RetentionRun, Progress]:
        """Nothing is written for what is skipped; the next commit tells of it."""
        self.step(len(batch))
        after = _after(progress, batch)
        return row.replaced({"position": row.position + len(batch)}), after

    def _moved(self, session: UnitOfWork, row: RetentionRun, progress: Progress, done: int) -> Edit:
        """The run's own step in a batch; it fails where another process has taken over."""
        changes: dict[str, Any] = {
            "position": row.position + done,
            "progress": _text(progress.to_json()),
            "lease_until": session.now() + LEASE,
        }
        return Edit(row, changes, {"owner": self.owner, "active": True})

    def _still_ours(self, row: RetentionRun) -> None:
        """``Contention`` where another process has taken the run over."""
        found = self.open().get(RetentionRun, row.id)
        if found is None or found.owner != self.owner or not found.active:
            raise Contention("another process has taken over this run of retention")

    def _clean_audit(
        self, judge: Judge, row: RetentionRun, plan: TenantPlan, progress: Progress, item: Planned
    ) -> tuple[RetentionRun, Progress]:
        """Remove old audit entries as ``cleanup_old_entries`` does, a page per commit."""
        decided = audit_days(judge.about(EntityType.AUDIT), plan.as_of)
        if item.action is None or decided is None or decided[1] is None:
            reason = item.reason if item.action is None else "decided otherwise since the preview"
            return self._passed(row, progress, [Task(item, reason=reason)])
        before = cleanup_limit(plan.as_of, decided[1])
        last: tuple[datetime, int] | None = None
        while True:
            session = self.open()
            old = oldest_entries(session, before, AUDIT_PAGE, last)
            if not old:
                self.step(1)
                return row.replaced({"position": row.position + 1}), progress
            last = (old[-1].timestamp, old[-1].id)
            state, free = free_entries(session, old)
            if free:
                after = progress.copy()
                lines: list[Line] = [(e.table, e.id, e.timestamp, "delete") for e in free]
                after.cleaned(item, lines)
                moved = self._moved(session, row, after, 0)
                change = cleanup(free, before)
                session.add(attrs.evolve(change, steps=[*change.steps, state, moved]))
                session.commit()
                row, progress = row.replaced(moved.operation.changes), after

    # The end

    def _finish(self, row: RetentionRun, progress: Progress, plan: TenantPlan) -> RetentionRun:
        """The certificate, and what policies keep of their runs, in one commit."""
        self._sweep(row)
        for pause in pauses():
            session = self.open()
            try:
                return self._finished_in(session, row, progress, plan)
            except Conflict:
                self._still_ours(row)
                time.sleep(pause)
        raise AssertionError("pauses never end")

    def _sweep(self, row: RetentionRun) -> None:
        """Remove bundles that killed runs left without a stub."""
        session = self.open()
        if session.archive is None:
            return
        try:
            found = orphans(session, session.archive)
        except ArchiveError as error:
            LOGGER.warning("bundles without a document were not looked for: %s", error)
            return
        self._still_ours(row)
        discard(session.archive, found)

    def _finished_in(
        self, session: UnitOfWork, row: RetentionRun, progress: Progress, plan: TenantPlan
    ) -> RetentionRun:
        now = session.now()
        names = In("name", sorted(plan.chosen))
        policies = session.select(session.query(RetentionPolicy, names))
        for policy in [p for p in policies if p.kind == PolicyKind.MAXIMUM]:
            session.add(_ran(policy, row, progress, now))
        certificate = _certificate(session, row, progress, plan, now)
        changes: dict[str, Any] = {
            "active": False,
            "finished_at": now,
            "position": len(plan.items),
            "progress": _text(progress.to_json()),
            "certificate": JsonText(certificate),
        }
        ended = Edit(row, changes, {"owner": self.owner, "active": True})
        told: JsonValue = {"plan": plan.hash, "digest": progress.digest}
        session.add(_run_change(AuditAction.COMPLETE, row, [ended], told))
        session.commit()
        return row.replaced(ended.operation.changes)


def _batches(found: Iterator[Task], most: int) -> Iterator[list[Task]]:
    """Tasks until they have so many rows; one is never split."""
    batch: list[Task] = []
    rows = 0
    for task in found:
        batch.append(task)
        rows += len(task.lines) + len(task.packs)
        if rows >= most:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _compress(session: UnitOfWork, batch: Sequence[Task], progress: Progress) -> None:
    """Before the commit that tells of it: killed between, it is done again, to the same end."""
    found: dict[tuple[str, Kind], list[int]] = {}
    for task in batch:
        for kind, id in task.packs:
            found.setdefault((str(task.item.policy), kind), []).append(id)
    for (policy, kind), ids in found.items():
        progress.saved[policy] += session.compact(kind, ids) or 0


def _after(progress: Progress, batch: Sequence[Task]) -> Progress:
    after = progress.copy()
    for task in batch:
        if task.change is None:
            after.skip(task.item, task.reason)
        else:
            after.done(task.item, list(task.lines))
    return after


def _text(value: JsonValue) -> JsonText:
    return canonical(value, "progress", bounded=False)


def _ran(policy: RetentionPolicy, row: RetentionRun, progress: Progress, now: datetime) -> Change:
    """What a policy keeps of its runs; no change of the policy, so ``RetentionState`` stays."""
    seen, acted = progress.seen[policy.name], progress.records[policy.name]
    changed = guarded_edit(
        policy,
        last_run=now,
        next_run=end_of(now, policy.every_days, "days"),
        total_processed=policy.total_processed + seen,
        total_affected=policy.total_affected + acted,
    )
    return Change(
        action=AuditAction.UPDATE,
        entity_type=EntityType.POLICY,
        entity_id=policy.id,
        client_id=NO_CLIENT,
        steps=[changed],
        metadata={"run": row.id},
    )


def _run_change(action: str, row: RetentionRun, steps: Sequence[Step], told: JsonValue) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.RETENTION,
        entity_id=row.id,
        client_id=NO_CLIENT,
        steps=steps,
        metadata=told,
    )


def _certificate(
    session: UnitOfWork, row: RetentionRun, progress: Progress, plan: TenantPlan, now: datetime
) -> str:
    return sealed(
        {
            "tenant": row.tenant_id,
            "run": row.id,
            "plan": plan.hash,
            "as_of": plan.as_of.isoformat(),
            "started_at": row.started_at.isoformat(),
            "finished_at": now.isoformat(),
            "actor": session.actor.id,
            "policies": list(plan.policies),
            "counts": progress.counted(),
            "records": dict(sorted(progress.records.items())),
            "saved_bytes": dict(sorted(progress.saved.items())),
            "skipped": dict(sorted(progress.skipped.items())),
            "digest": progress.digest or EMPTY,
            "digest_over": "kind, id, time, action of each row, in the order of the run",
            "audit": {"first": progress.audit_first, "last": session.next_audit_id},
            "remains": REMAINS,
        }
    )
