"""BAT-6, TXN-2: two and three clients, in interleavings that are drawn, and in real races."""

from collections.abc import Callable, Iterator
from itertools import count, permutations
from threading import Event
from typing import Any

from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.errors import BrokenReference, StaleWrite, StorageError
from loki_storage.models import AuditEntry, Chain, Document, Tag
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract.batches import Draft, Rows, batch_of, by_key, drafts, judged
from loki_storage_contract.children import in_processes
from loki_storage_contract.faults import FailsOnce
from loki_storage_contract.races import outcome, together
from loki_storage_contract.records import TENANTS, Places, parents, sample
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store

OURS = TENANTS[0]
ROUNDS = 40
"""How often a race is run: each takes less than a millisecond, and one in a few is close."""


@proves(
    "BAT-6",
    "TXN-2",
    share=0.5,
    program=drafts(),
    turns=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=3, max_size=9),
)
def clients_in_turn_see_one_store(
    store: Store, program: list[tuple[str, list[Draft]]], turns: list[tuple[int, bool]]
) -> None:
    """Three clients, each a handle and an open stream: whoever is next applies or reads.

    A stream begun before a commit shows what was there before, whoever made it.
    """
    places, world = Places(store.backend), by_key(parents())
    store.put(*places.records(world.values()))
    clients = [store.backend, store.other, store.third]
    used, batches, streams = set(world), iter(program), list[tuple[Iterator[Any], list[Any]]]()
    for client, writes in turns:
        rows = sorted((r for k, r in world.items() if k[0] is Tag), key=lambda row: row.id)
        if writes and (drafted := next(batches, None)):
            batch = batch_of(*drafted, world, used)
            expected = judged(world, batch)
            happened = outcome(lambda: clients[client].apply(places.batch(batch)))  # noqa: B023
            if isinstance(expected, type):
                assert type(happened) is expected
            else:
                assert happened is None
                world = dict(expected)
        elif rows:
            stream = clients[client].select(Query(Tag, None))
            streams.append((stream, [next(stream), *places.records(rows)[1:]]))
        assert by_key(clients[client].dump()) == by_key(places.records(world.values()))
    for stream, expected_rows in streams:
        assert [expected_rows[0], *stream] == expected_rows


def race(store: Store, *batches: Batch) -> list[StorageError | None]:
    """Apply them at the same moment, on two handles."""
    handles = [store.backend, store.other]
    return together(*(_applying(handles[n % 2], batch) for n, batch in enumerate(batches)))


def _applying(backend: Backend, batch: Batch) -> Callable[[], None]:
    return lambda: backend.apply(batch)


@proves("BAT-6")
def updates_of_other_fields_are_not_lost(store: Store) -> None:
    """Two clients that change two fields of one row both succeed."""
    tag = store.new(Tag, name="0", category="0", description="0")
    for n in range(1, ROUNDS):
        value = str(n)
        batches = (Batch(OURS, [Update(Tag, tag.id, {f: value})]) for f in ("name", "category"))
        assert race(store, *batches) == [None, None]
        (row,) = store.all(Tag)
        assert (row.name, row.category, row.description) == (value, value, "0")


@proves("BAT-6")
def what_is_required_stays_until_the_commit(store: Store) -> None:
    """Two clients that each require the row which the other one deletes: one of them loses."""
    for n in range(ROUNDS):
        a, b = store.new(Tag, name=f"a{n}"), store.new(Tag, name=f"b{n}")
        outcomes = race(
            store,
            Batch(OURS, [Require(Tag, a.id, {"name": a.name}), Delete(Tag, b.id)]),
            Batch(OURS, [Require(Tag, b.id, {"name": b.name}), Delete(Tag, a.id)]),
        )
        assert sorted(type(o) is StaleWrite for o in outcomes) == [False, True], outcomes
        left = [tag for tag in store.all(Tag) if tag.id in (a.id, b.id)]
        assert len(left) == 1
        store.backend.apply(Batch(OURS, [Delete(Tag, left[0].id)]))


@proves("BAT-6")
def a_guard_is_won_by_one(store: Store) -> None:
    """Of n writers that guard one value, one changes it; the others are stale."""
    chain = store.new(Chain, revision=1)
    for n in range(1, ROUNDS):
        change = Update(Chain, chain.id, {"revision": n + 1}, {"revision": n})
        outcomes = race(store, *(Batch(OURS, [change]) for _ in range(4)))
        assert sorted(str(type(o).__name__) for o in outcomes) == ["NoneType", *["StaleWrite"] * 3]
        assert store.all(Chain)[0].revision == n + 1


@proves("BAT-6", "BAT-5")
def a_parent_is_not_deleted_under_a_new_child(store: Store) -> None:
    """One inserts a version, one deletes its chain: one of them loses, and no child is orphaned."""
    for _ in range(ROUNDS):
        chain = store.new(Chain)
        child = store.plan(Document, root_id=chain.id)
        outcomes = race(
            store,
            Batch(OURS, [Insert(child)]),
            Batch(OURS, [Delete(Chain, chain.id)]),
        )
        assert sorted(type(o) is BrokenReference for o in outcomes) == [False, True], outcomes
        chains = {row.id for row in store.all(Chain)}
        assert all(row.root_id in chains for row in store.all(Document))


