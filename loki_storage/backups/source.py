"""Where the rows of a restore come from: an archive's lines, or a store's file inside of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs

from loki_storage.backups.archive import Archive, Member
from loki_storage.backups.rows import Digest, converted, decoded, lines_of
from loki_storage.errors import RestoreRejected, SchemaOutdated, StorageError
from loki_storage.models import KINDS, AuditEntry, Kind
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.protocol import Backend, Reader
from loki_storage.query import Compare, Not
from loki_storage.rows import Rows

__all__ = ["HIGHEST_ID", "ArchiveTable", "StoreTable", "Table", "opened"]

HIGHEST_ID = 2**62
"""Ids go on above the highest one: there must be room."""


@attrs.define
class Table:
    """One table of a backup; ``check`` reads all of it, and must have come first."""

    kind: Kind
    fields: tuple[str, ...]
    rows: int = 0
    sha256: str = ""
    highest: int = 0

    def lines(self) -> Iterator[bytes]:
        """Its lines, without their ends."""
        raise NotImplementedError

    def parts(self) -> Iterator[Rows[Any]]:
        """Its rows, in parts."""
        return converted(self.kind, self.fields, self.lines())

    def check(self) -> None:
        """Read every row; ``RestoreRejected`` where one is none."""
        for part in decoded(self.kind, self.fields, self.lines()):
            self.highest = max(self.highest, *part.ids)
        if self.highest > HIGHEST_ID:
            raise RestoreRejected(f"{self.kind.table} has ids beyond 2^62: no ids would be left")

    def same_in(self, reader: Reader, entry: int) -> bool:
        """Whether a store holds exactly these rows, but for one audit entry."""
        digest = Digest()
        where = Not(Compare("id", "eq", entry)) if self.kind is AuditEntry else None
        for block, rows in lines_of(reader, self.kind, None, self.fields, where):
            digest.add(block, rows)
        return (digest.rows, digest.sha256) == (self.rows, self.sha256)


@attrs.define
class ArchiveTable(Table):
    """A table whose lines are a member of the archive."""

    archive: Archive = attrs.field(kw_only=True)
    member: Member = attrs.field(kw_only=True)

    def lines(self) -> Iterator[bytes]:
        return self.archive.lines(self.member)


@attrs.define
class StoreTable(Table):
    """A table of a store whose file lies in the archive."""

    backend: Backend = attrs.field(kw_only=True)

    def lines(self) -> Iterator[bytes]:
        for block, _ in lines_of(self.backend, self.kind, None, self.fields):
            yield from block.splitlines()

    def check(self) -> None:
        digest = Digest()
        for block, rows in lines_of(self.backend, self.kind, None, self.fields):
            digest.add(block, rows)
        self.rows, self.sha256 = digest.rows, digest.sha256
        super().check()


@contextmanager
def opened(archive: Archive) -> Iterator[list[Table]]:
    """The tables of an archive; ``RestoreRejected`` for tables and fields of a later version."""
    if not archive.manifest.native:
        yield [_archive_table(archive, member) for member in archive.manifest.members]
        return
    with TemporaryDirectory(prefix="loki-restore-") as folder:  # mode 0700
        backend = _extracted(archive, Path(folder))
        try:
            yield [
                StoreTable(kind, tuple(kind.domains), backend=backend) for kind in KINDS.values()
            ]
        finally:
            backend.close()


def _archive_table(archive: Archive, member: Member) -> Table:
    kind = KINDS.get(member.table)
    unknown = [] if kind is None else [f for f in member.fields if f not in kind.domains]
    if kind is None or unknown:
        what = member.table if kind is None else f"{member.table}.{unknown[0]}"
        raise RestoreRejected(
            f"the backup was made by a later loki-storage: {what} is not known; upgrade this one"
        )
    if len(set(member.fields)) < len(member.fields) or not {"id", "tenant_id"} <= {*member.fields}:
        raise RestoreRejected("the manifest is not one of a backup")
    _check_order(archive.manifest.members)
    return ArchiveTable(
        kind, member.fields, member.rows, member.sha256, archive=archive, member=member
    )


def _check_order(members: Sequence[Member]) -> None:
    """Parents first, each table once: as the rows can be stored."""
    ranks = [list(KINDS).index(member.table) for member in members if member.table in KINDS]
    if ranks != sorted(set(ranks)):
        raise RestoreRejected("the backup's tables are not in the order of a backup")


def _extracted(archive: Archive, folder: Path) -> Backend:
    """The store whose file is in the archive, brought to this SDK's revision."""
    (member,) = archive.manifest.members
    path = folder / "store"
    with path.open("wb") as file:
        for block in archive.blocks(member):
            file.write(block)
    spec = find_backend(archive.manifest.backend, plugin_manager())
    backend: Backend = spec.open(f"{archive.manifest.backend}:///{path}")
    try:
        _make_ready(backend)
    except SchemaOutdated as error:
        backend.close()
        raise RestoreRejected(
            f"the backup has schema revision {error.found}, this loki-storage knows "
            f"{error.expected}; upgrade loki-storage"
        ) from error
    except StorageError as error:
        backend.close()
        raise RestoreRejected("the store in the backup cannot be opened") from error
    return backend


def _make_ready(backend: Backend) -> None:
    """An older revision is brought up: the file is a copy of our own."""
    try:
        backend.prepare(create=False)
    except SchemaOutdated as error:
        if error.found is None or error.found > error.expected:
            raise
        backend.migrate()
        backend.prepare(create=False)
