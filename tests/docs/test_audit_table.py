"""The table "Audit actions" in docs/specification.md is what the operations really write."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from inspect import ismethod
from typing import Any

import attrs
import pytest

from loki_storage.enums import AuditAction, EntityType
from loki_storage.intercepts import Intercept
from loki_storage.models import AuditEntry
from loki_storage.query import Order, Query
from loki_storage.repositories.base import Repository
from loki_storage.storage import Session, Storage, open_storage
from tests.docs.pages import ROOT, tables

PAGE = ROOT / "docs" / "specification.md"
CLIENT = "client"
LONG_AGO = timedelta(days=500)

Entries = list[tuple[str, str]]


@attrs.frozen
class World:
    """Ids of what is there before an operation, each in a state of its own."""

    document: int
    first_version: int
    untagged: int
    deleted: int
    deleted_version: int
    pending: int
    running: int
    correction: int
    note: int
    applied: int
    tag: int
    export: int
    policy: int


def build(session: Session) -> World:
    documents, validations, corrections = (
        session.documents,
        session.validations,
        session.corrections,
    )
    first = documents.create_document("one", "email", CLIENT, tags=["old"])
    head = documents.create_version(first.id, "two")
    dropped = documents.create_version(head.id, "three")
    documents.delete_version(dropped.id)
    gone = documents.create_document("gone", "email", CLIENT)
    documents.delete(gone.id)
    pending = validations.create_validation(head.id, ["m"], CLIENT)
    running = validations.create_validation(head.id, ["m"], CLIENT)
    validations.start_validation(running.id)
    rewrite = corrections.create_correction(
        head.id, "rewrite", CLIENT, corrected_content="two, corrected"
    )
    note = corrections.create_correction(head.id, "suggestion", CLIENT, reasoning="shorten it")
    other = documents.create_document("wrong", "email", CLIENT)
    fix = corrections.create_correction(other.id, "auto_fix", CLIENT, corrected_content="right")
    corrections.apply_correction(fix.id)
    tag = session.tags.get_by_name("old")
    assert tag is not None
    policy = session.retention.create("policy", "document", "delete", 30)
    session.retention.holds.place("case", "court", ids=[other.id])
    export = session.exports.start("csv", "document", "alice", file_path="x.csv")
    return World(
        document=head.id,
        first_version=first.id,
        untagged=other.id,
        deleted=gone.id,
        deleted_version=dropped.id,
        pending=pending.id,
        running=running.id,
        correction=rewrite.id,
        note=note.id,
        applied=fix.id,
        tag=tag.id,
        export=export.id,
        policy=policy.id,
    )


def intercept(text: str, *, corrected: str | None = None) -> Intercept:
    gate = {"status": "FAIL", "severity": "high", "message": "no"}
    report = {
        "timestamp": "2026-11-09T09:12:44.177076",
        "modules": {"m": {"name": "M", "version": "1", "gates": {"g": gate}}},
        "overall_risk": "HIGH",
    }
    corrections = None
    if corrected is not None:
        applied = {"strategy": "s", "gate_id": "g", "metadata": {"reason": "r"}}
        corrections = {"corrected": corrected, "corrections_applied": [applied]}
    return Intercept.from_report(text, "email", CLIENT, report, corrections)


RESULT: dict[str, Any] = {"scope": "module", "gate_key": "m.g", "status": "pass"}

# (operation, when), as the table has them -> the operation itself.
OPERATIONS: dict[tuple[str, str], Callable[[Session, World], Any]] = {
    ("documents.create_document", ""): (
        lambda s, w: s.documents.create_document("new", "email", CLIENT)
    ),
    ("documents.create_document", "with two new tags"): (
        lambda s, w: s.documents.create_document("new", "email", CLIENT, tags=["a", "b", "old"])
    ),
    ("documents.create_document", '`on_duplicate="return"`, the text is there'): (
        lambda s, w: s.documents.create_document("two", "email", CLIENT, on_duplicate="return")
    ),
    ("documents.create_version", ""): lambda s, w: s.documents.create_version(w.document, "next"),
    ("documents.update", ""): lambda s, w: s.documents.update(w.document, title="T"),
    ("documents.update", "nothing differs"): lambda s, w: s.documents.update(
        w.document, title=None
    ),
    ("documents.revert_to", ""): lambda s, w: s.documents.revert_to(w.first_version),
    ("documents.delete", ""): lambda s, w: s.documents.delete(w.document),
    ("documents.delete", "deleted already"): lambda s, w: s.documents.delete(w.deleted),
    ("documents.delete_version", ""): lambda s, w: s.documents.delete_version(w.first_version),
    ("documents.restore", ""): lambda s, w: s.documents.restore(w.deleted),
    ("documents.restore", "live already"): lambda s, w: s.documents.restore(w.document),
    ("documents.restore_version", ""): (
        lambda s, w: s.documents.restore_version(w.deleted_version)
    ),
    ("documents.purge", ""): lambda s, w: s.documents.purge([w.deleted]),
    ("documents.add_tag", ""): lambda s, w: s.documents.add_tag(w.untagged, "old"),
    ("documents.add_tag", "the tag is new"): lambda s, w: s.documents.add_tag(w.document, "new"),
    ("documents.add_tag", "it has the tag"): lambda s, w: s.documents.add_tag(w.document, "old"),
    ("documents.remove_tag", ""): lambda s, w: s.documents.remove_tag(w.document, "old"),
    ("documents.create_documents", "two, the second with a new tag"): (
        lambda s, w: s.documents.create_documents(
            [
                {"content": "new", "document_type": "email", "client_id": CLIENT},
                {"content": "x", "document_type": "email", "client_id": CLIENT, "tags": ["a"]},
            ]
        )
    ),
    ("documents.delete_documents", "two, one deleted already"): (
        lambda s, w: s.documents.delete_documents([w.document, w.deleted])
    ),
    ("documents.restore_documents", "two, one live already"): (
        lambda s, w: s.documents.restore_documents([w.document, w.deleted])
    ),
    ("documents.tag_documents", "two, a new tag"): (
        lambda s, w: s.documents.tag_documents([w.document, w.untagged], "new")
    ),
    ("documents.untag_documents", "two, one has the tag"): (
        lambda s, w: s.documents.untag_documents([w.document, w.untagged], "old")
    ),
    ("validations.create_validation", ""): (
        lambda s, w: s.validations.create_validation(w.document, ["m"], CLIENT)
    ),
    ("validations.start_validation", ""): lambda s, w: s.validations.start_validation(w.pending),
    ("validations.add_result", ""): lambda s, w: s.validations.add_result(w.running, **RESULT),
    ("validations.add_results", ""): (
        lambda s, w: s.validations.add_results(w.running, [RESULT, RESULT])
    ),
    ("validations.complete_validation", ""): (
        lambda s, w: s.validations.complete_validation(w.running)
    ),
    ("validations.fail_validation", ""): lambda s, w: s.validations.fail_validation(w.running, "e"),
    ("validations.cancel_validation", ""): lambda s, w: s.validations.cancel_validation(w.pending),
    ("corrections.create_correction", ""): (
        lambda s, w: s.corrections.create_correction(w.document, "rewrite", CLIENT)
    ),
    ("corrections.update", ""): lambda s, w: s.corrections.update(w.note, strategy="other"),
    ("corrections.review_correction", ""): lambda s, w: s.corrections.review_correction(w.note),
    ("corrections.reject_correction", ""): lambda s, w: s.corrections.reject_correction(w.note),
    ("corrections.apply_correction", "it has a text"): (
        lambda s, w: s.corrections.apply_correction(w.correction)
    ),
    ("corrections.apply_correction", "it has no text"): (
        lambda s, w: s.corrections.apply_correction(w.note)
    ),
    ("corrections.apply_corrections", "two together, one text"): (
        lambda s, w: s.corrections.apply_corrections([w.note, w.correction])
    ),
    ("corrections.revert_correction", "it brought a version"): (
        lambda s, w: s.corrections.revert_correction(w.applied)
    ),
    ("tags.create", ""): lambda s, w: s.tags.create("new"),
    ("tags.update", ""): lambda s, w: s.tags.update(w.tag, color="#aabbcc"),
    ("tags.delete", ""): lambda s, w: s.tags.delete(w.tag),
    ("retention.create", ""): lambda s, w: s.retention.create("old", "document", "delete", 30),
    ("retention.update", ""): lambda s, w: s.retention.update(w.policy, priority=1),
    ("retention.activate", "it is active already"): lambda s, w: s.retention.activate(w.policy),
    ("retention.deactivate", ""): lambda s, w: s.retention.deactivate(w.policy),
    ("retention.delete", ""): lambda s, w: s.retention.delete(w.policy),
    ("retention.unarchive", "it is not archived"): (
        lambda s, w: s.retention.unarchive([w.document])
    ),
    ("retention.holds.place", ""): (
        lambda s, w: s.retention.holds.place("new", "court", ids=[w.document])
    ),
    ("retention.holds.release", ""): lambda s, w: s.retention.holds.release("case"),
    ("exports.start", ""): lambda s, w: s.exports.start("csv", "document", "alice"),
    ("exports.complete", ""): lambda s, w: s.exports.complete(
        w.export, record_count=1, file_size=1, file_hash="0" * 64
    ),
    ("exports.fail", ""): lambda s, w: s.exports.fail(w.export, "no space"),
    ("exports.forget_file", ""): lambda s, w: s.exports.forget_file(w.export),
    ("audit.log", '`("approve", "invoice")`'): lambda s, w: s.audit.log("approve", "invoice"),
    ("audit.cleanup_old_entries", "one batch of old entries"): (
        lambda s, w: s.audit.cleanup_old_entries(365)
    ),
    ("session.record_intercept", "a new text"): (lambda s, w: s.record_intercept(intercept("new"))),
    ("session.record_intercept", "a new text, corrected"): (
        lambda s, w: s.record_intercept(intercept("new", corrected="newer"))
    ),
    ("session.record_intercept", "a known text"): (
        lambda s, w: s.record_intercept(intercept("two"))
    ),
    ("session.record_intercept", "a known text, corrected"): (
        lambda s, w: s.record_intercept(intercept("two", corrected="newer"))
    ),
    ("documents.get_by_id", "`audit_reads=True`"): lambda s, w: s.documents.get_by_id(w.document),
    ("validations.get_by_id", "`audit_reads=True`"): lambda s, w: s.validations.get_by_id(
        w.pending
    ),
    ("corrections.get_by_id", "`audit_reads=True`"): lambda s, w: s.corrections.get_by_id(w.note),
    ("tags.get_by_id", "`audit_reads=True`"): lambda s, w: s.tags.get_by_id(w.tag),
    ("audit.get_by_id", "`audit_reads=True`"): lambda s, w: s.audit.get_by_id(1),
    ("exports.get_by_id", "`audit_reads=True`"): lambda s, w: s.exports.get_by_id(w.export),
}

READING = (
    "authorize",
    "count",
    "diff",
    "exists",
    "filter_by",
    "get",
    "list",
    "query",
    "search",
    "tags_of",
    "verify",
)
"""How the names of methods begin that write nothing."""


class Clock:
    """A year and a half ago until it is told that this is now."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 24, 12, tzinfo=UTC) - LONG_AGO

    def __call__(self) -> datetime:
        return self.time


