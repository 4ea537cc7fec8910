"""``Rows``: records of one kind as columns, for what comes by the hundred.

One intercepted document brings 200 rows. From the report to the database they stay columns: what
all of them share is held once, what recurs is held by reference, and no record is made unless
somebody looks at one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, TypeVar, overload

import attrs

from loki_storage.errors import InvalidValue
from loki_storage.models import Record
from loki_storage.values import Json, JsonText

__all__ = ["Combination", "Rows"]

R = TypeVar("R", bound=Record)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(eq=False)
class Combination:
    """Values of some fields that recur together; one object for each, as far as is remembered.

    It is equal to itself alone, so that what is known of it is found without reading its values.
    """

    values: tuple[Any, ...] = attrs.field(repr=False)


class Rows(Sequence[R]):
    """A sequence of records with two faces, columns and records, each made when it is asked for.

    ``columns``: by field, the ``id`` among them, one value per row as a record stores it.
    ``same``: by field, the value that all rows store. ``combined``: some fields, and for each row
    its combination of their values. A field in none of these is None. Values are taken as they
    are, like those of ``Kind.trusted``: they were checked before. In a column, JSON is its
    canonical text, whether as ``JsonText`` or not.
    """

    def __init__(
        self,
        kind: type[R],
        columns: Mapping[str, Sequence[Any]],
        same: Mapping[str, Any] = _NOTHING,
        combined: tuple[tuple[str, ...], Sequence[Combination]] | None = None,
    ) -> None:
        lengths = set(map(len, columns.values()))
        if len(lengths) != 1 or (combined and len(combined[1]) not in lengths):
            raise InvalidValue("columns", f"must have one value for each of {kind.table}")
        self.kind, self.same, self.ids = kind, same, columns["id"]
        self._columns, self._combined = columns, combined

    @classmethod
    def of(cls, records: Sequence[R]) -> "Rows[R]":
        """These records, which are of one kind, and at least one."""
        rows: Rows[R] = cls.__new__(cls)
        rows.kind, rows.same, rows.ids = type(records[0]), _NOTHING, [each.id for each in records]
        rows.records, rows._combined = records, None
        return rows

    @classmethod
    def copies(cls, record: R, **columns: Sequence[Any]) -> "Rows[R]":
        """A record many times over, but for the values in these columns."""
        return cls(type(record), columns, {field: record.stored(field) for field in record.domains})

    @classmethod
    def joined(cls, parts: Sequence["Rows[R]"]) -> "Rows[R]":
        """The rows of all parts, which are of one kind, and at least one."""
        if len(parts) == 1:
            return parts[0]
        kind = parts[0].kind
        columns = ((f, chain.from_iterable(part.column(f) for part in parts)) for f in kind.domains)
        return cls(kind, {field: list(column) for field, column in columns})

    def at(self, places: Sequence[int]) -> "Rows[R]":
        """The rows at these places, counted from 0, of which there is at least one."""
        columns = {field: self.own(field) for field in self.kind.domains}
        own = {
            f: [column[n] for n in places] for f, column in columns.items() if column is not None
        }
        return Rows(self.kind, own, self.same)

    @cached_property
    def records(self) -> Sequence[R]:
        """All of them, made once."""
        return tuple(map(self.kind.trusted, *map(self._stored, self.kind.domains)))

    @property
    def tenants(self) -> set[str]:
        """Whose they are."""
        if "_columns" not in self.__dict__:
            return {record.tenant_id for record in self.records}
        column = self.own("tenant_id")
        return {self.same["tenant_id"]} if column is None else set(column)

    def column(self, field: str) -> Sequence[Any]:
        """The values of a field, one per row."""
        column = self.own(field)
        return [self.same.get(field)] * len(self) if column is None else column

    def own(self, field: str) -> Sequence[Any] | None:
        """The same, but None where all rows share the value that ``same`` has, or else None."""
        column = self._columns.get(field)
        if column is None and self._combined and field in self._combined[0]:
            place = self._combined[0].index(field)
            return [combination.values[place] for combination in self._combined[1]]
        return column

    def combinations(self, fields: tuple[str, ...]) -> Sequence[Combination] | None:
        """For each row its combination of these fields' values, where the rows came with them."""
        return self._combined[1] if self._combined and self._combined[0] == fields else None

    @cached_property
    def _columns(self) -> Mapping[str, Sequence[Any]]:
        held = [record.__dict__ for record in self.records]
        return {f: [values[name] for values in held] for f, name in self.kind.attributes.items()}

    def _stored(self, field: str) -> Iterator[Any]:
        """A field's values as records hold them."""
        column = self.own(field)
        if column is None:
            return repeat(self.same.get(field))
        if isinstance(self.kind.domains[field], Json):
            return (None if text is None else JsonText(text) for text in column)
        return iter(column)

    def _value(self, field: str, index: int) -> Any:
        column = self.own(field)
        if column is None:
            return self.same.get(field)
        text = column[index]
        is_json = text is not None and isinstance(self.kind.domains[field], Json)
        return JsonText(text) if is_json else text

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice) or "records" in self.__dict__:
            return self.records[index]
        record: R = self.kind.trusted(*(self._value(field, index) for field in self.kind.domains))
        return record

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return tuple(self.records) == tuple(other.records)

    def __repr__(self) -> str:
        """Kind and number alone, as a record's shows its id alone."""
        return f"Rows({self.kind.__name__}, {len(self)})"
