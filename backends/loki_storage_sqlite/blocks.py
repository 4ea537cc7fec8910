"""Many rows in one INSERT: half of the time goes into binding values, and many are the same.

The rows go in blocks, as one statement that is run once per block. A value that all rows share is
bound once per block, a column of NULLs alone is left out. The last block is filled up with zeros,
which the statement leaves out: ids are greater than zero.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from loki_storage_sql.connections import Connection

__all__ = ["insert_blocks"]

LARGEST = 64
"""Rows in a block, at most: more saves little, and the statement's text grows."""
CACHED_TEXTS = 512


def insert_blocks(
    connection: Connection,
    table: str,
    columns: Mapping[str, Sequence[Any]],
    same: Mapping[str, Any],
) -> None:
    """Insert rows that are given as columns, the ids first, and as what all of them share."""
    count = len(columns["id"])
    once = {field: value for field, value in same.items() if value is not None}
    own = {}
    for field, column in columns.items():
        if field == "id" or column[0] != column[-1] or column.count(column[0]) < count:
            own[field] = column
        elif column[0] is not None:
            once[field] = column[0]
    size = min(LARGEST, 1 << (count - 1).bit_length())
    values = list(chain.from_iterable(zip(*own.values(), strict=True)))
    step = size * len(own)
    values += [0] * (-len(values) % step)
    shared = list(once.values())
    blocks = [shared + values[n : n + step] for n in range(0, len(values), step)]
    connection.executemany(_text(table, tuple(once), tuple(own), size), blocks)


@lru_cache(CACHED_TEXTS)
def _text(table: str, once: tuple[str, ...], own: tuple[str, ...], size: int) -> str:
    """Shared values are the first parameters; a row's own are columns of VALUES, the id first."""
    shared, width = len(once), len(own)
    sources = [f"?{n}" for n in range(1, shared + 1)] + [f"column{n}" for n in range(1, width + 1)]
    rows = (
        ", ".join(f"?{shared + width * row + n}" for n in range(1, width + 1))
        for row in range(size)
    )
    return (
        f"INSERT INTO {table} ({', '.join(once + own)}) SELECT {', '.join(sources)} "
        f"FROM (VALUES ({'), ('.join(rows)})) WHERE column1 > 0"
    )
