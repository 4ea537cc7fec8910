"""QRY-9, BAT-2: a session reads what the store will hold once its pending writes are there."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
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
    holds,
)
from loki_storage.errors import InvalidValue, StaleWrite
from loki_storage.matching import evaluate
from loki_storage.models import KINDS, Chain, Document, Kind, Record, Tag, Validation
from loki_storage.overlay import Pending, kinds_of, merged
from loki_storage.protocol import Count, Max, Reader
from loki_storage.query import MAXIMUM_WINDOW, Condition, InQuery, Not, Order, Query, equals
from loki_storage.rows import Rows
from loki_storage.rules.change import Change, Edit, Removal, Step
from tests.programs import PRELUDE, perform, program
from tests.stores import new_tenant
from tests.strategies import MIDNIGHT, WORLD_KINDS, World, pool, queries, sample, world_row, worlds

TENANT = "a"


def new_tag(id: int) -> Tag:
    return Tag(id=id, tenant_id=TENANT, name=f"a{id}", created_at=MIDNIGHT)


TAG = new_tag(1)


def change(*steps: Step) -> Change:
    return Change(action="a", entity_type="a", entity_id=None, client_id="-", steps=steps)


class Table(Reader):
    """A reader over plain rows: what a query means, and nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world

    def select(self, query: Query) -> Iterator[Any]:
        found = [row for (kind, _), row in self.world.items() if kind is query.kind]
        return iter(evaluate(query, found, self._members))

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = ((r.tenant_id, r.stored(condition.its_field)) for r in self.select(condition.query))
        return {pair for pair in found if pair[1] is not None}


def session_view(world: World, pending: Pending) -> Reader:
    """A session as far as reading goes: a backend with these rows, and what is pending."""

    class View(Reader):
        def select(self, query: Query) -> Iterator[Any]:
            if not pending.touches(kinds_of(query)):
                return Table(world).select(query)
            return merged(query, pending, Table(world).select, self.select)

    return View()


# --- Folding ---------------------------------------------------------------------------------


def random_step(random: Random, view: World, new_id: int) -> Step | None:
    """A step that fits the view: guards say what the view says."""
    kind = random.choice(WORLD_KINDS)
    there = [row for (k, _), row in view.items() if k is kind and row.tenant_id == TENANT]
    if not there or random.random() < 0.3:
        drawn = next(row for row in iter(lambda: world_row(random), None) if type(row) is kind)
        new = drawn.replaced({"id": new_id, "tenant_id": TENANT})
        return Insert(new) if random.random() < 0.5 else InsertMany(Rows.of([new]))
    before = random.choice(there)
    fields = [field for field in kind.domains if field not in ("id", "tenant_id")]
    guard = {f: before.stored(f) for f in random.sample(fields, random.randint(0, 1))}
    match random.choice(["edit", "edit", "remove", "require"]):
        case "remove":
            return Removal(before, guard)
        case "require":
            return Require(kind, before.id, guard)
    changed = random.sample(fields, min(len(fields), random.randint(0, 2)))
    changes = {field: random.choice(pool(kind.domains[field])) for field in changed}
    return Edit(before, changes, guard)


def applied(world: World, steps: Sequence[Any]) -> World:
    """The rows after steps, or after a batch's operations, one by one."""
    after = dict(world)
    for step in steps:
        match step:
            case Insert(record):
                after[type(record), record.id] = record
            case InsertMany(rows):
                after |= {(type(row), row.id): row for row in rows}
            case Edit(before):
                key = type(before), before.id
                after[key] = after[key].replaced(step.operation.changes)
            case Update(kind, id, changes):
                after[kind, id] = after[kind, id].replaced(changes)
            case Removal(before):
                del after[type(before), before.id]
            case Delete(kind, id):
                del after[kind, id]
    return after


def pending_on(world: World, seed: int, count: int) -> tuple[Pending, World]:
    """Random changes that fit, buffered, and the rows that should come of them."""
    random, pending, view = Random(seed), Pending(), world
    for number in range(count):
        step = random_step(random, view, 100 + number)
        if step is not None:
            pending.add(change(step))
            view = applied(view, [step])
    return pending, view


seeds = st.integers(0, 2**20)


@settings(max_examples=150)
@given(worlds, seeds, st.integers(0, 12))
def test_folded_operations_do_what_the_steps_did_one_by_one(
    world: World, seed: int, count: int
) -> None:
    pending, view = pending_on(world, seed, count)
    batch = Batch(TENANT, pending.parts())  # refuses to name a row twice (BAT-2)
    assert applied(world, batch.operations) == view
    for operation in batch.operations:
        if not isinstance(operation, Insert):
            assert holds(world.get((operation.kind, operation.id)), operation.guard)


