"""What an export holds, what its log tells, what goes away again (EXP-1 to EXP-3)."""

import hashlib
import os
import stat
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Storage
from loki_storage.enums import AuditAction, ExportFormat
from loki_storage.errors import (
    ExportError,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StorageError,
    Unsupported,
)
from loki_storage.export_manager import ExportManager, read_export
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    ExportLog,
    Kind,
    Validation,
    ValidationResult,
)
from loki_storage.query import Query, equals
from tests.conftest import Open
from tests.exports.conftest import CLIENT
from tests.stores import CLOCK, unsteady

pytestmark = pytest.mark.usefixtures("filled")


def rows(told: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return list(read_export(told["file_path"], **options))


def texts(told: dict[str, Any]) -> list[str]:
    return [row["content"] for row in rows(told)]


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


# What is in it


@pytest.mark.parametrize("format", ExportFormat)
def test_rows_read_back_are_the_records(
    manager: ExportManager, begin: Open, format: ExportFormat
) -> None:
    told = manager.export_documents(format, CLIENT, "alice", versions="all", include_deleted=True)
    with begin() as session:
        where = equals(client_id=CLIENT)
        records = list(session.select(session.query(Document, where)))
    want = [{name: getattr(r, name) for name in Document.domains} for r in records]
    assert rows(told) == want
    assert told["record_count"] == len(want) == 4


def test_heads_of_live_documents_come_by_default(manager: ExportManager) -> None:
    assert texts(manager.export_documents("jsonl", None, "alice")) == ["two", "other", "three"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"versions": "all"}, ["one", "two", "three"]),
        ({"include_deleted": True}, ["two", "three", "gone"]),
        ({"versions": "all", "include_deleted": True}, ["one", "two", "three", "gone"]),
        ({"filters": {"document_type": "contract"}}, ["three"]),
        ({"filters": {"document_type": ["contract", "email"]}}, ["two", "three"]),
        ({"filters": {"document_type": []}}, []),
        ({"filters": {"title": None}}, ["three"]),
        ({"filters": {"title": "=1+1"}}, ["two"]),
        ({"filters": {"metadata_json.region": "EU"}}, ["two"]),
        ({"filters": {"start_date": date(2026, 3, 1)}}, ["two", "three"]),
        ({"filters": {"end_date": "2999-12-31"}}, ["two", "three"]),
        ({"filters": {"end_date": "2026-02-28"}}, []),
        ({"filters": {"start_date": "9999-12-31"}}, []),
        ({"filters": {"end_date": "9999-12-31"}}, ["two", "three"]),
        ({"filters": {"created_at": "2026-01-01T00:00:00+00:00"}}, []),
    ],
)
def test_filters_and_options_choose_rows(
    manager: ExportManager, options: dict[str, Any], found: list[str]
) -> None:
    assert texts(manager.export_documents("json", CLIENT, "alice", **options)) == found


def test_end_day_is_included_whole_and_a_moment_exactly(
    manager: ExportManager, begin: Open
) -> None:
    now = CLOCK.advance(days=1)
    last = datetime(now.year, now.month, now.day, 23, 59, 59, 999_999, tzinfo=UTC)
    CLOCK.time = last
    with begin() as session:
        session.documents.create_document("late", "email", "late client")
    for end, count in ((last, 1), (last.date(), 1), (last - timedelta(microseconds=1), 0)):
        told = manager.export_documents("json", "late client", "a", filters={"end_date": end})
        assert told["record_count"] == count
    told = manager.export_documents("json", "late client", "a", filters={"start_date": last})
    assert told["record_count"] == 1


def test_children_of_deleted_documents_stay_out_unless_asked_for(manager: ExportManager) -> None:
    for export in (manager.export_validations, manager.export_results, manager.export_corrections):
        assert export("csv", CLIENT, "alice")["record_count"] == 1
        assert export("csv", CLIENT, "alice", include_deleted=True)["record_count"] == 2


@pytest.mark.parametrize("format", ExportFormat)
def test_validations_bring_their_results(manager: ExportManager, format: ExportFormat) -> None:
    told = manager.export_validations(
        format, CLIENT, "alice", fields=["status", "overall_risk"], include_results=True
    )
    (row,) = rows(told)
    assert (row["status"], row["overall_risk"]) == ("completed", "high")
    (result,) = row["results"]
    assert (result["gate_key"], result["message"]) == ("m.g", "no")


