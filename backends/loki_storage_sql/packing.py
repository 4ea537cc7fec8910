"""Long texts in fewer bytes: by zstandard, wherever ``compact`` has been (RET-4).

A text is stored plain until it is packed, and is plain again when it is written anew. Packed, it is
a zstandard frame, or its UTF-8 where a frame would not be shorter; no UTF-8 begins as a frame does.
A database that can call ``unpack`` keeps the bytes in the text's own column (``InPlace``); another
one has a column beside it (``Apart``), and what it cannot test the SDK judges.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
import zstandard

from loki_storage.models import Correction, Document, Kind

__all__ = [
    "PACKED",
    "SHORTEST",
    "Apart",
    "InPlace",
    "Packing",
    "pack",
    "packable",
    "packed_columns",
    "plain_size",
    "unpack",
]

PACKED: Mapping[Kind, tuple[str, ...]] = {
    Document: ("content",),
    Correction: ("original_content", "corrected_content"),
}
"""Which texts are packed."""
SHORTEST = 200
"""Characters; a shorter text stays plain: it saves next to nothing."""
LEVEL = 9

_MAGIC = zstandard.FRAME_HEADER
_TABLES = {kind.table: fields for kind, fields in PACKED.items()}
Column = sa.ColumnElement[object]
Clause = sa.ColumnElement[bool]


def packable(table: str, field: str) -> bool:
    """Whether a table's column may hold packed texts."""
    return field in _TABLES.get(table, ())


def packed_columns(table: str, fields: Iterable[str] | None = None) -> tuple[str, ...]:
    """The columns beside these fields of a table (all) that packed texts have (``Apart``)."""
    wanted = _TABLES.get(table, ()) if fields is None else fields
    return tuple(_beside(field) for field in wanted if packable(table, field))


def pack(text: str, most: int) -> bytes:
    """The bytes to store; a frame only where it takes less than ``most`` bytes."""
    plain = text.encode()
    frame = zstandard.ZstdCompressor(level=LEVEL).compress(plain)
    return frame if len(frame) < min(most, len(plain)) else plain


def unpack(packed: bytes) -> str:
    """The text."""
    plain = zstandard.decompress(packed) if packed.startswith(_MAGIC) else packed
    return plain.decode()


def plain_size(head: bytes, size: int) -> int:
    """Bytes of the text, by the first bytes of what is packed and the number of all of them."""
    return zstandard.frame_content_size(head) if head.startswith(_MAGIC) else size


class Packing(ABC):
    """Where a database has packed texts."""

    in_sql: bool
    """Whether ``text`` is the text; else that can be said of plain ones only."""

    @abstractmethod
    def text(self, column: Column) -> Column:
        """What conditions are about."""

    @abstractmethod
    def packed(self, table: sa.FromClause, field: str) -> Column:
        """The bytes of a packed text, else NULL."""

    @abstractmethod
    def size(self, column: Column) -> Column:
        """How many bytes a plain text takes."""

    @abstractmethod
    def changes(self, field: str, packed: Column) -> dict[str, Column]:
        """What an UPDATE sets to pack a text."""

    def beside(self, table: str, fields: Iterable[str]) -> tuple[str, ...]:
        """The columns that are read, or made NULL, with these fields."""
        return ()


class InPlace(Packing):
    """SQLite: a BLOB where else a TEXT is."""

    in_sql = True

    def text(self, column: Column) -> Column:
        unpacked = sa.func.loki_unpack(column)
        return sa.case((_is_blob(column), unpacked), else_=column)

    def packed(self, table: sa.FromClause, field: str) -> Column:
        return sa.case((_is_blob(table.c[field]), table.c[field]))

    def size(self, column: Column) -> Column:
        return sa.func.length(sa.cast(column, sa.LargeBinary()))

    def changes(self, field: str, packed: Column) -> dict[str, Column]:
        return {field: packed}


class Apart(Packing):
    """PostgreSQL: a ``bytea`` column; the text's own is empty then."""

    in_sql = False

    def text(self, column: Column) -> Column:
        return column

    def packed(self, table: sa.FromClause, field: str) -> Column:
        return table.c[_beside(field)]

    def size(self, column: Column) -> Column:
        return sa.func.pg_column_size(column)  # it compresses what is long by itself

    def changes(self, field: str, packed: Column) -> dict[str, Column]:
        return {field: sa.literal_column("''"), _beside(field): packed}

    def beside(self, table: str, fields: Iterable[str]) -> tuple[str, ...]:
        return packed_columns(table, fields)


def _beside(field: str) -> str:
    return f"{field}_packed"


def _is_blob(column: Column) -> Clause:
    return sa.func.typeof(column) == sa.literal_column("'blob'")