@settings(max_examples=150)
@given(worlds, seeds, st.integers(1, 9), st.sampled_from(WORLD_KINDS).flatmap(queries))
def test_reads_equal_reads_of_the_rows_to_come(
    world: World, seed: int, count: int, query: Query
) -> None:
    pending, view = pending_on(world, seed, count)
    event(f"touched: {pending.touches(kinds_of(query))}")
    mine, theirs = session_view(world, pending), Table(view)
    assert list(mine.select(query)) == list(theirs.select(query))
    assert mine.count(query) == theirs.count(query)
    assert mine.exists(query) == theirs.exists(query)


@settings(max_examples=60)
@given(worlds, seeds, st.integers(0, 6), st.integers(1, 4))
def test_change_that_fails_half_way_leaves_no_trace(
    world: World, seed: int, count: int, good: int
) -> None:
    pending, view = pending_on(world, seed, count)
    before, random = pending.parts(), Random(seed)
    steps = [random_step(random, view, 200)]
    steps += [Insert(new_tag(300 + number)) for number in range(good)]
    twice = Insert(new_tag(300))
    with pytest.raises(InvalidValue):
        pending.add(change(*(step for step in steps if step is not None), twice))
    assert by_row(pending.parts()) == by_row(before)
    assert session_rows(world, pending) == view


def test_change_whose_last_step_does_not_fit_leaves_no_trace() -> None:
    pending = Pending()
    pending.add(change(Edit(TAG, {"name": "b"})))
    before = pending.parts()
    steps: list[Step] = [Insert(new_tag(2)), Edit(TAG.evolve(name="b"), {"name": "c"})]
    with pytest.raises(StaleWrite):
        pending.add(change(*steps, Require(Tag, 1, {"name": "b"})))
    assert pending.parts() == before
    assert session_rows({(Tag, 1): TAG}, pending) == {(Tag, 1): TAG.evolve(name="b")}


def by_row(parts: Sequence[Part]) -> dict[tuple[Kind, int], Operation]:
    return {(op.kind, op.id): op for op in Batch(TENANT, parts).operations}


def session_rows(world: World, pending: Pending) -> World:
    found = session_view(world, pending)
    rows = [row for kind in WORLD_KINDS for row in found.select(Query(kind, None))]
    return {(type(row), row.id): row for row in rows}


def folded(*steps: Step) -> list[Any]:
    pending = Pending()
    for step in steps:
        pending.add(change(step))
    return pending.parts()


def test_row_inserted_and_removed_is_not_there_at_all() -> None:
    assert folded(Insert(TAG), Edit(TAG, {"name": "b"}), Removal(TAG)) == []


def test_row_inserted_and_edited_is_inserted_as_edited() -> None:
    assert folded(Insert(TAG), Edit(TAG, {"name": "b"})) == [Insert(TAG.evolve(name="b"))]


def test_first_guard_and_last_values_are_kept() -> None:
    first = Edit(TAG, {"name": "b"}, {"name": "a1"})
    second = Edit(TAG.evolve(name="b"), {"name": "c"}, {"name": "b"})
    assert folded(first, second) == [Update(Tag, 1, {"name": "c"}, {"name": "a1"})]


def test_guard_of_a_field_that_the_session_did_not_change_joins() -> None:
    required = Require(Tag, 1, {"color": None, "name": "b"})
    found = folded(Edit(TAG, {"name": "b"}, {"name": "a1"}), required)
    assert found == [Update(Tag, 1, {"name": "b"}, {"color": None, "name": "a1"})]


def test_edited_and_removed_row_is_removed_under_the_first_guard() -> None:
    removal = Removal(TAG.evolve(name="b"), {"name": "b"})
    found = folded(Edit(TAG, {"name": "b"}, {"name": "a1"}), removal)
    assert found == [Delete(Tag, 1, {"name": "a1"})]


def test_edit_of_nothing_asks_for_its_guard_only() -> None:
    assert folded(Edit(TAG, {}, {"name": "a1"})) == [Require(Tag, 1, {"name": "a1"})]


