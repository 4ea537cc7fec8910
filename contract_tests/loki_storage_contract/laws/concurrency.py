"""BAT-6 to BAT-9, TXN-2: streams, leases and concurrent batches."""

from collections.abc import Callable, Iterator
from itertools import permutations
from threading import Event
from typing import Any

import pytest

from loki_storage.batch import Batch, Delete, Insert, Update
from loki_storage.errors import Duplicate, StaleWrite, StorageError, Unavailable
from loki_storage.models import Chain, Document, Kind, Record, Tag
from loki_storage.protocol import Backend
from loki_storage.query import Query, equals
from loki_storage_contract.batches import Draft, Rows, batch_of, by_key, drafts, judged
from loki_storage_contract.children import in_processes
from loki_storage_contract.races import outcome, together
from loki_storage_contract.records import TENANTS, Places, mixed_rows, parents, sample, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store

OURS = TENANTS[0]
EVERY_TAG = Query(Tag, OURS)


@proves("BAT-6", share=0.5, rows=mixed_rows(), program=drafts())
def concurrent_batches_have_some_order(
    store: Store, rows: list[Record], program: list[tuple[str, list[Draft]]]
) -> None:
    """Batches applied at once, on two handles: what happened is what some order would give."""
    places, world = Places(store.backend), by_key(sound([*parents(), *rows]))
    store.put(*places.records(world.values()))
    used = set(world)
    batches = [batch_of(tenant, drafted, world, used) for tenant, drafted in program]
    handles = [store.backend, store.other]
    errors = together(
        *(applying(handles[n % 2], places.batch(batch)) for n, batch in enumerate(batches))
    )
    happened = [type(error) if error else None for error in errors]
    after = by_key(store.dump())
    assert any(
        seen == happened and by_key(places.records(state.values())) == after
        for seen, state in serial(world, batches)
    ), f"no order of the batches gives {happened}"


def applying(backend: Backend, batch: Batch) -> Callable[[], None]:
    return lambda: backend.apply(batch)


def serial(world: Rows, batches: list[Batch]) -> Iterator[tuple[list[Any], Rows]]:
    """What each order of the batches gives: the error of each one, and the rows at the end."""
    for order in permutations(range(len(batches))):
        seen: list[type[StorageError] | None] = [None] * len(batches)
        state = world
        for n in order:
            after = judged(state, batches[n])
            if isinstance(after, type):
                seen[n] = after
            else:
                state = after
        yield seen, state


@proves("BAT-6", "TXN-2")
def no_update_is_lost(store: Store) -> None:
    """Writers that count, each guarding what it read: the sum is the number of successes."""
    chain = store.new(Chain, revision=0)
    handles = [store.backend, store.other]

    def count(backend: Backend) -> int:
        return sum(counted(backend, chain.id) for _ in range(25))

    together(*(lambda n=n: count(handles[n % 2]) for n in range(4)))
    assert store.all(Chain)[0].revision == 100


def counted(backend: Backend, id: int) -> bool:
    """Add 1 to a chain's revision; again where another writer was first."""
    for _ in range(10_000):
        revision = backend.get_many(Chain, [id], OURS)[id].revision
        change = Update(Chain, id, {"revision": revision + 1}, {"revision": revision})
        result = outcome(lambda: backend.apply(Batch(OURS, [change])))  # noqa: B023
        if not isinstance(result, StaleWrite):
            assert result is None
            return True
    raise AssertionError("one writer always loses")


@proves("TXN-2")
def no_reader_sees_half_a_batch(store: Store) -> None:
    """While batches move two rows together, every read shows both moved or neither."""
    pair = [store.new(Tag, name=name, category="0") for name in "ab"]
    done, seen = Event(), list[set[str | None]]()

    def write() -> None:
        try:
            for step in range(1, 31):
                changes = {"category": str(step)}
                store.backend.apply(Batch(OURS, [Update(Tag, tag.id, changes) for tag in pair]))
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            seen.append({tag.category for tag in store.other.select(EVERY_TAG)})

    assert together(write, read) == [None, None]
    assert all(len(values) == 1 for values in seen)


