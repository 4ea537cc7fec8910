"""What retention must know of a record set: its members, their times, what is anonymized.

A set is a document with all that hangs on it: versions, validations, corrections. Texts are not
read for it; a store of large documents is decided upon without touching one.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import Any

import attrs

from loki_storage.enums import CorrectionStatus, RetentionTrigger, ValidationStatus
from loki_storage.models import Chain, Correction, Document, Kind, Validation
from loki_storage.values import JsonText, parse

__all__ = ["ANONYMIZED", "FIELDS", "Member", "RecordSet", "placeholder", "token_hash"]

ANONYMIZED = "anonymized"
"""The key that an anonymized record's JSON keeps, with a token that its hash is made of."""

Times = Mapping[str, datetime]

FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Document: (
        *("id", "root_id", "created_at", "updated_at", "metadata_json", "content_hash"),
        *("version", "deleted_at", "title", "description", "source", "user_id"),
    ),
    Validation: (
        *("id", "document_id", "created_at", "completed_at", "config", "request_hash"),
        *("status", "user_id"),
    ),
    Correction: (
        *("id", "document_id", "created_at", "updated_at", "metadata_json", "validation_id"),
        *("status", "reasoning"),
    ),
}
"""What is read of a member; the first six mean the same in every kind."""

_OPEN = {ValidationStatus.PENDING, ValidationStatus.IN_PROGRESS, CorrectionStatus.PENDING}


@attrs.frozen
class Member:
    """A row of a set: its id, the id that it hangs on, its times, and its JSON as it is stored."""

    kind: Kind
    id: int
    parent: int
    created_at: datetime
    changed_at: datetime | None
    json: JsonText | None = attrs.field(repr=False)
    proof: object = attrs.field(repr=False)
    """The hash that an anonymized row has made of its token."""
    rest: tuple[Any, ...] = attrs.field(repr=False)
    """What else was read, in the order of ``FIELDS``."""

    @classmethod
    def of(cls, kind: Kind, row: Sequence[Any]) -> "Member":
        id, parent, created, changed, json, proof, *rest = row
        return cls(kind, id, parent, created, changed, json, proof, tuple(rest))

    @property
    def version(self) -> int:
        return int(self.rest[0])

    @property
    def deleted_at(self) -> datetime | None:
        found: datetime | None = self.rest[1]
        return found

    @property
    def updated_at(self) -> datetime:
        return self.changed_at or self.created_at

    @property
    def anonymized(self) -> bool:
        """Whether nothing is left to anonymize, as far as the row itself tells."""
        token = _object(self.json).get(ANONYMIZED)
        if not isinstance(token, str) or any(value is not None for value in self._texts):
            return False
        if self.kind is Document:
            return self.proof == sha256(placeholder(token).encode()).hexdigest()
        if self.kind is Validation:
            return self.rest[0] not in _OPEN and self.proof == token_hash(token)
        return self.rest[0] not in _OPEN

    @property
    def _texts(self) -> tuple[Any, ...]:
        return self.rest[2:] if self.kind is Document else self.rest[1:]

    def events(self) -> Iterator[tuple[str, datetime]]:
        """The named events with a date that stand with the row; what is no date is none."""
        events = _object(self.json).get("events")
        for name, value in events.items() if isinstance(events, dict) else ():
            moment = _moment(value)
            if moment is not None:
                yield name, moment


@attrs.frozen
class RecordSet:
    """A document with all its versions (ascending), validations and corrections."""

    chain: Chain
    versions: tuple[Member, ...]
    validations: tuple[Member, ...] = ()
    corrections: tuple[Member, ...] = ()

    @property
    def members(self) -> tuple[Member, ...]:
        return (*self.versions, *self.validations, *self.corrections)

    def member(self, kind: Kind, id: int) -> Member:
        """The validation or correction of this id."""
        return next(m for m in self.members if m.kind is kind and m.id == id)

    @property
    def anonymized(self) -> bool:
        return all(member.anonymized for member in self.members)

    def times(self) -> Times:
        """When each trigger happened to the set as a whole (RET-1)."""
        newest, members = self.versions[-1], self.members
        created = max([member.created_at for member in members])
        found: dict[str, datetime] = {
            **dict(newest.events()),
            RetentionTrigger.CREATED: created,
            RetentionTrigger.UPDATED: max(
                [created, *(m.changed_at for m in members if m.changed_at)]
            ),
        }
        for builtin in (RetentionTrigger.SUPERSEDED, RetentionTrigger.DELETED):
            found.pop(builtin, None)
        if newest.version > 1:
            found[RetentionTrigger.SUPERSEDED] = newest.created_at
        if not self.chain.live:
            found[RetentionTrigger.DELETED] = max(
                v.deleted_at or v.created_at for v in self.versions
            )
        return found

    def times_of(self, member: Member) -> Times:
        """When each trigger happened to one validation or correction."""
        found: dict[str, datetime] = {
            **dict(member.events()),
            RetentionTrigger.CREATED: member.created_at,
            RetentionTrigger.UPDATED: max(member.created_at, member.updated_at),
        }
        for builtin in (RetentionTrigger.SUPERSEDED, RetentionTrigger.DELETED):
            found.pop(builtin, None)
        if not self.chain.live:
            found[RetentionTrigger.DELETED] = self.times()[RetentionTrigger.DELETED]
        return found


def placeholder(token: str) -> str:
    """The content of an anonymized document: no two are equal, so none is a duplicate (DUP-5)."""
    return f"[anonymized {token}]"


def token_hash(token: str) -> str:
    """What an anonymized validation has for a request hash."""
    return sha256(f"anonymized request {token}".encode()).hexdigest()


def _object(text: JsonText | None) -> dict[str, Any]:
    if text is None:
        return {}
    value = parse(text)
    return value if isinstance(value, dict) else {}


def _moment(value: object) -> datetime | None:
    """A date (00:00 UTC) or an aware time in ISO form; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        if len(value) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(value), time(), UTC)
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
