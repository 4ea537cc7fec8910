"""A migrated SQLite store for tests of what all relational backends share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    backend = open_sqlite(f"sqlite:///{tmp_path}/loki.db", synchronous="NORMAL")
    assert isinstance(backend, SqliteBackend)
    backend.prepare(create=True)
    yield backend
    backend.close()
