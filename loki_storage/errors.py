"""Every error that the SDK raises: one tree, each rooted in a builtin that users would catch.

    StorageError
    ├── InvalidValue (ValueError)          a value outside the value domain (VAL)
    ├── InvalidField (ValueError)          an unknown field, operator, order or option
    ├── IllegalTransition (ValueError)     the state does not allow it
    ├── NotFound (LookupError)             no such record for this tenant
    ├── Conflict
    │   ├── StaleWrite                     a guard did not hold        (retryable)
    │   ├── StaleVersion                   built on a version that is not the head (retryable)
    │   ├── Duplicate                      a unique key is taken
    │   │   └── DuplicateDocument          a live document has this text (retryable)
    │   ├── BrokenReference                a reference does not hold   (retryable)
    │   └── Contention (TimeoutError)      retries ran out of time     (retryable)
    ├── OnHold (PermissionError)           a legal hold forbids it
    ├── Unsupported (NotImplementedError)  this backend cannot do it
    ├── ResultTooLarge (ValueError)        more rows than a list may hold
    ├── Unavailable
    │   ├── ConnectionLost (ConnectionError)  (retryable)
    │   ├── LockTimeout (TimeoutError)        (retryable)
    │   ├── Timeout (TimeoutError)
    │   ├── PoolExhausted (TimeoutError)      (retryable)
    │   └── OutcomeUnknown                 nobody can tell yet whether a commit happened
    ├── StorageFull (OSError)
    ├── ReadOnly (PermissionError)
    ├── StorageDamaged
    ├── Forbidden (PermissionError)
    ├── SchemaOutdated
    ├── PluginError (ImportError)
    ├── ExportError
    ├── ArchiveError                       an archived document's bundle cannot be read or written
    └── BackupError
        └── RestoreRejected

Facts stand in attributes; messages say what happened, to what, and what to do next. No message
carries a stored value, a parameter or a password (VAL-8, ERR).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "ArchiveError",
    "BackupError",
    "BrokenReference",
    "Conflict",
    "ConnectionLost",
    "Contention",
    "Duplicate",
    "DuplicateDocument",
    "ExportError",
    "Forbidden",
    "IllegalTransition",
    "InvalidField",
    "InvalidValue",
    "LockTimeout",
    "NotFound",
    "OnHold",
    "OutcomeUnknown",
    "PluginError",
    "PoolExhausted",
    "ReadOnly",
    "RestoreRejected",
    "ResultTooLarge",
    "SchemaOutdated",
    "StaleVersion",
    "StaleWrite",
    "StorageDamaged",
    "StorageError",
    "StorageFull",
    "Timeout",
    "Unavailable",
    "Unsupported",
]


class StorageError(Exception):
    """Root of the tree. ``retryable``: the same unit of work may succeed if it is run again."""

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross processes; the default would call ``__init__`` with the message alone.
        return _restored, (type(self), self.args), self.__dict__


class InvalidValue(StorageError, ValueError):
    """A value outside the value domain; the message names field and reason, never the value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InvalidField(StorageError, ValueError):
    """An unknown or unusable name (field, operator, order, option), with the nearest known one.

    What is no name at all is told by its type alone, and a name by its first 100 characters.
    """

    def __init__(
        self, name: object, reason: str = "is not known", known: Iterable[str] = ()
    ) -> None:
        self.field = str(name)[:100] if isinstance(name, str) else type(name).__name__
        self.suggestion = _nearest(self.field, list(known))
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        super().__init__(f"{self.field!r} {reason}{hint}")


class IllegalTransition(StorageError, ValueError):
    """The state of the record or session does not allow this."""


class NotFound(StorageError, LookupError):
    """No such record in this tenant, or it is deleted (DEL-5, TEN-1)."""

    def __init__(self, kind: str, id: object) -> None:
        super().__init__(f"{kind} {id} was not found")
        self.kind = kind
        self.id = id


class Conflict(StorageError):
    """Another writer was there first, or a key is taken."""


class StaleWrite(Conflict):
    """A row is not there any more, or is not in the state that the writer had read."""

    retryable = True

    def __init__(self, kind: str, id: int) -> None:
        super().__init__(f"{kind} {id} was changed by another writer; read it again and retry")
        self.kind = kind
        self.id = id


class StaleVersion(Conflict):
    """The version is not the document's head; ``current_id`` is (None: there is no head).

    ``root_id`` names the document: version 1.
    """

    retryable = True

    def __init__(
        self, document_id: int, current_id: int | None, root_id: int | None = None
    ) -> None:
        now = "it has no live version" if current_id is None else f"the head is {current_id}"
        super().__init__(f"document version {document_id} is not the current one: {now}")
        self.document_id = document_id
        self.current_id = current_id
        self.root_id = root_id


