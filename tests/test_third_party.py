"""What an author of a backend does, with wheels alone: no checkout is on the path.

The example of ``examples/`` and a package that ``new-backend`` writes are built, installed beside
loki-storage, and judged from an empty folder.
"""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from loki_storage.cli.application import application
from tests.wheels import (
    ROOT,
    build_wheel,
    command_line,
    install,
    link_libraries,
    run_installed,
)

EXAMPLE = ROOT / "examples" / "loki-storage-jsonl"
PROFILE = os.environ.get("LOKI_EXAMPLE_PROFILE", "smoke")
"""CI judges the example by ``ci``."""

# One process builds the wheels and runs all of these.
pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``new-backend acme`` writes."""
    folder = tmp_path_factory.mktemp("new") / "loki-storage-acme"
    command = ["new-backend", "acme", "--path", str(folder)]
    assert CliRunner().invoke(application, command).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders that hold three wheels, and what the contract extra requires."""
    target, libraries = (tmp_path_factory.mktemp(name) for name in ("target", "libraries"))
    projects = (ROOT, EXAMPLE, package)
    install([build_wheel(each, tmp_path_factory.mktemp("wheel")) for each in projects], target)
    link_libraries("loki-storage", libraries, ["contract"])
    return [str(target), str(libraries)]


def pytest_with(*arguments: str) -> str:
    """Code that runs pytest, and fails where it does."""
    options = ["-q", "-p", "no:cacheprovider", "-rs", *arguments]
    return f"import sys, pytest; sys.exit(pytest.main({options!r}))"


def test_only_wheels_are_imported(installed: list[str], tmp_path: Path) -> None:
    code = (
        "import loki_storage, loki_storage_contract, loki_storage_jsonl, loki_storage_acme as a;"
        "print(loki_storage.__file__, loki_storage_contract.__file__, loki_storage_jsonl.__file__,"
        "a.__file__)"
    )
    places = run_installed(code, tmp_path, installed).split()
    assert [place.startswith(installed[0]) for place in places] == [True] * 4


def test_example_keeps_the_contract(installed: list[str], tmp_path: Path) -> None:
    url, out = f"jsonl:///{tmp_path / 'store'}", tmp_path / "out"
    ran = run_installed(
        command_line(
            *("contract", "run", "--backend", "jsonl", "--url", url, "--profile", PROFILE),
            *("--report", str(out)),
        ),
        tmp_path,
        installed,
    )
    assert "jsonl keeps the contract" in ran
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["subject"]["distribution"] == "loki-storage-jsonl"
    assert report["claims"] == ["durable", "processes"]
    assert {law["outcome"] for law in report["laws"] if law["required"]} <= {"passed", "absent"}


def test_tests_of_the_example_pass(installed: list[str], tmp_path: Path) -> None:
    assert " passed" in run_installed(
        pytest_with(str(EXAMPLE / "tests" / "test_log.py")), tmp_path, installed
    )


def test_suite_runs_from_an_empty_folder(installed: list[str], tmp_path: Path) -> None:
    ran = run_installed(
        pytest_with(
            *("--pyargs", "loki_storage_contract.suite"),
            *("--loki-backend", "acme", "--loki-profile", "smoke", "-k", "qry or bat or txn6"),
            *("--loki-report", "out"),
        ),
        tmp_path,
        installed,
    )
    assert " passed" in ran
    assert "not claimed: durable" in ran
    assert {path.name for path in tmp_path.iterdir()} <= {".hypothesis", "out"}
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    outcomes = {law["id"]: law["outcome"] for law in report["laws"]}
    assert (report["subject"]["name"], report["ok"], report["partial"]) == ("acme", True, True)
    assert outcomes["QRY-1"] == outcomes["BAT-4"] == "passed"
    assert outcomes["TXN-6"] == "not claimed"
    assert "VER-1" not in outcomes


def test_new_backend_passes_smoke_as_it_is(installed: list[str], tmp_path: Path) -> None:
    command = command_line("contract", "run", "--backend", "acme", "--profile", "smoke")
    assert "acme keeps the contract" in run_installed(command, tmp_path, installed)


def test_tests_of_a_new_backend_are_its_contract(
    installed: list[str], package: Path, tmp_path: Path
) -> None:
    ran = run_installed(
        pytest_with("--loki-profile", "smoke", "-k", "val2 or doc1", str(package)),
        tmp_path,
        installed,
    )
    assert " passed" in ran
