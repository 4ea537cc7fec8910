"""What the tests of the vocabulary and the contract language draw from.

``pool`` holds a few values of a domain, near to one another, so that rows collide; ``values``
draws from the whole domain. ``worlds`` are stores without a broken key or reference.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from loki_storage.models import KINDS, Document, Kind, Record, Tag
from loki_storage.query import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Order,
    Query,
    Text,
)
from loki_storage.values import (
    Boolean,
    Color,
    Domain,
    Integer,
    Json,
    JsonText,
    Number,
    Time,
    Word,
    parse,
)
from loki_storage.values import Text as TextDomain

MIDNIGHT = datetime(2026, 2, 28, tzinfo=UTC)
TEXTS = ["", "a", "A", "a%", "%", "_", "\\", "ß", "SS", "é", "e\u0301", "\U0001f600", "\uffff"]
TIMES = [
    MIDNIGHT,
    MIDNIGHT + timedelta(microseconds=1),
    MIDNIGHT - timedelta(microseconds=1),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]
JSONS: list[Any] = [
    {},
    [],
    0,
    "",
    {"a": 1},
    {"a": 1.0},
    {"a": None},
    {"a": {"b": [1, [2]]}},
    [True],
]

stored = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(stored)
json_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=12
)
moments = st.datetimes(timezones=st.just(UTC))


def pool(domain: Domain) -> list[Any]:
    """A few legal values of the domain, and None where it is legal."""
    return [None, *_pool(domain)] if domain.nullable else _pool(domain)


def _pool(domain: Domain) -> list[Any]:
    match domain:
        case Boolean():
            return [False, True]
        case Integer(minimum=minimum, maximum=maximum):
            return [n for n in (0, 1, 2, 3, maximum) if n >= minimum]
        case Number(minimum=minimum, maximum=maximum):
            return [minimum, (minimum + maximum) / 3, maximum]
        case Time():
            return TIMES
        case Json():
            return JSONS
        case Color():
            return ["#00ff00", "#00FF00"]
        case Word(vocabulary=vocabulary, open=is_open):
            return [*list(vocabulary)[:4], *(["A", "é"] if is_open else [])]
        case TextDomain(minimum=minimum, limit=limit):
            return [text for text in TEXTS if minimum <= len(text) <= (limit or 9)]
    raise AssertionError(domain)


def values(domain: Domain) -> st.SearchStrategy[Any]:
    """Any legal value of the domain."""
    legal = _values(domain)
    return st.none() | legal if domain.nullable else legal


def _values(domain: Domain) -> st.SearchStrategy[Any]:
    match domain:
        case Integer(minimum=minimum, maximum=maximum):
            return st.integers(minimum, maximum)
        case Number(minimum=minimum, maximum=maximum):
            return st.floats(minimum, maximum)
        case Time():
            return moments
        case Json():
            return json_values.filter(lambda value: value is not None)
        case Boolean() | Word() | Color():
            return st.sampled_from(_pool(domain))
        case TextDomain(minimum=minimum, limit=limit):
            return st.text(stored, min_size=minimum, max_size=limit)
    raise AssertionError(domain)


kinds = st.sampled_from(list(KINDS.values()))


def records(kind: Kind, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any record of the kind."""
    return _built(kind, {f: values(domain) for f, domain in kind.domains.items()} | fixed)


def rows(kind: Kind) -> st.SearchStrategy[Any]:
    """Records of the kind with few different values. One draw a record: a draw a field is slow."""
    return st.integers(0, 2**16).map(lambda seed: row(kind, Random(seed)))


def row(kind: Kind, random: Random) -> Any:
    return kind(**{field: random.choice(pool(domain)) for field, domain in kind.domains.items()})


def _built(kind: Kind, fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(dict(fields)).map(lambda drawn: kind(**drawn))


def table(kind: Kind, size: int = 16) -> list[Any]:
    """So many rows of the kind, the same each time, NULLs and equal values among them."""
    return _numbered([row(kind, Random(seed)) for seed in range(size)])


def sample(kind: Kind) -> Any:
    """One record of the kind, the same each time."""
    return kind(**{field: pool(domain)[-1] for field, domain in kind.domains.items()})


def tables(kind: Kind, max_size: int = 8) -> st.SearchStrategy[list[Any]]:
    """Rows of the kind with different ids."""
    return st.lists(rows(kind), max_size=max_size).map(_numbered)


def _numbered(drawn: Sequence[Record]) -> list[Record]:
    return [record.evolve(id=number) for number, record in enumerate(drawn, 1)]


def table_and(make: Callable[[Kind], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """A kind, rows of it, and something made for the kind."""
    return kinds.flatmap(lambda kind: st.tuples(st.just(kind), tables(kind), make(kind)))


def ids(table: Iterable[Record]) -> set[int]:
    return {record.id for record in table}


def comparable(kind: Kind) -> list[str]:
    return [field for field, domain in kind.domains.items() if not isinstance(domain, Json)]


def orderable(kind: Kind) -> list[str]:
    return [field for field, domain in kind.domains.items() if domain.orderable]


@st.composite
def conditions(draw: st.DrawFn, kind: Kind, tenant: str | None, nesting: int = 2) -> Condition:
    """Any condition that a query of the kind accepts."""
    return draw(_conditions(kind.table, tenant, nesting))


@cache
def _conditions(table: str, tenant: str | None, nesting: int) -> st.SearchStrategy[Condition]:
    return st.recursive(
        _leaves(table, tenant, nesting),
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, max_size=3))
            | st.builds(Or, st.lists(inner, max_size=3))
        ),
        max_leaves=5,
    )


@st.composite
def leaves(draw: st.DrawFn, kind: Kind, tenant: str | None, nesting: int = 2) -> Condition:
    """A condition without And, Or and Not."""
    return draw(_leaves(kind.table, tenant, nesting))


