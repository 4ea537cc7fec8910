"""One backup on its way from the store into a file."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from loki_storage.backups.archive import ArchiveWriter, Manifest, Member
from loki_storage.backups.rows import lines_of
from loki_storage.errors import StorageError
from loki_storage.models import KINDS, AuditEntry, Kind
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.protocol import PROTOCOL_VERSION, Backend, Reader
from loki_storage.query import Query
from loki_storage.storage import Storage
from loki_storage.values import JsonValue
from loki_storage.whole_file import WholeFile

__all__ = ["BackupWriter", "Progress"]

Progress = Callable[[int, int], object]
"""Called with the rows done and the rows in all."""
BLOCK = 1 << 20


class BackupWriter:
    """One backup on its way into a file."""

    def __init__(
        self,
        storage: Storage,
        tenant: str | None,
        compress: bool,
        include_audit: bool,
        consistent: bool,
        progress: Progress | None,
    ) -> None:
        self._storage, self._tenant, self._compress = storage, tenant, compress
        self._include_audit, self._consistent = include_audit, consistent
        self._progress, self._done, self._total = progress, 0, 0

    def write(
        self,
        file: WholeFile,
        name: str,
        created: datetime,
        who: str,
        metadata: JsonValue,
        native: bool,
    ) -> Manifest:
        backend = self._storage.backend
        next_ids = self._next_ids()
        archive = ArchiveWriter(file.stream, compress=self._compress)
        try:
            if native:
                members, tables = self._copy(archive, file.path.parent)
            else:
                members = tuple(self._members(archive))
                tables = {member.table: member.rows for member in members}
            manifest = Manifest(
                name=name,
                created_at=created.isoformat(),
                created_by=who,
                backend=self._storage.name,
                loki_storage=version("loki-storage"),
                protocol_version=PROTOCOL_VERSION,
                schema_revision=backend.schema_revision(),
                tenant=self._tenant,
                native=native,
                compressed=self._compress,
                consistent=self._consistent,
                include_audit=self._include_audit,
                metadata=metadata,
                next_ids=next_ids,
                tables=tables,
                members=members,
            )
            archive.finish(manifest)
        except BaseException:
            archive.abandon()
            raise
        return manifest

    def _next_ids(self) -> dict[str, int]:
        """Where ids go on after a restore, also above rows that were purged."""
        try:
            leased = self._storage.backend.reserve(dict.fromkeys(KINDS.values(), 1))
        except StorageError:  # a store that takes no writes can be backed up all the same
            return {}
        return {kind.table: ids.start for kind, ids in leased.items()}

    def _members(self, archive: ArchiveWriter) -> Iterator[Member]:
        kinds = [k for k in KINDS.values() if self._include_audit or k is not AuditEntry]
        with self._view() as reader:
            tenant = self._tenant or _only_tenant(reader)
            if self._progress is not None:
                self._total = sum(reader.count(Query(kind, tenant)) for kind in kinds)
                self._progress(0, self._total)
            for kind in kinds:
                yield self._member(archive, reader, kind, tenant)

    def _member(
        self, archive: ArchiveWriter, reader: Reader, kind: Kind, tenant: str | None
    ) -> Member:
        with archive.member(f"{kind.table}.jsonl") as member:
            for block, rows in lines_of(reader, kind, tenant):
                member.write(block, rows)
                self._tell(rows)
        return member.told(kind.table, tuple(kind.domains))

    def _copy(
        self, archive: ArchiveWriter, folder: Path
    ) -> tuple[tuple[Member, ...], dict[str, int]]:
        """The store's file; in the backup's own folder, which has room for it."""
        backend = self._storage.backend
        with TemporaryDirectory(prefix=".copy-", dir=folder) as place:  # mode 0700
            path = Path(place) / "store"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            backend.copy_file(str(path))
            tables = self._counted(path)
            with path.open("rb") as copy, archive.member("store") as member:
                while block := copy.read(BLOCK):
                    member.write(block)
        return (member.told("", ()),), tables

    def _counted(self, path: Path) -> dict[str, int]:
        """The rows of each table of a copy; that it can be opened is worth to know, too."""
        name = self._storage.name
        copy: Backend = find_backend(name, plugin_manager()).open(f"{name}:///{path}")
        try:
            return {kind.table: copy.count(Query(kind, None)) for kind in KINDS.values()}
        finally:
            copy.close()

    def _view(self) -> AbstractContextManager[Reader]:
        backend = self._storage.backend
        return backend.snapshot(self._tenant) if self._consistent else nullcontext(backend)

    def _tell(self, rows: int) -> None:
        if self._progress is not None:
            self._done += rows
            self._progress(self._done, self._total)


_ROOTS = [
    kind
    for kind in KINDS.values()
    if all(kind.domains[reference.field].nullable for reference in kind.references)
]
"""Kinds whose rows need no other row: every tenant that has any row has one of these."""


def _only_tenant(reader: Reader) -> str | None:
    """The store's tenant where it has one only: its rows need no sorting by tenants."""
    found = {
        str(group.key[0])
        for kind in _ROOTS
        for group in reader.aggregate(Query(kind, None), ["tenant_id"])
    }
    return found.pop() if len(found) == 1 else None
