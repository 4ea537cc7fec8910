"""Lists of names: what a caller gives is never taken apart."""

from typing import Any

import pytest

from loki_storage.errors import InvalidValue
from loki_storage.rules.names import item_list, name_list


@pytest.mark.parametrize("names", ["gdpr", "", [1], [None], [["a"]], 5, None, b"gdpr", ["a", 2]])
def test_what_is_no_sequence_of_names_is_refused(names: Any) -> None:
    with pytest.raises(InvalidValue, match="modules_used"):
        name_list("modules_used", names)


@pytest.mark.parametrize("names", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}, iter("ab")])
def test_any_sequence_of_names_will_do(names: Any) -> None:
    assert name_list("tags", names) == ["a", "b"]


def test_no_names_are_names_too() -> None:
    assert name_list("tags", ()) == []


@pytest.mark.parametrize("items", ["text", "", b"bytes", {"a": 1}, 5, None])
def test_what_is_no_sequence_of_items_is_refused(items: Any) -> None:
    with pytest.raises(InvalidValue, match="documents"):
        item_list("documents", items)


@pytest.mark.parametrize("items", [[1, "a"], (1, "a"), iter([1, "a"])])
def test_any_sequence_of_items_will_do(items: Any) -> None:
    assert item_list("documents", items) == [1, "a"]
