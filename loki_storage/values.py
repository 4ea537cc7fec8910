"""The value domain (VAL): what a field may hold, checked once, before any backend sees a value.

A ``Domain`` belongs to a field. ``accept`` turns what a caller gave into what a record holds, or
raises ``InvalidValue``; ``operand`` does the same for a value in a query, where only the type
matters: asking for an id of 0 is legal, and finds nothing.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import attrs
import orjson

from loki_storage.errors import InvalidValue

__all__ = [
    "LIMITS",
    "Boolean",
    "Color",
    "Domain",
    "Integer",
    "Json",
    "JsonText",
    "JsonValue",
    "Limits",
    "Number",
    "Text",
    "Time",
    "Word",
    "canonical",
    "composed",
    "parse",
]

_INT64 = range(-(2**63), 2**63)
_DEEPEST = 200
"""Levels of JSON that every reader and writer manages: orjson writes 254, Python's stack ends."""

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def _check_depth(limits: "Limits", attribute: "attrs.Attribute[int]", depth: int) -> None:
    # Half of what can be read again: the audit wraps what it tells of in levels of its own.
    Integer(minimum=1, maximum=_DEEPEST // 2).accept(attribute.name, depth)


@attrs.define
class Limits:
    """Limits of the process that a host may change before it opens a store (VAL-3, VAL-6).

    ``json_depth`` is at most 100, or ``InvalidValue``.
    """

    content_bytes: int = 64 * 2**20
    json_bytes: int = 2**20
    json_depth: int = attrs.field(default=64, validator=_check_depth)


class JsonText(str):
    """Canonical JSON text that was checked already; records hold JSON in this form."""

    __slots__ = ()


@attrs.frozen
class Domain:
    """What one field may hold."""

    nullable: bool = attrs.field(default=False, kw_only=True)
    orderable: bool = attrs.field(default=True, kw_only=True)

    def accept(self, field: str, value: object) -> object:
        """The value as a record holds it, or ``InvalidValue``."""
        if value is None:
            if self.nullable:
                return None
            raise InvalidValue(field, "is required")
        return self._checked(field, value)

    def operand(self, field: str, value: object) -> object:
        """The value as a query compares it; None is always a legal operand."""
        return None if value is None else self._typed(field, value)

    def rank(self, value: object) -> object:
        """What the total order compares (QRY-1): the value itself, but for ranked enums."""
        return value

    def _typed(self, field: str, value: object) -> object:
        raise InvalidValue(field, "cannot be compared")

    def _checked(self, field: str, value: object) -> object:
        return self._typed(field, value)


@attrs.frozen
class Integer(Domain):
    """A 64-bit signed integer within bounds; a bool is not one."""

    minimum: int = _INT64.start
    maximum: int = _INT64.stop - 1

    def _typed(self, field: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidValue(field, "must be an integer")
        number = int(value)  # a range looks for members of a subclass one by one
        if number not in _INT64:
            raise InvalidValue(field, "must fit 64 bits")
        return number

    def accept(self, field: str, value: object) -> object:
        within = type(value) is int and value in _INT64 and self.minimum <= value <= self.maximum
        return value if within else super().accept(field, value)  # nearly every one is

    def _checked(self, field: str, value: object) -> int:
        number = self._typed(field, value)
        if not self.minimum <= number <= self.maximum:
            raise InvalidValue(field, f"must be within {self.minimum} and {self.maximum}")
        return number


@attrs.frozen
class Number(Domain):
    """A finite float within bounds."""

    minimum: float = 0.0
    maximum: float = 1.0

    def _typed(self, field: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidValue(field, "must be a number")
        try:
            number = float(value)
        except OverflowError:
            raise InvalidValue(field, "must be finite") from None
        if not math.isfinite(number):
            raise InvalidValue(field, "must be finite")
        return number + 0.0  # -0.0 and 0.0 are one value: not every database keeps the sign

    def _checked(self, field: str, value: object) -> float:
        number = self._typed(field, value)
        if not self.minimum <= number <= self.maximum:
            raise InvalidValue(field, f"must be within {self.minimum} and {self.maximum}")
        return number


@attrs.frozen
class Boolean(Domain):
    """True or False, nothing that merely counts as one."""

    orderable: bool = attrs.field(default=False, kw_only=True)

    def _typed(self, field: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidValue(field, "must be a boolean")
        return value


@attrs.frozen
class Time(Domain):
    """An aware datetime; held in UTC with microseconds (VAL-4)."""

    def accept(self, field: str, value: object) -> object:
        utc = type(value) is datetime and value.tzinfo is UTC and not value.fold
        return value if utc else super().accept(field, value)  # nearly every one is

    def _typed(self, field: str, value: object) -> datetime:
        if not isinstance(value, datetime):
            raise InvalidValue(field, "must be a datetime")
        offset = _offset(field, value)
        try:
            naive = datetime.combine(value.date(), value.time()) - offset
        except OverflowError:
            raise InvalidValue(field, "must be within the years 1 and 9999 in UTC") from None
        return naive.replace(tzinfo=UTC)


def _offset(field: str, value: datetime) -> timedelta:
    """The offset from UTC; a time zone is the caller's code, and may fail in its own way."""
    try:
        offset = value.utcoffset()
    except (ArithmeticError, NotImplementedError, TypeError, ValueError):
        raise InvalidValue(field, "must have a time zone that tells its offset") from None
    if offset is None:
        raise InvalidValue(field, "must be an aware datetime (with a time zone)")
    return offset


@attrs.frozen
class Text(Domain):
    """Unicode text without U+0000 and lone surrogates, kept exactly (VAL-2).

    ``limit`` counts code points; text without one is limited by ``LIMITS.content_bytes`` in UTF-8.
    """

    limit: int | None = None
    minimum: int = 0

    def accept(self, field: str, value: object) -> object:
        if type(value) is str and value.isascii() and "\0" not in value:  # nearly every one
            limit = LIMITS.content_bytes if self.limit is None else self.limit
            if self.minimum <= len(value) <= limit:
                return value
        return super().accept(field, value)

    def _typed(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise InvalidValue(field, "must be text")
        text = _exact(value)
        if "\0" in text:
            raise InvalidValue(field, "must not contain U+0000")
        if not text.isascii() and not _encodes(text):
            raise InvalidValue(field, "must not contain lone surrogates")
        return text

    def _checked(self, field: str, value: object) -> str:
        text = self._typed(field, value)
        if len(text) < self.minimum:
            raise InvalidValue(field, "must not be empty")
        if self.limit is None:
            if _bytes_exceed(text, LIMITS.content_bytes):
                raise InvalidValue(field, f"must be at most {LIMITS.content_bytes} bytes in UTF-8")
        elif len(text) > self.limit:
            raise InvalidValue(field, f"must be at most {self.limit} characters")
        return text


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COLOR = re.compile("#[0-9a-fA-F]{6}")


@attrs.frozen
class Color(Text):
    """``#rrggbb``."""

    accept = Domain.accept

    def _checked(self, field: str, value: object) -> str:
        text = self._typed(field, value)
        if not _COLOR.fullmatch(text):
            raise InvalidValue(field, "must be a color as #rrggbb")
        return text


@attrs.frozen
class Word(Text):
    """A word of a vocabulary, stored by value, read back as a member where it is known (VAL-7)."""

    vocabulary: type[StrEnum] = attrs.field(kw_only=True)
    open: bool = attrs.field(default=False, kw_only=True)
    ranked: bool = attrs.field(default=False, kw_only=True)
    members: Mapping[str, StrEnum] = attrs.field(init=False, eq=False, repr=False)
    ranks: Mapping[str, int] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        members = {member.value: member for member in self.vocabulary}
        ranks = {word: getattr(member, "rank", 0) for word, member in members.items()}
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "ranks", ranks)

    def accept(self, field: str, value: object) -> object:
        return value if type(value) is self.vocabulary else Domain.accept(self, field, value)

    def rank(self, value: object) -> object:
        return self.ranks[str(value)] if self.ranked else str(value)

    def member(self, value: str) -> str:
        """The member that this stored word means, or the word itself."""
        return self.members.get(value, value)

    def _typed(self, field: str, value: object) -> str:
        if type(value) is self.vocabulary:
            return value
        known = self.members.get(_exact(value)) if isinstance(value, str) else None
        if known is not None:
            return known
        if not self.open:
            raise InvalidValue(field, f"must be one of {', '.join(self.members)}")
        return super()._typed(field, value)

    def _checked(self, field: str, value: object) -> str:
        word = self._typed(field, value)
        if word in self.members:
            return word
        word = super()._checked(field, word)
        if word != word.strip() or _CONTROL.search(word):
            raise InvalidValue(field, "must have no control characters and no outer spaces")
        return word


@attrs.frozen
class Json(Domain):
    """JSON, held as canonical text (VAL-6); it is compared through paths, never as a whole."""

    orderable: bool = attrs.field(default=False, kw_only=True)
    bounded: bool = attrs.field(default=True, kw_only=True)

    def _typed(self, field: str, value: object) -> JsonText:
        if type(value) is JsonText:
            return value
        return canonical(value, field, bounded=self.bounded)


def canonical(value: object, field: str = "value", *, bounded: bool = True) -> JsonText:
    """The canonical text of a JSON value: key order kept, no spaces, no escapes but the needed.

    Lists and tuples are arrays. Raises ``InvalidValue`` for anything that would not come back
    equal, and, if ``bounded``, beyond ``LIMITS.json_bytes`` and ``LIMITS.json_depth``.
    """
    plain = _is_plain(value, LIMITS.json_depth if bounded else _DEEPEST, field)
    try:
        if plain:
            text = orjson.dumps(value).decode()
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise InvalidValue(field, "must be JSON") from None
    if bounded and _bytes_exceed(text, LIMITS.json_bytes):
        raise InvalidValue(field, f"must be at most {LIMITS.json_bytes} bytes as JSON")
    return JsonText(text)


def composed(value: JsonValue) -> JsonText:
    """The canonical text of what the SDK itself made of names and ids: nothing is checked."""
    return JsonText(orjson.dumps(value).decode())


_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_DIGITS = b"0" * 19


def parse(text: str) -> JsonValue:
    """The value of canonical JSON text, new each time.

    orjson turns integers beyond 64 bits, which have 19 digits or more, into floats; a search for
    them by translating all digits to 0 costs a twentieth of a regular expression.
    """
    data = text.encode()
    long = _LONG_DIGITS in data.translate(_AS_ZERO)
    value: JsonValue = json.loads(data) if long else orjson.loads(data)
    return value


def _is_plain(value: object, depth: int, field: str) -> bool:
    """Check a JSON value; True where orjson writes it exactly as the standard library does.

    Subclasses are not plain: orjson reads past the order or the items that they define.
    """
    kind = type(value)
    if isinstance(value, str):
        _check_json_text(value, field)
        return kind is str
    if value is None or kind is bool:
        return True
    if isinstance(value, int):
        return _check_json_integer(value, field)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValue(field, "numbers in JSON must be finite")
        return False
    if not isinstance(value, dict | list | tuple):
        raise InvalidValue(field, "must be JSON (objects, arrays, text, numbers, booleans, null)")
    if depth <= 0:
        raise InvalidValue(field, "is JSON nested too deeply (see LIMITS.json_depth)")
    plain = kind in _CONTAINERS  # from here on without short cuts: each part is to be checked
    if isinstance(value, dict):
        for key, item in value.items():
            plain &= _check_json_key(key, field) & _is_plain(item, depth - 1, field)
        return plain
    for item in value:
        plain &= _is_plain(item, depth - 1, field)
    return plain


_CONTAINERS = (dict, list, tuple)


def _check_json_key(key: object, field: str) -> bool:
    if not isinstance(key, str):
        raise InvalidValue(field, "keys in JSON must be text")
    _check_json_text(key, field)
    return type(key) is str


def _check_json_text(value: str, field: str) -> None:
    text = _exact(value)
    if "\0" in text:
        raise InvalidValue(field, "text in JSON must not contain U+0000")
    if not text.isascii() and not _encodes(text):
        raise InvalidValue(field, "text in JSON must not contain lone surrogates")


def _check_json_integer(value: int, field: str) -> bool:
    number = int(value)
    if number in _INT64:
        return type(value) is int
    if abs(number) >= _TOO_LONG:
        raise InvalidValue(field, "integers in JSON must be at most 4,300 digits")
    return False


_TOO_LONG = 10**4300


def _exact(text: str) -> str:
    """The text itself, whatever a subclass makes of it."""
    return text if type(text) is str else str.__str__(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_exceed(text: str, limit: int) -> bool:
    """Whether the text is longer than that in UTF-8, without encoding it where that is plain."""
    if len(text) * 4 <= limit or len(text) > limit:
        return len(text) > limit
    return len(text.encode()) > limit


LIMITS = Limits()
