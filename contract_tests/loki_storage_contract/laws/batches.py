"""BAT-1 to BAT-5: what a batch does, and what it is refused for."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import pytest

from loki_storage.batch import (
    Batch,
    Delete,
    DeleteMany,
    Insert,
    InsertMany,
    Operation,
    Part,
    Require,
    Update,
)
from loki_storage.errors import BrokenReference, Duplicate, InvalidValue, StaleWrite, StorageError
from loki_storage.models import Chain, Document, DocumentTag, Record, RetentionState, Tag
from loki_storage.rows import Rows
from loki_storage_contract.batches import Draft, batch_of, by_key, drafts, judged
from loki_storage_contract.races import outcome
from loki_storage_contract.records import TENANTS, Places, mixed_rows, parents, sample, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged

OURS, OTHERS = TENANTS
EVERY_ERROR = (StaleWrite, Duplicate, BrokenReference)


def apply(store: Store, *operations: Part, tenant: str = OURS) -> None:
    store.backend.apply(Batch(tenant, operations))


def refused(store: Store, error: type[StorageError], *operations: Part, **options: str) -> Any:
    """Apply a batch that must meet exactly this error, and change nothing."""
    found = unchanged(store, lambda: apply(store, *operations, **options), *EVERY_ERROR)
    assert type(found) is error
    return found


@proves("BAT-3", "BAT-1", "BAT-4", "BAT-5", rows=mixed_rows(), program=drafts())
def a_batch_has_the_effect_that_the_laws_say(
    store: Store, rows: list[Record], program: list[tuple[str, list[Draft]]]
) -> None:
    """Any batch on any store: the rows afterwards, or the error and no change."""
    places, world = Places(store.backend), by_key(sound([*parents(), *rows]))
    store.put(*places.records(world.values()))
    used = set(world)
    for tenant, drafted in program:
        batch = batch_of(tenant, drafted, world, used)
        expected, placed = judged(world, batch), places.batch(batch)
        if isinstance(expected, type):
            refused(store, expected, *placed.operations, tenant=tenant)
        else:
            store.backend.apply(placed)
            world = dict(expected)
        assert by_key(store.dump()) == by_key(places.records(world.values()))


@proves("BAT-1")
def an_id_of_another_tenant_does_not_exist(store: Store) -> None:
    """Guards, references and new rows meet it exactly as an id that nobody has."""
    foreign = store.new(Tag, OTHERS)
    refused(store, StaleWrite, Require(Tag, foreign.id))
    refused(store, StaleWrite, Update(Tag, foreign.id, {"name": "b"}))
    refused(store, StaleWrite, Delete(Tag, foreign.id))
    chain = store.new(Chain)
    link = store.plan(DocumentTag, document_id=chain.id, tag_id=foreign.id)
    refused(store, BrokenReference, Insert(link))


@proves("BAT-1")
def ids_are_unique_in_the_whole_store(store: Store) -> None:
    """An id that another tenant has is taken, or, where tenants lead every key, another row."""
    foreign = store.new(Tag, OTHERS)
    ours = foreign.evolve(tenant_id=OURS)
    # Nobody leases one id twice, so a distributed database may leave it at keys per tenant.
    error = outcome(lambda: apply(store, Insert(ours)))
    assert error is None or isinstance(error, Duplicate)
    assert store.all(Tag, OURS) == ([ours] if error is None else [])
    assert store.all(Tag, OTHERS) == [foreign]


@proves("BAT-1", "BAT-5")
def keys_of_tenants_do_not_meet(store: Store) -> None:
    """The same name, and a row of which there is one per tenant, in two tenants."""
    for tenant in TENANTS:
        store.new(Tag, tenant, name="one name")
        store.new(RetentionState, tenant)
    assert len(store.dump()) == 4


@proves("BAT-2")
def a_batch_that_names_a_row_twice_is_none(store: Store) -> None:
    """Refused where it is built, whatever the two operations are."""
    tag = store.new(Tag)
    operations: list[Operation] = [
        Require(Tag, tag.id),
        Update(Tag, tag.id, {"name": "b"}),
        Delete(Tag, tag.id),
        Insert(tag),
    ]
    for first, second in permutations(operations, 2):
        with pytest.raises(InvalidValue):
            Batch(OURS, [first, second])


@proves("BAT-2")
def rows_of_two_kinds_may_have_one_id(store: Store) -> None:
    """A row is named by kind and id."""
    leased = store.backend.reserve({Tag: 50, Chain: 50})
    both = set(leased[Tag]) & set(leased[Chain])
    if not both:  # a store may count each kind from another number: then ids are loaded
        both = {max(leased[Tag].stop, leased[Chain].stop) + 1}
    id = min(both)
    tag, chain = sample(Tag, id), sample(Chain, id)
    if id in leased[Tag] and id in leased[Chain]:
        apply(store, Insert(tag), Insert(chain))
    else:
        store.backend.load([chain, tag])
    apply(store, Update(Tag, id, {"name": "b"}), Update(Chain, id, {"revision": 7}))
    assert by_key(store.dump()) == by_key([tag.evolve(name="b"), chain.evolve(revision=7)])
    apply(store, Delete(Tag, id), Delete(Chain, id))
    assert store.dump() == []


@proves("BAT-2", "BAT-3")
def rows_that_come_as_columns_are_rows(store: Store) -> None:
    """All of them, beside others and alone; they are judged like any."""
    ids = store.backend.reserve({Tag: 40})[Tag]
    tags = [
        sample(Tag, id, name=str(n), category=None if n % 2 else "x") for n, id in enumerate(ids)
    ]
    chain = store.plan(Chain)
    store.backend.apply(Batch(OURS, [InsertMany(Rows.of(tags[:30])), Insert(chain)]))
    store.backend.apply(Batch(OURS, [InsertMany(Rows.of(tags[30:]))]))
    assert store.dump() == [chain, *tags]
    new = sample(Tag, store.plan(Tag).id, name="new")
    taken = InsertMany(Rows.of([new, sample(Tag, store.plan(Tag).id, name="0")]))
    unchanged(store, lambda: store.backend.apply(Batch(OURS, [taken])), Duplicate)


@proves("BAT-3", "BAT-4")
def rows_go_by_the_many(store: Store) -> None:
    """As one by one: all of them, or none where one is gone, or is referred to."""
    tags = [store.new(Tag, name=f"{n}") for n in range(60)]
    chain = store.new(Chain)
    link = store.new(DocumentTag, document_id=chain.id, tag_id=tags[0].id)
    ids = [tag.id for tag in tags]
    refused(store, BrokenReference, DeleteMany(Tag, ids))
    refused(store, StaleWrite, DeleteMany(Tag, [*ids[1:], 2**40]))
    refused(store, StaleWrite, DeleteMany(Tag, ids[1:]), tenant=OTHERS)
    apply(store, DeleteMany(Tag, ids[::-2]))
    assert store.all(Tag) == tags[::2]
    apply(store, DeleteMany(DocumentTag, [link.id]), DeleteMany(Tag, ids[::2]))
    assert store.dump() == [chain]


def in_any_order(store: Store, build: Callable[[], Sequence[Operation]]) -> None:
    """Apply the operations in each of their orders, each time on an empty store."""
    store.reset()
    for order in permutations(range(len(build()))):
        store.reset()
        operations = build()
        apply(store, *(operations[place] for place in order))


@proves("BAT-3")
def a_key_passes_from_a_deleted_row(store: Store) -> None:
    """To a new row, and to an updated one."""

    def to_new() -> Sequence[Operation]:
        old = store.new(Tag, name="name")
        return [Delete(Tag, old.id), Insert(store.plan(Tag, name="name"))]

    def to_updated() -> Sequence[Operation]:
        old, other = store.new(Tag, name="name"), store.new(Tag, name="other")
        return [Delete(Tag, old.id), Update(Tag, other.id, {"name": "name"})]

    in_any_order(store, to_new)
    in_any_order(store, to_updated)


@proves("BAT-3")
def a_key_passes_from_an_updated_row(store: Store) -> None:
    """To a new row, whatever the first one takes instead."""

    def renamed() -> Sequence[Operation]:
        old = store.new(Tag, name="name")
        return [Update(Tag, old.id, {"name": "b"}), Insert(store.plan(Tag, name="name"))]

    in_any_order(store, renamed)


@proves("BAT-3")
def a_key_set_to_null_is_free(store: Store) -> None:
    """For a new row and for an updated one of the same batch (a claim passes on)."""

    def to_other() -> Sequence[Operation]:
        old, other = store.new(Chain, text_claim="t"), store.new(Chain)
        return [
            Update(Chain, old.id, {"text_claim": None}),
            Update(Chain, other.id, {"text_claim": "t"}),
        ]

    def to_new() -> Sequence[Operation]:
        old = store.new(Chain, text_claim="t")
        new = store.plan(Chain, text_claim="t")
        return [Update(Chain, old.id, {"text_claim": None}), Insert(new)]

    in_any_order(store, to_other)
    in_any_order(store, to_new)


@proves("BAT-3")
def two_rows_swap_keys(store: Store) -> None:
    """Each sets one key to NULL and takes the key that the other one gives up."""

    def swap() -> Sequence[Operation]:
        old, other = store.new(Chain, text_claim="t"), store.new(Chain, intercept_claim="i")
        return [
            Update(Chain, old.id, {"text_claim": None, "intercept_claim": "i"}),
            Update(Chain, other.id, {"text_claim": "t", "intercept_claim": None}),
        ]

    in_any_order(store, swap)


@proves("BAT-3")
def a_key_outside_its_condition_is_free(store: Store) -> None:
    """The head of a chain moves to another row, and to a new one (``is_latest``)."""

    def to_other() -> Sequence[Operation]:
        head, other = versions(store)
        return [
            Update(Document, head.id, {"is_latest": False}),
            Update(Document, other.id, {"is_latest": True}),
        ]

    def to_new() -> Sequence[Operation]:
        head, _ = versions(store)
        new = store.plan(Document, root_id=head.root_id, version=3, parent_id=head.id)
        return [Update(Document, head.id, {"is_latest": False}), Insert(new)]

    in_any_order(store, to_other)
    in_any_order(store, to_new)


def versions(store: Store) -> tuple[Document, Document]:
    """A chain's head, and a version that is not the head."""
    chain = store.new(Chain)
    head = store.new(Document, root_id=chain.id)
    return head, store.new(Document, root_id=chain.id, version=2, is_latest=False)


