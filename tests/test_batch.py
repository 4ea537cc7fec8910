"""BAT-1 to BAT-5: what a batch is, and ``check`` against a model that looks at every row."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update, check
from loki_storage.errors import (
    BrokenReference,
    Conflict,
    Duplicate,
    InvalidField,
    InvalidValue,
    StaleWrite,
)
from loki_storage.models import KINDS, Chain, Document, Kind, Record, RetentionState, Tag
from loki_storage.values import canonical
from tests.hostile import SECRET
from tests.strategies import (
    MIDNIGHT,
    TENANTS,
    WORLD_KINDS,
    World,
    faults,
    kinds,
    pool,
    sample,
    sound,
    world_row,
    world_rows,
    worlds,
)

# --- Operations ------------------------------------------------------------------------------

GUARDED: list[Callable[[Kind, Any], Any]] = [
    lambda kind, guard: Update(kind, 1, {}, guard),
    lambda kind, guard: Delete(kind, 1, guard),
    lambda kind, guard: Require(kind, 1, guard),
]


@given(kinds.flatmap(lambda k: st.tuples(st.just(k), st.sampled_from(list(k.domains)))))
def test_guard_holds_operands_as_they_are_stored(drawn: tuple[Kind, str]) -> None:
    kind, field = drawn
    domain = kind.domains[field]
    for value in [*pool(domain), None]:
        for make in GUARDED:
            assert make(kind, {field: value}).guard == {field: domain.operand(field, value)}


@pytest.mark.parametrize("make", [*GUARDED, lambda kind, changes: Update(kind, 1, changes)])
def test_unknown_field_is_refused_with_the_nearest_one(make: Callable[..., object]) -> None:
    with pytest.raises(InvalidField, match="did you mean 'title'"):
        make(Document, {"titel": "a"})
    with pytest.raises(InvalidField):
        make(Document, {None: "a"})


@pytest.mark.parametrize("make", GUARDED)
def test_guard_of_another_type_is_refused(make: Callable[..., object]) -> None:
    for field, value in [("version", "1"), ("deleted_at", MIDNIGHT.replace(tzinfo=None))]:
        with pytest.raises(InvalidValue) as caught:
            make(Document, {field: value})
        assert caught.value.field == field


def test_required_field_cannot_be_changed_to_none_but_guarded_by_it() -> None:
    with pytest.raises(InvalidValue, match="content: is required"):
        Update(Document, 1, {"content": None})
    assert Require(Document, 1, {"content": None}).guard == {"content": None}


@pytest.mark.parametrize("field", ["id", "tenant_id"])
def test_identity_never_changes(field: str) -> None:
    with pytest.raises(InvalidField, match="never changes"):
        Update(Document, 1, {"title": "a", field: 1})


def test_operation_does_not_follow_the_mappings_that_it_was_made_from() -> None:
    changes: dict[str, object] = {"metadata_json": {"a": [1]}}
    guard: dict[str, object] = {"version": 1}
    update = Update(Document, 1, changes, guard)
    changes["metadata_json"]["a"].clear()  # type: ignore[index]
    changes.clear()
    guard.clear()
    assert update.changes == {"metadata_json": canonical({"a": [1]})}
    assert update.guard == {"version": 1}


def test_repr_names_rows_and_fields_and_no_values() -> None:
    title = {"title": SECRET, "source": SECRET}
    operations: list[Operation] = [
        Insert(sample(Document).evolve(id=4, title=SECRET, tenant_id="a")),
        Update(Document, 1, title, title),
        Delete(Document, 2, title),
        Require(Document, 3, title),
    ]
    told = repr(Batch("a", operations))
    assert SECRET not in told
    assert all(name in told for name in ("Document", "title", "source"))


# --- Batches ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([Document, Tag]), st.integers(1, 3)), max_size=4))
def test_batch_names_a_row_at_most_once(rows: list[tuple[Kind, int]]) -> None:
    operations: list[Operation] = [
        Insert(sample(kind).evolve(id=id, tenant_id="a")) if n % 2 else Require(kind, id)
        for n, (kind, id) in enumerate(rows)
    ]
    if len(set(rows)) == len(rows):
        assert Batch("a", iter(operations)).operations == tuple(operations)
    else:
        with pytest.raises(InvalidValue, match="more than once"):
            Batch("a", operations)


def test_batch_inserts_into_its_own_tenant_only() -> None:
    with pytest.raises(InvalidValue, match="tenant_id"):
        Batch("b", [Insert(sample(Tag).evolve(tenant_id="a"))])


def test_batch_is_a_value() -> None:
    batch = Batch("a", [Update(Document, 1, {"title": "a"}, {"version": 1}), Delete(Tag, 1)])
    assert pickle.loads(pickle.dumps(batch)) == batch
    assert batch != Batch("b", batch.operations)


# --- check, against a model ------------------------------------------------------------------


class Rows:
    """The state before the batch, looked at row by row."""

    def __init__(self, world: World, tenant: str) -> None:
        self.world, self.tenant = world, tenant

    def get(self, kind: Kind, id: int) -> Record | None:
        record = self.world.get((kind, id))
        return record if record is not None and record.tenant_id == self.tenant else None

    def taken(self, kind: Kind, id: int) -> bool:
        return (kind, id) in self.world

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterable[Record]:
        for (its_kind, _), record in self.world.items():
            if its_kind is kind and record.tenant_id == self.tenant and fits(record, fields):
                yield record


def fits(record: Record, guard: Mapping[str, object]) -> bool:
    return all(record.stored(field) == value for field, value in guard.items())


def judged(world: World, batch: Batch) -> tuple[type[Conflict] | None, World]:
    """The law: guards on the state before; keys and references on the state after; precedence."""
    after = dict(world)
    stale, taken = False, False
    for operation in batch.operations:
        key = operation.kind, operation.id
        if isinstance(operation, Insert):
            taken |= key in world
            after[key] = operation.record
            continue
        record = Rows(world, batch.tenant).get(*key)
        if record is None or not fits(record, operation.guard):
            stale = True
        elif isinstance(operation, Update):
            after[key] = record.evolve(**operation.changes)
        elif isinstance(operation, Delete):
            del after[key]
    found = faults(after)
    if stale:
        return StaleWrite, world
    if taken or "Duplicate" in found:
        return Duplicate, world
    if found:
        return BrokenReference, world
    return None, after


def checked(world: World, batch: Batch) -> tuple[type[Conflict] | None, World]:
    """What ``check`` says, carried out."""
    try:
        changes = check(Rows(world, batch.tenant), batch)
    except Conflict as error:
        return type(error), world
    after = dict(world)
    for change in changes:
        if isinstance(change, Record):
            after[type(change), change.id] = change
        else:
            del after[change]
    return None, after


def batches(world: World) -> st.SearchStrategy[Batch]:
    return st.builds(
        batch_on,
        st.just(world),
        st.sampled_from([TENANTS[0], *TENANTS]),
        st.lists(st.integers(0, 2**20).map(Random), max_size=6),
    )


def batch_on(world: World, tenant: str, randoms: list[Random]) -> Batch:
    drawn = (operation_on(world, tenant, random) for random in randoms)
    return Batch(tenant, {(op.kind, op.id): op for op in drawn}.values())


def operation_on(world: World, tenant: str, random: Random) -> Operation:
    """Mostly about a row that is there, and with a guard that holds."""
    other = world_row(random)
    present = [key for key, record in world.items() if record.tenant_id == tenant]
    kind, id = random.choice(present) if present and random.random() < 0.9 else (type(other), 9)
    if random.random() < 0.4:
        return Insert(other.evolve(id=other.id + random.choice([0, 4, 4, 4]), tenant_id=tenant))
    row = world.get((kind, id), sample(kind)) if random.random() < 0.95 else sample(kind)
    guard = {f: row.stored(f) for f in random.choices(list(kind.domains), k=random.randint(0, 2))}
    if random.random() < 0.5:
        return Delete(kind, id, guard) if random.random() < 0.6 else Require(kind, id, guard)
    return Update(kind, id, changes_of(kind, random), guard)


def changes_of(kind: Kind, random: Random) -> dict[str, object]:
    """Changes of the fields that keys and references are made of."""
    keyed = {field for unique in kind.unique for field in (*unique.fields, *unique.where)}
    fields = sorted(keyed | {reference.field for reference in kind.references}) or ["revision"]
    return {
        field: random.choice(pool(kind.domains[field])[:3])
        for field in random.choices(fields, k=random.randint(0, 2))
    }


cases = worlds.flatmap(lambda world: st.tuples(st.just(world), batches(world)))


@settings(max_examples=400)
@given(cases)
def test_check_agrees_with_the_model(case: tuple[World, Batch]) -> None:
    world, batch = case
    expected, after = judged(world, batch)
    event(str(expected and expected.__name__))
    assert checked(world, batch) == (expected, after)


@given(cases, st.randoms(use_true_random=False))
def test_order_of_operations_has_no_meaning(case: tuple[World, Batch], random: Any) -> None:
    world, batch = case
    operations = list(batch.operations)
    random.shuffle(operations)
    assert checked(world, Batch(batch.tenant, operations)) == checked(world, batch)


@given(worlds)
def test_whole_store_comes_from_one_batch_a_tenant(world: World) -> None:
    """In any order: children before parents too."""
    store: World = {}
    for tenant in TENANTS:
        mine = [record for record in world.values() if record.tenant_id == tenant]
        error, store = checked(store, Batch(tenant, map(Insert, reversed(mine))))
        assert error is None
    assert store == world


@given(worlds)
def test_whole_store_goes_in_one_batch_a_tenant(world: World) -> None:
    store = world
    for tenant in TENANTS:
        mine = [key for key, record in world.items() if record.tenant_id == tenant]
        error, store = checked(store, Batch(tenant, (Delete(*key) for key in mine)))
        assert error is None
    assert store == {}


# --- Found and stated cases ------------------------------------------------------------------

CHAIN = Chain(id=1, tenant_id="a", client_id="c", text_claim="x")
FIRST: Any = sample(Document).evolve(
    id=3, tenant_id="a", root_id=1, parent_id=None, version=1, is_latest=False, client_id="c"
)
HEAD = FIRST.evolve(id=1, version=2, parent_id=3, is_latest=True)
NEXT = FIRST.evolve(id=2, version=3, parent_id=1, is_latest=True)
FOREIGN = Chain(id=9, tenant_id="b", client_id="c", text_claim="x")
STORE: World = {(type(record), record.id): record for record in (CHAIN, FIRST, HEAD, FOREIGN)}
SECOND_CHAIN = Chain(id=2, tenant_id="a", client_id="c")


def moved_to(root_id: int) -> list[Operation]:
    return [Update(Document, id, {"root_id": root_id}) for id in (1, 3)]


@pytest.mark.parametrize(
    ("error", "operations"),
    [
        (None, []),
        # Guards: on the state before; a missing or foreign row fails the empty one too.
        (StaleWrite, [Require(Document, 7)]),
        (StaleWrite, [Require(Chain, 9)]),
        (StaleWrite, [Delete(Chain, 9)]),
        (StaleWrite, [Update(Chain, 9, {"revision": 1})]),
        (StaleWrite, [Require(Document, 1, {"version": 3})]),
        (StaleWrite, [Insert(SECOND_CHAIN), Require(Chain, 3)]),
        (None, [Require(Document, 1, {"metadata_json": HEAD.metadata_json})]),
        (None, [Update(Document, 1, {"is_latest": False}, {"is_latest": True})]),
        # Ids are taken in the whole store, keys per tenant.
        (Duplicate, [Insert(CHAIN)]),
        (Duplicate, [Insert(SECOND_CHAIN.evolve(id=9))]),
        (Duplicate, [Insert(SECOND_CHAIN.evolve(text_claim="x"))]),
        (None, [Insert(SECOND_CHAIN.evolve(text_claim="x", client_id="d"))]),
        (None, [Insert(SECOND_CHAIN), Insert(SECOND_CHAIN.evolve(id=3))]),
        (
            None,
            [Insert(SECOND_CHAIN.evolve(text_claim="x")), Update(Chain, 1, {"text_claim": None})],
        ),
        # Keys within the batch; where; the state after.
        (Duplicate, [Insert(NEXT)]),
        (None, [Insert(NEXT), Update(Document, 1, {"is_latest": False})]),
        (None, [Insert(NEXT.evolve(is_latest=False))]),
        (Duplicate, [Insert(NEXT.evolve(is_latest=False, version=1))]),
        (Duplicate, [Insert(RetentionState(id=n, tenant_id="a")) for n in (1, 2)]),
        (None, [Insert(RetentionState(id=1, tenant_id="a"))]),
        # References: both ways, on the state after.
        (BrokenReference, [Delete(Chain, 1)]),
        (BrokenReference, [Insert(NEXT.evolve(root_id=9, is_latest=False))]),
        (BrokenReference, [Insert(NEXT.evolve(parent_id=7, is_latest=False))]),
        (BrokenReference, [Delete(Document, 1), Insert(NEXT)]),
        (None, [Delete(Document, 1), Insert(NEXT.evolve(parent_id=None))]),
        (BrokenReference, [Delete(Chain, 1), Delete(Document, 1)]),
        (None, [Delete(Chain, 1), Delete(Document, 1), Delete(Document, 3)]),
        (BrokenReference, [Delete(Document, 3)]),
        (None, [Delete(Chain, 1), Insert(SECOND_CHAIN), *moved_to(2)]),
        (BrokenReference, [Delete(Chain, 1), Insert(SECOND_CHAIN), *moved_to(2)[:1]]),
        (BrokenReference, [Delete(Chain, 1), Update(Document, 1, {"title": "a"})]),
        # Precedence.
        (StaleWrite, [Insert(CHAIN.evolve(id=9)), Delete(Document, 7)]),
        (Duplicate, [Delete(Chain, 1), Insert(FOREIGN.evolve(tenant_id="a"))]),
    ],
)
def test_stated_case(error: type[Conflict] | None, operations: list[Operation]) -> None:
    assert not faults(STORE)
    batch = Batch("a", operations)
    assert judged(STORE, batch)[0] is error
    assert checked(STORE, batch) == judged(STORE, batch)


def test_errors_name_kind_and_fields() -> None:
    with pytest.raises(StaleWrite) as stale:
        check(Rows(STORE, "a"), Batch("a", [Require(Document, 7)]))
    assert (stale.value.kind, stale.value.id) == ("documents", 7)
    with pytest.raises(Duplicate) as twice:
        check(Rows(STORE, "a"), Batch("a", [Insert(NEXT)]))
    assert (twice.value.kind, twice.value.fields) == ("documents", ("root_id",))
    with pytest.raises(Duplicate) as taken:
        check(Rows(STORE, "a"), Batch("a", [Insert(CHAIN)]))
    assert taken.value.fields == ("id",)
    with pytest.raises(BrokenReference) as broken:
        check(Rows(STORE, "a"), Batch("a", [Delete(Chain, 1)]))
    assert (broken.value.kind, broken.value.field) == ("documents", "root_id")


@given(st.lists(world_rows(), max_size=12))
@example([CHAIN, HEAD, NEXT])
def test_generated_worlds_are_sound(drawn: list[Record]) -> None:
    world = sound(drawn)
    assert faults(world) == set()
    assert {kind for kind, _ in world} <= set(WORLD_KINDS) <= set(KINDS.values())
