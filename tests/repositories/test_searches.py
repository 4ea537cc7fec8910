"""Lists that are narrowed by texts, days and fields (QRY-4, QRY-7)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.models import AuditEntry, Document, ValidationResult
from tests.stores import CLOCK, new_tenant

Open = Callable[[], Session]


@pytest.fixture(scope="module")
def filled(store: Storage) -> Open:
    """Three documents, two days apart, judged; nobody writes there later."""
    tenant, last = new_tenant(), 0
    for n, (text, title, client) in enumerate(
        [("Alpha 100%", None, "a"), ("beta", "ALPHA", "b"), ("gamma", "Straße", "a")]
    ):
        with store.session(tenant=tenant, actor=f"user {n}") as session:
            made = session.documents.create_document(text, "email", client, title)
            run = session.validations.create_validation(made.id, ["m"], client)
            session.validations.start_validation(run.id)
            session.validations.add_results(
                run.id,
                [
                    result("module", "fail", "high", f"Alpha is missing in {n}"),
                    result("universal", "pass", None, None),
                ],
            )
            session.validations.complete_validation(run.id, ["low", "high", "high"][n])
            last = made.id
        CLOCK.advance(days=2)
    with store.session(tenant=tenant) as session:
        session.documents.create_version(last, "delta alpha")
    return lambda: store.session(tenant=tenant)


def result(scope: str, status: str, severity: str | None, message: str | None) -> dict[str, Any]:
    return {
        "scope": scope,
        "gate_key": f"{scope}.gate",
        "status": status,
        "severity": severity,
        "message": message,
    }


def texts(found: list[Document]) -> list[str]:
    return [document.content for document in found]


def test_search_is_literal_and_takes_heads_newest_first(filled: Open) -> None:
    search = filled().documents.search
    assert texts(search("alpha")) == ["delta alpha", "beta", "Alpha 100%"]
    assert texts(search("alpha", case_sensitive=True)) == ["delta alpha"]
    assert texts(search("0%")) == ["Alpha 100%"]
    assert texts(search("STRASSE")) == ["delta alpha"]
    assert texts(search("_")) == []
    assert texts(search("gamma")) == []
    assert texts(search("gamma", versions="all")) == ["gamma"]
    assert texts(search("alpha", limit=1, offset=1)) == ["beta"]
    assert texts(search("alpha", client_id="b")) == ["beta"]
    assert texts(search("alpha", document_type="nda")) == []


def test_days_are_utc_and_include_the_end(filled: Open) -> None:
    documents = filled().documents
    oldest = documents.search("Alpha 100%")[0].created_at
    day = oldest.date()
    assert len(documents.search("", start_date=day, end_date=day)) == 1
    assert len(documents.search("", end_date=str(day))) == 1
    assert len(documents.search("", start_date=str(day + timedelta(days=1)))) == 2
    assert len(documents.search("", start_date=oldest, end_date=oldest)) == 1
    assert len(documents.search("", end_date=oldest - timedelta(microseconds=1))) == 0


def test_own_tenant_is_listed_and_no_other(filled: Open) -> None:
    documents = filled().documents
    assert documents.get_by_tenant(filled().tenant) == documents.get_all()
    assert documents.get_by_tenant(filled().tenant, limit=1, offset=1) == documents.get_all()[1:2]
    assert len(documents.get_by_tenant(filled().tenant, versions="all")) == 4
    assert documents.get_by_tenant("another") == []


def test_validations_by_risk(filled: Open) -> None:
    validations = filled().validations
    high = validations.get_by_risk_level("high")
    assert [run.overall_risk for run in high] == ["high", "high"]
    assert high == sorted(high, key=lambda run: run.created_at, reverse=True)
    assert validations.get_by_risk_level("high", limit=1) == high[:1]
    assert validations.get_by_risk_level("high", client_id="b") == high[1:]
    assert validations.get_by_risk_level("high", start_date=high[0].created_at) == high[:1]
    assert validations.get_by_risk_level("none") == []
    assert validations.get_recent(limit=2) == high
    assert validations.get_recent("a", limit=5)[0] == high[0]


def test_results_by_text_and_field(filled: Open) -> None:
    search: Callable[..., list[ValidationResult]] = filled().validations.search_results
    assert len(search()) == 6
    assert [row.message for row in search("ALPHA is")] == [
        f"Alpha is missing in {n}" for n in (2, 1, 0)
    ]
    assert len(search("universal.")) == 3
    assert len(search(scope="universal", status="pass")) == 3
    assert len(search(severity="high", client_id="a")) == 2
    assert len(search("alpha", limit=1)) == 1
    assert search("alpha", status="pass") == []


def test_audit_by_field_and_day(filled: Open) -> None:
    search: Callable[..., list[AuditEntry]] = filled().audit.search
    everything = search()
    assert everything == filled().audit.get_all()
    assert {entry.actor_id for entry in search(actor_id="user 1")} == {"user 1"}
    created = search(action="create", entity_type="document")
    assert len(created) == 3
    one = search(entity_type="document", entity_id=created[0].entity_id)
    assert [entry.action for entry in one] == ["version", "create"]
    day = created[-1].timestamp.date()
    assert {entry.actor_id for entry in search(start_date=day, end_date=day)} == {"user 0"}
    assert search(client_id="nobody") == search(request_id="r") == []
    assert search(limit=2, offset=1) == everything[1:3]
