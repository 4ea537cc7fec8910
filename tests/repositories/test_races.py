"""TXN-7: a race lost at commit is told in the words of the rule that lost."""

from collections.abc import Callable
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.errors import (
    BrokenReference,
    Duplicate,
    DuplicateDocument,
    NotFound,
    StaleVersion,
    StaleWrite,
    StorageError,
)
from loki_storage.models import Document, DocumentTag
from tests.programs import check_explained, entries, view
from tests.stores import CLOCK, unsteady

Begin = Callable[..., Session]


@pytest.fixture
def documents(begin: Begin) -> list[Document]:
    """Two documents of one client."""
    with begin() as session:
        return [session.documents.create_document(f"{n}", "email", "a") for n in range(2)]


def race(begin: Begin, mine: Callable[[Session], object], *theirs: Any) -> StorageError | None:
    """What my commit ends with, when others commit between my reads and my commit."""
    session = begin()
    mine(session)
    for each in theirs:
        with begin() as other:
            each(other)
    try:
        session.commit()
    except StorageError as error:
        return error
    return None


def test_version_on_a_head_that_has_moved_names_the_head(begin: Begin, documents: Any) -> None:
    one = documents[0].id
    error = race(
        begin,
        lambda s: s.documents.create_version(one, "mine"),
        lambda s: s.documents.create_version(one, "theirs"),
    )
    assert isinstance(error, StaleVersion)
    assert error.document_id == one
    assert error.current_id == begin().documents.get_latest_version(one).id  # type: ignore[union-attr]


def test_version_of_a_deleted_document_names_no_head(begin: Begin, documents: Any) -> None:
    one = documents[0].id
    error = race(
        begin,
        lambda s: s.documents.create_version(one, "mine"),
        lambda s: s.documents.delete(one),
    )
    assert isinstance(error, StaleVersion)
    assert error.current_id is None


def test_head_that_is_still_the_head_is_not_called_stale(begin: Begin, documents: Any) -> None:
    one = documents[0].id
    for mine in (
        lambda s: s.documents.update(one, title="mine"),
        lambda s: s.documents.create_version(one, "mine"),
    ):
        theirs = f"at {CLOCK.advance(seconds=1)}"
        error = race(begin, mine, lambda s, title=theirs: s.documents.update(one, title=title))
        assert type(error) is StaleWrite
        assert error.retryable


def test_second_version_in_a_session_is_not_blamed_for_another_document(
    begin: Begin, documents: Any
) -> None:
    one, two = (document.id for document in documents)

    def mine(session: Session) -> None:
        second = session.documents.create_version(one, "second")
        session.documents.create_version(second.id, "third")
        session.documents.create_version(two, "mine")

    error = race(begin, mine, lambda s: s.documents.create_version(two, "theirs"))
    assert isinstance(error, StaleVersion)
    assert error.document_id == two


def test_tag_on_one_document_is_not_blamed_for_another(begin: Begin, documents: Any) -> None:
    one, two = (document.id for document in documents)

    def mine(session: Session) -> None:
        session.documents.add_tag(one, "urgent")
        session.documents.update(two, title="mine")

    error = race(begin, mine, lambda s: s.documents.delete(two))
    assert isinstance(error, StaleVersion)
    assert error.document_id == two


def test_tag_on_a_document_deleted_meanwhile_is_not_found(begin: Begin, documents: Any) -> None:
    one = documents[0].id
    error = race(
        begin, lambda s: s.documents.add_tag(one, "urgent"), lambda s: s.documents.delete(one)
    )
    assert isinstance(error, NotFound)
    assert error.id == one


def test_validation_of_a_document_deleted_meanwhile_is_not_found(
    begin: Begin, documents: Any
) -> None:
    one, two = (document.id for document in documents)

    def mine(session: Session) -> None:
        session.validations.create_validation(one, ["m"], "a")
        session.validations.create_validation(two, ["m"], "a")

    error = race(begin, mine, lambda s: s.documents.delete(two))
    assert isinstance(error, NotFound)
    assert error.id == two


def test_text_stored_meanwhile_is_a_duplicate_of_that_document(begin: Begin) -> None:
    def mine(session: Session) -> None:
        session.documents.create_document("free", "email", "a")
        session.documents.create_document("taken", "email", "a")

    stored: list[Document] = []
    error = race(
        begin, mine, lambda s: stored.append(s.documents.create_document("taken", "email", "a"))
    )
    assert isinstance(error, DuplicateDocument)
    assert error.existing_id == stored[0].id
    assert begin().documents.count() == 1


