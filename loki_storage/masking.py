"""Masked sessions: named fields read ``***`` in every read, and nothing can be asked about them.

A mask names text fields (``"title"``: of every kind that has one) and places in JSON fields
(``"metadata_json.customer"``; in arrays of every item, unless a number names one). A condition, an
order or a group on what is masked would tell it piece by piece, so these are refused. What the
audit trail and histories tell of a masked field is masked there, too.

The session reads the store through ``Masked``, so that no read can pass by the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import attrs

from loki_storage.batch import Batch
from loki_storage.conditions import walk
from loki_storage.errors import Forbidden, InvalidField, InvalidValue, ReadOnly
from loki_storage.lines import Blocks, Form, encoded
from loki_storage.models import KINDS, Kind, Record, domain_of
from loki_storage.protocol import Backend, Count, Day, Group, Measure
from loki_storage.query import (
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Query,
    Text,
)
from loki_storage.values import Domain, Json, JsonValue, Word, canonical, parse
from loki_storage.values import Text as TextDomain

__all__ = ["MASK", "Mask", "Masked", "check_readable", "mask_of"]

MASK = "***"
"""What a masked field reads; also one that is NULL."""
TOLD = "changes", "filters", "criteria", "query"
"""JSON fields that tell of other fields by their names."""
_TELLING = ("value", "values", "text")

Path = tuple[str, ...]
R = TypeVar("R", bound=Record)


@attrs.frozen
class Mask:
    """The names that are masked: field -> the paths in it, () for all of it."""

    paths: Mapping[str, tuple[Path, ...]] = attrs.field(factory=dict)

    @classmethod
    def named(cls, names: Iterable[str]) -> Self:
        """The mask of names like ``title`` and ``metadata_json.customer``, unchecked."""
        paths: dict[str, tuple[Path, ...]] = {}
        for name in names:
            field, *path = name.split(".")
            paths[field] = (*paths.get(field, ()), tuple(path))
        return cls(paths)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(".".join((field, *path)) for field in self.paths for path in self.paths[field])

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __contains__(self, field: object) -> bool:
        """Whether the field is masked, or a part of it."""
        return field in self.paths

    def whole(self, field: str) -> bool:
        """Whether all of the field is masked."""
        return () in self.paths.get(field, ())

    def of(self, field: str, value: JsonValue) -> JsonValue:
        """The value of a field as it may be read."""
        for path in self.paths.get(field, ()):
            value = _hidden(value, path)
        return value

    def told(self, value: JsonValue) -> JsonValue:
        """What tells of fields by name, with that of masked ones masked."""
        if isinstance(value, list):
            return [self.told(item) for item in value]
        if not isinstance(value, dict):
            return value
        asked = value.get("field") in self.paths  # a condition on a masked field
        return {
            key: MASK if asked and key in _TELLING else self._told_of(key, item)
            for key, item in value.items()
        }

    def _told_of(self, field: str, value: JsonValue) -> JsonValue:
        if field not in self.paths:
            return self.told(value)
        if isinstance(value, dict) and value.keys() <= {"before", "after"}:
            value = {when: self.of(field, item) for when, item in value.items()}
        return self.of(field, value)

    def masks(self, columns: Mapping[str, Domain]) -> dict[str, Callable[[Any], Any]]:
        """What becomes of the stored values of those of these fields that are masked."""
        masked = (field for field in columns if self and (field in TOLD or field in self))
        return {field: self._masker(field, columns[field]) for field in masked}

    def rows(
        self,
        rows: Iterator[tuple[Any, ...]],
        fields: Sequence[str],
        domains: Mapping[str, Domain],
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of stored values of these fields, as they may be read."""
        masks = self.masks({field: domains[field] for field in fields})
        changed = [(n, masks[field]) for n, field in enumerate(fields) if field in masks]
        return (_masked_row(row, changed) for row in rows) if changed else rows

    def check(self, query: Query) -> None:
        """``InvalidField`` where the answer would tell of what is masked."""
        for condition in walk(query.where):
            self._check_leaf(condition)
        for order in query.order:
            self.refuse(order.field)

    def refuse(self, field: str) -> None:
        """``InvalidField`` for a field that cannot be asked about."""
        if field in self or (field in TOLD and self):
            raise InvalidField(field, "is masked in this session: it cannot be asked about")

    def _masker(self, field: str, domain: Domain) -> Callable[[Any], Any]:
        if not isinstance(domain, Json):
            return lambda value: MASK

        def masked(text: str | None) -> Any:
            value = self.of(field, None if text is None else parse(text))
            told = self.told(value) if field in TOLD else value
            return None if told is None else canonical(told, field, bounded=False)

        return masked

    def _check_leaf(self, condition: Condition) -> None:
        match condition:
            case JsonEquals(field, path):
                hidden = self.paths.get(field, ())
                if field in TOLD or any(_meet(path, each) for each in hidden):
                    self.refuse(field)
            case InQuery(field, query, its_field):
                self.refuse(field)
                self.refuse(its_field)
                self.check(query)
            case Compare(field) | In(field) | IsNull(field) | Text(field=field):
                self.refuse(field)


