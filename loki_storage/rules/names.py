"""Lists of names that callers give."""

from collections.abc import Iterable

from loki_storage.errors import InvalidValue

__all__ = ["name_list"]


def name_list(field: str, names: Iterable[str]) -> list[str]:
    """The names as a list. Text would come apart into its characters: it is refused."""
    if not isinstance(names, str) and isinstance(names, Iterable):
        listed = list(names)
        if all(isinstance(name, str) for name in listed):
            return listed
    raise InvalidValue(field, "must be a sequence of names")
