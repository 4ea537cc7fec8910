"""BAK-1 to BAK-3: what a backup holds, and that a restore is whole or changes nothing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loki_storage.backup_manager import BackupManager
from loki_storage.backups.names import SUFFIX
from loki_storage.enums import AuditAction
from loki_storage.errors import IllegalTransition, OnHold, RestoreRejected, Unsupported
from loki_storage.models import KINDS, AuditEntry, Chain, Document, Record, RetentionState, Tag
from loki_storage.protocol import Backend, Reader
from loki_storage.rows import Rows
from loki_storage_contract.records import TENANTS, Places, mixed_rows, parents, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged
from loki_storage_contract.trace import overrides

OURS, OTHERS = TENANTS


@contextmanager
def backups(store: Store) -> Iterator[BackupManager]:
    """A manager over the store, in a folder of its own."""
    with TemporaryDirectory(prefix="loki-contract-") as folder:
        yield BackupManager(store.storage(), folder)


def back_up(store: Store, manager: BackupManager, **options: Any) -> dict[str, Any]:
    """A backup of one moment, where the backend can."""
    consistent = "snapshot" in overrides(store.backend)
    return manager.create_backup("b", consistent=consistent, **options)


def can_replace(store: Store) -> bool:
    """Whether the backend overrides ``restore``: the default cannot replace."""
    return type(store.backend).restore is not Backend.restore


def rows_of(store: Store) -> list[Record]:
    """Every row, kind by kind, without the trail's entries about the store itself."""
    about = (AuditAction.BACKUP, AuditAction.RESTORE_STORE)
    found = [row for kind in KINDS.values() for row in store.all(kind)]
    return [r for r in found if not (isinstance(r, AuditEntry) and r.action in about)]


def put(store: Store, rows: list[Record]) -> list[Record]:
    """Rows of every sort in two tenants; a backend that stores nothing fails here."""
    store.put(*Places(store.backend).records(sound([*parents(), *rows])))
    if not store.all(RetentionState, OURS):
        store.new(RetentionState)
    held = rows_of(store)
    assert {Chain, Document, RetentionState} <= set(map(type, held))
    return held


def parts_of(rows: list[Record]) -> list[Rows[Any]]:
    """Rows as a restore is given them: of one kind and tenant, parents first."""
    ordered = sorted(rows, key=lambda row: (list(KINDS).index(row.table), row.tenant_id))
    return [Rows.of([row]) for row in ordered]


@proves("BAK-1", share=0.1, rows=mixed_rows())
def a_backup_restores_into_an_equal_store(store: Store, rows: list[Record]) -> None:
    """Every row of every tenant, internal kinds too; new ids are above all of them."""
    before = put(store, rows)
    top = max(row.id for row in before if isinstance(row, Document))
    with backups(store) as manager:
        back_up(store, manager)
        store.reset()
        manager.restore_backup("b")
    assert rows_of(store) == before
    assert store.open().reserve({Document: 1})[Document].start > top


@proves("BAK-1", share=0.1, rows=mixed_rows())
def a_dump_holds_every_row_of_every_kind(store: Store, rows: list[Record]) -> None:
    """What ``select`` gives kind by kind, internal kinds too, each row once."""
    held = put(store, rows)
    dumped = store.dump()
    assert len(dumped) == len(held)
    assert {(type(row), row.id) for row in dumped} == {(type(row), row.id) for row in held}


@proves("BAK-2")
def a_backup_is_of_one_moment(store: Store) -> None:
    """All that was acknowledged before, and nothing of what others write meanwhile."""
    before = put(store, [])

    def write(done: int, total: int) -> None:
        if done == 0:
            chain = store.plan(Chain)
            store.put(chain, store.plan(Document, root_id=chain.id), store.plan(Tag, name="late"))

    with backups(store) as manager:
        if "snapshot" not in overrides(store.backend):
            try:
                manager.create_backup("b")
            except Unsupported:
                write = None  # type: ignore[assignment]
        back_up(store, manager, progress=write)
        store.reset()
        manager.restore_backup("b")
    assert rows_of(store) == before


@proves("BAK-3")
def an_altered_backup_changes_nothing(store: Store) -> None:
    """One bit, a cut, another file: refused before the target is touched."""
    put(store, [])
    with backups(store) as manager:
        path = Path(manager._folder) / f"{back_up(store, manager)['name']}{SUFFIX}"
        sound_bytes = path.read_bytes()
        store.reset()
        flipped = bytearray(sound_bytes)
        flipped[len(flipped) // 2] ^= 1
        for data in (bytes(flipped), sound_bytes[:-1], b"something else"):
            path.write_bytes(data)
            unchanged(store, lambda: manager.restore_backup("b"), RestoreRejected)
        path.write_bytes(sound_bytes)
        manager.restore_backup("b")
    assert rows_of(store)


@proves("BAK-3")
def a_restore_that_does_not_check_out_changes_nothing(store: Store) -> None:
    """The new rows are judged before they count; on a full store and on an empty one."""
    rows = put(store, [])
    changed = [row.evolve(name="new") if isinstance(row, Tag) else row for row in rows]

    def refuse(reader: Reader) -> None:
        assert list(map(type, _all(reader))) == list(map(type, changed)), "not the new state"
        raise RestoreRejected("no")

    def restore(replace: bool) -> None:
        store.backend.restore(iter(parts_of(changed)), refuse, replace=replace)

    if can_replace(store):
        unchanged(store, lambda: restore(True), RestoreRejected)
    store.reset()
    unchanged(store, lambda: restore(False), RestoreRejected)


@proves("BAK-3")
def a_restore_that_is_not_allowed_changes_nothing(store: Store) -> None:
    """What is to be replaced is judged as it is at that moment, with what others have just done."""
    rows = put(store, [])
    if not can_replace(store):
        return
    before = Counter(store.dump())

    def refuse(reader: Reader) -> None:
        assert Counter(_all(reader)) == before
        raise OnHold("case 7")

    def restore() -> None:
        store.backend.restore(iter(parts_of(rows[:1])), _all, replace=True, allow=refuse)

    unchanged(store, restore, OnHold)


def _all(reader: Reader) -> list[Record]:
    return list(reader.dump())


@proves("BAK-3")
def a_restore_is_the_whole_of_what_is_stored(store: Store) -> None:
    """Nothing of what was there before stays; a store with rows is replaced on request only."""
    rows = put(store, [])
    kept = [row for row in rows if row.tenant_id == OURS]
    store.new(Tag, OTHERS, name="another")

    def restore(replace: bool) -> None:
        store.backend.restore(iter(parts_of(kept)), lambda reader: None, replace=replace)

    unchanged(store, lambda: restore(False), IllegalTransition)
    if can_replace(store):
        restore(True)
        assert rows_of(store) == kept
    else:
        unchanged(store, lambda: restore(True), Unsupported)


@proves("BAK-3")
def ids_leased_before_a_restore_are_not_given_out_again(store: Store) -> None:
    """Leases only go up: other processes still hold ids."""
    put(store, [])
    rows = rows_of(store)
    leased = store.backend.reserve({Tag: 50})[Tag]
    if can_replace(store):
        store.backend.restore(iter(parts_of(rows)), lambda reader: None, replace=True)
    else:
        store.reset()
        store.backend.restore(iter(parts_of(rows)), lambda reader: None)
    assert rows_of(store) == rows
    assert store.backend.reserve({Tag: 1})[Tag].start > leased[-1]
