"""Moves documents to the archive, and acts on those that are there (RET-4).

Order of a move: the bundle is stored and read back, then one batch takes the rows and leaves the
stub. So whatever is killed leaves at most a bundle without a stub, which the next run removes.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import attrs

from loki_storage.archive_store import ArchiveStore
from loki_storage.archives import Bundle, archive_in
from loki_storage.models import ArchivedDocument, Document, Record, RetentionRun
from loki_storage.query import In
from loki_storage.rules import archiving as rules
from loki_storage.rules.change import Change
from loki_storage.rules.retained import RecordSet
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonValue

__all__ = ["UNREADABLE", "Names", "move", "orphans", "rewrite"]

UNREADABLE = "its bundle in the archive cannot be read"
PREFIX = 24
"""Characters of a plan's hash in the names of bundles."""


@attrs.frozen
class Names:
    """Names of the bundles that a run writes: the run by its plan, the document, the process.

    None is ever used by another process: what was written by one that lost its lease cannot be
    what a later one has a stub for.
    """

    plan_hash: str
    owner: str

    def __call__(self, root_id: int) -> str:
        token = sha256(self.owner.encode()).hexdigest()[:16]
        return f"{self.plan_hash[:PREFIX]}-{root_id}-{token}"


def move(
    session: UnitOfWork,
    name: str,
    each: RecordSet,
    records: Sequence[Record],
    policy: str,
    told: JsonValue,
) -> Change:
    """Put a document's bundle into the archive; the change that leaves its stub in its place."""
    bundle = Bundle.of(session, name, records, told)
    bundle.put(archive_in(session))
    head = next(r for r in records if isinstance(r, Document) and r.id == each.versions[-1].id)
    stub = ArchivedDocument(
        id=each.chain.id,
        tenant_id=session.tenant,
        client_id=each.chain.client_id,
        document_type=head.document_type,
        created_at=max(member.created_at for member in each.members),
        archived_at=session.now(),
        archived_by=session.actor.id,
        policy=policy,
        **bundle.place(),  # type: ignore[arg-type]
    )
    return rules.archive(stub, bundle.records, told)


def rewrite(
    session: UnitOfWork, name: str, stub: ArchivedDocument, rows: Iterable[Record], change: Change
) -> Change:
    """Do a change of archived rows where they are; what is left of it for the store."""
    by_key = {(type(row), row.id): row for row in rows}
    left, after = rules.elsewhere(change, stub, by_key)
    if not after:
        return left
    bundle = Bundle.of(session, name, after, left.metadata)
    bundle.put(archive_in(session))
    return attrs.evolve(left, steps=[*left.steps, rules.moved(stub, **bundle.place())])


def orphans(session: UnitOfWork, archive: ArchiveStore) -> list[str]:
    """Bundles that runs of this tenant wrote and no stub names.

    Names first, stubs then: who calls must then find that the lease is still its own. All that is
    without a stub was written by a process that has lost it, and can never get one.
    """
    names = list(archive.names())
    runs = {row[0][:PREFIX] for row in session.rows(session.query(RetentionRun), ("plan_hash",))}
    ours = {name: root for name in names if (root := _root_of(name, runs)) is not None}
    roots, kept = sorted(set(ours.values())), set[str]()
    for start in range(0, len(roots), 1000):
        query = session.query(ArchivedDocument, In("id", roots[start : start + 1000]))
        kept |= {bundle for (bundle,) in session.rows(query, ("bundle",))}
    return [name for name in ours if name not in kept]


def _root_of(name: str, runs: set[str]) -> int | None:
    run, _, rest = name.partition("-")
    root, _, token = rest.partition("-")
    return int(root) if run in runs and root.isdecimal() and token else None
