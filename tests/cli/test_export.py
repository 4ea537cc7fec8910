"""``loki-storage export`` and ``exports``."""

import csv
import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from loki_storage.export_manager import read_export
from tests.cli.conftest import Run

Read = Callable[..., Any]
TABLES = ["documents", "validations", "results", "corrections", "audit"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"--dir={tmp_path / 'exports'}"


@pytest.fixture
def small(run: Run, url: str, tmp_path: Path, samples: list[dict[str, Any]]) -> str:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(json.dumps(sample) for sample in samples[:3]))
    assert run("ingest", lines, url).exit_code == 0
    return url


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("format_", ["csv", "json", "jsonl", "excel", "parquet"])
def test_every_table_in_every_format(
    read: Read, small: str, folder: str, table: str, format_: str
) -> None:
    told = read(f"export {table} --format {format_} --actor alice", small, folder)
    assert len(list(read_export(told["file_path"]))) == told["record_count"] > 0
    assert os.path.getsize(told["file_path"]) == told["file_size"]


def test_file_name_tells_the_format(run: Run, small: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    result = run("export documents --fields id,title -o", path, small)
    assert result.exit_code == 0
    assert {tuple(row) for row in read_export(path)} == {("id", "title")}
    assert str(path) in result.stdout.replace("\n", "")
    again = run("export documents -o", path, small)
    assert again.exit_code == 2
    assert "there already" in again.stderr


def test_standard_output_holds_the_rows_alone(run: Run, small: str, folder: str) -> None:
    result = run("export results --format csv --filter status=fail -o -", small, folder)
    rows = list(csv.DictReader(StringIO(result.stdout)))
    assert rows
    assert {row["status"] for row in rows} == {"fail"}
    assert result.stderr == ""


def test_filters_take_the_field_s_type(read: Read, small: str, folder: str) -> None:
    for text, some in (
        ("id=2", True),
        ("is_latest=true", True),
        ("is_deleted=yes", False),
        ("start_date=2000-01-01", True),
        ("end_date=2000-01-01", False),
        ("deleted_at=", True),
        ("description=", False),
    ):
        told = read("export documents", "--filter", text, small, folder)
        assert bool(told["record_count"]) == some, text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["documents", "--filter", "titel=x"], "did you mean 'title'"),
        (["documents", "--filter", "title"], "FIELD=VALUE"),
        (["documents", "--filter", "id=x"], "does not fit"),
        (["documents", "--fields", "id,nothing"], "nothing"),
        (["documents", "--format", "exel"], "did you mean 'excel'"),
        (["documents", "--format", "json", "--raw"], "raw"),
        (["audit", "--versions", "all"], "versions"),
        (["documents", "-o", "out.doc"], "name the format"),
    ],
)
def test_what_is_unknown_is_refused_in_words(
    run: Run, small: str, folder: str, arguments: list[str], words: str
) -> None:
    result = run("export", *arguments, small, folder)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "no exports" in run("exports list", small, folder).stdout


def test_mask_and_without(read: Read, small: str, folder: str) -> None:
    told = read("export documents --mask title,metadata_json.x --without content", small, folder)
    (row, *_) = read_export(told["file_path"])
    assert row["title"] == "***"
    assert "content" not in row


def test_exports_are_listed_deleted_and_cleaned_up(
    run: Run, read: Read, small: str, folder: str
) -> None:
    first = read("export documents --actor alice --expires 0", small, folder)
    second = read("export documents --client nobody", small, folder)
    shown = run("exports list", small, folder).stdout
    assert "completed" in shown
    logs = read("exports list", small, folder)["exports"]
    assert [log["requested_by"] for log in logs] == ["system", "alice"]
    name = os.path.basename(first["file_path"])
    assert read("exports cleanup", small, folder) == {"removed": [name]}
    deleted = read("exports delete", second["export_id"], small, folder)
    assert deleted == {"id": second["export_id"], "removed": True}
    assert "there is no file" in run("exports delete", second["export_id"], small, folder).stdout
    assert "1 removed" not in run("exports cleanup", small, folder).stdout
    assert run("exports delete 99", small, folder).exit_code == 2


def test_other_tenant_has_no_rows(read: Read, small: str, folder: str) -> None:
    assert read("export documents --tenant other", small, folder)["record_count"] == 0
