"""Backups while others write: every acknowledged commit is in it, and no half of any (BAK-2).

LOKI_BACKUPS=200 pytest tests/backups/test_under_load.py   for the night
"""

import os
import threading
from pathlib import Path

import pytest

from loki_storage import Storage
from loki_storage.backup_manager import BackupManager
from loki_storage.models import AuditEntry, Chain, Document, Validation
from loki_storage.query import Query, equals
from tests.backups.stores import BACKENDS, store

BACKUPS = int(os.environ.get("LOKI_BACKUPS", "6"))
PAUSE = BACKUPS / 6_000
"""Seconds between a writer's commits: the store stays small enough to be restored that often."""


class Writers:
    """Threads that record a document with a validation as one commit, and note what is told."""

    def __init__(self, storage: Storage, count: int) -> None:
        self._storage, self._stop = storage, threading.Event()
        self.acknowledged: list[int] = []
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(count)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            with self._storage.session(timeout=60) as session:
                made = session.documents.create_document(
                    f"{writer} {number}", "email", "c", on_duplicate="allow"
                )
                session.validations.create_validation(made.id, ["m"], "c")
            self.acknowledged.append(made.id)
            self._stop.wait(PAUSE)


def check_whole(storage: Storage, acknowledged: list[int]) -> None:
    """Each document has its chain, its validation and its audit entry; the acknowledged are in."""
    backend = storage.backend
    documents = {row[0] for row in backend.rows(Query(Document, None), ["id"])}
    of = {row[0] for row in backend.rows(Query(Validation, None), ["document_id"])}
    chains = {row[0] for row in backend.rows(Query(Chain, None), ["id"])}
    created = Query(AuditEntry, None, equals(action="create", entity_type="document"))
    told = {row[0] for row in backend.rows(created, ["entity_id"])}
    assert documents == of == chains == told
    assert set(acknowledged) <= documents


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_backups_under_load_are_whole(tmp_path: Path, backend: str, native: bool) -> None:
    if native and backend == "memory":
        pytest.skip("a store in memory has no file")
    with store(backend, tmp_path) as storage, Writers(storage, 2) as writers:
        manager = BackupManager(storage, tmp_path / "b")
        for number in range(BACKUPS):
            acknowledged = list(writers.acknowledged)
            name = manager.create_backup("b", native=native)["name"]
            with store("memory", tmp_path, f"{number}") as other:
                BackupManager(other, tmp_path / "b").restore_backup(name)
                check_whole(other, acknowledged)


def test_restores_under_load_are_seen_as_a_whole(tmp_path: Path) -> None:
    """Readers and writers of other handles, while the store is replaced again and again."""
    with store("sqlite", tmp_path) as storage, store("sqlite", tmp_path) as other:
        with storage.session() as session:
            made = session.documents.create_document("first", "email", "c")
            session.validations.create_validation(made.id, ["m"], "c")
        manager = BackupManager(storage, tmp_path / "b")
        manager.create_backup("b")
        with Writers(other, 1):
            for _ in range(BACKUPS):
                manager.restore_backup("b", replace=True)
                with other.backend.snapshot(None) as view:
                    documents = {row[0] for row in view.rows(Query(Document, None), ["id"])}
                    of = {row[0] for row in view.rows(Query(Validation, None), ["document_id"])}
                assert documents == of
