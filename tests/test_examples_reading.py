"""The specification's own examples of reading and writing, word for word but for the path.

On every backend that the environment may name. Imports that an example forgot are told before it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Actor, AuditEntry, Batch, Insert, get_session
from loki_storage.enums import DocumentType
from loki_storage.session import close_default, default_storage
from tests.postgresql.shared import drop, store_url, versions

CREATING = """
from backend.db.session import get_session
from backend.db.repositories import DocumentRepository, ValidationRepository
from backend.db.models import DocumentType, RiskLevel

# Create document
with get_session() as session:
    doc_repo = DocumentRepository(session)

    document = doc_repo.create_document(
        content="Sample financial document...",
        document_type=DocumentType.FINANCIAL,
        client_id="client_123",
        title="Q4 Financial Report",
        language="en"
    )

    # Create validation
    val_repo = ValidationRepository(session)
    validation = val_repo.create_validation(
        document_id=document.id,
        modules_used=["fca_uk", "gdpr_uk"],
        client_id="client_123"
    )

    session.commit()
"""
FORGOTTEN_BY_SEARCHING = """
from backend.db.models import DocumentType
from backend.db.query_builder import SortOrder
"""
SEARCHING = r"""
from backend.db.query_builder import DocumentQueryBuilder
from backend.db.session import get_session

with get_session() as session:
    query = DocumentQueryBuilder(session)

    documents = query.by_client("client_123") \
        .by_type(DocumentType.FINANCIAL) \
        .not_deleted() \
        .latest_versions() \
        .search_content("annual report") \
        .order_by("created_at", SortOrder.DESC) \
        .limit(10) \
        .all()
"""
FORGOTTEN_BY_AUDIT = """
from backend.db.session import get_session
"""
AUDIT = """
from backend.db.repositories import AuditRepository

with get_session() as session:
    audit_repo = AuditRepository(session)

    # Get all actions by a user
    actions = audit_repo.get_by_actor(
        actor_id="user@example.com",
        limit=100
    )

    # Get activity timeline
    timeline = audit_repo.get_activity_timeline(
        client_id="client_123",
        days=7
    )
"""
CLEANUP = """
from backend.db.repositories import AuditRepository

with get_session() as session:
    audit_repo = AuditRepository(session)

    # Clean up old audit entries
    deleted = audit_repo.cleanup_old_entries(
        retention_days=365,
        batch_size=1000
    )
"""
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)


@pytest.fixture(autouse=True, params=["memory", "sqlite", POSTGRESQL])
def default_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The store that the environment names."""
    monkeypatch.chdir(tmp_path)
    version = versions()[0] if request.param == "postgresql" else ""
    url = {
        "memory": lambda: "memory://examples",
        "sqlite": lambda: f"sqlite:///{tmp_path}/loki.db",
        "postgresql": lambda: store_url(version),
    }[request.param]()
    monkeypatch.setenv("LOKI_STORAGE_URL", url)
    close_default()
    yield
    close_default()
    if version:
        drop(version, url)


def run(*examples: str) -> dict[str, Any]:
    """What an example leaves in its names."""
    names: dict[str, Any] = {}
    for example in examples:
        exec(example.replace("backend.db.", "loki_storage."), names)
    return names


def test_creating_a_document_with_validation() -> None:
    names = run(CREATING)
    with get_session() as session:
        document = session.documents.get_by_id(names["document"].id)
        assert document == names["document"]
        assert (document.title, document.document_type) == ("Q4 Financial Report", "financial")
        found = session.documents.get_with_validations(document.id)
    assert found == (document, [names["validation"]])
    assert names["validation"].modules_used == ["fca_uk", "gdpr_uk"]


def test_searching_documents() -> None:
    with get_session() as session:
        made = [
            session.documents.create_document(
                f"{n}: our ANNUAL Report, 100%", DocumentType.FINANCIAL, "client_123"
            )
            for n in range(12)
        ]
        session.documents.create_document("annual report", "email", "client_123")
        session.documents.create_document("annual report", DocumentType.FINANCIAL, "another")
        session.documents.create_document("monthly report", DocumentType.FINANCIAL, "client_123")
        session.documents.delete(made[11].id)
        newer = session.documents.create_version(made[0].id, "annual report, second edition")
    documents = run(FORGOTTEN_BY_SEARCHING, SEARCHING)["documents"]
    assert {document.id for document in documents} < {newer.id, *(d.id for d in made[1:11])}
    assert len(documents) == 10
    times = [(document.created_at, document.id) for document in documents]
    assert times == sorted(times, reverse=True)


def test_audit_trail_query() -> None:
    with get_session(actor=Actor("user@example.com")) as session:
        document = session.documents.create_document("text", "email", "client_123")
        session.documents.update(document.id, title="title")
    with get_session(actor="another") as session:
        session.documents.create_document("text", "email", "another client")
    names = run(FORGOTTEN_BY_AUDIT, AUDIT)
    assert [entry.action for entry in names["actions"]] == ["update", "create"]
    timeline = names["timeline"]
    today = datetime.now(UTC).date()
    assert [row["date"] for row in timeline][-1] - timeline[0]["date"] == timedelta(days=6)
    assert today - timeline[-1]["date"] <= timedelta(days=1), "midnight may pass meanwhile"
    assert timeline[-1]["actions"] == {"create": 1, "update": 1}
    assert [row["actions"] for row in timeline[:-1]] == [{}] * 6


def test_cleaning_up_old_audit_entries() -> None:
    with get_session() as session:
        session.audit.log("seen", "document")
    (entry,) = get_session().audit.get_all()
    old = [
        Insert(entry.replaced({"id": id, "timestamp": entry.timestamp - timedelta(days=400)}))
        for id in default_storage().backend.reserve({AuditEntry: 1_500})[AuditEntry]
    ]
    default_storage().backend.apply(Batch(entry.tenant_id, tuple(old)))
    assert run(FORGOTTEN_BY_AUDIT, CLEANUP)["deleted"] == 1_500
    left = [found.action for found in get_session().audit.get_all()]
    assert sorted(left) == ["cleanup", "cleanup", "seen"], "two batches, each told"
    assert run(FORGOTTEN_BY_AUDIT, CLEANUP)["deleted"] == 0
