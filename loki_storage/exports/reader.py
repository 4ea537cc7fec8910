"""``read_export``: the rows of an exported file, as they were in the store (EXP-2)."""

from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from os import PathLike
from typing import Any

from loki_storage.errors import ExportError
from loki_storage.export_format import field_domain
from loki_storage.export_formats import find_format, find_format_of_file, format_options
from loki_storage.masking import MASK
from loki_storage.values import Boolean, Integer, Json, JsonText, Number, Time, parse

__all__ = ["read_export"]


def read_export(
    path: str | PathLike[str], format: str | None = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """The rows of an exported file, one by one: field -> value, escapes undone.

    Values are what records hold: aware UTC datetimes, numbers, flags, parsed JSON, None. Words of
    vocabularies are plain text, which their members equal. Masked fields read ``***``.

    ``format``: by default what the file's name ends with. ``options`` are those of the format's
    reader (``raw`` for CSV). Raises ``ExportError`` for a file that is cut or no export.
    """
    name = str(path)
    spec = find_format_of_file(name) if format is None else find_format(format)
    checked = format_options(spec.read, options, spec.name)
    return _rows(name, spec.read, checked)


def _rows(
    name: str, read: Callable[..., Iterator[Mapping[str, Any]]], options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    with open(name, "rb") as file:
        found = read(file, **options)
        try:
            for row in found:
                yield {field: _value(field, cell) for field, cell in row.items()}
        finally:
            if isinstance(found, Generator):
                found.close()  # before the file


def _value(field: str, cell: Any) -> Any:
    """A cell, that is as it was written or its text, as the value of its field."""
    domain = field_domain(field)
    if cell is None or cell == MASK or domain is None:
        return cell
    try:
        match domain:
            case Json():
                return parse(JsonText(cell))
            case Time():
                return _moment(cell)
            case Integer():
                return int(cell)
            case Number():
                return float(cell)
            case Boolean():
                return cell if isinstance(cell, bool) else _FLAGS[cell]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{field} holds what is no value of that field") from error
    return cell


_FLAGS = {"true": True, "false": False}


def _moment(cell: datetime | str) -> datetime:
    moment = datetime.fromisoformat(cell) if isinstance(cell, str) else cell
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
