"""A backup into a store: checked to its last row, then as a whole (BAK-3)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from loki_storage.backups.archive import Manifest
from loki_storage.backups.source import HIGHEST_ID, Table
from loki_storage.errors import (
    BrokenReference,
    Duplicate,
    IllegalTransition,
    InvalidValue,
    OnHold,
    RestoreRejected,
)
from loki_storage.models import DEFAULT_TENANT, KINDS, AuditEntry, Kind, LegalHold
from loki_storage.protocol import NOT_EMPTY, Backend, Reader, is_empty
from loki_storage.query import IsNull, Query
from loki_storage.rows import Rows
from loki_storage.rules.change import Actor, audit_entry, ranges
from loki_storage.rules.stores import restored
from loki_storage.storage import Session, Storage

__all__ = ["restore"]


def restore(
    storage: Storage,
    manifest: Manifest,
    checksum: str,
    tables: Sequence[Table],
    *,
    replace: bool,
    actor: Actor | str | None,
    progress: Callable[[int, int], object] | None,
) -> dict[str, Any]:
    """Make these tables all that the store holds; see ``BackupManager.restore_backup``."""
    _check_target(storage, manifest, replace)
    for table in tables:
        table.check()
    _raise_leases(storage.backend, manifest, tables)
    with storage.session(actor=actor, tenant=manifest.tenant or DEFAULT_TENANT) as session:
        entry = _entry(session, storage.backend, manifest, checksum, tables)
    told = _Parts(tables, entry, manifest, progress)

    def check(reader: Reader) -> None:
        """The new state is the backup's, and nothing else."""
        for table in tables:
            if not table.same_in(reader, entry.id):
                raise RestoreRejected(f"{table.kind.table} did not come back as it was")

    try:
        # Once more within it: a hold may have been placed since.
        allow = _check_holds if replace else None
        storage.backend.restore(iter(told), check, replace=replace, allow=allow)
    except (BrokenReference, Duplicate, InvalidValue) as error:
        raise RestoreRejected("the backup's rows break a rule of the store") from error
    return {
        "name": manifest.name,
        "tables": {table.kind.table: table.rows for table in tables},
        "created_at": datetime.fromisoformat(manifest.created_at),
        "include_audit": manifest.include_audit,
        "replaced": replace,
    }


def _check_target(storage: Storage, manifest: Manifest, replace: bool) -> None:
    backend = storage.backend
    ours, theirs = backend.schema_revision(), manifest.schema_revision
    if ours is not None and theirs is not None and theirs > ours:
        raise RestoreRejected(
            f"the backup has schema revision {theirs}, this loki-storage knows {ours}; "
            "upgrade loki-storage"
        )
    if replace and manifest.tenant is not None:
        raise InvalidValue("replace", "would take the place of all tenants; this backup has one")
    if replace:
        _check_holds(backend)
    elif not is_empty(backend):
        raise IllegalTransition(NOT_EMPTY)


def _check_holds(reader: Reader) -> None:
    held = Query(LegalHold, None, IsNull("released_at"), limit=1)
    for hold in reader.select(held):
        raise OnHold(hold.name)


def _raise_leases(backend: Backend, manifest: Manifest, tables: Sequence[Table]) -> None:
    """Have ids go on above all that was ever given out where the backup comes from."""
    tops = {KINDS[name]: n - 1 for name, n in manifest.next_ids.items() if name in KINDS}
    for table in tables:
        tops[table.kind] = max(tops.get(table.kind, 0), table.highest)
    if any(top > HIGHEST_ID for top in tops.values()):
        raise RestoreRejected("the backup's ids leave no room for others")
    for kind, top in tops.items():
        _lease_beyond(backend, kind, top)


def _lease_beyond(backend: Backend, kind: Kind, top: int) -> int:
    """An id above ``top`` that nobody else has."""
    leased = backend.reserve({kind: 1})[kind]
    if leased.start <= top:
        leased = backend.reserve({kind: top - leased.start + 1})[kind]
    return leased[-1]


def _entry(
    session: Session,
    backend: Backend,
    manifest: Manifest,
    checksum: str,
    tables: Sequence[Table],
) -> AuditEntry:
    """The audit entry that the restored store gets, beside its own."""
    top = max((table.highest for table in tables if table.kind is AuditEntry), default=0)
    change = restored(
        {
            "name": manifest.name,
            "checksum": checksum,
            "created_at": manifest.created_at,
            "include_audit": manifest.include_audit,
            "tables": {table.kind.table: table.rows for table in tables},
        }
    )
    return audit_entry(
        change,
        id=_lease_beyond(backend, AuditEntry, top),
        tenant=session.tenant,
        actor=session.actor,
        now=session.now(),
    )


class _Parts:
    """The rows of all tables, and the audit entry last.

    Where the backup has no trail of its own, the entry tells which rows came in (AUD-2).
    """

    def __init__(
        self,
        tables: Sequence[Table],
        entry: AuditEntry,
        manifest: Manifest,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self._tables, self._entry, self._progress = tables, entry, progress
        self._tell_rows = not manifest.include_audit
        self._total = sum(table.rows for table in tables)

    def __iter__(self) -> Iterator[Rows[Any]]:
        done, told = 0, []
        for table in self._tables:
            spans: list[list[int]] = []
            for part in table.parts():
                yield part
                done += len(part)
                if self._tell_rows:
                    _extend(spans, part.ids)
                if self._progress is not None:
                    self._progress(done, self._total)
            if spans and not table.kind.internal:
                told.append({"kind": table.kind.table, "op": "insert", "ids": sorted(spans)})
        yield Rows.of([self._entry.evolve(changes={"rows": told, "fields": []} if told else None)])


def _extend(spans: list[list[int]], ids: Sequence[int]) -> None:
    """Add ids to ranges; as they come, most go on where the last one ended."""
    for first, last in ranges(ids):
        if spans and spans[-1][1] + 1 == first:
            spans[-1][1] = last
        else:
            spans.append([first, last])
