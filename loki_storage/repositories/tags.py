"""Tags: labels with unique names, on documents as a whole."""

from typing import Any, ClassVar

import attrs

from loki_storage.batch import Batch, Insert, Operation
from loki_storage.errors import Conflict, Duplicate
from loki_storage.models import AuditEntry, DocumentTag, EntityType, Kind, Tag
from loki_storage.query import Order, equals
from loki_storage.repositories.base import Repository
from loki_storage.rules import tags as rules
from loki_storage.unit_of_work import Lost

__all__ = ["TagRepository"]


class TagRepository(Repository[Tag]):
    """Tags of the session's tenant."""

    kind: ClassVar[Kind] = Tag
    noun = "tag"

    def create(
        self,
        name: str,
        description: str | None = None,
        category: str | None = None,
        color: str | None = None,
    ) -> Tag:
        """A new tag; ``Duplicate`` where the name is taken (TAG-1). ``color`` is ``#rrggbb``."""
        tag = self._new(name, description=description, category=category, color=color)
        self._check_free(tag)
        self._session.add(rules.create(tag))
        return tag

    def get(self, id: int) -> Tag | None:
        """The tag of this id."""
        return self.get_by_id(id)

    def get_by_name(self, name: str) -> Tag | None:
        """The tag of exactly this name."""
        return self._first(self._query(equals(name=name)))

    def update(self, id: int, **fields: Any) -> Tag:
        """Change name, description, category or color."""
        tag = self._found(self.get_by_id(id), id)
        if "name" in fields:
            self._check_free(tag.evolve(name=fields["name"]))
        change = rules.update(tag, **fields)
        if change is not None:
            self._session.add(change)
        return self._found(self.get_by_id(id), id)

    def delete(self, id: int) -> None:
        """Remove a tag and its links (TAG-2)."""
        tag = self._found(self.get_by_id(id), id)
        links = self._session.query(DocumentTag, equals(tag_id=id))
        self._session.add(rules.delete(tag, list(self._session.select(links))))

    def list_with_counts(self) -> list[tuple[Tag, int]]:
        """Every tag, by name, with the number of documents that have it."""
        links = self._session.query(DocumentTag)
        counts = {g.key[0]: g.values[0] for g in self._session.aggregate(links, ["tag_id"])}
        tags = self._list(self._query(order=(Order("name"),)))
        return [(tag, counts.get(tag.id, 0)) for tag in tags]

    def named(self, name: str) -> tuple[Tag, bool]:
        """The tag of this name, created where there is none, and whether it was there."""
        tag = self.get_by_name(name)
        if tag is not None:
            return tag, True
        tag = self._new(name)
        self._session.add(rules.create(tag), self._joins_winner(tag))
        return tag, False

    def _new(self, name: str, **fields: Any) -> Tag:
        return Tag(
            id=self._new_id(),
            tenant_id=self._session.tenant,
            name=name,
            created_at=self._session.now(),
            **fields,
        )

    def _check_free(self, tag: Tag) -> None:
        """No other tag has the name, in the session's view or in the store (BAT-3)."""
        for holder in self._session.both_views(self._query(equals(name=tag.name))):
            if holder.id != tag.id:
                raise Duplicate(Tag.table, ("name",))

    def _joins_winner(self, tag: Tag) -> Lost:
        """Where another writer created the name first, the links go to that tag (TXN-7)."""

        def lost(error: Conflict, batch: Batch) -> Batch | None:
            if not (isinstance(error, Duplicate) and error.kind == Tag.table):
                return None
            winner = self.get_by_name(tag.name)
            return None if winner is None else _relinked(batch, tag.id, winner.id)

        return lost


def _relinked(batch: Batch, loser: int, winner: int) -> Batch:
    """The batch without the tag that lost, its links moved to the one that won."""
    moved = (_moved(operation, loser, winner) for operation in batch.operations)
    return attrs.evolve(batch, operations=[operation for operation in moved if operation])


def _moved(operation: Operation, loser: int, winner: int) -> Operation | None:
    match operation:
        case Insert(Tag(id=id)) if id == loser:
            return None
        case Insert(AuditEntry(entity_type=EntityType.TAG, entity_id=id)) if id == loser:
            return None
        case Insert(DocumentTag(tag_id=id) as link) if id == loser:
            return Insert(link.evolve(tag_id=winner))
    return operation