def test_text_stored_and_deleted_meanwhile_is_no_obstacle(begin: Begin) -> None:
    stored: list[Document] = []
    error = race(
        begin,
        lambda s: s.documents.create_document("taken", "email", "a"),
        lambda s: stored.append(s.documents.create_document("taken", "email", "a")),
        lambda s: s.documents.delete(stored[0].id),
    )
    assert error is None


def test_request_stored_meanwhile_is_retried_and_replayed(
    begin: Begin, store: Storage, documents: Any
) -> None:
    one = documents[0].id
    create = lambda s: s.validations.create_validation(one, ["m"], "a", request_hash="r")  # noqa: E731
    error = race(begin, create, create)
    assert isinstance(error, StaleWrite)
    known = store.run(create, tenant=documents[0].tenant_id)
    assert begin().validations.get_recent() == [known]


def test_tags_by_name_join_the_winner(begin: Begin, documents: Any) -> None:
    one, two = (document.id for document in documents)

    def mine(session: Session) -> None:
        session.documents.create_document("new", "email", "a", tags=["x", "y", "z"])
        session.documents.add_tag(one, "w")

    def theirs(session: Session) -> None:
        for name in "zyxw":
            session.documents.add_tag(two, name)

    assert race(begin, mine, theirs) is None
    session = begin()
    assert dict(named_counts(session)) == {"w": 2, "x": 2, "y": 2, "z": 2}
    created = [e for e in session.audit.get_by_action("create") if e.entity_type == "tag"]
    assert len(created) == 4


def named_counts(session: Session) -> list[tuple[str, int]]:
    return [(tag.name, count) for tag, count in session.tags.list_with_counts()]


@pytest.mark.parametrize("known", [True, False])
def test_tag_that_another_writer_put_there_first_is_simply_there(
    begin: Begin, store: Storage, documents: Any, known: bool
) -> None:
    one, two = (document.id for document in documents)
    if known:
        with begin() as session:
            session.documents.add_tag(two, "urgent")
    before = view(store.backend, begin().tenant)

    def mine(session: Session) -> None:
        session.documents.add_tag(one, "urgent")
        session.documents.update(two, title="mine")

    assert race(begin, mine, lambda s: s.documents.add_tag(one, "urgent")) is None
    after = view(store.backend, begin().tenant)
    assert sum(isinstance(row, DocumentTag) and row.document_id == one for row in after) == 1
    assert begin().documents.get_by_id(two).title == "mine"  # type: ignore[union-attr]
    check_explained(before, after, entries(after) - entries(before))
    about_one = [e for e in entries(after) - entries(before) if e.entity_id == one]
    assert len(about_one) == 1, "a tag that was there already writes nothing (TAG-1)"


def test_commit_of_which_nothing_is_left_is_no_commit(begin: Begin, documents: Any) -> None:
    one = documents[0].id
    add = lambda s: s.documents.add_tag(one, "urgent")  # noqa: E731
    with begin() as session:
        session.tags.create("urgent")
    session = begin()
    add(session)
    with begin() as other:
        add(other)
    session.commit()
    assert session.receipt is None
    assert len(begin().audit.get_by_document(one)) == 2


def test_tag_created_meanwhile_is_a_duplicate_that_a_second_run_explains(
    begin: Begin, store: Storage, documents: Any
) -> None:
    create = lambda s: s.tags.create("x")  # noqa: E731
    error = race(begin, create, create)
    assert isinstance(error, Duplicate)
    assert error.retryable
    with pytest.raises(Duplicate) as caught:
        store.run(create, tenant=documents[0].tenant_id)
    assert not caught.value.retryable


def test_tag_deleted_meanwhile_breaks_the_link(
    begin: Begin, store: Storage, documents: Any
) -> None:
    one = documents[0].id
    with begin() as session:
        tag = session.tags.create("x")
    link = lambda s: s.documents.add_tag(one, "x")  # noqa: E731
    error = race(begin, link, lambda s: s.tags.delete(tag.id))
    assert isinstance(error, BrokenReference)
    store.run(link, tenant=documents[0].tenant_id)
    assert named_counts(begin()) == [("x", 1)]


def test_store_that_cannot_explain_leaves_the_conflict(store: Storage, documents: Any) -> None:
    backend, storage = unsteady(store)
    document = documents[0]
    session = storage.session(tenant=document.tenant_id)
    session.documents.create_version(document.id, "mine")
    with store.session(tenant=document.tenant_id) as other:
        other.documents.create_version(document.id, "theirs")
    backend.unreadable = 100
    with pytest.raises(StaleWrite):
        session.commit()
