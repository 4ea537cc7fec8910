"""What ``doctor`` asks a PostgreSQL store: its server, our session there, and what the role may."""

import math
import time
from collections.abc import Iterator
from typing import Any

from loki_storage.protocol import Check
from loki_storage_sql.connections import Connection
from loki_storage_sql.tables import Schema

__all__ = ["check_server"]

OLDEST = 140_000
"""The oldest version that its makers still mend."""
IDLE_SECONDS = 60
SKEW_SECONDS = 5.0
FEW_LEFT = 0.9
"""Of the server's connections; beyond that some are soon refused."""
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def check_server(connection: Connection, schema: Schema, name: str | None) -> Iterator[Check]:
    """Settings of server and session, and the role's rights on the tables of schema ``name``."""
    yield _version(connection)
    yield _durability(connection)
    yield _timeouts(connection)
    yield _writable(connection)
    yield from _role(connection, schema, name)
    yield _row_security(connection, name)
    yield _idle(connection)
    yield _connections(connection)
    yield _clock(connection)


def _version(connection: Connection) -> Check:
    (version,) = _row(connection, "SELECT current_setting('server_version')")
    (number,) = _row(connection, "SELECT current_setting('server_version_num')::int")
    (encoding,) = _row(connection, "SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        told = f"the database stores text as {encoding}, which cannot hold all of Unicode"
        return Check("server", "problem", told, "create the database with ENCODING 'UTF8'")
    if number < OLDEST:
        told = f"PostgreSQL {version} gets no more fixes"
        return Check("server", "warning", told, "upgrade the server to 14 or newer")
    return Check("server", "ok", f"PostgreSQL {version}")


def _durability(connection: Connection) -> Check:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    settings = {name: _setting(connection, name) for name in names}
    off = [name for name, value in settings.items() if value == "off"]
    if not off:
        return Check("durability", "ok", "a commit survives a crash of the server")
    told = f"{' and '.join(off)} off: acknowledged commits may be lost when the server crashes"
    return Check("durability", "problem", told, f"set {off[0]} = on")


def _timeouts(connection: Connection) -> Check:
    settings = {name: _setting(connection, name) for name in TIMEOUTS}
    endless = [name for name, value in settings.items() if value == "0"]
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    if not endless:
        return Check("timeouts", "ok", told)
    advice = "give the options of open_storage, or the role, a limit (ALTER ROLE … SET …)"
    return Check("timeouts", "warning", f"{' and '.join(endless)} without an end", advice)


def _writable(connection: Connection) -> Check:
    (standby,) = _row(connection, "SELECT pg_is_in_recovery()")
    if standby:
        told = "this server is a standby: nothing can be written"
        return Check("writable", "problem", told, "point the URL at the primary")
    if _setting(connection, "default_transaction_read_only") == "on":
        told = "transactions of this role or database are read-only"
        return Check("writable", "problem", told, "ALTER ROLE … SET default_transaction_read_only")
    return Check("writable", "ok", "this server is the primary")


def _role(connection: Connection, schema: Schema, name: str | None) -> Iterator[Check]:
    (superuser,) = _row(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if superuser:
        told = "the role is a superuser: whoever takes over the application has the server"
        advice = "let the application log in as a role with the rights on rows alone"
        yield Check("role", "warning", told, advice)
    tables = sorted(table.name for table in schema.metadata.tables.values())
    rows = connection.execute(_RIGHTS, [name, tables, list(RIGHTS)]).fetchall()
    if rows:
        told = ", ".join(f"{right} on {table}" for table, right in rows[:4])
        advice = f"GRANT {', '.join(RIGHTS)} ON ALL TABLES IN SCHEMA … TO the role"
        yield Check("rights", "problem", f"the role lacks {told}", advice)
    else:
        yield Check("rights", "ok", "the role may read and write every table")


def _row_security(connection: Connection, name: str | None) -> Check:
    (hidden,) = _row(connection, _HIDDEN, [name])
    if not hidden:
        return Check("row-level security", "ok", "hides no rows from this role")
    told = f"row-level security binds this role on {hidden} tables: reads across tenants fail"
    advice = "run backups, counts and doctor as a role with BYPASSRLS"
    return Check("row-level security", "warning", told, advice)


def _idle(connection: Connection) -> Check:
    (idle,) = _row(connection, _IDLE, [IDLE_SECONDS])
    if not idle:
        return Check("idle in transaction", "ok", "no session of this database")
    told = f"{idle} sessions have idled in a transaction for over a minute, and keep dead rows"
    advice = "set idle_in_transaction_session_timeout for their role; see pg_stat_activity"
    return Check("idle in transaction", "warning", told, advice)


def _connections(connection: Connection) -> Check:
    used, most = _row(connection, _CONNECTIONS)
    told = f"{used} of {most} of the server's connections are in use"
    if used < FEW_LEFT * most:
        return Check("connections", "ok", told)
    return Check("connections", "warning", told, "lower pool_size, or raise max_connections")


def _clock(connection: Connection) -> Check:
    began = time.time()
    (theirs,) = _row(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    ended = time.time()
    # What lies between asking and answering is nobody's skew.
    skew = max(began - theirs, theirs - ended, 0.0)
    if skew <= SKEW_SECONDS:
        return Check("server clock", "ok", "agrees with this machine's")
    told = f"the server's clock and this machine's differ by {math.ceil(skew):,} s"
    return Check("server clock", "problem", told, "set both by NTP")


def _row(connection: Connection, text: str, parameters: Any = ()) -> Any:
    return connection.execute(text, parameters).fetchone()


def _setting(connection: Connection, name: str) -> str:
    return str(_row(connection, "SELECT current_setting($1::text)", [name])[0])


_RIGHTS = """\
SELECT c.relname, r.privilege FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN unnest($3::text[]) AS r (privilege)
WHERE n.nspname = coalesce($1::text, current_schema()) AND c.relname = ANY($2::text[])
  AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(c.oid, r.privilege)
ORDER BY c.relname, r.privilege"""

_HIDDEN = """\
SELECT count(*) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = coalesce($1::text, current_schema()) AND c.relrowsecurity
  AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
  AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))"""

_IDLE = """\
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND state IN ('idle in transaction', 'idle in transaction (aborted)')
  AND state_change < clock_timestamp() - make_interval(secs => $1::int)"""

_CONNECTIONS = """\
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  current_setting('max_connections')::int"""
