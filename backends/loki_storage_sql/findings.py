"""Gate results as findings and facts: each combination of what gates say is kept once per tenant.

``validation_results`` is a view; only this module knows the two tables behind it. A finding's id
is 63 bits of a BLAKE2b of its content, keyed with the store's own key, so a finding is written
with insert-or-ignore, without a read. A finding goes with the last result that points at it.

A process does not write again what it has seen written. Should the finding be gone by then, the
reference from the result breaks, and the batch is applied again with everything forgotten.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any

import attrs
import orjson
import sqlalchemy as sa

from loki_storage.batch import Delete, Update
from loki_storage.errors import StorageDamaged
from loki_storage.models import ValidationResult
from loki_storage.rows import Combination, Rows
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.row_writer import (
    ID,
    Fields,
    Rejected,
    RowWriter,
    among_ids,
    insert_of,
    update_text,
)
from loki_storage_sql.tables import FINDING_FIELDS, RESULT_FIELDS, Schema, schema_for

__all__ = ["CONTENT", "Content", "ResultWriter", "finding_id"]

REMEMBERED_FINDINGS = 20_000
"""Findings that a process knows to be stored. A store of real intercepts has some hundred."""

Content = tuple[str | None, ...]
"""The tenant and ``FINDING_FIELDS``. As compact JSON it is what ids are made of."""
CONTENT = ("tenant_id", *FINDING_FIELDS)
Finding = tuple[Any, ...]
"""The row: the id and the content."""


def finding_id(key: bytes, content: bytes) -> int:
    """The id of what a gate says, by the store's key; ``content`` as compact JSON."""
    return int.from_bytes(blake2b(content, digest_size=8, key=key).digest(), "big") >> 1


class ResultWriter(RowWriter):
    """Writes ``ValidationResult`` records to ``gate_findings`` and ``gate_results``."""

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        view, results = schema.tables[ValidationResult], schema.gate_results
        super().__init__(ValidationResult, results, dialect, readable=view, fields=RESULT_FIELDS)
        self._texts = _texts(dialect)
        self._stored: dict[Content, int] = {}
        self._known: defaultdict[str, dict[Combination, int]] = defaultdict(dict)
        self._key: bytes | None = None

    def forget(self) -> None:
        """Take nothing for stored: what was written may have been rolled back, or removed."""
        self._stored.clear()
        self._known.clear()

    def insert(self, connection: Connection, rows: Rows[Any]) -> None:
        ids = self._finding_ids(connection, rows)
        encoded = self.encode(rows)
        columns = {**encoded.columns, "finding_id": ids}
        self.dialect.insert_many(connection, self.table, columns, encoded.same)

    def update(
        self, connection: Connection, tenant: str, updates: Sequence[Update], guard: Fields
    ) -> None:
        if guard:
            self.require(connection, tenant, updates, guard)
        if any(field in FINDING_FIELDS for field in updates[0].changes):
            self._update_findings(connection, tenant, updates)
        else:
            super().update(connection, tenant, updates, ())

    def delete(
        self, connection: Connection, tenant: str, deletes: Sequence[Delete], guard: Fields
    ) -> None:
        self.require(connection, tenant, deletes, guard)
        self.delete_all(connection, tenant, [delete.id for delete in deletes])

    def delete_all(self, connection: Connection, tenant: str, ids: Sequence[int]) -> None:
        found = self._execute(connection, self._texts.select_finding_ids, tenant, ids).fetchall()
        super().delete_all(connection, tenant, ids)
        self._drop_orphans(connection, tenant, {id for (id,) in found})

    def _update_findings(
        self, connection: Connection, tenant: str, updates: Sequence[Update]
    ) -> None:
        """Point results at other findings, and change their own fields in the same statement."""
        before = self._findings_of(connection, tenant, updates)
        if len(before) < len(updates):
            raise Rejected
        contents = [_changed(before[update.id], update) for update in updates]
        ids = self._write_findings(connection, contents)
        own = tuple(field for field in updates[0].changes if field in RESULT_FIELDS)
        text, names = update_text(self.dialect, self.table, (*own, "finding_id"), ())
        values = [self.values(tenant, update) for update in updates]
        for row, id in zip(values, ids, strict=True):
            row["new_finding_id"] = id
        self.run(connection, text, names, values)
        self._drop_orphans(connection, tenant, {finding[0] for finding in before.values()})

    def _finding_ids(self, connection: Connection, rows: Rows[Any]) -> list[int]:
        """The finding of each row, stored where it may not be there."""
        said = rows.combinations(FINDING_FIELDS)
        if said is None:
            contents = list(zip(*map(rows.column, CONTENT), strict=True))
            return self._write_findings(connection, contents)
        (tenant,) = rows.tenants
        known = self._known[tenant]
        ids = list(map(known.get, said))
        if None not in ids:
            return ids  # type: ignore[return-value]
        new = [each for each, id in zip(said, ids, strict=True) if id is None]
        written = self._write_findings(connection, [(tenant, *each.values) for each in new])
        found = dict(zip(new, written, strict=True))
        self._note_known(tenant, found)
        return [found[each] if id is None else id for each, id in zip(said, ids, strict=True)]

    def _note_known(self, tenant: str, found: Mapping[Combination, int]) -> None:
        if sum(map(len, self._known.values())) > REMEMBERED_FINDINGS:
            self._known.clear()
        self._known[tenant].update(found)

    def _write_findings(self, connection: Connection, contents: Sequence[Content]) -> list[int]:
        """Store those of them that may not be there; the id of each."""
        ids = list(map(self._stored.get, contents))
        if None not in ids:
            return ids  # type: ignore[return-value]
        new = {content for content, id in zip(contents, ids, strict=True) if id is None}
        stored = self._store(connection, new)
        return [
            stored[content] if id is None else id for content, id in zip(contents, ids, strict=True)
        ]

    def _store(self, connection: Connection, contents: Iterable[Content]) -> dict[Content, int]:
        key = self._store_key(connection)
        ids = {content: finding_id(key, orjson.dumps(content)) for content in contents}
        # In id order: concurrent writers then wait for each other instead of deadlocking.
        rows = sorted((id, *map(_plain, content)) for content, id in ids.items())
        connection.executemany(self._texts.insert_findings, rows)
        if len(self._stored) > REMEMBERED_FINDINGS:
            self._stored.clear()
        self._stored.update(ids)
        return ids

    def _store_key(self, connection: Connection) -> bytes:
        if self._key is None:
            row = connection.execute(self._texts.select_key).fetchone()
            if row is None:
                raise StorageDamaged("store_settings has lost the key of the findings; restore it")
            self._key = bytes.fromhex(row[0])
        return self._key

    def _findings_of(
        self, connection: Connection, tenant: str, operations: Iterable[Update]
    ) -> dict[int, Finding]:
        """The finding of each result that is there."""
        ids = [operation.id for operation in operations]
        cursor = self._execute(connection, self._texts.select_findings, tenant, ids)
        return {id: tuple(finding) for id, *finding in cursor.fetchall()}

    def _drop_orphans(self, connection: Connection, tenant: str, findings: set[int]) -> None:
        self.forget()
        self._execute(connection, self._texts.delete_orphans, tenant, sorted(findings))

    def _execute(
        self, connection: Connection, text: tuple[str, list[str]], tenant: str, ids: Sequence[int]
    ) -> Any:
        values = {"tenant": tenant, "ids": self.dialect.list_encoder(ID)(ids)}
        return connection.execute(text[0], [values[name] for name in text[1]])


