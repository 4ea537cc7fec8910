"""The log of exports: who took what out of the store, when, and where it lies."""

from datetime import datetime
from typing import ClassVar

from loki_storage.enums import EntityType
from loki_storage.models import ExportLog, Kind
from loki_storage.query import Compare, Condition, IsNull, Not, Order, equals
from loki_storage.repositories.base import DEFAULT_LIMIT, Repository
from loki_storage.rules import exports as rules
from loki_storage.rules.change import NO_CLIENT
from loki_storage.values import JsonValue

__all__ = ["ExportLogRepository"]


class ExportLogRepository(Repository[ExportLog]):
    """Export logs of the session's tenant; lists are newest first.

    ``ExportManager`` writes them along with the files; a host that exports in its own way may too.
    """

    kind: ClassVar[Kind] = ExportLog
    noun = "export"
    default_order: ClassVar[str] = "requested_at"

    def start(
        self,
        export_type: str,
        entity_type: EntityType | str,
        requested_by: str,
        client_id: str = NO_CLIENT,
        *,
        filters: JsonValue = None,
        fields: JsonValue = None,
        file_path: str | None = None,
        expires_at: datetime | None = None,
        id: int | None = None,
    ) -> ExportLog:
        """A pending log. ``id``: one of ``new_id``, where the file's name needs it before."""
        log = ExportLog(
            id=self.new_id() if id is None else id,
            tenant_id=self._session.tenant,
            export_type=export_type,
            entity_type=entity_type,
            filters=filters,
            fields=fields,
            file_path=file_path,
            requested_by=requested_by,
            client_id=client_id,
            requested_at=self._session.now(),
            expires_at=expires_at,
        )
        self._session.add(rules.start(log))
        return log

    def complete(self, id: int, *, record_count: int, file_size: int, file_hash: str) -> ExportLog:
        """The file is whole; its size in bytes. ``IllegalTransition`` unless it is pending."""
        change = rules.complete(
            self._stored(id),
            record_count=record_count,
            file_size=file_size,
            file_hash=file_hash,
            now=self._session.now(),
        )
        self._session.add(change)
        return self._updated(id)

    def fail(self, id: int, error_message: str) -> ExportLog:
        """The export came to nothing, and why. ``IllegalTransition`` unless it is pending."""
        self._session.add(rules.fail(self._stored(id), error_message, self._session.now()))
        return self._updated(id)

    def forget_file(self, id: int) -> ExportLog:
        """The file is gone; the log stays. Without a file nothing changes."""
        log = self._stored(id)
        if log.file_path is None:
            return log
        self._session.add(rules.forget_file(log))
        return self._updated(id)

    def get_history(
        self, client_id: str | None = None, limit: int = DEFAULT_LIMIT, offset: int = 0
    ) -> list[ExportLog]:
        """Exports, newest first, of one client or of all."""
        query = self._query(*_of(client_id), order=(Order("requested_at", True),))
        return self._list(query.evolve(limit=limit, offset=offset))

    def get_expired(self, client_id: str | None = None) -> list[ExportLog]:
        """Completed exports whose file is to be removed by now, of one client or of all."""
        return self._list(
            self._query(
                *_of(client_id),
                equals(status=rules.COMPLETED),
                Compare("expires_at", "le", self._session.now()),
                Not(IsNull("file_path")),
            )
        )

    def get_pending(self) -> list[ExportLog]:
        """Exports that run, or were left behind by a process that is gone."""
        return self._list(self._query(equals(status=rules.PENDING)))

    def new_id(self) -> int:
        """A fresh id for ``start``."""
        return self._new_id()


def _of(client_id: str | None) -> tuple[Condition, ...]:
    return () if client_id is None else (equals(client_id=client_id),)
