"""``RetentionManager``: what is due, what is done about it, and what may not be touched."""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import attrs

from loki_storage.errors import ExportError, IllegalTransition, InvalidValue, NotFound
from loki_storage.export_manager import ExportManager
from loki_storage.models import DEFAULT_TENANT, ExportLog, LegalHold, RetentionPolicy, RetentionRun
from loki_storage.protocol import Count
from loki_storage.query import Query, equals
from loki_storage.retention.certificate import verify
from loki_storage.retention.plan import Plan, TenantPlan
from loki_storage.retention.planner import plan_tenant
from loki_storage.retention.progress import Progress
from loki_storage.retention.run import TenantRun
from loki_storage.rules.change import Actor
from loki_storage.session import default_storage
from loki_storage.storage import Session, Storage

__all__ = ["Holds", "Report", "RetentionManager", "TenantReport"]


@attrs.frozen
class TenantReport:
    """What a run did for one tenant."""

    tenant: str
    run_id: int
    plan_hash: str
    records: dict[str, int]
    """Policy -> records that it acted on."""
    saved_bytes: dict[str, int]
    """Policy -> bytes that the texts which it compressed take less."""
    skipped: dict[str, int]
    """Reason -> records that stayed as they are."""
    examples: list[tuple[str, int, str]]
    """The first 100 skipped: entity type, id, reason."""
    certificate: str = attrs.field(repr=False)

    @classmethod
    def of(cls, run: RetentionRun) -> "TenantReport":
        progress = Progress.from_json(run.progress)
        return cls(
            run.tenant_id,
            run.id,
            run.plan_hash,
            dict(progress.records),
            dict(progress.saved),
            dict(progress.skipped),
            progress.examples,
            str(run.stored("certificate")),
        )


@attrs.frozen
class Report:
    """What a run did."""

    tenants: tuple[TenantReport, ...]

    @property
    def affected(self) -> int:
        """Records that were acted on."""
        return sum(sum(each.records.values()) for each in self.tenants)

    @property
    def skipped(self) -> int:
        """Records that stayed as they are."""
        return sum(sum(each.skipped.values()) for each in self.tenants)


