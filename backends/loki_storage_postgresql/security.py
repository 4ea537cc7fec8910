"""Row-level security: the database itself shows a statement the rows of its tenant only.

Every tenant-owned table gets a policy that compares the tenant with a setting of the transaction,
and FORCE, so that it holds for the tables' owner too. Each operation is then one transaction that
begins with this setting, sent as one pipeline: still one round trip. A statement without its tenant
sees nothing. Roles that bypass such policies (superusers, BYPASSRLS) see everything.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa

from loki_storage.batch import Batch
from loki_storage.errors import Forbidden
from loki_storage.models import Record
from loki_storage.protocol import Check, Count, Day, Group, Measure
from loki_storage.query import Query
from loki_storage_postgresql.backend import PostgresqlBackend
from loki_storage_postgresql.connections import PostgresqlConnection
from loki_storage_sql.connections import Connection
from loki_storage_sql.reader import Snapshot
from loki_storage_sql.tables import Schema

__all__ = ["SecuredBackend"]

POLICY = "loki_tenant"
SETTING = "loki_storage.tenant"
_TENANT: ContextVar[str | None] = ContextVar("loki_storage_postgresql_tenant", default=None)
R = TypeVar("R", bound=Record)
T = TypeVar("T")


@contextmanager
def _within(tenant: str | None) -> Iterator[None]:
    token = _TENANT.set(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


class SecuredConnection(PostgresqlConnection):
    """Each statement in a transaction that says for which tenant it is."""

    __slots__ = ("tenant",)
    tenant: str | None

    def execute(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        tenant = getattr(self, "tenant", None)
        if tenant is None or not self.is_idle:
            return super().execute(text, parameters)
        if text.startswith("BEGIN"):
            begun = super().execute(text, parameters)
            super().execute(_SET, [tenant])
            return begun
        return self._as_transaction(tenant, [(text, parameters)])[0]

    def fetch_many(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
        tenant = getattr(self, "tenant", None)
        if tenant is None or not self.is_idle:
            return super().fetch_many(statements)
        return [cursor.fetchall() for cursor in self._as_transaction(tenant, statements)]

    def _as_transaction(
        self, tenant: str, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[Any]:
        execute = super().execute
        try:
            with self.driver.pipeline():
                execute("BEGIN")
                execute(_SET, [tenant])
                cursors = [execute(*statement) for statement in statements]
                execute("COMMIT")
        except psycopg.Error:
            if not self.driver.closed and not self.is_idle:
                self.driver.rollback()
            raise
        return cursors


_SET = f"SELECT set_config('{SETTING}', $1, true)"


class SecuredBackend(PostgresqlBackend):
    """``row_level_security=True``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writer.copies = False  # COPY does not know policies
        self._hides = True

    def prepare(self, *, create: bool) -> None:
        """See ``Backend``. Policies that are missing are made by who may create the tables."""
        super().prepare(create=create)
        if self._policies() < len(_owned(self.schema)):
            if not create:
                raise Forbidden(
                    "the tables have no row-level security yet; open the store once as their owner "
                    "with row_level_security=True and create=True"
                )
            self._secure(force=True)

    def migrate(self, revision: str = "head") -> tuple[str | None, str | None]:
        """See ``SqlBackend``. Revisions may have to touch the rows of all tenants."""
        self._secure(force=False)
        moved = super().migrate(revision)
        self._secure(force=True)
        return moved

    def apply(self, batch: Batch) -> None:
        with _within(batch.tenant):
            super().apply(batch)

    def select(self, query: Query) -> Iterator[Any]:
        return self._streamed(query.tenant, super().select(query))

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return self._streamed(query.tenant, super().rows(query, fields))

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        with self._as(tenant):
            return super().get_many(kind, ids, tenant)

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        tenants = {query.tenant for query in queries}
        if len(tenants) != 1:
            return [list(self.select(query)) for query in queries]
        with self._as(tenants.pop()):
            return super().select_many(queries)

    def count(self, query: Query) -> int:
        with self._as(query.tenant):
            return super().count(query)

    def exists(self, query: Query) -> bool:
        with self._as(query.tenant):
            return super().exists(query)

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        with self._as(query.tenant):
            return super().aggregate(query, by, measures)

    def explain(self, query: Query) -> str:
        with self._as(query.tenant):
            return super().explain(query)

    def checks(self, *, deep: bool) -> list[Check]:
        with self._as(None if deep else ""):
            return super().checks(deep=deep)

    def ping(self) -> None:
        with self._connected() as connection:
            connection.execute("SELECT 1")

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Snapshot]:
        with self._as(tenant), super().snapshot(tenant) as view:
            yield view

    def _streamed(self, tenant: str | None, found: Iterator[T]) -> Iterator[T]:
        """The first row is when a stream takes its connection, and with it its tenant."""
        with self._as(tenant):
            first = list(islice(found, 1))
        yield from first
        yield from found

    @contextmanager
    def _as(self, tenant: str | None) -> Iterator[None]:
        """Operate for a tenant; for all only where the role's rights let it see all (TEN-2)."""
        if tenant is None and self._hides:
            self._check_open()
            with self._connected() as connection:
                self._hides = self._is_secured(connection)
            if self._hides:
                raise Forbidden(
                    "row-level security hides other tenants' rows from this role; "
                    "use one that bypasses it to read across tenants"
                )
        with _within(tenant):
            yield

    def _check_visible(self, connection: Connection) -> None:
        """Nothing is hidden by mistake here."""

    def _new_connection(self, *args: Any) -> SecuredConnection:
        return SecuredConnection(*args)

    def _acquire(self) -> Connection:
        connection = super()._acquire()
        assert isinstance(connection, SecuredConnection)
        connection.tenant = _TENANT.get()
        return connection

    def _release(self, connection: Connection) -> None:
        assert isinstance(connection, SecuredConnection)
        connection.tenant = None
        super()._release(connection)

    def _policies(self) -> int:
        with self._connected() as connection:
            given = [self._dialect.schema, _owned(self.schema), POLICY]
            (count,) = connection.execute(_POLICIES, given).fetchone()
            return int(count)

    def _secure(self, *, force: bool) -> None:
        with self._place().exclusive() as connection:
            there = set(sa.inspect(connection).get_table_names())
            for table in _owned(self.schema):
                if table in there:
                    for statement in _secured(table) if force else (_LOOSE.format(table),):
                        connection.exec_driver_sql(statement)
            if force and there:
                for view in self.schema.views:
                    connection.exec_driver_sql(f"ALTER VIEW {view} SET (security_invoker = true)")


def _owned(schema: Schema) -> list[str]:
    return [name for name, t in schema.metadata.tables.items() if "tenant_id" in t.columns]


_LOOSE = "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY"


def _secured(table: str) -> tuple[str, ...]:
    same = f"(tenant_id = current_setting('{SETTING}', true))"
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"DROP POLICY IF EXISTS {POLICY} ON {table}",
        f"CREATE POLICY {POLICY} ON {table} USING {same} WITH CHECK {same}",
    )


_POLICIES = """\
SELECT count(*) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_policy AS p ON p.polrelid = c.oid
WHERE n.nspname = coalesce($1::text, current_schema()) AND c.relname = ANY($2::text[])
    AND p.polname = $3 AND c.relrowsecurity AND c.relforcerowsecurity"""
