"""Masked sessions: named fields read ``***`` in every read, and nothing can be asked about them.

A mask names text fields (``"title"``: of every kind that has one) and places in JSON fields
(``"metadata_json.customer"``; in arrays of every item, unless a number names one). A condition, an
order or a group on what is masked would tell it piece by piece, so these are refused. What the
audit trail and histories tell of a masked field is masked there, too.

The session reads the store through ``Masked``, so that no read can pass by the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from loki_storage.batch import Batch
from loki_storage.errors import Forbidden, InvalidField, InvalidValue, ReadOnly
from loki_storage.models import KINDS, Kind, Record
from loki_storage.protocol import Backend, Count, Day, Group, Measure
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
    Query,
    Text,
)
from loki_storage.values import Json, JsonValue, Word, canonical, parse
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

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __contains__(self, field: object) -> bool:
        """Whether the field is masked, or a part of it."""
        return field in self.paths

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


def mask_of(names: Iterable[str]) -> Mask:
    """The mask of such names.

    ``InvalidField`` for a name that no kind has, and for a field that cannot read ``***``: only
    text and JSON can.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InvalidValue("mask", "must be a sequence of names")
    paths: dict[str, tuple[Path, ...]] = {}
    for name in names:
        field, *path = _checked(name)
        paths[field] = (*paths.get(field, ()), tuple(path))
    return Mask(paths)


def _checked(name: object) -> list[str]:
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
    return steps


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
        self._check(query)
        return map(self._masked, self._backend.select(query))

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        found = self._backend.get_many(kind, ids, tenant)
        return {id: self._masked(record) for id, record in found.items()}

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        for query in queries:
            self._check(query)
        return [list(map(self._masked, found)) for found in self._backend.select_many(queries)]

    def count(self, query: Query) -> int:
        self._check(query)
        return self._backend.count(query)

    def exists(self, query: Query) -> bool:
        self._check(query)
        return self._backend.exists(query)

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        self._check(query)
        for part in (*by, *measures):
            self._refuse(part if isinstance(part, str) else getattr(part, "field", ""))
        return self._backend.aggregate(query, by, measures)

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        self._check(query)
        masks = self._masks(query.kind)
        changed = [(n, masks[field]) for n, field in enumerate(fields) if field in masks]
        for row in self._backend.rows(query, fields):
            cells = list(row)
            for n, mask in changed:
                cells[n] = mask(cells[n])
            yield tuple(cells)

    def search(self, query: Query) -> Iterator[Any]:
        self._check(query)
        return map(self._masked, self._backend.search(query))

    def explain(self, query: Query) -> str:
        self._check(query)
        return self._backend.explain(query)

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        raise ReadOnly("a masked session is read-only")

    def apply(self, batch: Batch) -> None:
        raise ReadOnly("a masked session is read-only")

    def close(self) -> None:
        """The store below belongs to the storage."""

    def _masked(self, record: R) -> R:
        masks = self._masks(type(record))
        if not masks:
            return record
        return record.replaced({field: mask(record.stored(field)) for field, mask in masks.items()})

    def _masks(self, kind: Kind) -> dict[str, Callable[[Any], Any]]:
        """What becomes of the stored values of a kind's masked fields."""
        if kind not in self._known:
            masked = (field for field in kind.domains if field in TOLD or field in self._mask)
            self._known[kind] = {field: self._masker(kind, field) for field in masked}
        return self._known[kind]

    def _masker(self, kind: Kind, field: str) -> Callable[[Any], Any]:
        if not isinstance(kind.domains[field], Json):
            return lambda value: MASK

        def masked(text: str | None) -> Any:
            value = self._mask.of(field, None if text is None else parse(text))
            told = self._mask.told(value) if field in TOLD else value
            return None if told is None else canonical(told, field, bounded=False)

        return masked

    def _check(self, query: Query) -> None:
        """``InvalidField`` where the answer would tell of what is masked."""
        self._check_condition(query.where)
        for order in query.order:
            self._refuse(order.field)

    def _check_condition(self, condition: Condition) -> None:
        match condition:
            case And(parts) | Or(parts):
                for part in parts:
                    self._check_condition(part)
            case Not(inner):
                self._check_condition(inner)
            case JsonEquals(field, path):
                hidden = self._mask.paths.get(field, ())
                if field in TOLD or any(_meet(path, each) for each in hidden):
                    self._refuse(field)
            case InQuery(field, query, its_field):
                self._refuse(field)
                self._refuse(its_field)
                self._check(query)
            case Compare(field) | In(field) | IsNull(field) | Text(field=field):
                self._refuse(field)

    def _refuse(self, field: str) -> None:
        if field in self._mask or (field in TOLD and self._mask):
            raise InvalidField(field, "is masked in this session: it cannot be asked about")


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
