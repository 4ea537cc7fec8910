"""``BackupManager``: all that is stored into one file, and back (BAK).

A backup is made from one view of the store, read back and compared before it gets its name. A
restore is checked to its last row before the target changes, and then happens as a whole.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loki_storage.backups.archive import Archive, Manifest
from loki_storage.backups.names import (
    SUFFIX,
    Stored,
    checked_name,
    find,
    new_name,
    open_file,
    stored,
)
from loki_storage.backups.restore import restore
from loki_storage.backups.source import opened
from loki_storage.backups.writer import BackupWriter, Progress
from loki_storage.errors import BackupError, InvalidValue, StorageError
from loki_storage.models import DEFAULT_TENANT
from loki_storage.rules.change import Actor
from loki_storage.rules.stores import backed_up
from loki_storage.session import default_storage
from loki_storage.storage import Storage, checked_tenant, open_storage
from loki_storage.values import Integer, JsonValue, canonical, parse
from loki_storage.whole_file import WholeFile, left_of

__all__ = ["BackupManager"]

LOGGER = logging.getLogger("loki_storage")


class BackupManager:
    """Backups of a store in a folder of their own (0700, files 0600).

    ``storage``: by default that of the settings. ``actor``: who acts, for the audit trail.
    ``tenant``: back up this tenant only; by default all of them.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        backup_dir: str | os.PathLike[str] = "data/backups",
        *,
        actor: Actor | str | None = None,
        tenant: str | None = None,
    ) -> None:
        self._storage = storage
        self._folder = Path(os.path.abspath(backup_dir))
        self._actor = actor
        self._tenant = None if tenant is None else checked_tenant(tenant)

    @property
    def storage(self) -> Storage:
        """The store that is backed up."""
        return self._storage or default_storage()

    def create_backup(
        self,
        backup_name: str,
        compress: bool = True,
        include_audit: bool = True,
        metadata: JsonValue = None,
        progress: Progress | None = None,
        *,
        native: bool = False,
        consistent: bool = True,
    ) -> dict[str, Any]:
        """Back up every row of every table at one moment (BAK-2); read back before it counts.

        It is stored as ``<backup_name>-<UTC time>``, returned as ``name``. ``include_audit=False``
        leaves the audit trail out. ``metadata``: JSON that the manifest keeps. ``native``: a copy
        of the store's file instead of rows, faster, where the backend has one (SQLite).
        ``consistent=False`` where the backend cannot hold one view over several reads.

        Returns ``{"name", "size", "checksum", "created_at", "tables", ...}``; ``size`` in bytes,
        ``checksum`` is the file's SHA-256. Raises ``InvalidValue`` for a name that may be none,
        ``Unsupported``, ``Forbidden`` where the database would hide rows, and ``BackupError`` where
        the file cannot be written; then no backup of that name is there.
        """
        checked_name(backup_name)
        if native and (self._tenant is not None or not include_audit):
            raise InvalidValue("native", "copies the whole store, with all tenants and the audit")
        self.storage.authorize("storage.backup", self._actor)
        kept = None if metadata is None else parse(canonical(metadata, "metadata"))
        self._make_folder()
        self._sweep()
        created = self._now()
        file = self._file(backup_name, created)
        name = file.path.name.removesuffix(SUFFIX)
        try:
            manifest = BackupWriter(
                self.storage, self._tenant, compress, include_audit, consistent, progress
            ).write(file, name, created, self._who(), kept, native)
            checksum = _compare(file)
            file.publish()
        except BaseException as error:
            with suppress(OSError):
                file.withdraw()
            file.finish()
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise BackupError(f"the backup cannot be written: {error.strerror}") from error
            raise
        file.finish()
        told = _told(manifest, file.stream.size, checksum)
        told["audited"] = self._audited(told)
        return told

    def restore_backup(
        self,
        name: str,
        target_url: str | None = None,
        *,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Restore a backup: all of it, or the target stays as it was (BAK-3).

        ``target_url``: an empty store, or one that is laid out for it; None: this manager's.
        ``replace``: in the place of all that the target holds. The backup is read to its end and
        checked first, the new rows are compared with it before they count; whoever has the target
        open goes on with the new rows. Ids go on above those of the backup.

        Raises ``RestoreRejected`` for a backup that is altered, cut, foreign or newer,
        ``IllegalTransition`` for a target that is not empty, ``OnHold`` where a legal hold lies on
        what would be replaced, ``Unsupported`` where the backend cannot replace.
        """
        with self._archive(name) as archive:
            checksum = archive.check_seal()
            if target_url is None:
                target: AbstractContextManager[Storage] = nullcontext(self.storage)
            else:
                target = open_storage(target_url, create=True)
            with opened(archive) as tables, target as storage:
                storage.authorize("storage.restore", self._actor)
                return restore(
                    storage,
                    archive.manifest,
                    checksum,
                    tables,
                    replace=replace,
                    actor=self._actor,
                    progress=progress,
                )

    def verify_backup(self, name: str) -> dict[str, Any]:
        """Read a backup to its last row; what it is. ``RestoreRejected`` where it is not whole."""
        with self._archive(name) as archive:
            checksum = archive.check_seal()
            with opened(archive) as tables:
                for table in tables:
                    table.check()
            return _told(archive.manifest, archive.size, checksum)

    def list_backups(self) -> list[dict[str, Any]]:
        """All backups, newest first; one that cannot be read has its ``problem``."""
        return [self._listed(each) for each in stored(self._folder)]

    def delete_backup(self, name: str) -> str:
        """Remove a backup; its full name. ``BackupError`` where there is none."""
        found = find(self._folder, name)
        return self._delete(found)

    def cleanup_old_backups(
        self, keep_count: int = 10, keep_days: int = 30, *, name: str | None = None
    ) -> list[str]:
        """Remove backups that neither rule keeps; the names removed, oldest first.

        Kept are the newest ``keep_count`` and those of the last ``keep_days``; and the newest that
        is whole, whatever the rules say. ``name``: of those with this bare name only.
        """
        Integer(0).accept("keep_count", keep_count)
        Integer(0, 365_000).accept("keep_days", keep_days)
        bare = None if name is None else checked_name(name)
        found = [each for each in stored(self._folder) if bare in (None, each.base)]
        since = self._now() - timedelta(days=keep_days)
        old = [each for n, each in enumerate(found) if n >= keep_count and each.created_at < since]
        spared = self._last_whole(found) if old else None
        return [self._delete(each) for each in reversed(old) if each != spared]

    # Inside

    def _archive(self, name: str) -> Archive:
        return Archive(open_file(self._folder, find(self._folder, name).name))

    def _listed(self, each: Stored) -> dict[str, Any]:
        try:
            with Archive(open_file(self._folder, each.name)) as archive:
                return {**_told(archive.manifest, archive.size, None), "name": each.name}
        except BackupError as error:
            created = each.created_at
            return {"name": each.name, "created_at": created, "problem": str(error)}

    def _last_whole(self, found: list[Stored]) -> Stored | None:
        """The newest backup that verifies."""
        for each in found:
            with suppress(BackupError):
                self.verify_backup(each.name)
                return each
        return None

    def _delete(self, found: Stored) -> str:
        try:
            os.unlink(self._folder / f"{found.name}{SUFFIX}")
        except OSError as error:
            raise BackupError(f"{found.name} cannot be removed: {error.strerror}") from error
        return found.name

    def _file(self, base: str, created: datetime) -> WholeFile:
        while True:
            path = self._folder / f"{new_name(self._folder, base, created)}{SUFFIX}"
            try:
                return WholeFile(path)
            except FileExistsError:  # another backup of this moment is being written
                created += timedelta(microseconds=1)
            except OSError as error:
                raise BackupError(f"{path} cannot be written: {error.strerror}") from error

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackupError(f"{self._folder} cannot be created: {error.strerror}") from error

    def _sweep(self) -> None:
        """Take away what killed backups have left behind."""
        for part in self._folder.glob(f".*{SUFFIX}.part"):
            left_of(part.with_name(part.name[1:].removesuffix(".part")), keep=True)

    def _audited(self, told: Mapping[str, Any]) -> bool:
        """Tell the store's trail; the backup is there even where the store takes no entry."""
        kept = ("name", "checksum", "size", "tables", "include_audit", "tenant", "native")
        change = backed_up({name: told[name] for name in kept})
        tenant = self._tenant or DEFAULT_TENANT
        try:
            self.storage.run(lambda unit: unit.add(change), tenant=tenant, actor=self._actor)
        except StorageError as error:
            LOGGER.warning("backup %s is not in the audit trail: %s", told["name"], error)
            return False
        return True

    def _now(self) -> datetime:
        with self.storage.session() as session:
            return session.now()

    def _who(self) -> str:
        return self._actor.id if isinstance(self._actor, Actor) else self._actor or "system"


def _compare(file: WholeFile) -> str:
    """Read back what was written; the SHA-256 of the file."""
    file.stream.flush()
    with Archive(os.open(file.part, os.O_RDONLY)) as archive:
        checksum = archive.check_seal()
        archive.unpack()
    if checksum != file.stream.sha256:
        raise BackupError("what was read back is not what was written; check the disk")
    return checksum


def _told(manifest: Manifest, size: int, checksum: str | None) -> dict[str, Any]:
    """What callers are told of a backup."""
    names = (
        "backend",
        "schema_revision",
        "created_by",
        "tenant",
        "native",
        "compressed",
        "consistent",
        "include_audit",
        "metadata",
    )
    return {
        "name": manifest.name,
        "size": size,
        **({} if checksum is None else {"checksum": checksum}),
        "created_at": datetime.fromisoformat(manifest.created_at),
        "tables": dict(manifest.tables),
        **{name: getattr(manifest, name) for name in names},
    }
