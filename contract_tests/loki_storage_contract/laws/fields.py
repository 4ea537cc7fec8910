"""Every field of every kind by tables, nothing drawn: what one field alone gets wrong shows, too.

Properties reach each of some 200 fields now and then; a backend with a column of the wrong type
would pass on lucky days.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.conditions import Operator
from loki_storage.errors import Duplicate, StaleWrite
from loki_storage.models import KINDS, Kind, Record, Tag, Unique
from loki_storage.protocol import (
    Backend,
    Count,
    CountDistinct,
    Day,
    Group,
    Max,
    Measure,
    Min,
    Reader,
    Sum,
)
from loki_storage.query import (
    Compare,
    Condition,
    In,
    IsNull,
    JsonEquals,
    Not,
    Order,
    Query,
)
from loki_storage.query import Text as Matches
from loki_storage.values import Domain, Integer, Json, Text, Time, Word
from loki_storage_contract.laws.queries import answers, stored
from loki_storage_contract.laws.values import comes_back
from loki_storage_contract.records import TENANTS, Places, parents, sample, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged
from loki_storage_contract.values import HOSTILE_TEXTS, NEAR_TEXTS, hostile, near

OURS = TENANTS[0]
ROWS = 15
"""As many as there are near values at most, and some more."""
MANY = 1_200


def fields_of(kind: Kind) -> dict[str, Domain]:
    """What can be set freely: no identity, no reference."""
    bound = {"id", "tenant_id", *(reference.field for reference in kind.references)}
    return {field: domain for field, domain in kind.domains.items() if field not in bound}


def rows_of(kind: Kind) -> list[Record]:
    """Parents, and rows whose fields go through their near values, each at its own pace."""
    near_values = {field: near(domain) for field, domain in fields_of(kind).items()}
    rows = (
        _row(kind, n, {f: v[(n * s) % len(v)] for s, (f, v) in enumerate(near_values.items(), 1)})
        for n in range(3, 3 + ROWS)
    )
    return sound([*parents(), *rows])


def _row(kind: Kind, id: int, values: Mapping[str, object]) -> Record:
    """A row whose required references hold, and whose keys are its own."""
    required = [r.field for r in kind.references if not kind.domains[r.field].nullable]
    return sample(kind, id, OURS, **{**values, **dict.fromkeys(required, 1), **_key(kind, id)})


def _key(kind: Kind, id: int) -> dict[str, Any]:
    """What keeps rows apart where a key cannot be NULL."""
    free, keys = fields_of(kind), {field for unique in kind.unique for field in unique.fields}
    bound = {field: free[field] for field in keys & free.keys() if not free[field].nullable}
    apart = {f: id if isinstance(d, Integer) else f"n{id}" for f, d in bound.items()}
    return apart | {field: False for unique in kind.unique for field in unique.where}


@proves("VAL-2", "VAL-4", "VAL-6", "VAL-7", "BAT-4", exhaustive=True)
def every_field_keeps_hostile_values(store: Store) -> None:
    """All fields of a row at once take one value after another, guarded by those before."""
    places = _with_parents(store)
    for kind in KINDS.values():
        row = places.record(_row(kind, 3, {}))
        store.put(row)
        choices = {field: hostile(domain) for field, domain in fields_of(kind).items()}
        for n in range(max(map(len, choices.values()), default=0)):
            values = {field: values[n % len(values)] for field, values in choices.items()}
            changed = row.evolve(**values)
            store.backend.apply(Batch(OURS, [_update(row, changed, list(choices))]))
            row = changed
            comes_back(store, row)
        store.backend.apply(Batch(OURS, [Delete(kind, row.id)]))


@proves("BAT-4", exhaustive=True)
def every_field_is_guarded(store: Store) -> None:
    """A guard that asks for another value, however near, fails whatever it guards."""
    places = _with_parents(store)
    for kind in KINDS.values():
        row = places.record(_row(kind, 3, {}))
        store.put(row)
        for field, domain in fields_of(kind).items():
            values = near(domain)
            for n, (value, other) in enumerate(zip(values, values[1:] + values[:1], strict=True)):
                changed = row.evolve(**{field: value})
                store.backend.apply(Batch(OURS, [_update(row, changed, [field])]))
                row = changed
                if row.stored(field) != row.evolve(**{field: other}).stored(field):
                    _is_refused(store, row, field, other, n)
        comes_back(store, row)
        store.backend.apply(Batch(OURS, [Delete(kind, row.id)]))


def _with_parents(store: Store) -> Places:
    """Rows to refer to, whose keys no near or hostile value takes."""
    places = Places(store.backend)
    store.put(*places.records(row.replaced(_key(type(row), 999_999)) for row in parents()))
    return places


def _update(before: Record, after: Record, fields: list[str]) -> Update:
    changes = {field: after.stored(field) for field in fields}
    return Update(type(before), before.id, changes, {f: before.stored(f) for f in fields})


def _is_refused(store: Store, row: Record, field: str, other: object, n: int) -> None:
    kind, guard = type(row), {field: other}
    guarded: list[Operation] = [
        Require(kind, row.id, guard),
        Update(kind, row.id, {field: other}, guard),
        Delete(kind, row.id, guard),
    ]
    try:
        store.backend.apply(Batch(OURS, [guarded[n % 3]]))
    except StaleWrite:
        return
    raise AssertionError(f"{kind.table}.{field} is not what the guard asks for")


@proves("QRY-5", "QRY-3", "QRY-4", "QRY-10", exhaustive=True)
def every_field_answers_every_comparison(store: Store) -> None:
    """And the complement of being NULL, and of one comparison."""
    for kind in KINDS.values():
        fields = fields_of(kind)
        conditions = [each for field in fields for each in _conditions(kind, field)]
        answers(store, rows_of(kind), *(Query(kind, OURS, each) for each in conditions))
        store.reset()


def _conditions(kind: Kind, field: str) -> Iterator[Condition]:
    domain = kind.domains[field]
    values = [value for value in near(domain) if value is not None]
    yield from (IsNull(field), Not(IsNull(field)))
    if isinstance(domain, Json):
        yield from (JsonEquals(field, path, 1) for path in (("a",), ("a", "b", 0)))
        yield Not(JsonEquals(field, ("a",), 1))
        return
    yield from (In(field, values[1:3]), Not(Compare(field, "eq", values[-1])))
    same: list[Operator] = ["eq", "ne"]
    yield from (Compare(field, op, value) for op in same for value in values)
    ordered: list[Operator] = ["lt", "le", "gt", "ge"] if domain.orderable else []
    yield from (Compare(field, op, value) for op in ordered for value in (values[0], values[-1]))
    if isinstance(domain, Text) and not (isinstance(domain, Word) and not domain.open):
        yield Matches("contains", field, NEAR_TEXTS[0], False)
        yield Matches("starts_with", field, NEAR_TEXTS[0])
        yield Matches("ends_with", field, NEAR_TEXTS[1])


@proves("QRY-1", exhaustive=True)
def every_field_orders_rows(store: Store) -> None:
    """In both directions, and page after page, behind NULLs as well."""
    for kind in KINDS.values():
        fields = [field for field, domain in fields_of(kind).items() if domain.orderable]
        orders = [Order(field, descending) for field in fields for descending in (False, True)]
        queries = [Query(kind, OURS, order=[order]) for order in orders]
        answers(store, rows_of(kind), *queries)
        for query in queries:
            assert list(_pages(store.backend, query)) == list(store.backend.select(query))
        store.reset()


def _pages(reader: Reader, query: Query) -> Iterator[Record]:
    page = list(reader.select(query.evolve(limit=5)))
    while page:
        yield from page
        after = tuple(page[-1].stored(order.field) for order in query.total_order)
        page = list(reader.select(query.evolve(limit=5, after=after)))


@proves("ACC-5", "QRY-8", derived="aggregate", exhaustive=True)
def every_field_is_measured_alike(store: Store) -> None:
    """Grouped by it, and measured by all that it can be measured by; values have their types."""
    for kind in KINDS.values():
        stored(store, rows_of(kind))
        for field, domain in fields_of(kind).items():
            groupings: list[list[str | Day]] = [[], [field]]
            if isinstance(domain, Time):
                groupings.append([Day(field)])
            if not isinstance(domain, Json):
                for by in groupings:
                    _measured_alike(store.backend, kind, by, _measures(field, domain))
        store.reset()


def _measured_alike(
    backend: Backend, kind: Kind, by: list[str | Day], measures: list[Measure]
) -> None:
    query = Query(kind, OURS)
    given = backend.aggregate(query, by, measures)
    wanted = Reader.aggregate(backend, query, by, measures)
    assert given == wanted, by
    assert _types(given) == _types(wanted), by


def _types(groups: list[Group]) -> list[list[type]]:
    return [[type(value) for value in (*group.key, *group.values)] for group in groups]


def _measures(field: str, domain: Domain) -> list[Measure]:
    found: list[Measure] = [Count(), CountDistinct(field)]
    if domain.orderable:
        found += [Min(field), Max(field)]
    if isinstance(domain, Integer):
        found.append(Sum(field))
    return found


@proves("ACC-1", "ACC-2", derived="get_many")
def many_ids_at_once(store: Store) -> None:
    """More than a statement takes parameters, or a page has rows."""
    leased = store.backend.reserve({Tag: MANY})[Tag]
    tags = [sample(Tag, id, OURS, name=f"n{id}") for id in leased]
    store.backend.apply(Batch(OURS, map(Insert, tags)))
    assert store.backend.get_many(Tag, iter(leased), OURS) == {tag.id: tag for tag in tags}
    some = Query(Tag, OURS)
    asked = [some.narrow(In("id", leased)), some.evolve(offset=MANY - 1), some.evolve(limit=MANY)]
    assert store.backend.select_many(asked) == [tags, tags[-1:], tags]


@proves("ACC-5", derived="aggregate")
def many_groups(store: Store) -> None:
    """As many as there are values, in the order of their keys."""
    names = [f"n{number:03}" for number in range(300)]
    leased = store.backend.reserve({Tag: len(names)})[Tag]
    store.put(*(sample(Tag, id, OURS, name=n) for id, n in zip(leased, names[::-1], strict=True)))
    groups = store.backend.aggregate(Query(Tag, OURS), ["name"])
    assert groups == [Group((name,), (1,)) for name in names]


@proves("ACC-7", derived="search")
def a_search_keeps_its_window(store: Store) -> None:
    """Limit and offset count what is found, whatever comes first."""
    tags = [store.new(Tag, name=name) for name in "abcd"]
    for query, count in (({"limit": 2}, 2), ({"offset": 3}, 1), ({"limit": 0}, 0)):
        assert len(list(store.backend.search(Query(Tag, OURS).evolve(**query)))) == count
    found = store.backend.search(Query(Tag, OURS, Compare("name", "gt", "b")))
    assert {tag.id for tag in found} == {tag.id for tag in tags[2:]}


@proves("BAT-4", "BAT-5")
def every_key_is_told_by_its_fields(store: Store) -> None:
    """``Duplicate`` names the kind and the key that is taken, as they are declared."""
    places = _with_parents(store)
    for kind in KINDS.values():
        for unique in kind.unique:
            first = _in_the_key(unique, _row(kind, 3, {}))
            taken = {field: first.stored(field) for field in (*unique.fields, *unique.where)}
            rows = places.records([first, _row(kind, 4, {}).replaced(taken)])
            store.put(rows[0])
            error = unchanged(store, partial(store.put, rows[1]), Duplicate)
            assert (error.kind, error.fields) == (kind.table, unique.fields)
            store.backend.apply(Batch(OURS, [Delete(kind, rows[0].id)]))


def _in_the_key(unique: Unique, row: Record) -> Record:
    """The row with no NULL in the key, and among those that the key is about."""
    empty = [field for field in unique.fields if row.stored(field) is None]
    return row.replaced({**{f: near(row.domains[f])[0] for f in empty}, **unique.where})


@proves("BAT-1", exhaustive=True)
def no_tenant_is_taken_for_another(store: Store) -> None:
    """Whatever its name: not folded, trimmed or taken for a pattern."""
    names = [text for text in dict.fromkeys(HOSTILE_TEXTS) if 0 < len(text) <= 100]
    tags = {name: store.new(Tag, name) for name in names}
    for name, tag in tags.items():
        assert list(store.backend.select(Query(Tag, name))) == [tag]
        assert store.backend.count(Query(Tag, name)) == 1
        assert store.backend.get_many(Tag, [each.id for each in tags.values()], name) == {
            tag.id: tag
        }
