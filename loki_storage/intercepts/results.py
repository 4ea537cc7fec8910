"""Gate results, both ways: what a report says of each gate <-> columns of ``ValidationResult``.

An *entry* is the object that the report holds for one gate, universal check, analyzer or cross
issue. Every key of an entry has one place:

- ``gate``, ``version``, ``legal_source``, ``status``, ``severity``, ``message``, ``suggestion``
  (and ``id`` of a cross issue, instead of ``gate``) have their columns;
- what a column cannot give back is in ``metadata_json`` under the same key, as it came: a status
  or severity that is not the engine's usual word, a ``gate`` of null;
- the ``timestamp`` is in ``metadata_json`` as ``at``: what follows the beginning that all times of
  the report have in common (a report brings 170 of them, within a moment);
- every other key is in ``evidence``.

``validations.config`` has that beginning of the times as ``at``, and as ``keys`` the key orders
that the columns cannot tell (unusual ones, and nulls): ``[[key, ...], [position, ...]]``, positions
among the validation's results by id, from 0.

A report brings 173 entries, but all of them together say only some 600 different things, times and
evidence apart: each is checked when it is first said, and remembered.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from operator import itemgetter
from typing import Any

import attrs

from loki_storage.enums import GateStatus, ResultScope, RiskLevel
from loki_storage.errors import InvalidValue
from loki_storage.intercepts.checks import (
    are_sound,
    json_texts,
    moment_of,
    plain_object,
    step,
)
from loki_storage.models import ValidationResult
from loki_storage.rows import Combination
from loki_storage.values import Domain, JsonValue, Text, canonical

__all__ = ["Part", "ResultColumns", "entries_of", "read_results", "risk_of"]

_CROSS = ResultScope.CROSS
_WORDS = ("version", "legal_source", "status", "severity", "message", "suggestion")
_USUAL = {
    ResultScope.MODULE: ("gate", *_WORDS),
    ResultScope.UNIVERSAL: _WORDS,
    ResultScope.ANALYZER: _WORDS,
    _CROSS: ("id", *(word for word in _WORDS if word != "status")),
}
"""The order in which the engine says things; evidence and ``timestamp`` follow."""
_FIELDS = ValidationResult.domains
_TEXT = Text()
_DOMAINS: Mapping[str, Domain] = {
    "gate": _FIELDS["gate_id"],
    "id": _FIELDS["gate_id"],
    "version": _FIELDS["gate_version"],
    "legal_source": _FIELDS["legal_source"],
    "status": _TEXT,
    "severity": _TEXT,
    "message": _FIELDS["message"],
    "suggestion": _FIELDS["suggestion"],
}

# The engine's usual words are rebuilt from the column; any other word is kept as well.
_STATUSES = {
    "PASS": GateStatus.PASS,
    "FAIL": GateStatus.FAIL,
    "WARNING": GateStatus.WARNING,
    "N/A": GateStatus.SKIP,
    "ERROR": GateStatus.ERROR,
}
_STATUS_WORDS = {status: word for word, status in _STATUSES.items()}
_FOLDED_STATUSES = {
    **{status.value: status for status in GateStatus},
    "n/a": GateStatus.SKIP,
    "na": GateStatus.SKIP,
    "warn": GateStatus.WARNING,
}
_SEVERITIES = {level.value: level for level in RiskLevel}


@attrs.frozen
class Part:
    """A module, or another part of the engine, with its entries. ``path``: where they stand."""

    scope: ResultScope
    module: str
    path: str
    names: Collection[str]
    entries: Collection[dict[str, Any]] = attrs.field(repr=False)

    def path_of(self, position: int, name: str) -> str:
        """Where an entry stands in the report, for errors."""
        return f"{self.path}[{position}]" if self.scope is _CROSS else step(self.path, name)


@attrs.frozen
class ResultColumns:
    """What entries came to, checked: what they say, and the other columns by field.

    ``kept``: their part of the config. ``moments``: the gates' times. ``plain``: orjson writes the
    evidence canonically.
    """

    said: Sequence[Combination] = attrs.field(repr=False)
    """Combinations of ``ValidationResult.said``."""
    columns: Mapping[str, Sequence[Any]] = attrs.field(repr=False)
    kept: Mapping[str, JsonValue]
    moments: Sequence[datetime]
    plain: bool

    def column(self, field: str) -> list[Any]:
        """The values of one of the fields that are said."""
        place = ValidationResult.said.index(field)
        return [each.values[place] for each in self.said]


def read_results(parts: Sequence[Part]) -> ResultColumns:
    """The entries as columns, or ``InvalidValue`` with the path of what is wrong."""
    return _Reading(parts).columns()


def risk_of(word: str | None) -> RiskLevel | None:
    """The level that a word of the engine means, whatever its case; None for an unknown one."""
    return None if word is None else _SEVERITIES.get(word.casefold())


def entries_of(
    results: Iterable[ValidationResult], config: Mapping[str, Any]
) -> list[dict[str, JsonValue]]:
    """The entries that these results, in the order of their ids, were read from."""
    orders = {n: keys for keys, positions in config.get("keys", ()) for n in positions}
    begin = config.get("at", "")
    return [_entry(result, begin, orders.get(n)) for n, result in enumerate(results)]


@attrs.frozen(eq=False)
class _Shape:
    """What the keys of an entry alone tell. ``usual``: rebuilt in this order without being told.

    ``pick``: the values of the known keys, the time apart.
    """

    known: tuple[str, ...]
    extras: tuple[str, ...]
    usual: bool
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]


@attrs.frozen(eq=False)
class _Notes:
    """What an entry says beyond its columns. ``listed``: its key order is to be told."""

    extras: tuple[str, ...]
    listed: bool
    kept: Mapping[str, JsonValue]


@attrs.frozen(eq=False)
class _Row(Combination):
    """What an entry says, and what it says beyond that."""

    notes: _Notes | None


class _Memory(dict[Any, Any]):
    """What was worked out before; when it is full it forgets all of it, which costs little."""

    LARGEST = 4096

    def keep(self, key: object, value: object) -> None:
        if len(self) >= self.LARGEST:
            self.clear()
        self[key] = value


_shapes: Mapping[ResultScope, _Memory] = {scope: _Memory() for scope in ResultScope}
_rows = _Memory()


class _Reading:
    """One pass over the entries of a report."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.rows: list[_Row] = []
        self.entries: list[dict[str, Any]] = []
        for part in parts:
            self.rows += _rows_of(part)
            self.entries += part.entries
        self.noted = [(n, row.notes) for n, row in enumerate(self.rows) if row.notes is not None]
        self.times: list[str | None] = [entry.get("timestamp") for entry in self.entries]
        self.told = [time for time in self.times if time is not None]

    def columns(self) -> ResultColumns:
        moments = self._moments()
        evidence, plain = self._evidence()
        common = _common_beginning(self.told)
        columns = {"evidence": evidence, "metadata_json": self._metadata(len(common))}
        return ResultColumns(self.rows, columns, self._kept(common), moments, plain)

    def path(self, position: int) -> str:
        """Where an entry stands in the report, for errors."""
        for part in self.parts:
            if position < len(part.entries):
                return part.path_of(position, list(part.names)[position])
            position -= len(part.entries)
        raise IndexError(position)

    def _moments(self) -> list[datetime]:
        if are_sound(self.told):
            with suppress(ValueError):
                return list(map(datetime.fromisoformat, self.told))
        timed = ((n, time) for n, time in enumerate(self.times) if time is not None)
        return [moment_of(time, f"{self.path(n)}.timestamp") for n, time in timed]

    def _evidence(self) -> tuple[list[str | None], bool]:
        told = [(n, notes.extras) for n, notes in self.noted if notes.extras]
        values = [{key: self.entries[n][key] for key in extras} for n, extras in told]
        texts, plain = json_texts(values, (self.path(n) for n, _ in told))
        found: list[str | None] = [None] * len(self.entries)
        for (n, _), text in zip(told, texts, strict=True):
            found[n] = text
        return found, plain

    def _metadata(self, common: int) -> list[str | None]:
        rest = [None if time is None else time[common:] for time in self.times]
        found = [None if at is None else f'{{"at":"{at}"}}' for at in rest]
        kept = {n: notes.kept for n, notes in self.noted if notes.kept}
        for n in kept if _need_no_escapes(rest) else range(len(rest)):
            at = {} if rest[n] is None else {"at": rest[n]}
            if held := {**kept.get(n, {}), **at}:
                found[n] = canonical(held, self.path(n))
        return found

    def _kept(self, common: str) -> dict[str, JsonValue]:
        """What the config keeps: key orders, and the beginning of all times."""
        entries = self.entries
        listed = {n for n, notes in self.noted if notes.listed}
        silent = (n for n, time in enumerate(self.times) if time is None)
        listed.update(n for n in silent if "timestamp" in entries[n])
        orders: dict[tuple[str, ...], list[JsonValue]] = {}
        for n in sorted(listed):
            orders.setdefault(tuple(entries[n]), []).append(n)
        kept: dict[str, JsonValue] = {}
        if orders:
            kept["keys"] = [[list(keys), positions] for keys, positions in orders.items()]
        if common:
            kept["at"] = common
        return kept


