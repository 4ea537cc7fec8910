"""The memory of a process that exports: at most 8 MB more for a million rows than for 10,000.

What counts is VmHWM, the most that the process ever had, read in the process itself.
"""

import subprocess
import sys

import pytest

ALLOWED = 8_000

PROGRAM = """
import sys
from itertools import cycle, islice
from io import BytesIO
from loki_storage.whole_file import Counted
from loki_storage.export_format import Column, ExportTable
from loki_storage.export_formats import find_format
from loki_storage.models import Correction, domain_of
from datetime import datetime, UTC

class Nowhere(BytesIO):
    def write(self, data):
        return len(data)

name, few, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fields = ("id", "reasoning", "diff", "created_at")
table = ExportTable("corrections", tuple(Column(f, domain_of(Correction, f)) for f in fields))
rows = [(n, "text number %d" % n, '{"a":%d}' % n, datetime(2026, 1, 1, tzinfo=UTC))
        for n in range(1, 1001)]

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def export(count):
    spec = find_format(name)
    spec.write(Counted(Nowhere()).as_file(), table, islice(cycle(rows), count))
    return peak()

print(export(few), export(many))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "few", "many"),
    [
        ("csv", 10_000, 1_000_000),
        ("json", 10_000, 1_000_000),
        ("jsonl", 10_000, 1_000_000),
        ("parquet", 10_000, 1_000_000),
        ("excel", 1_000, 20_000),  # a million takes minutes: benchmarks/exports.py
    ],
)
def test_memory_stays_the_same(name: str, few: int, many: int) -> None:
    arguments = [sys.executable, "-c", PROGRAM, name, str(few), str(many)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before <= ALLOWED, f"{after - before} kB more"