@pytest.mark.parametrize(
    "step",
    [
        Edit(TAG, {"color": None}, {"name": "a1"}),
        Removal(TAG, {"name": "a1"}),
        Require(Tag, 1, {"name": "a1"}),
        Edit(TAG, {}, {"name": "a1"}),
    ],
)
@pytest.mark.parametrize("first", [Insert(TAG.evolve(name="b")), Edit(TAG, {"name": "b"})])
def test_guard_is_judged_on_what_the_session_wrote(step: Step, first: Step) -> None:
    pending = Pending()
    pending.add(change(first))
    with pytest.raises(StaleWrite):
        pending.add(change(step))


@pytest.mark.parametrize("step", [Edit(TAG, {}), Removal(TAG), Require(Tag, 1)])
def test_row_that_the_session_removed_fails_every_guard(step: Step) -> None:
    pending = Pending()
    pending.add(change(Removal(TAG)))
    with pytest.raises(StaleWrite) as caught:
        pending.add(change(step))
    assert (caught.value.kind, caught.value.id) == ("tags", 1)


# --- Rows that go by the many ----------------------------------------------------------------


MANY = DeleteMany(Tag, [1, 2])


def test_many_that_go_are_committed_as_they_came() -> None:
    pending = Pending()
    pending.add(change(MANY, Removal(sample(Document))))
    pending.add(change(DeleteMany(Tag, [3]), DeleteMany(Chain, [])))
    assert pending.parts() == [Delete(Document, sample(Document).id), MANY, DeleteMany(Tag, [3])]
    assert [pending.names(Tag, id) for id in (2, 4)] == [True, False]


def test_read_of_the_kind_does_not_see_them() -> None:
    pending = Pending()
    pending.add(change(MANY))
    stored: dict[tuple[Kind, int], Record] = {(Tag, n): new_tag(n) for n in (1, 2, 3)}
    found = session_view(stored, pending).select(Query(Tag, TENANT))
    assert list(found) == [new_tag(3)]
    assert pending.parts() == [Delete(Tag, 1), Delete(Tag, 2)]


def test_what_the_session_wrote_before_is_folded_one_by_one() -> None:
    assert folded(Insert(TAG), MANY) == [Delete(Tag, 2)]
    assert folded(new_tags(1, 2), MANY) == []
    assert folded(Edit(TAG, {"name": "b"}, {"name": "a1"}), MANY) == [
        Delete(Tag, 1, {"name": "a1"}),
        Delete(Tag, 2),
    ]
    with pytest.raises(StaleWrite):
        folded(Removal(TAG), MANY)


@pytest.mark.parametrize("step", [Edit(TAG, {}), Removal(TAG), Require(Tag, 1)])
def test_one_of_many_that_went_fails_every_guard(step: Step) -> None:
    pending = Pending()
    pending.add(change(MANY))
    with pytest.raises(StaleWrite):
        pending.add(change(step))
    assert {each.id for each in operations(pending)} == {1, 2}


@pytest.mark.parametrize("read", [False, True])
def test_many_of_a_change_that_fails_stay(read: bool) -> None:
    pending = Pending()
    pending.add(change(MANY))
    if read:
        pending.views(Tag)
    with pytest.raises(StaleWrite):
        pending.add(change(DeleteMany(Tag, [5]), *UNFIT))
    assert {each.id for each in operations(pending)} == {1, 2}


def operations(pending: Pending) -> Sequence[Operation]:
    return Batch(TENANT, pending.parts()).operations


# --- Rows that come as columns ---------------------------------------------------------------


def new_tags(*ids: int) -> InsertMany:
    return InsertMany(Rows(Tag, {"id": ids, "name": [f"a{id}" for id in ids]}, SHARED))


UNFIT = [Removal(sample(Document)), Removal(sample(Document))]
SHARED = {"tenant_id": TENANT, "created_at": MIDNIGHT}


def packed(pending: Pending) -> list[Rows[Any]]:
    return [part.rows for part in pending.parts() if isinstance(part, InsertMany)]


def are_made(rows: InsertMany) -> bool:
    return "records" in rows.rows.__dict__


def test_columns_are_committed_as_they_came() -> None:
    rows, pending = new_tags(1, 2), Pending()
    pending.add(change(rows, Insert(new_tag(3))))
    pending.add(change(Edit(sample(Document), {"title": "b"})))
    assert pending.touches({Tag})
    assert [each is rows.rows for each in packed(pending)] == [True]
    assert not are_made(rows)


def test_later_edit_is_folded_onto_one_row_of_many() -> None:
    pending = Pending()
    pending.add(change(new_tags(1, 2)))
    pending.add(change(Edit(TAG, {"name": "b"}, {"name": "a1"})))
    assert pending.parts() == [Insert(TAG.evolve(name="b")), Insert(new_tag(2))]


