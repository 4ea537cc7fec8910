"""Each format gives back what it was given, whatever that is (EXP-2)."""

import csv
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage.errors import ExportError, InvalidField, InvalidValue
from loki_storage.export_format import Column, ExportTable, Row, field_domain
from loki_storage.export_formats import excel as excel_format
from loki_storage.export_formats import (
    find_format,
    find_format_of_file,
    format_names,
    format_options,
)
from loki_storage.export_manager import read_export
from loki_storage.models import KINDS
from loki_storage.values import Integer, Text
from tests.exports.formats import (
    FIELDS,
    FORMATS,
    FORMULAS,
    LONG,
    TABLE,
    assert_same,
    hostile_rows,
    round_trip,
    written,
)
from tests.strategies import json_values, moments, texts

NOTES = ExportTable("notes", (Column("id", Integer()), Column("review_notes", Text(nullable=True))))


@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_hostile_rows_come_back(tmp_path: Path, name: str) -> None:
    round_trip(tmp_path, name, 10_000)


def test_raw_csv_comes_back_when_it_is_read_as_raw(tmp_path: Path) -> None:
    round_trip(tmp_path, "csv", 2_000, raw=True)


@pytest.mark.parametrize("name", FORMATS)
def test_texts_around_the_limit_of_a_cell_come_back(tmp_path: Path, name: str) -> None:
    def rows() -> Iterator[Row]:
        return iter([(n, text) for n, text in enumerate([*LONG, "short", None, *LONG])])

    found = [row["review_notes"] for row in read_export(written(tmp_path, name, rows(), NOTES))]
    assert found == [text for _, text in rows()]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 2**63 - 1),
            st.none() | texts,
            st.none() | texts,
            st.none() | json_values.map(lambda value: {"a": value}),
            st.none() | st.floats(0, 1),
            moments,
            st.none() | texts,
        ),
        max_size=5,
    )
)
def test_any_rows_come_back(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    from loki_storage.values import canonical

    rows = [(*r[:3], None if r[3] is None else canonical(r[3]), *r[4:]) for r in drawn]
    folder = tmp_path_factory.mktemp("any")
    for name in FORMATS:
        target = written(folder, name, iter(rows))
        assert_same(read_export(target), iter(rows))


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows_are_a_file_with_no_rows(tmp_path: Path, name: str) -> None:
    assert list(read_export(written(tmp_path, name, iter(())))) == []


@pytest.mark.parametrize("name", FORMATS)
def test_rows_of_nothing_but_null_are_rows(tmp_path: Path, name: str) -> None:
    table = ExportTable("notes", NOTES.columns[1:])
    rows: list[Row] = [(None,), ("",), (None,)]
    found = list(read_export(written(tmp_path, name, iter(rows), table)))
    assert found == [{"review_notes": None}, {"review_notes": ""}, {"review_notes": None}]


def test_no_cell_of_a_csv_file_begins_like_a_formula(tmp_path: Path) -> None:
    rows: list[Row] = [(n, text) for n, text in enumerate(FORMULAS)]
    target = written(tmp_path, "csv", iter(rows), NOTES)
    with target.open(newline="", encoding="utf-8") as file:
        cells = [row[1] for row in list(csv.reader(file))[1:]]
    assert all(cell.startswith("'") for cell in cells)
    assert [cell[1:] for cell in cells] == FORMULAS


def test_formulas_and_numbers_are_text_in_excel(tmp_path: Path) -> None:
    rows: list[Row] = [
        (1, "=1+1"),
        (2, "#N/A"),
        (3, "007"),
        (2**60, "2026-01-01"),
    ]
    workbook = openpyxl.load_workbook(written(tmp_path, "excel", iter(rows), NOTES))
    sheet = workbook["notes"]
    assert [sheet.cell(n, 2).data_type for n in (2, 3, 4, 5)] == ["s"] * 4
    assert [sheet.cell(n, 2).value for n in (2, 3, 4, 5)] == [text for _, text in rows]
    assert sheet.cell(5, 1).value == str(2**60)
    assert sheet.freeze_panes == "A2"
    assert sheet.cell(1, 1).font.bold
    assert sheet.column_dimensions["B"].width > 20


def test_a_full_sheet_is_followed_by_the_next(tmp_path: Path) -> None:
    target = written(tmp_path, "excel", hostile_rows(25, long=True), rows_per_sheet=10)
    names = openpyxl.load_workbook(target, read_only=True).sheetnames
    assert [name for name in names if name.startswith("corr")] == [
        "corrections",
        "corrections 2",
        "corrections 3",
    ]
    assert_same(read_export(target), hostile_rows(25, long=True))


def test_continued_sheets_are_full_some_time_too(tmp_path: Path) -> None:
    rows: list[Row] = [(n, "z" * 100_000) for n in range(6)]
    target = written(tmp_path, "excel", iter(rows), NOTES, rows_per_sheet=4)
    names = openpyxl.load_workbook(target, read_only=True).sheetnames
    assert "continued 2" in names
    assert [row["review_notes"] for row in read_export(target)] == [text for _, text in rows]


def test_no_cell_is_longer_than_excel_takes(tmp_path: Path) -> None:
    rows: list[Row] = [(n, text) for n, text in enumerate(LONG)]
    workbook = openpyxl.load_workbook(written(tmp_path, "excel", iter(rows), NOTES))
    values = [cell for sheet in workbook for row in sheet.values for cell in row if cell]
    longest = max(len(str(value).encode("utf-16-le")) // 2 for value in values)
    assert longest <= excel_format.MOST_CHARACTERS


def test_failed_workbook_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def rows() -> Iterator[Row]:
        yield (1, "secret")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        find_format("excel").write(BytesIO(), NOTES, rows())
    assert list(tmp_path.iterdir()) == []


def test_parquet_has_types(tmp_path: Path) -> None:
    schema = pq.ParquetFile(written(tmp_path, "parquet", hostile_rows(3))).schema_arrow
    types = {name: str(schema.field(name).type) for name in FIELDS}
    assert types["id"] == "int64"
    assert types["confidence"] == "double"
    assert types["created_at"] == "timestamp[us, tz=UTC]"
    assert types["diff"] == "string"


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_cut_json_is_no_export(tmp_path: Path, name: str) -> None:
    target = written(tmp_path, name, hostile_rows(50))
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    with pytest.raises(ExportError):
        list(read_export(target))


def test_json_that_another_tool_has_laid_out_is_read(tmp_path: Path) -> None:
    target = tmp_path / "pretty.json"
    target.write_text('[{"id": 1, "created_at": "2026-01-01T00:00:00Z"}]')
    (row,) = read_export(target)
    assert row == {"id": 1, "created_at": datetime(2026, 1, 1, tzinfo=UTC)}


def test_fields_of_one_name_are_of_one_type() -> None:
    """A file tells names; the reader takes the types from them."""
    for kind in KINDS.values():
        for name, domain in kind.domains.items():
            known = field_domain(name)
            assert known is not None
            same = {type(known), type(domain)}
            assert len(same) == 1 or all(issubclass(each, Text) for each in same), name


@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_the_rows(name: str) -> None:
    """The peak of what Python allocates, rows not counted; the processes' own in test_memory."""

    class Nowhere(BytesIO):
        def write(self, data: Any) -> int:
            return len(memoryview(data).cast("B"))

    def peak(count: int) -> int:
        spec, made = find_format(name), hostile_rows(count)
        spec.write(Nowhere(), TABLE, chain(hostile_rows(50)))
        tracemalloc.start()
        try:
            spec.write(Nowhere(), TABLE, made)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    if name == "parquet":  # a group of rows is what it holds
        assert peak(24_000) <= peak(12_000) + 1_000_000
    else:
        assert peak(4_000) <= peak(1_000) + 200_000


# Finding formats


def test_five_formats_come_with_it() -> None:
    assert format_names()[:5] == FORMATS


def test_unknown_format_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InvalidField, match="did you mean 'excel'"):
        find_format("exel")


@pytest.mark.parametrize("name", [None, 5, b"csv"])
def test_what_is_no_name_is_no_format(name: Any) -> None:
    with pytest.raises(InvalidField):
        find_format(name)


def test_format_is_told_by_the_end_of_a_file_name() -> None:
    assert find_format_of_file("a/b.csv").name == "csv"
    assert find_format_of_file("a/b.jsonl").name == "jsonl"
    with pytest.raises(InvalidValue):
        find_format_of_file("a/b.doc")


def test_options_of_a_format_are_its_own() -> None:
    write = find_format("csv").write
    assert format_options(write, {"raw": True}, "csv") == {"raw": True}
    with pytest.raises(InvalidField, match="did you mean 'raw'"):
        format_options(write, {"rwa": True}, "csv")


@pytest.mark.parametrize("rows", [0, 1, 1_048_577, True, "10"])
def test_rows_per_sheet_are_bounded(rows: Any) -> None:
    with pytest.raises(InvalidValue):
        find_format("excel").write(BytesIO(), NOTES, iter(()), rows_per_sheet=rows)
