"""What importing the packages costs, and what they say they export."""

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ["loki_storage", "loki_storage_sql", "loki_storage_sqlite", "loki_storage_contract"]
HEAVY = ["alembic", "click", "hypothesis", "openpyxl", "rich", "sqlalchemy"]
STANDARD = "asyncio, decimal, http.server, sqlite3, unittest.mock, xml.dom.minidom, zipfile"
"""Modules that take about as long as we do, on any machine and whoever else uses it."""
ALLOWED = 2.0 if "LOKI_DEV_LOWEST" in os.environ else 1.5
"""Older versions of attrs take longer to make a class (``dev.py test --lowest``)."""


def run_python(code: str, **environ: str) -> str:
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **environ}
    )
    return ran.stdout.strip()


def test_import_brings_no_heavy_library() -> None:
    code = f"import sys, loki_storage; print(*sorted(sys.modules.keys() & set({HEAVY})))"
    assert run_python(code) == ""


def test_reports_and_options_of_the_kit_need_no_hypothesis() -> None:
    modules = "loki_storage_contract.reports, loki_storage_contract.pytest_plugin"
    assert run_python(f"import sys, {modules}; print('hypothesis' in sys.modules)") == "False"


def test_import_costs_little_beyond_attrs_and_pluggy(tmp_path: Path) -> None:
    """CPU time as a ratio, least by least of several runs: neighbours do not count.

    With bytecode on disk, as every installed package has it after its first run.
    """
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}

    def seconds(modules: str) -> float:
        code = (
            f"import attrs, pluggy, time; start = time.process_time(); import {modules};"
            "print(time.process_time() - start)"
        )
        return float(run_python(code, **environ))

    runs = [(seconds("loki_storage"), seconds(STANDARD)) for _ in range(6)]
    ours, standard = (min(times) for times in zip(*runs, strict=True))
    assert ours <= ALLOWED * standard


def public_modules() -> Iterator[str]:
    """All but the laws: they are registered, not imported by name."""
    for package in PACKAGES:
        yield package
        path = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(path, f"{package}."):
            parts = found.name.split(".")
            if "laws" not in parts and not any(part.startswith("_") for part in parts):
                yield found.name


def linter_order(name: str) -> tuple[bool, bool, str]:
    """The order that ruff's RUF022 writes: CONSTANTS, Classes, everything else."""
    is_constant = len(name) > 1 and name.isupper()
    return not is_constant, not name[:1].isupper(), name


@pytest.mark.parametrize("name", list(public_modules()))
def test_exported_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(name)
    exported = list(module.__all__)
    assert exported == sorted(exported, key=linter_order)
    assert [missing for missing in exported if not hasattr(module, missing)] == []
