"""ERR: one tree, rooted in builtins; facts as attributes, no values in messages."""

import copy
import pickle
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loki_storage import errors
from loki_storage.errors import DuplicateDocument, InvalidField, StaleVersion, StorageError

ALL = {name: getattr(errors, name) for name in errors.__all__}
DRAWN = re.compile(r"[├└]── (\w+)(?: \((\w+)\))?")
# An error each whose constructor takes facts.
WITH_FACTS: list[Callable[[], StorageError]] = [
    lambda: errors.InvalidValue("title", "is required"),
    lambda: errors.InvalidField("titel", "is not known", ["title"]),
    lambda: errors.NotFound("documents", 1),
    lambda: errors.StaleWrite("documents", 1),
    lambda: errors.StaleVersion(1, 2),
    lambda: errors.Duplicate("tags", ["name"]),
    lambda: errors.DuplicateDocument(1),
    lambda: errors.BrokenReference("documents", "root_id"),
    lambda: errors.OnHold("case 12"),
    lambda: errors.OutcomeUnknown(1),
    lambda: errors.SchemaOutdated("0001", "0002"),
]
PLAIN = [
    name
    for name, cls in ALL.items()
    if not any("__init__" in vars(base) for base in cls.__mro__ if issubclass(base, StorageError))
]


def drawn_tree() -> dict[str, tuple[str, str | None, bool]]:
    """Error -> parent, builtin root and whether it is retryable, as the docstring draws it."""
    tree, parents = {}, {0: "StorageError"}
    for line in (errors.__doc__ or "").splitlines():
        found = DRAWN.search(line)
        if found:
            depth = (found.start() - 4) // 4
            parents[depth + 1] = found[1]
            tree[found[1]] = parents[depth], found[2], "(retryable)" in line
    return tree


def test_docstring_draws_every_error() -> None:
    assert {"StorageError", *drawn_tree()} == set(errors.__all__)


@pytest.mark.parametrize("name", drawn_tree())
def test_error_is_as_drawn(name: str) -> None:
    parent, builtin, retryable = drawn_tree()[name]
    bases = ALL[name].__bases__
    assert [base.__name__ for base in bases] == [parent, *([builtin] if builtin else [])]
    assert ALL[name].retryable is retryable


def test_every_error_has_an_example() -> None:
    assert {type(make()).__name__ for make in WITH_FACTS} | set(PLAIN) == set(ALL)


EVERY = [*WITH_FACTS, *(lambda cls=ALL[name]: cls("what happened") for name in PLAIN)]


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("passed", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_error_crosses_processes_with_its_facts(
    make: Callable[[], StorageError], passed: Callable[[StorageError], StorageError]
) -> None:
    """A pool of processes that cannot unpickle an error breaks as a whole."""
    error = make()
    error.add_note("a note")
    found = passed(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("written", "meant"), [("titel", "title"), ("create_at", "created_at"), ("zzz", None)]
)
def test_unknown_name_brings_the_nearest_known_one(written: str, meant: str | None) -> None:
    error = InvalidField(written, known=["created_at", "title", "updated_at"])
    assert error.suggestion == meant
    assert (f"did you mean {meant!r}" in str(error)) is (meant is not None)


class Telltale:
    def __repr__(self) -> str:
        return "SECRET"

    __str__ = __repr__


@given(st.sampled_from([None, 1, ["SECRET"], {"a": "SECRET"}, b"SECRET", Telltale()]))
def test_what_is_no_name_is_told_by_its_type(thing: object) -> None:
    error = InvalidField(thing, known=["title"])
    assert error.field == type(thing).__name__
    assert "SECRET" not in str(error)


@given(st.text())
@example("x" * 10**6)
def test_message_stays_short_whatever_the_name(name: str) -> None:
    assert len(str(InvalidField(name, known=["title"]))) < 1200


def test_duplicate_names_the_key_or_the_tenant() -> None:
    assert "same client_id, request_hash" in str(
        errors.Duplicate("validations", ["client_id", "request_hash"])
    )
    assert "same tenant" in str(errors.Duplicate("retention_state", ()))


def test_message_without_the_other_document_names_none() -> None:
    assert "None" not in str(DuplicateDocument(None))
    assert "None" not in str(StaleVersion(1, None))
    assert "None" not in str(errors.SchemaOutdated(None, "0001"))
