"""Retention policies and legal holds. Running policies is ``RetentionManager``'s work."""

import builtins
from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar

from loki_storage.authorization import not_an_operation
from loki_storage.enums import EntityType, PeriodUnit, PolicyKind, RetentionAction, RetentionTrigger
from loki_storage.errors import Duplicate, InvalidField, InvalidValue, NotFound
from loki_storage.models import (
    ArchivedDocument,
    Document,
    Kind,
    LegalHold,
    RetentionPolicy,
    RetentionState,
)
from loki_storage.query import Condition, IsNull, Order, Query, equals
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.repositories.retained import (
    Coverage,
    active_holds,
    record_sets,
    retention_state,
)
from loki_storage.rules import holds as hold_rules
from loki_storage.rules import retention as rules
from loki_storage.rules.change import Step
from loki_storage.rules.names import item_list
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["HoldRepository", "RetentionRepository", "revised", "unchanged"]

Criteria = Query | dict[str, Any] | None
Holds = list[LegalHold]
Stubs = list[ArchivedDocument]
Policies = list[RetentionPolicy]


class RetentionRepository(Repository[RetentionPolicy]):
    """Policies of the session's tenant. Each change is audited and told to runs (RET-3)."""

    kind: ClassVar[Kind] = RetentionPolicy
    noun = "retention policy"

    @cached_property
    def holds(self) -> "HoldRepository":
        """Legal holds."""
        return HoldRepository(self._session)

    def create(
        self,
        name: str,
        entity_type: EntityType | str,
        action: RetentionAction | str,
        retention_days: int | None = None,
        *,
        period_amount: int | None = None,
        period_unit: PeriodUnit | str | None = None,
        trigger: RetentionTrigger | str = RetentionTrigger.CREATED,
        kind: PolicyKind | str = PolicyKind.MAXIMUM,
        criteria: Criteria = None,
        is_active: bool = True,
        priority: int = 100,
        every_days: int = 1,
        description: str | None = None,
        citation: str | None = None,
        text_date: str | None = None,
        verified: bool = False,
    ) -> RetentionPolicy:
        """A new policy; the period is ``retention_days``, or an amount and a unit (RET-1).

        ``criteria``: a query on the entity type's kind (or its JSON form); only its condition
        counts. Raises ``Duplicate`` where the name is taken, ``InvalidField`` and ``InvalidValue``
        for what could not be run. ``archive`` is done where there is an archive store.
        """
        now = self._session.now()
        policy = RetentionPolicy(
            id=self._new_id(),
            tenant_id=self._session.tenant,
            name=name,
            description=description,
            entity_type=entity_type,
            action=action,  # type: ignore[arg-type]
            criteria=_json(criteria),
            is_active=is_active,
            priority=priority,
            created_at=now,
            updated_at=now,
            created_by=self._session.actor.id,
            trigger=trigger,
            kind=kind,  # type: ignore[arg-type]
            every_days=every_days,
            citation=citation,
            text_date=text_date,
            verified=verified,
            **rules.period_fields(retention_days, period_amount, period_unit),
        )
        self._check_free(policy)
        self._session.add(rules.create(policy, revised(self._session)))
        return policy

    def update(self, id: int, **fields: Any) -> RetentionPolicy:
        """Change a policy; a new period is given whole (days, or amount and unit)."""
        policy = self._stored(id)
        for name in fields:
            if name not in rules.EDITABLE:
                raise InvalidField(name, "cannot be updated on a policy", rules.EDITABLE)
        if "criteria" in fields:
            fields["criteria"] = _json(fields["criteria"])
        if not fields.keys().isdisjoint(("retention_days", "period_amount", "period_unit")):
            fields |= rules.period_fields(
                fields.pop("retention_days", None),
                fields.pop("period_amount", None),
                fields.pop("period_unit", None),
            )
        if "name" in fields:
            self._check_free(policy.evolve(name=fields["name"]))
        self._session.check_known(policy, fields)
        change = rules.update(policy, self._session.now(), revised(self._session), **fields)
        if change is not None:
            self._session.add(change)
        return self._updated(id)

    def activate(self, id: int) -> RetentionPolicy:
        """Switch a policy on."""
        return self.update(id, is_active=True)

    def deactivate(self, id: int) -> RetentionPolicy:
        """Switch a policy off; a minimum that is off protects nothing."""
        return self.update(id, is_active=False)

    def delete(self, id: int) -> None:
        """Remove a policy; the audit keeps what it was."""
        self._session.add(rules.delete(self._stored(id), revised(self._session)))

    def list(self, active_only: bool = False) -> Policies:
        """The policies by priority and name."""
        where = equals(is_active=True) if active_only else equals()
        return self._list(self._query(where, order=(Order("priority"), Order("name"))))

    def get_by_name(self, name: str) -> RetentionPolicy | None:
        """The policy of exactly this name."""
        return self._first(self._query(equals(name=name)))

    def list_archived(
        self, client_id: str | None = None, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> Stubs:
        """What stays of archived documents, by root id."""
        where = equals() if client_id is None else equals(client_id=client_id)
        query = self._session.query(ArchivedDocument, where, limit=limit, offset=offset)
        return self._list(query)

    def unarchive(self, ids: Iterable[int]) -> builtins.list[int]:
        """Bring archived documents back as they were, each in a commit of its own (TXN-9).

        ``ids``: any versions of them. Returns the root ids that came back; live documents are
        passed over. Afterwards their bundles are removed. ``NotFound`` for an unknown id,
        ``ArchiveError`` where a bundle cannot be read, ``IllegalTransition`` where what has been
        recorded since is in the way; those before it are back. A policy that is still due archives
        them again; a hold prevents that.
        """
        from loki_storage.repositories.unarchiving import unarchive  # most never need it

        return unarchive(self._session.fresh(), item_list("ids", ids))

    @not_an_operation
    def selecting(self, kind: Kind, where: Condition) -> Query:
        """A query for ``criteria`` of this tenant."""
        return self._session.query(kind, where)

    def _check_free(self, policy: RetentionPolicy) -> None:
        for holder in self._session.both_views(self._query(equals(name=policy.name))):
            if holder.id != policy.id:
                raise Duplicate(RetentionPolicy.table, ("name",))


class HoldRepository(Repository[LegalHold]):
    """Legal holds of the session's tenant (HLD)."""

    kind: ClassVar[Kind] = LegalHold
    noun = "legal hold"
    default_order: ClassVar[str] = "placed_at"

    def place(
        self,
        name: str,
        reason: str,
        ids: Iterable[int] | None = None,
        query: Criteria = None,
        entity_type: EntityType | str = EntityType.DOCUMENT,
    ) -> LegalHold:
        """Protect records from being destroyed, until ``release``.

        ``ids``: any versions of documents (the whole documents are held), or validations or
        corrections; unknown ones are ``NotFound``. ``query``: all that it matches, whenever they
        are created. Placed by the session's actor; ``Duplicate`` where the name was ever used.
        """
        hold = LegalHold(
            id=self._new_id(),
            tenant_id=self._session.tenant,
            name=name,
            reason=reason,
            entity_type=entity_type,
            ids=None if ids is None else self._ranges(entity_type, ids),
            query=_json(query),
            placed_by=self._session.actor.id,
            placed_at=self._session.now(),
        )
        change = hold_rules.place(hold, revised(self._session))
        if self._session.both_views(self._query(equals(name=hold.name))):
            raise Duplicate(LegalHold.table, ("name",))
        self._session.add(change)
        return hold

    def release(self, hold: int | str, reason: str | None = None) -> LegalHold:
        """End a hold, named by id or name; others on the same records stay (HLD-2)."""
        found = self._named(hold)
        by, now = self._session.actor.id, self._session.now()
        change = hold_rules.release(found, now, by, reason, revised(self._session))
        self._session.add(change)
        return self._updated(found.id)

    def list(self, active_only: bool = True) -> Holds:
        """The holds, oldest first."""
        where = IsNull("released_at") if active_only else equals()
        return self._list(self._query(where, order=(Order("placed_at"),)))

    def covering(self, document_id: int) -> Holds:
        """The active holds on a document (any version may be named) or on what hangs on it."""
        session: UnitOfWork = self._session
        document = session.get(Document, document_id)
        if document is None:
            from loki_storage.archives import with_archived  # most are not archived

            session = with_archived(session, document_id=document_id)
            document = session.get(Document, document_id)
        if document is None:
            raise NotFound("document", document_id)
        sets = record_sets(session, [document.root_id])
        holds = active_holds(session)
        coverage = Coverage.of(session, holds, sets)
        names = {name for each in sets for name in coverage.over(each)}
        return [hold for hold in holds if hold.name in names]

    def _named(self, hold: int | str) -> LegalHold:
        where = equals(name=hold) if isinstance(hold, str) else equals(id=hold)
        found: LegalHold | None = next(iter(self._session.select(self._query(where))), None)
        if found is None:
            raise NotFound(self.noun, hold)
        return found

    def _ranges(self, entity_type: str, ids: Iterable[int]) -> Any:
        """The ids that are held; of documents those of all versions that there are or will be."""
        word = LegalHold.domains["entity_type"].accept("entity_type", entity_type)
        kind, wanted = hold_rules.HELD.get(str(word)), item_list("ids", ids)
        if kind is None:
            raise InvalidField(entity_type, "cannot be held", hold_rules.HELD)
        if not wanted:
            raise InvalidValue("ids", "must name something")
        found = self._session.get_many(kind, wanted, self._session.tenant)
        roots = {record.root_id if kind is Document else id for id, record in found.items()}  # type: ignore[attr-defined]
        missing = [id for id in wanted if id not in found]
        return hold_rules.id_ranges(roots | self._archived(entity_type, kind, missing))

    def _archived(self, entity_type: str, kind: Kind, ids: builtins.list[int]) -> set[int]:
        """What is held where these are in the archive; ``NotFound`` of one that is not."""
        if not ids:
            return set()
        from loki_storage.archives import stubs_of  # most are not archived

        found = stubs_of(self._session, kind, ids)
        for id in ids:
            if id not in found:
                raise NotFound(entity_type, id)
        return {stub.id if kind is Document else id for id, stub in found.items()}


def revised(session: UnitOfWork) -> Step:
    """The step that tells runs of a change of policies or holds."""
    state = retention_state(session)
    id = session.new_ids({RetentionState: 1})[RetentionState][0] if state is None else 0
    return rules.revised(state, id, session.tenant)


def unchanged(session: UnitOfWork, state: RetentionState | None) -> Step:
    """The step that lets a batch fail if a policy or hold has changed since ``state`` was read."""
    id = session.new_ids({RetentionState: 1})[RetentionState][0] if state is None else 0
    return rules.unchanged(state, id, session.tenant)


def _json(criteria: Criteria) -> Any:
    return criteria.to_json() if isinstance(criteria, Query) else criteria
