"""The only way to write: one atomic batch of operations (BAT).

``check`` is the executable meaning of guards, unique keys and references. It is pure and public:
a backend that keeps its rows in Python may call it under its write lock and then store what it is
told. The repr of an operation names rows and fields, no values.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import attrs

from loki_storage.errors import (
    BrokenReference,
    Duplicate,
    InvalidField,
    InvalidValue,
    StaleWrite,
)
from loki_storage.models import KINDS, Kind, Record, Reference, domain_of
from loki_storage.rows import Rows

__all__ = [
    "Batch",
    "Delete",
    "DeleteMany",
    "Guarded",
    "Insert",
    "InsertMany",
    "Lookup",
    "Operation",
    "Part",
    "Require",
    "Update",
    "check",
    "operations_of",
]

_IMMUTABLE = frozenset({"id", "tenant_id"})


@attrs.frozen
class Insert:
    """Store a new record; its id was leased from the store."""

    record: Record

    @property
    def kind(self) -> Kind:
        return type(self.record)

    @property
    def id(self) -> int:
        return self.record.id


@attrs.frozen
class InsertMany:
    """An ``Insert`` of each of these rows, whose records need not be made for it."""

    rows: Rows[Any]


def _names(values: Mapping[str, object]) -> str:
    """What a repr, and with it a log, may tell of values."""
    return f"<{', '.join(values)}>"


@attrs.frozen
class Update:
    """Change fields of a row, if it is there and still has the guard's values."""

    kind: Kind
    id: int
    changes: Mapping[str, object] = attrs.field(repr=_names)
    guard: Mapping[str, object] = attrs.field(factory=dict, repr=_names)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "changes", _checked_changes(self.kind, self.changes))
        object.__setattr__(self, "guard", _checked_guard(self.kind, self.guard))


@attrs.frozen
class Delete:
    """Remove a row, if it is there and still has the guard's values."""

    kind: Kind
    id: int
    guard: Mapping[str, object] = attrs.field(factory=dict, repr=_names)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "guard", _checked_guard(self.kind, self.guard))


@attrs.frozen
class DeleteMany:
    """A ``Delete`` of each of these rows, without a guard."""

    kind: Kind
    ids: Sequence[int]


@attrs.frozen
class Require:
    """Change nothing; the row must be there and have the guard's values."""

    kind: Kind
    id: int
    guard: Mapping[str, object] = attrs.field(factory=dict, repr=_names)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "guard", _checked_guard(self.kind, self.guard))


def _checked_changes(kind: Kind, changes: Mapping[str, object]) -> dict[str, object]:
    if not _IMMUTABLE.isdisjoint(changes):
        raise InvalidField(min(_IMMUTABLE.intersection(changes)), "never changes")
    return {field: domain_of(kind, field).accept(field, v) for field, v in changes.items()}


def _checked_guard(kind: Kind, guard: Mapping[str, object]) -> dict[str, object]:
    if not guard:
        return {}
    return {field: domain_of(kind, field).operand(field, v) for field, v in guard.items()}


Guarded = Update | Delete | Require
Operation = Insert | Guarded
Part = Operation | InsertMany | DeleteMany


def operations_of(part: Part) -> list[Operation]:
    """An operation for each row that a part is about."""
    if isinstance(part, InsertMany):
        return list(map(Insert, part.rows))
    if isinstance(part, DeleteMany):
        return [Delete(part.kind, id) for id in part.ids]
    return [part]


def _parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(parts)


@attrs.frozen(slots=False, eq=False)
class Batch:
    """Operations of one tenant, each on another (kind, id), all done or none (BAT-1, BAT-2).

    ``operations`` are what there is to do, one by one. A backend for many rows reads ``inserts``
    and ``guarded`` instead, which are the same: then the records of an ``InsertMany`` are not made.
    ``guarded`` is ``singles`` with an operation for each row of ``removals``.
    """

    tenant: str
    parts: tuple[Part, ...] = attrs.field(alias="operations", converter=_parts)

    def __attrs_post_init__(self) -> None:
        named = defaultdict[Kind, list[int]](list)
        for operation in self.singles:
            named[operation.kind].append(operation.id)
        for kind, ids in self.removals.items():
            named[kind] += ids
        for kind, rows in self.inserts.items():
            named[kind] += rows.ids
        if any(len(set(ids)) < len(ids) for ids in named.values()):
            raise InvalidValue("batch", "names a row more than once")
        if any(rows.tenants != {self.tenant} for rows in self.inserts.values()):
            raise InvalidValue("tenant_id", "is not the batch's tenant")

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """One operation per row, in the order in which they were given."""
        return tuple(chain.from_iterable(map(operations_of, self.parts)))

    @cached_property
    def inserts(self) -> Mapping[Kind, Rows[Any]]:
        """The new rows of each kind."""
        parts: defaultdict[Kind, list[Rows[Any] | Record]] = defaultdict(list)
        for part in self.parts:
            if isinstance(part, Insert):
                parts[part.kind].append(part.record)
            elif isinstance(part, InsertMany) and part.rows:
                parts[part.rows.kind].append(part.rows)
        return {kind: _rows(given) for kind, given in parts.items()}

    @cached_property
    def guarded(self) -> tuple[Guarded, ...]:
        """What is asked of rows that are there, and done to them."""
        many = (DeleteMany(kind, ids) for kind, ids in self.removals.items())
        return (*self.singles, *chain.from_iterable(map(operations_of, many)))  # type: ignore[arg-type]

    @cached_property
    def singles(self) -> tuple[Guarded, ...]:
        """Those of ``guarded`` that were given one by one."""
        many = Insert | InsertMany | DeleteMany
        return tuple(part for part in self.parts if not isinstance(part, many))

    @cached_property
    def removals(self) -> Mapping[Kind, list[int]]:
        """The ids of the others: of each kind the rows that go, whatever is in them."""
        found = defaultdict[Kind, list[int]](list)
        for part in self.parts:
            if isinstance(part, DeleteMany) and part.ids:
                found[part.kind] += part.ids
        return dict(found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Batch):
            return NotImplemented
        return (self.tenant, self.operations) == (other.tenant, other.operations)


