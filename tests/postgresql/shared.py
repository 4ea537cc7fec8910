"""One server per version for a whole test run, started by the first test that needs it.

``LOKI_TEST_POSTGRESQL_URL`` names a server to use instead (a superuser's URL); else each version of
the wheel, else what is on the PATH. Every user of a server gets a database of its own.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa

from loki_storage import open_storage
from tests.postgresql.installations import installations

__all__ = [
    "TestRun",
    "database",
    "drop",
    "new_database",
    "process_url",
    "store_url",
    "superuser",
    "versions",
]

GIVEN = "LOKI_TEST_POSTGRESQL_URL"
FOLDER = "LOKI_TEST_POSTGRESQL_FOLDER"
_KEEPERS: list["subprocess.Popen[str]"] = []


@cache
def versions() -> tuple[str, ...]:
    """The versions to test with, the newest first; none: PostgreSQL cannot be had here."""
    if os.environ.get(GIVEN):
        return ("given",)
    return tuple(one.version for one in installations())


class TestRun:
    """What the first process of a test run holds: with it the run's servers end."""

    __test__ = False

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="loki-pg-run-"))
        self._alive = open(self._folder / "alive", "w")  # noqa: SIM115
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        os.environ[FOLDER] = str(self._folder)

    def end(self) -> None:
        """Let the servers end, and wait for it."""
        self._alive.close()
        for kept in self._folder.glob("*.kept"):
            with open(kept) as held:
                fcntl.flock(held, fcntl.LOCK_EX)
        shutil.rmtree(self._folder)
        del os.environ[FOLDER]


def store_url(version: str) -> str:
    """The URL of a new database with an empty store in it, copied from one that was migrated."""
    folder = Path(os.environ[FOLDER])
    with _locked(folder / f"{version}.laying-out"):
        known = folder / f"{version}.store"
        if not known.exists():
            template = new_database(version)
            with open_storage(template, create=True):
                known.write_text(template)
        return new_database(version, known.read_text())


def process_url(version: str, name: str) -> str:
    """The URL of a store of this name that this test process and its children have for themselves.

    The processes of a test run are told apart by what pytest-xdist calls them.
    """
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    known = Path(os.environ[FOLDER]) / f"{version}.{name}.{process}"
    with _locked(known.with_suffix(".finding")):
        if not known.exists():
            known.write_text(store_url(version))
        return known.read_text()


def superuser(version: str) -> str:
    """The URL of a version's server."""
    if version == "given":
        return os.environ[GIVEN]
    folder = Path(os.environ[FOLDER])
    with _locked(folder / f"{version}.starting"):
        known = folder / f"{version}.url"
        if not known.exists():
            known.write_text(_kept(folder, version))
        return known.read_text()


def _kept(folder: Path, version: str) -> str:
    command = [sys.executable, "-m", "tests.postgresql.keeper", str(folder), version]
    root = Path(__file__).resolve().parents[2]
    keeper = subprocess.Popen(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _KEEPERS.append(keeper)
    assert keeper.stdout is not None
    with keeper.stdout:
        url = keeper.stdout.readline().strip()
    if not url:
        raise RuntimeError(f"PostgreSQL {version} does not start, see above")
    return url


@contextmanager
def database(version: str, template: str | None = None) -> Iterator[str]:
    """The URL of an empty database (or of a copy of another one), dropped at the end."""
    url = new_database(version, template)
    try:
        yield url
    finally:
        drop(version, url)


def drop(version: str, url: str) -> None:
    """Remove a database, whoever is connected to it."""
    _run(superuser(version), f'DROP DATABASE "{sa.make_url(url).database}" WITH (FORCE)')


def new_database(version: str, template: str | None = None) -> str:
    """The URL of a new database; it goes with the server."""
    name = f"loki_test_{secrets.token_hex(6)}"
    source = "template0" if template is None else sa.make_url(template).database
    server = superuser(version)
    _run(server, f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
    # Not by SQLAlchemy's URL: before 2.0.30 it loses percent signs of the password.
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def _run(url: str, *statements: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
