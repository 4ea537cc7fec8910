"""Gate results: which findings a batch needs, and what it changes about results that are there."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from loki_storage.rows import Rows
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.findings import (
    CONTENT,
    REMEMBERED_FINDINGS,
    Content,
    ResultWriter,
    finding_id,
)
from loki_storage_sql.tables import FINDING_FIELDS, Schema
from loki_storage_sql.writer import Group, Stage

__all__ = ["Results"]


class Results(ResultWriter):
    """Knows what is stored only once it is committed: others' statements run at the same time."""

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        super().__init__(dialect, schema)
        self.finding_table: sa.Table = schema.gate_findings

    def findings(
        self, connection: Connection, rows: Rows[Any]
    ) -> tuple[list[int], Mapping[Content, int]]:
        """Each row's finding, and those findings that may have to be stored."""
        said = rows.combinations(FINDING_FIELDS)
        if said is None:
            return self._by_content(connection, rows)
        (tenant,) = rows.tenants
        ids = list(map(self._known[tenant].get, said))
        if None not in ids:
            return ids, {}  # type: ignore[return-value]
        found, new = self._by_content(connection, rows)
        if not new:
            self._note_known(tenant, dict(zip(said, found, strict=True)))
        return found, new

    def _by_content(
        self, connection: Connection, rows: Rows[Any]
    ) -> tuple[list[int], Mapping[Content, int]]:
        contents = list(zip(*map(rows.column, CONTENT), strict=True))
        ids = list(map(self._stored.get, contents))
        if None not in ids:
            return ids, {}  # type: ignore[return-value]
        key = self._store_key(connection)
        missing = {content for content, id in zip(contents, ids, strict=True) if id is None}
        new = {content: finding_id(key, orjson.dumps(content)) for content in missing}
        return [id or new[content] for content, id in zip(contents, ids, strict=True)], new

    def remember(self, findings: Mapping[Content, int]) -> None:
        """They are stored."""
        if len(self._stored) > REMEMBERED_FINDINGS:
            self._stored.clear()
        self._stored.update(findings)

    def change(
        self, connection: Connection, tenant: str, group: Group, operations: Sequence[Any]
    ) -> None:
        """Check, update or remove results, in a transaction that has locked them."""
        if group.is_by_id:
            self.delete_all(connection, tenant, operations)
            return
        operate: Any = {
            Stage.REQUIRE: self.require,
            Stage.DELETE: self.delete,
        }.get(group.stage, self.update)
        operate(connection, tenant, operations, group.guard)
