"""What ``create_documents`` is given, mappings of ``create_document``'s arguments, as columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Document
from loki_storage.rules.documents import OnDuplicate, check_on_duplicate
from loki_storage.rules.names import name_list

__all__ = ["Described", "described"]

_REQUIRED = ("content", "document_type", "client_id")
_FIELDS = {
    # The content first, as everywhere; the others as records check them.
    "content": "content",
    "document_type": "document_type",
    "title": "title",
    "description": "description",
    "source": "source",
    "language": "language",
    "metadata": "metadata_json",
    "client_id": "client_id",
    "user_id": "user_id",
}
"""The arguments that are fields of the document."""
_ARGUMENTS = (*_REQUIRED, *(name for name in _FIELDS if name not in _REQUIRED))
_ARGUMENTS += ("tags", "on_duplicate")
_KNOWN = frozenset(_ARGUMENTS)
_DEFAULTS = {field.alias: field.default for field in attrs.fields(Document) if field.default}


@attrs.frozen
class Described:
    """Documents that are to be, one after the other."""

    fields: Mapping[str, Sequence[Any]] = attrs.field(repr=False)
    """Columns of ``Document``, checked; all texts, and what was said of any of the documents."""
    tags: Sequence[Sequence[str]] = attrs.field(repr=False)
    """Names, each once; none at all where no document has any."""
    on_duplicate: Sequence[OnDuplicate]


def described(given: Sequence[object], on_duplicate: OnDuplicate) -> Described:
    """What was given, checked column by column: one wrong value is ``InvalidValue``.

    ``on_duplicate`` is for those that do not say it themselves.
    """
    items = list(map(_arguments, given))
    said = set[str]().union(*items)
    tags = [_names(item.get("tags", ())) for item in items] if "tags" in said else []
    asks = [_ask(item.get("on_duplicate"), on_duplicate) for item in items]
    named = (name for name in _FIELDS if name in said or name in _REQUIRED)
    return Described({_FIELDS[name]: _column(name, items) for name in named}, tags, asks)


def _arguments(given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidValue("documents", "must be mappings of create_document's arguments")
    arguments = dict(given)
    if not _KNOWN.issuperset(arguments):
        unknown = next(name for name in arguments if name not in _KNOWN)
        raise InvalidField(unknown, "is not an argument of create_document", _ARGUMENTS)
    return arguments


def _names(given: Any) -> list[str]:
    return list(dict.fromkeys(name_list("tags", given)))


def _ask(said: Any, otherwise: OnDuplicate) -> OnDuplicate:
    if said is None:
        return otherwise
    check_on_duplicate(said)
    return said  # type: ignore[no-any-return]


def _column(name: str, items: Sequence[Mapping[str, Any]]) -> list[Any]:
    field = _FIELDS[name]
    accept, default = Document.domains[field].accept, _DEFAULTS.get(field)
    return [accept(field, item.get(name, default)) for item in items]
