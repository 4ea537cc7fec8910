"""The memory of a process that backs up, restores and exports: it does not grow with the rows.

What counts is VmHWM, the most that the process ever had, read in the process itself: each step is
a process of its own, once over few rows and once over many.

LOKI_ROWS=1000000 pytest tests/backups/test_memory.py      for the night
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loki_storage import Batch, open_storage
from loki_storage.batch import InsertMany
from loki_storage.models import AuditEntry
from loki_storage.rows import Rows
from loki_storage_contract.records import sample
from tests.postgresql.shared import store_url, versions

FEW, MANY = 10_000, int(os.environ.get("LOKI_ROWS", "100000"))
ALLOWED = 8_000
"""Kilobytes more for many rows than for few."""

PROGRAM = """
import io, sys
from loki_storage import open_storage
from loki_storage.backup_manager import BackupManager
from loki_storage.export_manager import ExportManager

class Nowhere(io.RawIOBase):
    def writable(self):
        return True
    def write(self, data):
        return len(data)

step, url, folder = sys.argv[1:]
with open_storage(url) as storage:
    match step:
        case "backup" | "native":
            BackupManager(storage, folder).create_backup("b", native=step == "native")
        case "restore":
            BackupManager(storage, folder).restore_backup("b", replace=True)
        case format:
            ExportManager(storage).export_audit_trail(format, None, "a", stream=Nowhere())
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def fill(url: str, count: int) -> None:
    with open_storage(url, create=True) as storage:
        for start in range(0, count, 5_000):
            ids = storage.backend.reserve({AuditEntry: 5_000})[AuditEntry]
            entry = sample(AuditEntry, 1, "default", changes={"text": f"{start} " * 20})
            rows = Rows.copies(entry, id=list(ids), client_id=[f"client {id}" for id in ids])
            storage.backend.apply(Batch("default", [InsertMany(rows)]))


def peak(step: str, url: str, folder: Path) -> int:
    arguments = [sys.executable, "-c", PROGRAM, step, url, str(folder)]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def growth(step: str, urls: tuple[str, str], folder: Path) -> int:
    few, many = (peak(step, url, folder / f"{n}") for n, url in enumerate(urls))
    return many - few


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    urls = f"sqlite:///{folder}/few.db", f"sqlite:///{folder}/many.db"
    for url, count in zip(urls, (FEW, MANY), strict=True):
        fill(url, count)
    return urls


@pytest.mark.parametrize("step", ["csv", "json", "jsonl", "native"])
def test_memory_of_exports_and_copies_stays_the_same(
    files: tuple[str, str], tmp_path: Path, step: str
) -> None:
    assert growth(step, files, tmp_path) <= ALLOWED


def test_memory_of_backup_and_restore_stays_the_same(
    files: tuple[str, str], tmp_path: Path
) -> None:
    assert growth("backup", files, tmp_path) <= ALLOWED
    assert growth("restore", files, tmp_path) <= ALLOWED


@pytest.mark.postgresql
def test_memory_of_postgresql_stays_the_same(tmp_path: Path) -> None:
    urls = store_url(versions()[0]), store_url(versions()[0])
    for url, count in zip(urls, (FEW, MANY), strict=True):
        fill(url, count)
    assert growth("jsonl", urls, tmp_path) <= ALLOWED
    assert growth("backup", urls, tmp_path) <= ALLOWED
    assert growth("restore", urls, tmp_path) <= ALLOWED
