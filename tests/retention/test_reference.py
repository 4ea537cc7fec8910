"""The engine decides and acts as the reference model says (RET-1, RET-2, RET-3).

More cases: ``python -m tests.retention.test_reference 100000 memory://`` [first seed], and
``LOKI_RETENTION_CASES=2000 pytest tests/retention/test_reference.py`` on every backend.
"""

import os
import sys
from itertools import count
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage.models import ArchivedDocument, Correction, Document, Kind, Validation
from loki_storage.plugins import plugin_manager
from loki_storage.query import Query
from loki_storage.retention import RetentionManager
from loki_storage.retention.archiving import orphans
from loki_storage.retention.plan import TenantPlan
from loki_storage.retention.planner import plan_tenant
from loki_storage.storage import Storage, open_storage
from loki_storage_contract.shelf import Shelf
from tests.retention import worlds
from tests.retention.reference import World, fates

CASES = count(1)
RUNS = int(os.environ.get("LOKI_RETENTION_CASES", "40"))
KIND: dict[str, Kind] = {
    "document": Document,
    "validation": Validation,
    "correction": Correction,
}


GONE = ("delete", "archive")
"""What takes rows out of the store."""


class Ids:
    """Leases ids in large blocks: a case costs no round trip for them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._free: dict[Kind, list[int]] = {}

    def __call__(self, kind: Kind, number: int) -> list[int]:
        free = self._free.setdefault(kind, [])
        while len(free) < number:
            free.extend(self._storage.backend.reserve({kind: 1000})[kind])
        taken, self._free[kind] = free[:number], free[number:]
        return taken


def check_case(storage: Storage, seed: int, ids: Ids, run: bool = True) -> World:
    """One world: what is planned, and what is left after a run."""
    tenant = f"world {next(CASES)}"
    world = worlds.draw(seed, ids)
    world.archives = storage.archive is not None
    worlds.store(storage.backend, tenant, world, ids)
    world.compresses = storage.backend.compact(Document, (), tenant) is not None
    expected = fates(world)
    plan = plan_tenant(storage.session(tenant=tenant), world.now)
    assert decisions(plan) == expected, f"seed {seed}"
    if run:
        RetentionManager(storage, tenant=tenant).run()
        check_outcome(storage, tenant, world, expected)
        check_archive(storage, tenant, world, expected)
    return world


def decisions(plan: TenantPlan) -> dict[Any, Any]:
    return {(str(item.entity_type), item.id): (item.action, item.policy) for item in plan.items}


def check_archive(storage: Storage, tenant: str, world: World, expected: dict[Any, Any]) -> None:
    """What was archived is judged there, acted on there, and comes back."""
    there = {id for (_, id), (action, _) in expected.items() if action == "archive"}
    stubs = {stub.id for stub in storage.backend.select(Query(ArchivedDocument, tenant))}
    assert stubs == there
    if not there:
        return
    trees = {id: attrs.evolve(world.documents[id], archived=True) for id in there}
    world = attrs.evolve(world, documents=trees)
    expected = fates(world)
    plan = plan_tenant(storage.session(tenant=tenant), world.now)
    mine = {key: fate for key, fate in decisions(plan).items() if key[1] in there}
    assert {key: fate for key, fate in mine.items() if key[0] == "document"} == expected
    manager = RetentionManager(storage, tenant=tenant)
    manager.run()
    left = [id for id in there if expected.get(("document", id), (None,))[0] != "delete"]
    assert sorted(manager.unarchive(sorted(left))) == sorted(left)
    bundles = {stub.bundle for stub in storage.backend.select(Query(ArchivedDocument, None))}
    assert storage.archive is not None
    ours = {name for name in storage.archive.names() if int(name.split("-")[1]) in there}
    # What an attempt that lost a race has left is for the next run to remove.
    assert ours - bundles <= set(orphans(storage.session(tenant=tenant), storage.archive))
    found = {
        record.id: _is_anonymized(record)
        for record in storage.backend.select(Query(Document, tenant))
        if record.root_id in there
    }
    assert found == {
        row.id: expected.get(("document", id), (None,))[0] == "anonymize"
        for id in left
        for row in trees[id].versions
    }


def check_outcome(storage: Storage, tenant: str, world: World, expected: dict[Any, Any]) -> None:
    """Rows of what was deleted are gone, what was anonymized is, and nothing else is touched."""
    fate_of = {}
    for root, tree in world.documents.items():
        whole = expected.get(("document", root), (None, None))[0]
        for about, row in tree.everything():
            single = expected.get((about, row.id), (None, None))[0]
            fate_of[KIND[about].table, row.id] = whole or (single if about != "document" else None)
    found = {
        (record.table, record.id): _is_anonymized(record)
        for kind in KIND.values()
        for record in storage.backend.select(Query(kind, tenant))
    }
    assert found == {key: fate == "anonymize" for key, fate in fate_of.items() if fate not in GONE}
    for kind in KIND.values():
        mine = {id: fate for (name, id), fate in fate_of.items() if name == kind.table}
        done = [id for id, fate in mine.items() if fate == "compress"]
        assert storage.backend.compactable(kind, done, tenant) == set()


def _is_anonymized(record: Any) -> bool:
    json = record.config if isinstance(record, Validation) else record.metadata_json
    return "anonymized" in json


@pytest.mark.parametrize("archive", [None, Shelf()], ids=["no archive", "archive"])
def test_decisions_and_outcomes_are_the_models(store: Storage, archive: Shelf | None) -> None:
    storage = at_time(store, archive)
    ids = Ids(storage)

    @settings(max_examples=RUNS)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        check_case(storage, seed, ids)

    check()


def at_time(store: Storage, archive: Shelf | None) -> Storage:
    """The same store at the time of the worlds."""
    return Storage(store.backend, plugin_manager().hook, lambda: worlds.NOW, archive=archive)


def main(cases: int, url: str, first: int = 0) -> None:
    """Stores are opened anew now and then: some backends slow down with what is in them."""
    due = 0
    for start in range(first, first + cases, 250):
        archive = Shelf()
        with open_storage(url, clock=lambda: worlds.NOW, create=True, archive=archive) as storage:
            ids = Ids(storage)
            for seed in range(start, min(start + 250, first + cases)):
                due += len(fates(check_case(storage, seed, ids)))
    print(f"{cases} cases, {due} records due, no difference")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
