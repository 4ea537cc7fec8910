"""Any query of a kind, over near values, so that it matches some rows and not others (QRY)."""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from loki_storage.models import KINDS, Document, Kind, Tag, Validation
from loki_storage.protocol import Count, Day, Max, Measure, Min, Sum
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
from loki_storage_contract.values import NEAR_JSON, NEAR_TEXTS, near, remembered

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
_paths = st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=3)


@st.composite
def queries(draw: st.DrawFn, kind: Kind) -> Query:
    """Any query of the kind, of the first tenant or across both."""
    tenant = draw(st.sampled_from([TENANTS[0], None]))
    where, order = draw(conditions(kind, tenant)), draw(orders(kind))
    query = Query(kind, tenant, where, order, draw(st.none() | st.integers(0, 6)))
    after = draw(st.none() | st.none() | _cursors(query))
    return query.evolve(offset=draw(st.sampled_from([0, 0, 0, 1, 2])), after=after)


@remembered
def orders(kind: Kind) -> st.SearchStrategy[list[Order]]:
    """Up to two keys to order by."""
    fields = [field for field, domain in kind.domains.items() if domain.orderable]
    return st.lists(st.builds(Order, st.sampled_from(fields), st.booleans()), max_size=2)


@remembered
def conditions(kind: Kind, tenant: str | None, nesting: int = 2) -> st.SearchStrategy[Condition]:
    """Any condition that a query of the kind accepts."""
    return st.recursive(
        leaves(kind, tenant, nesting),
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, max_size=3))
            | st.builds(Or, st.lists(inner, max_size=3))
        ),
        max_leaves=4,
    )


@remembered
def leaves(kind: Kind, tenant: str | None, nesting: int = 2) -> st.SearchStrategy[Condition]:
    """Conditions without And, Or and Not; ``InQuery`` so deep."""
    plain = [leaf for field in kind.domains for leaf in _leaves(kind, field)]
    return st.one_of([*plain, in_queries(kind, tenant, nesting)] if nesting else plain)


def _leaves(kind: Kind, field: str) -> Iterator[st.SearchStrategy[Condition]]:
    domain, name = kind.domains[field], st.just(field)
    yield st.just(IsNull(field))
    if isinstance(domain, Json):
        yield st.builds(JsonEquals, name, _paths, st.sampled_from([1, 1.0, None, *NEAR_JSON]))
        return
    values = [value for value in near(domain) if value is not None]
    yield st.builds(In, name, st.lists(st.sampled_from([*values, None]), max_size=3))
    yield st.builds(Compare, name, st.sampled_from(["eq", "ne"]), st.sampled_from([*values, None]))
    if domain.orderable:
        comparisons = st.sampled_from(["lt", "le", "gt", "ge"])
        yield st.builds(Compare, name, comparisons, st.sampled_from(values))
    if isinstance(domain, TextDomain) and not (isinstance(domain, Word) and not domain.open):
        tests = st.sampled_from(["contains", "starts_with", "ends_with"])
        yield st.builds(Text, tests, name, st.sampled_from(NEAR_TEXTS), st.booleans())


def in_queries(kind: Kind, tenant: str | None, nesting: int) -> st.SearchStrategy[Condition]:
    """Membership among ids of another kind, or of the same one."""
    fields = st.sampled_from(["id", *(reference.field for reference in kind.references)])
    others: st.SearchStrategy[Kind] = st.sampled_from([Document, Tag, Validation])
    return others.flatmap(
        lambda other: st.builds(
            lambda field, where: InQuery(field, Query(other, tenant, where), "id"),
            fields,
            conditions(other, tenant, nesting - 1),
        )
    )


def _cursors(query: Query) -> st.SearchStrategy[tuple[Any, ...]]:
    domains = [query.kind.domains[order.field] for order in query.total_order]
    return st.tuples(*(st.sampled_from(near(domain)) for domain in domains))


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
    found: list[Measure] = [Count(), *map(Sum, numbers), *map(Min, ordered), *map(Max, ordered)]
    return st.lists(st.sampled_from(found), min_size=1, max_size=3)
