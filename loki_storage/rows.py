"""``Rows``: records of one kind as columns, for what comes by the hundred.

One intercepted document brings 200 rows. From the report to the database they stay columns: what
all of them share is held once, and no record is made unless somebody looks at one.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, Self, TypeVar, overload

import attrs

from loki_storage.errors import InvalidValue
from loki_storage.models import Record

__all__ = ["Rows"]

R = TypeVar("R", bound=Record)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(slots=False, eq=False, repr=False)
class Rows(Sequence[R]):
    """A sequence of records that are made when somebody asks for one of them.

    ``columns``: by field, the ``id`` among them, one value per row as a record stores it.
    ``same``: by field, the value that all rows store. A field in neither is None. Values are taken
    as they are, like those of ``Kind.trusted``: they were checked before.
    """

    kind: type[R]
    columns: Mapping[str, Sequence[Any]]
    same: Mapping[str, Any] = _NOTHING

    def __attrs_post_init__(self) -> None:
        if len(set(map(len, self.columns.values()))) != 1:
            raise InvalidValue("columns", f"must have one value for each of {self.kind.table}")

    @classmethod
    def of(cls, records: Iterable[R]) -> Self:
        """These records, which are of one kind, and at least one."""
        held = tuple(records)
        kind, values = type(held[0]), [record.__dict__ for record in held]
        columns = {f: [row[name] for row in values] for f, name in kind.attributes.items()}
        rows = cls(kind, columns)
        rows.__dict__["records"] = held
        return rows

    @classmethod
    def copies(cls, record: R, **columns: Sequence[Any]) -> Self:
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

    @property
    def ids(self) -> Sequence[int]:
        return self.columns["id"]

    @cached_property
    def records(self) -> tuple[R, ...]:
        """All of them, made once."""
        return tuple(map(self.kind.trusted, *map(self._values, self.kind.domains)))

    def column(self, field: str) -> Sequence[Any]:
        """The values of a field, one per row."""
        column = self.columns.get(field)
        return [self.same.get(field)] * len(self) if column is None else column

    def distinct(self, field: str) -> set[Any]:
        """The values of a field, each once."""
        return set(self.columns.get(field) or (self.same.get(field),))

    def _values(self, field: str) -> Iterable[Any]:
        column = self.columns.get(field)
        return repeat(self.same.get(field)) if column is None else column

    def __len__(self) -> int:
        return len(self.columns["id"])

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice) or "records" in self.__dict__:
            return self.records[index]
        columns, same = self.columns, self.same
        values = (columns[f][index] if f in columns else same.get(f) for f in self.kind.domains)
        record: R = self.kind.trusted(*values)
        return record

    def __eq__(self, other: object) -> bool:
        return self.records == other.records if isinstance(other, Rows) else NotImplemented

    def __repr__(self) -> str:
        """Kind and number alone, as a record's shows its id alone."""
        return f"Rows({self.kind.__name__}, {len(self)})"