def _rows_of(part: Part) -> list[_Row]:
    """The rows of a part's entries: remembered ones, where they say nothing new."""
    shapes, module = _shapes[part.scope], part.module
    rows: list[_Row] = []
    for name, entry in zip(part.names, part.entries, strict=True):
        try:
            shape = shapes[tuple(entry)]
            row = _rows[shape, module, name, shape.pick(entry)]
        except (KeyError, TypeError):
            row = _new_row(part, name, part.path_of(len(rows), name), entry)
        rows.append(row)
    return rows


def _new_row(part: Part, name: str, path: str, given: object) -> _Row:
    entry = plain_object(given, path)
    shape = _shape_of(part.scope, tuple(entry))
    said = shape.pick(entry)
    row = _checked_row(part, name, shape, dict(zip(shape.known, said, strict=True)), path)
    if set(map(type, said)) <= {str, type(None)} and sum(map(len, filter(None, said))) <= 2000:
        _rows.keep((shape, part.module, name, said), row)
    return row


def _checked_row(
    part: Part, name: str, shape: _Shape, said: Mapping[str, object], path: str
) -> _Row:
    """What an entry says, each value as its domain takes it."""
    values: dict[str, Any] = {
        key: None if value is None else _DOMAINS[key].accept(f"{path}.{key}", value)
        for key, value in said.items()
    }
    kept: dict[str, JsonValue] = {}
    gate = values.get(_name_key(part.scope))
    if gate is None:
        gate = _FIELDS["gate_id"].accept(path, name)
        kept |= {key: None for key in ("gate",) if key in values}
    status = _status(part.scope, values, kept, path)
    severity = values.get("severity")
    if severity is not None and severity not in _SEVERITIES:
        kept["severity"] = severity
    listed = not shape.usual or None in values.values()
    notes = _Notes(shape.extras, listed, kept) if shape.extras or listed or kept else None
    said_of_all = {
        "scope": part.scope,
        "module_id": _FIELDS["module_id"].accept(path, part.module),
        "gate_id": gate,
        "gate_key": _FIELDS["gate_key"].accept(path, f"{part.module}.{_TEXT.accept(path, name)}"),
        "gate_version": values.get("version"),
        "status": status,
        "severity": risk_of(severity),
        "message": values.get("message"),
        "suggestion": values.get("suggestion"),
        "legal_source": values.get("legal_source"),
    }
    return _Row(tuple(said_of_all[field] for field in ValidationResult.said), notes)


