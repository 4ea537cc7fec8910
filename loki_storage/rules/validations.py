"""Rules for validations and their results (VLD)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from loki_storage.batch import Insert, InsertMany, Require
from loki_storage.enums import (
    AuditAction,
    EntityType,
    GateStatus,
    RiskLevel,
    ValidationStatus,
)
from loki_storage.errors import IllegalTransition, InvalidValue, NotFound
from loki_storage.models import Document, Validation, ValidationResult
from loki_storage.rows import Rows
from loki_storage.rules.change import Change, Step, guarded_edit
from loki_storage.values import JsonValue

__all__ = [
    "add_results",
    "cancel",
    "check_takes_results",
    "complete",
    "counters",
    "create",
    "fail",
    "gate_names",
    "record",
    "start",
]

_STATUS_COUNTERS = {
    GateStatus.PASS: "pass_count",
    GateStatus.FAIL: "fail_count",
    GateStatus.WARNING: "warning_count",
}
_SEVERITY_COUNTERS = {
    RiskLevel.CRITICAL: "critical_count",
    RiskLevel.HIGH: "high_count",
    RiskLevel.MEDIUM: "medium_count",
    RiskLevel.LOW: "low_count",
}
_SKIP = GateStatus.SKIP
"""In no counter."""
_FOUND = (GateStatus.FAIL, GateStatus.WARNING)


def gate_names(gate_key: str, module_id: str | None, gate_id: str | None) -> tuple[str, str]:
    """Module and gate, where not given the halves of the key at its first dot (VLD-2)."""
    module, dot, gate = gate_key.partition(".")
    return module_id if module_id is not None else module, (
        gate_id if gate_id is not None else gate if dot else gate_key
    )


def counters(results: Iterable[tuple[GateStatus, RiskLevel | None]]) -> dict[str, int]:
    """What results of these (status, severity) add to a validation's counters (VLD-2)."""
    counts: Counter[str] = Counter()
    # Nine of ten gates do not apply.
    for (status, severity), n in Counter(r for r in results if r[0] is not _SKIP).items():
        if status in _STATUS_COUNTERS:
            counts[_STATUS_COUNTERS[status]] += n
        if status in _FOUND and severity in _SEVERITY_COUNTERS:
            counts[_SEVERITY_COUNTERS[severity]] += n
    return dict(counts)


def create(validation: Validation, document: Document) -> Change:
    """A pending validation of a live document version (VLD-4, DEL-5)."""
    require_version(document, validation.client_id)
    steps: list[Step] = [Insert(validation), live_version(document)]
    return _change(AuditAction.CREATE, validation, document.root_id, steps)


def record(
    validation: Validation, results: Rows[ValidationResult], document: Document, *, new: bool
) -> Change:
    """A validation that ran elsewhere, with all its results, as one operation."""
    steps: list[Step] = [Insert(validation), InsertMany(results)]
    if not new:
        steps.append(live_version(document))
    return _change(AuditAction.CREATE, validation, document.root_id, steps)


def start(validation: Validation, document: Document, now: datetime) -> Change:
    """pending -> in_progress."""
    return _move(validation, document, ValidationStatus.IN_PROGRESS, {"started_at": now})


def check_takes_results(validation: Validation) -> None:
    """``IllegalTransition`` for a validation that is not in progress (VLD-1)."""
    if validation.status is not ValidationStatus.IN_PROGRESS:
        raise _illegal(validation, "takes results only while in progress; start it first")


def add_results(
    validation: Validation, document: Document, results: Sequence[ValidationResult]
) -> Change | None:
    """More results of a running validation, and its counters in the same batch (VLD-2)."""
    check_takes_results(validation)
    if not results:
        return None
    added = counters((result.status, result.severity) for result in results)
    counted = {name: getattr(validation, name) + n for name, n in added.items()}
    steps: list[Step] = [guarded_edit(validation, "status", **counted), *map(Insert, results)]
    steps.append(live_version(document))
    return _change(AuditAction.UPDATE, validation, document.root_id, steps)


def complete(validation: Validation, document: Document, now: datetime, risk: RiskLevel) -> Change:
    """in_progress -> completed, with the overall risk (VLD-3)."""
    fields = {"overall_risk": risk, **_ended(validation, now)}
    # A failure that comes meanwhile could be worse than the risk that was read off the others.
    return _move(validation, document, ValidationStatus.COMPLETED, fields, "fail_count")


def fail(
    validation: Validation,
    document: Document,
    now: datetime,
    error_message: str | None,
    error_traceback: str | None = None,
) -> Change:
    """pending or in_progress -> failed."""
    fields = {
        "error_message": error_message,
        "error_traceback": error_traceback,
        **_ended(validation, now),
    }
    return _move(validation, document, ValidationStatus.FAILED, fields)


def cancel(validation: Validation, document: Document, now: datetime) -> Change:
    """pending or in_progress -> cancelled."""
    return _move(validation, document, ValidationStatus.CANCELLED, _ended(validation, now))


def require_version(document: Document, client_id: str) -> None:
    """``NotFound`` for a deleted version, ``InvalidValue`` for another client's (VLD-4)."""
    if document.is_deleted:
        raise NotFound("document", document.id)
    if document.client_id != client_id:
        raise InvalidValue("client_id", "is not the document's client")


def live_version(document: Document) -> Require:
    """What a child asks of its document version at commit (VER-10)."""
    return Require(Document, document.id, {"is_deleted": False})


_NEXT = {
    ValidationStatus.PENDING: (
        ValidationStatus.IN_PROGRESS,
        ValidationStatus.FAILED,
        ValidationStatus.CANCELLED,
    ),
    ValidationStatus.IN_PROGRESS: (
        ValidationStatus.COMPLETED,
        ValidationStatus.FAILED,
        ValidationStatus.CANCELLED,
    ),
}
_ACTIONS = {
    ValidationStatus.IN_PROGRESS: AuditAction.START,
    ValidationStatus.COMPLETED: AuditAction.COMPLETE,
    ValidationStatus.FAILED: AuditAction.FAIL,
    ValidationStatus.CANCELLED: AuditAction.CANCEL,
}


def _move(
    validation: Validation,
    document: Document,
    status: ValidationStatus,
    fields: Mapping[str, object],
    *asked: str,
) -> Change:
    if status not in _NEXT.get(validation.status, ()):
        raise _illegal(validation, f"cannot become {status}")
    moved = guarded_edit(validation, *asked, status=status, **fields)
    steps: list[Step] = [moved, live_version(document)]
    return _change(_ACTIONS[status], validation, document.root_id, steps)


def _ended(validation: Validation, now: datetime) -> Mapping[str, object]:
    started = validation.started_at
    if started is None:
        return {"completed_at": now}
    end = max(now, started)
    return {"completed_at": end, "duration_ms": duration_ms(started, end)}


def duration_ms(started: datetime, completed: datetime) -> int:
    """Whole milliseconds between two times, never below 0."""
    return max(0, (completed - started) // timedelta(milliseconds=1))


def _illegal(validation: Validation, reason: str) -> IllegalTransition:
    return IllegalTransition(f"validation {validation.id} is {validation.status}: it {reason}")


def _change(
    action: AuditAction,
    validation: Validation,
    root_id: int,
    steps: Sequence[Step],
    metadata: JsonValue = None,
) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.VALIDATION,
        entity_id=validation.id,
        document_id=root_id,
        validation_id=validation.id,
        client_id=validation.client_id,
        steps=steps,
        metadata=metadata,
    )
