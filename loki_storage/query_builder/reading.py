"""How records are handed out: audited first where that was asked for, then noted (AUD-4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from loki_storage.errors import InvalidValue, ResultTooLarge
from loki_storage.query import Query
from loki_storage.unit_of_work import UnitOfWork

__all__ = [
    "MAXIMUM_LIST",
    "all_of_it",
    "found_by",
    "listed",
    "listed_together",
    "paged",
    "streamed",
]

MAXIMUM_LIST = 10_000
"""Records that a list may hold (QRY-7)."""
AUDITED_AT_ONCE = 1_000
"""Records that one audit entry of a stream tells of."""


def listed(session: UnitOfWork, query: Query) -> list[Any]:
    """The query's records as a list."""
    return found_by(session.select, session, query)


def found_by(
    read: Callable[[Query], Iterator[Any]], session: UnitOfWork, query: Query
) -> list[Any]:
    """The same, by another way of reading it."""
    return _handed_out(session, query, list(read(query)))


def listed_together(session: UnitOfWork, *queries: Query) -> list[list[Any]]:
    """The records of several queries, in one round trip; one call, so one audit entry (AUD-4)."""
    found = session.select_many(queries)
    session.note_read(queries[0], (record.id for record in found[0]))
    for records in found:
        session.hand_out(records)
    return found


def all_of_it(session: UnitOfWork, query: Query) -> list[Any]:
    """The same, or ``ResultTooLarge`` where they are more than a list may hold."""
    most = MAXIMUM_LIST + 1
    limit = most if query.limit is None else min(query.limit, most)
    found = list(session.select(query.evolve(limit=limit)))
    if len(found) == most:
        raise ResultTooLarge(
            f"more than {MAXIMUM_LIST:,} {query.kind.table} match: read them with iter(), "
            "page by page with page(), or fewer of them with limit()"
        )
    return _handed_out(session, query, found)


def paged(session: UnitOfWork, query: Query, usual: int) -> tuple[list[Any], bool]:
    """Up to ``limit`` records (``usual`` unless told), and whether there are more after them."""
    size = usual if query.limit is None else query.limit
    if size > MAXIMUM_LIST:
        raise InvalidValue("limit", f"must be at most {MAXIMUM_LIST:,} for a page")
    found = list(session.select(query.evolve(limit=size + 1))) if size else []
    return _handed_out(session, query, found[:size]), len(found) > size


def streamed(session: UnitOfWork, query: Query) -> Iterator[Any]:
    """The records one by one; of audited reads up to 1,000 are held, to be told of first."""
    found = session.select(query)
    if not session.context.audit_reads:
        yield from session.handing_out(found)
        return
    while block := list(islice(found, AUDITED_AT_ONCE)):
        yield from _handed_out(session, query, block)


def _handed_out(session: UnitOfWork, query: Query, found: list[Any]) -> list[Any]:
    session.note_read(query, (record.id for record in found))
    session.hand_out(found)
    return found
