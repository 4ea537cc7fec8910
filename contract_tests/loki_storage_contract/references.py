"""The backends that everybody has: a failure found elsewhere is looked for on them first."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from loki_storage_contract.target import BackendTarget

__all__ = ["memory_target", "references_before", "sqlite_target"]

_MEMORY, _SQLITE = "memory", "sqlite"


@cache
def memory_target() -> BackendTarget:
    """The reference backend."""
    return BackendTarget.of_url(_MEMORY, "memory://loki-contract-reference")


@cache
def sqlite_target() -> BackendTarget:
    """SQLite in a folder that goes with the process."""
    # In memory where there is such a folder: what is proved is the same, and disks are spared.
    shared = Path("/dev/shm")
    folder = tempfile.mkdtemp("", "loki-contract-", shared if shared.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return BackendTarget.of_url(
        _SQLITE, f"sqlite:///{folder}/loki.db", durable=True, processes=True
    )


def references_before(target: BackendTarget) -> list[BackendTarget]:
    """Memory, then SQLite; those that stand before the target, where it is one of them."""
    before = {_MEMORY: 0, _SQLITE: 1}.get(target.name, 2)
    return [make() for make in (memory_target, sqlite_target)[:before]]