class RetentionManager:
    """Runs the retention policies of a store: of every tenant, unless one is named.

    ``actor`` stands in every audit entry and certificate.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        *,
        actor: Actor | str | None = None,
        tenant: str | None = None,
    ) -> None:
        self._storage = storage or default_storage()
        self._actor, self._tenant = actor, tenant
        self.holds = Holds(self)

    def preview(
        self,
        policies: Collection[str] | None = None,
        *,
        as_of: datetime | None = None,
        due_only: bool = False,
    ) -> Plan:
        """What ``run`` would do, record by record, with the reasons; writes nothing.

        ``policies``: names of the maximums to go by, all active ones by default (minimums and holds
        always count); ``due_only``: those whose ``next_run`` has come. ``as_of``: a time not later
        than now. Cost: reads each record that may be due, a page at a time; ten bytes of memory
        each.
        """
        parts = []
        for tenant in self._tenants():
            session = self._session(tenant)
            now = session.now()
            if as_of is not None and as_of > now:
                raise InvalidValue("as_of", "is in the future: nothing is due before its time")
            chosen = _due_policies(session, now, policies) if due_only else policies
            if chosen is None or chosen:
                parts.append(plan_tenant(session, as_of or now, chosen))
        return Plan(tuple(parts))

    def run(
        self,
        plan: Plan | None = None,
        *,
        policies: Collection[str] | None = None,
        patience: float = 60.0,
        progress: Callable[[int], None] | None = None,
    ) -> Report:
        """Carry out a plan, or without one what is due now; go on with a run that was killed.

        Holds, policies and records are looked at again inside each batch: what they forbid now is
        skipped and told. ``progress`` is called with the number of records done with since its last
        call. Raises ``Contention`` where another run is at it for longer than ``patience`` seconds.
        A plan that was carried out already gives the same report again.
        """
        parts: dict[str, TenantPlan | None] = dict.fromkeys(self._tenants())
        if plan is not None:
            parts = {part.tenant: part for part in plan.tenants}
        step = progress or (lambda done: None)
        reports = []
        for tenant, part in parts.items():
            run = TenantRun(
                lambda tenant=tenant: self._session(tenant),  # type: ignore[misc]
                owner=_owner(),
                patience=patience,
                step=step,
                remove_file=partial(self._remove_file, tenant),
            )
            done = run.carry_out(
                part,
                lambda as_of, tenant=tenant: plan_tenant(  # type: ignore[misc]
                    self._session(tenant), as_of, policies
                ),
            )
            reports.append(TenantReport.of(done))
        return Report(tuple(reports))

    def certificate(self, run_id: int) -> str:
        """The certificate of disposal of a finished run; ``NotFound`` where there is none."""
        for tenant in self._tenants():
            row = self._session(tenant).get(RetentionRun, run_id)
            if row is not None and row.stored("certificate") is not None:
                return str(row.stored("certificate"))
        raise NotFound("certificate of run", run_id)

    def unarchive(self, ids: Iterable[int]) -> list[int]:
        """Bring archived documents back; see ``session.retention.unarchive``.

        In the manager's tenant, or ``"default"``.
        """
        tenant = self._tenant or DEFAULT_TENANT
        with self._session(tenant) as session:
            return session.retention.unarchive(ids)

    @staticmethod
    def verify_certificate(certificate: str | bytes | Path) -> dict[str, Any]:
        """Its facts; ``InvalidValue`` if a byte was changed. Needs no store."""
        text = certificate.read_bytes() if isinstance(certificate, Path) else certificate
        return verify(text)

    def _remove_file(self, tenant: str, log: ExportLog) -> str | None:
        """Remove an export's file, if it still is what the log describes; why it stays, if so."""
        if log.file_path is None:
            return None
        folder = Path(log.file_path).parent
        exports = ExportManager(self._storage, folder, actor=self._actor, tenant=tenant)
        try:
            exports.delete_export(log.id)
        except (ExportError, IllegalTransition):
            return "its file is not what its log describes, or not complete"
        return None

    def _tenants(self) -> list[str]:
        """The tenant of this manager, or every one that has policies."""
        if self._tenant is not None:
            return [self._tenant]
        policies = Query(RetentionPolicy, None, equals(is_active=True))
        groups = self._storage.backend.aggregate(policies, ["tenant_id"], [Count()])
        return [str(group.key[0]) for group in groups]

    def _session(self, tenant: str) -> Session:
        return self._storage.session(tenant=tenant, actor=self._actor)


class Holds:
    """Legal holds, each change a commit of its own; in a session: ``session.retention.holds``.

    In the manager's tenant, or ``"default"``.
    """

    def __init__(self, manager: RetentionManager) -> None:
        self._manager = manager

    def place(self, name: str, reason: str, **covered: Any) -> LegalHold:
        """Place a hold on ``ids=`` or a ``query=`` of an ``entity_type=``."""
        placed: LegalHold = self._run(lambda s: s.retention.holds.place(name, reason, **covered))
        return placed

    def release(self, hold: int | str, reason: str | None = None) -> LegalHold:
        """End a hold; others on the same records stay."""
        released: LegalHold = self._run(lambda s: s.retention.holds.release(hold, reason))
        return released

    def list(self, active_only: bool = True) -> Sequence[LegalHold]:
        """The holds, oldest first."""
        found: Sequence[LegalHold] = self._run(lambda s: s.retention.holds.list(active_only))
        return found

    def covering(self, document_id: int) -> Sequence[LegalHold]:
        """The active holds on a document or on what hangs on it."""
        found: Sequence[LegalHold] = self._run(lambda s: s.retention.holds.covering(document_id))
        return found

    def _run(self, fn: Callable[[Session], Any]) -> Any:
        manager = self._manager
        tenant = manager._tenant or DEFAULT_TENANT
        return manager._storage.run(fn, tenant=tenant, actor=manager._actor)


def _due_policies(session: Session, now: datetime, policies: Collection[str] | None) -> list[str]:
    found = session.retention.list(active_only=True)
    due = [p.name for p in found if p.next_run is None or p.next_run <= now]
    return [name for name in due if policies is None or name in policies]


def _owner() -> str:
    """Who has a lease: a new name for each run, with where to look for it."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{token_hex(8)}"
