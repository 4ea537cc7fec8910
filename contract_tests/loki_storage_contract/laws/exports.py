"""EXP-1 to EXP-3: what an export holds, that it reads back, that its file is whole."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from loki_storage.errors import ConnectionLost
from loki_storage.export_manager import ExportManager, read_export
from loki_storage.exports.source import SOURCES
from loki_storage.models import (
    Chain,
    Correction,
    Document,
    ExportLog,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.protocol import Backend
from loki_storage.query import Query, equals
from loki_storage_contract.faults import Proxy
from loki_storage_contract.records import TENANTS, Places, mixed_rows, parents, record_of, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store
from loki_storage_contract.trace import overrides

OURS, OTHERS = TENANTS
EXPORTS = {
    "documents": ExportManager.export_documents,
    "validations": ExportManager.export_validations,
    "results": ExportManager.export_results,
    "corrections": ExportManager.export_corrections,
    "audit": ExportManager.export_audit_trail,
}


@contextmanager
def exporting(store: Store, backend: Backend | None = None) -> Iterator[ExportManager]:
    """A manager over the store, in a folder of its own."""
    with TemporaryDirectory(prefix="loki-contract-") as folder:
        yield ExportManager(store.storage(backend), folder, tenant=OURS)


def export(
    store: Store, manager: ExportManager, table: str, format: str = "jsonl", **options: Any
) -> dict[str, Any]:
    """Everything of a table, deleted rows too; of one moment where the backend can."""
    if "snapshot" not in overrides(store.backend):
        options["consistent"] = False
    if table == "documents":
        options["versions"] = "all"
    return EXPORTS[table](manager, format, None, "me", include_deleted=True, **options)


def fields_of(record: Record) -> dict[str, Any]:
    return {field: getattr(record, field) for field in record.domains}


def ours(records: Sequence[Record], table: str) -> list[dict[str, Any]]:
    """What an export of a table must give: the tenant's rows, by id."""
    kind = SOURCES[table].kind
    mine = [r for r in records if type(r) is kind and r.tenant_id == OURS]
    return [fields_of(record) for record in sorted(mine, key=lambda record: record.id)]


@proves("EXP-1", share=0.1, rows=mixed_rows())
def an_export_holds_the_rows_of_its_tenant(store: Store, rows: list[Record]) -> None:
    """Every table, by id; nothing of another tenant, nothing too few."""
    records = Places(store.backend).records(sound([*parents(), *rows]))
    store.put(*records)
    with exporting(store) as manager:
        for table in EXPORTS:
            if table != "audit":  # whose rows the exports themselves add to
                told = export(store, manager, table)
                found = list(read_export(told["file_path"]))
                assert found == ours(records, table)
                assert told["record_count"] == len(found)


@proves("EXP-1")
def an_export_holds_what_its_filters_match(store: Store) -> None:
    """By a field, by a list, by NULL; deleted rows only on request."""
    rows = [document(store, language=language) for language in ("en", "de", None)]
    rows.append(document(store, language="en", is_deleted=True, is_latest=False))
    options: dict[str, Any] = {}
    if "snapshot" not in overrides(store.backend):
        options["consistent"] = False

    def found(wanted: Any, **more: Any) -> list[int]:
        told = manager.export_documents(
            "json", None, "me", filters={"language": wanted}, versions="all", **more, **options
        )
        return [row["id"] for row in read_export(told["file_path"])]

    with exporting(store) as manager:
        assert found("en") == [rows[0].id]
        assert found("en", include_deleted=True) == [rows[0].id, rows[3].id]
        assert found(["de", "en"]) == [rows[0].id, rows[1].id]
        assert found(None) == [rows[2].id]
        assert found([]) == []


def document(store: Store, **fields: Any) -> Document:
    """A document with a chain of its own."""
    chain = store.new(Chain)
    return store.new(Document, root_id=chain.id, **{"is_deleted": False, **fields})


@proves("EXP-1")
def an_export_is_of_one_moment(store: Store) -> None:
    """What others write once it has begun is not in it, also not among the results."""
    row = document(store)
    validation = store.new(Validation, document_id=row.id, request_hash="1")
    first = store.new(ValidationResult, validation_id=validation.id)

    def write(done: int, total: int) -> None:
        if done == 0:
            late = store.plan(ValidationResult, validation_id=validation.id)
            other = store.plan(Validation, document_id=row.id, request_hash=f"{late.id}")
            store.put(late, other)

    with exporting(store) as manager:
        if "snapshot" not in overrides(store.backend):
            write = None  # type: ignore[assignment]
        told = export(store, manager, "validations", include_results=True, progress=write)
        (found,) = read_export(told["file_path"])
        assert [result["id"] for result in found["results"]] == [first.id]


@proves(
    "EXP-2",
    share=0.25,
    rows=st.lists(record_of(Correction, 1), min_size=1, max_size=4),
    format=st.sampled_from(["csv", "json", "jsonl", "csv", "json", "jsonl", "excel"]),
)
def an_export_reads_back_as_the_rows(store: Store, rows: list[Correction], format: str) -> None:
    """Any values that may be stored, in each format."""
    numbered = [row.replaced({"id": n, "validation_id": None}) for n, row in enumerate(rows, 3)]
    records = Places(store.backend).records([*parents(), *numbered])
    store.put(*records)
    with exporting(store) as manager:
        told = export(store, manager, "corrections", format)
        found = list(read_export(told["file_path"]))
    want = ours(records, "corrections")
    assert found == want
    assert [list(map(type, row.values())) for row in found] == [
        [str if isinstance(value, str) else type(value) for value in row.values()] for row in want
    ]


@proves("EXP-3")
def a_file_is_what_its_log_says(store: Store) -> None:
    """Size and SHA-256; removing it takes that file and leaves the log."""
    document(store)
    with exporting(store) as manager:
        told = export(store, manager, "documents")
        path = Path(told["file_path"])
        data = path.read_bytes()
        log = only_log(store)
        digest = hashlib.sha256(data).hexdigest()
        assert (log.status, log.file_path) == ("completed", str(path))
        assert (log.file_size_bytes, log.file_hash) == (len(data), digest)
        assert log.record_count == data.count(b"\n") == 1
        assert manager.delete_export(told["export_id"])
        assert not path.exists()
        assert only_log(store).file_hash == digest
        assert only_log(store).file_path is None


class _Breaks(Proxy):
    """Loses the connection in the middle of a table."""

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        yield from super().rows(query.evolve(limit=1), fields)
        raise ConnectionLost("lost while reading")


@proves("EXP-3")
def a_failed_export_leaves_no_file_and_says_why(store: Store) -> None:
    """Nothing under the final name, nothing beside it."""
    document(store)
    document(store)
    with exporting(store, _Breaks(store.backend)) as manager:
        folder = manager._folder
        try:
            manager.export_documents("csv", None, "me", consistent=False)
        except ConnectionLost:
            pass
        else:
            raise AssertionError("the export did not fail")
        assert os.listdir(folder) == []
        log = only_log(store)
        assert (log.status, bool(log.error_message)) == ("failed", True)
        assert log.file_hash is None


def only_log(store: Store) -> ExportLog:
    (log,) = store.backend.select(Query(ExportLog, OURS, equals(requested_by="me")))
    assert isinstance(log, ExportLog)
    return log
