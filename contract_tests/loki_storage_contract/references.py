"""The backends that everybody has: a failure found elsewhere is looked for on them first."""

import os
import shutil
import tempfile
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

import attrs

from loki_storage.protocol import Backend
from loki_storage_contract.target import BackendTarget

__all__ = ["memory_target", "references_before", "sqlite_target"]

_MEMORY, _SQLITE = "memory", "sqlite"


def memory_target() -> BackendTarget:
    """The reference backend, in the memory of this process."""
    target = BackendTarget.of_url(_MEMORY, "memory://loki-contract-reference")
    return target.made_by(memory_target)


def sqlite_target() -> BackendTarget:
    """SQLite in a folder that goes with the process."""
    target = BackendTarget.of_url(
        _SQLITE, f"sqlite:///{_folder(os.getpid())}/loki.db", durable=True, processes=True
    )
    return attrs.evolve(target.made_by(sqlite_target), reset=_empty_at_once)


def _empty_at_once(backend: Backend) -> None:
    """In one transaction: takes half the time of finding rows and deleting them one by one."""
    backend.restore((), lambda view: None, replace=True)


@cache
def _folder(process: int) -> str:
    # In memory where there is such a folder: what is proved is the same, and disks are spared.
    shared = Path("/dev/shm")
    folder = tempfile.mkdtemp("", "loki-contract-", shared if shared.is_dir() else None)
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)  # also where atexit does not run
    return folder


def references_before(target: BackendTarget) -> list[BackendTarget]:
    """Memory, then SQLite; those that stand before the target, where it is one of them."""
    before = {_MEMORY: 0, _SQLITE: 1}.get(target.name, 2)
    return [make() for make in (memory_target, sqlite_target)[:before]]
