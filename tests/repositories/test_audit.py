"""AUD-1, AUD-3 as callers of ``session.audit`` meet them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.errors import InvalidValue
from tests.programs import PRELUDE, perform
from tests.stores import CLOCK, new_tenant

Begin = Callable[..., Session]


def test_own_event_is_told_as_given(begin: Begin) -> None:
    with begin(actor="bob") as session:
        session.audit.log("exported.pdf", "report", 7, "a", 1, 2, {"pages": [1, 2]})
    (entry,) = begin().audit.get_all()
    assert (entry.action, entry.entity_type, entry.entity_id) == ("exported.pdf", "report", 7)
    assert (entry.client_id, entry.document_id, entry.validation_id) == ("a", 1, 2)
    assert (entry.metadata_json, entry.changes) == ({"pages": [1, 2]}, None)
    assert entry.actor_id == "bob"


@pytest.mark.parametrize(
    "fields",
    [
        {"action": ""},
        {"action": " a"},
        {"action": "a" * 101},
        {"action": None},
        {"entity_type": "a\n"},
        {"entity_id": 0},
        {"entity_id": "1"},
        {"client_id": ""},
        {"client_id": None},
        {"metadata": object()},
    ],
)
def test_event_outside_the_value_domain_leaves_no_trace(begin: Begin, fields: Any) -> None:
    with begin() as session:
        with pytest.raises(InvalidValue):
            session.audit.log(**{"action": "a", "entity_type": "b", **fields})
        assert not session.pending


# operation -> the (action, entity type) of the entries that it writes
TOLD: dict[str, tuple[tuple[str, str], ...]] = {
    "create_document 3 0": (("create", "document"),),
    "create_document 3 1": (("create", "document"),),
    "append 0 3": (("version", "document"),),
    "update 0 3": (("update", "document"),),
    "revert_to 0 0": (("revert", "document"),),
    "delete 0 0": (("delete", "document"),),
    "delete_version 0 0": (("delete", "document"),),
    "add_tag 0 2": (("create", "tag"), ("update", "document")),
    "create_tag 0 2": (("create", "tag"),),
    "update_tag 1 1": (),
    "update_tag 0 5": (("update", "tag"),),
    "delete_tag 0 0": (("delete", "tag"),),
    "validate 0 0": (("create", "validation"),),
    "start 1 0": (("start", "validation"),),
    "add_results 0 2": (("update", "validation"),),
    "add_results 0 0": (),
    "complete 0 0": (("complete", "validation"),),
    "fail 0 0": (("fail", "validation"),),
    "cancel 0 0": (("cancel", "validation"),),
    "correct 0 1": (("create", "correction"),),
    "update_correction 0 7": (("update", "correction"),),
    "review 0 0": (("update", "correction"),),
    "apply 0 0": (("apply", "correction"), ("version", "document")),
    "apply_group 0 0": (("apply", "correction"), ("version", "document")),
    "reject 0 0": (("reject", "correction"),),
    "restore 0 0": (),
    "log 0 0": (("seen", "document"),),
}


@pytest.mark.parametrize("operation", TOLD)
def test_operation_writes_one_entry_per_changed_aggregate(
    begin: Begin, store: Storage, operation: str
) -> None:
    with begin() as session:
        for step in PRELUDE:
            perform(session, step)
    before = {entry.id for entry in session.audit.get_all()}
    name, a, b = operation.split()
    with begin() as session:
        assert perform(session, (name, int(a), int(b))) is None
    new = [entry for entry in begin().audit.get_all() if entry.id not in before]
    assert sorted((str(e.action), str(e.entity_type)) for e in new) == sorted(TOLD[operation])
    for entry in new:
        if entry.entity_type in ("document", "validation", "correction") and name != "log":
            assert entry.client_id in ("a", "A")
            assert entry.document_id is not None


def test_entry_tells_the_root_and_every_member_finds_it(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("text", "email", "a")
        version = session.documents.create_version(document.id, "more")
        validation = session.validations.create_validation(version.id, [], "a")
        session.corrections.create_correction(version.id, "rewrite", "a", validation.id)
    session = begin()
    found = session.audit.get_by_document(version.id)
    assert {entry.document_id for entry in found} == {document.id}
    assert len(found) == 4
    assert found == session.audit.get_by_document(document.id)
    assert [e.entity_type for e in session.audit.get_by_validation(validation.id)] == [
        "correction",
        "validation",
    ]


def test_texts_are_told_by_their_hashes(begin: Begin) -> None:
    secret = "a very private text"
    with begin() as session:
        document = session.documents.create_document("text", "email", "a", title="t")
        correction = session.corrections.create_correction(
            document.id, "rewrite", "a", corrected_content=secret, diff={"was": secret}
        )
        session.corrections.update(correction.id, corrected_content=f"{secret}!", diff=[secret])
        session.corrections.apply_correction(correction.id)
        validation = session.validations.create_validation(document.id, [], "a")
        session.validations.fail_validation(validation.id, "why", f"trace {secret}")
        session.documents.update(session.documents.get_all()[0].id, title="shown")
    trail = begin().audit.get_all()
    assert not [entry for entry in trail if secret in str(entry.changes)]
    assert [entry for entry in trail if "shown" in str(entry.changes)], "descriptive fields whole"
    history = begin().corrections.get_history(correction.id)
    assert not [row for row in history if secret in str(row.changes)]


def test_lists_are_newest_first_and_paged(begin: Begin) -> None:
    for number in range(4):
        CLOCK.advance(seconds=1)
        with begin(actor="bob") as session:
            session.audit.log("seen", "thing", number + 1)
    audit = begin().audit
    assert [entry.entity_id for entry in audit.get_by_actor("bob")] == [4, 3, 2, 1]
    assert [e.entity_id for e in audit.get_by_action("seen", limit=2, offset=1)] == [3, 2]
    assert [entry.entity_id for entry in audit.get_by_entity("thing", 2)] == [2]
    assert audit.get_by_actor("alice") == []


def test_timeline_lists_every_day_also_the_empty_ones(begin: Begin) -> None:
    today = CLOCK.advance(days=10).date()
    with begin() as session:
        session.audit.log("seen", "thing")
        session.audit.log("seen", "thing")
        session.audit.log("told", "thing", client_id="a")
    CLOCK.advance(days=2)
    timeline = begin().audit.get_activity_timeline(days=4)
    assert [row["date"] - today for row in timeline] == [timedelta(n) for n in (-1, 0, 1, 2)]
    assert [row["actions"] for row in timeline] == [{}, {"seen": 2, "told": 1}, {}, {}]
    assert begin().audit.get_activity_timeline("a", 3)[0]["actions"] == {"told": 1}


@pytest.mark.parametrize("days", [0, -1, 3_661, "7", 1.5, None, True])
def test_timeline_of_no_days_is_refused(begin: Begin, days: Any) -> None:
    with pytest.raises(InvalidValue, match="days"):
        begin().audit.get_activity_timeline(days=days)


# --- Cleanup ---------------------------------------------------------------------------------


def test_cleanup_takes_whole_days_and_never_the_last_one(begin: Begin) -> None:
    CLOCK.advance(days=1)
    midnight = datetime(CLOCK.time.year, CLOCK.time.month, CLOCK.time.day, tzinfo=UTC)
    wanted = []
    for hours, stays in ((-30, False), (-25, False), (0, True), (5, True)):
        CLOCK.time = midnight + timedelta(hours=hours)
        with begin() as session:
            session.audit.log("seen", "thing", abs(hours) + 1)
        wanted += [abs(hours) + 1] if stays else []
    CLOCK.time = midnight + timedelta(days=1, hours=3)
    assert begin().audit.cleanup_old_entries(1) == 2
    found = begin().audit.get_by_action("seen")
    assert sorted(entry.entity_id or 0 for entry in found) == sorted(wanted)


def test_cleanup_works_in_batches_each_with_its_own_entry(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for number in range(5):
            session.audit.log("seen", "thing", number + 1)
    with store.session(tenant=new_tenant()) as other:
        other.audit.log("theirs", "thing")
    CLOCK.advance(days=400)
    assert begin().audit.cleanup_old_entries(batch_size=2) == 5
    told = begin().audit.get_by_action("cleanup")
    assert sorted(entry.metadata_json["count"] for entry in told) == [1, 2, 2]
    assert begin().audit.get_by_action("seen") == []
    assert other.audit.count() == 1
    assert begin().audit.cleanup_old_entries(batch_size=2) == 0
    assert begin().audit.count() == 3, "nothing removed, nothing written"


def test_nothing_else_changes_or_removes_an_entry(begin: Begin) -> None:
    audit = begin().audit
    writing = {"log", "cleanup_old_entries"}
    names = {name for name in dir(audit) if not name.startswith("_")}
    reading = {"filter_by", "count", "exists", "search", "query", "kind", "authorize"}
    others = {name for name in names - writing - reading if callable(getattr(audit, name))}
    assert all(name.startswith("get_") for name in others), others
