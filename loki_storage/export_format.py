"""What an export format is: two functions, one that writes rows and one that reads them back.

A plugin offers one through the hook ``loki_register_export_formats``; CSV comes in the same way.
Cells are what a record stores: text, integers, floats, booleans, aware UTC datetimes, JSON as
canonical text (``Column.domain`` says which), and None.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import attrs

from loki_storage.models import KINDS
from loki_storage.values import Domain, Json

__all__ = [
    "FIELDS",
    "RESULTS",
    "Column",
    "ExportFormatSpec",
    "ExportTable",
    "Row",
    "field_domain",
]

Row = tuple[Any, ...]
RESULTS = "results"
"""The column that holds a validation's results as a JSON array (``include_results``)."""


@attrs.frozen
class Column:
    """A column of an export: the field's name, and what its cells may hold."""

    name: str
    domain: Domain


@attrs.frozen
class ExportTable:
    """What is exported: the table's name, like ``documents``, and its columns in order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def header(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    @property
    def domains(self) -> dict[str, Domain]:
        """What the cells of each column may hold."""
        return {column.name: column.domain for column in self.columns}


@attrs.frozen
class ExportFormatSpec:
    """A format. Its options are the keyword-only parameters of ``write`` and of ``read``.

    ``write(file, table, rows, **options)`` pulls ``rows`` one by one, so that memory stays that of
    a few, and writes to ``file``, which can neither seek nor be read. ``read(file, **options)``
    yields a row at a time as a mapping; a cell is as ``write`` was given it, or that as text (times
    in ISO 8601, ``true``, ``false``). ``suffix`` begins with a dot and tells the files apart.

    ``write_lines(file, table, lines, **options)``, for a format that consists of lines of a form
    (``loki_storage.lines``), writes the same, faster: ``lines(form)`` gives blocks of whole lines,
    which the database may have written itself, and how many lines each block has.
    """

    name: str
    suffix: str
    write: Callable[..., None]
    read: Callable[..., Iterator[Mapping[str, Any]]]
    summary: str = ""
    write_lines: Callable[..., None] | None = None

    def __attrs_post_init__(self) -> None:
        if not self.suffix.startswith("."):
            raise ValueError("suffix must begin with a dot")


Write = Callable[[BinaryIO, ExportTable, Iterator[Row]], None]


def field_domain(name: str) -> Domain | None:
    """What a field of this name holds, in whatever table; None for an unknown name.

    A file says which fields it has and nothing of their types; the name is enough (a test keeps
    fields of one name to one type).
    """
    return FIELDS.get(name)


FIELDS: dict[str, Domain] = {
    RESULTS: Json(nullable=True),
    **{name: domain for kind in KINDS.values() for name, domain in kind.domains.items()},
}
