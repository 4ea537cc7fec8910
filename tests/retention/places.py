"""A tenant with documents of every shape, some of them due, for tests of runs."""

from datetime import timedelta
from typing import Any

import attrs

from loki_storage.models import KINDS, Document, Kind, Record
from loki_storage.query import Query, equals
from loki_storage.retention import RetentionManager
from loki_storage.storage import Session, Storage
from tests.stores import CLOCK

MARKER = "Wilhelmina Oyelaran-Smythe"
"""Personal data that is planted wherever a caller can put text."""


@attrs.frozen
class Place:
    """One tenant of a store."""

    storage: Storage
    tenant: str

    def begin(self) -> Session:
        return self.storage.session(tenant=self.tenant, actor="alice")

    def manager(self, storage: Storage | None = None) -> RetentionManager:
        return RetentionManager(storage or self.storage, tenant=self.tenant, actor="officer")

    def policy(self, name: str = "old", action: str = "delete", **options: Any) -> None:
        options = {"entity_type": "document", "retention_days": 30, **options}
        with self.begin() as session:
            session.retention.create(name, action=action, **options)

    def rows(self, *kinds: Kind) -> list[Record]:
        return [
            row
            for kind in kinds or KINDS.values()
            for row in self.storage.backend.select(Query(kind, self.tenant))
        ]

    def documents(self) -> set[int]:
        """The root ids of the documents that are there."""
        return {row.root_id for row in self.rows(Document)}  # type: ignore[attr-defined]


def plant(session: Session, text: str, tag: str = "person") -> Document:
    """A document with everything that a document can have, personal data in all of it."""
    documents, validations, corrections = (
        session.documents,
        session.validations,
        session.corrections,
    )
    document = documents.create_document(
        f"{text} {MARKER}",
        "email",
        "client",
        title=f"To {MARKER}",
        description=MARKER,
        source=f"/home/{MARKER}",
        user_id=MARKER,
        metadata={"customer": MARKER, MARKER: 1, "events": {"left": "2026-01-01"}},
        tags=[tag],
    )
    validation = validations.create_validation(
        document.id,
        ["gdpr"],
        "client",
        user_id=MARKER,
        config={"note": MARKER},
        request_hash=f"request of {text} {document.id}",
    )
    validations.start_validation(validation.id)
    for status in ("fail", "pass", "skip"):
        validations.add_result(
            validation.id,
            "module",
            f"gdpr.{status}",
            status,
            severity="high",
            message=f"{MARKER} is named",
            suggestion=f"remove {MARKER}",
            legal_source=f"re {MARKER}",
            evidence={"found": [MARKER], MARKER: 1},
            metadata={"of": MARKER},
        )
    validations.complete_validation(validation.id)
    failed = validations.create_validation(document.id, ["gdpr"], "client")
    validations.start_validation(failed.id)
    validations.fail_validation(failed.id, f"could not read {MARKER}", f"Traceback {MARKER}")
    rewrite = corrections.create_correction(
        document.id,
        "rewrite",
        "client",
        validation_id=validation.id,
        original_content=document.content,
        corrected_content=f"{text} of {MARKER}, better",
        diff=[MARKER],
        reasoning=f"because of {MARKER}",
        metadata={MARKER: MARKER},
    )
    corrections.update(rewrite.id, reasoning=f"{MARKER} asked for it")
    corrections.apply_correction(rewrite.id, MARKER, f"told {MARKER}")
    note = corrections.create_correction(document.id, "note", "client", reasoning=MARKER)
    corrections.reject_correction(note.id, MARKER, f"{MARKER} said no")
    documents.update(documents_head(session, document.id), title=f"{MARKER} again")
    session.audit.log(
        "sent",
        "document",
        document.id,
        document_id=document.id,
        metadata={"to": MARKER, MARKER: True},
    )
    return document


def documents_head(session: Session, id: int) -> int:
    head = session.documents.get_latest_version(id)
    assert head is not None
    return head.id


def fill(place: Place, number: int, days: float = 31) -> list[int]:
    """So many whole documents, which come of age; their root ids."""
    with place.begin() as session:
        if session.tags.get_by_name("person") is None:
            session.tags.create("person")
    actor = MARKER
    with place.storage.session(tenant=place.tenant, actor=actor) as session:
        ids = [plant(session, f"text {n}").id for n in range(number)]
    CLOCK.advance(days=days)
    return ids


def marked(record: Record) -> list[str]:
    """The fields in which the marker stands, also inside JSON."""
    return [
        field
        for field in record.domains
        if any(part in str(record.stored(field)) for part in MARKER.split())
    ]


def of_document(place: Place, root: int) -> list[Record]:
    with place.begin() as session:
        return list(session.select(session.query(Document, equals(root_id=root))))


LATER = timedelta(minutes=1)
