"""Lists that callers give."""

from collections.abc import Iterable, Mapping
from typing import Any

from loki_storage.errors import InvalidValue

__all__ = ["item_list", "name_list"]


def name_list(field: str, names: Iterable[str]) -> list[str]:
    """The names as a list. Text would come apart into its characters: it is refused."""
    if not isinstance(names, str) and isinstance(names, Iterable):
        listed = list(names)
        if all(isinstance(name, str) for name in listed):
            return listed
    raise InvalidValue(field, "must be a sequence of names")


def item_list(field: str, items: Iterable[Any]) -> list[Any]:
    """The items as a list. Text would come apart into its characters: it is refused."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise InvalidValue(field, "must be a sequence")
    return list(items)
