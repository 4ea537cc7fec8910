"""``Rows`` equal the records that they stand for, and make none before somebody looks."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, DeleteMany, Insert, InsertMany, Part, Require
from loki_storage.errors import InvalidValue
from loki_storage.models import Chain, Kind, Tag
from loki_storage.rows import Combination, Rows
from loki_storage.values import Json
from tests.strategies import MIDNIGHT, kinds, sample, tables

drawn_tables = kinds.flatmap(lambda kind: tables(kind, 5)).filter(bool)


def packed(records: Sequence[Any], shared: Sequence[str] = ()) -> Rows[Any]:
    """The records as columns alone; of fields that all agree on, as what they share."""
    kind = type(records[0])
    columns = {f: [record.stored(f) for record in records] for f in kind.domains}
    agreed = {f for f in shared if f != "id" and all(v == columns[f][0] for v in columns[f])}
    same = {f: columns[f][0] for f in agreed if columns[f][0] is not None}
    return Rows(kind, {f: column for f, column in columns.items() if f not in agreed}, same)


@given(drawn_tables, st.data())
def test_rows_are_the_records_that_they_stand_for(table: list[Any], data: st.DataObject) -> None:
    shared = data.draw(st.lists(st.sampled_from(list(type(table[0]).domains))))
    rows = packed(table, shared)
    assert [rows[n] for n in range(-len(table), len(table))] == table * 2
    assert (list(rows), rows[1:], len(rows)) == (table, tuple(table[1:]), len(table))
    assert [rows[n] for n in range(len(table))] == table, "after all were made, too"
    assert rows == packed(table) == Rows.of(table)
    for field in type(table[0]).domains:
        expected = [record.stored(field) for record in table]
        assert list(rows.column(field)) == list(Rows.of(table).column(field)) == expected
    assert rows.tenants == Rows.of(table).tenants == {record.tenant_id for record in table}


def test_one_row_is_looked_at_without_making_the_others() -> None:
    rows = packed([sample(Tag), sample(Tag).evolve(id=9)])
    assert rows[1].id == 9
    assert "records" not in vars(rows)


def test_some_rows_are_looked_at_before_all_were() -> None:
    table = [sample(Tag).evolve(id=id) for id in (1, 2, 3)]
    assert packed(table)[:2] == tuple(table[:2])


def test_rows_are_equal_to_the_same_rows_alone() -> None:
    first, second = (packed([sample(Tag).evolve(id=id)]) for id in (1, 2))
    assert first == packed([sample(Tag).evolve(id=1)])
    assert first != second
    assert first != packed([first[0], second[0]])
    assert first != first.records


def test_combination_is_equal_to_itself_alone_and_tells_no_value() -> None:
    said = Combination(("secret",))
    assert said == said
    assert said != Combination(("secret",))
    assert "secret" not in repr(said)


def test_rows_alone_are_joined_already() -> None:
    rows = packed([sample(Tag)])
    assert Rows.joined([rows]) is rows


@given(drawn_tables, st.integers(1, 4))
def test_joined_rows_follow_each_other(table: list[Any], at: int) -> None:
    parts = [part for part in (table[:at], table[at:]) if part]
    fields = list(type(table[0]).domains)
    assert list(Rows.joined([packed(part, fields) for part in parts])) == table


@given(drawn_tables, st.data())
def test_rows_at_places_are_the_records_there(table: list[Any], data: st.DataObject) -> None:
    shared = data.draw(st.lists(st.sampled_from(list(type(table[0]).domains))))
    places = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1))
    assert list(packed(table, shared).at(places)) == [table[place] for place in places]


@given(drawn_tables)
def test_copies_differ_in_their_columns_alone(table: list[Any]) -> None:
    ids = range(7, 7 + len(table))
    assert list(Rows.copies(table[0], id=ids)) == [table[0].replaced({"id": id}) for id in ids]


@given(drawn_tables, st.data())
def test_combined_values_are_columns_too(table: list[Any], data: st.DataObject) -> None:
    kind = type(table[0])
    fields = tuple(f for f in kind.domains if f != "id" and not isinstance(kind.domains[f], Json))
    chosen = tuple(data.draw(st.lists(st.sampled_from(fields), unique=True)))
    said = [Combination(tuple(record.stored(f) for f in chosen)) for record in table]
    columns = {f: [r.stored(f) for r in table] for f in kind.domains if f not in chosen}
    rows = Rows(kind, columns, combined=(chosen, said))
    assert rows == Rows.of(table)
    assert rows[0] == table[0]
    assert rows.combinations(chosen) is said
    assert rows.combinations((*chosen,)) is said
    assert rows.combinations((*chosen, "id")) is rows.combinations(("",)) is None
    for field in kind.domains:
        assert list(rows.column(field)) == [record.stored(field) for record in table]


def test_columns_are_of_one_length() -> None:
    said = [Combination(("a",))]
    with pytest.raises(InvalidValue):
        Rows(Tag, {"id": [1, 2], "name": ["a"]})
    with pytest.raises(InvalidValue):
        Rows(Tag, {})
    with pytest.raises(InvalidValue):
        Rows(Tag, {"id": [1, 2]}, combined=(("name",), said))
    assert list(Rows(Tag, {"id": [], "name": []}, {"tenant_id": "a"})) == []


def test_repr_shows_no_value() -> None:
    assert repr(Rows.of([sample(Tag)])) == "Rows(Tag, 1)"


# --- In a batch --------------------------------------------------------------------------------


def new_tags(*ids: int, tenant: str = "a") -> Rows[Tag]:
    shared = {"tenant_id": tenant, "created_at": MIDNIGHT}
    return Rows(Tag, {"id": ids, "name": [f"t{id}" for id in ids]}, shared)


@given(drawn_tables, st.lists(st.booleans(), min_size=5, max_size=5))
def test_batch_of_rows_is_the_batch_of_their_records(table: list[Any], many: list[bool]) -> None:
    records = [record.replaced({"tenant_id": "a"}) for record in table]
    parts: list[Part] = [
        InsertMany(packed([record])) if as_rows else Insert(record)
        for record, as_rows in zip(records, many, strict=False)
    ]
    whole = Batch("a", map(Insert, records))
    for batch in (Batch("a", parts), Batch("a", [InsertMany(packed(records))])):
        assert batch == whole
        assert batch.operations == whole.operations
        assert batch.inserts == whole.inserts == {type(records[0]): packed(records)}


def test_batch_keeps_the_order_of_what_it_was_given() -> None:
    first, last, guard = sample(Tag).evolve(tenant_id="a"), new_tags(8)[0], Require(Tag, 9)
    batch = Batch("a", [Insert(first), InsertMany(new_tags(5, 6)), guard, Insert(last)])
    assert [operation.id for operation in batch.operations] == [first.id, 5, 6, 9, 8]
    assert (batch.guarded, list(batch.inserts[Tag].ids)) == ((guard,), [first.id, 5, 6, 8])


TWICE: list[list[Part]] = [
    [InsertMany(new_tags(1, 1))],
    [InsertMany(new_tags(1, 2)), InsertMany(new_tags(2, 3))],
    [InsertMany(new_tags(1, 2)), Insert(new_tags(2)[0])],
    [InsertMany(new_tags(1, 2)), Delete(Tag, 2)],
    [InsertMany(new_tags(1, 2)), DeleteMany(Tag, [2])],
    [DeleteMany(Tag, [1, 1])],
    [DeleteMany(Tag, [1]), DeleteMany(Tag, [2, 1])],
    [DeleteMany(Tag, [1]), Require(Tag, 1)],
]


@pytest.mark.parametrize("parts", TWICE)
def test_batch_names_a_row_of_many_at_most_once(parts: list[Part]) -> None:
    with pytest.raises(InvalidValue, match="more than once"):
        Batch("a", parts)


def test_batch_takes_rows_of_its_own_tenant_only() -> None:
    mixed = Rows(Tag, {"id": [1, 2], "tenant_id": ["a", "b"], "name": ["c", "d"]})
    for rows in (new_tags(1, tenant="b"), mixed):
        with pytest.raises(InvalidValue, match="tenant_id"):
            Batch("a", [InsertMany(rows)])


def test_no_rows_are_no_operation() -> None:
    batch = Batch("a", [InsertMany(new_tags())])
    assert (batch.operations, batch.inserts, batch.guarded) == ((), {}, ())


def test_many_deletes_are_the_deletes_one_by_one() -> None:
    one, guarded = Delete(Chain, 7), Delete(Tag, 4, {"name": "a"})
    batch = Batch("a", [DeleteMany(Tag, [3, 1]), one, guarded, DeleteMany(Tag, (2,))])
    assert batch.operations == (Delete(Tag, 3), Delete(Tag, 1), one, guarded, Delete(Tag, 2))
    assert (batch.singles, batch.removals) == ((one, guarded), {Tag: [3, 1, 2]})
    assert batch.guarded == (one, guarded, *(Delete(Tag, id) for id in (3, 1, 2)))
    assert batch == Batch("a", batch.operations)
    assert Batch("a", [DeleteMany(Tag, [])]).operations == ()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """The kinds of the records that were made without checks."""
    made: list[Kind] = []
    trusted = Tag.trusted

    def counted(*values: Any) -> Any:
        made.append(Tag)
        return trusted(*values)

    monkeypatch.setattr(Tag, "trusted", staticmethod(counted))
    return made


def test_batch_makes_no_record_before_its_operations_are_asked_for(made: list[Kind]) -> None:
    batch = Batch("a", [InsertMany(new_tags(1, 2)), InsertMany(new_tags(3))])
    assert (list(batch.inserts[Tag].ids), batch.guarded, repr(batch) != "") == ([1, 2, 3], (), True)
    assert made == []
    assert [operation.id for operation in batch.operations] == [1, 2, 3]
    assert made == [Tag] * 3