@proves("BAT-3")
def references_are_judged_at_the_end(store: Store) -> None:
    """Parents and children come and go in one batch, in any order."""

    def come() -> Sequence[Operation]:
        chain, tag = store.plan(Chain), store.plan(Tag)
        link = store.plan(DocumentTag, document_id=chain.id, tag_id=tag.id)
        return [Insert(link), Insert(tag), Insert(chain)]

    def go() -> Sequence[Operation]:
        chain, tag = store.new(Chain), store.new(Tag)
        link = store.new(DocumentTag, document_id=chain.id, tag_id=tag.id)
        return [Delete(Tag, tag.id), Delete(Chain, chain.id), Delete(DocumentTag, link.id)]

    def move() -> Sequence[Operation]:
        chain, old, new = store.new(Chain), store.new(Tag, name="old"), store.plan(Tag, name="new")
        link = store.new(DocumentTag, document_id=chain.id, tag_id=old.id)
        return [
            Delete(Tag, old.id),
            Update(DocumentTag, link.id, {"tag_id": new.id}),
            Insert(new),
        ]

    for build in (come, go, move):
        in_any_order(store, build)


@proves("BAT-3")
def a_row_may_refer_to_its_own_kind(store: Store) -> None:
    """A chain of versions comes and goes in one batch, children first or last."""

    def come() -> Sequence[Operation]:
        return [Insert(row) for row in chain_of_three(store)]

    def go() -> Sequence[Operation]:
        rows = chain_of_three(store)
        store.put(*rows)
        return [Delete(type(row), row.id) for row in rows]

    in_any_order(store, come)
    in_any_order(store, go)