def mask_of(names: Iterable[str]) -> Mask:
    """The mask of such names.

    ``InvalidField`` for a name that no kind has, and for a field that cannot read ``***``: only
    text and JSON can.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InvalidValue("mask", "must be a sequence of names")
    return Mask.named([_checked(name) for name in names])


def _checked(name: object) -> str:
    known = {field: domain for kind in _public() for field, domain in kind.domains.items()}
    steps = name.split(".") if isinstance(name, str) else []
    domain = known.get(steps[0]) if steps else None
    if domain is None:
        raise InvalidField(name, "is not a field that could be masked", known)
    closed = isinstance(domain, Word) and not domain.open
    readable = isinstance(domain, Json) or (isinstance(domain, TextDomain) and not closed)
    if not readable or steps[0] == "tenant_id":
        raise InvalidField(name, "cannot be masked: only text and JSON can")
    if len(steps) > 1 and not isinstance(domain, Json):
        raise InvalidField(name, "is not a path into a JSON field")
    return ".".join(steps)


def _public() -> list[Kind]:
    return [kind for kind in KINDS.values() if not kind.internal]


def _hidden(value: JsonValue, path: Path) -> JsonValue:
    """The value with what is at the path masked, in each item of arrays on the way."""
    if not path:
        return MASK
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return [
            _hidden(item, rest if first == str(place) else path)
            if first == str(place) or not first.isdecimal()
            else item
            for place, item in enumerate(value)
        ]
    if isinstance(value, dict) and first in value:
        return {**value, first: _hidden(value[first], rest)}
    return value


class Masked(Backend):
    """A store as a masked session sees it. For reading only."""

    def __init__(self, backend: Backend, mask: Mask) -> None:
        self._backend, self._mask = backend, mask
        self._known: dict[Kind, dict[str, Callable[[Any], Any]]] = {}

    def select(self, query: Query) -> Iterator[Any]:
        self._mask.check(query)
        return map(self.masked, self._backend.select(query))

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        found = self._backend.get_many(kind, ids, tenant)
        return {id: self.masked(record) for id, record in found.items()}

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        for query in queries:
            self._mask.check(query)
        return [list(map(self.masked, found)) for found in self._backend.select_many(queries)]

    def count(self, query: Query) -> int:
        self._mask.check(query)
        return self._backend.count(query)

    def exists(self, query: Query) -> bool:
        self._mask.check(query)
        return self._backend.exists(query)

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        self._mask.check(query)
        for part in (*by, *measures):
            self._mask.refuse(part if isinstance(part, str) else getattr(part, "field", ""))
        return self._backend.aggregate(query, by, measures)

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        self._mask.check(query)
        for field in fields:
            domain_of(query.kind, field)
        yield from self._mask.rows(self._backend.rows(query, fields), fields, query.kind.domains)

    def lines(self, query: Query, fields: Sequence[str], form: Form) -> Blocks:
        columns = {field: domain_of(query.kind, field) for field in fields}
        shown = {
            f: TextDomain() if self._mask.whole(f) else domain for f, domain in columns.items()
        }
        return encoded(form, shown, self.rows(query, fields))

    def search(self, query: Query) -> Iterator[Any]:
        self._mask.check(query)
        return map(self.masked, self._backend.search(query))

    def explain(self, query: Query) -> str:
        self._mask.check(query)
        return self._backend.explain(query)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        raise ReadOnly("a masked session is read-only")

    def apply(self, batch: Batch) -> None:
        raise ReadOnly("a masked session is read-only")

    def close(self) -> None:
        """The store below belongs to the storage."""

    def masked(self, record: R) -> R:
        """The record as a masked session sees it."""
        masks = self._masks(type(record))
        if not masks:
            return record
        return record.replaced({field: mask(record.stored(field)) for field, mask in masks.items()})

    def _masks(self, kind: Kind) -> dict[str, Callable[[Any], Any]]:
        if kind not in self._known:
            self._known[kind] = self._mask.masks(kind.domains)
        return self._known[kind]


def _masked_row(
    row: tuple[Any, ...], masks: Iterable[tuple[int, Callable[[Any], Any]]]
) -> tuple[Any, ...]:
    cells = list(row)
    for place, mask in masks:
        cells[place] = mask(cells[place])
    return tuple(cells)


def _meet(path: Sequence[str | int], hidden: Path) -> bool:
    """Whether what is at one path may hold what is at the other; array items are alike."""
    asked = [step for step in path if isinstance(step, str) and not step.isdecimal()]
    masked = [step for step in hidden if not step.isdecimal()]
    return all(a == b for a, b in zip(asked, masked, strict=False))


def check_readable(mask: Mask, kind: Kind, *fields: str) -> None:
    """``Forbidden`` where an operation needs what is masked, and would give a wrong answer."""
    for field in fields:
        if field in mask:
            raise Forbidden(f"{kind.table}.{field} is masked in this session, and this needs it")
