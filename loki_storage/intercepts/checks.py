"""Checks of what comes from outside: shapes and texts quickly, and where they fail, exactly.

The quick checks look at many values at once and only ever answer "all of them are in order";
anything else is left to the domains, which know the reason and raise it with the path.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from typing import Any

import orjson

from loki_storage.errors import InvalidValue
from loki_storage.values import LIMITS, Text, canonical

__all__ = ["are_sound", "json_texts", "moment_of", "optional_text", "plain_object", "step"]

_TEXT = Text()
_NAME = re.compile(r"[\w.\- ]{1,100}", re.ASCII)


def step(path: str, name: object) -> str:
    """The path of a member: with its name where that is a plain one."""
    if not isinstance(name, str) or not (name.isidentifier() or _NAME.fullmatch(name)):
        return f"{path}.*"
    return f"{path}.{name[:100]}"


def plain_object(value: object, path: str) -> dict[str, Any]:
    """The value, which must be a JSON object; a subclass as a plain one."""
    if type(value) is dict:
        return value
    if isinstance(value, dict):
        return dict(value)
    raise InvalidValue(path, "is required" if value is None else "must be an object")


def optional_text(value: object, path: str) -> str | None:
    """The value, which must be text or null; what the text holds is not looked at."""
    if value is None or isinstance(value, str):
        return value
    raise InvalidValue(path, "must be text")


def are_sound(texts: Sequence[object]) -> bool:
    """Whether all are ``str``, without U+0000 and lone surrogates, none too long (VAL-2, VAL-3)."""
    if not set(map(type, texts)) <= {str}:
        return False
    return _is_sound("".join(texts))  # type: ignore[arg-type]


def _is_sound(text: str) -> bool:
    if "\0" in text or len(text) * 4 > LIMITS.content_bytes:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment_of(text: object, path: str) -> datetime:
    """The time that an ISO 8601 text tells, naive where it tells no time zone."""
    try:
        return datetime.fromisoformat(_TEXT.accept(path, text))  # type: ignore[arg-type]
    except ValueError:
        raise InvalidValue(path, "must be a time as ISO 8601 writes it") from None


def json_texts(values: Sequence[object], paths: Iterable[str]) -> tuple[list[str], bool]:
    """Their canonical texts, and whether orjson writes all of them canonically (VAL-6).

    ``paths``, as many as values, is read only where a value is not plain JSON within the limits.
    """
    if _are_plain(values):
        with suppress(TypeError):  # a lone surrogate, a key that is no text, beyond 64 bits
            written = list(map(orjson.dumps, values))
            if _are_sound_json(written):
                return list(map(bytes.decode, written)), True
    return [canonical(value, path) for value, path in zip(values, paths, strict=True)], False


def _are_sound_json(written: Sequence[bytes]) -> bool:
    """Whether there is no U+0000 in any of them, and none is too long."""
    return max(map(len, written), default=0) <= LIMITS.json_bytes and b"\\u0000" not in b"".join(
        written
    )


_SCALARS = frozenset((str, int, bool, type(None)))
_PLAIN = _SCALARS | {dict, list}


def _are_plain(values: Sequence[object]) -> bool:
    """Whether orjson writes these as ``canonical`` does, if it writes them: no floats, no types of
    a caller's own, not too deep. Asked level by level, of all values at once.
    """
    level: Sequence[Any] = values
    for _ in range(LIMITS.json_depth):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN:
            return False
        if kinds <= _SCALARS:
            return True
        objects = (value for value in level if type(value) is dict)
        arrays = (value for value in level if type(value) is list)
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(arrays)]
    return not level
