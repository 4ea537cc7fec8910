"""The rows in memory: what the entries of a log add up to, and what is asked of them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs

from loki_storage.matching import evaluate
from loki_storage.models import KINDS, Kind, Record
from loki_storage.protocol import Reader
from loki_storage.query import InQuery, Query
from loki_storage.values import Domain, Json, JsonText, Time, Word

__all__ = ["Rows", "TenantRows"]


class Rows(Reader):
    """All rows, by kind and id. ``unknown`` keeps what a later version wrote beside (PLG-2)."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, Record]] = {table: {} for table in KINDS}
        self.unknown: dict[tuple[str, int], dict[str, Any]] = {}
        self.next_ids: dict[str, int] = {}
        self.superseded = 0

    def copy(self) -> "Rows":
        """The same rows, whatever comes: records never change."""
        copy = Rows()
        copy.tables = {table: dict(rows) for table, rows in self.tables.items()}
        return copy

    def select(self, query: Query) -> Iterator[Any]:
        return iter(evaluate(query, self.tables[query.kind.table].values(), self._members))

    def _members(self, condition: InQuery) -> set[tuple[str, object]]:
        found = self.select(condition.query)
        return {(record.tenant_id, record.stored(condition.its_field)) for record in found}

    def entry(self, changes: list[Record | tuple[Kind, int]]) -> dict[str, Any]:
        """What the log keeps of a sound batch."""
        put = [self._fields(change) for change in changes if isinstance(change, Record)]
        removed = [change for change in changes if not isinstance(change, Record)]
        return {"put": put, "remove": [(kind.table, id) for kind, id in removed]}

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries that bring about these rows, without what they superseded."""
        yield {"next_ids": self.next_ids}
        for rows in self.tables.values():
            yield from ({"put": [self._fields(record)]} for record in rows.values())
        for (table, id), fields in self.unknown.items():
            if table not in self.tables:
                yield {"put": [(table, id, fields)]}

    def replay(self, entry: dict[str, Any]) -> None:
        """Take in an entry of the log."""
        self.next_ids |= entry.get("next_ids", {})
        for table, id, fields in entry.get("put", ()):
            self._remove(table, id)
            domains = KINDS[table].domains if table in KINDS else {}
            if domains:
                self.tables[table][id] = _record(KINDS[table], fields)
            if unknown := {name: fields[name] for name in fields if name not in domains}:
                self.unknown[table, id] = unknown
        for table, id in entry.get("remove", ()):
            self._remove(table, id)

    def _remove(self, table: str, id: int) -> None:
        self.superseded += self.tables.get(table, {}).pop(id, None) is not None
        self.unknown.pop((table, id), None)

    def _fields(self, record: Record) -> tuple[str, int, dict[str, Any]]:
        fields = {name: _written(record.stored(name)) for name in record.domains}
        key = record.table, record.id
        return (*key, fields | self.unknown.get(key, {}))


@attrs.frozen
class TenantRows:
    """What ``batch.check`` asks about the rows of one tenant."""

    tables: Mapping[str, Mapping[int, Record]]
    tenant: str

    def get(self, kind: Kind, id: int) -> Record | None:
        record = self.tables[kind.table].get(id)
        return record if record is not None and record.tenant_id == self.tenant else None

    def taken(self, kind: Kind, id: int) -> bool:
        return id in self.tables[kind.table]

    def find(self, kind: Kind, fields: Mapping[str, object]) -> Iterator[Record]:
        for record in self.tables[kind.table].values():
            if record.tenant_id == self.tenant and all(
                record.stored(name) == value for name, value in fields.items()
            ):
                yield record


def _record(kind: Kind, fields: Mapping[str, Any]) -> Record:
    """By field name; a field that an earlier version did not write has its default (PLG-2)."""
    values = {each.alias: each.default for each in attrs.fields(kind)}
    values |= {name: _read(kind.domains[name], fields[name]) for name in values if name in fields}
    record: Record = kind.trusted(*(values[name] for name in kind.domains))
    return record


def _written(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(domain: Domain, value: Any) -> Any:
    if value is None:
        return None
    match domain:
        case Time():
            return datetime.fromisoformat(value)
        case Json():
            return JsonText(value)
        case Word():
            return domain.member(value)
    return value
