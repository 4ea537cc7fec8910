"""What a dashboard reads is what counting the rows one by one gives, deleted documents left out."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
from loki_storage.enums import GateStatus, RiskLevel
from loki_storage.errors import InvalidValue, StorageError
from loki_storage.models import AuditEntry, Correction, Document, Validation, ValidationResult
from tests.programs import view
from tests.stores import CLOCK, new_tenant

CLIENTS = ["a", "b"]
SCOPES = ["module", "module", "universal", "analyzer"]
SEVERITIES = [None, *RiskLevel]


def fill(session: Session, random: Random) -> None:
    """Documents over some days, with validations and corrections in every state; some deleted."""
    documents = []
    for n in range(random.randint(1, 6)):
        client = random.choice(CLIENTS)
        kind = random.choice(["email", "nda"])
        documents.append(session.documents.create_document(f"text {n}", kind, client))
        for _ in range(random.randint(0, 3)):
            validate(session, documents[-1], random)
        for _ in range(random.randint(0, 2)):
            correct(session, documents[-1], random)
        CLOCK.advance(hours=random.randint(0, 40))
    for document in documents:
        if random.random() < 0.3:
            session.documents.create_version(head(session, document), f"{document.id} again")
        if random.random() < 0.3:
            session.documents.delete_version(document.id)
        if random.random() < 0.2:
            session.documents.delete(document.id)


def head(session: Session, document: Document) -> int:
    found = session.documents.get_latest_version(document.id)
    assert found is not None
    return found.id


def validate(session: Session, document: Document, random: Random) -> None:
    run = session.validations.create_validation(document.id, ["m"], document.client_id)
    end = random.choice(["pending", "start", "complete", "complete", "fail"])
    if end == "pending":
        return
    session.validations.start_validation(run.id)
    results = [result(random) for _ in range(random.randint(0, 8))]
    session.validations.add_results(run.id, results)
    CLOCK.advance(milliseconds=random.randint(0, 999))
    if end == "complete":
        session.validations.complete_validation(run.id, random.choice(SEVERITIES))
    elif end == "fail":
        session.validations.fail_validation(run.id, "broken")


def result(random: Random) -> dict[str, Any]:
    scope = random.choice(SCOPES)
    module = random.choice(["gdpr", "fca"]) if scope == "module" else scope
    return {
        "scope": scope,
        "gate_key": f"{module}.{random.randint(1, 3)}",
        "status": random.choice(list(GateStatus)),
        "severity": random.choice(SEVERITIES),
        "message": random.choice([None, "Consent is 100% missing", "ok"]),
    }


def correct(session: Session, document: Document, random: Random) -> None:
    kind = random.choice(["rewrite", "auto_fix"])
    made = session.corrections.create_correction(document.id, kind, document.client_id)
    end = random.choice(["pending", "apply", "reject", "revert"])
    if end in ("apply", "revert"):
        session.corrections.apply_correction(made.id)
    if end == "revert":
        session.corrections.revert_correction(made.id)
    if end == "reject":
        session.corrections.reject_correction(made.id)


@attrs.frozen
class Rows:
    """What is visible of a tenant: rows of live versions, and the trail."""

    documents: list[Document]
    validations: list[Validation]
    results: list[ValidationResult]
    corrections: list[Correction]
    audit: list[AuditEntry]


def visible(session: Session, client: str | None, since: datetime | None = None) -> Rows:
    """Read with nothing but plain queries, and narrowed in Python."""
    tables: dict[Any, list[Any]] = {}
    for row in view(session, session.tenant):
        tables.setdefault(type(row), []).append(row)
    live = {row.id for row in tables.get(Document, []) if not row.is_deleted}
    runs = {row.id for row in tables.get(Validation, []) if row.document_id in live}

    def shown(kind: Any, time: str, keep: Callable[[Any], bool]) -> list[Any]:
        return [
            row
            for row in tables.get(kind, [])
            if keep(row)
            and (client is None or row.client_id == client)
            and (since is None or getattr(row, time) >= since)
        ]

    return Rows(
        documents=shown(Document, "created_at", lambda row: row.is_latest),
        validations=shown(Validation, "created_at", lambda row: row.id in runs),
        results=shown(ValidationResult, "created_at", lambda row: row.validation_id in runs),
        corrections=shown(Correction, "created_at", lambda row: row.document_id in live),
        audit=shown(AuditEntry, "timestamp", lambda row: True),
    )


def check_documents(session: Session, client: str | None) -> None:
    rows = visible(session, client).documents
    newest = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    assert session.documents.get_statistics(client) == {
        "total_documents": len(rows),
        "by_type": Counter(row.document_type for row in rows),
        "recent_documents": newest[:10],
    }


def risks(rows: Iterable[Validation]) -> dict[str, int]:
    counts = Counter(row.overall_risk for row in rows)
    return {level: counts[level] for level in RiskLevel}


def check_validations(session: Session, client: str | None, days: int) -> None:
    rows = visible(session, client, CLOCK() - timedelta(days=days)).validations
    timed = [row.duration_ms for row in rows if row.duration_ms is not None]
    statuses = Counter(str(row.status) for row in rows)
    assert session.validations.get_statistics(client, days) == {
        "period_days": days,
        "total_validations": len(rows),
        "completed": statuses["completed"],
        "failed": statuses["failed"],
        "risk_breakdown": risks(rows),
        "avg_duration_ms": sum(timed) / len(timed) if timed else None,
        "total_critical_issues": sum(row.critical_count for row in rows),
        "total_high_issues": sum(row.high_count for row in rows),
    }
    assert session.validations.get_risk_breakdown(client) == risks(
        visible(session, client).validations
    )


def check_trends(session: Session, client: str | None, days: int) -> None:
    rows = visible(session, client).validations
    today = CLOCK().date()
    trends = session.validations.get_risk_trends(days, client)
    assert [trend["date"] for trend in trends] == [
        today - timedelta(days=days - 1 - n) for n in range(days)
    ]
    for trend in trends:
        of_day = [row for row in rows if row.created_at.date() == trend["date"]]
        assert trend == {
            "date": trend["date"],
            "risks": risks(of_day),
            "validations": len(of_day),
        }


def gates(rows: Iterable[ValidationResult]) -> list[dict[str, Any]]:
    """By number of failures, then by key."""
    failed: dict[Any, list[ValidationResult]] = {}
    for row in rows:
        if row.status == "fail":
            failed.setdefault((row.gate_key, row.module_id, row.gate_id), []).append(row)
    found = [
        {
            "gate_key": key,
            "module_id": module,
            "gate_id": gate,
            "failure_count": len(group),
            "max_severity": worst(group),
        }
        for (key, module, gate), group in sorted(failed.items())
    ]
    return sorted(found, key=lambda row: -row["failure_count"])


def worst(rows: Iterable[ValidationResult]) -> str | None:
    given = [row.severity for row in rows if row.severity is not None]
    return max(given, key=lambda severity: severity.rank, default=None)


def check_gates(session: Session, client: str | None, days: int) -> None:
    since = CLOCK() - timedelta(days=days)
    rows = visible(session, client, since).results
    validations = session.validations
    assert validations.get_gate_failure_stats(client, days) == gates(rows)[:10]
    assert validations.get_top_gate_failures(since, 2, client) == gates(rows)[:2]
    assert validations.get_gate_failure_stats(client, None, 99) == gates(
        visible(session, client).results
    )
    alerts: dict[str, list[ValidationResult]] = {}
    for row in rows:
        if row.scope == "universal" and row.status in ("fail", "warning"):
            alerts.setdefault(row.gate_key, []).append(row)
    expected = [
        {"gate_key": key, "alerts": len(group), "max_severity": worst(group)}
        for key, group in sorted(alerts.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    assert validations.get_universal_alerts(since, 5, client) == expected[:5]


def check_modules(session: Session, client: str | None, days: int) -> None:
    since = CLOCK() - timedelta(days=days)
    modules: dict[str, list[ValidationResult]] = {}
    for row in visible(session, client, since).results:
        if row.scope == "module":
            modules.setdefault(str(row.module_id), []).append(row)
    assert session.validations.get_module_performance(since, client) == [
        {
            "module_id": module,
            "validations": len({row.validation_id for row in group}),
            "results": len(group),
            "failures": (failures := sum(row.status == "fail" for row in group)),
            "failure_rate": failures / len(group),
        }
        for module, group in sorted(modules.items())
    ]


def check_overview(session: Session, client: str | None, days: int) -> None:
    rows = visible(session, client, CLOCK() - timedelta(days=days))
    pending = [c for c in visible(session, client).corrections if c.status == "pending"]
    assert session.validations.get_overview(days, client) == {
        "window_days": days,
        "documents": len(rows.documents),
        "validations": len(rows.validations),
        "risk_breakdown": risks(rows.validations),
        "pending_corrections": len(pending),
        "top_gate_failures": gates(rows.results)[:5],
    }


def check_corrections(session: Session, client: str | None) -> None:
    rows = visible(session, client).corrections
    statuses = Counter(str(row.status) for row in rows)
    assert session.corrections.get_statistics(client) == {
        "total_corrections": len(rows),
        **{status: statuses[status] for status in ("pending", "applied", "rejected", "reverted")},
        "by_type": Counter(row.correction_type for row in rows),
    }


def check_audit(session: Session, client: str | None, days: int) -> None:
    rows = visible(session, client, CLOCK() - timedelta(days=days)).audit
    actors = Counter(row.actor_id for row in rows)
    assert session.audit.get_statistics(client, days) == {
        "period_days": days,
        "total_actions": len(rows),
        "by_action": Counter(row.action for row in rows),
        "by_entity_type": Counter(row.entity_type for row in rows),
        "top_actors": [
            {"actor_id": actor, "actions": n}
            for actor, n in sorted(actors.items(), key=lambda item: (-item[1], item[0]))
        ],
    }
    recent = visible(session, client, CLOCK() - timedelta(hours=days)).audit
    newest = sorted(recent, key=lambda row: (row.timestamp, row.id), reverse=True)
    assert session.audit.get_recent(client, hours=days) == newest[:100]
    for told in session.audit.get_activity_timeline(client, days):
        of_day = [
            row for row in visible(session, client).audit if row.timestamp.date() == told["date"]
        ]
        assert told["actions"] == Counter(row.action for row in of_day)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**20),
    client=st.sampled_from([None, *CLIENTS]),
    days=st.integers(1, 9),
    committed=st.booleans(),
)
def test_statistics_are_what_counting_gives(
    store: Storage, seed: int, client: str | None, days: int, committed: bool
) -> None:
    with store.session(tenant=new_tenant(), actor="alice") as session:
        fill(session, Random(seed))
        if committed:
            session.commit()
        check_documents(session, client)
        check_validations(session, client, days)
        check_trends(session, client, days)
        check_gates(session, client, days)
        check_modules(session, client, days)
        check_overview(session, client, days)
        check_corrections(session, client)
        check_audit(session, client, days)


def test_statistics_of_nothing(store: Storage) -> None:
    session = store.session(tenant=new_tenant())
    assert session.documents.get_statistics()["total_documents"] == 0
    assert session.validations.get_statistics()["avg_duration_ms"] is None
    assert session.validations.get_module_performance() == []
    assert session.validations.get_universal_alerts() == []
    assert session.validations.get_overview()["top_gate_failures"] == []
    assert session.corrections.get_statistics()["pending"] == 0
    assert len(session.validations.get_risk_trends(400)) == 400
    assert session.audit.get_statistics()["top_actors"] == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.validations.get_statistics(days=-1),
        lambda s: s.validations.get_statistics(days="7"),
        lambda s: s.validations.get_risk_trends(0),
        lambda s: s.validations.get_risk_trends(3_661),
        lambda s: s.validations.get_overview(36_501),
        lambda s: s.validations.get_gate_failure_stats(days=1.5),
        lambda s: s.validations.get_top_gate_failures(limit=-1),
        lambda s: s.validations.get_top_gate_failures("yesterday"),
        lambda s: s.validations.get_module_performance(5),
        lambda s: s.audit.get_statistics(days=-1),
        lambda s: s.audit.get_recent(hours=-1),
        lambda s: s.audit.get_activity_timeline(days=0),
        lambda s: s.documents.get_statistics(client_id=5),
    ],
)
def test_periods_that_mean_nothing_are_refused(
    store: Storage, ask: Callable[[Session], object]
) -> None:
    with pytest.raises(InvalidValue) as refused:
        ask(store.session(tenant=new_tenant()))
    assert isinstance(refused.value, StorageError)
