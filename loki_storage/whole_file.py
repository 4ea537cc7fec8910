"""A file that stands under its name whole, or not at all (EXP-3, BAK-2).

It is written beside its final name as ``.<name>.part`` (mode 0600, locked by who writes it), then
synced and linked to the final name, which is never overwritten. The ``.part`` goes last, after the
log says that an export is complete: whoever finds one that nobody holds knows what was left.
"""

import hashlib
import io
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from loki_storage.errors import ExportError

if sys.platform != "win32":
    import fcntl

__all__ = ["Counted", "Left", "WholeFile", "left_of", "matches", "part_of", "sync_folder"]

Left = Literal["running", "left", "gone"]
CHUNK = 1 << 20


class Counted(io.RawIOBase):
    """A stream that only takes bytes; counts and digests what it was given.

    It cannot seek, so that what was digested is what stands in the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self.size = file, hashlib.sha256(), 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: Any) -> int:
        """Write bytes or a buffer of them; how many."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        """The file's owner closes it."""

    def writable(self) -> bool:
        return True

    def as_file(self) -> BinaryIO:
        """Itself, for who asks for a file."""
        return cast("BinaryIO", self)


class WholeFile:
    """A file while it is written; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Take the name; ``FileExistsError`` where it is taken, else what the system says."""
        self.path, self.part = path, part_of(path)
        if os.path.lexists(path):
            raise FileExistsError(f"{path} is there already")
        self._file = _created(self.part)
        self.stream = Counted(self._file)

    def publish(self) -> None:
        """Make what was written durable, and give it its name; ``ExportError`` if that is taken."""
        self._file.flush()
        os.fsync(self._file.fileno())
        try:
            os.link(self.part, self.path)
        except FileExistsError as error:
            raise ExportError(f"{self.path} was created by another in the meantime") from error
        sync_folder(self.path.parent)

    def withdraw(self) -> None:
        """Take away what was published, and what was written; the ``.part`` stays, empty."""
        _unlink_same(self.path, self.part)
        with suppress(OSError):
            self._file.truncate(0)

    def finish(self) -> None:
        """The log tells the end: the ``.part`` is not needed any more."""
        self.leave()
        with suppress(OSError):  # whoever clears up finds it
            os.unlink(self.part)
            sync_folder(self.path.parent)

    def leave(self) -> None:
        """Let the ``.part`` tell that the log does not know the end yet."""
        with suppress(OSError):  # what is in its buffer may not find room
            self._file.close()


def part_of(path: Path) -> Path:
    """The name under which a file is written."""
    return path.with_name(f".{path.name}.part")


def left_of(path: Path, *, keep: bool = False) -> Left:
    """What of an export that is not complete is there; what nobody writes any more is removed.

    ``keep``: the export is complete, so only its ``.part`` is too much.
    """
    part = part_of(path)
    try:
        file = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return "gone"
    try:
        if not _lock(file):
            return "running"
        if not keep:
            _unlink_same(path, part)
        os.unlink(part)
    except FileNotFoundError:
        return "gone"
    except PermissionError:  # Windows: somebody has it open
        return "running"
    finally:
        os.close(file)
    return "left"


def matches(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether a regular file, no link, is there with this size and digest."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    with os.fdopen(file, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        return hashlib.file_digest(opened, "sha256").hexdigest() == sha256


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable, where the system can."""
    if sys.platform != "win32":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _created(part: Path) -> BinaryIO:
    """A new file that is ours alone; another that clears up may take a name before we lock it."""
    for _ in range(10):
        file = open(part, "x+b", buffering=CHUNK, opener=_private)  # noqa: SIM115 - the export's
        if _lock(file.fileno()) and _is_same(part, file.fileno()):
            return file
        file.close()
    raise FileExistsError(f"{part} is taken away as soon as it is created")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(file: int) -> bool:
    """Lock an open file until it is closed; False where another holds it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_same(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _unlink_same(path: Path, part: Path) -> None:
    """Remove the final name if it stands for what was written here."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(path), os.lstat(part)):
            os.unlink(path)
            sync_folder(path.parent)
