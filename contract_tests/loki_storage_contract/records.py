"""Records with small ids, and how they get the ids that a store has leased.

What is drawn has ids 1, 2, 3, ...: they shrink well, and references meet. ``Places`` leases real
ids and puts records, queries and operations in their place, so that a store may begin with any id.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar

import attrs
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.models import KINDS, Chain, Document, DocumentTag, Kind, Record, Tag
from loki_storage.protocol import Backend
from loki_storage.query import And, Compare, Condition, In, InQuery, Not, Or, Query
from loki_storage_contract.values import any_value, near, near_value, remembered

__all__ = [
    "ROOM",
    "TENANTS",
    "Places",
    "any_row",
    "at_home",
    "hostile_rows",
    "mixed_rows",
    "parents",
    "record_of",
    "row_of",
    "rows_of",
    "sample",
    "sound",
]

R = TypeVar("R", bound=Record)
TENANTS = ("a", "A")
"""Two tenants that a sloppy collation takes for one."""
ROOM = 64
"""How many ids of each kind are leased for one example."""


def sample(kind: type[R], id: int = 1, tenant: str = TENANTS[0], /, **fields: Any) -> R:
    """A plain record: references to 1 where they are required, NULL where a field may be."""
    return kind(**{"id": id, "tenant_id": tenant, **_plain(kind), **fields})


def _plain(kind: Kind) -> dict[str, Any]:
    named = kind.domains.items()
    plain = {name: None if d.nullable else near(d)[0] for name, d in named if name not in _KEY}
    return {**plain, "version": 1} if kind is Document else plain


_KEY = ("id", "tenant_id")


@remembered
def record_of(kind: Kind, id: int, tenant: str = TENANTS[0]) -> st.SearchStrategy[Any]:
    """Any record of the kind, hostile values included; references stay 1 or NULL."""
    fixed = {**{field: st.just(1) for field in _references(kind)}, "id": st.just(id)}
    return _built(kind, any_value, {**fixed, "tenant_id": st.just(tenant)})


@remembered
def rows_of(kind: Kind) -> st.SearchStrategy[list[Any]]:
    """Rows with near values and ids from 3, whose references mostly meet ``parents``."""
    return st.lists(row_of(kind), min_size=1, max_size=10).map(_numbered)


@remembered
def mixed_rows() -> st.SearchStrategy[list[Record]]:
    """Such rows of several kinds."""
    return st.lists(any_row(), max_size=12).map(_numbered)


@remembered
def hostile_rows() -> st.SearchStrategy[list[Record]]:
    """Rows of one kind with any values."""
    kinds = st.sampled_from(list(KINDS.values()))
    return kinds.flatmap(lambda kind: st.lists(record_of(kind, 1), max_size=4)).map(_numbered)


@remembered
def any_row() -> st.SearchStrategy[Record]:
    """Such a row of any kind, more often of those where keys and references meet."""
    kinds = [*KINDS.values(), Chain, Document, Tag, DocumentTag]
    return st.one_of([row_of(kind) for kind in kinds])


@remembered
def row_of(kind: Kind) -> st.SearchStrategy[Any]:
    """Such a row of the kind, with id 1."""
    close: dict[str, st.SearchStrategy[Any]] = {
        field: st.sampled_from([1, 1, 1, 2, *([None] if kind.domains[field].nullable else [])])
        for field in _references(kind)
    }
    fixed = {"id": st.just(1), "tenant_id": st.just(TENANTS[0])}
    drawn = _built(kind, near_value, {**close, **fixed})
    return st.builds(at_home, drawn, st.sampled_from([TENANTS[0], *TENANTS]))


def at_home(row: R, tenant: str) -> R:
    """The row in a tenant; a reference to its own tenant's parent stays one."""
    if row.tenant_id == tenant:
        return row
    others = {1: 2, 2: 1, None: None}
    moved = {field: others[row.stored(field)] for field in _references(type(row))}
    return row.replaced({**moved, "tenant_id": tenant})


def _numbered(rows: Iterable[Record]) -> list[Record]:
    """The rows with ids from 3, in each kind."""
    next_ids: defaultdict[Kind, Iterator[int]] = defaultdict(lambda: count(3))
    return [row.replaced({"id": next(next_ids[type(row)])}) for row in rows]


