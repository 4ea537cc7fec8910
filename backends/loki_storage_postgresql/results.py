"""Gate results: which findings a batch needs, and what it changes about results that are there."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from loki_storage.batch import Guarded
from loki_storage.rows import Rows
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.findings import REMEMBERED_FINDINGS, ResultWriter, finding_id
from loki_storage_sql.tables import FINDING_FIELDS, Schema
from loki_storage_sql.writer import Group, Stage

__all__ = ["Results"]


class Results(ResultWriter):
    """Knows what is stored only once it is committed: others' statements run at the same time."""

    finding_columns = ("id", "tenant_id", *FINDING_FIELDS)

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        super().__init__(dialect, schema)
        self.finding_table: sa.Table = schema.gate_findings

    def findings(
        self, connection: Connection, rows: Rows[Any]
    ) -> tuple[list[int], Mapping[bytes, int]]:
        """Each row's finding, and those findings that may have to be stored."""
        said = zip(*map(rows.column, ("tenant_id", *FINDING_FIELDS)), strict=True)
        texts = list(map(orjson.dumps, said))
        stored, known = self._stored, {}
        new: dict[bytes, int] = {}
        for text in dict.fromkeys(texts):
            id = stored.get(text)
            if id is None:
                id = new[text] = finding_id(self._store_key(connection), text)
            known[text] = id
        return [known[text] for text in texts], new

    def remember(self, findings: Mapping[bytes, int]) -> None:
        """They are stored."""
        if len(self._stored) > REMEMBERED_FINDINGS:
            self._stored.clear()
        self._stored.update(findings)

    def change(
        self, connection: Connection, tenant: str, group: Group, operations: Sequence[Guarded]
    ) -> None:
        """Check, update or remove results, in a transaction that has locked them."""
        operate: Any = {
            Stage.REQUIRE: self.require,
            Stage.DELETE: self.delete,
        }.get(group.stage, self.update)
        operate(connection, tenant, operations, group.guard)