@attrs.frozen
class _Texts:
    """The statements that only results need; of some, the names of their parameters too."""

    insert_findings: str
    select_findings: tuple[str, list[str]]
    select_finding_ids: tuple[str, list[str]]
    delete_orphans: tuple[str, list[str]]
    select_key: str


@cache
def _texts(dialect: Dialect) -> _Texts:
    schema = schema_for(dialect.name)
    results, findings, settings = schema.gate_results, schema.gate_findings, schema.store_settings
    columns = ("id", "tenant_id", *FINDING_FIELDS)
    same = sa.and_(
        findings.c.tenant_id == results.c.tenant_id, findings.c.id == results.c.finding_id
    )
    insert = insert_of(dialect, findings, columns).on_conflict_do_nothing()
    select = sa.select(results.c.id, *(findings.c[name] for name in columns))
    unused = ~sa.select(results.c.id).where(same).exists()
    name: sa.ColumnClause[str] = sa.literal_column("'finding_key'")
    return _Texts(
        text_of(insert, dialect)[0],
        text_of(
            select.select_from(results.join(findings, same)).where(*among_ids(dialect, results)),
            dialect,
        ),
        text_of(sa.select(results.c.finding_id).where(*among_ids(dialect, results)), dialect),
        text_of(findings.delete().where(*among_ids(dialect, findings), unused), dialect),
        text_of(sa.select(settings.c.value).where(settings.c.name == name), dialect)[0],
    )


def _plain(value: str | None) -> str | None:
    """Drivers bind exact ``str`` fastest; members are not."""
    return None if value is None else str(value)


def _changed(finding: Finding, update: Update) -> Content:
    """What the gate says after an update."""
    _, tenant, *said = finding
    values = dict(zip(FINDING_FIELDS, said, strict=True))
    return tenant, *(update.changes.get(field, values[field]) for field in FINDING_FIELDS)
