"""One of everything that the API writes: calls whose traces are then looked at."""

from collections.abc import Iterator
from typing import Any

from loki_storage.intercepts import Intercept
from loki_storage.storage import Session
from loki_storage_contract.histories import CLIENT

__all__ = ["SECRET", "write_everything"]

SECRET = "S-E-C-R-E-T"
"""Stands in all text that the audit tells by its hash alone."""

_REPORT: dict[str, Any] = {
    "timestamp": "2026-03-01T12:00:00",
    "modules": {
        "m": {"gates": {"g": {"status": "FAIL", "severity": "high", "message": "no", "x": SECRET}}}
    },
}


def write_everything(session: Session) -> Iterator[str]:
    """Call each writing method; yields its name after each, when it is due to commit."""
    yield from _documents(session)
    yield from _tags(session)
    yield from _validations(session)
    yield from _corrections(session)
    yield from _intercepts(session)


def _documents(session: Session) -> Iterator[str]:
    documents = session.documents
    first = documents.create_document(
        SECRET, "email", CLIENT, title="t", metadata={"a": [1.0]}, tags=["x", "y"]
    ).id
    yield "create_document"
    second = documents.create_version(first, f"{SECRET}2", user_id="bob", title=None).id
    yield "create_version"
    documents.update(second, title="new", metadata=None)
    yield "update"
    third = documents.revert_to(first).id
    yield "revert_to"
    documents.delete_version(third)
    yield "delete_version"
    documents.restore_version(third)
    yield "restore_version"
    documents.delete(second, reason="a reason")
    yield "delete"
    documents.restore(second)
    yield "restore"
    documents.delete(second)
    yield "delete"


def _tags(session: Session) -> Iterator[str]:
    document = session.documents.create_document("tagged", "email", CLIENT).id
    tag = session.tags.create("z", color="#00ff00")
    yield "tags.create"
    session.documents.add_tag(document, "z")
    session.documents.add_tag(document, "new")
    yield "add_tag"
    session.documents.remove_tag(document, "new")
    yield "remove_tag"
    session.tags.update(tag.id, name="renamed")
    yield "tags.update"
    session.tags.delete(tag.id)
    yield "tags.delete"


def _validations(session: Session) -> Iterator[str]:
    document = session.documents.create_document("validated", "email", CLIENT).id
    validations = session.validations
    done, failed, cancelled = (
        validations.create_validation(document, ["m"], CLIENT, config={"a": 1}).id for _ in range(3)
    )
    yield "create_validation"
    validations.start_validation(done)
    validations.start_validation(failed)
    yield "start_validation"
    validations.add_result(done, "module", "m.g", "fail", "high", evidence={"text": SECRET})
    validations.add_results(done, [{"scope": "module", "gate_key": "m.h", "status": "pass"}] * 2)
    yield "add_results"
    validations.complete_validation(done)
    validations.fail_validation(failed, "broken", error_traceback=SECRET)
    validations.cancel_validation(cancelled)
    yield "complete_validation"


def _corrections(session: Session) -> Iterator[str]:
    document = session.documents.create_document("corrected", "email", CLIENT).id
    corrections = session.corrections
    ids = [
        corrections.create_correction(
            document, "rewrite", CLIENT, corrected_content=f"{SECRET}{n}", diff=[SECRET]
        ).id
        for n in range(4)
    ]
    yield "create_correction"
    corrections.update(ids[0], reasoning="because", diff=[f"{SECRET}!"])
    corrections.review_correction(ids[1], notes="seen")
    corrections.reject_correction(ids[1], reason="no")
    yield "reject_correction"
    corrections.apply_correction(ids[0], notes="yes")
    yield "apply_correction"
    corrections.revert_correction(ids[0], reason="oh")
    yield "revert_correction"
    corrections.apply_corrections(ids[2:], f"{SECRET}, both")
    yield "apply_corrections"


def _intercepts(session: Session) -> Iterator[str]:
    session.record_intercept(
        Intercept.from_report("intercepted", "email", CLIENT, _REPORT, request_hash="1")
    )
    yield "record_intercept"