@proves("BAT-7")
def a_stream_sees_the_moment_of_its_first_record(store: Store) -> None:
    """Whatever the same thread writes while it reads, and nothing written before is missed."""
    tags = [store.new(Tag, name=f"{n:03}") for n in range(300)]
    stream = store.backend.select(EVERY_TAG)
    late = store.new(Tag, name="before the first record")
    first = next(stream)
    store.new(Tag, name="too late")
    store.backend.apply(Batch(OURS, [Update(Tag, tags[200].id, {"name": "changed"})]))
    store.backend.apply(Batch(OURS, [Delete(Tag, tags[250].id)]))
    assert [first, *stream] == [*tags, late]
    assert store.backend.count(EVERY_TAG) == 301


@proves("BAT-7")
def streams_do_not_disturb_each_other(store: Store) -> None:
    """Several are open at once, at several moments, with writes in between."""
    streams: list[Iterator[Tag]] = []
    for n in range(4):
        store.new(Tag, name=str(n))
        streams.append(store.backend.select(EVERY_TAG))
        assert next(streams[-1]).name == "0"
    assert [len(list(stream)) for stream in streams] == [0, 1, 2, 3]


@proves("BAT-7")
def a_stream_closed_early_frees_everything(store: Store) -> None:
    """More of them than any pool has connections, closed or dropped after one record."""
    for n in range(3):
        store.new(Tag, name=str(n))
    for n in range(100):
        stream: Any = store.backend.select(EVERY_TAG)
        next(stream)
        if n % 2:
            stream.close()
        del stream
    store.new(Tag, name="still writable")
    assert store.backend.count(EVERY_TAG) == 4


@proves("BAT-7")
def a_stream_may_be_asked_for_and_not_read(store: Store) -> None:
    """Nothing is held before the first record is asked for."""
    store.new(Tag)
    streams = [store.backend.select(EVERY_TAG) for _ in range(100)]
    store.new(Tag, name="b")
    assert len(list(streams[0])) == 2


@proves("BAT-8")
def leases_do_not_overlap(store: Store) -> None:
    """Ranges of the asked size, of several kinds at once, by threads on two handles."""
    handles = [store.backend, store.other]

    def lease(backend: Backend) -> list[int]:
        counts: dict[Kind, int] = {Tag: 3, Chain: 2, Document: 1}
        leased = [backend.reserve(counts) for _ in range(5)]
        assert all({kind: len(r) for kind, r in ids.items()} == counts for ids in leased)
        return [id for ids in leased for id in ids[Tag]]

    leased = together(*(lambda n=n: lease(handles[n % 2]) for n in range(4)))
    all_different([id for ids in leased if isinstance(ids, list) for id in ids], 60)


def all_different(ids: list[int], count: int) -> None:
    assert len(ids) == count
    assert len(set(ids)) == count
    assert min(ids) >= 1


@proves("BAT-8")
def a_lease_is_not_given_again(store: Store) -> None:
    """Neither on another handle, nor after its rows were deleted, nor after the handle closed."""
    backend = store.open()
    leased = [*backend.reserve({Tag: 5})[Tag]]
    store.put(*(store.plan(Tag, name=str(id)).evolve(id=id) for id in leased))
    store.reset()
    backend.close()
    leased += store.backend.reserve({Tag: 5})[Tag]
    leased += store.open().reserve({Tag: 5})[Tag]
    all_different(leased, 15)


@proves("BAT-8")
def a_lease_of_a_refused_batch_is_used_up(store: Store) -> None:
    """Nor is an id given again that was never stored, or is not stored any more."""
    store.new(Tag, name="taken")
    leased = [store.plan(Tag).id for _ in range(3)]
    for id in leased:
        refused = Insert(sample(Tag, id, name="taken"))
        assert isinstance(outcome(lambda: store.backend.apply(Batch(OURS, [refused]))), Duplicate)  # noqa: B023
    leased += [store.plan(Tag).id for _ in range(5)]
    leased += [*store.other.reserve({Tag: 5})[Tag]]
    all_different(leased, 13)


