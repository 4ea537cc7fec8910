"""``Rows``: records of one kind as columns, for what comes by the hundred.

One intercepted document brings 200 rows. From the report to the database they stay columns: what
all of them share is held once, and no record is made unless somebody looks at one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, TypeVar, overload

from loki_storage.errors import InvalidValue
from loki_storage.models import Kind, Record
from loki_storage.values import Json, JsonText

__all__ = ["Rows"]

R = TypeVar("R", bound=Record)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Rows(Sequence[R]):
    """A sequence of records with two faces, columns and records, each made when it is asked for.

    ``columns``: by field, the ``id`` among them, one value per row as a record stores it.
    ``same``: by field, the value that all rows store. A field in neither is None. Values are taken
    as they are, like those of ``Kind.trusted``: they were checked before. In a column, JSON is its
    canonical text, whether as ``JsonText`` or not.
    """

    def __init__(
        self,
        kind: type[R],
        columns: Mapping[str, Sequence[Any]],
        same: Mapping[str, Any] = _NOTHING,
    ) -> None:
        if len(set(map(len, columns.values()))) != 1:
            raise InvalidValue("columns", f"must have one value for each of {kind.table}")
        self.kind, self.same, self.ids = kind, same, columns["id"]
        self.columns = columns

    @classmethod
    def of(cls, records: Sequence[R]) -> "Rows[R]":
        """These records, which are of one kind, and at least one."""
        rows: Rows[R] = cls.__new__(cls)
        rows.kind, rows.same, rows.ids = type(records[0]), _NOTHING, [each.id for each in records]
        rows.records = records
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

    @cached_property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """The values by field, of fields that rows do not share."""
        held = [record.__dict__ for record in self.records]
        return {f: [values[name] for values in held] for f, name in self.kind.attributes.items()}

    @cached_property
    def records(self) -> Sequence[R]:
        """All of them, made once."""
        same = self.same
        columns = {f: _stored(self.kind, f, column) for f, column in self.columns.items()}
        values = (columns[f] if f in columns else repeat(same.get(f)) for f in self.kind.domains)
        return tuple(map(self.kind.trusted, *values))

    @property
    def tenants(self) -> set[str]:
        """Whose they are."""
        if "columns" not in self.__dict__:
            return {record.tenant_id for record in self.records}
        return set(self.columns.get("tenant_id") or (self.same["tenant_id"],))

    def column(self, field: str) -> Sequence[Any]:
        """The values of a field, one per row."""
        column = self.columns.get(field)
        return [self.same.get(field)] * len(self) if column is None else column

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
        one = {field: column[index : index + 1 or None] for field, column in self.columns.items()}
        return Rows(self.kind, one, self.same).records[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return tuple(self.records) == tuple(other.records)

    def __repr__(self) -> str:
        """Kind and number alone, as a record's shows its id alone."""
        return f"Rows({self.kind.__name__}, {len(self)})"


def _stored(kind: Kind, field: str, column: Sequence[Any]) -> Sequence[Any]:
    """A column's values as records hold them."""
    if not isinstance(kind.domains[field], Json):
        return column
    return [None if text is None else JsonText(text) for text in column]
