"""TXN-1, TXN-6, BAT-8: what is left when a process is killed, wherever it was."""

from collections.abc import Iterator
from itertools import count
from random import Random
from time import sleep
from typing import Any

from loki_storage.batch import Batch, Insert, Update
from loki_storage.models import Chain, Tag
from loki_storage.protocol import Backend
from loki_storage_contract.children import Child, tell
from loki_storage_contract.records import TENANTS, sample
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store

OURS = TENANTS[0]
KILLS = 4
AT_ONCE = 3
"""How many rows come in one batch."""


def write_until_killed(backend: Backend, chain_id: int) -> None:
    """Batches of rows that belong together; each is told to the parent when it is acknowledged."""
    for number in count(1):
        ids = backend.reserve({Tag: AT_ONCE})[Tag]
        tags = [sample(Tag, id, name=f"{id}", category=str(number)) for id in ids]
        backend.apply(Batch(OURS, map(Insert, tags)))
        tell(("rows", number, list(ids)))
        backend.apply(Batch(OURS, [Update(Chain, chain_id, {"revision": number})]))
        tell(("revision", number, []))


@proves("TXN-6", "TXN-1", "BAT-8", needs=("durable", "processes"))
def what_was_acknowledged_survives_the_end_of_its_process(store: Store) -> None:
    """Killed at random points: what was told is there, batches are whole, no id comes twice."""
    chance, given = Random(7), set[int]()
    for _ in range(KILLS):
        store.reset()
        chain = store.new(Chain, revision=0)
        told = list(_killed(store, chain.id, chance.uniform(0.0, 0.05)))
        store.reopen()
        _is_all_there(store, told)
        ids = [id for kind, _, ids in told for id in ids if kind == "rows"]
        assert given.isdisjoint(ids)
        given |= {tag.id for tag in store.all(Tag)} | set(ids)
        fresh = store.backend.reserve({Tag: 5})[Tag]
        assert given.isdisjoint(fresh)
        given |= set(fresh)


def _killed(store: Store, chain_id: int, after: float) -> Iterator[tuple[str, int, list[int]]]:
    """What a child told before it was killed, some time after its first batch."""
    child = Child()
    try:
        child.prepare(store.target, write_until_killed, chain_id)
        assert child.hear() == "open"
        child.go()
        yield child.hear()
        sleep(after)
    finally:
        child.stop()
    try:
        while True:
            yield child.hear()
    except EOFError:
        child.kill()


def _is_all_there(store: Store, told: list[tuple[str, int, list[int]]]) -> None:
    tags = store.all(Tag)
    batches: dict[Any, list[int]] = {}
    for tag in tags:
        batches.setdefault(tag.category, []).append(tag.id)
    assert all(len(ids) == AT_ONCE for ids in batches.values()), "part of a batch is there"
    for kind, number, ids in told:
        if kind == "rows":
            assert batches.get(str(number)) == ids, "what was acknowledged is gone"
    revisions = [number for kind, number, _ in told if kind == "revision"]
    (chain,) = store.all(Chain)
    last = max(revisions, default=0)
    assert chain.revision in (last, last + 1), "an update that was acknowledged is gone"
