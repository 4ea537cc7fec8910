"""TAG-1, TAG-2 as callers of ``session.tags`` meet them."""

from collections.abc import Callable
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.errors import Duplicate, InvalidField, InvalidValue, StaleWrite
from loki_storage.models import DocumentTag, Tag
from tests.programs import view
from tests.stores import new_tenant

Begin = Callable[..., Session]


def names(session: Session) -> list[str]:
    return [tag.name for tag, _ in session.tags.list_with_counts()]


def test_name_is_unique_per_tenant_and_compared_by_code_point(begin: Begin, store: Storage) -> None:
    alike = ["a", "A", "é", "e\u0301", " a", "ß", "ss"]
    with begin() as session:
        for name in alike:
            session.tags.create(name)
        for name in alike:
            with pytest.raises(Duplicate) as caught:
                session.tags.create(name)
            assert caught.value.fields == ("name",)
    with store.session(tenant=new_tenant()) as session:
        session.tags.create("a")
    assert names(begin()) == sorted(alike)
    assert begin().tags.get_by_name("e\u0301") != begin().tags.get_by_name("é")


def test_name_in_use_is_refused_in_the_session_and_in_the_store(begin: Begin) -> None:
    with begin() as session:
        one, two = session.tags.create("one"), session.tags.create("two")
    with begin() as session:
        with pytest.raises(Duplicate):
            session.tags.update(one.id, name="two")
        session.tags.update(two.id, name="three")
        with pytest.raises(Duplicate, match="name"):  # free again after the commit only (BAT-3)
            session.tags.update(one.id, name="two")
        with pytest.raises(Duplicate):
            session.tags.create("two")
        session.tags.update(one.id, name="one")
    with begin() as session:
        session.tags.update(one.id, name="two")
    assert names(begin()) == ["three", "two"]


def test_deleted_tag_takes_its_links_in_the_same_batch(begin: Begin, store: Storage) -> None:
    with begin() as session:
        for text in "ab":
            session.documents.create_document(text, "email", "a", tags=["x", "y"])
        tag = session.tags.get_by_name("x")
        assert tag is not None
        assert [(t.name, n) for t, n in session.tags.list_with_counts()] == [("x", 2), ("y", 2)]
        session.commit()
        session.tags.delete(tag.id)
    found = view(store.backend, session.tenant)
    assert [row.name for row in found if isinstance(row, Tag)] == ["y"]
    assert sum(isinstance(row, DocumentTag) for row in found) == 2
    (entry,) = (e for e in begin().audit.get_by_entity("tag", tag.id) if e.action == "delete")
    assert {row["kind"] for row in entry.changes["rows"]} == {"document_tags", "tags"}


def test_tag_of_a_deleted_document_can_be_deleted(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("a", "email", "a", tags=["x"])
        session.documents.delete(document.id)
        tag = session.tags.get_by_name("x")
        assert tag is not None
        session.tags.delete(tag.id)
    with begin() as session:
        session.documents.restore(document.id)
    assert begin().documents.tags_of(document.id) == []


def test_two_changes_of_one_field_never_lose_one(begin: Begin) -> None:
    with begin() as session:
        tag = session.tags.create("x")
    first, second, third = begin(), begin(), begin()
    first.tags.update(tag.id, description="first")
    second.tags.update(tag.id, description="second")
    third.tags.update(tag.id, color="#00ff00")
    first.commit()
    with pytest.raises(StaleWrite):
        second.commit()
    third.commit()
    found = begin().tags.get(tag.id)
    assert found is not None
    assert (found.description, found.color) == ("first", "#00ff00")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, InvalidValue),
        ({"name": None}, InvalidValue),
        ({"name": "a" * 101}, InvalidValue),
        ({"color": "green"}, InvalidValue),
        ({"category": "a" * 51}, InvalidValue),
        ({"colour": "#00ff00"}, InvalidField),
        ({"tenant_id": "other"}, InvalidField),
        ({"created_at": None}, InvalidField),
    ],
)
def test_update_outside_the_value_domain_changes_nothing(
    begin: Begin, fields: dict[str, Any], error: type[Exception]
) -> None:
    with begin() as session:
        tag = session.tags.create("x")
        session.commit()
        with pytest.raises(error):
            session.tags.update(tag.id, **fields)
        assert not session.pending
        assert session.tags.get(tag.id) == tag


def test_tag_created_and_changed_and_deleted_in_a_session_never_was(begin: Begin) -> None:
    with begin() as session:
        document = session.documents.create_document("a", "email", "a")
        tag = session.documents.add_tag(document.id, "x")
        session.tags.update(tag.id, name="y")
        assert session.tags.get_by_name("x") is None
        session.tags.delete(tag.id)
        assert session.documents.tags_of(document.id) == []
    assert names(begin()) == []
