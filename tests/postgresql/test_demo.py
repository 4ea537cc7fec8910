"""``dev.py demo --postgresql``."""

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.postgresql
ROOT = Path(__file__).resolve().parents[2]


def test_demo_runs_on_a_server_that_is_gone_afterwards() -> None:
    command = [sys.executable, "-m", "tests.postgresql.demo"]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "24 sample intercepts recorded in" in done.stdout
    found = re.search(r"postgresql://postgres:\*\*\*@127\.0\.0\.1:(\d+)/postgres", done.stdout)
    assert found is not None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=found[1], user="postgres", password="x")
