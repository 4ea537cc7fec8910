"""What ``documents.diff`` tells: lines that lead from one text to the other, fields that differ."""

import difflib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import Session
from loki_storage.errors import NotFound
from loki_storage.models import Document
from loki_storage.rules import differences
from loki_storage.rules.differences import compare
from loki_storage.rules.documents import first_version
from tests.stores import CLOCK

Begin = Callable[..., Session]
texts = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=30).map("\n".join)


def document(id: int, content: str, **fields: object) -> Document:
    described = {"document_type": "email", "client_id": "a", **fields}
    return first_version(id=id, tenant="t", now=CLOCK(), content=content, **described)


def applied(before: str, found: differences.DocumentDiff) -> str:
    """The text that the changes make of the first one."""
    lines, at, made = before.split("\n"), 0, list[str]()
    for change in found.changes:
        made += lines[at : change.before_line - 1]
        assert len(made) == change.after_line - 1
        assert lines[change.before_line - 1 :][: len(change.removed)] == list(change.removed)
        made += change.added
        at = change.before_line - 1 + len(change.removed)
    return "\n".join([*made, *lines[at:]])


@given(before=texts, after=texts)
def test_changes_lead_from_one_text_to_the_other(before: str, after: str) -> None:
    found = compare(document(1, before), document(2, after))
    assert applied(before, found) == after
    assert found.same_text == (before == after)
    assert (found.unified == "") == (before == after)


@given(before=texts, after=texts)
def test_unified_diff_is_one(before: str, after: str) -> None:
    """The standard library's own reading of it gives both texts back, where it has all lines."""
    found = compare(document(1, before), document(2, after)).unified.split("\n")[2:]
    signs = [line[:1] for line in found if not line.startswith("@@")]
    assert set(signs) <= {" ", "+", "-"}
    removed = [line[1:] for line in found if line.startswith("-")]
    added = [line[1:] for line in found if line.startswith("+")]
    delta = [*(f"- {line}" for line in removed), *(f"+ {line}" for line in added)]
    assert list(difflib.restore(delta, 1)) == removed
    assert all(line in before.split("\n") for line in removed)
    assert all(line in after.split("\n") for line in added)


def test_unified_diff_is_that_of_the_standard_library() -> None:
    before = "\n".join(f"{n}" for n in range(40))
    after = before.replace("\n5\n", "\nfive\n").replace("\n30\n", "\n")
    names = ("document 1", "document 2")
    expected = difflib.unified_diff(before.split("\n"), after.split("\n"), *names, lineterm="")
    assert compare(document(1, before), document(2, after)).unified == "\n".join(expected)


@given(data=st.data(), length=st.integers(0, 12))
def test_one_change_of_different_lines_is_told_as_the_standard_library_tells_it(
    data: st.DataObject, length: int
) -> None:
    lines = [f"{n}" for n in range(length)]
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, min(length, start + 2)))
    put = data.draw(st.sampled_from([[], ["x"], ["x", "y"]]))
    before = "\n".join(["top", *lines])
    after = "\n".join(["top", *lines[:start], *put, *lines[end:]])
    names = ("document 1", "document 2")
    expected = difflib.unified_diff(before.split("\n"), after.split("\n"), *names, lineterm="")
    assert compare(document(1, before), document(2, after)).unified == "\n".join(expected)


@pytest.mark.parametrize(("largest", "count"), [(6, 2), (5, 1)])
def test_texts_are_compared_up_to_so_many_lines_times_lines(
    monkeypatch: pytest.MonkeyPatch, largest: int, count: int
) -> None:
    monkeypatch.setattr(differences, "LARGEST", largest)
    found = compare(document(1, "a\nsame\nb"), document(2, "c\nsame"))
    assert len(found.changes) == count
    assert applied("a\nsame\nb", found) == "c\nsame"


@pytest.mark.parametrize("text", ["", "a\nb\nc\nd\ne\nf\ng"])
def test_text_that_is_only_added_or_removed_has_no_size(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(differences, "LARGEST", 0)
    longer = f"{text}\nend"
    for before, after in ((text, longer), (longer, text)):
        (change,) = compare(document(1, before), document(2, after)).changes
        assert change.op in ("insert", "delete")
        assert change.removed + change.added == ("end",)


def test_very_different_long_texts_are_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "LARGEST", 3)
    found = compare(document(1, "same\na\nb\nend"), document(2, "same\nc\nd\nend"))
    (change,) = found.changes
    assert (change.removed, change.added) == (("a", "b"), ("c", "d"))


def test_fields_that_differ() -> None:
    before = document(1, "x", title="one", metadata_json={"a": 1})
    after = document(2, "x", title="two", metadata_json={"a": 1.0}, client_id="b")
    assert compare(before, after).fields == {
        "client_id": ("a", "b"),
        "title": ("one", "two"),
        "metadata_json": ({"a": 1}, {"a": 1.0}),
    }
    found = compare(before, after.evolve(content="y"))
    assert not [told for told in ("one", "two", "x", "y") if f"'{told}" in repr(found)]
    assert "+y" not in repr(found)
    same = document(2, "x", title="".join(["o", "ne"]), metadata_json={"a": int("1")})
    assert compare(before, same).fields == {}


def test_diff_of_versions_and_of_what_is_not_there(begin: Begin) -> None:
    with begin() as session:
        first = session.documents.create_document("one\ntwo", "email", "a")
        second = session.documents.create_version(first.id, "one\nthree", title="t")
    documents = begin().documents
    found = documents.diff(first.id, second.id)
    assert (found.before_id, found.after_id) == (first.id, second.id)
    assert found.changes[0].added == ("three",)
    assert found.fields == {"title": (None, "t")}
    assert documents.diff(first.id, first.id).same_text
    with pytest.raises(NotFound):
        documents.diff(first.id, 10**12)
    with begin() as session:
        session.documents.delete_version(first.id)
    with pytest.raises(NotFound):
        begin().documents.diff(first.id, second.id)
    assert begin().documents.diff(first.id, second.id, include_deleted=True) == found