def chain_of_three(store: Store) -> list[Record]:
    chain = store.plan(Chain)
    first = store.plan(Document, root_id=chain.id, is_latest=False)
    second = store.plan(Document, root_id=chain.id, version=2, parent_id=first.id)
    return [chain, first, second]


@proves("BAT-3")
def a_large_batch_is_done_whole(store: Store) -> None:
    """Hundreds of operations of each sort, and one that fails among them."""
    ids = store.backend.reserve({Tag: 900})[Tag]
    tags = [sample(Tag, id, name=str(n)) for n, id in enumerate(ids)]
    apply(store, *map(Insert, tags[:600]))
    operations: list[Operation] = [
        *(Update(Tag, tag.id, {"category": str(n)}) for n, tag in enumerate(tags[:200])),
        *(Delete(Tag, tag.id) for tag in tags[200:400]),
        *(Require(Tag, tag.id, {"name": tag.name}) for tag in tags[400:600]),
        *map(Insert, tags[600:]),
    ]
    refused(store, StaleWrite, *operations, Require(Tag, 2**40))
    apply(store, *operations)
    changed = [tag.evolve(category=str(n)) for n, tag in enumerate(tags[:200])]
    assert store.dump() == [*changed, *tags[400:]]


@proves("BAT-3")
def an_operation_touches_its_row_alone(store: Store) -> None:
    """Neither the next one, nor those whose ids look alike."""
    ids = [7, 8, 70, 71, 77, 107, 700, 707, 7_000, 10**12 + 7]
    store.backend.load([sample(Tag, id, name=str(id)) for id in ids])
    before = by_key(store.dump())
    apply(store, Update(Tag, 7, {"description": "d"}))
    expected = before | {(Tag, 7): before[Tag, 7].replaced({"description": "d"})}
    assert by_key(store.dump()) == expected
    apply(store, Delete(Tag, 7))
    del expected[Tag, 7]
    assert by_key(store.dump()) == expected
    apply(store, Update(Tag, 8, {"category": "c"}), Delete(Tag, 70))
    assert len(store.dump()) == len(ids) - 2


