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
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress, repeat
from os.path import commonprefix
from typing import Any

import attrs

from loki_storage.enums import GateStatus, ResultScope, RiskLevel
from loki_storage.errors import InvalidValue
from loki_storage.intercepts.checks import are_sound, json_texts, plain_object, step
from loki_storage.models import ValidationResult
from loki_storage.values import Domain, JsonText, JsonValue, Text, canonical

__all__ = ["Entries", "ResultColumns", "entries_of", "read_results", "risk_of"]

_WORDS = ("version", "legal_source", "status", "severity", "message", "suggestion")
_USUAL = {
    ResultScope.MODULE: ("gate", *_WORDS),
    ResultScope.UNIVERSAL: _WORDS,
    ResultScope.ANALYZER: _WORDS,
    ResultScope.CROSS: ("id", *(word for word in _WORDS if word != "status")),
}
"""The order in which the engine says things; evidence and ``timestamp`` follow."""
_PATHS = {
    ResultScope.MODULE: "report.modules",
    ResultScope.UNIVERSAL: "report.universal",
    ResultScope.ANALYZER: "report.analyzers",
    ResultScope.CROSS: "report.cross.issues",
}
_FIELDS = ValidationResult.domains
_DOMAINS: Mapping[str, Domain] = {
    "gate": _FIELDS["gate_id"],
    "version": _FIELDS["gate_version"],
    "legal_source": _FIELDS["legal_source"],
    "status": Text(),
    "severity": Text(),
    "message": _FIELDS["message"],
    "suggestion": _FIELDS["suggestion"],
    "timestamp": Text(),
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
_SEVERITIES: Mapping[str | None, RiskLevel | None] = {
    None: None,
    **{level.value: level for level in RiskLevel},
}


@attrs.define
class Entries:
    """The entries of a report in its order, and where each stands, as parallel columns.

    Modules come first, cross issues last. ``parts``: each module, or part of the engine, once.
    """

    scopes: list[ResultScope] = attrs.field(factory=list)
    modules: list[str] = attrs.field(factory=list)
    names: list[str] = attrs.field(factory=list)
    keys: list[str] = attrs.field(factory=list)
    entries: list[dict[str, Any]] = attrs.field(factory=list, repr=False)
    parts: list[str] = attrs.field(factory=list)
    gates: int = 0
    issues: int = 0

    def add(self, scope: ResultScope, part: str, named: Mapping[str, Any]) -> None:
        """The entries of a module or of another part of the engine, by name."""
        self.parts.append(part)
        self.scopes += [scope] * len(named)
        self.modules += [part] * len(named)
        self.names += named
        self.keys += [f"{part}.{name}" for name in named]
        self.entries += named.values()
        if scope is ResultScope.MODULE:
            self.gates += len(named)

    def add_issues(self, issues: Sequence[object]) -> None:
        """Cross issues, which name themselves."""
        scope = ResultScope.CROSS
        self.issues = len(issues)
        for n, issue in enumerate(issues):
            path = f"{_PATHS[scope]}[{n}]"
            entry = plain_object(issue, path)
            name: Any = _DOMAINS["gate"].accept(f"{path}.id", entry.get("id"))
            self.scopes.append(scope)
            self.modules.append(scope.value)
            self.names.append(name)
            self.keys.append(f"{scope.value}.{name}")
            self.entries.append(entry)

    @property
    def first_issue(self) -> int:
        return len(self.entries) - self.issues

    def path(self, position: int) -> str:
        """Where an entry stands in the report, for errors."""
        scope = self.scopes[position]
        base = _PATHS[scope]
        if scope is ResultScope.CROSS:
            return f"{base}[{position - self.first_issue}]"
        if scope is ResultScope.MODULE:
            base = f"{step(base, self.modules[position])}.gates"
        return step(base, self.names[position])


@attrs.frozen
class ResultColumns:
    """What entries came to: checked columns by field of ``ValidationResult``.

    ``kept``: their part of the config. ``times``: the gates' times, as they came. ``plain``: orjson
    writes all of it canonically.
    """

    columns: Mapping[str, tuple[Any, ...]] = attrs.field(repr=False)
    kept: Mapping[str, JsonValue]
    times: Sequence[str | None]
    plain: bool


def read_results(given: Entries) -> ResultColumns:
    """The entries as columns, or ``InvalidValue`` with the path of what is wrong."""
    return _Reading(given).columns()


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
    """What the keys of an entry alone tell. ``usual``: rebuilt in this order without being told."""

    known: tuple[str, ...]
    extras: tuple[str, ...]
    usual: bool


_ALIKE = _Shape(
    ("gate", "version", "legal_source", "status", "severity", "message", "timestamp"),
    extras=(),
    usual=True,
)
"""What nine gates of ten look like."""


class _Reading:
    """Reads entries: each step looks at whole columns, at single values only where it must."""

    def __init__(self, given: Entries) -> None:
        self.given = given
        self.plain = _make_objects(given)
        self.alike, self.odd = _by_shape(given)
        self.said = {key: list(map(dict.get, given.entries, repeat(key))) for key in _DOMAINS}
        self.said["gate"][given.first_issue :] = repeat(None, given.issues)
        self.common = ""
        """The beginning of all times."""
        self.kept: dict[int, dict[str, JsonValue]] = {}
        """By position, what the columns cannot give back, but for the time."""

    def columns(self) -> ResultColumns:
        nulls = self._check()
        said, given = self.said, self.given
        gates = zip(said["gate"], given.names, strict=True)
        columns: dict[str, Sequence[Any]] = {
            "scope": given.scopes,
            "module_id": given.modules,
            "gate_id": [name if gate is None else gate for gate, name in gates],
            "gate_key": given.keys,
            "status": self._statuses(),
            "severity": self._severities(),
            "message": said["message"],
            "suggestion": said["suggestion"],
            "legal_source": said["legal_source"],
            "evidence": self._evidence(),
            "metadata_json": self._metadata(),
            "gate_version": said["version"],
        }
        self._check_lengths(columns)
        return ResultColumns(
            {field: tuple(column) for field, column in columns.items()},
            self._config(nulls),
            said["timestamp"],
            self.plain,
        )

    def _check(self) -> set[int]:
        """Hold all texts to the value domain; the positions where a known key is null."""
        given = self.given
        texts = [*self._known_values(), *given.names, *given.parts]
        if are_sound(texts):
            return set()
        if not are_sound([text for text in texts if text is not None]):
            self.plain = False
            self._accept_each()
        return self._nulls()

    def _known_values(self) -> Iterable[object]:
        """The values of all keys that have a place of their own."""
        entries = self.given.entries
        odd = ([entries[n][key] for key in shape.known] for n, shape in self.odd.items())
        return chain(chain.from_iterable(map(dict.values, self.alike)), *odd)

    def _accept_each(self) -> None:
        """Ask the domains value by value: one of them knows what is wrong, and says it."""
        given = self.given
        for n, name in enumerate(given.names):
            _DOMAINS["gate"].accept(given.path(n), name)
        for key, column in self.said.items():
            for n, value in enumerate(column):
                if value is not None:
                    column[n] = _DOMAINS[key].accept(f"{given.path(n)}.{key}", value)

    def _nulls(self) -> set[int]:
        """The positions where a known key is null. A null ``gate`` is kept: its column is not."""
        nulls = set()
        for n, entry in enumerate(self.given.entries):
            shape = self.odd.get(n, _ALIKE)
            if any(entry[key] is None for key in shape.known):
                nulls.add(n)
                if "gate" in shape.known and entry["gate"] is None:
                    self._keep(n, "gate", None)
        return nulls

    def _check_lengths(self, columns: Mapping[str, Sequence[str | None]]) -> None:
        # A short key has a short module; the same limits hold for every report.
        for field, short in (("gate_key", 100), ("gate_id", 100), ("gate_version", 20)):
            if max(map(len, filter(None, columns[field])), default=0) > short:
                self._accept_lengths(columns)

    def _accept_lengths(self, columns: Mapping[str, Sequence[str | None]]) -> None:
        for field in ("gate_key", "gate_id", "module_id", "gate_version"):
            for n, value in enumerate(columns[field]):
                _FIELDS[field].accept(f"{self.given.path(n)}.{field}", value)

    def _statuses(self) -> list[GateStatus]:
        first, entries = self.given.first_issue, self.given.entries
        words = self.said["status"]
        try:
            found = [_STATUSES[word] for word in words[:first]]
        except KeyError:
            found = [self._status(n, word) for n, word in enumerate(words[:first])]
        for n in range(first, len(entries)):
            if "status" in entries[n]:
                self._keep(n, "status", words[n])
        return found + [GateStatus.FAIL] * self.given.issues

    def _status(self, position: int, word: str | None) -> GateStatus:
        if word is None:
            raise InvalidValue(f"{self.given.path(position)}.status", "is required")
        usual = _STATUSES.get(word)
        if usual is not None:
            return usual
        self._keep(position, "status", word)
        return _FOLDED_STATUSES.get(word.casefold(), GateStatus.ERROR)

    def _severities(self) -> list[RiskLevel | None]:
        words = self.said["severity"]
        try:
            return list(map(_SEVERITIES.__getitem__, words))
        except KeyError:
            for n, word in enumerate(words):
                if word not in _SEVERITIES:
                    self._keep(n, "severity", word)
            return list(map(risk_of, words))

    def _keep(self, position: int, key: str, value: JsonValue) -> None:
        self.kept.setdefault(position, {})[key] = value

    def _evidence(self) -> list[JsonText | None]:
        entries, positions, values = self.given.entries, [], []
        for n, shape in self.odd.items():
            if shape.extras:
                positions.append(n)
                values.append({key: entries[n][key] for key in shape.extras})
        texts, plain = json_texts(values, map(self.given.path, positions))
        self.plain &= plain
        found: list[JsonText | None] = [None] * len(entries)
        for n, text in zip(positions, texts, strict=True):
            found[n] = text
        return found

    def _metadata(self) -> list[JsonText | None]:
        times = self.said["timestamp"]
        self.common = commonprefix([time for time in times if time is not None])
        rest = [None if time is None else time[len(self.common) :] for time in times]
        found = [None if at is None else JsonText(f'{{"at":"{at}"}}') for at in rest]
        for n in self.kept if _need_no_escapes(rest) else range(len(rest)):
            kept = dict(self.kept.get(n, {}))
            if rest[n] is not None:
                kept["at"] = rest[n]
            if kept:
                found[n] = canonical(kept, self.given.path(n))
        return found

    def _config(self, nulls: set[int]) -> dict[str, JsonValue]:
        orders: dict[tuple[str, ...], list[JsonValue]] = {}
        for n in sorted(nulls.union(self.odd)):
            if n in nulls or not self.odd[n].usual:
                orders.setdefault(tuple(self.given.entries[n]), []).append(n)
        kept: dict[str, JsonValue] = {}
        if orders:
            kept["keys"] = [[list(keys), positions] for keys, positions in orders.items()]
        if self.common:
            kept["at"] = self.common
        return kept


def _make_objects(given: Entries) -> bool:
    """Hold all entries to be objects; whether they were plain ones already."""
    if set(map(type, given.entries)) <= {dict}:
        return True
    given.entries[:] = [plain_object(e, given.path(n)) for n, e in enumerate(given.entries)]
    return False


def _by_shape(given: Entries) -> tuple[list[dict[str, Any]], dict[int, _Shape]]:
    """The gates that look like most of them, and the shape of every other entry by position."""
    keys = list(map(tuple, given.entries))
    # Comparing with keys of the same parser is comparing identities.
    alike = next((each for each in keys if each == _ALIKE.known), None)
    same = [each == alike for each in keys[: given.gates]]
    odd = [n for n, each in enumerate(same) if not each]
    odd += range(given.gates, len(keys))
    shapes = {n: _shape_of(given.scopes[n], keys[n]) for n in odd}
    return list(compress(given.entries, same)), shapes


def _shape_of(scope: ResultScope, keys: tuple[str, ...]) -> _Shape:
    """The shape of these keys; short ones are remembered, as there are few of them."""
    try:
        short = len(keys) <= 32 and len("".join(keys)) <= 512
    except TypeError:
        short = False
    return _remembered(scope, keys) if short else _shape(scope, keys)


def _shape(scope: ResultScope, keys: tuple[str, ...]) -> _Shape:
    name = "id" if scope is ResultScope.CROSS else "gate"
    known = tuple(key for key in keys if key == name or key in _WORDS or key == "timestamp")
    extras = tuple(key for key in keys if key not in known)
    rebuilt = [key for key in _USUAL[scope] if key in known or key == name]
    rebuilt += [*extras, *(key for key in known if key == "timestamp")]
    return _Shape(known, extras, rebuilt == list(keys))


_remembered = lru_cache(maxsize=512)(_shape)


def _need_no_escapes(texts: Sequence[str | None]) -> bool:
    """Whether JSON writes all of them as they are."""
    text = "".join(filter(None, texts))
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _entry(
    result: ValidationResult, begin: str, order: Sequence[str] | None
) -> dict[str, JsonValue]:
    name = "id" if result.scope is ResultScope.CROSS else "gate"
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
