"""What an export takes out of the store: which rows, which columns, what of them is masked.

Everything is checked before anything is written: unknown filters, fields and values are typed
errors (EXP-1, QRY-2).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import attrs

from loki_storage.enums import EntityType
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.export_format import FIELDS, RESULTS, Column, ExportTable, Row, field_domain
from loki_storage.lines import OBJECTS, Blocks, Form, encoded, encoder
from loki_storage.masking import Mask
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    Kind,
    Validation,
    ValidationResult,
    domain_of,
)
from loki_storage.protocol import Reader
from loki_storage.query import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    JsonEquals,
    Not,
    Query,
    all_of,
    any_of,
    equals,
)
from loki_storage.values import Json, JsonText, JsonValue, Text, Time

__all__ = ["SOURCES", "Selection", "Source", "select"]

NOTHING = Mask()
RESULTS_AT_ONCE = 10
"""Validations whose results are read together."""


@attrs.frozen
class Source:
    """A table that can be exported."""

    kind: Kind
    entity_type: str
    time_field: str = "created_at"

    @property
    def name(self) -> str:
        return self.kind.table


SOURCES = {
    "documents": Source(Document, EntityType.DOCUMENT),
    "validations": Source(Validation, EntityType.VALIDATION),
    "results": Source(ValidationResult, "result"),
    "corrections": Source(Correction, EntityType.CORRECTION),
    "audit": Source(AuditEntry, EntityType.AUDIT, "timestamp"),
}
"""By the word that the command line has for it."""


@attrs.frozen
class Selection:
    """What was asked for, checked: the query, the columns, and what the log tells of it."""

    source: Source
    query: Query
    fields: tuple[str, ...]
    mask: Mask
    include_results: bool
    filters: dict[str, JsonValue]

    @property
    def table(self) -> ExportTable:
        """The columns; a masked one holds text."""
        return ExportTable(self.source.name, tuple(self._columns()))

    def rows(self, reader: Reader) -> Iterator[Row]:
        """The rows, in the total order, masked."""
        if self.include_results:
            rows = _with_results(reader, self.query, self.fields, self.mask)
        else:
            rows = reader.rows(self.query, self.fields)
        return self.mask.rows(rows, self._names, self.table.domains)

    def lines(self, reader: Reader, form: Form) -> Blocks:
        """The rows as lines of a file."""
        if self.include_results or self.mask:
            return encoded(form, self.table.domains, self.rows(reader))
        return reader.lines(self.query, self.fields, form)

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.fields, RESULTS) if self.include_results else self.fields

    def _columns(self) -> Iterator[Column]:
        for name in self._names:
            if self.mask.whole(name):
                yield Column(name, Text())
            elif name == RESULTS and self.include_results:
                yield Column(name, Json())
            else:
                yield Column(name, domain_of(self.source.kind, name))


def select(
    source: Source,
    tenant: str,
    *,
    client_id: str | None = None,
    filters: Mapping[str, Any] | None = None,
    fields: Sequence[str] | None = None,
    without: Sequence[str] = (),
    versions: str | None = None,
    include_deleted: bool = False,
    include_results: bool = False,
    mask: Sequence[str] = (),
    imposed: Mask = NOTHING,
) -> Selection:
    """Check what was asked for. Raises ``InvalidField`` and ``InvalidValue``.

    ``mask``: what the caller hides; ``imposed``: what is hidden from the caller, who can therefore
    not ask about it.
    """
    kind = source.kind
    if include_results and kind is not Validation:
        raise InvalidField("include_results", "is for validations")
    if versions is not None and kind is not Document:
        raise InvalidField("versions", "is for documents")
    conditions = [_shown(source, tenant, versions or "heads", include_deleted)]
    if client_id is not None:
        conditions.append(equals(client_id=client_id))
    told: dict[str, JsonValue] = {}
    for name, value in (filters or {}).items():
        conditions.append(_condition(source, name, value))
        told[str(name)] = _told(value)
    chosen = _fields(kind, fields, without)
    options = {
        "versions": versions if versions != "heads" else None,
        "include_deleted": include_deleted or None,
        "include_results": include_results or None,
        "mask": [*imposed.names, *_checked_mask(mask)] or None,
    }
    told |= {name: value for name, value in options.items() if value is not None}
    query = Query(kind, tenant, all_of(*conditions))
    imposed.check(query)
    hidden = Mask.named((*imposed.names, *mask))
    return Selection(source, query, chosen, hidden, include_results, told)


# Which rows


def _shown(source: Source, tenant: str, versions: str, include_deleted: bool) -> Condition:
    """Live rows, and deleted ones on request (DEL-1, DEL-2)."""
    if versions not in ("heads", "all"):
        raise InvalidValue("versions", 'must be "heads" or "all"')
    if not isinstance(include_deleted, bool):
        raise InvalidValue("include_deleted", "must be a boolean")
    if source.kind is Document:
        if versions == "all":
            return And(()) if include_deleted else equals(is_deleted=False)
        heads = equals(is_latest=True)
        return any_of(heads, equals(is_deleted=True)) if include_deleted else heads
    if include_deleted or source.kind is AuditEntry:
        return And(())
    deleted = Query(Document, tenant, equals(is_deleted=True))
    if source.kind is ValidationResult:
        hidden = Query(Validation, tenant, InQuery("document_id", deleted, "id"))
        return Not(InQuery("validation_id", hidden, "id"))
    return Not(InQuery("document_id", deleted, "id"))


def _condition(source: Source, name: str, value: Any) -> Condition:
    """A filter: a field and its value (several: one of them), a path into JSON, or a period."""
    kind = source.kind
    if name in ("start_date", "end_date"):
        return _period(name, value, source.time_field)
    if name == "risk_level" and "overall_risk" in kind.domains:
        name = "overall_risk"
    field, dot, path = str(name).partition(".")
    if dot and isinstance(domain_of(kind, field), Json):
        return JsonEquals(field, _path(path), value)
    if name not in kind.domains:
        known = [*kind.domains, "start_date", "end_date"]
        raise InvalidField(name, f"is not a filter of {kind.table}", known)
    if isinstance(domain_of(kind, name), Time):
        value = _moment(name, value)
    if isinstance(value, list | tuple | set | frozenset):
        return In(name, tuple(value))
    return equals(**{name: value})


def _path(text: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in text.split("."))


def _period(name: str, value: Any, field: str) -> Condition:
    """A day in UTC, its end included, or a moment."""
    day = _day(name, value)
    if day is None:
        return Compare(field, "ge" if name == "start_date" else "le", _moment(name, value))
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if name == "start_date":
        return Compare(field, "ge", first)
    if day == date.max:
        return And(())
    return Compare(field, "lt", first + timedelta(days=1))


def _day(name: str, value: Any) -> date | None:
    if isinstance(value, datetime):
        return None
    if isinstance(value, date):
        return value
    if isinstance(value, str) and len(value) == len("2026-01-01"):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise InvalidValue(name, "must be a date like 2026-01-31") from None
    return None


def _moment(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise InvalidValue(name, "must be a time in ISO 8601") from None


def _told(value: Any) -> JsonValue:
    """A filter's value as the log has it."""
    if isinstance(value, list | tuple | set | frozenset):
        return [_told(member) for member in value]
    return value.isoformat() if isinstance(value, date) else value


