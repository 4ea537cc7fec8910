"""Gate results as findings and facts: each combination of what gates say is kept once per tenant.

``validation_results`` is a view; only this module knows the two tables behind it. A finding's id
is 63 bits of a BLAKE2b of its content, keyed with the store's own key, so a finding is written
with insert-or-ignore, without a read. A finding goes with the last result that points at it.

A process does not write again what it has seen written. Should the finding be gone by then, the
reference from the result breaks, and the batch is applied again with everything forgotten.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa

from loki_storage.batch import Delete, Update
from loki_storage.errors import StorageDamaged
from loki_storage.models import Record, ValidationResult
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.row_writer import Fields, Rejected, RowWriter, insert_of
from loki_storage_sql.tables import FINDING_FIELDS, RESULT_FIELDS, Schema

__all__ = ["ResultWriter", "finding_id"]

REMEMBERED_FINDINGS = 20_000
"""Findings that a process knows to be stored. A store of real intercepts has some hundred."""

Content = tuple[str | None, ...]
"""The tenant and ``FINDING_FIELDS``."""
Finding = tuple[Any, ...]
"""The row: the id and the content."""
_said = itemgetter("tenant_id", *FINDING_FIELDS)


def finding_id(key: bytes, content: bytes) -> int:
    """The id of what a gate says, by the store's key; ``content`` as compact JSON."""
    return int.from_bytes(blake2b(content, digest_size=8, key=key).digest(), "big") >> 1


def _plain(content: Content) -> Content:
    """Without enum members: drivers take text."""
    return tuple(None if part is None else str(part) for part in content)


class ResultWriter(RowWriter):
    """Writes ``ValidationResult`` records to ``gate_findings`` and ``gate_results``."""

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        view, results = schema.tables[ValidationResult], schema.gate_results
        super().__init__(ValidationResult, results, dialect, readable=view, fields=RESULT_FIELDS)
        self._texts = _Texts(self, schema)
        self._stored: dict[bytes, int] = {}
        self._key: bytes | None = None

    def forget(self) -> None:
        """Take nothing for stored: what was written may have been rolled back, or removed."""
        self._stored.clear()

    def insert(self, connection: Connection, records: Sequence[Record]) -> None:
        ids = self._write_findings(connection, [_said(record.__dict__) for record in records])
        fields = (*self.fields, "finding_id")
        columns = [*zip(*self.encode(records), strict=True), ids]
        self.insert_columns(connection, fields, columns)

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
        if guard:
            self.require(connection, tenant, deletes, guard)
        before = self._findings_of(connection, tenant, deletes)
        super().delete(connection, tenant, deletes, ())
        self._drop_orphans(connection, tenant, before)

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
        text, names = self.update_text((*own, "finding_id"), ())
        values = [self.values(tenant, update) for update in updates]
        for row, id in zip(values, ids, strict=True):
            row["new_finding_id"] = id
        self.run(connection, text, names, values)
        self._drop_orphans(connection, tenant, before)

    def _write_findings(self, connection: Connection, contents: Sequence[Content]) -> list[int]:
        """Store those of them that may not be there; the id of each."""
        texts = list(map(orjson.dumps, contents))
        ids = list(map(self._stored.get, texts))
        if None not in ids:
            return ids  # type: ignore[return-value]
        fresh = {
            text: content
            for text, content, id in zip(texts, contents, ids, strict=True)
            if id is None
        }
        stored = self._store(connection, fresh)
        return [stored[text] if id is None else id for text, id in zip(texts, ids, strict=True)]

    def _store(self, connection: Connection, contents: Mapping[bytes, Content]) -> dict[bytes, int]:
        key = self._store_key(connection)
        ids = {text: finding_id(key, text) for text in contents}
        # In id order: concurrent writers then wait for each other instead of deadlocking.
        rows = sorted((ids[text], *_plain(content)) for text, content in contents.items())
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
        self, connection: Connection, tenant: str, operations: Iterable[Update | Delete]
    ) -> dict[int, Finding]:
        """The finding of each result that is there."""
        ids = [operation.id for operation in operations]
        cursor = self._execute(connection, self._texts.select_findings, tenant, ids)
        return {id: tuple(finding) for id, *finding in cursor.fetchall()}

    def _drop_orphans(
        self, connection: Connection, tenant: str, before: dict[int, Finding]
    ) -> None:
        ids = sorted({finding[0] for finding in before.values()})
        self.forget()
        self._execute(connection, self._texts.delete_orphans, tenant, ids)

    def _execute(
        self, connection: Connection, text: tuple[str, list[str]], tenant: str, ids: Sequence[int]
    ) -> Any:
        values = {"tenant": tenant, "ids": self.id_list(ids)}
        return connection.execute(text[0], [values[name] for name in text[1]])


class _Texts:
    """The statements that only results need."""

    def __init__(self, writer: ResultWriter, schema: Schema) -> None:
        results, findings, dialect = schema.gate_results, schema.gate_findings, writer.dialect
        same = sa.and_(
            findings.c.tenant_id == results.c.tenant_id, findings.c.id == results.c.finding_id
        )
        content = [findings.c[field] for field in ("id", "tenant_id", *FINDING_FIELDS)]
        insert = insert_of(findings, ("id", "tenant_id", *FINDING_FIELDS), dialect)
        self.insert_findings, _ = text_of(insert.on_conflict_do_nothing(), dialect)
        self.select_findings = text_of(
            sa.select(results.c.id, *content)
            .select_from(results.join(findings, same))
            .where(*writer.among_ids(results)),
            dialect,
        )
        self.delete_orphans = text_of(
            findings.delete().where(
                *writer.among_ids(findings), ~sa.select(results.c.id).where(same).exists()
            ),
            dialect,
        )
        name: sa.ColumnClause[str] = sa.literal_column("'finding_key'")
        key = sa.select(schema.store_settings.c.value).where(schema.store_settings.c.name == name)
        self.select_key, _ = text_of(key, dialect)


def _changed(finding: Finding, update: Update) -> Content:
    """What the gate says after an update."""
    _, tenant, *said = finding
    values = dict(zip(FINDING_FIELDS, said, strict=True))
    return tenant, *(update.changes.get(field, values[field]) for field in FINDING_FIELDS)
