"""Judges record sets by the tenant's policies and holds as they are now (RET-2)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from loki_storage.enums import EntityType, PolicyKind, RetentionAction
from loki_storage.models import Document, LegalHold, RetentionPolicy, RetentionState
from loki_storage.query import equals
from loki_storage.repositories.retained import (
    Coverage,
    Key,
    holding,
    matching,
)
from loki_storage.rules import retention as rules
from loki_storage.rules.retained import Member, RecordSet
from loki_storage.rules.retention import Decision, Term
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["SUPPORTED", "Judge", "Page"]

SUPPORTED = frozenset({RetentionAction.ANONYMIZE, RetentionAction.DELETE})
"""What can be done to records everywhere; the rest where there is an archive store, or a backend
that can."""

_MEMBERS = (EntityType.VALIDATION, EntityType.CORRECTION)
_ENTITY_OF = {rules.KIND_OF[entity_type]: entity_type for entity_type in _MEMBERS}


@attrs.frozen
class Judge:
    """The active policies and holds at one revision of the tenant's ``RetentionState``."""

    state: RetentionState | None
    policies: tuple[RetentionPolicy, ...]
    holds: tuple[LegalHold, ...]
    supported: frozenset[RetentionAction] = SUPPORTED
    _sorted: dict[tuple[str, str | None], list[RetentionPolicy]] = attrs.field(
        factory=dict, init=False, eq=False
    )

    @classmethod
    def read(cls, session: UnitOfWork, chosen: Collection[str] | None = None) -> "Judge":
        """The state first: what follows is at least as new as the revision that is guarded.

        ``chosen``: names of the maximums to go by; minimums and holds always count.
        """
        states, policies, holds = session.select_many(
            [
                session.query(RetentionState),
                session.query(RetentionPolicy, equals(is_active=True)),
                holding(session),
            ]
        )
        wanted = [
            policy
            for policy in policies
            if policy.kind == PolicyKind.MINIMUM or chosen is None or policy.name in chosen
        ]
        state = states[0] if states else None
        return cls(state, tuple(wanted), tuple(holds), _supported(session))

    def of_archived(self) -> "Judge":
        """For documents that are in the archive: what archives or compresses is in effect there."""
        due = [
            policy
            for policy in self.policies
            if policy.kind == PolicyKind.MINIMUM or policy.action in rules.DESTRUCTIVE
        ]
        return attrs.evolve(self, policies=tuple(due))

    def about(self, entity_type: str, kind: str | None = None) -> list[RetentionPolicy]:
        """The policies for an entity type, of one kind or of both."""
        found = self._sorted.get((entity_type, kind))
        if found is None:
            mine = [p for p in self.policies if p.entity_type == entity_type]
            found = [p for p in mine if kind in (None, p.kind)]
            self._sorted[entity_type, kind] = found
        return found

    def page(
        self, session: UnitOfWork, sets: Sequence[RecordSet], anew: Collection[Key] = ()
    ) -> "Page":
        """Ask every criterion and hold about these sets: one query each, whatever their number.

        ``anew``: rows to compress even where that is done, as by a run that was killed since.
        """
        ids: dict[str, list[int]] = {
            EntityType.DOCUMENT: [m.id for each in sets for m in each.versions],
            EntityType.VALIDATION: [m.id for each in sets for m in each.validations],
            EntityType.CORRECTION: [m.id for each in sets for m in each.corrections],
        }
        matched = {
            policy.id: _matched(session, policy, ids[policy.entity_type])
            for policy in self.policies
            if policy.entity_type in ids
        }
        plain = set(anew)
        if any(policy.action == RetentionAction.COMPRESS for policy in self.policies):
            for entity_type, of_type in ids.items():
                kind = rules.KIND_OF[entity_type]
                plain |= {(kind, id) for id in session.compactable(kind, of_type)}
        return Page(self, matched, Coverage.of(session, self.holds, sets), plain)


@attrs.frozen
class Page:
    """What a judge found out about some record sets; from here on nothing is read."""

    judge: Judge
    matched: Mapping[int, set[int]]
    coverage: Coverage
    plain: Collection[Key] = ()
    """Rows that can still be compressed."""

    def document(self, each: RecordSet, as_of: datetime) -> Decision | None:
        """The decision on a document with all that hangs on it."""
        supported = self.judge.supported
        usable = self._usable(supported, each.members, each.anonymized)
        terms = [*self._document_terms(each), *self._member_minimums(each)]
        return rules.decide(as_of, terms, self.coverage.over(each), usable, supported)

    def member(self, each: RecordSet, member: Member, as_of: datetime) -> Decision | None:
        """The decision on one validation or correction by itself."""
        supported = self.judge.supported - {RetentionAction.ARCHIVE}
        usable = self._usable(supported, [member], member.anonymized)
        entity_type = _ENTITY_OF[member.kind]
        own = [
            Term(policy, each.times_of(member).get(policy.trigger))
            for policy in self.judge.about(entity_type)
            if member.id in self.matched[policy.id]
        ]
        minimums = [t for t in self._document_terms(each) if t.policy.kind == PolicyKind.MINIMUM]
        holds = self.coverage.over_member(each, member)
        return rules.decide(as_of, [*own, *minimums], holds, usable, supported)

    def kept_by(self, each: RecordSet, as_of: datetime) -> str | None:
        """The policy that keeps a document from being destroyed yet, if one does."""
        return rules.kept_by(as_of, [*self._document_terms(each), *self._member_minimums(each)])

    def _usable(
        self, supported: frozenset[RetentionAction], members: Iterable[Member], anonymized: bool
    ) -> frozenset[RetentionAction]:
        """What is not in effect already."""
        done = {RetentionAction.ANONYMIZE} if anonymized else set()
        if not any((member.kind, member.id) in self.plain for member in members):
            done.add(RetentionAction.COMPRESS)
        return supported - done

    def _document_terms(self, each: RecordSet) -> list[Term]:
        """A maximum is about the newest version; a minimum that any version matches protects."""
        policies = self.judge.about(EntityType.DOCUMENT)
        if not policies:
            return []
        times, newest = each.times(), each.versions[-1].id
        ids = {version.id for version in each.versions}
        return [
            Term(policy, times.get(policy.trigger))
            for policy in policies
            if (
                newest in self.matched[policy.id]
                if policy.kind == PolicyKind.MAXIMUM
                else ids & self.matched[policy.id]
            )
        ]

    def _member_minimums(self, each: RecordSet) -> list[Term]:
        return [
            Term(policy, each.times_of(member).get(policy.trigger))
            for entity_type, members in zip(
                _MEMBERS, (each.validations, each.corrections), strict=True
            )
            for policy in self.judge.about(entity_type, PolicyKind.MINIMUM)
            for member in members
            if member.id in self.matched[policy.id]
        ]


def _supported(session: UnitOfWork) -> frozenset[RetentionAction]:
    found = set(SUPPORTED)
    if session.archive is not None:
        found.add(RetentionAction.ARCHIVE)
    if session.compact(Document, ()) is not None:
        found.add(RetentionAction.COMPRESS)
    return frozenset(found)


def _matched(session: UnitOfWork, policy: RetentionPolicy, ids: Sequence[int]) -> set[int]:
    query, kind = rules.criteria_of(policy), rules.KIND_OF[policy.entity_type]
    return matching(session, kind, None if query is None else query.where, ids)