class Duplicate(Conflict):
    """A unique key is taken. ``fields`` names the key, never its value."""

    def __init__(self, kind: str, fields: Iterable[str]) -> None:
        self.kind = kind
        self.fields = tuple(fields)
        super().__init__(f"{kind}: another row has the same {', '.join(self.fields) or 'tenant'}")


class DuplicateDocument(Duplicate):
    """A live document of this client has exactly this text (DUP-1): ``existing_id``."""

    retryable = True

    def __init__(self, existing_id: int | None) -> None:
        super().__init__("documents", ("client_id", "content_hash"))
        self.existing_id = existing_id
        which = "a document" if existing_id is None else f"document {existing_id}"
        self.args = (
            f"{which} of this client has the same text; "
            'use it, or pass on_duplicate="return" or "allow"',
        )


class BrokenReference(Conflict):
    """A row refers to one that is not there, or was still referred to when it was deleted."""

    retryable = True

    def __init__(self, kind: str, field: str) -> None:
        super().__init__(f"{kind}.{field} refers to a row that does not exist")
        self.kind = kind
        self.field = field


class Contention(Conflict, TimeoutError):
    """Other writers won until the deadline; nothing of this unit of work was written."""

    retryable = True


class OnHold(StorageError, PermissionError):
    """A legal hold covers the record; ``hold`` names it (HLD-1)."""

    def __init__(self, hold: str) -> None:
        super().__init__(f"legal hold {hold!r} covers this record; release the hold first")
        self.hold = hold


class Unsupported(StorageError, NotImplementedError):
    """The selected backend does not offer this."""


class ResultTooLarge(StorageError, ValueError):
    """More rows than a list may hold; use ``iter()`` or ``limit()`` (QRY-7)."""


class Unavailable(StorageError):
    """The store does not answer, or is closed."""


class ConnectionLost(Unavailable, ConnectionError):
    """The connection broke; during a commit this error alone does not tell the outcome (TXN-5)."""

    retryable = True


class LockTimeout(Unavailable, TimeoutError):
    """Another writer held the lock for too long; nothing was written."""

    retryable = True


class Timeout(Unavailable, TimeoutError):
    """The operation took longer than its timeout."""


class PoolExhausted(Unavailable, TimeoutError):
    """All connections are in use; close sessions and streams, or raise the pool's size."""

    retryable = True


class OutcomeUnknown(Unavailable):
    """No answer to a commit until the deadline; ``storage.was_applied(receipt)`` tells (TXN-5)."""

    def __init__(self, receipt: int) -> None:
        super().__init__(
            "the store did not answer whether the commit was applied; "
            f"ask storage.was_applied({receipt}) once it answers again, before any retry"
        )
        self.receipt = receipt


class StorageFull(StorageError, OSError):
    """No space left; nothing was written."""


class ReadOnly(StorageError, PermissionError):
    """The store or the session is read-only."""


class StorageDamaged(StorageError):
    """The file or schema is not a sound loki-storage store."""


class Forbidden(StorageError, PermissionError):
    """Refused by an authorization hook or by the database's own rights."""


class SchemaOutdated(StorageError):
    """The store has another schema revision than this SDK; ``found`` and ``expected``."""

    def __init__(self, found: str | None, expected: str) -> None:
        action = "create it with open_storage(create=True) or run" if found is None else "run"
        super().__init__(
            f"the store has schema revision {found or 'none'}, this loki-storage needs {expected}; "
            f"{action} `loki-storage migrate up`"
        )
        self.found = found
        self.expected = expected


class PluginError(StorageError, ImportError):
    """A backend plugin is unknown, broken, ambiguous, or written for another protocol version."""


class ExportError(StorageError):
    """An export could not be completed; nothing stands under its final name."""


class ArchiveError(StorageError):
    """A bundle of the archive store is missing, altered or cannot be written; no row was lost."""


class BackupError(StorageError):
    """A backup could not be made or read."""


class RestoreRejected(BackupError):
    """The archive is altered, cut, foreign or too new; the target was not touched."""


def _restored(cls: type[StorageError], args: tuple[object, ...]) -> StorageError:
    error = cls.__new__(cls)
    error.args = args
    return error


def _nearest(name: str, known: list[str]) -> str | None:
    from difflib import get_close_matches  # only an error needs it

    return next(iter(get_close_matches(name, known, n=1)), None)