@proves("BAT-4")
def a_missing_row_fails_every_guard(store: Store) -> None:
    """Also an empty one; the error names the row."""
    missing = store.plan(Tag)
    operations: list[Operation] = [
        Require(Tag, missing.id),
        Update(Tag, missing.id, {"name": "b"}),
        Update(Tag, missing.id, {}),
        Delete(Tag, missing.id),
    ]
    for operation in operations:
        error = refused(store, StaleWrite, operation)
        assert (error.kind, error.id, error.retryable) == ("tags", missing.id, True)


@proves("BAT-4")
def a_guard_that_fails_stops_the_batch(store: Store) -> None:
    """Whichever operation it belongs to, and whatever stands before it."""
    tag = store.new(Tag)
    new = Insert(store.plan(Tag, name="new"))
    wrong = [{"name": "b"}, {"description": ""}, {"category": "x", "name": tag.name}]
    for guard in (*wrong, {"name": tag.name, "category": "x"}):
        refused(store, StaleWrite, new, Require(Tag, tag.id, guard))
        refused(store, StaleWrite, new, Update(Tag, tag.id, {"name": "c"}, guard))
        refused(store, StaleWrite, new, Delete(Tag, tag.id, guard))


@proves("BAT-4")
def a_guard_on_null_asks_for_null(store: Store) -> None:
    """None as a guard's value holds where the field is NULL, and nowhere else."""
    there, absent = store.new(Tag, name="there", category="x"), store.new(Tag, name="absent")
    refused(store, StaleWrite, Require(Tag, there.id, {"category": None}))
    refused(store, StaleWrite, Delete(Tag, there.id, {"category": None}))
    refused(store, StaleWrite, Require(Tag, absent.id, {"category": ""}))
    apply(store, Update(Tag, absent.id, {"category": "y"}, {"category": None}))
    refused(store, StaleWrite, Update(Tag, absent.id, {"name": "z"}, {"category": None}))


@proves("BAT-4")
def an_error_names_key_and_reference(store: Store) -> None:
    """By kind and fields, never by value."""
    tag, chain = store.new(Tag, name="secret"), store.new(Chain)
    error = refused(store, Duplicate, Insert(store.plan(Tag, name="secret")))
    assert (error.kind, error.fields) == ("tags", ("name",))
    assert "secret" not in str(error)
    error = refused(store, Duplicate, Insert(tag.evolve(name="b")))
    assert (error.kind, error.fields) == ("tags", ("id",))
    link = store.plan(DocumentTag, document_id=chain.id, tag_id=store.plan(Tag).id)
    error = refused(store, BrokenReference, Insert(link))
    assert (error.kind, error.field, error.retryable) == ("document_tags", "tag_id", True)


