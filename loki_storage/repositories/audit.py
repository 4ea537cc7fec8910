"""The audit trail: what was done, by whom, to what, when."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar

from loki_storage.authorization import not_an_operation
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import InvalidValue
from loki_storage.models import AuditEntry, Document, Kind
from loki_storage.protocol import Day
from loki_storage.query import Compare, Condition, In, Order, equals
from loki_storage.query_builder import AuditQueryBuilder
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.rules import audit as rules
from loki_storage.rules.change import NO_CLIENT
from loki_storage.values import Integer, JsonValue

__all__ = ["AuditRepository"]


class AuditRepository(Repository[AuditEntry]):
    """Audit entries of the session's tenant; lists are newest first."""

    kind: ClassVar[Kind] = AuditEntry
    noun = "audit entry"
    default_order: ClassVar[str] = "timestamp"

    def log(
        self,
        action: str,
        entity_type: str,
        entity_id: int | None = None,
        client_id: str = NO_CLIENT,
        document_id: int | None = None,
        validation_id: int | None = None,
        metadata: JsonValue = None,
    ) -> None:
        """An event of the application's own, by the session's actor, with the next commit."""
        self._session.add(
            rules.event(
                action, entity_type, entity_id, client_id, document_id, validation_id, metadata
            )
        )

    @not_an_operation
    def query(self) -> AuditQueryBuilder:
        """Entries by any condition, in any order."""
        return AuditQueryBuilder(self._session)

    def get_by_actor(
        self, actor_id: str, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[AuditEntry]:
        """What this actor did."""
        return self._page([equals(actor_id=actor_id)], limit, offset)

    def get_by_entity(
        self,
        entity_type: EntityType | str,
        entity_id: int | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> list[AuditEntry]:
        """What was done to entities of a type, or to one of them."""
        one = [] if entity_id is None else [equals(entity_id=entity_id)]
        return self._page([equals(entity_type=entity_type), *one], limit, offset)

    def get_by_action(
        self, action: AuditAction | str, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[AuditEntry]:
        """Every time that this was done."""
        return self._page([equals(action=action)], limit, offset)

    def get_by_document(
        self, document_id: int, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[AuditEntry]:
        """What was done to this version's document, its validations and its corrections."""
        return self._page([In("document_id", self._roots(document_id))], limit, offset)

    def get_by_validation(
        self, validation_id: int, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[AuditEntry]:
        """What was done to a validation, and to corrections that came of it."""
        _require("validation_id", validation_id)
        return self._page([equals(validation_id=validation_id)], limit, offset)

    def get_by_request(
        self, request_id: str, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[AuditEntry]:
        """What one request did."""
        return self._page([equals(request_id=request_id)], limit, offset)

    def get_activity_timeline(
        self, client_id: str | None = None, days: int = 7
    ) -> list[dict[str, Any]]:
        """Actions per UTC day, oldest first, empty days included: ``{"date", "actions"}``."""
        Integer(1, 3_660).accept("days", days)
        today = self._session.now().date()
        first = today - timedelta(days=days - 1)
        since = Compare("timestamp", "ge", _midnight(first))
        client = [] if client_id is None else [equals(client_id=client_id)]
        query = self._query(since, *client)
        per_day: dict[date, dict[str, int]] = defaultdict(dict)
        for group in self._session.aggregate(query, [Day("timestamp"), "action"]):
            day, action = group.key
            per_day[day][str(action)] = group.values[0]  # type: ignore[index]
        listed = [first + timedelta(days=n) for n in range((today - first).days + 1)]
        return [{"date": day, "actions": per_day.get(day, {})} for day in listed]

    def cleanup_old_entries(self, retention_days: int = 365, batch_size: int = 1000) -> int:
        """Remove entries before 00:00 UTC of (today - ``retention_days``); the number removed.

        Each batch is a commit of its own, itself audited with range, count and digest. Refused:
        anything outside 1..36,500 days and 1..10,000 entries a batch (AUD-3, TXN-9).
        """
        rules.check_cleanup(retention_days, batch_size)
        unit = AuditRepository(self._session.fresh())
        now = self._session.now()
        before = rules.cleanup_limit(now, retention_days)
        removed = 0
        while old := unit._oldest(before, batch_size):
            unit._session.add(rules.cleanup(old, before))
            unit._session.commit()
            removed += len(old)
        return removed

    def _page(self, conditions: Iterable[Condition], limit: int, offset: int) -> list[AuditEntry]:
        query = self._query(*conditions, order=(Order("timestamp", True),))
        return self._list(query.evolve(limit=limit, offset=offset))

    def _roots(self, document_id: int) -> list[int]:
        """The chain's root id; of a purged version the one that its purge tells of (AUD-1)."""
        _require("document_id", document_id)
        document = self._session.get(Document, document_id)
        if document is not None:
            return [document.root_id]
        purges = self._query(equals(action=AuditAction.PURGE, entity_type=EntityType.DOCUMENT))
        told = (entry for entry in self._session.select(purges) if _tells(entry, document_id))
        return [document_id, *(entry.document_id for entry in islice(told, 1))]

    def _oldest(self, before: datetime, limit: int) -> list[AuditEntry]:
        query = self._query(
            Compare("timestamp", "lt", before), order=(Order("timestamp"),), limit=limit
        )
        return list(self._session.select(query))


def _require(name: str, id: object) -> None:
    """None would ask for the entries that are about none."""
    if id is None:
        raise InvalidValue(name, "is required")


def _tells(entry: AuditEntry, document_id: int) -> bool:
    """Whether an entry tells of this document version."""
    rows: Any = (entry.changes or {}).get("rows", ())
    ranges = [ids for row in rows if row["kind"] == Document.table for ids in row["ids"]]
    return any(first <= document_id <= last for first, last in ranges)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
