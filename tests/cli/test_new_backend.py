"""``loki-storage new-backend``. That what it writes works is shown in tests/test_third_party.py."""

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_package_has_code_tests_entry_points_and_ci(read: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    written = read("new-backend foxtail", "--path", folder)
    files = {Path(file).relative_to(folder).as_posix() for file in written["files"]}
    assert files == {
        ".github/workflows/contract.yml",
        ".gitignore",
        "README.md",
        "loki_storage_foxtail/__init__.py",
        "loki_storage_foxtail/backend.py",
        "loki_storage_foxtail/contract.py",
        "loki_storage_foxtail/py.typed",
        "pyproject.toml",
        "tests/test_contract.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"] == {
        "loki_storage": {"foxtail": "loki_storage_foxtail"},
        "loki_storage_contract": {"foxtail": "loki_storage_foxtail.contract:target"},
    }


def test_nothing_of_the_template_is_left(read: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    read("new-backend foxtail", "--path", folder)
    for path in folder.rglob("*.*"):
        if path.is_file():
            text = path.read_text("utf-8")
            assert "acme" not in text.lower(), path
            if path.suffix == ".py":
                ast.parse(text)


def test_guide_shows_the_ci_file_as_it_is_written(read: Any, tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "backend-authors.md"
    read("new-backend acme", "--path", tmp_path / "acme")
    written = tmp_path / "acme" / ".github" / "workflows" / "contract.yml"
    assert written.read_text("utf-8") in guide.read_text("utf-8")


def test_folder_is_named_after_the_backend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("new-backend foxtail")
    assert (tmp_path / "loki-storage-foxtail" / "pyproject.toml").exists()
    assert "loki-storage contract run --backend foxtail --profile smoke" in ran.stdout


def test_folder_that_exists_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    ran = run("new-backend foxtail", "--path", tmp_path / "mine")
    assert (ran.exit_code, list((tmp_path / "mine").iterdir())) == (2, [])


@pytest.mark.parametrize("name", ["", "A", "Foxtail", "fox_tail", "fox-tail", "1fox", "../x", "é"])
def test_what_cannot_be_a_name_is_refused(name: str, run: Run, tmp_path: Path) -> None:
    ran = run("new-backend", name, "--path", tmp_path / "mine")
    assert (ran.exit_code, list(tmp_path.iterdir())) == (2, [])


def test_name_of_an_installed_backend_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("new-backend sqlite", "--path", tmp_path / "mine")
    assert (ran.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "installed already" in ran.stderr


def test_folder_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("new-backend foxtail", "--path", tmp_path / "file" / "mine")
    assert ran.exit_code == 2
    assert "cannot be written" in ran.stderr
