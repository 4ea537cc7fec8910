"""COR-1 to COR-3: the life of a correction and what its history tells."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from loki_storage.batch import Insert, InsertMany, Require
from loki_storage.enums import CorrectionStatus
from loki_storage.errors import (
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleVersion,
)
from loki_storage.models import Correction, CorrectionHistory, Document, Validation
from loki_storage.rows import Rows
from loki_storage.rules import corrections as rules
from loki_storage.rules.change import Change, Edit
from loki_storage.rules.corrections import EDITABLE, Applied
from loki_storage.values import LIMITS
from tests.strategies import MIDNIGHT

LATER = MIDNIGHT + timedelta(hours=1)
DOCUMENT = Document(
    id=1,
    tenant_id="t",
    root_id=1,
    document_type="email",
    content="text",
    content_hash="hash of text",
    content_length=4,
    client_id="a",
    created_at=MIDNIGHT,
    updated_at=MIDNIGHT,
)
VERSIONS = {1: DOCUMENT}
PENDING = Correction(
    id=5,
    tenant_id="t",
    document_id=1,
    correction_type="rewrite",
    corrected_content="better",
    client_id="a",
    created_at=MIDNIGHT,
    updated_at=MIDNIGHT,
)


def having(status: CorrectionStatus) -> Correction:
    return PENDING.evolve(status=status)


Move = Callable[[Correction], Change | None]
MOVES: dict[str, tuple[Move, str, str]] = {
    "update": (
        lambda c: rules.update(c, DOCUMENT, 8, LATER, "bob", {"reasoning": "new"}),
        "pending",
        "updated",
    ),
    "review": (lambda c: rules.review(c, DOCUMENT, 8, LATER, "bob", "why"), "pending", "updated"),
    "reject": (lambda c: rules.reject(c, DOCUMENT, 8, LATER, "bob", "why"), "pending", "rejected"),
    "apply": (
        lambda c: rules.apply([c], VERSIONS, [8], LATER, "bob", "why", Applied((5,), 2, 1)),
        "pending",
        "applied",
    ),
    "revert": (
        lambda c: rules.revert([c], VERSIONS, [8], LATER, "bob", "why", Applied((5,), 3, 2)),
        "applied",
        "reverted",
    ),
}


def parts(change: Change | None) -> tuple[Edit, CorrectionHistory]:
    assert change is not None
    (edit,) = (step for step in change.steps if isinstance(step, Edit))
    (history,) = (step.record for step in change.steps if isinstance(step, Insert))
    assert isinstance(history, CorrectionHistory)
    return edit, history


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("status", CorrectionStatus)
def test_only_the_legal_transitions_are_legal(status: CorrectionStatus, name: str) -> None:
    move, needed, change_type = MOVES[name]
    if status != needed:
        with pytest.raises(IllegalTransition, match=f"correction 5 is {status}"):
            move(having(status))
        return
    edit, history = parts(move(having(status)))
    assert edit.guard["status"] is status
    assert history.change_type == change_type
    assert history.previous_status == status
    after = "pending" if change_type == "updated" else change_type
    assert history.new_status == edit.changes.get("status", status) == after


@pytest.mark.parametrize("name", MOVES)
def test_history_tells_who_when_why_and_what(name: str) -> None:
    move, needed, _ = MOVES[name]
    edit, history = parts(move(having(CorrectionStatus(needed))))
    assert (history.changed_by, history.changed_at) == ("bob", LATER)
    assert history.reason == (None if name == "update" else "why")
    assert set(history.changes["fields"]) == set(edit.changes) - {"updated_at"}


@pytest.mark.parametrize("name", MOVES)
def test_version_must_be_live_and_the_fields_unchanged_at_commit(name: str) -> None:
    move, needed, _ = MOVES[name]
    before = having(CorrectionStatus(needed))
    change = move(before)
    edit, _ = parts(change)
    assert change is not None
    assert Require(Document, 1, {"is_deleted": False}) in change.steps
    assert edit.guard.keys() >= edit.changes.keys()
    assert all(before.stored(field) == value for field, value in edit.guard.items())


@pytest.mark.parametrize("name", ["apply", "reject", "review"])
def test_decision_names_its_reviewer(name: str) -> None:
    edit, _ = parts(MOVES[name][0](PENDING))
    reviewed = {field: edit.changes[field] for field in edit.changes if field.startswith("review")}
    assert reviewed == {"reviewed_at": LATER, "reviewed_by": "bob", "review_notes": "why"}


def test_applied_correction_names_version_and_group() -> None:
    two = PENDING.evolve(id=6)
    applied = Applied((5, 6), 9, 1)
    change = rules.apply([PENDING, two], VERSIONS, [8, 9], LATER, "bob", None, applied)
    rows = [step.record for step in change.steps if isinstance(step, Insert)]
    assert [Applied.of(row) for row in rows] == [applied, applied]  # type: ignore[arg-type]
    assert change.metadata == {"corrections": [5, 6]}
    assert change.entity_id == 5


@pytest.mark.parametrize("name", MOVES)
def test_change_of_one_correction_names_no_group(name: str) -> None:
    move, needed, _ = MOVES[name]
    change = move(having(CorrectionStatus(needed)))
    assert change is not None
    assert (change.metadata, change.entity_id, change.document_id) == (None, 5, 1)


def test_no_correction_moves_without_its_history() -> None:
    two = [PENDING, PENDING.evolve(id=6)]
    with pytest.raises(ValueError, match="zip"):
        rules.apply(two, VERSIONS, [8], LATER, "bob", None, Applied((5, 6)))
    applied = [each.evolve(status=CorrectionStatus.APPLIED) for each in two]
    with pytest.raises(ValueError, match="zip"):
        rules.revert(applied, VERSIONS, [8], LATER, "bob", None, Applied((5, 6)))


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("status", [CorrectionStatus.APPLIED, CorrectionStatus.PENDING])
def test_corrections_from_elsewhere_have_a_history_row_each(
    status: CorrectionStatus, new: bool
) -> None:
    group = [PENDING.evolve(id=id, status=status) for id in (5, 6, 7)]
    applied = Applied((5, 6, 7), 9, 1)
    change = rules.record(Rows.of(group), [11, 12, 13], applied, DOCUMENT, "bob", new=new)
    corrections, histories = (step.rows for step in change.steps if isinstance(step, InsertMany))
    assert list(corrections) == group
    assert [(row.id, row.correction_id) for row in histories] == [(11, 5), (12, 6), (13, 7)]
    is_applied = status is CorrectionStatus.APPLIED
    for row in histories:
        assert row.change_type == ("applied" if is_applied else "created")
        assert (row.previous_status, row.new_status) == (None, status)
        assert row.changes == (applied.to_json() if is_applied else None)
    assert (change.entity_id, change.metadata) == (5, {"corrections": [5, 6, 7]})
    alive = Require(Document, 1, {"is_deleted": False})
    assert (alive in change.steps) is not new, "a new version needs no proof of life"


def test_history_from_elsewhere_means_the_correction_alone() -> None:
    _, row = parts(MOVES["reject"][0](PENDING))
    assert Applied.of(row) == Applied((5,))


def test_text_is_applied_only_to_the_text_that_it_corrects() -> None:
    for other in ("a hash before it", "z"):
        head = DOCUMENT.evolve(id=2, version=2, parent_id=1, content_hash=other)
        with pytest.raises(StaleVersion) as caught:
            rules.check_applicable([PENDING], VERSIONS, head)
        assert (caught.value.document_id, caught.value.current_id) == (1, 2)
    rules.check_applicable([PENDING], VERSIONS, DOCUMENT.evolve(id=2, version=2, parent_id=1))


def test_state_is_looked_at_before_the_text() -> None:
    head = DOCUMENT.evolve(id=2, version=2, parent_id=1, content_hash="other")
    with pytest.raises(IllegalTransition):
        rules.check_applicable([having(CorrectionStatus.APPLIED)], VERSIONS, head)


def test_original_is_the_whole_text_or_nothing() -> None:
    rules.check_texts(PENDING, DOCUMENT)
    rules.check_texts(PENDING.evolve(original_content="".join(["te", "xt"])), DOCUMENT)
    rules.check_texts(PENDING.evolve(original_content="tex", corrected_content=None), DOCUMENT)
    for fragment in ("tex", "xt"):
        with pytest.raises(InvalidValue, match="original_content"):
            rules.check_texts(PENDING.evolve(original_content=fragment), DOCUMENT)


def validation(document_id: int = 1) -> Validation:
    return Validation(
        id=7,
        tenant_id="t",
        document_id=document_id,
        modules_used=[],
        request_hash="h",
        client_id="a",
        created_at=MIDNIGHT,
    )


def test_validation_is_one_of_the_same_document() -> None:
    document = DOCUMENT.evolve(id=1000, root_id=1000)
    earlier = document.evolve(id=1003, root_id=int("1000"), version=2, parent_id=1000)
    corrected = PENDING.evolve(document_id=1000, validation_id=7)
    rules.create(corrected, 8, document, validation(1003), earlier, "bob")
    for validated in (
        DOCUMENT.evolve(id=4, root_id=4),
        DOCUMENT.evolve(id=2000, root_id=2000),
        None,
    ):
        with pytest.raises(InvalidValue, match="validation_id"):
            rules.create(corrected, 8, document, validation(4), validated, "bob")


def test_correction_belongs_to_the_client_of_its_document() -> None:
    with pytest.raises(InvalidValue, match="client_id"):
        rules.create(PENDING.evolve(client_id="b"), 8, DOCUMENT, None, None, "bob")


def test_correction_of_a_deleted_version_is_not_found() -> None:
    deleted = DOCUMENT.evolve(is_deleted=True, deleted_at=MIDNIGHT, is_latest=False)
    with pytest.raises(NotFound):
        rules.create(PENDING, 8, deleted, None, None, "bob")


def test_creation_writes_one_history_row() -> None:
    change = rules.create(PENDING, 8, DOCUMENT, None, None, "bob")
    rows = [step.record for step in change.steps if isinstance(step, Insert)]
    (history,) = (row for row in rows if isinstance(row, CorrectionHistory))
    assert (history.change_type, history.previous_status) == ("created", None)
    assert (history.new_status, history.changed_by) == ("pending", "bob")


@pytest.mark.parametrize("field", ["status", "applied_at", "id", "client_id", "document_id", "x"])
def test_only_what_it_proposes_can_be_updated(field: str) -> None:
    with pytest.raises(InvalidField):
        rules.update(PENDING, DOCUMENT, 8, LATER, "bob", {field: None})


@pytest.mark.parametrize("field", EDITABLE)
def test_update_to_the_same_is_no_change(field: str) -> None:
    same = {field: getattr(PENDING, field)}
    assert rules.update(PENDING, DOCUMENT, 8, LATER, "bob", same) is None


def test_update_cannot_make_the_original_a_fragment() -> None:
    with pytest.raises(InvalidValue, match="original_content"):
        rules.update(PENDING, DOCUMENT, 8, LATER, "bob", {"original_content": "tex"})


def test_limits_on_json_do_not_bind_the_history_of_it() -> None:
    deep: Any = {}
    for _ in range(LIMITS.json_depth - 1):
        deep = {"a": deep}
    big = {"a": "x" * (LIMITS.json_bytes - 20)}
    before = PENDING.evolve(metadata_json=big)
    _, history = parts(rules.update(before, DOCUMENT, 8, LATER, "b", {"metadata_json": deep}))
    assert history.changes["fields"]["metadata_json"] == {"before": big, "after": deep}
    _, history = parts(
        rules.reject(PENDING, DOCUMENT, 8, LATER, "bob", "x" * (LIMITS.json_bytes + 1))
    )
    assert "review_notes" in history.changes["fields"]


def test_clock_that_went_back_moves_no_update_back() -> None:
    ahead = PENDING.evolve(updated_at=LATER)
    edit, history = parts(rules.review(ahead, DOCUMENT, 8, MIDNIGHT, "bob", None))
    assert "updated_at" not in edit.changes
    assert history.changed_at == LATER
