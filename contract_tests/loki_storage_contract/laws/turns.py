"""ACC-12: a turn is an offer. The checks bind the default as well, which waits for nobody."""

import time
from threading import Event
from typing import Any

import pytest

from loki_storage.batch import Batch, Update
from loki_storage.deadline import within
from loki_storage.errors import StaleWrite
from loki_storage.models import Chain, Kind, Tag
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract.children import Child, tell
from loki_storage_contract.races import together
from loki_storage_contract.records import TENANTS
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged

OURS, OTHERS = TENANTS
PATIENCE = 10.0
"""Seconds for what is a matter of milliseconds."""
SOON = 0.05
"""Seconds that those wait who cannot get in."""


@proves("ACC-12", derived="turn")
def a_turn_is_no_lock(store: Store) -> None:
    """Who asks for none need not wait, and what he wrote is seen inside, by guards as well."""
    tag = store.new(Tag, name="a")
    with store.backend.turn(OURS, Tag, tag.id):
        assert store.all(Tag) == [tag]
        store.other.apply(_renaming(tag, "a", "b"))
        assert [row.name for row in store.all(Tag)] == ["b"]
        unchanged(store, lambda: store.backend.apply(_renaming(tag, "a", "c")), StaleWrite)
        store.backend.apply(_renaming(tag, "b", "d"))
        assert [row.name for row in store.other.select(Query(Tag, OURS))] == ["d"]
    assert [row.name for row in store.all(Tag)] == ["d"]


@proves("ACC-12", derived="turn")
def a_turn_begins_and_ends_for_nothing(store: Store) -> None:
    """Of a row that is not there, of no use, and as often as one likes."""
    before = store.dump()
    for _ in range(50):
        with store.backend.turn(OURS, Tag, 2**40), store.other.turn(OTHERS, Tag, 2**40):
            pass
    assert store.dump() == before


@proves("ACC-12", derived="turn")
def whoever_leaves_lets_the_next_in(store: Store) -> None:
    """Also where he leaves by an error, which is not kept from his caller."""
    for handle in (store.backend, store.other, store.backend):
        with pytest.raises(ArithmeticError), handle.turn(OURS, Tag, 1):
            raise ArithmeticError
    assert together(lambda: _enter(store.other, Tag, 1)) == ["in"]


@proves("ACC-12", derived="turn")
def who_waits_too_long_goes_on_without(store: Store) -> None:
    """At his deadline, and without an error: he has lost nothing but time."""
    inside, over = Event(), Event()

    def hold() -> None:
        with store.other.turn(OURS, Tag, 1):
            inside.set()
            assert over.wait(PATIENCE)

    def wait() -> Any:
        assert inside.wait(PATIENCE)
        try:
            with within(SOON):
                return _enter(store.backend, Tag, 1)
        finally:
            over.set()

    assert together(hold, wait) == [None, "in"]


@proves("ACC-12", derived="turn")
def turns_of_different_rows_do_not_meet(store: Store) -> None:
    """Of another tenant, kind or id; they are all inside before the first one leaves."""
    over = Event()

    def hold() -> None:
        with store.other.turn(OURS, Tag, 1):
            assert over.wait(PATIENCE)

    def enter() -> list[Any]:
        try:
            rows: list[tuple[str, Kind, int]] = [(OTHERS, Tag, 1), (OURS, Chain, 1), (OURS, Tag, 2)]
            return [_enter(store.backend, kind, id, tenant) for tenant, kind, id in rows]
        finally:
            over.set()

    assert together(hold, enter) == [None, ["in"] * 3]


@proves("ACC-12", derived="turn")
def turns_inside_turns_come_to_an_end(store: Store) -> None:
    """Two rows, taken crosswise, and one row twice by one thread."""

    def cross(handle: Backend, first: int, second: int) -> str:
        with within(5), handle.turn(OURS, Tag, first):
            return _enter(handle, Tag, second)

    found = together(lambda: cross(store.backend, 1, 2), lambda: cross(store.other, 2, 1))
    assert found == ["in", "in"]
    assert together(lambda: cross(store.backend, 1, 1)) == ["in"]


@proves("ACC-12", derived="turn")
def many_may_wait_at_once(store: Store) -> None:
    """More than a pool has connections; each gets in, and can write there."""
    tag = store.new(Tag)

    def write(n: int) -> str:
        with store.backend.turn(OURS, Tag, tag.id):
            store.backend.apply(Batch(OURS, [Update(Tag, tag.id, {"name": f"n{n}"}, {})]))
            return "in"

    writers = [lambda n=n: write(n) for n in range(24)]
    assert together(*writers) == ["in"] * len(writers)


@proves("ACC-12", derived="turn", needs=("processes",))
def the_turn_of_a_killed_process_ends(store: Store) -> None:
    """With it, not when a clock says so."""
    child = Child()
    try:
        child.prepare(store.target, hold_for_ever, 1)
        assert child.hear() == "open"
        child.go()
        assert child.hear() == "in"
        child.stop()
        assert together(lambda: _enter(store.backend, Tag, 1)) == ["in"]
    finally:
        child.kill()


def hold_for_ever(backend: Backend, id: int) -> None:
    """In a process of its own: take a turn and keep it."""
    with backend.turn(OURS, Tag, id):
        tell("in")
        time.sleep(3600)


def _enter(handle: Backend, kind: Kind, id: int, tenant: str = OURS) -> str:
    with handle.turn(tenant, kind, id):
        return "in"


def _renaming(tag: Tag, before: str, after: str) -> Batch:
    return Batch(OURS, [Update(Tag, tag.id, {"name": after}, {"name": before})])
