"""Tags: labels with unique names, on documents as a whole."""

from collections.abc import Sequence
from typing import Any, ClassVar

from loki_storage.authorization import not_an_operation
from loki_storage.errors import Duplicate
from loki_storage.models import DocumentTag, Kind, Tag
from loki_storage.query import In, Order, equals
from loki_storage.repositories import races
from loki_storage.repositories.base import Repository
from loki_storage.rules import tags as rules

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
        tag = self._stored(id)
        change = rules.update(tag, **fields)
        if "name" in fields:
            self._check_free(tag.evolve(name=fields["name"]))
        self._session.check_known(tag, fields)
        if change is not None:
            self._session.add(change)
        return self._updated(id)

    def delete(self, id: int) -> None:
        """Remove a tag and its links (TAG-2)."""
        tag = self._stored(id)
        links = self._session.query(DocumentTag, equals(tag_id=id))
        self._session.add(rules.delete(tag, list(self._session.select(links))))

    def list_with_counts(self) -> list[tuple[Tag, int]]:
        """Every tag, by name, with the number of documents that have it."""
        links = self._session.query(DocumentTag)
        counts = {g.key[0]: g.values[0] for g in self._session.aggregate(links, ["tag_id"])}
        tags = self._list(self._query(order=(Order("name"),)))
        return [(tag, counts.get(tag.id, 0)) for tag in tags]

    def of_name(self, name: str) -> Tag | None:
        """The tag of this name, read as part of an operation."""
        return next(iter(self._session.select(self._query(equals(name=name)))), None)

    def named(self, name: str) -> tuple[Tag, bool]:
        """The tag of this name, created where there is none, and whether it was there."""
        known = self.of_name(name)
        if known is not None:
            return known, True
        tag = self._new(name)
        self._session.add(rules.create(tag), races.tag_there(self._session, tag))
        return tag, False

    @not_an_operation
    def all_named(self, names: Sequence[str]) -> dict[str, int]:
        """The ids of the tags of these names, in one read; created where there is none."""
        for name in names:
            Tag.domains["name"].accept("tags", name)
        found = self._session.select(self._query(In("name", names))) if names else ()
        ids = {tag.name: tag.id for tag in found}
        for name in names:
            if name not in ids:
                tag = self._new(name)
                self._session.add(rules.create(tag), races.tag_there(self._session, tag))
                ids[name] = tag.id
        return ids

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
