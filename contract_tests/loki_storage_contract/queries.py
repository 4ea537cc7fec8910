"""Any query of a kind, over near values, so that it matches some rows and not others (QRY)."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

from hypothesis import strategies as st

from loki_storage.conditions import Operator, TextOperator
from loki_storage.models import KINDS, Document, Kind, Tag, Validation
from loki_storage.protocol import Count, CountDistinct, Day, Max, Measure, Min, Sum
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
from loki_storage.values import Integer, Json, Number, Time, Word
from loki_storage.values import Text as TextDomain
from loki_storage_contract.records import TENANTS
from loki_storage_contract.values import NEAR_JSON, NEAR_TEXTS, near, near_value, remembered

__all__ = [
    "any_kind",
    "by_parts",
    "conditions",
    "in_queries",
    "leaves",
    "measures",
    "orders",
    "queries",
]

any_kind = st.sampled_from(list(KINDS.values()))
_tenants = st.sampled_from([TENANTS[0], None])
_limits = st.none() | st.integers(0, 6)
_offsets = st.sampled_from([0, 0, 0, 1, 2])
_with_cursor = st.sampled_from([False, False, True])
_steps: list[str | int] = ["a", "b", 0, 1]
_paths = [path for length in range(3) for path in product(_steps, repeat=length)]
_EQUAL: list[Operator] = ["eq", "ne"]
_ORDERED: list[Operator] = ["lt", "le", "gt", "ge"]
_TESTS: list[TextOperator] = ["contains", "starts_with", "ends_with"]


@st.composite
def queries(draw: st.DrawFn, kind: Kind) -> Query:
    """Any query of the kind, of the first tenant or across both."""
    tenant = draw(_tenants)
    where, order, limit = draw(conditions(kind, tenant)), draw(orders(kind)), draw(_limits)
    query = Query(kind, tenant, where, order, limit, draw(_offsets))
    return query.evolve(after=_cursor(draw, query)) if draw(_with_cursor) else query


def _cursor(draw: st.DrawFn, query: Query) -> tuple[Any, ...]:
    domains = [query.kind.domains[order.field] for order in query.total_order]
    return tuple(draw(near_value(domain)) for domain in domains)


@remembered
def orders(kind: Kind) -> st.SearchStrategy[list[Order]]:
    """Up to two keys to order by."""
    fields = [field for field, domain in kind.domains.items() if domain.orderable]
    keys = [Order(field, descending) for field in fields for descending in (False, True)]
    return st.lists(st.sampled_from(keys), max_size=2)


@remembered
def conditions(kind: Kind, tenant: str | None, nesting: int = 2) -> st.SearchStrategy[Condition]:
    """Any condition that a query of the kind accepts."""
    leaf = leaves(kind, tenant, nesting)
    return _nested(leaf, _nested(leaf, leaf))


def _nested(
    leaf: st.SearchStrategy[Condition], inner: st.SearchStrategy[Condition]
) -> st.SearchStrategy[Condition]:
    """A leaf, an inner condition in ``Not``, up to three in ``And`` and ``Or``."""
    several = st.lists(inner, max_size=3)
    return _any_of(leaf, leaf, inner.map(Not), several.map(And), several.map(Or))


def _any_of(*strategies: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    """As ``one_of``, which flattens: then many leaves would leave little to the others."""
    return st.sampled_from(strategies).flatmap(lambda chosen: chosen)


@remembered
def leaves(kind: Kind, tenant: str | None, nesting: int = 2) -> st.SearchStrategy[Condition]:
    """Conditions without And, Or and Not; ``InQuery`` so deep."""
    plain = [leaf for field in kind.domains for leaf in _leaves(kind, field)]
    across = [in_queries(kind, tenant, nesting)] * (len(plain) // 10 + 1) if nesting else []
    return _any_of(*plain, *across)


def _leaves(kind: Kind, field: str) -> Iterator[st.SearchStrategy[Condition]]:
    """Listed rather than built: to build a value costs more than to run its query."""
    domain = kind.domains[field]
    if domain.nullable:
        yield st.just(IsNull(field))
    if isinstance(domain, Json):
        wanted = [1, 1.0, None, *NEAR_JSON]
        pairs = product(_paths, wanted)
        yield st.sampled_from([JsonEquals(field, path, value) for path, value in pairs])
        return
    values = [value for value in near(domain) if value is not None]
    yield st.lists(st.sampled_from([*values, None]), max_size=3).map(partial(In, field))
    either = product(_EQUAL, [*values, None])
    yield st.sampled_from([Compare(field, op, value) for op, value in either])
    if domain.orderable:
        bounds = product(_ORDERED, values)
        yield st.sampled_from([Compare(field, op, value) for op, value in bounds])
    if isinstance(domain, TextDomain) and not (isinstance(domain, Word) and not domain.open):
        tests = product(_TESTS, NEAR_TEXTS, [True, False])
        yield st.sampled_from([Text(op, field, text, case) for op, text, case in tests])


@remembered
def in_queries(kind: Kind, tenant: str | None, nesting: int) -> st.SearchStrategy[Condition]:
    """Membership among ids of another kind, or of the same one."""
    fields = ["id", *(reference.field for reference in kind.references)]
    return _any_of(
        *(
            conditions(other, tenant, nesting - 1).map(partial(_among, field, other, tenant))
            for field, other in product(fields, _others)
        )
    )


_others: list[Kind] = [Document, Tag, Validation]


def _among(field: str, other: Kind, tenant: str | None, where: Condition) -> Condition:
    return InQuery(field, Query(other, tenant, where), "id")


@remembered
def by_parts(kind: Kind) -> st.SearchStrategy[list[str | Day]]:
    """What an aggregate groups by."""
    days = [Day(field) for field, domain in kind.domains.items() if isinstance(domain, Time)]
    plain = [field for field, domain in kind.domains.items() if not isinstance(domain, Json)]
    return st.lists(st.sampled_from([*plain, *days]), max_size=2)


@remembered
def measures(kind: Kind) -> st.SearchStrategy[list[Measure]]:
    """What an aggregate measures."""
    numbers = [f for f, domain in kind.domains.items() if isinstance(domain, Integer | Number)]
    ordered = [field for field, domain in kind.domains.items() if domain.orderable]
    plain = [field for field, domain in kind.domains.items() if not isinstance(domain, Json)]
    found: list[Measure] = [Count(), *map(Sum, numbers), *map(Min, ordered), *map(Max, ordered)]
    found += map(CountDistinct, plain)
    return st.lists(st.sampled_from(found), min_size=1, max_size=3)
