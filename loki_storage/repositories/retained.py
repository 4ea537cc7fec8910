"""Reads what retention and holds must know of record sets, a page at a time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import attrs

from loki_storage.models import (
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    Kind,
    LegalHold,
    RetentionState,
    Validation,
    ValidationResult,
)
from loki_storage.query import Condition, In, IsNull, Query, all_of
from loki_storage.rules.holds import covered_ids, covered_query
from loki_storage.rules.retained import FIELDS, Member, RecordSet
from loki_storage.unit_of_work import UnitOfWork

__all__ = [
    "Child",
    "Coverage",
    "Key",
    "active_holds",
    "children_first",
    "children_of",
    "holding",
    "matching",
    "record_sets",
    "retention_state",
    "rows_under",
]

Key = tuple[Kind, int]
"""A row."""
Child = tuple[Kind, int, datetime | None]
"""A row that hangs on a record set: its kind, its id, when it was made."""


def retention_state(session: UnitOfWork) -> RetentionState | None:
    """The tenant's count of policy and hold changes; None where there never was one."""
    return next(iter(session.select(session.query(RetentionState))), None)


def active_holds(session: UnitOfWork) -> list[LegalHold]:
    """The holds that are not released."""
    return list(session.select(holding(session)))


def holding(session: UnitOfWork) -> Query:
    """The query for the holds that are not released."""
    return session.query(LegalHold, IsNull("released_at"))


def record_sets(session: UnitOfWork, roots: Sequence[int]) -> list[RecordSet]:
    """The documents of these root ids with their members, in that order; unknown ones left out.

    Chains first: all that follows is at least as new as the revisions that are guarded.
    """
    chains = session.get_many(Chain, roots, session.tenant)
    versions = _members(session, Document, In("root_id", list(chains)))
    of_version = {member.id: member.parent for member in versions}
    by_chain: dict[tuple[Kind, int], list[Member]] = defaultdict(list)
    for member in versions:
        by_chain[Document, member.parent].append(member)
    for kind in (Validation, Correction):
        for member in _members(session, kind, In("document_id", list(of_version))):
            by_chain[kind, of_version[member.parent]].append(member)
    return [
        RecordSet(
            chains[root],
            tuple(sorted(by_chain[Document, root], key=lambda member: member.version)),
            tuple(by_chain[Validation, root]),
            tuple(by_chain[Correction, root]),
        )
        for root in roots
        if root in chains and by_chain[Document, root]
    ]


def children_of(session: UnitOfWork, sets: Iterable[RecordSet]) -> dict[int, list[Child]]:
    """Tag links, histories and results of documents, by root id; three reads for all."""
    found: dict[int, list[Child]] = defaultdict(list)
    sets = list(sets)
    roots = {each.chain.id: each.chain.id for each in sets}
    validations = {m.id: each.chain.id for each in sets for m in each.validations}
    corrections = {m.id: each.chain.id for each in sets for m in each.corrections}
    for kind, field, time, owners in (
        (DocumentTag, "document_id", None, roots),
        (CorrectionHistory, "correction_id", "changed_at", corrections),
        (ValidationResult, "validation_id", "created_at", validations),
    ):
        for id, owner, moment in rows_under(session, kind, field, time, owners):
            found[owners[owner]].append((kind, id, moment))
    return found


def rows_under(
    session: UnitOfWork, kind: Kind, field: str, time: str | None, owners: Iterable[int]
) -> Iterator[tuple[int, int, datetime | None]]:
    """Id, owner and time of the rows of a kind that belong to these owners."""
    among = list(owners)
    if not among:
        return
    fields = ("id", field) if time is None else ("id", field, time)
    for row in session.rows(session.query(kind, In(field, among)), fields):
        yield row[0], row[1], row[2] if time else None


def children_first(each: RecordSet) -> list[Member]:
    """A set's members in the order in which they can go."""
    return [*each.corrections, *each.validations, *reversed(each.versions)]


def matching(
    session: UnitOfWork, kind: Kind, where: Condition | None, ids: Iterable[int]
) -> set[int]:
    """Which of these rows a condition selects; all of them where there is none."""
    ids = list(ids)
    if where is None or not ids:
        return set(ids)
    query = session.query(kind, all_of(In("id", ids), where))
    return {id for (id,) in session.rows(query, ("id",))}


@attrs.frozen
class Coverage:
    """Which of a page's rows lie under which holds (by name)."""

    names: Mapping[Key, frozenset[str]]

    @classmethod
    def of(
        cls, session: UnitOfWork, holds: Iterable[LegalHold], sets: Sequence[RecordSet]
    ) -> "Coverage":
        """Ask each hold about these sets: by its ids, or by its query as the rows are now (HLD)."""
        found: dict[Key, set[str]] = defaultdict(set)
        ids: dict[Kind, list[int]] = defaultdict(list)
        for member in (member for each in sets for member in each.members):
            ids[member.kind].append(member.id)
        for hold in holds:
            kind, listed = covered_ids(hold)
            query = covered_query(hold)
            hit = (
                set(ids[kind]) & listed
                if query is None
                else matching(session, kind, query.where, ids[kind])
            )
            for id in hit:
                found[kind, id].add(hold.name)
        return cls({key: frozenset(names) for key, names in found.items()})

    def over(self, record_set: RecordSet) -> frozenset[str]:
        """The holds on a document or on anything that hangs on it."""
        return self._of(record_set.members)

    def over_member(self, record_set: RecordSet, member: Member) -> frozenset[str]:
        """The holds on a validation or correction, or on its document."""
        return self._of((*record_set.versions, member))

    def _of(self, members: Iterable[Member]) -> frozenset[str]:
        return frozenset().union(*(self.names.get((m.kind, m.id), ()) for m in members))


def _members(session: UnitOfWork, kind: Kind, where: Condition) -> list[Member]:
    query: Query = session.query(kind, where)
    return [Member.of(kind, row) for row in session.rows(query, FIELDS[kind])]
