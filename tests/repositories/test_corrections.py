"""COR-1 to COR-3 as callers of ``session.corrections`` meet them."""

from collections.abc import Callable
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.errors import (
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleVersion,
    StaleWrite,
)
from loki_storage.models import Correction, Document
from loki_storage.rules.corrections import Applied
from tests.programs import view
from tests.stores import CLOCK

Begin = Callable[..., Session]


@pytest.fixture
def document(begin: Begin) -> Document:
    with begin() as session:
        return session.documents.create_document("bad", "email", "a")


def propose(
    session: Session, document: Document, text: str | None = "good", **more: Any
) -> Correction:
    return session.corrections.create_correction(
        document.id, "rewrite", "a", corrected_content=text, **more
    )


def texts(session: Session, document: Document) -> list[str]:
    return [version.content for version in session.documents.get_version_history(document.id)]


def steps(session: Session, id: int) -> list[str]:
    return [row.change_type for row in session.corrections.get_history(id)]


def test_applied_text_is_a_new_version_and_reverted_the_exact_text_from_before(
    begin: Begin, document: Document, store: Storage
) -> None:
    with begin() as session:
        id = propose(session, document, original_content="bad").id
    with begin() as session:
        applied = session.corrections.apply_correction(id, "bob", "fine")
    assert (applied.status, applied.applied_by, applied.applied_at) == (
        "applied",
        "bob",
        CLOCK.time,
    )
    assert (applied.reviewed_by, applied.review_notes) == ("bob", "fine")
    assert texts(begin(), document) == ["bad", "good"]
    with begin() as session:
        reverted = session.corrections.revert_correction(id, "carol", "not fine")
    assert reverted.status == "reverted"
    assert reverted.applied_at == applied.applied_at
    assert texts(begin(), document) == ["bad", "good", "bad"]
    history = begin().corrections.get_history(id)
    assert [row.change_type for row in history] == ["created", "applied", "reverted"]
    assert [row.changed_by for row in history] == ["alice", "bob", "carol"]
    assert [row.reason for row in history] == [None, "fine", "not fine"]
    versions = begin().documents.get_version_history(document.id)
    assert Applied.of(history[1]) == Applied((id,), versions[1].id, versions[0].id)
    assert Applied.of(history[2]) == Applied((id,), versions[2].id, versions[1].id)


