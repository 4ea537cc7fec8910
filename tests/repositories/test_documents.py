"""DOC-1, VER, DEL, DUP and TAG as callers of ``session.documents`` meet them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from loki_storage import Query, Session, Storage
from loki_storage.errors import (
    DuplicateDocument,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleVersion,
)
from loki_storage.models import Document, DocumentTag, Tag
from loki_storage.query import equals
from tests.programs import PRELUDE, entries, perform, view
from tests.stores import CLOCK, Fault, new_tenant, unsteady

Begin = Callable[..., Session]


@pytest.fixture
def chain(begin: Begin) -> list[Document]:
    """A document of three versions, an hour apart."""
    with begin() as session:
        versions = [session.documents.create_document("one", "email", "a", title="title")]
        for text in ("two", "three"):
            CLOCK.advance(hours=1)
            versions.append(session.documents.create_version(versions[-1].id, text))
    with begin() as session:
        return session.documents.get_version_history(versions[0].id)


def contents(found: list[Document]) -> list[str]:
    return [document.content for document in found]


# --- Versions --------------------------------------------------------------------------------


def test_any_member_stands_for_its_document(begin: Begin, chain: list[Document]) -> None:
    documents = begin().documents
    for member in chain:
        assert documents.get_version_history(member.id) == chain
        assert documents.get_latest_version(member.id) == chain[-1]


def test_as_of_is_the_highest_version_of_the_time_that_is_live_today(
    begin: Begin, chain: list[Document]
) -> None:
    with begin() as session:
        session.documents.delete_version(chain[1].id)
    documents, tick = begin().documents, timedelta(microseconds=1)
    for member in chain:
        at = member.created_at
        same = documents.get_as_of(member.id, at, include_deleted=True)
        assert same is not None
        assert same.id == member.id
    at = chain[1].created_at
    assert documents.get_as_of(chain[2].id, at).id == chain[0].id  # type: ignore[union-attr]
    assert documents.get_as_of(chain[2].id, chain[0].created_at - tick) is None
    with pytest.raises(InvalidValue, match="created_at"):
        documents.get_as_of(chain[0].id, at.replace(tzinfo=None))


def test_revert_appends_the_exact_text_and_nothing_else(begin: Begin, chain: Any) -> None:
    with begin() as session:
        session.documents.update(chain[-1].id, title="later")
        new = session.documents.revert_to(chain[0].id)
    assert (new.content, new.version, new.parent_id) == ("one", 4, chain[-1].id)
    assert new.title == "later"
    assert contents(begin().documents.get_version_history(new.id)) == ["one", "two", "three", "one"]


@pytest.mark.parametrize("text", [" one\r\n", "", "e\u0301 \U0001f600\t"])
def test_reverting_keeps_every_character(begin: Begin, text: str) -> None:
    with begin() as session:
        first = session.documents.create_document(text, "email", "a")
        session.documents.create_version(first.id, "another")
        again = session.documents.revert_to(first.id)
    stored = begin().documents.get_by_id(again.id)
    assert stored is not None
    assert (stored.content, stored.content_hash) == (text, first.content_hash)


def test_any_text_may_follow_any(begin: Begin, chain: Any) -> None:
    with begin() as session:
        head = chain[-1]
        for text in ("three", "one", "one", ""):
            head = session.documents.create_version(head.id, text)
    assert head.version == 7


def test_earlier_versions_are_immutable(begin: Begin, chain: list[Document]) -> None:
    with begin() as session:
        for call in (
            lambda id: session.documents.update(id, title="new"),
            lambda id: session.documents.create_version(id, "new"),
        ):
            with pytest.raises(StaleVersion) as caught:
                call(chain[0].id)
            assert caught.value.current_id == chain[-1].id
    assert begin().documents.get_version_history(chain[0].id) == chain


def test_unknown_descriptive_field_is_refused_with_a_suggestion(begin: Begin, chain: Any) -> None:
    documents = begin().documents
    with pytest.raises(InvalidField, match="did you mean 'title'"):
        documents.update(chain[-1].id, titel="new")
    with pytest.raises(InvalidField, match="did you mean 'title'"):
        documents.create_version(chain[-1].id, "new", titel="new")


def test_versions_in_one_session_are_one_commit(begin: Begin, store: Storage, chain: Any) -> None:
    with begin() as session:
        second = session.documents.create_version(chain[-1].id, "four")
        third = session.documents.create_version(second.id, "five")
        session.documents.delete_version(second.id)
        assert session.documents.get_latest_version(chain[0].id) == third
    history = begin().documents.get_version_history(chain[0].id, include_deleted=True)
    assert [version.version for version in history] == [1, 2, 3, 4, 5]
    assert [version.is_deleted for version in history] == [False, False, False, True, False]


def test_verify_recomputes_the_hash(begin: Begin, chain: Any) -> None:
    with begin() as session:
        session.documents.delete(chain[0].id)
        assert all(session.documents.verify(version.id) for version in chain)


# --- Deletes ---------------------------------------------------------------------------------


def test_no_default_read_returns_what_is_deleted(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("add_tag", 0, 0)]:
            perform(session, step)
    found = view(store.backend, session.tenant)
    first, second = (row for row in found if isinstance(row, Document))
    with begin() as session:
        session.documents.delete(first.id)
        session.documents.delete(second.id)
    session = begin()
    documents, validations = session.documents, session.validations
    assert documents.get_by_id(first.id) is None
    assert not documents.exists(first.id)
    assert documents.get_all() == documents.get_all(versions="all") == []
    assert documents.filter_by() == documents.filter_by(versions="all") == []
    assert documents.get_by_client("a") == []
    assert documents.count() == documents.count("all") == 0
    assert documents.get_by_hash(first.content_hash, "a") is None
    assert documents.get_latest_version(first.id) is None
    assert documents.get_version_history(first.id) == []
    assert documents.get_as_of(first.id, CLOCK.time) is None
    assert validations.get_recent() == validations.get_by_document(first.id) == []
    assert validations.get_all() == []
    assert validations.count() == 0
    assert validations.get_gate_failure_stats() == []
    assert sum(validations.get_risk_breakdown().values()) == 0
    assert session.corrections.get_pending() == session.corrections.get_all() == []
    assert session.corrections.get_by_document(first.id) == []
    for row in found:
        if row.table == "validations":
            assert validations.get_by_id(row.id) is None
            assert validations.get_with_results(row.id) is None
            assert validations.get_results(row.id) == []
        if row.table == "corrections":
            assert session.corrections.get_by_id(row.id) is None
            assert session.corrections.get_history(row.id) == []


def test_what_is_deleted_is_shown_on_request(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("delete", 0, 0)]:
            perform(session, step)
    session, found = begin(), view(store.backend, begin().tenant)
    gone = next(row for row in found if isinstance(row, Document) and row.is_deleted)
    assert session.documents.get_by_id(gone.id, include_deleted=True) == gone
    assert gone in session.documents.get_by_client("a", include_deleted=True)
    assert gone not in session.documents.get_by_client("a")
    assert session.documents.get_version_history(gone.id, include_deleted=True) == [gone]
    rows = [row for row in found if getattr(row, "document_id", None) == gone.id]
    for row in rows:
        if row.table == "validations":
            assert session.validations.get_by_id(row.id, include_deleted=True) == row
            with_results = session.validations.get_with_results(row.id, include_deleted=True)
            assert with_results is not None
            assert session.validations.get_results(row.id, True) == with_results[1]
        if row.table == "corrections":
            assert session.corrections.get_by_id(row.id, include_deleted=True) == row
            assert session.corrections.get_history(row.id, include_deleted=True)


def test_lists_take_heads_unless_asked_for_all_versions(begin: Begin, chain: Any) -> None:
    documents, head = begin().documents, chain[-1]
    newest_first = chain[::-1]
    assert documents.get_all() == documents.filter_by() == [head]
    assert documents.get_by_client("a") == [head]
    assert documents.get_by_client("a", include_deleted=True) == [head]
    assert documents.count() == documents.count(client_id="a") == 1
    assert documents.get_all(versions="all") == newest_first
    assert documents.filter_by(versions="all") == newest_first
    assert documents.get_by_client("a", versions="all") == newest_first
    assert documents.count("all") == 3


@pytest.mark.parametrize("versions", ["live", "", None, "Heads"])
def test_versions_are_heads_or_all(begin: Begin, versions: Any) -> None:
    documents = begin().documents
    for call in (documents.get_all, documents.filter_by, documents.count):
        with pytest.raises(InvalidValue, match="versions"):
            call(versions=versions)
    with pytest.raises(InvalidValue, match="versions"):
        documents.get_by_client("a", versions=versions)


def test_reason_of_a_delete_stands_in_the_audit(begin: Begin, chain: Any) -> None:
    with begin() as session:
        session.documents.delete(chain[0].id, reason="asked for")
    (entry,) = begin().audit.get_by_action("delete")
    assert entry.metadata_json == {"reason": "asked for"}
    assert (entry.entity_type, entry.entity_id, entry.document_id) == (
        "document",
        chain[0].id,
        chain[0].id,
    )


def test_text_is_found_by_its_hash_while_it_is_the_live_head_of_that_client(begin: Begin) -> None:
    with begin() as session:
        documents = session.documents
        first = documents.create_document("same", "email", "a")
        documents.create_document("same", "email", "a", on_duplicate="allow")
        documents.create_document("same", "email", "b")
        old = documents.create_document("old", "email", "a")
        new = documents.create_version(old.id, "new")
    documents = begin().documents
    assert documents.get_by_hash(first.content_hash, "a") == first
    assert documents.get_by_hash(first.content_hash, "c") is None
    assert documents.get_by_hash(new.content_hash, "a") == new
    assert documents.get_by_hash(old.content_hash, "a") is None, "an earlier version's text"
    with begin() as session:
        session.documents.delete(new.id)
    assert begin().documents.get_by_hash(new.content_hash, "a") is None


# --- Purge -----------------------------------------------------------------------------------


def test_purge_takes_a_document_whole_and_leaves_the_trail(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("add_tag", 0, 0), ("apply", 0, 0), ("delete", 0, 0)]:
            perform(session, step)
    before = view(store.backend, session.tenant)
    gone = [row for row in before if isinstance(row, Document) and row.is_deleted]
    assert len(gone) == 2
    ids = [row.id for row in gone]
    assert begin().documents.purge(ids[::-1]) == [gone[0].root_id]
    after = view(store.backend, session.tenant)
    assert not [row for row in after if getattr(row, "root_id", None) == gone[0].root_id]
    links = {row.document_id for row in after if isinstance(row, DocumentTag)}
    assert gone[0].root_id not in links
    assert [row for row in after if isinstance(row, Tag)]
    assert entries(before) < entries(after)
    trail = begin().audit.get_by_document(gone[0].root_id)
    assert trail[0].action == "purge"
    assert all(begin().audit.get_by_document(id) == trail for id in ids)


def test_purge_of_a_query_takes_each_document_once(begin: Begin, chain: Any) -> None:
    with begin() as session:
        other = session.documents.create_document("other", "email", "a")
        session.documents.delete(chain[0].id)
        session.documents.delete(other.id)
    deleted = begin().query(Document, equals(is_deleted=True))
    assert sorted(begin().documents.purge(deleted)) == [chain[0].id, other.id]
    assert begin().count(begin().query(Document)) == 0


def test_purge_goes_on_where_another_writer_came_between(
    store: Storage, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.repositories.disposing.TOGETHER", 3)
    with begin() as session:
        ids = [session.documents.create_document(f"{n}", "email", "a").id for n in range(5)]
        for id in ids:
            session.documents.delete(id)
    backend, storage = unsteady(store)

    def restore() -> None:
        with begin() as other:
            other.documents.restore(ids[1])

    backend.fail(Fault(None), Fault(None, meanwhile=restore))
    with storage.session(tenant=begin().tenant) as session:
        with pytest.raises(IllegalTransition, match=f"document {ids[1]} is live"):
            session.documents.purge(ids)
        assert begin().documents.exists(ids[1])
        deleted = session.query(Document, equals(is_deleted=True))
        assert session.documents.purge(deleted) == ids[2:], "the first is gone already"


def test_purge_refuses_what_is_live_and_what_is_no_document(begin: Begin, chain: Any) -> None:
    session = begin()
    with pytest.raises(IllegalTransition):
        session.documents.purge([chain[0].id])
    with begin() as other:
        other.documents.delete_version(chain[-1].id)
    with pytest.raises(IllegalTransition):
        session.documents.purge([chain[-1].id])
    with pytest.raises(InvalidField, match="tags"):
        session.documents.purge(session.query(Tag))
    with pytest.raises(InvalidValue, match="tenant"):
        session.documents.purge(Query(Document, new_tenant()))


def test_purge_of_an_unknown_id_purges_nothing(begin: Begin, chain: Any) -> None:
    with begin() as session:
        session.documents.delete(chain[0].id)
    with pytest.raises(NotFound):
        begin().documents.purge([chain[0].id, 10**12])
    assert begin().documents.get_by_id(chain[0].id, include_deleted=True) is not None


# --- Duplicates ------------------------------------------------------------------------------


def test_text_of_a_live_head_is_a_duplicate(begin: Begin, chain: Any) -> None:
    head = chain[-1]
    with begin() as session:
        with pytest.raises(DuplicateDocument) as caught:
            session.documents.create_document("three", "email", "a")
        assert caught.value.existing_id == head.id
        again = session.documents.create_document("three", "email", "a", on_duplicate="return")
        assert again == head
        assert not session.pending
        more = session.documents.create_document("three", "email", "a", on_duplicate="allow")
        assert more.id != head.id
        session.documents.create_document("two", "email", "a")  # an earlier text is free
        session.documents.create_document("three", "email", "b")  # and so is another client's


def test_duplicates_are_found_inside_a_session_too(begin: Begin) -> None:
    with begin() as session:
        first = session.documents.create_document("text", "email", "a")
        with pytest.raises(DuplicateDocument):
            session.documents.create_document("text", "email", "a")
        head = session.documents.create_version(first.id, "other")
        session.documents.create_document("text", "email", "a")
        session.documents.revert_to(first.id)
        session.documents.delete(head.id)
        session.documents.create_document("other", "email", "a")


def test_deleted_text_can_be_stored_again_and_restored(begin: Begin, chain: Any) -> None:
    with begin() as session:
        session.documents.delete(chain[0].id)
        new = session.documents.create_document("three", "email", "a")
    with begin() as session:
        session.documents.restore(chain[0].id)
    documents = begin().documents
    assert documents.count(content="three") == 2
    assert documents.get_by_hash(new.content_hash, "a").id == chain[-1].id  # type: ignore[union-attr]


# --- Tags ------------------------------------------------------------------------------------


def test_tags_belong_to_the_document_whatever_happens_to_its_versions(
    begin: Begin, chain: Any
) -> None:
    with begin() as session:
        session.documents.add_tag(chain[0].id, "b")
        session.documents.add_tag(chain[1].id, "a")
        session.documents.create_version(chain[-1].id, "four")
        session.documents.delete(chain[0].id)
        session.documents.restore(chain[0].id)
    for version in chain:
        assert [tag.name for tag in begin().documents.tags_of(version.id)] == ["a", "b"]


def test_tag_that_is_there_or_not_there_changes_nothing(begin: Begin, chain: Any) -> None:
    with begin() as session:
        tag = session.documents.add_tag(chain[0].id, "a")
    with begin() as session:
        assert session.documents.add_tag(chain[2].id, "a") == tag
        session.documents.remove_tag(chain[0].id, "A")
        assert not session.pending
        session.documents.remove_tag(chain[1].id, "a")
        session.documents.remove_tag(chain[1].id, "a")
        session.documents.add_tag(chain[1].id, "a")
    assert begin().documents.tags_of(chain[0].id) == [tag]


def test_names_of_tags_are_a_sequence_not_a_text(begin: Begin) -> None:
    with begin() as session:
        with pytest.raises(InvalidValue, match="tags"):
            session.documents.create_document("text", "email", "a", tags="urgent")
        document = session.documents.create_document("text", "email", "a", tags=("x", "x"))
        assert [tag.name for tag in session.documents.tags_of(document.id)] == ["x"]


@pytest.mark.parametrize("content", [None, 5, b"text", "a\0secret", "secret\ud800"])
def test_content_that_is_no_text_is_refused_without_telling_it(begin: Begin, content: Any) -> None:
    with begin() as session:
        with pytest.raises(InvalidValue) as caught:
            session.documents.create_document(content, "email", "a")
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None or "secret" not in str(caught.value.__context__)
        assert not session.pending
