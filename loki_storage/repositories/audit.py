"""The audit trail: what was done, by whom, to what, when."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from itertools import islice
from typing import Any, ClassVar

from loki_storage.authorization import not_an_operation
from loki_storage.enums import AuditAction, EntityType
from loki_storage.errors import InvalidValue
from loki_storage.models import AuditEntry, Document, Kind
from loki_storage.protocol import Day
from loki_storage.query import Compare, Condition, In, Order, equals
from loki_storage.query_builder import AuditQueryBuilder
from loki_storage.query_builder.dates import (
    Moment,
    days_before,
    hours_before,
    last_days,
    midnight,
    within,
)
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.rules import audit as rules
from loki_storage.rules.change import NO_CLIENT
from loki_storage.values import JsonValue

__all__ = ["AuditRepository"]

TOP_ACTORS = 10


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

    def get_recent(
        self,
        client_id: str | None = None,
        hours: int = 24,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> list[AuditEntry]:
        """What was done in the last hours (0 to 876,000), about one client or all."""
        since = hours_before(self._session.now(), hours)
        return self._page([*_client(client_id), Compare("timestamp", "ge", since)], limit, offset)

    def search(
        self,
        action: AuditAction | str | None = None,
        entity_type: EntityType | str | None = None,
        entity_id: int | None = None,
        actor_id: str | None = None,
        client_id: str | None = None,
        request_id: str | None = None,
        start_date: Moment | None = None,
        end_date: Moment | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> list[AuditEntry]:
        """Entries that match all that is given; days are UTC days, the end included."""
        given = {
            "action": action,
            "entity_type": entity_type,
            "entity_id": entity_id,
            "actor_id": actor_id,
            "client_id": client_id,
            "request_id": request_id,
        }
        wanted = equals(**{name: value for name, value in given.items() if value is not None})
        return self._page([wanted, *within("timestamp", start_date, end_date)], limit, offset)

    def get_statistics(self, client_id: str | None = None, days: int = 30) -> dict[str, Any]:
        """What was done in the last ``days`` times 24 hours; two statements.

        ``{"period_days", "total_actions", "by_action": {action: n}, "by_entity_type": {type: n},
        "top_actors": [{"actor_id", "actions"}]}``, the ten busiest first.
        """
        since = Compare("timestamp", "ge", days_before(self._session.now(), days))
        query = self._query(*_client(client_id), since)
        by_action: dict[str, int] = {}
        by_type: dict[str, int] = {}
        for group in self._session.aggregate(query, ["action", "entity_type"]):
            action, entity_type = map(str, group.key)
            by_action[action] = by_action.get(action, 0) + group.values[0]
            by_type[entity_type] = by_type.get(entity_type, 0) + group.values[0]
        actors = self._session.aggregate(query, ["actor_id"])
        busiest = sorted(actors, key=lambda group: -group.values[0])[:TOP_ACTORS]
        return {
            "period_days": days,
            "total_actions": sum(by_action.values()),
            "by_action": by_action,
            "by_entity_type": by_type,
            "top_actors": [{"actor_id": g.key[0], "actions": g.values[0]} for g in busiest],
        }

    def get_activity_timeline(
        self, client_id: str | None = None, days: int = 7
    ) -> list[dict[str, Any]]:
        """Actions per UTC day, oldest first, empty days included: ``{"date", "actions"}``."""
        listed = last_days(self._session.now().date(), days)
        query = self._query(*_client(client_id), Compare("timestamp", "ge", midnight(listed[0])))
        per_day: dict[date, dict[str, int]] = defaultdict(dict)
        for group in self._session.aggregate(query, [Day("timestamp"), "action"]):
            day, action = group.key
            per_day[day][str(action)] = group.values[0]  # type: ignore[index]
        return [{"date": day, "actions": per_day.get(day, {})} for day in listed]

    def cleanup_old_entries(self, retention_days: int = 365, batch_size: int = 1000) -> int:
        """Remove entries before 00:00 UTC of (today - ``retention_days``); the number removed.

        Each batch is a commit of its own, itself audited with range, count and digest. Refused:
        anything outside 1..36,500 days and 1..10,000 entries a batch (AUD-3, TXN-9). Entries about
        what a hold covers, and about the hold itself, stay (HLD-1), and so does what an active
        minimum for ``audit`` keeps (RET-2).
        """
        from loki_storage.repositories.disposing import (
            oldest_entries,
            remove_entries,
        )  # most never do

        rules.check_cleanup(retention_days, batch_size)
        unit = AuditRepository(self._session.fresh())
        now = self._session.now()
        before = rules.cleanup_limit(now, retention_days)
        removed, last = 0, None
        while old := oldest_entries(unit._session, before, batch_size, last):
            removed += remove_entries(unit._session, old, before)
            last = (old[-1].timestamp, old[-1].id)
        return removed

    def _page(self, conditions: Iterable[Condition], limit: int, offset: int) -> list[AuditEntry]:
        query = self._query(*conditions, order=(Order("timestamp", True),))
        return self._list(query.evolve(limit=limit, offset=offset))

    def _roots(self, document_id: int) -> list[int]:
        """The chain's root id; of a version that is gone the one that the trail tells (AUD-1)."""
        _require("document_id", document_id)
        document = self._session.get(Document, document_id)
        if document is not None:
            return [document.root_id]
        gone = In("action", (AuditAction.PURGE, AuditAction.ARCHIVE))
        taken = self._query(gone, equals(entity_type=EntityType.DOCUMENT))
        told = (entry for entry in self._session.select(taken) if _tells(entry, document_id))
        return [document_id, *(entry.document_id for entry in islice(told, 1))]


def _require(name: str, id: object) -> None:
    """None would ask for the entries that are about none."""
    if id is None:
        raise InvalidValue(name, "is required")


def _tells(entry: AuditEntry, document_id: int) -> bool:
    """Whether an entry tells of this document version."""
    rows: Any = (entry.changes or {}).get("rows", ())
    ranges = [ids for row in rows if row["kind"] == Document.table for ids in row["ids"]]
    return any(first <= document_id <= last for first, last in ranges)


def _client(client_id: str | None) -> list[Condition]:
    return [] if client_id is None else [equals(client_id=client_id)]
