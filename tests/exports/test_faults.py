"""An export fails, or its process is killed, at every step: no half file, and the log says so.

The steps are the calls of the system and of the store; a dry run counts them.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from loki_storage import Batch, Storage, open_storage, whole_file
from loki_storage.errors import ExportError, OutcomeUnknown, StorageError, Unavailable
from loki_storage.export_manager import ExportManager
from loki_storage.models import ExportLog
from loki_storage.query import Query
from loki_storage.whole_file import matches
from tests.stores import CLOCK

SYSTEM = ("open", "fsync", "link", "unlink")
Break = Callable[[str], None]


@attrs.define
class Steps:
    """Counts calls; at the ``at``-th (from 1) it breaks, before or after the call has happened."""

    at: int
    broken: Break
    after: bool = False
    count: int = 0

    def __call__(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.count += 1
        mine = self.count == self.at
        if mine and not self.after:
            self.broken(name)
        answer = call(*args, **options)
        if mine and self.after:
            self.broken(name)
        return answer


class System:
    """``os`` with its calls counted."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in SYSTEM:
            return found
        return lambda *args, **options: self._steps(name, found, *args, **options)


def watched(storage: Storage, steps: Steps, patch: pytest.MonkeyPatch) -> None:
    """Count the calls of the system and of the store from now on."""
    apply = storage.backend.apply

    def counted(batch: Batch) -> None:
        steps("apply", apply, batch)

    patch.setattr(storage.backend, "apply", counted)
    patch.setattr(whole_file, "os", System(steps))


def fail(name: str) -> None:
    if name == "apply":
        raise Unavailable("the store is gone")
    raise OSError(28, "No space left on device")


def kill(name: str) -> None:
    os._exit(9)


def filled(url: str) -> None:
    with open_storage(url, clock=CLOCK) as storage, storage.session() as session:
        for number in range(3):
            session.documents.create_document(f"text {number}", "email", "c")


def export(url: str, folder: Path, steps: Steps) -> StorageError | None:
    """One export under these steps; what it raised."""
    with open_storage(url, clock=CLOCK) as storage, pytest.MonkeyPatch.context() as patch:
        watched(storage, steps, patch)
        try:
            ExportManager(storage, folder).export_documents("csv", "c", "alice")
        except StorageError as error:
            return error
    return None


def check(url: str, folder: Path) -> list[str]:
    """The laws, once a later manager has looked; the states of the logs."""
    with open_storage(url, clock=CLOCK) as storage:
        ExportManager(storage, folder).get_export_history()
        logs: list[ExportLog] = list(storage.backend.select(Query(ExportLog, None)))
    named = {log.file_path for log in logs if log.status == "completed"}
    there = {str(path) for path in folder.iterdir()} if folder.exists() else set()
    visible = {name for name in there if not Path(name).name.startswith(".")}
    assert visible == named, "a file without a log that it is complete, or the other way round"
    for log in logs:
        path = Path(str(log.file_path))
        if log.status == "completed":
            assert matches(path, log.file_size_bytes, log.file_hash)
        else:
            assert (log.status, bool(log.error_message)) == ("failed", True)
    return [log.status for log in logs]


def steps_of_an_export(folder: Path) -> int:
    url, steps = f"sqlite:///{folder / 'dry.db'}", Steps(0, fail)
    filled(url)
    assert export(url, folder / "dry", steps) is None
    assert check(url, folder / "dry") == ["completed"]
    return steps.count


@pytest.mark.parametrize("after", [False, True])
def test_failure_at_every_step_leaves_no_file_and_a_log_that_says_why(
    tmp_path: Path, after: bool
) -> None:
    for at in range(1, steps_of_an_export(tmp_path) + 1):
        url, folder = f"sqlite:///{tmp_path / f'{at}.db'}", tmp_path / f"{at}"
        filled(url)
        error = export(url, folder, Steps(at, fail, after))
        states = check(url, folder)
        # The last steps come when all is said: clearing up may fail, the export has not.
        assert (error is None) == (states == ["completed"])
        assert error is None or isinstance(error, ExportError | Unavailable)
        assert not {"pending"} & set(states)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("after", [False, True])
def test_kill_at_every_step_leaves_no_file_and_a_log_that_says_why(
    tmp_path: Path, after: bool
) -> None:
    seen = set()
    for at in range(1, steps_of_an_export(tmp_path) + 1):
        url, folder = f"sqlite:///{tmp_path / f'{at}.db'}", tmp_path / f"{at}"
        filled(url)
        child = os.fork()
        if child == 0:
            try:
                export(url, folder, Steps(at, kill, after))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 9
        seen |= {tuple(check(url, folder))}
    assert {(), ("failed",), ("completed",)} == seen


def test_interrupted_export_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'loki.db'}"
    filled(url)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with open_storage(url, clock=CLOCK) as storage:
        manager = ExportManager(storage, tmp_path / "exports")
        with pytest.raises(KeyboardInterrupt):
            manager.export_documents("csv", "c", "alice", progress=interrupt)
        (log,) = manager.get_export_history()
        assert (log.status, log.error_message) == ("failed", "interrupted")
    assert list((tmp_path / "exports").iterdir()) == []


def test_running_export_is_left_alone(tmp_path: Path) -> None:
    """While one runs, others list, clear up and export: nobody takes it for dead."""
    url = f"sqlite:///{tmp_path / 'loki.db'}"
    states: list[str] = []
    filled(url)
    with open_storage(url, clock=CLOCK) as storage:
        manager = ExportManager(storage, tmp_path / "exports")

        def look(done: int, total: int) -> None:
            other = ExportManager(storage, tmp_path / "exports")
            other.cleanup_expired_exports()
            states.extend(log.status for log in other.get_export_history())

        manager.export_documents("csv", "c", "alice", progress=look)
    assert states == ["pending", "pending"]


def test_export_whose_outcome_is_unknown_is_settled_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = f"sqlite:///{tmp_path / 'loki.db'}", tmp_path / "exports"
    filled(url)
    with open_storage(url, clock=CLOCK) as storage:
        manager, apply = ExportManager(storage, folder), storage.backend.apply
        batches = []

        def unanswered(batch: Batch) -> None:
            batches.append(batch)
            if len(batches) == 2:
                raise OutcomeUnknown(1)
            apply(batch)

        monkeypatch.setattr(storage.backend, "apply", unanswered)
        with pytest.raises(OutcomeUnknown):
            manager.export_documents("csv", "c", "alice")
    assert check(url, folder) == ["failed"]


def test_folder_that_cannot_be_made_is_told_before_anything_is_logged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'loki.db'}"
    filled(url)
    (tmp_path / "file").write_text("")
    with open_storage(url, clock=CLOCK) as storage:
        manager = ExportManager(storage, tmp_path / "file" / "exports")
        with pytest.raises(ExportError, match="cannot be created"):
            manager.export_documents("csv", "c", "alice")
        assert manager.get_export_history() == []