def _built(
    kind: Kind, draw: Any, fixed: Mapping[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[Any]:
    fields = {name: fixed.get(name, draw(domain)) for name, domain in kind.domains.items()}
    # Not fixed_dictionaries: it draws an order of the keys as well.
    return st.tuples(*fields.values()).map(
        lambda values: kind(**dict(zip(fields, values, strict=True)))
    )


def _references(kind: Kind) -> list[str]:
    return [reference.field for reference in kind.references]


def parents() -> list[Record]:
    """Rows 1 (of the first tenant) and 2 (of the second) of every kind that others refer to."""
    referred = {reference.kind for kind in KINDS.values() for reference in kind.references}
    return [
        _parent(kind, number, tenant)
        for number, tenant in enumerate(TENANTS, 1)
        for kind in KINDS.values()
        if kind in referred
    ]


def _parent(kind: Kind, id: int, tenant: str) -> Record:
    required = [r.field for r in kind.references if not kind.domains[r.field].nullable]
    # No head, so that rows beside it may be one.
    more: dict[str, Any] = {"is_latest": False} if kind is Document else {}
    return sample(kind, id, tenant, **dict.fromkeys(required, id), **more)


def sound(rows: Iterable[Record]) -> list[Record]:
    """Those rows that fit to the ones before them: no broken reference, no key taken twice."""
    kept: dict[tuple[Kind, int], Record] = {}
    keys: set[object] = set()
    for row in rows:
        mine = {
            (row.table, number, row.tenant_id, key)
            for number, unique in enumerate(row.unique)
            if (key := unique.key(row)) is not None
        }
        if keys.isdisjoint(mine) and _refers(row, kept):
            kept[type(row), row.id] = row
            keys |= mine
    return list(kept.values())


def _refers(row: Record, rows: Mapping[tuple[Kind, int], Record]) -> bool:
    """Whether each reference is NULL or names a row of the same tenant."""
    for reference in row.references:
        target = getattr(row, reference.field)
        found = rows.get((reference.kind, target))
        if target is not None and (found is None or found.tenant_id != row.tenant_id):
            return False
    return True


class Places:
    """Puts what was drawn with small ids in the place of ids that a backend has leased."""

    def __init__(self, backend: Backend) -> None:
        leased = backend.reserve(dict.fromkeys(KINDS.values(), ROOM))
        self._first = {kind: ids.start for kind, ids in leased.items()}

    def id(self, kind: Kind, number: int) -> int:
        """The leased id that a small one stands for; others are themselves."""
        return self._first[kind] + number - 1 if 1 <= number <= ROOM else number

    def record(self, record: R) -> R:
        """The record with leased ids."""
        stored = {field: record.stored(field) for field in record.domains}
        return record.replaced(self.values(type(record), stored))

    def records(self, records: Iterable[Record]) -> list[Record]:
        """The records with leased ids."""
        return [self.record(record) for record in records]

    def values(self, kind: Kind, values: Mapping[str, object]) -> dict[str, Any]:
        """Field values with leased ids."""
        return {field: self._value(kind, field, value) for field, value in values.items()}

    def operation(self, operation: Operation) -> Operation:
        """The operation with leased ids."""
        if isinstance(operation, Insert):
            return Insert(self.record(operation.record))
        kind, id = operation.kind, self.id(operation.kind, operation.id)
        guard = self.values(kind, operation.guard)
        if isinstance(operation, Update):
            return Update(kind, id, self.values(kind, operation.changes), guard)
        return (Delete if isinstance(operation, Delete) else Require)(kind, id, guard)

    def batch(self, batch: Batch) -> Batch:
        """The batch with leased ids."""
        return Batch(batch.tenant, map(self.operation, batch.operations))

    def query(self, query: Query) -> Query:
        """The query with leased ids."""
        after = query.after and tuple(
            self._value(query.kind, order.field, value)
            for order, value in zip(query.total_order, query.after, strict=True)
        )
        return attrs.evolve(query, where=self._condition(query.kind, query.where), after=after)

    def _condition(self, kind: Kind, condition: Condition) -> Condition:
        match condition:
            case And(parts) | Or(parts):
                return type(condition)(self._condition(kind, part) for part in parts)
            case Not(inner):
                return Not(self._condition(kind, inner))
            case Compare(field, op, value):
                return Compare(field, op, self._value(kind, field, value))
            case In(field, members):
                return In(field, (self._value(kind, field, member) for member in members))
            case InQuery(field, inner_query, its_field):
                return InQuery(field, self.query(inner_query), its_field)
        return condition

    def _value(self, kind: Kind, field: str, value: Any) -> Any:
        target = _target(kind, field)
        return value if target is None or value is None else self.id(target, value)


def _target(kind: Kind, field: str) -> Kind | None:
    """The kind whose ids a field holds."""
    if field == "id":
        return kind
    return next((ref.kind for ref in kind.references if ref.field == field), None)