@proves("BAT-4")
def of_several_errors_the_first_kind_is_told(store: Store) -> None:
    """StaleWrite, then Duplicate, then BrokenReference, in any order of the operations."""
    tag = store.new(Tag)
    stale = Require(Tag, store.plan(Tag).id)
    double = Insert(store.plan(Tag, name=tag.name))
    broken = Insert(store.plan(DocumentTag, document_id=store.plan(Chain).id, tag_id=tag.id))
    operations: list[Operation] = [stale, double, broken]
    for order in permutations(operations):
        refused(store, StaleWrite, *order)
    for order in permutations(operations[1:]):
        refused(store, Duplicate, *order)


@proves("BAT-5")
def rows_outside_a_key_are_free(store: Store) -> None:
    """NULL among the fields, or outside its condition: any number of rows."""
    for _ in range(2):
        store.new(Chain, text_claim=None)
    chain = store.new(Chain)
    for version in (1, 2, 3):
        store.new(Document, root_id=chain.id, version=version, is_latest=False)


@proves("BAT-5")
def a_key_is_free_after_its_row_is_gone(store: Store) -> None:
    """For a later batch, on this handle and on another; also after it was renamed."""
    for backend in (store.backend, store.other, store.backend):
        tag = store.new(Tag, name="name")
        backend.apply(Batch(OURS, [Delete(Tag, tag.id)]))
    tag = store.new(Tag, name="name")
    store.other.apply(Batch(OURS, [Update(Tag, tag.id, {"name": "other"})]))
    store.new(Tag, name="name")


@proves("BAT-5")
def a_key_holds_on_every_handle(store: Store) -> None:
    """What one handle stored, another one cannot store again."""
    store.new(Tag, name="name")
    again, other = store.plan(Tag, name="name"), store.new(Tag, name="other")
    renamed = Update(Tag, other.id, {"name": "name"})
    for operation in (Insert(again), renamed):
        batch = Batch(OURS, [operation])
        unchanged(store, lambda: store.other.apply(batch), Duplicate)  # noqa: B023


@proves("BAT-5")
def a_row_that_comes_back_under_its_key_is_refused(store: Store) -> None:
    """The condition and the NULL are judged on what the update leaves."""
    store.new(Chain, text_claim="t")
    free = store.new(Chain)
    refused(store, Duplicate, Update(Chain, free.id, {"text_claim": "t"}))
    _, other = versions(store)
    refused(store, Duplicate, Update(Document, other.id, {"is_latest": True}))


@proves("BAT-5")
def a_key_without_fields_allows_one_row(store: Store) -> None:
    """One per tenant (``RetentionState``)."""
    store.new(RetentionState)
    refused(store, Duplicate, Insert(store.plan(RetentionState, revision=7)))


@proves("BAT-5")
def references_are_checked_both_ways(store: Store) -> None:
    """A child without its parent, by insert and update, and a parent that is still referred to."""
    chain, tag = store.new(Chain), store.new(Tag)
    link = store.new(DocumentTag, document_id=chain.id, tag_id=tag.id)
    refused(store, BrokenReference, Delete(Tag, tag.id))
    refused(store, BrokenReference, Delete(Chain, chain.id))
    missing = store.plan(Tag).id
    refused(store, BrokenReference, Update(DocumentTag, link.id, {"tag_id": missing}))
    apply(store, Delete(DocumentTag, link.id))
    apply(store, Delete(Tag, tag.id), Delete(Chain, chain.id))


@proves("BAT-5")
def a_reference_that_is_null_refers_to_nothing(store: Store) -> None:
    """It can be set and taken away."""
    chain = store.new(Chain)
    first = store.new(Document, root_id=chain.id, is_latest=False)
    second = store.new(Document, root_id=chain.id, version=2, parent_id=first.id)
    refused(store, BrokenReference, Delete(Document, first.id))
    apply(store, Update(Document, second.id, {"parent_id": None}))
    apply(store, Delete(Document, first.id))
