"""Whether what a relational store holds is what was written: the ids of findings are hashes."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from loki_storage.protocol import Check
from loki_storage_sql.compiler import text_of
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.findings import finding_id
from loki_storage_sql.tables import FINDING_FIELDS, schema_for

__all__ = ["check_findings"]

BLOCK = 1_000
NAMED = 5
"""Ids that a check names."""


def check_findings(connection: Connection, dialect: Dialect) -> Check:
    """Recompute the id of every finding from its content and the store's key; all tenants.

    One pass over ``gate_findings``, 1,000 rows at a time.
    """
    key = _store_key(connection, dialect)
    if key is None:
        return Check(
            "findings",
            "problem",
            "store_settings has lost the key that findings are named with",
            "restore the newest backup",
        )
    seen, wrong = 0, []
    for id, *content in _findings(connection, dialect):
        seen += 1
        if finding_id(key, orjson.dumps(content)) != id:
            wrong.append(id)
    if not wrong:
        return Check("findings", "ok", f"{seen:,} findings are what they were")
    named = ", ".join(map(str, wrong[:NAMED]))
    return Check(
        "findings",
        "problem",
        f"{len(wrong):,} of {seen:,} findings are not what was written (ids {named})",
        "their results are not to be trusted: restore a backup beside this store and compare",
    )


def _store_key(connection: Connection, dialect: Dialect) -> bytes | None:
    settings = schema_for(dialect.name).store_settings
    name: sa.ColumnClause[str] = sa.literal_column("'finding_key'")
    text, _ = text_of(sa.select(settings.c.value).where(settings.c.name == name), dialect)
    row = connection.execute(text).fetchone()
    return None if row is None else bytes.fromhex(row[0])


def _findings(connection: Connection, dialect: Dialect) -> Iterator[Sequence[Any]]:
    """Id, tenant and content of each, in blocks by key: no statement runs for long."""
    findings = schema_for(dialect.name).gate_findings
    columns = [findings.c[name] for name in ("id", "tenant_id", *FINDING_FIELDS)]
    place = sa.tuple_(findings.c.tenant_id, findings.c.id)
    after = sa.tuple_(
        sa.bindparam("tenant", type_=sa.String), sa.bindparam("id", type_=sa.BigInteger)
    )
    query = sa.select(*columns).where(place > after)
    ordered = query.order_by(findings.c.tenant_id, findings.c.id)
    most, skip = (sa.bindparam(name, type_=sa.BigInteger) for name in ("most", "skip"))
    # Both go together: SQLite would add its own OFFSET.
    text, names = text_of(ordered.limit(most).offset(skip), dialect)
    last = {"tenant": "", "id": 0, "most": BLOCK, "skip": 0}
    while rows := connection.execute(text, [last[name] for name in names]).fetchall():
        yield from rows
        last |= {"tenant": rows[-1][1], "id": rows[-1][0]}
