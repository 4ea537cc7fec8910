"""Rules for the log of exports: pending -> completed | failed, and a file that goes again (EXP-3).

The log itself stays. What it holds of a file is what may be removed, nothing else.
"""

from datetime import datetime

from loki_storage.batch import Insert
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import IllegalTransition
from loki_storage.models import ExportLog
from loki_storage.rules.change import Change, Step, guarded_edit

__all__ = ["COMPLETED", "FAILED", "PENDING", "complete", "fail", "forget_file", "start"]

PENDING, COMPLETED, FAILED = "pending", "completed", "failed"


def start(log: ExportLog) -> Change:
    """An export was asked for; nothing of it is written yet."""
    return _change(AuditAction.EXPORT, log, Insert(log))


def complete(
    log: ExportLog, *, record_count: int, file_size: int, file_hash: str, now: datetime
) -> Change:
    """The file is whole and under its name."""
    _require_pending(log)
    return _change(
        AuditAction.COMPLETE,
        log,
        guarded_edit(
            log,
            status=COMPLETED,
            record_count=record_count,
            file_size_bytes=file_size,
            file_hash=file_hash,
            completed_at=now,
        ),
    )


def fail(log: ExportLog, error_message: str, now: datetime) -> Change:
    """Nothing stands under the file's name, and why."""
    _require_pending(log)
    edit = guarded_edit(log, status=FAILED, error_message=error_message, completed_at=now)
    return _change(AuditAction.FAIL, log, edit)


def forget_file(log: ExportLog) -> Change:
    """The file is not there any more."""
    return _change(AuditAction.DELETE, log, guarded_edit(log, "status", file_path=None))


def _change(action: str, log: ExportLog, step: Step) -> Change:
    return Change(
        action=action,
        entity_type=EntityType.EXPORT,
        entity_id=log.id,
        client_id=log.client_id,
        steps=[step],
    )


def _require_pending(log: ExportLog) -> None:
    if log.status != PENDING:
        raise IllegalTransition(f"export {log.id} is {log.status} already")
