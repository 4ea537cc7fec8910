"""Brings archived documents back, each in a commit of its own (RET-4)."""

from collections.abc import Sequence
from itertools import count

from loki_storage.archives import discard, rows_of, stubs_of
from loki_storage.errors import Conflict, IllegalTransition, NotFound
from loki_storage.models import (
    ArchivedDocument,
    Chain,
    Document,
    DocumentTag,
    Record,
    Tag,
    Validation,
)
from loki_storage.query import In, equals
from loki_storage.rules import archiving as rules
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonValue

__all__ = ["unarchive"]

ATTEMPTS = 10


def unarchive(session: UnitOfWork, ids: Sequence[int]) -> list[int]:
    """The root ids of these versions that came back; live ones stay as they are."""
    return [root for root in _roots(session, ids) if _brought_back(session, root)]


def _roots(session: UnitOfWork, ids: Sequence[int]) -> list[int]:
    live = session.get_many(Document, ids, session.tenant)
    stubs = stubs_of(session, Document, [id for id in ids if id not in live])
    for id in ids:
        if id not in live and id not in stubs:
            raise NotFound("document", id)
    return list(dict.fromkeys(stubs[id].id for id in ids if id in stubs))


def _brought_back(session: UnitOfWork, root_id: int) -> bool:
    """False where another was faster. Where other writers come between, all is looked at anew."""
    for attempt in count(1):
        stub = session.get(ArchivedDocument, root_id)
        if stub is None:
            return False
        records = _as_they_can_be(session, rows_of(session, stub))
        if not records:
            continue
        told: JsonValue = {"policy": stub.policy, "bundle": stub.bundle}
        session.add(rules.unarchive(stub, records, told))
        try:
            session.commit()
        except Conflict:
            if attempt == ATTEMPTS:
                raise
        else:
            discard(session.archive, [stub.bundle])
            return True
    raise AssertionError("count never ends")


def _as_they_can_be(session: UnitOfWork, records: Sequence[Record]) -> list[Record]:
    """The rows, but for claims that others have now, and links to tags that are gone (TAG-2)."""
    _check_requests(session, records)
    links = [record.tag_id for record in records if isinstance(record, DocumentTag)]
    tags = session.get_many(Tag, links, session.tenant)
    return [
        _unclaimed(session, record) if isinstance(record, Chain) else record
        for record in records
        if not isinstance(record, DocumentTag) or record.tag_id in tags
    ]


def _unclaimed(session: UnitOfWork, chain: Chain) -> Chain:
    """The chain without what another document claims (DUP-1)."""
    taken: dict[str, object] = {}
    for name in rules.CLAIMS:
        claim = chain.stored(name)
        same = equals(client_id=chain.client_id, **{name: claim})
        if claim is not None and session.exists(session.query(Chain, same)):
            taken[name] = None
    return chain.replaced(taken)


def _check_requests(session: UnitOfWork, records: Sequence[Record]) -> None:
    """``IllegalTransition`` where a request of ours was recorded again meanwhile (VLD-4)."""
    ours = {(r.client_id, r.request_hash) for r in records if isinstance(r, Validation)}
    hashes = In("request_hash", [hash for _, hash in ours])
    for other in session.select(session.query(Validation, hashes)):
        if (other.client_id, other.request_hash) in ours:
            raise IllegalTransition(
                f"validation {other.id} has recorded a request of this document again: archive or "
                "purge its document first"
            )
