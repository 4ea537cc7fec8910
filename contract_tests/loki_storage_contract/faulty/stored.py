"""Faults of values: what was stored comes back as something else."""

import json
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from loki_storage.batch import Batch
from loki_storage.query import Query
from loki_storage.values import JsonText
from loki_storage_contract.faulty.catalogue import Faulty, breaks, changed_batch

__all__: list[str] = []


class Storing(Faulty):
    """Stores other values than those given."""

    def value(self, value: Any) -> Any:
        """What is stored for a value."""
        raise NotImplementedError

    def apply(self, batch: Batch) -> None:
        super().apply(changed_batch(batch, self.value))


class StoringText(Storing):
    """Stores other texts; words of a vocabulary and JSON stay."""

    def text(self, text: str) -> str:
        """What is stored for a text."""
        raise NotImplementedError

    def value(self, value: Any) -> Any:
        return self.text(value) if type(value) is str else value


class StoringJson(Storing):
    """Stores other JSON."""

    def json(self, text: str) -> str | None:
        """What is stored for a canonical text."""
        raise NotImplementedError

    def value(self, value: Any) -> Any:
        if not isinstance(value, JsonText):
            return value
        text = self.json(value)
        return None if text is None else JsonText(text)


class StoringTime(Storing):
    """Stores other times."""

    def time(self, time: datetime) -> datetime:
        """What is stored for a time."""
        raise NotImplementedError

    def value(self, value: Any) -> Any:
        return self.time(value) if isinstance(value, datetime) else value


