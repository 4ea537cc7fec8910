"""The defaults that a backend inherits, on one that implements the required four and no more."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loki_storage.batch import Batch, Insert, check
from loki_storage.errors import Duplicate, InvalidField, InvalidValue, Unavailable, Unsupported
from loki_storage.matching import evaluate
from loki_storage.models import KINDS, Chain, Document, Kind, Record, Tag, Validation
from loki_storage.protocol import (
    Backend,
    BackendSpec,
    Count,
    Day,
    Group,
    Max,
    Measure,
    Min,
    Reader,
    Sum,
)
from loki_storage.query import Compare, In, InQuery, Order, Query, equals
from loki_storage.values import Integer, Number, Time
from tests.hostile import SECRET
from tests.strategies import (
    MIDNIGHT,
    TENANTS,
    World,
    ids,
    kinds,
    queries,
    sample,
    table_and,
    values_of,
    worlds,
)


class Tiny(Backend):
    """Everything in a dictionary; counts what it is asked."""

    def __init__(self, world: World | None = None) -> None:
        self.world: World = dict(world or {})
        self.next: Counter[Kind] = Counter()
        self.asked: list[Query] = []
        self.handed_out = 0
        self.closed = False

    def select(self, query: Query) -> Iterator[Any]:
        if self.closed:
            raise Unavailable("closed")
        self.asked.append(query)
        for record in evaluate(query, self._of(query.kind), self._members):
            self.handed_out += 1
            yield record

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        first = {kind: self.next[kind] + 1 for kind in counts}
        self.next.update(counts)
        return {kind: range(first[kind], first[kind] + count) for kind, count in counts.items()}

    def apply(self, batch: Batch) -> None:
        for change in check(Lookup(self, batch.tenant), batch):
            if isinstance(change, Record):
                self.world[type(change), change.id] = change
            else:
                del self.world[change]

    def close(self) -> None:
        self.closed = True

    def _of(self, kind: Kind) -> list[Record]:
        return [record for (its_kind, _), record in self.world.items() if its_kind is kind]

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = list(self.select(condition.query))
        return {(record.tenant_id, record.stored(condition.its_field)) for record in found}


class Lookup:
    def __init__(self, backend: Tiny, tenant: str) -> None:
        self.backend, self.tenant = backend, tenant

    def get(self, kind: Kind, id: int) -> Record | None:
        return self.backend.get_many(kind, [id], self.tenant).get(id)

    def taken(self, kind: Kind, id: int) -> bool:
        return (kind, id) in self.backend.world

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterator[Record]:
        return self.backend.select(Query(kind, self.tenant, equals(**fields)))


def holding(table: Sequence[Record]) -> Tiny:
    return Tiny({(type(record), record.id): record for record in table})


def matches(query: Query, table: Sequence[Record]) -> list[Any]:
    return list(holding(table).select(query.whole()))


with_query = table_and(queries)


# --- Reading ---------------------------------------------------------------------------------


@given(with_query)
def test_count_and_exists_are_about_all_that_matches(drawn: Any) -> None:
    _, table, query = drawn
    backend = holding(table)
    assert backend.count(query) == len(matches(query, table))
    assert backend.exists(query) is bool(matches(query, table))


@pytest.mark.parametrize("part", [{"limit": 0}, {"limit": 2}, {"offset": 9}, {"after": (9,)}])
def test_window_changes_no_figure_about_all(part: dict[str, Any]) -> None:
    backend = holding([sample(Tag).evolve(id=n) for n in range(1, 6)])
    query = Query(Tag, None, **part)
    assert (backend.count(query), backend.exists(query)) == (5, True)
    assert backend.aggregate(query) == [Group((), (5,))]


def test_exists_stops_at_the_first() -> None:
    backend = holding([sample(Tag).evolve(id=n) for n in range(1, 9)])
    assert backend.exists(Query(Tag, None))
    assert (backend.handed_out, backend.asked[-1].limit) == (1, 1)


@given(
    table_and(lambda kind: st.lists(st.integers(-1, 12), max_size=6)),
    st.sampled_from([None, *TENANTS]),
)
def test_get_many_leaves_out_the_unknown_and_the_foreign(drawn: Any, tenant: str | None) -> None:
    kind, table, wanted = drawn
    found = holding(table).get_many(kind, iter(wanted), tenant)
    expected = {r.id: r for r in table if r.id in wanted and tenant in (None, r.tenant_id)}
    assert found == expected


@pytest.mark.parametrize("id", ["1", True, 1.0, [1]])
def test_get_many_takes_ids_only(id: Any) -> None:
    with pytest.raises(InvalidValue, match="id: must be an integer"):
        Tiny().get_many(Tag, [id], "a")


@given(st.lists(with_query, max_size=3))
def test_select_many_and_search_answer_as_select(drawn: list[Any]) -> None:
    for _, table, query in drawn:
        backend = holding(table)
        answer = list(backend.select(query))
        assert backend.select_many([query, query]) == [answer, answer]
        assert list(backend.search(query)) == answer


@given(with_query, st.data())
def test_rows_are_the_stored_fields_in_the_order_asked(drawn: Any, data: st.DataObject) -> None:
    kind, table, query = drawn
    fields = data.draw(st.lists(st.sampled_from(list(kind.domains)), max_size=4))
    expected = [
        tuple(record.stored(field) for field in fields) for record in holding(table).select(query)
    ]
    assert list(holding(table).rows(query, fields)) == expected


def test_rows_of_an_unknown_field_are_refused() -> None:
    with pytest.raises(InvalidField, match="did you mean 'name'"):
        list(Tiny().rows(Query(Tag, "a"), ["id", "nam"]))


# --- Aggregates ------------------------------------------------------------------------------


def groupings(kind: Kind) -> st.SearchStrategy[list[str | Day]]:
    days = [Day(field) for field, domain in kind.domains.items() if isinstance(domain, Time)]
    return st.lists(st.sampled_from([*kind.domains, *days]), max_size=2)


def measures(kind: Kind) -> st.SearchStrategy[list[Measure]]:
    every: list[Measure] = [Count()]
    for field, domain in kind.domains.items():
        every += [Sum(field)] if isinstance(domain, Integer | Number) else []
        every += [Min(field), Max(field)] if domain.orderable else []
    return st.lists(st.sampled_from(every), max_size=4)


def key_of(record: Record, by: Sequence[str | Day]) -> tuple[Any, ...]:
    def part(part: str | Day) -> Any:
        held = record.stored(part.field if isinstance(part, Day) else part)
        return date(held.year, held.month, held.day) if isinstance(part, Day) and held else held

    return tuple(map(part, by))


def measured(measure: Measure, records: Sequence[Any]) -> Any:
    if isinstance(measure, Count):
        return len(records)
    held = [v for r in records if (v := r.stored(measure.field)) is not None]
    if isinstance(measure, Sum):
        return sum(map(Fraction, held))
    ordered = sorted(held, key=records[0].domains[measure.field].rank) if records else []
    return (ordered[0] if isinstance(measure, Min) else ordered[-1]) if ordered else None


def close_to(found: Any, expected: Any) -> bool:
    """Sums of floats depend on their order; everything else is exact."""
    if isinstance(expected, Fraction):
        return abs(Fraction(found) - expected) <= abs(expected) * Fraction(1, 10**12)
    return bool(found == expected)


@given(
    table_and(lambda kind: st.tuples(queries(kind), groupings(kind), measures(kind))),
)
def test_aggregate_is_the_same_over_the_streamed_rows(drawn: Any) -> None:
    _, table, (query, by, wanted) = drawn
    found = holding(table).aggregate(query, by, wanted)
    rows = matches(query, table)
    keys = {key_of(record, by) for record in rows} if by else {()}
    assert {group.key for group in found} == keys
    assert len(found) == len(keys)
    for group in found:
        mine = [record for record in rows if key_of(record, by) == group.key]
        values = [measured(measure, mine) for measure in wanted]
        assert all(map(close_to, group.values, values)), (group.values, values)


@given(table_and(groupings))
def test_groups_come_in_the_order_of_their_keys_nulls_last(drawn: Any) -> None:
    kind, table, by = drawn
    keys = [group.key for group in holding(table).aggregate(Query(kind, None), by)]

    def place(key: tuple[Any, ...]) -> Any:
        ranks = (
            value if isinstance(part, Day) else kind.domains[part].rank(value)
            for part, value in zip(by, key, strict=True)
            if value is not None
        )
        rest = iter(ranks)
        return [(value is None, None if value is None else next(rest)) for value in key]

    assert keys == sorted(keys, key=place)


def test_aggregate_without_groups_is_one_row_also_of_nothing() -> None:
    wanted: list[Measure] = [Count(), Sum("pass_count"), Min("created_at"), Max("overall_risk")]
    assert Tiny().aggregate(Query(Validation, "a"), (), wanted) == [Group((), (0, 0, None, None))]
    assert Tiny().aggregate(Query(Validation, "a"), ["status"], wanted) == []


def test_days_are_those_of_utc() -> None:
    times = [MIDNIGHT, MIDNIGHT - timedelta(microseconds=1), MIDNIGHT + timedelta(hours=23), None]
    table = [sample(Document).evolve(id=n, deleted_at=time) for n, time in enumerate(times, 1)]
    found = holding(table).aggregate(Query(Document, None), [Day("deleted_at")])
    assert [(group.key, group.values) for group in found] == [
        ((date(2026, 2, 27),), (1,)),
        ((date(2026, 2, 28),), (2,)),
        ((None,), (1,)),
    ]


def test_worst_severity_is_by_rank_not_by_alphabet() -> None:
    table = [
        sample(Validation).evolve(id=n, overall_risk=risk)
        for n, risk in enumerate(["low", "critical", "medium", None], 1)
    ]
    found = holding(table).aggregate(
        Query(Validation, None), (), [Max("overall_risk"), Min("overall_risk")]
    )
    assert found == [Group((), ("critical", "low"))]


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        (["titel"], []),
        ([None], []),
        ([["title"]], []),
        ([Day("title")], []),
        ([Day("titel")], []),
        ([], [Sum("title")]),
        ([], [Sum("created_at")]),
        ([], [Sum("is_latest")]),
        ([], [Min("content")]),
        ([], [Max("metadata_json")]),
        ([], [Max("is_latest")]),
        ([], [Max("titel")]),
        ([], ["count"]),
        ([], [None]),
    ],
)
def test_aggregate_that_fits_no_field_is_refused(by: Any, wanted: Any) -> None:
    with pytest.raises(InvalidField):
        Tiny().aggregate(Query(Document, "a"), by, wanted)


def test_repr_of_a_group_tells_no_key() -> None:
    assert SECRET not in repr(Group((SECRET,), (1,)))


# --- Dump and load ---------------------------------------------------------------------------


@given(worlds, st.sampled_from([None, *TENANTS]))
def test_dump_is_every_record_parents_first(world: World, tenant: str | None) -> None:
    dumped = list(Tiny(world).dump(tenant))
    mine = [record for record in world.values() if tenant in (None, record.tenant_id)]
    assert Counter(dumped) == Counter(mine)
    for number, record in enumerate(dumped):
        for reference in record.references:
            target = getattr(record, reference.field)
            assert target is None or target in [
                other.id for other in dumped[:number] if type(other) is reference.kind
            ]


def test_earlier_version_comes_first_whatever_its_id() -> None:
    """A purge and a load may leave a parent with the higher id."""
    later = sample(Document).evolve(id=1, version=2, parent_id=2)
    earlier = later.evolve(id=2, version=1, parent_id=None)
    assert [record.id for record in holding([later, earlier]).dump()] == [2, 1]


@given(worlds, st.randoms(use_true_random=False))
def test_equal_stores_have_equal_dumps(world: World, random: Any) -> None:
    items = list(world.items())
    random.shuffle(items)
    assert list(Tiny(dict(items)).dump()) == list(Tiny(world).dump())


@given(worlds, st.integers(0, 6))
def test_loaded_store_is_equal_and_leases_beyond(world: World, leased: int) -> None:
    backend = Tiny()
    backend.reserve({kind: leased for kind in KINDS.values() if leased})
    backend.load(Tiny(world).dump())
    assert list(backend.dump()) == list(Tiny(world).dump())
    for kind in {kind for kind, _ in world}:
        highest = max(id for its_kind, id in world if its_kind is kind)
        (fresh,) = backend.reserve({kind: 1})[kind]
        assert fresh > max(highest, leased)


@pytest.mark.parametrize("rows", [0, 1, 499, 500, 501, 1001])
def test_load_goes_in_bounded_batches(rows: int) -> None:
    sizes = []

    class Counting(Tiny):
        def apply(self, batch: Batch) -> None:
            sizes.append(len(batch.operations))
            self.world |= {(op.kind, op.id): op.record for op in batch.operations}  # type: ignore[union-attr]

    chains = [Chain(id=n, tenant_id="a", client_id="c") for n in range(1, rows + 1)]
    backend = Counting()
    backend.load(iter(chains))
    assert (sum(sizes), max(sizes, default=0) <= 500) == (rows, True)
    assert list(backend.dump()) == chains


def test_load_of_what_is_there_already_is_refused() -> None:
    chain = Chain(id=1, tenant_id="a", client_id="c")
    backend = holding([chain])
    with pytest.raises(Duplicate):
        backend.load([chain])


@pytest.mark.parametrize("thing", [None, 1, {"id": 1}, Document, object(), Insert])
def test_load_of_what_is_no_record_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidField, match="is not a record"):
        Tiny().load([thing])


# --- The rest --------------------------------------------------------------------------------


def test_ping_asks_the_store() -> None:
    backend = Tiny()
    backend.ping()
    assert len(backend.asked) == 1
    backend.close()
    with pytest.raises(Unavailable):
        backend.ping()


def test_what_a_backend_does_not_override_it_does_not_claim() -> None:
    backend = Tiny()
    backend.prepare(create=True)
    for call in (backend.migrate, backend.engine, lambda: backend.snapshot("a")):
        with pytest.raises(Unsupported, match="Tiny"):
            call()
    assert set(backend.stats().values()) == {None}


def test_required_methods_are_four() -> None:
    assert Backend.__abstractmethods__ == {"reserve", "select", "apply", "close"}
    assert Reader.__abstractmethods__ == {"select"}


def test_spec_of_a_backend_is_a_value() -> None:
    spec = BackendSpec("tiny", Tiny, schemes=iter(["tiny"]))
    assert spec.schemes == ("tiny",)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


@given(kinds)
@example(Tag)
def test_dump_order_and_query_are_legal_for_every_kind(kind: Kind) -> None:
    record = sample(kind)
    assert list(holding([record]).dump()) == [record]
    assert list(holding([record]).dump("nobody")) == []
    assert values_of(record).keys() == kind.domains.keys()
    assert ids([record]) == {record.id}
    query = Query(kind, None, Compare("id", "ge", 1), [Order("id")])
    assert holding([record]).count(query.narrow(In("id", [record.id]))) == 1
