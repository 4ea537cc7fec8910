"""Bundles of archived documents: written, read back, and read beside the store's rows (RET-4).

A bundle is a backup of one document: the file format of ``backups.archive``, with the rows of the
document's set as its members. What is read of one is compared with the digest that its stub keeps.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO

import attrs

from loki_storage.archive_store import ArchiveStore
from loki_storage.backups.archive import Archive, ArchiveWriter, Manifest, Member
from loki_storage.backups.rows import decoded
from loki_storage.backups.source import opened
from loki_storage.errors import ArchiveError, InvalidValue, RestoreRejected, ResultTooLarge
from loki_storage.lines import ARRAYS, encoded
from loki_storage.models import ArchivedDocument, Chain, Document, Kind, Record
from loki_storage.protocol import PROTOCOL_VERSION
from loki_storage.query import Compare, Condition, all_of, equals
from loki_storage.repositories.retained import record_sets
from loki_storage.rules.archiving import ARCHIVED, members_of
from loki_storage.rules.retained import RecordSet
from loki_storage.unit_of_work import UnitOfWork
from loki_storage.values import JsonText, JsonValue, parse
from loki_storage.whole_file import Counted

__all__ = [
    "MOST_BYTES",
    "Archived",
    "Bundle",
    "archive_in",
    "archived_sets",
    "discard",
    "holding",
    "rows_of",
    "stubs_of",
    "with_archived",
]

LOGGER = logging.getLogger("loki_storage")
MOST_BYTES = 256 << 20
"""Of archived rows that one read may hold."""
GROUP_BYTES = 64 << 20
"""Of archived rows that are judged together."""


@attrs.frozen
class Bundle:
    """A record set's rows on their way into the archive store."""

    name: str
    records: Sequence[Record] = attrs.field(repr=False)
    data: bytes = attrs.field(repr=False)
    size: int

    @classmethod
    def of(
        cls, session: UnitOfWork, name: str, records: Sequence[Record], metadata: JsonValue
    ) -> "Bundle":
        """These rows, packed and unpacked again to compare."""
        ordered = sorted(records, key=_place)
        data, size = _packed(session, name, ordered, metadata)
        if _unpacked(name, data) != ordered:
            raise ArchiveError(f"bundle {name} does not read as the rows that were written")
        return cls(name, ordered, data, size)

    def put(self, archive: ArchiveStore) -> None:
        """Store it, and read it back; ``ArchiveError`` where that is not what was written."""
        archive.put(self.name, self.data)
        if archive.get(self.name) != self.data:
            raise ArchiveError(f"bundle {self.name} was not stored as it was written; check there")

    def place(self) -> dict[str, object]:
        """The stub's fields that tell of it."""
        versions = [record.id for record in self.records if type(record) is Document]
        return {
            "bundle": self.name,
            "sha256": sha256(self.data).hexdigest(),
            "size": self.size,
            "row_count": len(self.records),
            "lowest_id": min(versions),
            "highest_id": max(versions),
            "members": members_of(self.records),
        }


def archive_in(session: UnitOfWork) -> ArchiveStore:
    """The archive store; ``ArchiveError`` where none is configured."""
    if session.archive is None:
        raise ArchiveError(
            "no archive store is configured: give archive= or set LOKI_STORAGE_ARCHIVE"
        )
    return session.archive


def rows_of(session: UnitOfWork, stub: ArchivedDocument) -> list[Record]:
    """The rows of an archived document; none where it left the archive meanwhile.

    Raises ``ArchiveError`` where its bundle is missing, or not the one that was written.
    """
    try:
        return _stored(archive_in(session), stub)
    except ArchiveError:
        now = session.get(ArchivedDocument, stub.id)
        if now == stub:
            raise
        return [] if now is None else rows_of(session, now)


def stubs_of(session: UnitOfWork, kind: Kind, ids: Iterable[int]) -> dict[int, ArchivedDocument]:
    """The stub of each archived version, validation or correction, by its id."""
    wanted = list(ids)
    found: dict[int, ArchivedDocument] = {}
    if not wanted:
        return found
    where = _around(min(wanted), max(wanted)) if kind is Document else all_of()
    for stub in session.select(session.query(ArchivedDocument, where)):
        found |= {id: stub for id in wanted if holding(stub, kind, id)}
    return found


def holding(stub: ArchivedDocument, kind: Kind, id: int) -> bool:
    """Whether a version, validation or correction is one of the document's."""
    return any(first <= id <= last for first, last in stub.members[kind.table])


def with_archived(
    session: UnitOfWork, *, document_id: int | None = None, client_id: str | None = None
) -> UnitOfWork:
    """The session's view with archived documents in it, for reading: of all, or those told.

    ``document_id``: any version of it. Reads one bundle per document; more than ``MOST_BYTES`` of
    rows are ``ResultTooLarge``.
    """
    stubs = list(_stubs(session, document_id, client_id))
    if sum(stub.size for stub in stubs) > MOST_BYTES:
        raise ResultTooLarge(
            f"the archived documents have more than {MOST_BYTES >> 20} MiB: "
            "ask for one document or one client, or unarchive what you need"
        )
    return session.beside([row for stub in stubs for row in rows_of(session, stub)])


