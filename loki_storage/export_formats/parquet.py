"""Parquet, for analysis: times as UTC timestamps in microseconds, stored JSON as text.

Needs pyarrow (``pip install 'loki-storage[parquet]'``).
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from loki_storage.export_format import Column, ExportFormatSpec, ExportTable, Row
from loki_storage.hookspecs import hookimpl
from loki_storage.values import Boolean, Integer, Number, Time

__all__ = ["loki_register_export_formats", "read", "write"]

GROUP_ROWS = 5_000
GROUP_CHARACTERS = 4_000_000
"""A group of rows is written once it has as many rows or characters: that much is in memory."""
READ_ROWS = 500


def write(file: BinaryIO, table: ExportTable, rows: Iterator[Row]) -> None:
    """Write the rows in groups, compressed with zstandard."""
    schema = pa.schema([_field(column) for column in table.columns])
    with pq.ParquetWriter(pa.PythonFile(file, "w"), schema, compression="zstd") as writer:
        for group in _groups(rows):
            columns = zip(*group, strict=True)
            arrays = [
                pa.array(map(_plain, values) if field.type == pa.string() else values, field.type)
                for values, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def read(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows."""
    parquet = pq.ParquetFile(file)
    for batch in parquet.iter_batches(READ_ROWS):
        yield from batch.to_pylist()


@hookimpl
def loki_register_export_formats() -> list[ExportFormatSpec]:
    """What this plugin offers."""
    return [ExportFormatSpec("parquet", ".parquet", write, read, "Apache Parquet")]


def _field(column: Column) -> Any:
    match column.domain:
        case Integer():
            kind = pa.int64()
        case Number():
            kind = pa.float64()
        case Boolean():
            kind = pa.bool_()
        case Time():
            kind = pa.timestamp("us", "UTC")
        case _:
            kind = pa.string()
    return pa.field(column.name, kind, nullable=column.domain.nullable)


def _plain(text: str | None) -> str | None:
    return None if text is None else str.__str__(text)


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(cell) for cell in row if isinstance(cell, str))
        if len(group) >= GROUP_ROWS or size >= GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group
