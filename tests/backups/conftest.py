from collections.abc import Iterator
from pathlib import Path

import pytest

from loki_storage import Storage
from loki_storage.backup_manager import BackupManager
from tests.backups.stores import BACKENDS, fill, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture(params=BACKENDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A store with rows of two tenants."""
    with store(request.param, tmp_path) as opened:
        fill(opened, "default", "other")
        yield opened


@pytest.fixture
def manager(storage: Storage, folder: Path) -> BackupManager:
    return BackupManager(storage, folder, actor="operator")
