"""What pages name exists: modules and what is in them, files, commands."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Command, Context, Group

from loki_storage.cli.application import application
from tests.docs.pages import PAGES, ROOT, code_spans, name

PACKAGES = r"loki_storage(_sql|_sqlite|_contract)?"
FOLDERS = "|".join(path.name for path in ROOT.iterdir() if path.is_dir())
OPTION = re.compile(r"--?\w")


def missing(page: Path) -> Iterator[str]:
    for span in code_spans(page):
        if not exists(span):
            yield span


def exists(span: str) -> bool:
    """False for what looks like one of our names and is none; True for all other code."""
    if re.fullmatch(rf"{PACKAGES}(\.\w+)*", span):
        return resolves(span)
    if re.fullmatch(rf"({FOLDERS})/[\w./-]*", span):
        return (ROOT / span).exists()
    if span.startswith("loki-storage "):
        return is_command(span.split()[1:])
    return True


def resolves(dotted: str) -> bool:
    """Whether it is a module, or an attribute of one at any depth."""
    package, *names = dotted.split(".")
    found: object = importlib.import_module(package)
    path = package
    for part in names:
        path = f"{path}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(path)
            except ImportError:
                return False
        found = getattr(found, part)
    return True


def is_command(words: list[str]) -> bool:
    """Whether the words begin with commands, down to one that has no more; "up|down" are two."""
    found: list[Command | None] = [application]
    for word in words:
        if OPTION.match(word):
            break
        found = [below for each in found for below in subcommands(each, word)]
    return None not in found


def subcommands(command: Command | None, word: str) -> list[Command | None]:
    if not isinstance(command, Group):
        return [command]
    return [command.get_command(Context(command), part) for part in word.split("|")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_on_the_page_exist(page: Path) -> None:
    assert list(missing(page)) == []


@pytest.mark.parametrize(
    "span",
    [
        "loki_storage.models.Document",
        "loki_storage.storage.Storage.dump",
        "loki_storage_sql",
        "tests/docs/test_names.py",
        "backends/",
        "loki-storage documents list",
        "loki-storage documents show ID --versions",
        "loki-storage migrate up|down",
        "SELECT 1",
    ],
)
def test_name_that_exists_passes(span: str) -> None:
    assert exists(span)


@pytest.mark.parametrize(
    "span",
    [
        "loki_storage.models.Dokument",
        "loki_storage.no_module",
        "loki_storage.storage.Storage.no_method",
        "tests/docs/test_absent.py",
        "loki-storage dokuments list",
        "loki-storage documents lost",
        "loki-storage migrate up|sideways",
    ],
)
def test_name_that_does_not_exist_is_found(span: str) -> None:
    assert not exists(span)