def entries_of(operation: Callable[[Session, World], Any], *, audit_reads: bool) -> Entries:
    """What the operation adds to the audit trail of a store in which every state occurs."""
    clock = Clock()
    with open_storage("memory://", clock=clock) as storage:
        world = storage.run(build)
        before = {entry.id for entry in trail(storage)}
        clock.time += LONG_AGO
        with storage.session(audit_reads=audit_reads) as session:
            operation(session, world)
        added = [entry for entry in trail(storage) if entry.id not in before]
        return [(str(entry.action), str(entry.entity_type)) for entry in added]


def trail(storage: Storage) -> list[AuditEntry]:
    return list(storage.backend.select(Query(AuditEntry, "default", order=(Order("id"),))))


def documented() -> dict[tuple[str, str], Entries]:
    (rows,) = tables(PAGE, "Audit actions")
    return {
        (row["operation"].strip("`"), row["when"]): list(parsed(row["entries"])) for row in rows
    }


def parsed(cell: str) -> Iterator[tuple[str, str]]:
    """ "`version` document, `apply` correction" as pairs; "none" is none."""
    for part in [] if cell == "none" else cell.split(", "):
        match = re.fullmatch(r"`(\w+)` (\w+)", part)
        assert match, f"{cell!r} is not a list of `action` entity"
        yield match[1], match[2]


