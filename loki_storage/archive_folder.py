"""``FolderArchive``: an archive store in a folder of its own (0700, files 0600)."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loki_storage.archive_store import ArchiveStore
from loki_storage.backups.names import SUFFIX, checked_name
from loki_storage.errors import ArchiveError, InvalidValue, StorageError
from loki_storage.whole_file import part_of, sync_folder

__all__ = ["FolderArchive", "archive_of"]


class FolderArchive(ArchiveStore):
    """Each bundle is a file. Links and other files of the folder are none."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Nothing is touched; the folder is made when the first bundle is put."""
        self.folder = Path(os.path.abspath(folder))

    def put(self, name: str, bundle: bytes) -> None:
        path = self._path(name)
        part = part_of(path)
        with _translated(name, "written"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                part.unlink()  # of an earlier attempt, by whoever could no longer commit
            with open(part, "xb", opener=_private) as file:
                file.write(bundle)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            sync_folder(self.folder)

    def get(self, name: str) -> bytes:
        path = self._path(name)
        with _translated(name, "read"):
            opened = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(opened, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ArchiveError(f"bundle {name} is not a file")
                return file.read()

    def delete(self, name: str) -> None:
        path = self._path(name)
        with _translated(name, "removed"):
            for each in (path, part_of(path)):
                with suppress(FileNotFoundError):
                    each.unlink()
            if self.folder.is_dir():
                sync_folder(self.folder)

    def names(self) -> Iterator[str]:
        if not self.folder.is_dir():
            return
        with os.scandir(self.folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".part")
                if name != entry.name:
                    name = name.removeprefix(".")
                if name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    bare = name.removesuffix(SUFFIX)
                    with suppress(InvalidValue):  # a file of somebody else
                        yield checked_name(bare, "bundle")

    def exists(self, name: str) -> bool:
        with _translated(name, "found"):
            try:
                return stat.S_ISREG(os.lstat(self._path(name)).st_mode)
            except FileNotFoundError:
                return False

    def __repr__(self) -> str:
        return f"FolderArchive({str(self.folder)!r})"

    def _path(self, name: str) -> Path:
        return self.folder / f"{checked_name(name, 'bundle')}{SUFFIX}"


def archive_of(setting: ArchiveStore | str | os.PathLike[str]) -> ArchiveStore:
    """The archive store of a setting: a folder's path or ``file://`` URL, or a store as it is."""
    if isinstance(setting, ArchiveStore):
        return setting
    if not isinstance(setting, str | os.PathLike):
        raise InvalidValue("archive", "must be a folder or an ArchiveStore")
    scheme, separator, path = os.fspath(setting).partition("://")
    if separator and (scheme != "file" or not path):
        raise InvalidValue("archive", "must be a folder or its file:// URL, or an ArchiveStore")
    return FolderArchive(path if separator else setting)


@contextmanager
def _translated(name: str, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise ArchiveError(f"bundle {name} cannot be {done}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
