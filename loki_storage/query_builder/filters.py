"""The steps of a builder that say which records match."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Kind, Record, domain_of
from loki_storage.query import (
    Compare,
    Condition,
    In,
    IsNull,
    JsonEquals,
    Not,
    Text,
    all_of,
    any_of,
    equals,
)
from loki_storage.query_builder.dates import Moment, within
from loki_storage.values import JsonValue, Time

__all__ = ["Combine", "Filter", "Filters", "conditions_of"]

R = TypeVar("R", bound=Record)


class Filters(Generic[R]):
    """Conditions, one step each; all of them hold for what matches (QRY-4, QRY-5).

    ``attr`` is a field of the record. Unknown ones are ``InvalidField`` with the nearest known
    name; values of another type than the field's are ``InvalidValue``.
    """

    kind: ClassVar[Kind]
    time_field: ClassVar[str] = "created_at"
    """What ``date_range`` and ``last_n_days`` are about unless told."""

    @abstractmethod
    def _where(self, *conditions: Condition) -> Self:
        """The same builder with more conditions."""

    @abstractmethod
    def _combined(
        self, combine: Combine, filters: Iterable[Filter], fields: Mapping[str, object]
    ) -> Self:
        """The same builder with what ``combine`` makes of these."""

    @abstractmethod
    def last_n_days(self, days: int, attr: str | None = None) -> Self:
        """The last ``days`` times 24 hours, by the session's clock; at most 36,500 days."""

    def filter_by(self, **fields: object) -> Self:
        """Each field equals its value; None means NULL."""
        return self._where(equals(**fields))

    def equals(self, attr: str, value: object) -> Self:
        """``attr`` equals the value; None means NULL."""
        return self._where(IsNull(attr) if value is None else Compare(attr, "eq", value))

    def not_equals(self, attr: str, value: object) -> Self:
        """``attr`` is NULL or another value; ``not_equals(attr, None)``: it is not NULL."""
        return self._where(Compare(attr, "ne", value))

    def greater_than(self, attr: str, value: object) -> Self:
        """``attr`` comes after the value in the total order; never NULL."""
        return self._where(Compare(attr, "gt", value))

    def less_than(self, attr: str, value: object) -> Self:
        """``attr`` comes before the value in the total order; never NULL."""
        return self._where(Compare(attr, "lt", value))

    def at_least(self, attr: str, value: object) -> Self:
        """``attr`` is the value or comes after it; severities by rank."""
        return self._where(Compare(attr, "ge", value))

    def at_most(self, attr: str, value: object) -> Self:
        """``attr`` is the value or comes before it; severities by rank."""
        return self._where(Compare(attr, "le", value))

    def between(self, attr: str, low: object, high: object) -> Self:
        """From ``low`` to ``high``; both belong to it."""
        return self._where(Compare(attr, "ge", low), Compare(attr, "le", high))

    def in_list(self, attr: str, values: Iterable[object]) -> Self:
        """``attr`` is one of the values, None among them: or NULL. Of ``[]`` nothing matches."""
        return self._where(In(attr, values))

    def not_in_list(self, attr: str, values: Iterable[object]) -> Self:
        """The complement of ``in_list``: NULL matches unless None is among the values."""
        return self._where(Not(In(attr, values)))

    def contains(self, attr: str, text: str, case_sensitive: bool = True) -> Self:
        """The text stands in ``attr``, literally: ``%``, ``_`` and ``\\`` mean themselves."""
        return self._where(Text("contains", attr, text, case_sensitive))

    def starts_with(self, attr: str, text: str, case_sensitive: bool = True) -> Self:
        """``attr`` starts with the text, literally."""
        return self._where(Text("starts_with", attr, text, case_sensitive))

    def ends_with(self, attr: str, text: str, case_sensitive: bool = True) -> Self:
        """``attr`` ends with the text, literally."""
        return self._where(Text("ends_with", attr, text, case_sensitive))

    def is_null(self, attr: str) -> Self:
        """``attr`` is NULL."""
        return self._where(IsNull(attr))

    def is_not_null(self, attr: str) -> Self:
        """``attr`` has a value."""
        return self._where(Not(IsNull(attr)))

    def date_range(
        self,
        start_date: Moment | None = None,
        end_date: Moment | None = None,
        attr: str | None = None,
    ) -> Self:
        """From ``start_date`` to ``end_date``: aware datetimes, or dates, which are UTC days.

        Both belong to it, an end day with all of its hours; either may be left out.
        """
        field = self.time_field if attr is None else attr
        if not isinstance(domain_of(self.kind, field), Time):
            raise InvalidField(field, "is not a time")
        return self._where(*within(field, start_date, end_date))

    def metadata_equals(
        self, path: str | Iterable[str | int], value: JsonValue, attr: str = "metadata_json"
    ) -> Self:
        """The JSON value at a path equals this one; ``None``: it is missing, or null.

        ``path``: keys and indexes, or a dotted string of them (``"owner.teams.0"``), in which
        digits are an index. Equal means the same canonical text: ``1`` is not ``1.0``.
        """
        steps: Any = _steps(path) if isinstance(path, str) else path
        return self._where(JsonEquals(attr, steps, value))

    # Filters of filters. Each is a condition of ``loki_storage.query``, a mapping of fields to
    # values, or a builder of the same kind without window and order; keywords are fields too.

    def or_filter(self, *filters: Filter, **fields: object) -> Self:
        """At least one of these holds; of none nothing matches."""
        return self._combined(any_of, filters, fields)

    def and_filter(self, *filters: Filter, **fields: object) -> Self:
        """All of these hold."""
        return self._combined(all_of, filters, fields)

    def not_filter(self, *filters: Filter, **fields: object) -> Self:
        """The complement of all of these together: at least one of them does not hold."""
        return self._combined(_not_all_of, filters, fields)


Combine = Callable[..., Condition]
Filter = Condition | Mapping[str, object] | Filters[Any]


def _steps(path: str) -> tuple[str | int, ...]:
    """Digits are an index; a key of digits or with a dot needs the path as a tuple."""
    if not path:
        raise InvalidValue("path", "must not be empty")
    return tuple(int(step) if _is_index(step) else step for step in path.split("."))


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdecimal() and len(step) < 19


def _not_all_of(*conditions: Condition) -> Condition:
    """The complement of all of them together."""
    condition = all_of(*conditions)
    return condition.condition if isinstance(condition, Not) else Not(condition)


def conditions_of(fields: Mapping[Any, object]) -> list[Condition]:
    """A condition for each field of a mapping."""
    for name in fields:
        if not isinstance(name, str):
            raise InvalidField(name, "is not a field")
    return [equals(**{name: value}) for name, value in fields.items()]
