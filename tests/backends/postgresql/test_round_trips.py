"""What an operation costs in round trips, counted on the wire once everything is warm."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest

from loki_storage import Storage, open_storage
from loki_storage.errors import StaleVersion
from loki_storage.intercepts import Intercept
from loki_storage.models import AuditEntry, Chain, Document, Tag
from loki_storage.query import Query
from tests.postgresql.wire import Wire, wire

WARM = 6
"""Calls after which leases are large, findings known, and statements prepared."""


@pytest.fixture
def line(url: str) -> Iterator[Wire]:
    with wire(url) as made:
        yield made


@pytest.fixture
def storage(line: Wire) -> Iterator[Storage]:
    with open_storage(line.url) as storage:
        yield storage


def steady(line: Wire, action: Callable[[int], object], calls: int = 12) -> int:
    """Round trips of a call as most of them cost: some lease ids, one prepares the statement."""
    counts = [line.trips_of(lambda: action(number)) for number in range(WARM + calls)]  # noqa: B023
    assert max(counts[WARM:]) <= median(counts[WARM:]) + 3
    return int(median(counts[WARM:]))


def intercept(number: int) -> Intercept:
    gates = {
        f"gate_{n}": {"status": "FAIL" if n % 5 == 0 else "N/A", "severity": "high", "message": "m"}
        for n in range(40)
    }
    report = {"modules": {"gdpr_uk": {"version": "1", "gates": gates}}, "overall_risk": "high"}
    return Intercept.from_report(f"text {number}", "email", "acme", report)


def test_intercept_is_one_round_trip_of_reads_and_one_of_writes(
    storage: Storage, line: Wire
) -> None:
    reads, writes = [], []
    for number in range(WARM + 12):
        session = storage.session()
        mapped = intercept(number)
        reads.append(line.trips_of(lambda: session.record_intercept(mapped)))  # noqa: B023
        writes.append(line.trips_of(session.commit))
    assert median(reads[WARM:]) == 1
    assert writes[WARM + 1 :] == [1] * 11


def test_document_is_one_read_and_one_write(storage: Storage, line: Wire) -> None:
    def create(number: int) -> None:
        with storage.session() as session:
            session.documents.create_document(f"text {number}", "email", "acme")

    assert steady(line, create) == 2


def test_document_that_may_be_a_double_is_one_round_trip(storage: Storage, line: Wire) -> None:
    def create(number: int) -> None:
        with storage.session() as session:
            session.documents.create_document("text", "email", "acme", on_duplicate="allow")

    assert steady(line, create) == 1


def test_race_that_is_lost_costs_two_round_trips(storage: Storage, line: Wire) -> None:
    """The write says itself which row was changed; one read tells the new head."""
    with storage.session() as session:
        head = session.documents.create_document("text", "email", "acme").id

    def lose(number: int) -> int:
        nonlocal head
        built_on, session = head, storage.session()
        session.documents.create_version(built_on, f"lost {number}")
        with storage.session() as winner:
            head = winner.documents.create_version(built_on, f"won {number}").id

        def commit() -> None:
            with pytest.raises(StaleVersion) as caught:
                session.commit()
            assert (caught.value.document_id, caught.value.current_id) == (built_on, head)

        return line.trips_of(commit)

    trips = [lose(number) for number in range(WARM + 12)]
    assert median(trips[WARM:]) == 2


def test_reads_are_one_round_trip(storage: Storage, line: Wire) -> None:
    with storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
    session = storage.session(read_only=True)
    reads: dict[str, Callable[[int], Any]] = {
        "by id": lambda n: session.documents.get_by_id(document.id),
        "some": lambda n: session.get_many(Document, [document.id, 7], "default"),
        "list": lambda n: session.documents.get_all(limit=10),
        "all": lambda n: list(session.select(Query(Tag, "default"))),
        "several kinds": lambda n: session.select_many(
            [Query(kind, "default") for kind in (Tag, Chain, AuditEntry)]
        ),
        "count": lambda n: session.documents.count(),
        "ids": lambda n: storage.backend.reserve({Tag: 1, Chain: 2, AuditEntry: 3}),
        "ping": lambda n: storage.backend.ping(),
    }
    assert {name: steady(line, read) for name, read in reads.items()} == dict.fromkeys(reads, 1)


def test_batch_is_one_round_trip_whatever_is_in_it(storage: Storage, line: Wire) -> None:
    """Guards, updates, deletes and insertions of several kinds together."""
    with storage.session() as session:
        document = session.documents.create_document("text", "email", "acme")
        session.documents.add_tag(document.id, "vip")

    def change(number: int) -> int:
        session = storage.session()
        head = session.documents.get_latest_version(document.id)
        assert head is not None
        session.documents.create_version(head.id, f"text {number}")
        session.documents.remove_tag(document.id, "vip")
        session.documents.add_tag(document.id, "vip")
        return line.trips_of(session.commit)

    assert [change(number) for number in range(WARM + 6)][WARM + 1 :] == [1] * 5


def test_connection_that_was_just_used_is_not_asked_first(storage: Storage, line: Wire) -> None:
    backend: Any = storage.backend
    with backend._connected() as connection:
        connection._info["used"] -= 100
    connection._info["used"] -= 100
    assert line.trips_of(backend.ping) == 2
    assert line.trips_of(backend.ping) == 1
