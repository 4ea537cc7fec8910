"""Databases of one's own, on every version that can be had."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from loki_storage import Storage, open_storage
from loki_storage_postgresql import open_postgresql
from loki_storage_postgresql.backend import PostgresqlBackend
from tests.postgresql.shared import database, drop, store_url, versions
from tests.stores import Clock

VERSIONS = [pytest.param(v, marks=pytest.mark.postgresql) for v in versions() or ("none",)]
Open = Callable[..., PostgresqlBackend]


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty(version: str) -> Iterator[str]:
    """The URL of an empty database."""
    with database(version) as url:
        yield url


@pytest.fixture
def url(version: str) -> Iterator[str]:
    """The URL of an empty store."""
    made = store_url(version)
    yield made
    drop(version, made)


@pytest.fixture
def opened() -> Iterator[Open]:
    """``opened(url, **options)``: a backend, closed at the end."""
    with ExitStack() as stack:

        def open_(url: str, **options: Any) -> PostgresqlBackend:
            backend = open_postgresql(url, **options)
            stack.callback(backend.close)
            assert isinstance(backend, PostgresqlBackend)
            return backend

        yield open_


@pytest.fixture
def backend(url: str, opened: Open) -> PostgresqlBackend:
    backend = opened(url)
    backend.prepare(create=False)
    return backend


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    with open_storage(url, clock=Clock()) as storage:
        yield storage


@pytest.fixture
def ask(url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """``ask(statement, *parameters)``: the rows, by the superuser on the store's database."""

    def rows(statement: str, *parameters: Any, of: str = url) -> list[tuple[Any, ...]]:
        with psycopg.connect(of, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    return rows