@proves("BAT-8", needs=("durable",))
def a_lease_is_durable(store: Store) -> None:
    """After the last handle was closed and the store was opened again."""
    leased = [*store.backend.reserve({Tag: 5})[Tag]]
    store.reopen()
    leased += store.backend.reserve({Tag: 5})[Tag]
    all_different(leased, 10)


@proves("BAT-8", "BAK-1")
def leases_begin_above_what_was_loaded(store: Store) -> None:
    """``load`` takes any ids; those given out later are greater."""
    high = store.plan(Tag).id + 5000
    store.backend.load([store.plan(Tag).evolve(id=high, name="loaded")])
    assert store.backend.reserve({Tag: 1})[Tag].start > high
    assert store.open().reserve({Tag: 1})[Tag].start > high


def lease_ten(backend: Backend, argument: object) -> list[int]:
    return [id for _ in range(10) for id in backend.reserve({Tag: 3})[Tag]]


@proves("BAT-8", needs=("processes",))
def leases_of_processes_do_not_overlap(store: Store) -> None:
    """Three processes that lease at the same moment."""
    leased = in_processes(store.target, lease_ten, [None] * 3)
    all_different([id for ids in leased for id in ids], 90)


@proves("BAK-1", share=0.5, rows=mixed_rows())
def a_dump_loads_into_an_equal_store(store: Store, rows: list[Record]) -> None:
    """Every row of every tenant, parents first."""
    store.put(*Places(store.backend).records(sound([*parents(), *rows])))
    before = store.dump()
    store.reset()
    assert store.dump() == []
    store.backend.load(iter(before))
    assert store.dump() == before


@proves("BAT-9")
def a_closed_backend_answers_nothing(store: Store) -> None:
    """``close`` may be called again; every other call raises ``Unavailable``."""
    tag, backend = store.new(Tag), store.open()
    backend.close()
    backend.close()
    calls: list[Callable[[], object]] = [
        lambda: list(backend.select(EVERY_TAG)),
        lambda: backend.reserve({Tag: 1}),
        lambda: backend.apply(Batch(OURS, [Insert(tag)])),
        lambda: backend.apply(Batch(OURS, [])),
        lambda: backend.get_many(Tag, [tag.id], OURS),
        lambda: backend.select_many([EVERY_TAG]),
        lambda: backend.count(EVERY_TAG),
        lambda: backend.exists(EVERY_TAG),
        lambda: backend.aggregate(EVERY_TAG),
        lambda: list(backend.rows(EVERY_TAG, ["name"])),
        lambda: list(backend.search(EVERY_TAG)),
        lambda: list(backend.dump()),
        lambda: backend.load([tag]),
        lambda: backend.ping(),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    assert store.all(Tag) == [tag]


@proves("BAT-9")
def other_handles_stay_open(store: Store) -> None:
    """Closing one handle takes nothing from another."""
    other = store.open()
    store.new(Tag)
    other.close()
    assert store.backend.count(EVERY_TAG) == 1


@proves("TXN-6", needs=("durable",))
def what_was_applied_is_there_after_reopening(store: Store) -> None:
    """Every row, after the last handle was closed, nothing having been read since."""
    rows = Places(store.backend).records(parents())
    store.put(*rows)
    store.reopen()
    before = store.dump()
    assert by_key(before) == by_key(rows)
    tag = store.new(Tag, name="last")
    store.reopen()
    assert by_key(store.dump()) == by_key([*before, tag])


@proves("TXN-6", "TXN-2")
def what_was_applied_is_seen_at_once(store: Store) -> None:
    """By the handle that applied it and by every other one, by every read."""
    tag = store.new(Tag, name="a")
    for n in range(4):
        writer, other = (store.backend, store.other)[:: 1 if n % 2 else -1]
        name = f"name {n}"
        writer.apply(Batch(OURS, [Update(Tag, tag.id, {"name": name})]))
        for backend in (writer, other):
            assert [row.name for row in backend.select(EVERY_TAG)] == [name]
            assert backend.get_many(Tag, [tag.id], OURS)[tag.id].name == name
            assert backend.count(Query(Tag, OURS, equals(name=name))) == 1