@cache
def _leaves(table: str, tenant: str | None, nesting: int) -> st.SearchStrategy[Condition]:
    kind = KINDS[table]
    found = [leaf for field in kind.domains for leaf in _about(kind, field)]
    if nesting:
        found.append(in_queries(kind, tenant, nesting))
    return st.one_of(found)


def _about(kind: Kind, field: str) -> Iterator[st.SearchStrategy[Condition]]:
    domain = kind.domains[field]
    operands = st.sampled_from([*_pool(domain), None])
    yield st.just(IsNull(field))
    if isinstance(domain, Json):
        yield st.builds(JsonEquals, st.just(field), paths, st.sampled_from(JSONS) | json_scalars)
        return
    yield st.builds(In, st.just(field), st.lists(operands, max_size=3))
    yield st.builds(Compare, st.just(field), st.sampled_from(["eq", "ne"]), operands)
    if domain.orderable:
        order = st.sampled_from(["lt", "le", "gt", "ge"])
        yield st.builds(Compare, st.just(field), order, st.sampled_from(_pool(domain)))
    if isinstance(domain, TextDomain) and not (isinstance(domain, Word) and not domain.open):
        tests = st.sampled_from(["contains", "starts_with", "ends_with"])
        yield st.builds(Text, tests, st.just(field), st.sampled_from(TEXTS), st.booleans())


paths = st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=3)


def in_queries(kind: Kind, tenant: str | None, nesting: int) -> st.SearchStrategy[Condition]:
    """Membership in another kind's ids, the shape that references take."""
    ours = st.sampled_from(["id", *(reference.field for reference in kind.references)])
    inner = st.sampled_from([Document, Tag]).flatmap(
        lambda other: st.builds(
            Query, st.just(other), st.just(tenant), conditions(other, tenant, nesting - 1)
        )
    )
    return st.builds(InQuery, ours, inner, st.just("id"))


def orders(kind: Kind) -> st.SearchStrategy[list[Order]]:
    fields = st.sampled_from(orderable(kind))
    return st.lists(st.builds(Order, fields, st.booleans()), max_size=3)


@st.composite
def queries(draw: st.DrawFn, kind: Kind, tenant: str | None = "a") -> Query:
    """Any query of the kind."""
    where, order = draw(conditions(kind, tenant)), draw(orders(kind))
    limits = st.none() | st.integers(0, 9)
    query = Query(kind, tenant, where, order, draw(limits), draw(st.integers(0, 3)))
    return query.evolve(after=draw(st.none() | _cursors(query)))


def _cursors(query: Query) -> st.SearchStrategy[tuple[Any, ...]]:
    domains = [query.kind.domains[order.field] for order in query.total_order]
    return st.tuples(*(st.sampled_from(pool(domain)) for domain in domains))


any_query = kinds.flatmap(queries)


def values_of(record: Record) -> dict[str, Any]:
    """A record's fields as plain data: JSON parsed."""
    stored = {field: record.stored(field) for field in record.domains}
    return {f: parse(v) if isinstance(v, JsonText) else v for f, v in stored.items()}


World = dict[tuple[Kind, int], Record]
WORLD_KINDS: list[Kind] = [KINDS[name] for name in ("document_chains", "documents", "tags")]
WORLD_KINDS += [KINDS["document_tags"], KINDS["retention_state"]]
TENANTS = ["a", "A"]


def world_rows() -> st.SearchStrategy[Record]:
    """Rows whose ids, references and keys are likely to meet those of others."""
    return st.integers(0, 2**20).map(lambda seed: world_row(Random(seed)))


def world_row(random: Random) -> Record:
    kind: Kind = random.choice([*WORLD_KINDS, Document, Document])
    fields = {field: random.choice(pool(domain)[:3]) for field, domain in kind.domains.items()}
    fields |= {reference.field: random.randint(1, 4) for reference in kind.references}
    fields |= {"id": random.randint(1, 4), "tenant_id": random.choice([TENANTS[0], *TENANTS])}
    if kind is Document:
        fields |= {"parent_id": random.choice([None, None, fields["id"] - 1 or None])}
        fields |= {"version": random.randint(1, 3)}
    return kind(**fields)


worlds = st.lists(world_rows(), min_size=8, max_size=60).map(lambda drawn: sound(drawn))


def sound(drawn: Sequence[Record]) -> World:
    """The rows that fit together, parents first."""
    world: World = {}
    for record in sorted(drawn, key=lambda record: list(KINDS).index(record.table)):
        key = type(record), record.id
        if key not in world and _follows(record, world) and not faults({**world, key: record}):
            world[key] = record
    return world


def _follows(record: Record, world: World) -> bool:
    """Whether a version has a higher number than the one of its chain it was built on (VER-2)."""
    if not isinstance(record, Document) or record.parent_id is None:
        return True
    parent = world.get((Document, record.parent_id))
    return (
        isinstance(parent, Document)
        and parent.root_id == record.root_id
        and parent.version < record.version
    )


def faults(world: World) -> set[str]:
    """What is wrong with a store: "Duplicate", "BrokenReference", both or nothing."""
    found = set()
    for record in world.values():
        same = [other for other in world.values() if type(other) is type(record)]
        peers = [other for other in same if other.tenant_id == record.tenant_id]
        for unique in type(record).unique:
            key = unique.key(record)
            if key is not None and sum(unique.key(peer) == key for peer in peers) > 1:
                found.add("Duplicate")
        for reference in type(record).references:
            target = getattr(record, reference.field)
            row = world.get((reference.kind, target))
            if target is not None and (row is None or row.tenant_id != record.tenant_id):
                found.add("BrokenReference")
    return found