@breaks("VAL-4", over=("memory", "sqlite"))
class CutsMicroseconds(StoringTime):
    """Times have milliseconds."""

    def time(self, time: datetime) -> datetime:
        return time.replace(microsecond=time.microsecond // 1000 * 1000)


@breaks("VAL-4")
class StoresTimesAsFloats(StoringTime):
    """Times are seconds as floats: far away from now microseconds are lost."""

    def time(self, time: datetime) -> datetime:
        seconds = (time - _EPOCH).total_seconds()
        return _EPOCH + timedelta(seconds=seconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@breaks("VAL-4", over=("memory", "sqlite"))
class DropsTheZone(Faulty):
    """Times come back naive."""

    def select(self, query: Query) -> Iterator[Any]:
        for row in super().select(query):
            times = {f: row.stored(f) for f in row.domains}
            naive = {f: t.replace(tzinfo=None) for f, t in times.items() if isinstance(t, datetime)}
            yield row.replaced(naive)


@breaks("VAL-4")
class ShiftsTheZone(StoringTime):
    """Winter times are an hour off: taken for local ones and back."""

    def time(self, time: datetime) -> datetime:
        return time + timedelta(hours=1) if time.month < 4 and 1 < time.year < 9999 else time


@breaks("VAL-4")
class LastYearIsForEver(StoringTime):
    """The year 9999 is kept as its last second."""

    def time(self, time: datetime) -> datetime:
        return time.replace(microsecond=0) if time.year == 9999 else time


@breaks("VAL-6", over=("memory", "sqlite"))
class SortsJsonKeys(StoringJson):
    """Keys of JSON come back sorted."""

    def json(self, text: str) -> str:
        return json.dumps(
            json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )


@breaks("VAL-6", over=("memory", "sqlite"))
class WholeFloatsBecomeIntegers(StoringJson):
    """``1.0`` in JSON becomes ``1``."""

    def json(self, text: str) -> str:
        return text.replace(".0", "")


@breaks("VAL-6")
class BigIntegersBecomeFloats(StoringJson):
    """Integers beyond 64 bits in JSON become floats."""

    def json(self, text: str) -> str:
        value = json.loads(
            text,
            parse_int=lambda digits: int(digits) if abs(int(digits)) < 2**63 else float(digits),
        )
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@breaks("VAL-6", over=("memory", "sqlite"))
class EmptyJsonIsNull(StoringJson):
    """``{}`` becomes None."""

    def json(self, text: str) -> str | None:
        return None if text == "{}" else text


@breaks("VAL-6")
class EmptyListIsEmptyObject(StoringJson):
    """``[]`` becomes ``{}``, as in languages with one container."""

    def json(self, text: str) -> str:
        return "{}" if text == "[]" else text


@breaks("VAL-6")
class DropsJsonNulls(StoringJson):
    """Members of JSON objects that are null are left out."""

    def json(self, text: str) -> str:
        value = json.loads(text)
        if isinstance(value, dict):
            value = {key: member for key, member in value.items() if member is not None}
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@breaks("VAL-6")
class NegativeZeroIsZero(StoringJson):
    """``-0.0`` in JSON becomes ``0.0``."""

    def json(self, text: str) -> str:
        return text.replace("-0.0", "0.0")


@breaks("VAL-6")
class CutsDeepJson(StoringJson):
    """JSON that is deeper than twenty levels is cut."""

    def json(self, text: str) -> str:
        deepest = depth = 0
        for character in text:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
        return "[]" if deepest > 20 else text


@breaks("VAL-2", over=("memory", "sqlite"))
class TrimsText(StoringText):
    """Text is trimmed."""

    def text(self, text: str) -> str:
        return text.strip() or text


@breaks("VAL-2")
class TrimsTrailingSpace(StoringText):
    """Blanks at the end of text are lost, as in fixed-width columns."""

    def text(self, text: str) -> str:
        return text.rstrip(" ") or text


@breaks("VAL-2", over=("memory", "sqlite"))
class NormalisesText(StoringText):
    """Text is normalised (NFC)."""

    def text(self, text: str) -> str:
        return unicodedata.normalize("NFC", text)


@breaks("VAL-2")
class CutsAtAstralCharacters(StoringText):
    """Text ends before a character beyond the BMP."""

    def text(self, text: str) -> str:
        place = next((n for n, character in enumerate(text) if ord(character) > 0xFFFF), len(text))
        return text[:place] or text


@breaks("VAL-2")
class StripsControlCharacters(StoringText):
    """Control characters are stripped in silence."""

    def text(self, text: str) -> str:
        return "".join(c for c in text if unicodedata.category(c) != "Cc") or text


@breaks("VAL-2")
class UnifiesLineEnds(StoringText):
    """CR LF becomes LF."""

    def text(self, text: str) -> str:
        return text.replace("\r\n", "\n")


@breaks("VAL-2")
class StripsTheByteOrderMark(StoringText):
    """U+FEFF at the beginning is taken for a byte order mark."""

    def text(self, text: str) -> str:
        return text.removeprefix("\ufeff") or text


@breaks("VAL-2", over=("memory", "sqlite"))
class EmptyTextIsNull(Storing):
    """An empty text is NULL where it may be."""

    def apply(self, batch: Batch) -> None:
        super().apply(changed_batch(batch, self.value))

    def value(self, value: Any) -> Any:
        return None if value == "" and type(value) is str else value


@breaks("VAL-2", over=("memory", "sqlite"))
class CutsLongText(StoringText):
    """Text has 65,535 bytes at most."""

    def text(self, text: str) -> str:
        return text.encode()[:65_535].decode(errors="ignore")


@breaks("VAL-3")
class CountsBytesNotCharacters(StoringText):
    """Text of more than 500 bytes is cut, where 500 characters are allowed."""

    def text(self, text: str) -> str:
        if len(text) > 500:
            return text
        return text.encode()[:500].decode(errors="ignore")


@breaks("VAL-2")
class StoresLatin(StoringText):
    """Characters that Latin-1 lacks become question marks."""

    def text(self, text: str) -> str:
        return text.encode("latin-1", "replace").decode("latin-1")


@breaks("VAL-7", over=("memory", "sqlite"))
class EnumsByName(Faulty):
    """Words of a closed vocabulary come back as the names of its members."""

    def select(self, query: Query) -> Iterator[Any]:
        for row in super().select(query):
            words = {f: row.stored(f) for f in row.domains}
            yield row.replaced({f: w.name for f, w in words.items() if isinstance(w, Enum)})


@breaks("VAL-7")
class EnumsAsText(Faulty):
    """Words of a vocabulary come back as plain text, not as members."""

    def select(self, query: Query) -> Iterator[Any]:
        for row in super().select(query):
            words = {f: row.stored(f) for f in row.domains}
            yield row.replaced({f: str(w.value) for f, w in words.items() if isinstance(w, Enum)})


@breaks("VAL-7")
class UnknownWordsAreOther(Storing):
    """A word that an open vocabulary does not know is stored as ``other``."""

    def apply(self, batch: Batch) -> None:
        from loki_storage.models import Document

        super().apply(changed_batch(batch, self.value, Document))

    def value(self, value: Any) -> Any:
        return "other" if type(value) is str and value in ("A", "é", "x y") else value


@breaks("VAL-7")
class NoneIsASeverityNot(Storing):
    """The severity ``none`` is stored as NULL."""

    def value(self, value: Any) -> Any:
        return None if isinstance(value, Enum) and value.value == "none" else value


@breaks("VAL-1", over=("memory", "sqlite"))
class BooleansAreIntegers(Faulty):
    """Booleans come back as 0 and 1."""

    def select(self, query: Query) -> Iterator[Any]:
        for row in super().select(query):
            flags = {f: row.stored(f) for f in row.domains}
            yield row.replaced({f: int(v) for f, v in flags.items() if isinstance(v, bool)})


@breaks("VAL-1")
class RoundsFloats(Storing):
    """Floats have single precision."""

    def value(self, value: Any) -> Any:
        import struct

        return struct.unpack("f", struct.pack("f", value))[0] if isinstance(value, float) else value


@breaks("VAL-1", over=("memory", "sqlite"))
class IntegersHave53Bits(Storing):
    """Integers beyond 2**53 are rounded."""

    def value(self, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return int(float(value)) if whole and 2**53 < value < 2**62 else value


@breaks("VAL-1")
class IntegersHave32Bits(Storing):
    """Integers beyond 2**31 wrap around."""

    def value(self, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value % 2**31 if whole and value >= 2**31 else value


@breaks("VAL-6")
class LongJsonIsLeftOut(StoringJson):
    """JSON of more than 100,000 characters is stored as null."""

    def json(self, text: str) -> str | None:
        return None if len(text) > 100_000 else text
