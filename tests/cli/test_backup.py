"""``loki-storage backup``."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

Read = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"--dir={tmp_path / 'backups'}"


@pytest.fixture
def small(run: Run, url: str, tmp_path: Path, samples: list[dict[str, Any]]) -> str:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(json.dumps(sample) for sample in samples[:2]))
    assert run("ingest", lines, url).exit_code == 0
    return url


@pytest.mark.parametrize("options", ["", "--native", "--no-compress", "--no-audit"])
def test_backup_is_made_checked_and_restored(
    read: Read, small: str, folder: str, tmp_path: Path, options: str
) -> None:
    made = read(f"backup create nightly --actor op {options}", small, folder)
    assert read("backup verify nightly", folder)["checksum"] == made["checksum"]
    (listed,) = read("backup list", folder)["backups"]
    assert listed["name"] == made["name"]
    target = f"sqlite:///{tmp_path / 'new.db'}"
    restored = read("backup restore nightly --to", target, folder)
    assert restored["tables"] == made["tables"]
    ids = [each["id"] for each in read("documents list", f"--url={target}")["documents"]]
    assert ids == [each["id"] for each in read("documents list", small)["documents"]]


def test_tables_are_for_people(run: Run, small: str, folder: str, tmp_path: Path) -> None:
    assert "no backups" in run("backup list", folder).stdout
    assert "SHA-256" in run("backup create nightly", small, folder).stdout
    assert "whole" in run("backup verify nightly", folder).stdout
    assert "all tenants" in run("backup list", folder).stdout
    shown = run(f"backup restore nightly --to sqlite:///{tmp_path}/new.db", folder).stdout
    assert "restored" in shown


def test_backup_needs_no_name(read: Read, small: str, folder: str) -> None:
    assert read("backup create", small, folder)["name"].startswith("backup-")


def test_target_that_is_not_empty_needs_replace(run: Run, small: str, folder: str) -> None:
    run("backup create nightly", small, folder)
    refused = run("backup restore nightly", small, folder)
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
    assert run("backup restore nightly --replace", small, folder).exit_code == 0
    unnamed = run("backup restore nightly --replace", folder)
    assert unnamed.exit_code == 2
    assert "--to URL" in unnamed.stderr


def test_damaged_backup_is_told(run: Run, read: Read, small: str, folder: str) -> None:
    made = read("backup create nightly", small, folder)
    path = Path(folder.partition("=")[2]) / f"{made['name']}.loki.zip"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    told = run("backup verify nightly", folder)
    assert told.exit_code == 2
    assert "altered" in told.stderr


def test_old_backups_go(run: Run, read: Read, small: str, folder: str) -> None:
    names = [read("backup create nightly", small, folder)["name"] for _ in range(3)]
    assert read("backup prune", folder) == {"removed": []}
    removed = read("backup prune --keep-count 1 --keep-days 0", folder)["removed"]
    assert removed == names[:2]
    assert names[2] in run("backup delete nightly", folder).stdout
    assert os.listdir(folder.partition("=")[2]) == []


@pytest.mark.parametrize("name", ["../up", "", ".."])
def test_hostile_name_is_refused(run: Run, small: str, folder: str, name: str) -> None:
    result = run("backup create", name, small, folder)
    assert result.exit_code == 2
    assert "backup_name" in result.stderr


def test_one_tenant(read: Read, small: str, folder: str) -> None:
    made = read("backup create nightly --tenant nobody", small, folder)
    assert sum(made["tables"].values()) == 0
    assert made["tenant"] == "nobody"
