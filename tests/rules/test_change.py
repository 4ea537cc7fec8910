"""AUD-1, AUD-2, TXN-3: any program of operations keeps the laws, and the audit explains it."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loki_storage import Query, Session, Storage
from loki_storage.batch import Insert, InsertMany
from loki_storage.errors import (
    Conflict,
    NotFound,
)
from loki_storage.models import Chain, Document, Tag
from loki_storage.query import In
from loki_storage.rows import Rows
from loki_storage.rules import change as rules
from loki_storage.rules.change import (
    Actor,
    Change,
    Changes,
    Removal,
    audit_entries,
    audit_entry,
    edit,
    guarded_edit,
    ranges,
    read_noted,
)
from loki_storage.values import LIMITS, parse
from tests.programs import (
    PRELUDE,
    Step,
    check_explained,
    check_laws,
    entries,
    perform,
    program,
    view,
)
from tests.stores import CLOCK, by_id, new_tenant
from tests.strategies import MIDNIGHT, sample

Begin = Callable[..., Session]
ALICE = Actor("alice@example", ip_address="192.0.2.7", user_agent="Firefox", request_id="r1")


def event(**fields: Any) -> Change:
    """A change of no row, unless it is told otherwise."""
    told: dict[str, Any] = {
        "action": "seen",
        "entity_type": "tag",
        "entity_id": 1,
        "client_id": "-",
    }
    return Change(**{**told, "steps": (), **fields})


@given(st.sets(st.integers(1, 30) | st.integers(10**18, 10**18 + 9), max_size=12))
def test_ranges_hold_the_ids_and_nothing_between_them(ids: set[int]) -> None:
    found = ranges(ids)
    assert [id for first, last in found for id in range(first, last + 1)] == sorted(ids)
    assert all(first <= last for first, last in found)
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(found)), "as few as possible"


def test_edit_is_of_what_really_changes_and_fails_where_that_was_changed() -> None:
    tag = sample(Tag).evolve(name="a", category="b")
    assert edit(tag, name="a", category="b").changes == {}
    step = guarded_edit(tag, "color", name="c", category="b")
    assert (step.changes, step.guard) == ({"name": "c"}, {"name": "a", "color": tag.color})
    assert (step.silent, edit(tag, {"name": "a"}, name="c").guard) == (False, {"name": "a"})
    assert step.operation.guard == step.guard


def test_change_is_told_by_names() -> None:
    with pytest.raises(TypeError):
        Change("seen", "tag", 1, "-", ())  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Changes("seen", [1], ["-"], ())  # type: ignore[call-arg]


def test_who_acts_is_told_by_no_repr() -> None:
    assert not [told for told in ("alice", "192.0.2.7", "Firefox") if told in repr(ALICE)]


@pytest.mark.parametrize(("own", "told"), [(None, "r1"), ("r2", "r2")])
def test_request_is_the_changes_own_or_else_the_sessions(own: str | None, told: str) -> None:
    change = event(request_id=own)
    entry = audit_entry(change, id=1, tenant="t", actor=ALICE, now=MIDNIGHT)
    assert entry.request_id == told
    assert (entry.actor_id, entry.ip_address, entry.user_agent) == (
        *("alice@example", "192.0.2.7", "Firefox"),
    )


@given(st.lists(st.booleans(), min_size=1, max_size=4), st.booleans())
def test_entries_of_many_changes_are_those_of_each(retitled: list[bool], others: bool) -> None:
    """AUD-1: what is told of a document does not depend on how many came with it."""
    ids = range(1, len(retitled) + 1)
    documents = [sample(Document).evolve(id=10 * id) for id in ids]
    more: list[list[rules.Step]] = [
        [edit(sample(Tag), name="new"), *map(Removal, [sample(Tag)] * again)] for again in retitled
    ]
    changes = Changes(
        action="create",
        ids=[10 * id for id in ids],
        client_ids=[f"client {id}" for id in ids],
        rows=[
            Rows.of([sample(Chain).evolve(id=10 * id) for id in ids]),
            Rows.of(documents),
        ],
        others=more if others else (),
    )
    entries = audit_entries(changes, ids=ids, tenant="t", actor=ALICE, now=MIDNIGHT)
    assert list(entries) == [
        audit_entry(changes.of(n), id=id, tenant="t", actor=ALICE, now=MIDNIGHT)
        for n, id in enumerate(ids)
    ]
    for n, id in enumerate(ids):
        one = changes.of(n)
        assert (one.entity_id, one.document_id, one.client_id) == (10 * id, 10 * id, f"client {id}")
        assert Insert(documents[n]) in one.steps
    assert [row for s in changes.steps if isinstance(s, InsertMany) for row in s.rows][-1] == (
        documents[-1]
    )


@pytest.mark.parametrize(("rows", "others"), [(1, ()), (2, ([],))])
def test_many_changes_have_rows_and_other_steps_for_each(rows: int, others: Any) -> None:
    tags, documents = ([sample(kind).evolve(id=id) for id in (1, 2)] for kind in (Tag, Document))
    columns = [Rows.of(tags), Rows.of(documents[:rows])]
    changes = Changes(
        action="create", ids=[1, 2], client_ids=["a", "a"], rows=columns, others=others
    )
    with pytest.raises(ValueError, match="zip"):
        audit_entries(changes, ids=[1, 2], tenant="t", actor=ALICE, now=MIDNIGHT)


def test_limits_on_json_do_not_bind_what_tells_of_it() -> None:
    """AUD-1, AUD-4: each of two values is as long as it may be, both together are longer."""
    before, after = ({"a": letter * (LIMITS.json_bytes - 9)} for letter in "xy")
    document = sample(Document).evolve(metadata_json=before)
    change = event(steps=[edit(document, metadata_json=after)])
    told: Any = audit_entry(change, id=1, tenant="t", actor=ALICE, now=MIDNIGHT).changes
    (fields,) = told["fields"]
    assert (fields["before"], fields["after"]) == (
        {"metadata_json": before},
        {"metadata_json": after},
    )
    ids = range(1, LIMITS.json_bytes, 2)
    asked: Any = parse(str(read_noted(Query(Document, "t", In("id", ids)), ids).metadata))
    assert asked["ids"] == ranges(ids)


@settings(max_examples=60)
@example([("apply", 0, 1), ("apply_badly", 1, 1), ("revert_badly", 0, 1), ("create_badly", 1, 1)])
@example([("apply_group", 0, 1), ("append", 0, 2), ("revert", 0, 0)])
@given(program(14))
def test_program_keeps_the_laws_and_the_audit_explains_it(
    store: Storage, steps: Sequence[Step]
) -> None:
    tenant = new_tenant()
    for part in (PRELUDE, steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        before = view(store.backend, tenant)
        with store.session(tenant=tenant) as session:
            for step in part:
                perform(session, step)
                CLOCK.advance(seconds=1)
        after = view(store.backend, tenant)
        check_laws(after)
        check_explained(before, after, entries(after) - entries(before))


@settings(max_examples=50)
@example([("apply_badly", 0, 1), ("create_badly", 1, 1)], [])
@given(program(6), program(6))
def test_failed_operation_leaves_the_session_as_it_was(
    store: Storage, committed: Sequence[Step], steps: Sequence[Step]
) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        for step in [*PRELUDE, *committed]:
            perform(session, step)
        session.commit()
        for step in steps:
            before = view(session, tenant)
            if perform(session, step) is not None:
                assert view(session, tenant) == before


@settings(max_examples=25)
@given(program(8))
def test_exception_inside_the_block_leaves_the_store_as_it_was(
    store: Storage, steps: Sequence[Step]
) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        for step in PRELUDE:
            perform(session, step)
    before = view(store.backend, tenant)
    session = store.session(tenant=tenant)
    session.__enter__()
    for step in steps:
        perform(session, step)
    session.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert view(store.backend, tenant) == before


@settings(max_examples=40)
@example([("append", 0, 1)], [("append", 0, 2)])
@example([("complete", 0, 0)], [("add_results", 0, 3)])
@example([("update_tag", 0, 1)], [("update_tag", 0, 0)])
@given(program(4), program(4))
def test_two_sessions_have_the_effect_of_one_after_the_other(
    store: Storage, mine: Sequence[Step], yours: Sequence[Step]
) -> None:
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        for step in [*PRELUDE, ("create_tag", 0, 0)]:
            perform(session, step)
    before = view(store.backend, tenant)
    first, second = store.session(tenant=tenant), store.session(tenant=tenant)
    for session, steps in ((first, mine), (second, yours)):
        for step in steps:
            perform(session, step)
    first.commit()
    between = view(store.backend, tenant)
    if (error := failure(second)) is not None:
        assert error.retryable or isinstance(error, NotFound)
        assert view(store.backend, tenant) == between
    after = view(store.backend, tenant)
    check_laws(after)
    check_explained(before, after, entries(after) - entries(before))


def failure(session: Session) -> Conflict | NotFound | None:
    try:
        session.commit()
    except (Conflict, NotFound) as error:
        return error
    return None


@settings(max_examples=20)
@given(st.lists(program(5), max_size=3))
def test_id_is_never_used_twice(store: Storage, programs: Sequence[Sequence[Step]]) -> None:
    tenant = new_tenant()
    seen: dict[tuple[str, int], object] = {}
    for steps in ([*PRELUDE, ("create_tag", 0, 0)], *programs):
        session = store.session(tenant=tenant)
        for step in [*steps, ("delete_tag", 0, 0)]:
            before = by_id(view(session, tenant))
            perform(session, step)
            new = by_id(view(session, tenant)).keys() - before.keys()
            assert not new & seen.keys()
            seen |= dict.fromkeys(new)
        session.commit() if len(steps) % 2 else session.rollback()


def test_purge_and_cleanup_are_explained_and_leave_the_laws(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("apply", 0, 1), ("add_tag", 0, 0), ("delete", 0, 0)]:
            perform(session, step)
    tenant = session.tenant
    before = view(store.backend, tenant)
    CLOCK.advance(days=3)
    gone = next(row for row in before if isinstance(row, Chain) and not row.live)
    with begin() as session:
        assert session.documents.purge([gone.id]) == [gone.id]
        purged = view(store.backend, tenant)
        check_explained(before, purged, entries(purged) - entries(before))
        assert entries(before) < entries(purged), "AUD-3"
        removed = session.audit.cleanup_old_entries(1, batch_size=4)
    after = view(store.backend, tenant)
    check_laws(after)
    check_explained(purged, after, entries(after) - entries(purged))
    assert removed == len(entries(before))
    told = [entry.changes["rows"] for entry in entries(after) - entries(purged)]
    ids = {
        id
        for (row,) in told
        for first, last in row["ids"]
        for id in range(first, last + 1)
        if (row["kind"], row["op"]) == ("audit_trail", "delete")
    }
    assert ids == {entry.id for entry in entries(before)}