def test_risk_level_is_overall_risk(manager: ExportManager) -> None:
    for risk, count in (("high", 1), ("low", 0)):
        told = manager.export_validations("csv", CLIENT, "a", filters={"risk_level": risk})
        assert told["record_count"] == count


def test_audit_trail_is_exported_without_the_export_itself(manager: ExportManager) -> None:
    told = manager.export_audit_trail("jsonl", None, "alice", filters={"entity_type": "export"})
    assert told["record_count"] == 0
    told = manager.export_audit_trail("jsonl", None, "alice", filters={"entity_type": "export"})
    assert [row["action"] for row in rows(told)] == ["export", "complete"]


def test_fields_are_those_that_were_asked_for_in_their_order(manager: ExportManager) -> None:
    told = manager.export_documents("csv", CLIENT, "alice", fields=["title", "id"])
    with open(told["file_path"], encoding="utf-8") as file:
        assert file.readline() == "title,id\n"
    told = manager.export_documents("csv", CLIENT, "alice", without=["content"])
    assert list(rows(told)[0]) == [name for name in Document.domains if name != "content"]


@pytest.mark.parametrize("format", ExportFormat)
def test_masked_fields_read_as_stars(manager: ExportManager, format: ExportFormat) -> None:
    mask = ["title", "created_at", "version", "metadata_json.who"]
    told = manager.export_documents(format, CLIENT, "alice", mask=mask)
    first, second = rows(told)
    assert {first[name] for name in mask[:3]} == {"***"}
    assert first["metadata_json"] == {"region": "EU", "who": "***"}
    assert second["title"] == "***", "that it is NULL is not told either"
    (log,) = manager.get_export_history()
    assert log.filters == {"mask": mask}


def test_masks_reach_into_results(manager: ExportManager) -> None:
    told = manager.export_validations(
        "json", CLIENT, "alice", include_results=True, mask=["results.message"]
    )
    assert rows(told)[0]["results"][0]["message"] == "***"


TABLES: dict[str, Kind] = {
    "documents": Document,
    "validations": Validation,
    "results": ValidationResult,
    "corrections": Correction,
    "audit_trail": AuditEntry,
}
NAMES = ("title", "message", "metadata_json.who")


@pytest.mark.parametrize("table", TABLES)
def test_masked_manager_exports_what_a_masked_session_reads(
    store: Storage, tenant: str, folder: Path, table: str
) -> None:
    kind = TABLES[table]
    manager = ExportManager(store, folder, tenant=tenant, mask=NAMES)
    told = getattr(manager, f"export_{table}")("json", None, "auditor", include_deleted=True)
    with store.session(tenant=tenant, mask=NAMES) as session:
        want = [
            {name: getattr(r, name) for name in kind.domains}
            for r in session.select(session.query(kind))
        ]
    found = rows(told)
    ids = {row["id"] for row in found}
    assert found == [row for row in want if row["id"] in ids]
    assert found
    assert "=1+1" not in Path(told["file_path"]).read_text()


def test_masked_manager_masks_nested_results(store: Storage, tenant: str, folder: Path) -> None:
    manager = ExportManager(store, folder, tenant=tenant, mask=NAMES)
    told = manager.export_validations("json", CLIENT, "auditor", include_results=True)
    assert rows(told)[0]["results"][0]["message"] == "***"


def test_masked_manager_cannot_be_asked_about_what_it_hides(
    store: Storage, tenant: str, folder: Path, manager: ExportManager
) -> None:
    masked = ExportManager(store, folder, tenant=tenant, mask=NAMES)
    for filters in ({"title": "=1+1"}, {"metadata_json.who": "x"}):
        with pytest.raises(InvalidField, match="masked"):
            masked.export_documents("csv", CLIENT, "auditor", filters=filters)
    assert masked.export_documents("csv", CLIENT, "auditor", {"metadata_json.region": "EU"})
    manager.export_documents("csv", CLIENT, "alice", {"title": "=1+1"})
    assert [log.filters for log in masked.get_export_history()] == [
        {"title": "***"},
        {"metadata_json.region": "EU", "mask": list(NAMES)},
    ]


