"""An append-only file of JSON lines that crashes and power cuts leave whole.

A line is ``{"crc32":"89abcdef","entry":...}``. What was acknowledged lies on the disk in full, so a
last line that is cut or garbled never was: readers pass it over, the next writer takes it away. No
file stays open between calls, so a process may fork at any time.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from loki_storage.deadline import time_left
from loki_storage.errors import (
    LockTimeout,
    ReadOnly,
    SchemaOutdated,
    StorageDamaged,
    StorageError,
    StorageFull,
    Unavailable,
)

__all__ = ["Log"]

FORMAT = {"format": "loki-storage-jsonl 1"}
_HEAD, _TAIL = b'{"crc32":"%08x","entry":', b"}"
_ERRORS = {errno.ENOSPC: StorageFull, errno.EDQUOT: StorageFull, errno.EROFS: ReadOnly}


class Log:
    """The newest ``log-*.jsonl`` of a directory, and how far it was read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._path, self._end = folder, folder, 0

    @property
    def exists(self) -> bool:
        """Whether the directory holds a log."""
        return self._newest() is not None

    @contextmanager
    def locked(self, *, alone: bool, create: bool = False) -> Iterator[None]:
        """Readers hold the lock together, a writer alone. Here OS errors become ours."""
        try:
            if create:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not self.exists:
                raise SchemaOutdated(None, FORMAT["format"])
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _wait_for(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            problem = _ERRORS.get(error.errno or 0, Unavailable)
            raise problem(f"the log failed: {os.strerror(error.errno or 0)}") from error

    def news(self) -> tuple[bool, list[Any]]:
        """Whether this is a new log, to be taken in from its beginning, and what is new in it."""
        newest = self._newest()
        if newest is None:
            return True, []
        new = newest != self._path
        start = 0 if new else self._end
        if not new and newest.stat().st_size == start:
            return False, []
        with newest.open("rb") as file:
            file.seek(start)
            entries, end = _parsed(file.read(), start)
        if new and entries[:1] != [FORMAT]:
            raise SchemaOutdated("another", FORMAT["format"])
        self._path, self._end = newest, end
        return new, entries

    def append(self, entry: object) -> None:
        """Add an entry: durable on return, or not there. The caller is alone, and has read on."""
        line = _line(entry)
        with self._path.open("r+b", buffering=0) as file:
            try:
                file.truncate(self._end)  # what a crash left of a line
                file.seek(self._end)
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, "only a part was written")
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(self._end)
                raise
        self._end += len(line)

    def rewrite(self, entries: Iterable[object]) -> None:
        """Begin a new file with these entries; the rename decides. The caller is alone."""
        old = self._newest()
        number = 1 if old is None else int(old.stem.removeprefix("log-")) + 1
        new, unfinished = self.folder / f"log-{number:09}.jsonl", self.folder / "unfinished"
        with open(unfinished, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.writelines(map(_line, [FORMAT, *entries]))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(new)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        for superseded in set(self.folder.glob("log-*.jsonl")) - {new}:
            superseded.unlink()

    def _newest(self) -> Path | None:
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        newest = max((name for name in names if name.startswith("log-")), default=None)
        return None if newest is None else self.folder / newest


def _wait_for(lock: int, how: int) -> None:
    """Take the lock within the caller's deadline (TXN-4)."""
    while True:
        try:
            return fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time_left() == 0:
                raise LockTimeout("other processes hold the log; try again") from None
            time.sleep(0.001)


def _line(entry: object) -> bytes:
    body = json.dumps(entry, separators=(",", ":")).encode()
    return _HEAD % crc32(body) + body + _TAIL + b"\n"


def _is_whole(line: bytes) -> bool:
    body = line[len(_HEAD % 0) : -len(_TAIL)]
    return line == _HEAD % crc32(body) + body + _TAIL


def _parsed(data: bytes, end: int) -> tuple[list[Any], int]:
    """The entries, and where they end. What is torn ends them, or is damage if more follows."""
    entries, lines = [], data.split(b"\n")[:-1]
    for number, line in enumerate(lines):
        if not _is_whole(line):
            if any(map(_is_whole, lines[number:])):
                raise StorageDamaged(f"the log is damaged at byte {end}; restore it from a backup")
            break
        entries.append(json.loads(line)["entry"])
        end += len(line) + 1
    return entries, end