@attrs.frozen
class Archived:
    """Some archived documents, as they can be judged: their sets, in a view that has their rows."""

    view: UnitOfWork
    sets: Mapping[int, RecordSet]
    rows: Mapping[int, Sequence[Record]]
    unreadable: Collection[int]

    def __contains__(self, root_id: object) -> bool:
        return root_id in self.rows or root_id in self.unreadable


def archived_sets(session: UnitOfWork, stubs: Iterable[ArchivedDocument]) -> Iterator[Archived]:
    """What archived documents are, in groups of limited size, in their order."""
    group: list[ArchivedDocument] = []
    for stub in stubs:
        if group and sum(each.size for each in group) + stub.size > GROUP_BYTES:
            yield _opened(session, group)
            group = []
        group.append(stub)
    if group:
        yield _opened(session, group)


def _opened(session: UnitOfWork, stubs: Sequence[ArchivedDocument]) -> Archived:
    rows: dict[int, list[Record]] = {}
    unreadable = set[int]()
    for stub in stubs:
        try:
            rows[stub.id] = rows_of(session, stub)
        except ArchiveError as error:
            LOGGER.warning("retention passes over archived document %s: %s", stub.id, error)
            unreadable.add(stub.id)
    view = session.beside([row for records in rows.values() for row in records])
    there = [id for id, records in rows.items() if records]
    sets = {each.chain.id: each for each in record_sets(view, there)}
    return Archived(view, sets, rows, unreadable)


def discard(archive: ArchiveStore | None, names: Iterable[str]) -> None:
    """Remove bundles that no stub names any more; one that stays is removed by the next run."""
    for name in names:
        try:
            if archive is not None:
                archive.delete(name)
        except ArchiveError as error:
            LOGGER.warning("%s; the next run of retention tries again", error)


def _stubs(
    session: UnitOfWork, document_id: int | None, client_id: str | None
) -> Iterator[ArchivedDocument]:
    if document_id is not None:
        found = stubs_of(session, Document, [document_id]).values()
        yield from (stub for stub in found if client_id in (None, stub.client_id))
        return
    where = all_of() if client_id is None else equals(client_id=client_id)
    yield from session.select(session.query(ArchivedDocument, where))


def _around(lowest: int, highest: int) -> Condition:
    """Stubs that may hold a version between these ids."""
    return all_of(Compare("lowest_id", "le", highest), Compare("highest_id", "ge", lowest))


# --- The file -------------------------------------------------------------------------------------


def _place(record: Record) -> tuple[int, int, int]:
    """The order of a dump."""
    version = record.version if isinstance(record, Document) else 0
    return ARCHIVED.index(type(record)), version, record.id


def _packed(
    session: UnitOfWork, name: str, records: Sequence[Record], metadata: JsonValue
) -> tuple[bytes, int]:
    """The file, and the bytes of its rows."""
    file = BytesIO()
    writer = ArchiveWriter(Counted(file), compress=True)
    members = tuple(_member(writer, kind, records) for kind in ARCHIVED)
    writer.finish(
        Manifest(
            name=name,
            created_at=session.now().isoformat(),
            created_by=session.actor.id,
            backend="",
            loki_storage=version("loki-storage"),
            protocol_version=PROTOCOL_VERSION,
            schema_revision=session.schema_revision,
            tenant=session.tenant,
            native=False,
            compressed=True,
            consistent=True,
            include_audit=False,
            metadata=parse(metadata) if isinstance(metadata, JsonText) else metadata,
            next_ids={},
            tables={member.table: member.rows for member in members},
            members=members,
        )
    )
    return file.getvalue(), sum(member.size for member in members)


def _member(writer: ArchiveWriter, kind: Kind, records: Iterable[Record]) -> Member:
    fields = tuple(kind.domains)
    ours = (record for record in records if type(record) is kind)
    rows = (tuple(map(record.stored, fields)) for record in ours)
    with writer.member(f"{kind.table}.jsonl") as member:
        for block, number in encoded(ARRAYS, kind.domains, rows):
            member.write(block, number)
    return member.told(kind.table, fields)


def _stored(archive: ArchiveStore, stub: ArchivedDocument) -> list[Record]:
    data = archive.get(stub.bundle)
    if sha256(data).hexdigest() != stub.sha256:
        raise ArchiveError(
            f"bundle {stub.bundle} of document {stub.id} is not the one that was written: "
            "put its copy from a backup of the archive in its place"
        )
    records = _unpacked(stub.bundle, data)
    if not any(type(each) is Chain and each.id == stub.id for each in records):
        raise ArchiveError(f"bundle {stub.bundle} is not of document {stub.id}")
    return records


def _unpacked(name: str, data: bytes) -> list[Record]:
    try:
        with Archive(BytesIO(data)) as archive:
            archive.check_seal()
            if archive.manifest.native:
                raise ArchiveError(f"bundle {name} is a backup of a whole store")
            with opened(archive) as tables:
                return [
                    record
                    for table in tables
                    for part in decoded(table.kind, table.fields, table.lines())
                    for record in part
                ]
    except (RestoreRejected, InvalidValue) as error:
        raise ArchiveError(f"bundle {name} cannot be read: {error}") from error