# Which columns


def _fields(kind: Kind, fields: Sequence[str] | None, without: Sequence[str]) -> tuple[str, ...]:
    names = list(kind.domains) if fields is None else _names("fields", fields)
    for name in (*names, *_names("without", without)):
        domain_of(kind, name)
    chosen = tuple(name for name in names if name not in without)
    if not chosen:
        raise InvalidValue("fields", "must name at least one field")
    if len(set(chosen)) < len(chosen):
        raise InvalidValue("fields", "must not name a field twice")
    return chosen


def _names(argument: str, names: Any) -> list[Any]:
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InvalidValue(argument, "must be a list of names")
    return list(names)


def _checked_mask(mask: Sequence[str]) -> list[JsonValue]:
    """Fields of any kind, and paths into JSON: an audit entry tells of fields of all kinds."""
    for name in _names("mask", mask):
        field, dot, _ = name.partition(".") if isinstance(name, str) else ("", "", "")
        domain = field_domain(field)
        if domain is None:
            raise InvalidField(name, "is not a field that could be masked", FIELDS)
        if dot and not isinstance(domain, Json):
            raise InvalidField(name, "is no path into a JSON field")
    return list(mask)


# Validations with their results


def _with_results(
    reader: Reader, query: Query, fields: tuple[str, ...], mask: Mask
) -> Iterator[Row]:
    """The rows, each with the JSON array of its results; some validations at a time."""
    names = tuple(ValidationResult.domains)
    encode = encoder(OBJECTS, ValidationResult.domains)
    place = names.index("validation_id")
    rows = reader.rows(query, ("id", *fields))
    while chunk := list(islice(rows, RESULTS_AT_ONCE)):
        found: dict[int, list[str]] = {row[0]: [] for row in chunk}
        of = Query(ValidationResult, query.tenant, In("validation_id", tuple(found)))
        for result in mask.rows(reader.rows(of, names), names, ValidationResult.domains):
            found[result[place]].append(encode(result).decode())
        for id, *row in chunk:
            yield (*row, JsonText(f"[{','.join(found[id])}]"))
