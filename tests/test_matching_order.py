"""QRY-1, QRY-7: one total order, and windows into it."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.matching import evaluate, position, window
from loki_storage.models import Document, Record, Validation
from loki_storage.query import InQuery, Order, Query
from tests.strategies import ids, orderable, orders, rows, sample, table_and


def no_members(condition: InQuery) -> set[tuple[str, object]]:
    raise AssertionError(condition)


DOCUMENT = sample(Document)


@given(table_and(orders), st.randoms(use_true_random=False))
def test_order_is_total_and_does_not_depend_on_where_rows_come_from(
    drawn: Any, random: Any
) -> None:
    kind, table, order = drawn
    query = Query(kind, None, order=order)
    place = position(query)
    ordered = evaluate(query, table, no_members)
    for one, other in pairwise(ordered):
        assert place(one) < place(other)
        assert not place(other) < place(one)
    random.shuffle(table)
    assert evaluate(query, table, no_members) == ordered


@given(table_and(orders))
def test_positions_are_transitive(drawn: Any) -> None:
    kind, table, order = drawn
    place = position(Query(kind, None, order=order))
    ordered = sorted(table, key=place)
    for low, one in enumerate(ordered):
        for other in ordered[low + 1 :]:
            assert (place(one) < place(other), place(other) > place(one)) == (True, True)
            assert (place(other) < place(one), place(other) == place(one)) == (False, False)


@given(
    table_and(lambda kind: st.tuples(st.sampled_from(orderable(kind)), st.booleans())),
)
def test_nulls_come_last_in_both_directions_and_ids_break_ties(drawn: Any) -> None:
    kind, table, (field, descending) = drawn
    ordered = evaluate(Query(kind, None, order=[Order(field, descending)]), table, no_members)
    held = [record.stored(field) for record in ordered]
    present = [value for value in held if value is not None]
    assert held == present + [None] * (len(held) - len(present))
    ranks = [kind.domains[field].rank(value) for value in present]
    assert ranks == sorted(ranks, reverse=descending)
    for one, other in pairwise(ordered):
        if one.stored(field) == other.stored(field):
            assert (one.id > other.id) is descending


@pytest.mark.parametrize("descending", [False, True])
def test_severity_is_ordered_by_rank(descending: bool) -> None:
    levels = ["low", "critical", None, "none", "high", "medium"]
    table = [sample(Validation).evolve(id=n, overall_risk=v) for n, v in enumerate(levels, 1)]
    query = Query(Validation, None, order=[Order("overall_risk", descending)])
    found = [record.stored("overall_risk") for record in evaluate(query, table, no_members)]
    ranked = ["none", "low", "medium", "high", "critical"]
    assert found == [*(reversed(ranked) if descending else ranked), None]


@pytest.mark.parametrize("descending", [False, True])
def test_text_is_ordered_by_code_point(descending: bool) -> None:
    names = ["b", "B", "a", "\u00e9", "\uffff", "\U0001f600", "", "Z"]
    table = [DOCUMENT.evolve(id=n, title=name) for n, name in enumerate(names, 1)]
    query = Query(Document, None, order=[Order("title", descending)])
    found = [record.stored("title") for record in evaluate(query, table, no_members)]
    assert found == sorted(names, key=lambda name: list(map(ord, name)), reverse=descending)


# --- Windows ---------------------------------------------------------------------------------


def cursor_of(query: Query, record: Record) -> tuple[Any, ...]:
    return tuple(record.stored(order.field) for order in query.total_order)


@given(table_and(orders))
def test_cursor_leaves_what_comes_after(drawn: Any) -> None:
    kind, table, order = drawn
    query = Query(kind, None, order=order)
    ordered = evaluate(query, table, no_members)
    for number, record in enumerate(ordered, 1):
        after = query.evolve(after=cursor_of(query, record))
        assert evaluate(after, table, no_members) == ordered[number:]
        others = [other for other in table if other.id != record.id]
        assert evaluate(after, others, no_members) == ordered[number:]


@given(table_and(orders), st.integers(1, 3), st.data())
def test_pages_by_cursor_show_each_row_once_while_others_come_and_go(
    drawn: Any, size: int, data: st.DataObject
) -> None:
    kind, table, order = drawn
    first = Query(kind, None, order=order, limit=size)
    query, seen, stored = first, list[Record](), list(table)
    while page := evaluate(query, stored, no_members):
        seen += page
        query = first.evolve(after=cursor_of(first, page[-1]))
        stored.append(data.draw(rows(kind)).evolve(id=100 + len(stored)))
        if len(stored) > 40:
            break
    stayed = {record.id for record in table}
    shown = [record.id for record in seen if record.id in stayed]
    assert len(ids(seen)) == len(seen)
    if len(stored) <= 40:
        assert sorted(shown) == sorted(stayed)


@given(
    table_and(orders),
    st.none() | st.integers(0, 9) | st.just(2**63 - 1),
    st.integers(0, 9) | st.just(2**63 - 1),
    st.booleans(),
)
def test_offset_and_limit_cut_after_the_cursor(
    drawn: Any, limit: int | None, offset: int, use_cursor: bool
) -> None:
    kind, table, order = drawn
    query = Query(kind, None, order=order)
    ordered = evaluate(query, table, no_members)
    if use_cursor and ordered:
        query = query.evolve(after=cursor_of(query, ordered[0]))
        ordered = ordered[1:]
    cut = query.evolve(limit=limit, offset=offset)
    expected = ordered[offset:] if limit is None else ordered[offset:][:limit]
    assert evaluate(cut, table, no_members) == expected
    assert list(window(query.evolve(limit=limit), ordered)) == ordered[:limit]


def test_window_streams() -> None:
    def endless() -> Iterable[Record]:
        while True:
            yield DOCUMENT

    assert list(window(Query(Document, None, limit=2, offset=3), endless())) == [DOCUMENT] * 2
    assert list(window(Query(Document, None, limit=0), endless())) == []
