"""The interceptor's report, both ways: what came in <-> a validation and its results.

``validations.config`` keeps what no other column holds, in the report's own shape and key order:

- ``report``: the report; what lies elsewhere leaves its place: ``true`` for the ``document_hash``
  (of the document), ``{}`` for modules, universal checks and analyzers, ``[]`` for cross issues;
- ``modules``: the modules by name, their ``gates`` as ``{}``, and a ``summary`` as ``true`` that
  counts the gates as the engine does; of a failed module ``error`` and ``detail`` as ``true``: they
  are message and evidence of its one result;
- ``keys`` and ``at``: see ``results``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import attrs

from loki_storage.enums import GateStatus, ResultScope, RiskLevel, ValidationStatus
from loki_storage.errors import InvalidValue
from loki_storage.intercepts.checks import moment_of, optional_text, plain_object, step
from loki_storage.intercepts.results import (
    Part,
    ResultColumns,
    entries_of,
    read_results,
    risk_of,
)
from loki_storage.models import Validation, ValidationResult
from loki_storage.values import JsonValue

__all__ = ["ReportFacts", "read_report", "rebuilt_report"]

_PARTS = {"universal": ResultScope.UNIVERSAL, "analyzers": ResultScope.ANALYZER}
_ISSUE_ID: Any = ValidationResult.domains["gate_id"]
_FAILED_MODULE = "module"
"""The name of the one result that a failed module has."""


@attrs.frozen
class ReportFacts:
    """What a report came to. ``kept``: its part of the config. ``gates``: by module.

    ``plain``: orjson writes all of the report canonically, unless it does not write what is kept.
    """

    status: ValidationStatus
    overall_risk: RiskLevel | None
    started_at: datetime | None
    completed_at: datetime | None
    error_message: str | None = attrs.field(repr=False)
    results: ResultColumns
    modules: Sequence[str]
    gates: Mapping[str, Mapping[str, Any]] = attrs.field(repr=False)
    kept: dict[str, JsonValue] = attrs.field(repr=False)
    plain: bool


def read_report(report: object, document_hash: str, timezone: tzinfo) -> ReportFacts:
    """The report as facts, or ``InvalidValue`` with the path of what is wrong."""
    return _Reading(report, document_hash).facts(timezone)


def rebuilt_report(
    document_hash: str, validation: Validation, results: Iterable[ValidationResult]
) -> dict[str, JsonValue]:
    """The report that ``read_report`` read: equal, in the same key order."""
    config: Any = validation.config
    parts = _parts(results, config)
    report: dict[str, Any] = config["report"]
    if report.get("document_hash") is True:
        report["document_hash"] = document_hash
    if "modules" in config:
        report["modules"] = {
            name: _module(kept, parts[ResultScope.MODULE, name])
            for name, kept in config["modules"].items()
        }
    for part, scope in _PARTS.items():
        if report.get(part) is not None:
            report[part] = parts[scope, scope.value].named()
    cross = report.get("cross")
    if cross is not None and cross.get("issues") is not None:
        cross["issues"] = parts[ResultScope.CROSS, ResultScope.CROSS.value].entries
    return report


@attrs.define
class _Rebuilt:
    """The entries of a module, or of another part of the engine."""

    names: list[str] = attrs.field(factory=list)
    entries: list[dict[str, JsonValue]] = attrs.field(factory=list)
    statuses: list[GateStatus] = attrs.field(factory=list)

    def named(self) -> dict[str, JsonValue]:
        return dict(zip(self.names, self.entries, strict=True))


def _parts(
    results: Iterable[ValidationResult], config: Mapping[str, Any]
) -> Mapping[tuple[str, str], _Rebuilt]:
    """The entries of each scope and module."""
    ordered = sorted(results, key=lambda result: result.id)
    parts: dict[tuple[str, str], _Rebuilt] = defaultdict(_Rebuilt)
    for result, entry in zip(ordered, entries_of(ordered, config), strict=True):
        module = result.module_id or ""
        part = parts[result.scope, module]
        part.names.append(result.gate_key[len(module) + 1 :])
        part.entries.append(entry)
        part.statuses.append(result.status)
    return parts


def _module(kept: dict[str, JsonValue], part: _Rebuilt) -> dict[str, JsonValue]:
    if kept.get("gates") is None:
        failed = part.entries[0]
        places = {"error": "message", "detail": "detail"}
        return {key: failed[places[key]] if key in places else kept[key] for key in kept}
    if kept.get("summary") is True:
        kept["summary"] = _summary(part.statuses)
    return {**kept, "gates": part.named()}


_COUNTED = {
    "pass": GateStatus.PASS,
    "fail": GateStatus.FAIL,
    "warning": GateStatus.WARNING,
    "error": GateStatus.ERROR,
    "na": GateStatus.SKIP,
}


def _tells(summary: object, statuses: Sequence[GateStatus]) -> bool:
    """Whether it is exactly the summary of these."""
    if type(summary) is not dict or list(summary) != list(_COUNTED):
        return False
    told, counted = list(summary.values()), Counter(statuses)
    return set(map(type, told)) == {int} and told == [
        counted.get(status, 0) for status in _COUNTED.values()
    ]


def _summary(statuses: Sequence[GateStatus]) -> dict[str, JsonValue]:
    """The gates by status, as the engine counts them."""
    return {key: statuses.count(status) for key, status in _COUNTED.items()}


class _Reading:
    """Takes a report apart: the parts with entries, and what is kept of the rest."""

    def __init__(self, report: object, document_hash: str) -> None:
        self.report = plain_object(report, "report")
        self.parts: list[Part] = []
        self.gates: dict[str, Mapping[str, Any]] = {}
        self.kept: dict[str, JsonValue] = {"report": dict(self.report)}
        self._take(document_hash)

    def facts(self, timezone: tzinfo) -> ReportFacts:
        failed, message = _failure(self.report, "report")
        if not failed and self.report.get("modules") is None:
            raise InvalidValue("report.modules", "is required")
        results = read_results(self.parts)
        self._take_summaries(results.column("status"))
        self.kept |= results.kept
        started, completed = self._times(results.moments, timezone)
        return ReportFacts(
            status=ValidationStatus.FAILED if failed else ValidationStatus.COMPLETED,
            overall_risk=self._risk(results, failed=failed),
            started_at=started,
            completed_at=completed,
            error_message=message,
            results=results,
            modules=list(self.report.get("modules") or ()),
            gates=self.gates,
            kept=self.kept,
            plain=results.plain,
        )

    def _take(self, document_hash: str) -> None:
        """Take out what lies elsewhere, in the order of the results."""
        kept: dict[str, Any] = self.kept["report"]  # type: ignore[assignment]
        if kept.get("document_hash") is not None:
            kept["document_hash"] = _checked_hash(kept["document_hash"], document_hash)
        if kept.get("modules") is not None:
            self.kept["modules"] = dict(self._modules(kept["modules"]))
            kept["modules"] = {}
        for part, scope in _PARTS.items():
            if kept.get(part) is not None:
                self._add(scope, scope.value, f"report.{part}", kept[part])
                kept[part] = {}
        if kept.get("cross") is not None:
            kept["cross"] = self._cross(kept["cross"])

    def _modules(self, modules: object) -> Iterator[tuple[str, JsonValue]]:
        for name, value in plain_object(modules, "report.modules").items():
            path = step("report.modules", name)
            module = plain_object(value, path)
            if module.get("gates") is None:
                yield name, self._failed_module(name, module, path)
            else:
                gates = plain_object(module["gates"], f"{path}.gates")
                if module.get("summary") is not None:
                    plain_object(module["summary"], f"{path}.summary")
                self.gates[name] = gates
                self._add(ResultScope.MODULE, name, f"{path}.gates", gates)
                yield name, {**module, "gates": {}}

    def _failed_module(self, name: str, module: dict[str, Any], path: str) -> JsonValue:
        error = optional_text(module.get("error"), f"{path}.error")
        if not error:
            raise InvalidValue(f"{path}.gates", "is required")
        entry = {"gate": _FAILED_MODULE, "status": "ERROR", "message": error}
        if "detail" in module:
            entry["detail"] = module["detail"]
        self._add(ResultScope.MODULE, name, path, {_FAILED_MODULE: entry})
        return {key: key in ("error", "detail") or value for key, value in module.items()}

    def _take_summaries(self, statuses: Sequence[GateStatus]) -> None:
        """Take out the summaries that the statuses tell."""
        modules: Any = self.kept.get("modules", {})
        start = 0
        for name, module in modules.items():
            end = start + len(self.gates.get(name, (_FAILED_MODULE,)))
            if name in self.gates and _tells(module.get("summary"), statuses[start:end]):
                module["summary"] = True
            start = end

    def _cross(self, value: object) -> JsonValue:
        cross = plain_object(value, "report.cross")
        issues = cross.get("issues")
        if issues is None:
            return cross
        if not isinstance(issues, list | tuple):
            raise InvalidValue("report.cross.issues", "must be an array")
        path, names = "report.cross.issues", []
        for n, issue in enumerate(issues):
            entry = plain_object(issue, f"{path}[{n}]")
            names.append(_ISSUE_ID.accept(f"{path}[{n}].id", entry.get("id")))
        scope = ResultScope.CROSS
        self.parts.append(Part(scope, scope.value, path, names, list(issues)))
        return {**cross, "issues": []}

    def _add(self, scope: ResultScope, module: str, path: str, entries: object) -> None:
        named = plain_object(entries, path)
        self.parts.append(Part(scope, module, path, named.keys(), named.values()))

    def _risk(self, results: ResultColumns, *, failed: bool) -> RiskLevel | None:
        """What the engine says; where it says nothing, the worst of what failed (VLD-3)."""
        word = optional_text(self.report.get("overall_risk"), "report.overall_risk")
        said = risk_of(word)
        if said is not None or failed:
            return said
        pairs = zip(results.column("status"), results.column("severity"), strict=True)
        worst = [risk for status, risk in pairs if status is GateStatus.FAIL and risk is not None]
        return max(worst, key=lambda risk: risk.rank, default=RiskLevel.NONE)

    def _times(
        self, moments: Sequence[datetime], timezone: tzinfo
    ) -> tuple[datetime | None, datetime | None]:
        """When it began, and when the last gate spoke; clocks that ran backwards are levelled."""
        text = optional_text(self.report.get("timestamp"), "report.timestamp")
        started = None
        if text is not None:
            started = _utc(moment_of(text, "report.timestamp"), timezone)
        if not moments:
            return started, None
        last = _last(moments, timezone)
        return started, last if started is None else max(started, last)


def _failure(said: Mapping[str, Any], path: str) -> tuple[bool, str | None]:
    """Whether the engine says that it failed, and what it says about it."""
    error = said.get("error")
    if not isinstance(error, str | bool | None):
        raise InvalidValue(f"{path}.error", "must be text")
    if not error:
        return False, None
    message = optional_text(said.get("message"), f"{path}.message")
    if not message and isinstance(error, str):
        message = error
    accept = Validation.domains["error_message"].accept
    return True, accept(f"{path}.message", message)  # type: ignore[return-value]


def _checked_hash(said: object, document_hash: str) -> JsonValue:
    text = optional_text(said, "report.document_hash")
    if text == document_hash:
        return True
    if text is None or text.lower() != document_hash:
        raise InvalidValue("report.document_hash", "is not the SHA-256 of the document")
    return text


def _utc(moment: datetime, timezone: tzinfo) -> datetime:
    aware = moment.replace(tzinfo=timezone) if moment.tzinfo is None else moment
    return Validation.domains["completed_at"].accept("timestamp", aware)  # type: ignore[return-value]


def _last(moments: Sequence[datetime], timezone: tzinfo) -> datetime:
    """The latest. Naive times of UTC are in the order of their digits, others perhaps not."""
    if timezone is UTC:
        try:
            return _utc(max(moments), timezone)
        except TypeError:  # some are naive, some aware
            pass
    return max(_utc(moment, timezone) for moment in moments)
