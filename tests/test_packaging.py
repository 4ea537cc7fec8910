"""The built wheel works alone: an editable install hides what is missing from it."""

import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.wheels import ROOT, build_wheel, command_line, install, link_libraries, run_installed

# Folder in the checkout -> its name in the wheel.
CONTENTS = {
    "loki_storage": "loki_storage",
    "backends/loki_storage_sql": "loki_storage_sql",
    "backends/loki_storage_sqlite": "loki_storage_sqlite",
    "backends/loki_storage_postgresql": "loki_storage_postgresql",
    "contract_tests/loki_storage_contract": "loki_storage_contract",
    "migrations": "loki_storage_sql/_migrations",
}
PACKAGES = sorted(name for name in CONTENTS.values() if "/" not in name)

# One process builds the wheel and runs all of these.
pytestmark = pytest.mark.xdist_group("packaging")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders that hold the wheel and its declared dependencies, and nothing else."""
    target, libraries = (tmp_path_factory.mktemp(name) for name in ("target", "libraries"))
    install([wheel], target)
    link_libraries("loki-storage", libraries)
    return [str(target), str(libraries)]


def files_in_checkout() -> Iterator[str]:
    for folder, name in CONTENTS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{name}/{path.relative_to(ROOT / folder).as_posix()}"


def test_wheel_puts_only_our_names_into_site_packages(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {*PACKAGES, f"loki_storage-{version('loki-storage')}.dist-info"}


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set(files_in_checkout())


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_says_that_packages_are_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_wheel_is_imported_from_where_it_was_installed(
    installed: list[str], tmp_path: Path
) -> None:
    code = "import loki_storage, loki_storage_sqlite as s; print(loki_storage.__file__, s.__file__)"
    places = run_installed(code, tmp_path, installed).split()
    assert [place.startswith(installed[0]) for place in places] == [True, True]


def test_installed_commands_run_the_main_job(installed: list[str], tmp_path: Path) -> None:
    (samples,) = Path(installed[0], "loki_storage").rglob("*.jsonl")
    url = "sqlite:///x.db"
    for arguments in [
        ["demo"],
        ["migrate", "up", "--url", url],
        ["ingest", str(samples), "--url", url],
        ["migrate", "status", "--url", url],
    ]:
        assert run_installed(command_line(*arguments), tmp_path, installed)
    assert (tmp_path / "x.db").exists()


def test_installed_library_creates_a_database(installed: list[str], tmp_path: Path) -> None:
    code = (
        "from loki_storage import open_storage\n"
        "with open_storage('sqlite:///y.db') as storage, storage.session(actor='ann') as session:\n"
        "    session.documents.create_document('text', 'email', 'client')\n"
        "    print(session.documents.count())"
    )
    assert run_installed(code, tmp_path, installed).split() == ["1"]
