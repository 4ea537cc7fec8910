"""Certificates of disposal: what was destroyed, by which rule, when and by whom (RET-5).

A certificate is one line of canonical JSON that ends with a seal, the SHA-256 of all before. It is
verified without a store: any changed byte breaks the seal or the canonical form. It names no
content and no hash of one; records are told by a digest over (kind, id, time, action).
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from loki_storage.errors import InvalidValue
from loki_storage.values import JsonValue, canonical, parse

__all__ = ["EMPTY", "VERSION", "Line", "extend", "sealed", "verify"]

VERSION = 1
EMPTY = sha256(b"").hexdigest()

Line = tuple[str, int, datetime | None, str]
"""Kind, id, time of creation, action."""


def extend(digest: str | None, lines: Iterable[Line]) -> str:
    """The digest with more records: each is hashed onto all before, so batches do not show."""
    found = digest or EMPTY
    for kind, id, time, action in lines:
        told = f"{found} {kind} {id} {'-' if time is None else time.isoformat()} {action}"
        found = sha256(told.encode()).hexdigest()
    return found


def sealed(facts: dict[str, JsonValue]) -> str:
    """The certificate as it is kept and handed out."""
    body = canonical({"certificate": VERSION, **facts}, "certificate", bounded=False)
    return canonical({**_object(body), "seal": _seal(body)}, "certificate", bounded=False)


def verify(text: str | bytes) -> dict[str, Any]:
    """The facts of a certificate, or ``InvalidValue`` if a byte of it was changed."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        decoded = decoded.removesuffix("\n")
        facts = _object(decoded)
        seal = facts.pop("seal")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidValue("certificate", "is no certificate of disposal") from error
    body = canonical(facts, "certificate", bounded=False)
    whole = canonical({**facts, "seal": seal}, "certificate", bounded=False)
    if seal != _seal(body) or whole != decoded:
        raise InvalidValue("certificate", "was altered: its seal is broken")
    return facts


def _seal(body: str) -> str:
    return f"sha256:{sha256(body.encode()).hexdigest()}"


def _object(text: str) -> dict[str, Any]:
    value = parse(text)
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value
