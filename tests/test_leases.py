"""BAT-8: ids are fresh, and asked for rarely."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
from loki_storage.errors import (
    StorageFull,
)
from loki_storage.leases import LARGEST_LEASE, IdLeases
from loki_storage.memory import MemoryBackend
from loki_storage.models import KINDS, Kind, Tag
from tests.stores import Unsteady

Begin = Callable[..., Session]


counts = st.dictionaries(st.sampled_from(list(KINDS.values())), st.integers(0, 30))


class Counting(MemoryBackend):
    """Tells how often ids were reserved, and how many."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: list[dict[Kind, int]] = []

    def reserve(self, counts: Any) -> dict[Kind, range]:
        self.reserved.append(dict(counts))
        return super().reserve(counts)


@settings(max_examples=60)
@given(st.lists(counts, max_size=12))
def test_ids_are_fresh_and_asked_for_once_a_time(asked: list[dict[Kind, int]]) -> None:
    backend = Counting()
    leases = IdLeases(backend)
    given_out: set[tuple[Kind, int]] = set()
    for wanted in asked:
        before = len(backend.reserved)
        for kind, ids in leases.take(wanted).items():
            assert len(ids) == wanted[kind]
            new = {(kind, id) for id in ids}
            assert len(new) == len(ids)
            assert not new & given_out
            given_out |= new
        assert len(backend.reserved) - before <= 1


def test_first_lease_is_what_is_needed_and_later_ones_double() -> None:
    backend = Counting()
    leases = IdLeases(backend)
    for _ in range(40_000):
        leases.take({Tag: 1})
    sizes = [counts[Tag] for counts in backend.reserved]
    assert sizes[:5] == [1, 2, 4, 8, 16]
    assert max(sizes) == LARGEST_LEASE
    assert len(sizes) < 20


def test_more_than_the_largest_lease_is_leased_at_once() -> None:
    backend = Counting()
    assert len(IdLeases(backend).take({Tag: 3 * LARGEST_LEASE})[Tag]) == 3 * LARGEST_LEASE
    assert len(backend.reserved) == 1


def test_ids_are_fresh_across_threads(store: Storage) -> None:
    taken: list[list[int]] = []
    threads = [
        Thread(target=lambda: taken.append(store.session().new_ids({Tag: 7})[Tag]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [id for each in taken for id in each]
    assert len(ids) == 56
    assert len(set(ids)) == 56


def test_reserve_that_fails_costs_nothing(store: Storage) -> None:
    class Full(Unsteady):
        def reserve(self, counts: Any) -> dict[Kind, range]:
            raise StorageFull("full")

    leases = IdLeases(Full(store.backend))
    with pytest.raises(StorageFull):
        leases.take({Tag: 1})
    leases._backend = store.backend
    assert len(leases.take({Tag: 2})[Tag]) == 2


def test_forgotten_leases_are_not_given_out() -> None:
    """After a restore the store says that an id is taken: the others of its block may be, too."""
    backend = MemoryBackend()
    leases = IdLeases(backend)
    before = [id for _ in range(4) for id in leases.take({Tag: 3})[Tag]]
    leases.forget()
    top = backend.reserve({Tag: 1})[Tag].start
    assert min(leases.take({Tag: 3})[Tag]) > top > max(before)