def test_read_of_the_kind_sees_the_rows_and_of_others_leaves_them_packed() -> None:
    rows, pending = new_tags(1, 2), Pending()
    pending.add(change(rows))
    assert list(session_view({}, pending).select(Query(Document, TENANT))) == []
    assert not are_made(rows)
    assert list(session_view({}, pending).select(Query(Tag, TENANT))) == [TAG, new_tag(2)]


@pytest.mark.parametrize("read", [False, True])
def test_rows_of_a_change_that_fails_are_gone(read: bool) -> None:
    pending = Pending()
    pending.add(change(new_tags(1, 2)))
    if read:
        pending.views(Tag)
    steps: list[Step] = [new_tags(3, 4), new_tags(5), Edit(new_tag(4), {"name": "b"})]
    with pytest.raises(StaleWrite):
        pending.add(change(*steps, Require(Tag, 4, {"name": "c"})))
    assert session_rows({}, pending) == {(Tag, n): new_tag(n) for n in (1, 2)}


def test_failed_change_of_no_other_row_leaves_columns_packed() -> None:
    rows, pending = new_tags(1, 2), Pending()
    pending.add(change(rows))
    with pytest.raises(StaleWrite):
        pending.add(change(new_tags(3), *UNFIT))
    assert [each is rows.rows for each in packed(pending)] == [True]
    assert not are_made(rows)


def test_row_of_many_is_named_once() -> None:
    pending = Pending()
    pending.add(change(new_tags(1, 2)))
    pending.add(change(Insert(new_tag(2))))
    with pytest.raises(InvalidValue, match="more than once"):
        Batch(TENANT, pending.parts())
    with pytest.raises(InvalidValue, match="more than once"):
        pending.views(Tag)
    twice = Pending()
    twice.add(change(new_tags(1, 1)))
    with pytest.raises(InvalidValue, match="more than once"):
        twice.views(Tag)


def test_many_rows_are_read_as_one_is() -> None:
    pending = Pending()
    pending.add(change(new_tags(*range(1, 401))))
    assert list(pending.views(Tag)) == list(range(1, 401))


# --- Merging ---------------------------------------------------------------------------------


def test_largest_window_is_not_widened_beyond_what_databases_count() -> None:
    pending = Pending()
    pending.add(change(Insert(TAG)))
    query = Query(Tag, TENANT, limit=MAXIMUM_WINDOW, offset=0)
    assert list(session_view({}, pending).select(query)) == [TAG]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_committed_rows_are_read_as_far_as_the_answer_can_need_them(
    offset: int, limit: int, written: int
) -> None:
    pending, asked = Pending(), []
    world: World = {(Tag, n): new_tag(n) for n in range(1, 31)}
    pending.add(change(*(Removal(new_tag(n)) for n in range(1, written + 1))))

    def committed(query: Query) -> Iterator[Any]:
        asked.append(query)
        return Table(world).select(query)

    query = Query(Tag, TENANT, order=[Order("id")], limit=limit, offset=offset)
    found = merged(query, pending, committed, session_view(world, pending).select)
    first = written + offset + 1
    assert [tag.id for tag in found] == list(range(first, first + limit))
    assert [(query.offset, query.limit) for query in asked] == [(0, offset + limit + written)]


def test_query_inside_another_is_answered_as_the_session_sees_it() -> None:
    """Of rows that are committed, too: whether they match is up to what is pending."""
    document = sample(Document).evolve(id=1, tenant_id=TENANT)
    world: World = {(Document, 1): document, (Tag, 1): TAG}
    pending = Pending()
    pending.add(change(Edit(TAG, {"name": "b"})))
    inside: list[Condition] = [
        InQuery("id", Query(Tag, TENANT, equals(name=name)), "id") for name in ("a1", "b")
    ]
    select = session_view(world, pending).select
    inside += [*map(Not, inside)]
    for where, there in zip(inside, [False, True, True, False], strict=True):
        assert list(select(Query(Document, TENANT, where))) == [document] * there


def test_rows_that_refer_to_nothing_ask_for_nothing() -> None:
    rows = [sample(Document).evolve(id=id, tenant_id=TENANT, parent_id=None) for id in (1, 2)]
    pending, asked = Pending(), []
    pending.add(change(*map(Insert, rows)))

    def view(query: Query) -> Iterator[Any]:
        asked.append(query)
        return iter(())

    inside = InQuery("parent_id", Query(Tag, TENANT), "id")
    query = Query(Document, TENANT, inside)
    assert list(merged(query, pending, Table({}).select, view)) == []
    assert asked == []


