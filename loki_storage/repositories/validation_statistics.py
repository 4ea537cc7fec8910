"""What a dashboard asks of validations and their results: aggregates, never row by row.

Deleted documents are invisible here (DEL-1). "The last n days" are n times 24 hours by the
session's clock, but for ``get_risk_trends``, which counts UTC days.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, ClassVar

from loki_storage.enums import CorrectionStatus, GateStatus, ResultScope, RiskLevel
from loki_storage.models import Correction, Document, Kind, Validation, ValidationResult
from loki_storage.protocol import Count, CountDistinct, Day, Group, Max, Measure, Sum
from loki_storage.query import Compare, Condition, In, IsNull, Not, Query, equals
from loki_storage.query_builder.dates import Moment, days_before, last_days, midnight, within
from loki_storage.query_builder.visibility import visible
from loki_storage.repositories.base import Repository
from loki_storage.values import Integer

__all__ = ["ValidationStatistics"]


class ValidationStatistics(Repository[Validation]):
    """Each is one to four statements, whatever the store holds."""

    kind: ClassVar[Kind] = Validation

    def get_statistics(self, client_id: str | None = None, days: int = 30) -> dict[str, Any]:
        """Validations of the last ``days``; two statements.

        ``{"period_days", "total_validations", "completed", "failed", "risk_breakdown": {risk: n},
        "avg_duration_ms", "total_critical_issues", "total_high_issues"}``. The average is over
        those that have a duration, None without any; unseen risks count 0.
        """
        query = self._of(client_id, self._last(days))
        sums: list[Measure] = [Count(), Sum("critical_count"), Sum("high_count")]
        groups = self._session.aggregate(query, ["status", "overall_risk"], sums)
        timed = query.narrow(Not(IsNull("duration_ms")))
        ((runs, duration),) = (
            group.values
            for group in self._session.aggregate(timed, (), [Count(), Sum("duration_ms")])
        )
        by_status = _totals(groups, 0)
        return {
            "period_days": days,
            "total_validations": sum(by_status.values()),
            "completed": by_status.get("completed", 0),
            "failed": by_status.get("failed", 0),
            "risk_breakdown": _by_risk(_totals(groups, 1)),
            "avg_duration_ms": duration / runs if runs else None,
            "total_critical_issues": sum(group.values[1] for group in groups),
            "total_high_issues": sum(group.values[2] for group in groups),
        }

    def get_risk_breakdown(self, client_id: str | None = None) -> dict[str, int]:
        """How many validations have each overall risk, worst first, unseen ones with 0."""
        groups = self._session.aggregate(self._of(client_id), ["overall_risk"])
        return _by_risk(_totals(groups, 0))

    def get_risk_trends(self, days: int = 30, client_id: str | None = None) -> list[dict[str, Any]]:
        """Validations per UTC day and risk, today the last, empty days included; one statement.

        ``[{"date", "risks": {risk: n}, "validations"}]``; those without a risk count in
        ``validations`` alone.
        """
        listed = last_days(self._session.now().date(), days)
        since = Compare("created_at", "ge", midnight(listed[0]))
        query = self._of(client_id, [since])
        groups = self._session.aggregate(query, [Day("created_at"), "overall_risk"])
        return [_trend(day, [g for g in groups if g.key[0] == day]) for day in listed]

    def get_overview(self, window_days: int = 30, client_id: str | None = None) -> dict[str, Any]:
        """What happened in the last ``window_days``; four statements.

        ``{"window_days", "documents", "validations", "risk_breakdown", "pending_corrections",
        "top_gate_failures"}``: documents whose head was made then, validations made then, and all
        corrections that are pending now.
        """
        since = self._last(window_days)
        heads = self._session.query(Document).narrow(
            *_client(client_id), equals(is_latest=True), *since
        )
        pending = self._session.query(Correction).narrow(
            *_client(client_id),
            equals(status=CorrectionStatus.PENDING),
            visible(Correction, self._session.tenant),
        )
        risks = self._session.aggregate(self._of(client_id, since), ["overall_risk"])
        return {
            "window_days": window_days,
            "documents": self._session.count(heads),
            "validations": sum(group.values[0] for group in risks),
            "risk_breakdown": _by_risk(_totals(risks, 0)),
            "pending_corrections": self._session.count(pending),
            "top_gate_failures": self._worst_gates(self._failures(client_id, since), 5),
        }

    def get_gate_failure_stats(
        self, client_id: str | None = None, days: int | None = None, limit: int = 10
    ) -> list[dict[str, Any]]:
        """Gates by number of failures, most first, each with its worst severity by rank.

        ``[{"gate_key", "module_id", "gate_id", "failure_count", "max_severity"}]``; one statement.
        ``days=None``: since ever.
        """
        since = [] if days is None else self._last(days)
        return self._worst_gates(self._failures(client_id, since), limit)

    def get_top_gate_failures(
        self, since: Moment | None = None, limit: int = 5, client_id: str | None = None
    ) -> list[dict[str, Any]]:
        """The same since a time or day; None: since ever."""
        return self._worst_gates(self._failures(client_id, _since(since)), limit)

    def get_universal_alerts(
        self, since: Moment | None = None, limit: int = 5, client_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Universal gates that failed or warned, most often first; one statement.

        ``[{"gate_key", "alerts", "max_severity"}]``.
        """
        alerts = In("status", (GateStatus.FAIL, GateStatus.WARNING))
        query = self._results_of(client_id, equals(scope=ResultScope.UNIVERSAL), alerts)
        found = self._most(query.narrow(*_since(since)), ["gate_key"], limit)
        return [
            {"gate_key": group.key[0], "alerts": group.values[0], "max_severity": group.values[1]}
            for group in found
        ]

    def get_module_performance(
        self, since: Moment | None = None, client_id: str | None = None
    ) -> list[dict[str, Any]]:
        """What each module was asked and how often it failed, by name; two statements.

        ``[{"module_id", "validations", "results", "failures", "failure_rate"}]``: results of scope
        ``module``, skipped gates among them; the rate is failures / results.
        """
        query = self._results_of(client_id, equals(scope=ResultScope.MODULE), *_since(since))
        asked = self._session.aggregate(
            query, ["module_id"], [CountDistinct("validation_id"), Count()]
        )
        failed = query.narrow(equals(status=GateStatus.FAIL))
        failures = _totals(self._session.aggregate(failed, ["module_id"]), 0)
        return [
            {
                "module_id": group.key[0],
                "validations": group.values[0],
                "results": group.values[1],
                "failures": failures.get(group.key[0], 0),
                "failure_rate": failures.get(group.key[0], 0) / group.values[1],
            }
            for group in asked
        ]

    # Queries

    def _last(self, days: int) -> list[Condition]:
        return [Compare("created_at", "ge", days_before(self._session.now(), days))]

    def _of(self, client_id: str | None, conditions: Iterable[Condition] = ()) -> Query:
        return self._query(*_client(client_id), *conditions, self._visible())

    def _results_of(self, client_id: str | None, *conditions: Condition) -> Query:
        shown = visible(ValidationResult, self._session.tenant)
        query = self._session.query(ValidationResult)
        return query.narrow(*_client(client_id), *conditions, shown)

    def _failures(self, client_id: str | None, since: Iterable[Condition]) -> Query:
        return self._results_of(client_id, equals(status=GateStatus.FAIL), *since)

    def _worst_gates(self, query: Query, limit: int) -> list[dict[str, Any]]:
        return [
            {
                "gate_key": group.key[0],
                "module_id": group.key[1],
                "gate_id": group.key[2],
                "failure_count": group.values[0],
                "max_severity": group.values[1],
            }
            for group in self._most(query, ["gate_key", "module_id", "gate_id"], limit)
        ]

    def _most(self, query: Query, by: Sequence[str], limit: int) -> list[Group]:
        """Groups by number, most first, then by key; with the worst severity, by rank."""
        Integer(minimum=0).accept("limit", limit)
        groups = self._session.aggregate(query, by, [Count(), Max("severity")])
        return sorted(groups, key=lambda group: -group.values[0])[:limit]


def _client(client_id: str | None) -> list[Condition]:
    return [] if client_id is None else [equals(client_id=client_id)]


def _since(since: Moment | None) -> list[Condition]:
    return list(within("created_at", since, None))


def _totals(groups: Iterable[Group], part: int) -> dict[Any, int]:
    """Counts by one part of the groups' keys."""
    totals: dict[Any, int] = {}
    for group in groups:
        key = group.key[part]
        totals[key] = totals.get(key, 0) + group.values[0]
    return totals


def _by_risk(counts: dict[Any, int]) -> dict[str, int]:
    """Worst first; unseen ones with 0."""
    return {level.value: counts.get(level, 0) for level in RiskLevel}


def _trend(day: date, groups: Sequence[Group]) -> dict[str, Any]:
    counts = _totals(groups, 1)
    return {"date": day, "risks": _by_risk(counts), "validations": sum(counts.values())}
