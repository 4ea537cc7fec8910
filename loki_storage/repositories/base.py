"""What all repositories have: reads by id, by field and in pages, audited where asked (AUD-4)."""

from typing import Any, ClassVar, Generic, TypeVar

from loki_storage.authorization import Operations
from loki_storage.errors import InvalidField, NotFound
from loki_storage.models import Kind, Record
from loki_storage.query import And, Condition, Order, Query, all_of, equals
from loki_storage.query_builder.reading import listed, listed_together
from loki_storage.query_builder.visibility import visible
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["DEFAULT_LIMIT", "Repository"]

DEFAULT_LIMIT = 100
R = TypeVar("R", bound=Record)


class Repository(Operations, Generic[R]):
    """Reads and writes of one kind in a session."""

    kind: ClassVar[Kind]
    noun: ClassVar[str]
    default_order: ClassVar[str] = "created_at"

    def __init__(self, session: UnitOfWork) -> None:
        self._session = session
        self._obey(session._authority)

    def _actions(self, name: str, arguments: tuple[object, ...]) -> tuple[str, ...]:
        return (f"{self.kind.table}.{name}",)

    def get_by_id(self, id: int, include_deleted: bool = False) -> R | None:
        """The record, or None where it is unknown, another tenant's, or deleted (DEL-2)."""
        where = all_of(equals(id=id), And(()) if include_deleted else self._visible())
        return self._first(self._query(where))

    def exists(self, id: int) -> bool:
        """Whether ``get_by_id`` would find it."""
        return self._session.exists(self._query(all_of(equals(id=id), self._visible())))

    def count(self, **filters: Any) -> int:
        """How many records have these field values."""
        return self._session.count(self._filtered(filters))

    def filter_by(self, **filters: Any) -> list[R]:
        """Up to 100 records that have these field values, newest first."""
        return self._list(self._filtered(filters).evolve(limit=DEFAULT_LIMIT))

    def get_all(
        self,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        order_by: str | None = None,
        ascending: bool = False,
        **filters: Any,
    ) -> list[R]:
        """A page of records (QRY-7)."""
        order = Order(order_by or self.default_order, not ascending)
        query = self._filtered(filters).evolve(order=(order,), limit=limit, offset=offset)
        return self._list(query)

    def _visible(self) -> Condition:
        """What a default read may show (DEL-1, DEL-2)."""
        return visible(self.kind, self._session.tenant)

    def _query(self, *conditions: Condition, **parts: Any) -> Query:
        return self._session.query(self.kind, all_of(*conditions), **parts)

    def _filtered(self, filters: dict[str, Any]) -> Query:
        for name in filters:
            if name not in self.kind.domains:
                raise InvalidField(name, f"is not a field of {self.kind.table}", self.kind.domains)
        newest = Order(self.default_order, True)
        return self._query(equals(**filters), self._visible(), order=(newest,))

    def _list(self, query: Query) -> list[Any]:
        """The query's records, handed out once the read is audited, if it is to be (AUD-4)."""
        return listed(self._session, query)

    def _lists(self, *queries: Query) -> list[list[Any]]:
        """The records of several queries in one round trip; the first one is what the read is."""
        return listed_together(self._session, *queries)

    def _first(self, query: Query) -> R | None:
        return next(iter(self._list(query.evolve(limit=1))), None)

    def _stored(self, id: int) -> R:
        """What an operation is about, deleted or not; reading it is part of the operation."""
        return self._found(self._session.get(self.kind, id), id)  # type: ignore[arg-type]

    def _updated(self, id: int) -> R:
        """An updated record as the session sees it, on which the next update may build."""
        record = self._stored(id)
        self._session.hand_out([record])
        return record

    def _found(self, record: R | None, id: int) -> R:
        if record is None:
            raise NotFound(self.noun, id)
        return record

    def _new_id(self) -> int:
        return self._session.new_ids({self.kind: 1})[self.kind][0]
