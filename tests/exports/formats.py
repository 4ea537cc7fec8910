"""Hostile rows, and what a file of them must give back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from loki_storage.export_format import Column, ExportTable, Row, field_domain
from loki_storage.export_formats import find_format
from loki_storage.export_manager import read_export
from loki_storage.models import Correction, domain_of
from loki_storage.values import Json, Text, canonical, parse
from loki_storage.whole_file import Counted
from tests.hostile import CORPUS, refusal
from tests.strategies import JSONS

FORMATS = ["csv", "json", "jsonl", "excel", "parquet"]
FIELDS = ("id", "reasoning", "strategy", "diff", "confidence", "created_at", "review_notes")
TABLE = ExportTable("corrections", tuple(Column(f, domain_of(Correction, f)) for f in FIELDS))

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠A1",
    "'=1",
    "''",
    "'",
    "=cmd|' /C calc'!A0",
]
LOOKALIKES = [
    r"\N",
    r"\\N",
    r"'\N",
    "NULL",
    "#N/A",
    "#REF!",
    "=",
    "007",
    "1e5",
    "2026-01-01",
    "12345678901234567890",
    "TRUE",
    "_x0041_",
    "_x005F_x0041_",
    "_x000D_",
    "_x0000_",
    "__x0041_",
    "a,b;c\td",
    'a"b""c',
    "a\nb\r\nc\rd",
    " outer ",
    "\x01\x08\x1f",
    "\ufffe\uffff\U0001fffe",
    "***a",
    "[1, 2]",
]
LONG = ["x" * 32_767, "y" * 32_768, "\U0001f600" * 16_384, "_x0041_" * 20_000, "=" * 40_000]
TEXTS: list[Any] = [
    *(v for v in CORPUS if type(v) is str and refusal(Text(), v) is None and len(v) < 1000),
    *FORMULAS,
    *LOOKALIKES,
]
SHORT = [text for text in TEXTS if len(text) <= 100]
NUMBERS = [None, 0.0, 1.0, 0.1 + 0.2, 1 / 3, 5e-324, 0.5, 1e-7]
TIMES = [
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=UTC) - timedelta(days=40_000),
]
DOCUMENTS = [
    None,
    *(canonical(value) for value in [*JSONS, 10**40, -1, 1.0, 1e22, {"b": 1, "a": "=1"}, "=x"]),
]
IDS = [1, 2**53 + 1, 10**15, 2**63 - 1]


def hostile_rows(count: int, *, long: bool = False) -> Iterator[Row]:
    """That many rows; the lists have coprime lengths, so that their values meet in many ways."""
    texts = [*TEXTS, *LONG] if long else TEXTS
    columns = (IDS, [*texts, None], [None, *SHORT], DOCUMENTS, NUMBERS, TIMES, [*texts, None, None])
    return islice(zip(*map(cycle, columns), strict=False), count)


def expected(row: Row, table: ExportTable = TABLE) -> dict[str, Any]:
    """What reading gives: JSON parsed, all else as it was."""
    return {
        column.name: parse(cell) if cell is not None and isinstance(column.domain, Json) else cell
        for column, cell in zip(table.columns, row, strict=True)
    }


def written(
    path: Path, name: str, rows: Iterator[Row], table: ExportTable = TABLE, **options: Any
) -> Path:
    """A file of the rows, as an export writes it."""
    spec = find_format(name)
    target = path / f"rows{spec.suffix}"
    with target.open("wb") as file:
        spec.write(Counted(file).as_file(), table, rows, **options)
    return target


def assert_same(found: Iterator[dict[str, Any]], rows: Iterator[Row]) -> int:
    """Row by row, JSON by its canonical text: ``1`` is not ``1.0``, and keys keep their order."""
    count = 0
    for got, row in zip(found, rows, strict=True):
        want = expected(row)
        assert got == want, f"row {count}"
        assert {f: type(v) for f, v in got.items()} == {f: type(v) for f, v in want.items()}
        for field in (f for f in got if isinstance(field_domain(f), Json) and got[f] is not None):
            assert canonical(got[field]) == canonical(want[field])
        count += 1
    return count


def round_trip(path: Path, name: str, count: int, **options: Any) -> None:
    target = written(path, name, hostile_rows(count), **options)
    reading = {"raw": options["raw"]} if "raw" in options else {}
    assert assert_same(read_export(target, **reading), hostile_rows(count)) == count
