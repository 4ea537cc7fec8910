"""Formats of third parties: the example as a distribution, and plugins that are broken."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from loki_storage import ExportFormatSpec, hookimpl
from loki_storage.errors import InvalidField, PluginError
from loki_storage.export_formats import find_format, find_format_of_file, format_names, registry

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "loki-storage-ltsv"


@pytest.mark.xdist_group("wheel")
def test_example_works_as_a_distribution_of_its_own(tmp_path: Path) -> None:
    """Built, installed beside loki-storage, found by its entry point, its own tests run."""
    site = tmp_path / "site"
    run(
        *("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--no-index", "--target", str(site), str(EXAMPLE)),
    )
    run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)),
        *("-c", str(EXAMPLE / "pyproject.toml"), str(EXAMPLE / "tests")),
        path=site,
    )


def run(*arguments: str, path: Path | None = None) -> None:
    environment = {**os.environ, "PIP_USER": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Plugin:
    """A module that offers one format."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def loki_register_export_formats(self) -> list[ExportFormatSpec]:
        return [ExportFormatSpec(self.name, f".{self.name}", print, iter)]


def point(name: str, plugin: object) -> EntryPoint:
    def load() -> object:
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    found: EntryPoint = SimpleNamespace(name=name, load=load, dist=None)  # type: ignore[assignment]
    return found


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> object:
    def installed(*points: EntryPoint) -> None:
        registry._offered.cache_clear()
        monkeypatch.setattr(registry, "_points", lambda: list(points))

    yield installed
    registry._offered.cache_clear()


def test_format_is_found_by_the_name_of_its_entry_point(install) -> None:
    install(point("broken", RuntimeError()), point("acme", Plugin("acme")))
    assert find_format("acme").suffix == ".acme"
    assert find_format_of_file("x.acme").name == "acme"


def test_format_of_a_plugin_of_another_name_is_found_too(install) -> None:
    install(point("acme-store", Plugin("acme")))
    assert find_format("acme").name == "acme"


def test_broken_plugin_is_told_only_to_who_asks_for_it(install) -> None:
    install(point("broken", RuntimeError("SECRET")), point("acme", Plugin("acme")))
    assert format_names()[5:] == ["acme"]
    with pytest.raises(PluginError, match="RuntimeError") as caught:
        find_format("broken")
    assert "SECRET" not in str(caught.value)


def test_plugin_cannot_take_the_place_of_ours(install) -> None:
    install(point("csv", Plugin("csv")))
    assert find_format("csv").write is not print


def test_plugin_without_formats_is_no_format(install) -> None:
    install(point("store", SimpleNamespace()))
    with pytest.raises(InvalidField):
        find_format("store")


def test_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "loki_storage.export_formats.parquet", None)
    with pytest.raises(PluginError, match=r"loki-storage\[parquet\]"):
        find_format("parquet")


def test_suffix_must_be_one() -> None:
    with pytest.raises(ValueError, match="dot"):
        ExportFormatSpec("x", "x", print, iter)
