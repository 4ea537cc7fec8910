"""Opaque keyset cursors: where a page ended, sealed with the query that it is of (QRY-7).

A cursor holds the last record's values of the total order, and a digest of these and of the query
without its window. So a cursor that was cut or altered, or that another query gave, is refused.
It is text for URLs; whoever may not see the values of the order must not see the cursor.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Record
from loki_storage.query import Query
from loki_storage.values import canonical, parse

__all__ = ["cursor_of", "place_of"]

Moving = Mapping[str, str]
"""Times in a query that move with the clock, as ISO text -> what stands for them in the digest."""


def cursor_of(query: Query, last: Record, moving: Moving) -> str:
    """The cursor after a record of this query."""
    place = tuple(getattr(last, order.field) for order in query.total_order)
    after = query.evolve(after=place).to_json()["after"]
    sealed = canonical([_seal(query, after, moving), after], bounded=False)
    return _for_urls(b2a_base64(sealed.encode(), newline=False).decode())


def place_of(query: Query, cursor: str, moving: Moving) -> tuple[object, ...]:
    """The place that the query's own cursor names, for ``Query.after``; else ``InvalidValue``."""
    try:
        seal, after = _opened(cursor)
        genuine = seal == _seal(query, after, moving)
        found = Query.from_json({**query.to_json(), "after": after}).after if genuine else None
    except (ValueError, RecursionError, InvalidField):
        found = None
    if found is None:
        raise InvalidValue("cursor", "is not a cursor of this query")
    return found


def _opened(cursor: str) -> tuple[Any, Any]:
    if not isinstance(cursor, str):
        raise InvalidValue("cursor", "must be text")
    text = cursor.translate(_FROM_URL) + "=" * (-len(cursor) % 4)
    opened: Any = parse(a2b_base64(text, strict_mode=True).decode())
    seal, after = opened
    return seal, after


def _for_urls(text: str) -> str:
    return text.translate(_TO_URL).rstrip("=")


_TO_URL = str.maketrans("+/", "-_")
_FROM_URL = str.maketrans("-_", "+/")


def _seal(query: Query, after: Any, moving: Moving) -> str:
    text: str = canonical([query.whole().to_json(), after], bounded=False)
    for moment, meaning in moving.items():
        text = text.replace(moment, meaning)
    return sha256(text.encode()).hexdigest()[:32]