def test_whole_life_in_one_session_is_the_same(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = propose(session, document).id
        session.corrections.review_correction(id, "bob", "hm")
        session.corrections.update(id, corrected_content="better")
        session.corrections.apply_correction(id)
        session.corrections.revert_correction(id)
        before = texts(session, document), steps(session, id)
    assert before == (texts(begin(), document), steps(begin(), id))
    assert before == (
        ["bad", "better", "bad"],
        ["created", "updated", "updated", "applied", "reverted"],
    )


def test_group_is_applied_as_one_version_and_reverted_together(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        ids = [propose(session, document, text).id for text in ("one", None, "three")]
        session.corrections.apply_corrections(ids)
    assert texts(begin(), document) == ["bad", "three"], "the last one's text"
    for id in ids:
        assert Applied.of(begin().corrections.get_history(id)[-1]).group == tuple(ids)
    (entry,) = begin().audit.get_by_action("apply")
    assert (entry.entity_type, entry.entity_id) == ("correction", ids[0])
    assert entry.metadata_json == {"corrections": ids}
    with begin() as session:
        session.corrections.revert_correction(ids[1])
    assert texts(begin(), document) == ["bad", "three", "bad"]
    assert [c.status for c in begin().corrections.get_by_document(document.id)] == ["reverted"] * 3
    with begin() as session, pytest.raises(IllegalTransition):
        session.corrections.revert_correction(ids[0])


def test_group_may_bring_a_text_of_its_own(begin: Begin, document: Document) -> None:
    with begin() as session:
        ids = [propose(session, document, text).id for text in ("one", "two")]
        session.corrections.apply_corrections(ids, corrected_content="both")
    assert texts(begin(), document) == ["bad", "both"]


def test_correction_without_text_changes_its_status_only(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = propose(session, document, None, diff=[{"op": "replace"}]).id
        session.documents.create_version(document.id, "moved on")
        session.corrections.apply_correction(id)
        session.corrections.revert_correction(id)
    assert texts(begin(), document) == ["bad", "moved on"]
    assert steps(begin(), id) == ["created", "applied", "reverted"]


def test_text_is_applied_to_the_text_that_it_corrects_only(begin: Begin, document: Any) -> None:
    with begin() as session:
        id = propose(session, document).id
        head = session.documents.create_version(document.id, "other")
        with pytest.raises(StaleVersion) as caught:
            session.corrections.apply_correction(id)
        assert (caught.value.document_id, caught.value.current_id) == (document.id, head.id)
        session.documents.revert_to(document.id)
        session.corrections.apply_correction(id)
    assert texts(begin(), document) == ["bad", "other", "bad", "good"]


def test_text_is_taken_back_from_the_text_that_was_applied_only(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        id = propose(session, document).id
        session.corrections.apply_correction(id)
        applied = session.documents.get_latest_version(document.id)
        assert applied is not None
        head = session.documents.create_version(applied.id, "other")
        with pytest.raises(StaleVersion) as caught:
            session.corrections.revert_correction(id)
        assert (caught.value.document_id, caught.value.current_id) == (applied.id, head.id)
        session.documents.revert_to(applied.id)
        session.corrections.revert_correction(id)
    assert texts(begin(), document) == ["bad", "good", "other", "good", "bad"]


def test_head_that_moves_while_it_is_applied_stops_it(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = propose(session, document).id
    mine = begin()
    mine.corrections.apply_correction(id)
    with begin() as other:
        other.documents.create_version(document.id, "theirs")
    with pytest.raises(StaleVersion):
        mine.commit()
    assert texts(begin(), document) == ["bad", "theirs"]
    assert steps(begin(), id) == ["created"]


def test_two_decisions_on_one_correction_are_one(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = propose(session, document, None).id
    mine = begin()
    mine.corrections.reject_correction(id, reason="no")
    with begin() as other:
        other.corrections.apply_correction(id)
    with pytest.raises(StaleWrite):
        mine.commit()
    assert steps(begin(), id) == ["created", "applied"]


def test_two_changes_of_one_field_never_lose_one(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = propose(session, document, None).id
    mine = begin()
    mine.corrections.update(id, reasoning="mine")
    with begin() as other:
        other.corrections.update(id, reasoning="theirs")
    with pytest.raises(StaleWrite):
        mine.commit()


def test_corrections_of_two_documents_are_no_group(begin: Begin, document: Document) -> None:
    with begin() as session:
        other = session.documents.create_document("other", "email", "a")
        ids = [propose(session, each, None).id for each in (document, other)]
        with pytest.raises(InvalidValue, match="one document"):
            session.corrections.apply_corrections(ids)
        with pytest.raises(InvalidValue, match="ids"):
            session.corrections.apply_corrections([])
        with pytest.raises(InvalidValue, match="ids"):
            session.corrections.apply_corrections([ids[0], ids[0]])
        with pytest.raises(NotFound):
            session.corrections.apply_corrections([ids[0], 10**12])


def test_group_with_one_of_a_deleted_version_is_not_found(begin: Begin, document: Document) -> None:
    with begin() as session:
        first = propose(session, document, None).id
        version = session.documents.create_version(document.id, "bad")
        second = propose(session, version).id
        session.documents.delete_version(document.id)
        for ids in ([first, second], [second, first]):
            with pytest.raises(NotFound) as caught:
                session.corrections.apply_corrections(ids)
            assert caught.value.id == first
        session.corrections.apply_correction(second)


def test_group_fails_whole_where_one_is_not_pending(begin: Begin, document: Document) -> None:
    with begin() as session:
        ids = [propose(session, document, text).id for text in ("one", "two")]
        session.corrections.reject_correction(ids[0])
        session.commit()
        before = view(session, document.tenant_id)
        with pytest.raises(IllegalTransition):
            session.corrections.apply_corrections(ids)
        assert view(session, document.tenant_id) == before


@pytest.mark.parametrize("long_name", ["a" * 101, ""])
def test_decision_that_fails_leaves_no_version_behind(
    begin: Begin, document: Document, long_name: str
) -> None:
    with begin() as session:
        id = propose(session, document).id
        with pytest.raises(InvalidValue):
            session.corrections.apply_correction(id, long_name)
        assert texts(session, document) == ["bad"]
        session.corrections.apply_correction(id)
        with pytest.raises(InvalidValue):
            session.corrections.revert_correction(id, long_name)
        assert texts(session, document) == ["bad", "good"]


def test_original_is_the_whole_text_or_nothing(begin: Begin, document: Document) -> None:
    with begin() as session:
        with pytest.raises(InvalidValue, match="original_content"):
            propose(session, document, original_content="ba")
        assert not session.pending
        id = propose(session, document, None, original_content="ba").id
        with pytest.raises(InvalidValue, match="original_content"):
            session.corrections.update(id, corrected_content="good")


def test_validation_is_one_of_the_same_document(begin: Begin, document: Document) -> None:
    with begin() as session:
        version = session.documents.create_version(document.id, "more")
        other = session.documents.create_document("other", "email", "a")
        mine = session.validations.create_validation(document.id, [], "a")
        theirs = session.validations.create_validation(other.id, [], "a")
        id = propose(session, version, validation_id=mine.id).id
        with pytest.raises(InvalidValue, match="validation_id"):
            propose(session, version, validation_id=theirs.id)
    assert [c.id for c in begin().corrections.get_by_validation(mine.id)] == [id]
    assert begin().corrections.get_by_validation(theirs.id) == []


def test_only_what_it_proposes_can_be_updated_and_only_while_pending(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        id = propose(session, document, metadata={"a": 1}).id
        for field in ("status", "applied_at", "document_id", "nothing"):
            with pytest.raises(InvalidField):
                session.corrections.update(id, **{field: "x"})
        same = session.corrections.update(id, metadata={"a": 1})
        assert steps(session, id) == ["created"], "nothing changed, nothing written"
        assert session.corrections.update(id, metadata={"a": 2}).metadata_json == {"a": 2}
        assert same.metadata_json == {"a": 1}
        session.corrections.reject_correction(id, "bob", "no")
        for call in (
            session.corrections.apply_correction,
            session.corrections.reject_correction,
            session.corrections.review_correction,
            session.corrections.revert_correction,
            session.corrections.update,
        ):
            with pytest.raises(IllegalTransition):
                call(id)


def test_lists_are_newest_first_and_take_a_status(begin: Begin, document: Document) -> None:
    with begin() as session:
        first = propose(session, document, None)
        CLOCK.advance(seconds=1)
        second = propose(session, document, None)
        third = session.corrections.reject_correction(propose(session, document, None).id)
    corrections = begin().corrections
    assert corrections.get_pending() == corrections.get_pending("a") == [second, first]
    assert corrections.get_pending("b") == []
    assert corrections.get_by_document(document.id, "rejected") == [third]
    assert len(corrections.get_by_document(document.id)) == 3
    with pytest.raises(InvalidValue, match="status"):
        corrections.get_by_document(document.id, "done")
    with pytest.raises(InvalidValue, match="versions"):
        corrections.get_by_document(document.id, versions="heads")
