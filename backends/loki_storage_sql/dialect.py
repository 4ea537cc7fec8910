"""What differs from one relational database to another, as one class per database.

Everything else in this package asks a ``Dialect``. To serve another database, subclass it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import attrs
import sqlalchemy as sa

from loki_storage.errors import StorageError
from loki_storage.lines import Form
from loki_storage.values import Domain
from loki_storage_sql.connections import Connection
from loki_storage_sql.packing import Packing, packable

__all__ = ["Cell", "Clause", "Column", "Dialect", "Narrowing"]

Column = sa.ColumnElement[Any]
Clause = sa.ColumnElement[bool]
Cell = tuple[str, Column, Domain]
"""A field's name, its column, and what that may hold."""


@attrs.frozen
class Narrowing:
    """A condition in SQL; where it should be false it may be NULL.

    ``exact=False``: it lets some rows more through, which ``matching.py`` judges again.
    """

    clause: Clause
    exact: bool = True


class Dialect(ABC):
    """One database's values, expressions and errors."""

    name: str
    """Under which ``schema_for`` knows the layout."""
    sqlalchemy: sa.Dialect
    """Compiles the statements; its parameters are positional."""
    driver_errors: tuple[type[Exception], ...]
    """What the driver raises; translated at the backend's edge."""
    nulls_first: bool
    """Whether an ascending order has NULLs first here (and a descending one last)."""
    explain: str = "EXPLAIN"
    """What before a statement asks for its plan, one line in the last column of each row."""

    packing: Packing | None = None
    """Where packed texts are; None: texts are never packed (``Backend.compact``)."""

    schema: str | None = None
    """In which every name is looked up; None: where the connection looks by itself."""

    # Values. NULL is never passed in. None for a function: the driver takes or gives them as is.

    @abstractmethod
    def encoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        """Turns a record's value into what the driver binds."""

    @abstractmethod
    def decoder(self, domain: Domain) -> Callable[[Any], Any] | None:
        """Turns a stored value back; words and JSON text are the codec's own work."""

    @abstractmethod
    def list_encoder(self, domain: Domain) -> Callable[[Sequence[Any]], Any]:
        """Turns encoded values into the one parameter that ``among`` takes."""

    @abstractmethod
    def encode_path(self, path: Sequence[str | int]) -> Any:
        """The parameter that ``json_test`` takes for a path."""

    def decides_path(self, path: Sequence[str | int]) -> bool:
        """Whether ``json_test`` is exact for this path."""
        return True

    def encode_folded(self, op: str, text: str) -> str:
        """The parameter that ``folded_test`` takes for a casefolded text."""
        return text

    @abstractmethod
    def decode_day(self, stored: Any) -> date:
        """The day that ``day`` gave."""

    # Expressions.

    @abstractmethod
    def among(self, column: Column, values: Column, domain: Domain) -> Clause:
        """``column`` is one of the values of a ``list_encoder`` parameter."""

    @abstractmethod
    def contains(self, column: Column, text: Column) -> Clause:
        """Literal, case-sensitive; the empty text is in every text."""

    @abstractmethod
    def folded_test(self, op: str, column: Column, text: Column) -> Narrowing:
        """A text test on the casefolded column; ``text`` is from ``encode_folded``."""

    @abstractmethod
    def json_test(self, column: Column, path: Column, value: Column | None) -> Clause:
        """The canonical text at a path is ``value``; None: it is missing or null.

        Where ``decides_path`` is false some rows more may be let through for a ``value``.
        """

    @abstractmethod
    def day(self, column: Column) -> Column:
        """The UTC day of a time, in the order of time."""

    @abstractmethod
    def integer_sum(self, column: Column) -> tuple[Sequence[Column], Callable[..., int]]:
        """Columns, and what makes an exact sum of integers of their values."""

    def likely(self, clause: Clause) -> Clause:
        """A condition that most rows meet, so that the planner looks for another one's index."""
        return clause

    def text_test(self, op: str, column: Column, text: Column) -> Clause:
        """Literal, case-sensitive ``contains``, ``starts_with`` or ``ends_with``."""
        if op == "contains":
            return self.contains(column, text)
        length, one = sa.func.length(text), sa.literal_column("1", sa.Integer())
        if op == "starts_with":
            return sa.func.substr(column, one, length) == text
        return sa.func.substr(column, sa.func.length(column) - length + one) == text

    def text(self, column: Column) -> Column:
        """A column as conditions must see it, whose texts may be packed."""
        if self.packing is None or not packable(column.table.name, column.name):
            return column
        return self.packing.text(column)

    def beside(self, table: str, fields: Iterable[str]) -> tuple[str, ...]:
        """The columns that are read, or made NULL, with these fields."""
        return () if self.packing is None else self.packing.beside(table, fields)

    def line(self, form: Form, cells: Sequence[Cell]) -> Column | None:
        """A row's line as ``loki_storage.lines`` writes it, as bytes or text, without its end.

        None: Python writes it.
        """
        return None

    # Statements.

    def qualified(self, name: str) -> str:
        """A table's or view's name as statements spell it."""
        if self.schema is None:
            return name
        return f"{self.sqlalchemy.identifier_preparer.quote(self.schema)}.{name}"

    @abstractmethod
    def insert(self, table: sa.TableClause) -> Any:
        """This database's INSERT with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""

    @abstractmethod
    def insert_many(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Mapping[str, Sequence[Any]],
        same: Mapping[str, Any],
    ) -> None:
        """Insert rows as fast as this database can.

        ``columns``: encoded values by field, one per row, the id first. ``same``: the value that
        all rows have. What is in neither is NULL.
        """

    # Errors.

    @abstractmethod
    def is_conflict(self, error: Exception) -> bool:
        """Whether a driver's error tells of a unique key or a reference that does not hold."""

    @abstractmethod
    def translate(self, error: Exception) -> StorageError:
        """The error of ours that a driver's error means, by its code; never with a value."""