@pytest.mark.parametrize("mask", ["title", ["titel"], ["created_at"]])
def test_managers_mask_is_checked_like_a_sessions(store: Storage, mask: Any) -> None:
    with pytest.raises((InvalidField, InvalidValue)):
        ExportManager(store, mask=mask)


def test_trail_exported_with_a_mask_tells_nothing_of_it(manager: ExportManager) -> None:
    told = manager.export_audit_trail("json", None, "alice", mask=["title", "metadata_json.who"])
    assert {str(row["changes"]).count("=1+1") for row in rows(told)} == {0}


def test_export_sees_one_moment(manager: ExportManager, begin: Open) -> None:
    """Another writer commits after the first rows; none of it is in the file."""

    def write(done: int, total: int) -> None:
        if done == 0:
            with begin() as session:
                session.documents.create_document("later", "email", CLIENT)

    told = manager.export_documents("json", CLIENT, "alice", progress=write)
    assert texts(told) == ["two", "three"]


def test_progress_begins_with_nothing_and_ends_with_all(manager: ExportManager) -> None:
    told: list[tuple[int, int]] = []
    manager.export_documents("csv", None, "a", progress=lambda done, of: told.append((done, of)))
    assert told == [(0, 3), (3, 3)]


def test_other_tenants_rows_are_not_there(store: Storage, folder: Path) -> None:
    other = ExportManager(store, folder, tenant="nobody's")
    assert other.export_documents("csv", None, "alice")["record_count"] == 0


# The file and its log


def test_file_is_what_is_told_and_what_the_log_says(manager: ExportManager, folder: Path) -> None:
    told = manager.export_documents(ExportFormat.CSV, CLIENT, "alice", filters={"language": "en"})
    data = Path(told["file_path"]).read_bytes()
    assert Path(told["file_path"]).parent == folder
    assert told["file_size"] == len(data)
    assert told["file_hash"] == hashlib.sha256(data).hexdigest()
    assert told["format"] == "csv"
    (log,) = manager.get_export_history(CLIENT)
    assert (log.id, log.file_path, log.file_size_bytes, log.file_hash, log.record_count) == (
        told["export_id"],
        told["file_path"],
        told["file_size"],
        told["file_hash"],
        told["record_count"],
    )
    assert (log.status, log.export_type, log.entity_type) == ("completed", "csv", "document")
    assert (log.requested_by, log.client_id) == ("alice", CLIENT)
    assert log.filters == {"language": "en"}
    assert log.fields == list(Document.domains)
    assert log.expires_at == log.requested_at + timedelta(days=30)


