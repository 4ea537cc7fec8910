"""Names of backups: what may be one, and which file it is (nothing outside the folder, ever).

A backup ``daily`` is stored as ``daily-20261125T023000123456Z``: the time, in UTC, makes it one of
its own. The bare name means the newest with it.
"""

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from loki_storage.errors import BackupError, InvalidValue

__all__ = ["SUFFIX", "Stored", "checked_name", "find", "new_name", "open_file", "stored"]

SUFFIX = ".loki.zip"
_TIME = r"\d{8}T\d{12}Z"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_STORED = re.compile(rf"({_NAME.pattern})-({_TIME})")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}
"""Names that are no files on Windows, with whatever suffix."""
_FORMAT = "%Y%m%dT%H%M%S%fZ"


@attrs.frozen
class Stored:
    """A backup that lies in the folder: its full name, the bare one, when it was made."""

    name: str
    base: str
    created_at: datetime


def checked_name(name: object, field: str = "backup_name") -> str:
    """A name that may be given to a backup, or to another file of ours; ``InvalidValue``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isascii():
        raise InvalidValue(
            field,
            "must be 1 to 100 letters, digits, dots, dashes and underscores; it begins with a "
            "letter or digit and does not end with a dot",
        )
    if name.partition(".")[0].lower() in _DEVICES:
        raise InvalidValue(field, "is the name of a device on Windows")
    if ".." in name:
        raise InvalidValue(field, "must not have two dots in a row")
    return name


def new_name(folder: Path, base: str, now: datetime) -> str:
    """A stored name that nobody has: the time, moved on by microseconds where it is taken."""
    if _STORED.fullmatch(checked_name(base)):
        raise InvalidValue("backup_name", "must not end with a time: each backup gets its own")
    moment = now.astimezone(UTC)
    while True:
        name = f"{base}-{moment:{_FORMAT}}"
        path = folder / f"{name}{SUFFIX}"
        if not os.path.lexists(path):
            return name
        moment += timedelta(microseconds=1)


def stored(folder: Path) -> list[Stored]:
    """The backups in the folder, newest first; other files, links and folders are none."""
    return sorted(_found(folder), key=lambda each: (each.created_at, each.name), reverse=True)


def find(folder: Path, name: object) -> Stored:
    """The backup of this name, or the newest with this bare name; ``BackupError``."""
    wanted = checked_name(name) if not isinstance(name, str) or len(name) <= 100 else _long(name)
    for each in stored(folder):
        if wanted in (each.name, each.base):
            return each
    raise BackupError(f"there is no backup {wanted} in {folder}")


def open_file(folder: Path, name: str) -> int:
    """A descriptor of a backup's file, read-only: a regular file of the folder, never a link."""
    path = folder / f"{name}{SUFFIX}"
    try:
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise BackupError(f"the backup {name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise BackupError(f"the backup {name} is not a file")
    return opened


def _long(name: str) -> str:
    """A stored name is longer than what may be given by the time."""
    match = _STORED.fullmatch(name)
    if not match:
        checked_name(name)
    return name


def _found(folder: Path) -> Iterator[Stored]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _STORED.fullmatch(entry.name.removesuffix(SUFFIX))
            if not match or not entry.name.endswith(SUFFIX):
                continue
            if entry.is_file(follow_symlinks=False):
                try:
                    moment = datetime.strptime(match[2], _FORMAT).replace(tzinfo=UTC)
                except ValueError:  # no such day
                    continue
                yield Stored(match[0], match[1], moment)