def test_query_of_untouched_kinds_inside_another_is_left_to_the_backend() -> None:
    pending, asked = Pending(), []
    pending.add(change(Insert(new_tag(1))))

    def committed(query: Query) -> Iterator[Any]:
        asked.append(query)
        return iter(())

    inner = Query(Document, TENANT, equals(is_deleted=False))
    query = Query(Tag, TENANT, InQuery("id", inner, "id"))
    assert list(merged(query, pending, committed, committed)) == []
    of_documents = [each for each in asked if each.kind is Document]
    assert len(of_documents) == 1
    assert of_documents[0].where != inner.where, "all documents were read to find one"
    assert query in asked


# --- Sessions, on every backend --------------------------------------------------------------

PROBES: list[tuple[Kind, Any, str]] = [
    (Document, equals(is_deleted=False), "title"),
    (Document, equals(is_latest=True), "updated_at"),
    (Document, equals(content="a"), "version"),
    (Tag, equals(category="a"), "name"),
    (Validation, Not(equals(status="pending")), "overall_risk"),
]


def probes(tenant: str, limit: int | None, offset: int, descending: bool) -> list[Query]:
    """Queries as the API makes them: filters, windows, and other kinds inside."""
    found = [
        Query(kind, tenant, where, [Order(field, descending)], limit, offset)
        for kind, where, field in PROBES
    ]
    live = Query(Document, tenant, equals(is_deleted=False))
    of_live = Query(Validation, tenant, InQuery("document_id", live, "id"))
    of_documents = InQuery("document_id", live, "id")
    found += [
        Query(KINDS[table], tenant, of_documents, limit=limit)
        for table in ("validations", "corrections", "document_tags")
    ]
    results, history = KINDS["validation_results"], KINDS["correction_history"]
    found.append(Query(results, tenant, InQuery("validation_id", of_live, "id"), offset=offset))
    found.append(Query(history, tenant, limit=limit, offset=offset))
    found.append(Query(KINDS["audit_trail"], tenant, order=[Order("timestamp", descending)]))
    return found


@settings(max_examples=40)
@example([("append", 0, 4), ("delete", 1, 0), ("restore", 1, 0)], [], 3, 1, True)
@given(program(6), program(8), st.none() | st.integers(0, 4), st.integers(0, 2), st.booleans())
def test_answer_before_the_commit_equals_the_answer_after_it(
    store: Storage,
    committed: list[Any],
    pending: list[Any],
    limit: int | None,
    offset: int,
    descending: bool,
) -> None:
    tenant = new_tenant()
    queries = probes(tenant, limit, offset, descending)
    with store.session(tenant=tenant) as session:
        for step in [*PRELUDE, *committed]:
            perform(session, step)
        session.commit()
        for step in pending:
            perform(session, step)
        before = [answers(session, query) for query in queries]
    with store.session(tenant=tenant, read_only=True) as session:
        assert before == [answers(session, query) for query in queries]


def answers(session: Session, query: Query) -> tuple[Any, ...]:
    return (
        list(session.select(query)),
        list(session.rows(query, ["id", "tenant_id"])),
        session.count(query),
        session.exists(query),
        session.aggregate(query, ["id"], [Count(), Max("id")])[:3],
        session.select_many([query, query]),
        session.get_many(query.kind, [1, 2, 3], query.tenant),
    )


def test_query_of_another_tenant_is_refused_pending_or_not(store: Storage) -> None:
    tenant, other = new_tenant(), new_tenant()
    with store.session(tenant=tenant) as session:
        for number in range(2):
            for theirs in (Query(Document, other), Query(Document, None)):
                for read in (session.select, session.count, session.exists, session.search):
                    with pytest.raises(InvalidValue, match="tenant"):
                        read(theirs)
                with pytest.raises(InvalidValue, match="tenant"):
                    session.select_many([session.query(Document), theirs])
                with pytest.raises(InvalidValue, match="tenant"):
                    session.get_many(Document, [1], theirs.tenant)
            session.documents.create_document(f"{number}", "email", "a")


def test_stream_that_is_open_does_not_stop_another_read_or_the_commit(store: Storage) -> None:
    with store.session(tenant=new_tenant()) as session:
        for number in range(5):
            session.documents.create_document(f"{number}", "email", "a")
        stream = session.select(session.query(Document))
        first: Record = next(stream)
        session.documents.update(first.id, title="new")
        session.commit()
        assert session.count(session.query(Document)) == 5
        assert len(list(stream)) == 4