def _status(
    scope: ResultScope, values: Mapping[str, Any], kept: dict[str, JsonValue], path: str
) -> GateStatus:
    """What the word means (VLD-5); a cross issue fails, whatever it says."""
    word = values.get("status")
    if scope is _CROSS:
        kept |= {key: word for key in ("status",) if key in values}
        return GateStatus.FAIL
    if word is None:
        raise InvalidValue(f"{path}.status", "is required")
    if word not in _STATUSES:
        kept["status"] = word
        return _FOLDED_STATUSES.get(word.casefold(), GateStatus.ERROR)
    return _STATUSES[word]


def _shape_of(scope: ResultScope, keys: tuple[str, ...]) -> _Shape:
    """The shape of these keys; short ones are remembered, as there are few of them."""
    shape: _Shape | None = _shapes[scope].get(keys)
    if shape is None:
        name = _name_key(scope)
        known = tuple(key for key in keys if key == name or key in _WORDS)
        extras = tuple(key for key in keys if key not in known and key != "timestamp")
        usual = [key for key in _USUAL[scope] if key in known or key == name]
        rebuilt = [*usual, *extras, *(key for key in keys if key == "timestamp")]
        shape = _Shape(known, extras, rebuilt == list(keys), _picker(known))
        if all(isinstance(key, str) for key in keys) and sum(map(len, keys)) <= 500:
            _shapes[scope].keep(keys, shape)
    return shape


def _name_key(scope: ResultScope) -> str:
    """The key that ``gate_id`` holds."""
    return "id" if scope is _CROSS else "gate"


def _picker(keys: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Of one key ``itemgetter`` gives no tuple, of none it is none."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda entry: tuple(entry[key] for key in keys)


def _common_beginning(texts: Sequence[str]) -> str:
    """What all of them begin with, which is what the first and the last of them begin with."""
    if not texts:
        return ""
    first, last = min(texts), max(texts)
    for n, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:n]
    return first


def _need_no_escapes(texts: Sequence[str | None]) -> bool:
    """Whether JSON writes all of them as they are."""
    text = "".join(filter(None, texts))
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _entry(
    result: ValidationResult, begin: str, order: Sequence[str] | None
) -> dict[str, JsonValue]:
    name = "id" if result.scope is _CROSS else "gate"
    evidence: dict[str, JsonValue] = result.evidence or {}
    kept: dict[str, Any] = result.metadata_json or {}
    at = kept.pop("at", None)
    said: dict[str, JsonValue] = {
        name: result.gate_id,
        "version": result.gate_version,
        "legal_source": result.legal_source,
        "status": _STATUS_WORDS[result.status],
        "severity": None if result.severity is None else result.severity.value,
        "message": result.message,
        "suggestion": result.suggestion,
        "timestamp": None if at is None else begin + at,
        **kept,
        **evidence,
    }
    if order is None:
        order = [key for key in _USUAL[result.scope] if said[key] is not None]  # type: ignore[index]
        order += evidence
        order += ["timestamp"] if said["timestamp"] is not None else []
    return {key: said[key] for key in order}