@proves("BAT-6", "BAT-5")
def a_key_is_won_by_one(store: Store) -> None:
    """Of n clients that take one name, one gets it."""
    for n in range(ROUNDS):
        tags = [store.plan(Tag, name=f"name {n}") for _ in range(3)]
        outcomes = race(store, *(Batch(OURS, [Insert(tag)]) for tag in tags))
        assert sorted(type(o).__name__ for o in outcomes) == ["Duplicate", "Duplicate", "NoneType"]
    assert len(store.all(Tag)) == ROUNDS


@proves("TXN-2")
def what_is_refused_is_never_seen(store: Store) -> None:
    """While batches are refused, no reader sees any of their rows."""
    store.new(Tag, name="taken")
    ids = store.backend.reserve({Tag: 2 * ROUNDS})[Tag]
    done, seen = Event(), set[str]()

    def write() -> None:
        try:
            for n in range(ROUNDS):
                new = sample(Tag, ids[2 * n], name=f"refused {n}")
                wrong = Require(Tag, 2**40)
                if n % 2:
                    batch = Batch(OURS, [Insert(new), wrong])
                else:
                    taken = sample(Tag, ids[2 * n + 1], name="taken")
                    batch = Batch(OURS, [Insert(new), Insert(taken)])
                assert isinstance(outcome(lambda: store.backend.apply(batch)), StorageError)  # noqa: B023
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            seen.update(tag.name for tag in store.other.select(Query(Tag, OURS)))

    assert together(write, read) == [None, None]
    assert seen <= {"taken"}


def apply_in_turn(backend: Backend, batches: list[list[Operation]]) -> list[str]:
    """What came of each batch: the name of its error, or nothing."""
    outcomes = [outcome(_applying(backend, Batch(OURS, batch))) for batch in batches]
    return ["" if error is None else type(error).__name__ for error in outcomes]


@proves("BAT-6", needs=("processes",))
def histories_of_processes_have_some_order(store: Store) -> None:
    """Three processes, two batches each, on the same rows: some order of all six explains it."""
    tags = [store.new(Tag, name=f"{n}", category="0") for n in range(3)]
    new = [store.plan(Tag, name="one name") for _ in range(3)]
    programs: list[list[list[Operation]]] = [
        [
            [_moves(tags[0], "0", f"{n}"), Insert(new[n])],
            [_moves(tags[n], "0", "x"), Require(Tag, tags[(n + 1) % 3].id)],
        ]
        for n in range(3)
    ]
    seen = in_processes(store.target, apply_in_turn, programs)
    after, world = by_key(store.dump()), by_key(tags)
    possible = [_serial(world, programs, order) for order in set(permutations((0, 0, 1, 1, 2, 2)))]
    assert (seen, after) in possible, f"no order of the batches gives {seen}"


def _moves(tag: Tag, before: str, after: str) -> Update:
    return Update(Tag, tag.id, {"category": after}, {"category": before})


def _serial(
    world: Rows, programs: list[list[list[Operation]]], order: tuple[int, ...]
) -> tuple[Any, Rows]:
    """What the processes see and what is there if they take turns in this order."""
    seen: list[list[str]] = [[] for _ in programs]
    for turn in order:
        after = judged(world, Batch(OURS, programs[turn][len(seen[turn])]))
        seen[turn].append(after.__name__ if isinstance(after, type) else "")
        world = world if isinstance(after, type) else after
    return seen, dict(world)


@proves("TXN-1", "TXN-5", "TXN-3")
def a_call_that_fails_leaves_all_or_nothing(store: Store) -> None:
    """The n-th call of the backend fails, before or after it was done, for every n."""
    for place in count():
        calls = {_failing_at(store, place, after=after) for after in (False, True)}
        if max(calls) <= place:
            return


def _failing_at(store: Store, place: int, *, after: bool) -> int:
    """A unit of work, one call of whose backend fails; how many calls there were."""
    store.reset()
    failing = FailsOnce(store.backend, place, after=after)
    try:
        with store.storage(failing).session(tenant="t1", timeout=5) as session:
            first = session.documents.create_document("one", "email", "c1", tags=["x"])
            session.documents.create_version(first.id, "two")
            session.documents.delete(first.id)
            session.documents.restore(first.id)
    except StorageError:
        _is_whole(store, versions=0)
    else:
        _is_whole(store, versions=2)
    return failing.calls


def _is_whole(store: Store, versions: int) -> None:
    """Nothing, or the unit of work with all its entries, once."""
    rows = [row for row in store.dump() if isinstance(row, Document)]
    entries = [row for row in store.dump() if isinstance(row, AuditEntry)]
    assert len(rows) == versions
    assert sum(row.is_latest for row in rows) == (versions > 0)
    assert len({entry.id for entry in entries}) == len(entries)
    assert bool(entries) is bool(versions)