def test_table_has_every_operation_that_is_tried_here_and_no_other() -> None:
    assert set(documented()) == set(OPERATIONS)


@pytest.mark.parametrize("key", OPERATIONS, ids=" ".join)
def test_operation_writes_the_entries_of_the_table(key: tuple[str, str]) -> None:
    wrote = entries_of(OPERATIONS[key], audit_reads="audit_reads" in key[1])
    assert wrote == documented()[key]


def test_every_method_that_writes_is_in_the_table() -> None:
    shown = {operation for operation, _ in documented()}
    assert writing_methods() - shown == set()


def writing_methods() -> set[str]:
    with open_storage("memory://") as storage, storage.session() as session:
        found = {
            f"{attribute}.{method}"
            for attribute in dir(type(session))
            if isinstance(repository := getattr(session, attribute, None), Repository)
            for method in dir(repository)
            if ismethod(getattr(repository, method)) and not method.startswith(("_", *READING))
        }
    return found - NOT_FOR_USERS


NOT_FOR_USERS = {
    "documents.view",
    "exports.new_id",
    "tags.all_named",
    "tags.named",
    "tags.of_name",
    "retention.selecting",
}
"""What repositories offer to each other; ``tags.named`` is tried through ``add_tag``."""


def test_actions_and_entity_types_are_all_told() -> None:
    (later,) = tables(PAGE, "Audit actions of managers")
    to_come = [entry for row in later for entry in parsed(row["entries"])]
    now = [entry for entries in documented().values() for entry in entries]
    told = {*now, *to_come}
    assert {action for action, _ in told} == {*AuditAction, "approve"}
    assert {entity for _, entity in told} == {*EntityType, "invoice"}
    assert {action for action, _ in now} & {action for action, _ in to_come} <= {
        "create",
        "update",
        "delete",
        "start",
        "complete",
    }