def test_modes_are_private(manager: ExportManager, folder: Path) -> None:
    path = Path(manager.export_documents("csv", CLIENT, "alice")["file_path"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert files(folder) == [path.name]


def test_two_exports_of_one_second_are_two_files(manager: ExportManager) -> None:
    told = [manager.export_documents("csv", CLIENT, "alice") for _ in range(3)]
    assert len({each["file_path"] for each in told}) == 3


def test_two_stores_may_share_a_folder(folder: Path) -> None:
    from loki_storage import open_storage

    paths = set()
    for _ in range(3):
        with open_storage("memory://", clock=CLOCK) as storage:
            told = ExportManager(storage, folder).export_documents("csv", None, "alice")
            paths.add(told["file_path"])
    assert len(paths) == 3


def test_each_step_is_audited_by_who_requested_it(manager: ExportManager, begin: Open) -> None:
    told = manager.export_documents("csv", CLIENT, "bob")
    manager.delete_export(told["export_id"])
    with begin() as session:
        entries = session.audit.get_by_entity("export", told["export_id"])
    assert [(entry.action, entry.actor_id) for entry in reversed(entries)] == [
        (AuditAction.EXPORT, "bob"),
        (AuditAction.COMPLETE, "bob"),
        (AuditAction.DELETE, "system"),
    ]


def test_stream_takes_the_rows_instead_of_a_file(manager: ExportManager, folder: Path) -> None:
    stream = BytesIO()
    told = manager.export_documents("jsonl", CLIENT, "alice", stream=stream)
    assert told["file_path"] is None
    assert told["file_hash"] == hashlib.sha256(stream.getvalue()).hexdigest()
    assert stream.getvalue().count(b"\n") == told["record_count"]
    assert files(folder) == []


def test_named_file_is_never_overwritten(manager: ExportManager, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    told = manager.export_documents("csv", CLIENT, "alice", file_path=path)
    assert told["file_path"] == str(path)
    before = path.read_bytes()
    with pytest.raises(ExportError, match="there already"):
        manager.export_documents("csv", CLIENT, "alice", file_path=path)
    assert path.read_bytes() == before


# What is refused, before anything is written


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("doc", {}),
        ("csv", {"filters": {"titel": "x"}}),
        ("csv", {"filters": {"risk_level": "high"}}),
        ("csv", {"filters": {"id": "x"}}),
        ("csv", {"filters": {"metadata_json": {}}}),
        ("csv", {"filters": {"title.part": "x"}}),
        ("csv", {"filters": {"start_date": "yesterday"}}),
        ("csv", {"filters": {"start_date": "2026-13-01"}}),
        ("csv", {"filters": {"start_date": datetime(2026, 1, 1)}}),
        ("csv", {"filters": {"is_deleted": "no"}}),
        ("csv", {"fields": ["id", "nothing"]}),
        ("csv", {"fields": []}),
        ("csv", {"fields": ["id", "id"]}),
        ("csv", {"fields": "id"}),
        ("csv", {"without": ["nothing"]}),
        ("csv", {"mask": ["nothing"]}),
        ("csv", {"mask": ["title.part"]}),
        ("csv", {"mask": "title"}),
        ("csv", {"versions": "some"}),
        ("csv", {"include_deleted": 1}),
        ("csv", {"include_results": True}),
        ("csv", {"rows_per_sheet": 5}),
        ("csv", {"overwrite": True}),
        ("csv", {"expires_in": 30}),
        ("csv", {"stream": BytesIO(), "file_path": "x"}),
        ("csv", {"file_path": "x" * 600}),
    ],
)
def test_what_is_unknown_is_refused_before_anything_is_written(
    manager: ExportManager, folder: Path, format: str, options: dict[str, Any]
) -> None:
    with pytest.raises((InvalidField, InvalidValue)):
        manager.export_documents(format, CLIENT, "alice", **options)
    assert manager.get_export_history() == []
    assert files(folder) == []


def test_requester_is_required(manager: ExportManager) -> None:
    with pytest.raises(InvalidValue):
        manager.export_documents("csv", CLIENT, "")


def test_backend_without_snapshots_needs_to_be_asked_and_it_is_told(
    store: Storage, folder: Path, tenant: str
) -> None:
    manager = ExportManager(unsteady(store)[1], folder, tenant=tenant)
    with pytest.raises(Unsupported):
        manager.export_documents("csv", CLIENT, "alice")
    assert manager.get_export_history() == []
    told = manager.export_documents("csv", CLIENT, "alice", consistent=False)
    assert told["record_count"] == 2
    (log,) = manager.get_export_history()
    assert log.filters == {"consistent": False}


# What goes away again


def test_deleting_takes_the_file_and_keeps_the_log(manager: ExportManager, folder: Path) -> None:
    told = manager.export_documents("csv", CLIENT, "alice")
    assert manager.delete_export(told["export_id"]) is True
    assert files(folder) == []
    (log,) = manager.get_export_history()
    assert (log.status, log.file_path, log.file_hash) == ("completed", None, told["file_hash"])
    assert manager.delete_export(told["export_id"]) is False


def test_unknown_export_is_not_found(manager: ExportManager) -> None:
    with pytest.raises(NotFound):
        manager.delete_export(10**9)


def test_altered_file_is_not_removed(manager: ExportManager) -> None:
    told = manager.export_documents("csv", CLIENT, "alice")
    Path(told["file_path"]).write_text("somebody's notes")
    with pytest.raises(ExportError, match="not what its log describes"):
        manager.delete_export(told["export_id"])
    assert Path(told["file_path"]).read_text() == "somebody's notes"


def test_link_in_the_place_of_a_file_is_not_followed(
    manager: ExportManager, tmp_path: Path
) -> None:
    told = manager.export_documents("csv", CLIENT, "alice")
    path, kept = Path(told["file_path"]), tmp_path / "kept.csv"
    path.rename(kept)
    path.symlink_to(kept)
    with pytest.raises(ExportError):
        manager.delete_export(told["export_id"])
    assert kept.exists()


def test_file_of_another_folder_is_not_removed(
    manager: ExportManager, store: Storage, tenant: str, tmp_path: Path
) -> None:
    told = manager.export_documents("csv", CLIENT, "alice", file_path=tmp_path / "mine.csv")
    with pytest.raises(ExportError, match="not in"):
        manager.delete_export(told["export_id"])
    there = ExportManager(store, tmp_path, tenant=tenant)
    assert there.delete_export(told["export_id"]) is True


def test_expired_files_go_and_others_stay(manager: ExportManager, folder: Path) -> None:
    soon = manager.export_documents("csv", CLIENT, "alice", expires_in=timedelta(hours=1))
    other = manager.export_documents("csv", "another client", "a", expires_in=timedelta(hours=1))
    kept = manager.export_documents("csv", CLIENT, "alice", expires_in=None)
    assert manager.cleanup_expired_exports() == []
    CLOCK.advance(hours=1)
    assert manager.cleanup_expired_exports(CLIENT) == [Path(soon["file_path"]).name]
    assert manager.cleanup_expired_exports() == [Path(other["file_path"]).name]
    assert manager.cleanup_expired_exports() == []
    assert files(folder) == [Path(kept["file_path"]).name]


def test_file_that_is_gone_already_is_no_obstacle(manager: ExportManager) -> None:
    told = manager.export_documents("csv", CLIENT, "alice", expires_in=timedelta(0))
    Path(told["file_path"]).unlink()
    assert manager.cleanup_expired_exports() == []
    (log,) = manager.get_export_history()
    assert log.file_path is None


def test_altered_expired_file_stays_and_the_others_go(manager: ExportManager) -> None:
    told = [
        manager.export_documents("csv", CLIENT, "alice", expires_in=timedelta(0)) for _ in range(3)
    ]
    Path(told[1]["file_path"]).write_text("altered")
    removed = manager.cleanup_expired_exports()
    assert sorted(removed) == sorted(Path(told[n]["file_path"]).name for n in (0, 2))


# The repository


def test_log_ends_once(begin: Open) -> None:
    with begin() as session:
        log = session.exports.start("csv", "document", "alice")
        session.exports.fail(log.id, "no disk")
        for end in (
            lambda: session.exports.fail(log.id, "again"),
            lambda: session.exports.complete(
                log.id, record_count=1, file_size=1, file_hash="x" * 64
            ),
        ):
            with pytest.raises(IllegalTransition):
                end()
        found = session.exports.get_by_id(log.id)
        assert found is not None
        assert (found.status, found.error_message) == ("failed", "no disk")


def test_running_export_is_not_deleted(manager: ExportManager, begin: Open) -> None:
    with begin() as session:
        log = session.exports.start("csv", "document", "alice")
    with pytest.raises(IllegalTransition):
        manager.delete_export(log.id)


def test_pending_export_that_nobody_sees_is_given_up_after_a_day(
    manager: ExportManager, begin: Open
) -> None:
    with begin() as session:
        session.exports.start("csv", "document", "alice", file_path="/nowhere/at/all.csv")
    assert manager.get_export_history()[0].status == "pending"
    CLOCK.advance(hours=25)
    (log,) = manager.get_export_history()
    assert log.status == "failed"
    assert log.error_message is not None
    assert "abandoned" in log.error_message


def test_no_error_holds_stored_text(manager: ExportManager) -> None:
    with pytest.raises(StorageError) as caught:
        manager.export_documents("csv", CLIENT, "alice", filters={"id": "SECRET"})
    assert "SECRET" not in str(caught.value)


def test_export_log_is_in_the_tenant(store: Storage, manager: ExportManager, tenant: str) -> None:
    told = manager.export_documents("csv", CLIENT, "alice")
    query = Query(ExportLog, tenant, equals(id=told["export_id"]))
    assert store.backend.count(query) == 1
