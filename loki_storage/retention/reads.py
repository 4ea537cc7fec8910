"""Audited reads (AUD-4) of what is anonymized: the query that was asked may name the person."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from loki_storage.enums import AuditAction
from loki_storage.models import AuditEntry, Kind
from loki_storage.query import equals
from loki_storage.repositories.retained import Key, children_of
from loki_storage.rules.retained import RecordSet
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["reads_of", "reads_of_sets"]


def reads_of_sets(session: UnitOfWork, sets: Sequence[RecordSet]) -> dict[int, list[AuditEntry]]:
    """Entries of reads that gave out rows of these documents, each under one root id."""
    if not sets:
        return {}
    owners: dict[Key, int] = {
        (member.kind, member.id): each.chain.id for each in sets for member in each.members
    }
    for root, children in children_of(session, sets).items():
        owners |= {(kind, id): root for kind, id, _ in children}
    return reads_of(session, owners)


def reads_of(session: UnitOfWork, owners: Mapping[Key, int]) -> dict[int, list[AuditEntry]]:
    """Entries of reads that gave out any of these rows, each under the owner of one of them.

    Reads every entry of a read; where reads are not audited, none.
    """
    ids: dict[str, list[int]] = defaultdict(list)
    for kind, id in sorted(owners, key=lambda key: key[1]):
        ids[kind.table].append(id)
    kinds: dict[str, Kind] = {kind.table: kind for kind, _ in owners}
    found: dict[int, list[AuditEntry]] = defaultdict(list)
    for entry in session.select(session.query(AuditEntry, equals(action=AuditAction.READ))):
        told = entry.metadata_json
        if isinstance(told, dict) and told.get("query") is not None:
            table = str(told.get("kind"))
            first = _first_in(ids.get(table, ()), told.get("ids") or ())
            if first is not None:
                found[owners[kinds[table], first]].append(entry)
    return found


def _first_in(ids: Sequence[int], ranges: Iterable[Sequence[int]]) -> int | None:
    """One of these sorted ids that lies in a range, if one does."""
    for first, last in ranges:
        at = bisect_left(ids, first)
        if at < len(ids) and ids[at] <= last:
            return ids[at]
    return None
