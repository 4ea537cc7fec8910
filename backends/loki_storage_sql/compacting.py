"""Packs texts of rows that are stored already, a few at a time, and tells what that saves (RET-4).

Texts are read and packed outside of the transaction that writes: that takes only those that are
still what was read.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import attrs
import sqlalchemy as sa

from loki_storage.models import KINDS, Kind
from loki_storage_sql.compiler import text_of
from loki_storage_sql.dialect import Clause, Dialect
from loki_storage_sql.packing import PACKED, SHORTEST, Packing, pack, plain_size
from loki_storage_sql.row_writer import among_ids
from loki_storage_sql.tables import schema_for

__all__ = ["Texts", "packed", "parts", "saved_bytes", "texts_of"]

CHUNK = 1 << 20
"""Bytes of text that one transaction packs, about: it holds up writers."""
_HEAD = 18
"""Bytes that the header of a frame has at most."""


@attrs.frozen
class Texts:
    """The statements about one field, each with the names of its parameters."""

    sizes: tuple[str, list[str]]
    """Id and stored size of those rows of ``ids`` that are to be packed."""
    plain: tuple[str, list[str]]
    """Their ids, texts and stored sizes."""
    pack: tuple[str, list[str]]
    """Packs one, if it still is ``plain``."""
    packed: tuple[str, list[str]]
    """Size and first bytes of those rows of ``ids`` that are packed."""


@cache
def texts_of(dialect: Dialect, kind_name: str) -> Sequence[Texts]:
    """The statements about the fields of a kind that may be packed."""
    assert dialect.packing is not None
    kind = KINDS[kind_name]
    return [_texts(dialect, dialect.packing, kind, field) for field in PACKED.get(kind, ())]


def _texts(dialect: Dialect, packing: Packing, kind: Kind, field: str) -> Texts:
    table = schema_for(dialect.name).tables[kind]
    column, packed = table.c[field], packing.packed(table, field)
    size = packing.size(column)
    ours = among_ids(dialect, table)
    long_enough: Clause = sa.func.length(column) >= sa.literal_column(str(SHORTEST))
    plain = [*ours, packed.is_(None), long_enough]
    same = [packed.is_(None), column == sa.bindparam("plain", type_=sa.Text())]
    row = [table.c.tenant_id == sa.bindparam("tenant"), table.c.id == sa.bindparam("id")]
    changes = packing.changes(field, sa.bindparam("packed", type_=sa.LargeBinary()))
    head = sa.func.substr(packed, sa.literal_column("1"), sa.literal_column(str(_HEAD)))
    return Texts(
        text_of(sa.select(table.c.id, size).where(*plain).order_by(table.c.id), dialect),
        text_of(sa.select(table.c.id, column, size).where(*plain).order_by(table.c.id), dialect),
        text_of(table.update().where(*row, *same).values(changes), dialect),
        text_of(sa.select(sa.func.length(packed), head).where(*ours, packed.is_not(None)), dialect),
    )


def parts(rows: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """The ids of rows (id, stored size) in parts for one transaction each."""
    part: list[int] = []
    size = 0
    for id, stored in rows:
        part.append(id)
        size += stored
        if size >= CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def packed(texts: Texts, tenant: str, rows: Iterable[tuple[int, str, int]]) -> list[list[Any]]:
    """The parameters of ``texts.pack`` for rows of ``texts.plain``."""
    found = []
    for id, plain, stored in rows:
        values = {"tenant": tenant, "id": id, "plain": plain, "packed": pack(plain, stored)}
        found.append([values[name] for name in texts.pack[1]])
    return found


def saved_bytes(rows: Iterable[tuple[int, bytes | None]]) -> int:
    """Bytes that packed texts take less than plain ones would."""
    return sum(plain_size(bytes(head or b""), size) - size for size, head in rows)