def _rows(parts: list[Rows[Any] | Record]) -> Rows[Any]:
    """Rows and records of one kind together, in their order."""
    records = [part for part in parts if isinstance(part, Record)]
    if len(records) == len(parts):
        return Rows.of(records)
    return Rows.joined([Rows.of([part]) if isinstance(part, Record) else part for part in parts])


class Lookup(Protocol):
    """What ``check`` asks about the state before the batch, of the batch's tenant."""

    def get(self, kind: Kind, id: int) -> Record | None:
        """The tenant's row of this id."""

    def taken(self, kind: Kind, id: int) -> bool:
        """Whether any tenant has a row of this id."""

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterable[Record]:
        """The tenant's rows whose fields equal these values."""


def check(lookup: Lookup, batch: Batch) -> list[Record | tuple[Kind, int]]:
    """Judge a batch on the state before it; what to do to that state if it is sound.

    Returns each changed or new record as it is afterwards, and (kind, id) of each removed one.
    Raises ``StaleWrite``, else ``Duplicate``, else ``BrokenReference`` (BAT-4). Cost: one ``get``
    an operation, one ``find`` per unique key of a written row and per reference to a deleted one.
    """
    before = _check_guards(lookup, batch)
    after = _After(lookup, batch, before)
    for operation in batch.operations:
        if isinstance(operation, Insert) and lookup.taken(operation.kind, operation.id):
            raise Duplicate(operation.kind.table, ("id",))
    _check_unique(after)
    for record in after.written.values():
        _check_references(after, record)
    for kind, id in after.removed:
        _check_referrers(after, kind, id)
    return [*after.written.values(), *after.removed]


def holds(record: Record | None, guard: Mapping[str, object]) -> bool:
    """Whether a row is there and has the guard's values."""
    return record is not None and all(record.stored(f) == v for f, v in guard.items())


def _check_guards(lookup: Lookup, batch: Batch) -> dict[tuple[Kind, int], Record]:
    before = {}
    for operation in batch.operations:
        if isinstance(operation, Insert):
            continue
        record = lookup.get(operation.kind, operation.id)
        if record is None or not holds(record, operation.guard):
            raise StaleWrite(operation.kind.table, operation.id)
        before[operation.kind, operation.id] = record
    return before


class _After:
    """The state after the batch, as far as unique keys and references ask."""

    def __init__(
        self, lookup: Lookup, batch: Batch, before: Mapping[tuple[Kind, int], Record]
    ) -> None:
        self._lookup = lookup
        self.written: dict[tuple[Kind, int], Record] = {}
        self.removed: dict[tuple[Kind, int], None] = {}
        for operation in batch.operations:
            key = operation.kind, operation.id
            match operation:
                case Insert(record):
                    self.written[key] = record
                case Update(changes=changes):
                    self.written[key] = before[key].replaced(changes)
                case Delete():
                    self.removed[key] = None

    def exists(self, kind: Kind, id: int) -> bool:
        key = kind, id
        if key in self.removed:
            return False
        return key in self.written or self._lookup.get(kind, id) is not None

    def untouched(self, kind: Kind, fields: Mapping[str, object]) -> Iterator[Record]:
        """Rows with these values that the batch neither writes nor removes."""
        for record in self._lookup.find(kind, fields):
            if (kind, record.id) not in self.written and (kind, record.id) not in self.removed:
                yield record


def _check_unique(after: _After) -> None:
    claimed: set[tuple[object, ...]] = set()
    for (kind, _), record in after.written.items():
        for number, unique in enumerate(kind.unique):
            key = unique.key(record)
            if key is None:
                continue
            same = {**unique.where, **dict(zip(unique.fields, key, strict=True))}
            claim = kind, number, key
            if claim in claimed or any(True for _ in after.untouched(kind, same)):
                raise Duplicate(kind.table, unique.fields)
            claimed.add(claim)


def _check_references(after: _After, record: Record) -> None:
    for reference in type(record).references:
        target = getattr(record, reference.field)
        if target is not None and not after.exists(reference.kind, target):
            raise BrokenReference(type(record).table, reference.field)


def _check_referrers(after: _After, kind: Kind, id: int) -> None:
    for referring, reference in _references_to(kind):
        field = reference.field
        if any(True for _ in after.untouched(referring, {field: id})):
            raise BrokenReference(referring.table, field)


def _references_to(kind: Kind) -> list[tuple[Kind, Reference]]:
    return [(k, ref) for k in KINDS.values() for ref in k.references if ref.kind is kind]
