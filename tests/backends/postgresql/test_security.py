"""Row-level security: the database itself keeps tenants apart, for a role that owns nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from loki_storage import Storage, open_storage
from loki_storage.batch import Batch, Insert
from loki_storage.errors import Forbidden
from loki_storage.models import Document, Tag
from loki_storage.query import Query
from loki_storage_sql.tables import schema_for
from tests.backends.postgresql.conftest import VERSIONS
from tests.postgresql.wire import wire

pytestmark = pytest.mark.postgresql
Ask = Callable[..., list[tuple[Any, ...]]]
OWNED = [n for n, t in schema_for("postgresql").metadata.tables.items() if "tenant_id" in t.columns]


def role_of(url: str, ask: Ask, name: str, grants: str) -> str:
    """The URL of a new role; ``grants`` with its name for ``{}``."""
    role = f"{name}_{sa.make_url(url).database}"
    ask(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    for grant in grants.split(";"):
        ask(grant.format(role))
    made = sa.make_url(url).set(username=role, password="secret")
    return made.render_as_string(hide_password=False)


@pytest.fixture
def member(empty: str, ask: Ask) -> Iterator[str]:
    """A store with row-level security that another role owns; the URL of one that owns nothing."""

    def tell(statement: str) -> list[tuple[Any, ...]]:
        return ask(statement, of=empty)

    owner = role_of(empty, tell, "owner", "GRANT CREATE, USAGE ON SCHEMA public TO {}")
    open_storage(owner, create=True, row_level_security=True).close()
    rights = "SELECT, INSERT, UPDATE, DELETE"
    yield role_of(empty, tell, "member", f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {{}}")
    for url in (owner, f"{owner.replace('owner_', 'member_')}"):
        tell(f"DROP OWNED BY {sa.make_url(url).username} CASCADE")
        tell(f"DROP ROLE {sa.make_url(url).username}")


@pytest.fixture
def storage(member: str) -> Iterator[Storage]:
    with open_storage(member, row_level_security=True) as storage:
        yield storage


def fill(storage: Storage, tenant: str) -> Document:
    with storage.session(tenant=tenant) as session:
        document = session.documents.create_document(f"text of {tenant}", "email", "acme")
        session.documents.add_tag(document.id, "vip")
        validation = session.validations.create_validation(document.id, ["m"], "acme")
        session.validations.start_validation(validation.id)
        session.validations.add_result(validation.id, "module", "m.g", "fail")
    with storage.session(tenant=tenant) as session:
        session.documents.create_version(document.id, f"more of {tenant}")
    return document


def test_each_tenant_reads_and_writes_its_own(storage: Storage) -> None:
    for tenant in ("a", "b"):
        document = fill(storage, tenant)
        with storage.session(tenant=tenant) as session:
            texts = [d.content for d in session.documents.get_version_history(document.id)]
            assert texts == [f"text of {tenant}", f"more of {tenant}"]
            assert session.documents.count() == 1
            assert len(session.validations.get_by_document(document.id)) == 1
            assert [d.id for d in session.documents.search("TEXT")] == []
            assert len(session.documents.search("MORE")) == 1
        assert {record.tenant_id for record in storage.dump(tenant)} == {tenant}


def test_statement_without_its_tenant_sees_nothing(storage: Storage, member: str) -> None:
    fill(storage, "a")
    with psycopg.connect(member) as connection:
        for table in (*OWNED, "validation_results"):
            count = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert count == (0,), table
        connection.execute("SELECT set_config('loki_storage.tenant', 'a', true)")
        for table in ("documents", "validation_results", "tags", "audit_trail"):
            count = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert count != (0,), table
        connection.commit()
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)


def test_row_of_another_tenant_cannot_be_written(storage: Storage, member: str) -> None:
    with psycopg.connect(member) as connection:
        connection.execute("SELECT set_config('loki_storage.tenant', 'a', true)")
        insert = "INSERT INTO tags (tenant_id, id, name, created_at) VALUES ('b', 1, 'x', now())"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(insert)


def test_reads_across_tenants_are_refused_and_never_empty(storage: Storage) -> None:
    fill(storage, "a")
    everything = Query(Document, None)
    backend = storage.backend
    for read in (
        lambda: list(backend.select(everything)),
        lambda: list(storage.dump()),
        lambda: list(backend.rows(everything, ["id"])),
        lambda: backend.count(everything),
        lambda: backend.exists(everything),
        lambda: backend.aggregate(everything),
        lambda: backend.get_many(Document, [1], None),
        lambda: backend.select_many([everything]),
        lambda: backend.snapshot(None).__enter__(),
        lambda: backend.checks(deep=True),
    ):
        with pytest.raises(Forbidden, match="row-level security"):
            read()
    backend.ping()


def test_store_that_hides_rows_is_not_opened_as_if_it_did_not(member: str) -> None:
    with pytest.raises(Forbidden, match="row_level_security=True"):
        open_storage(member)


def test_store_without_policies_is_not_taken_for_a_secured_one(url: str) -> None:
    with pytest.raises(Forbidden, match="create=True"):
        open_storage(url, row_level_security=True)
    open_storage(url, row_level_security=True, create=True).close()
    open_storage(url, row_level_security=True).close()


def test_every_table_of_a_tenant_is_covered_after_a_migration(url: str, ask: Ask) -> None:
    with open_storage(url, row_level_security=True, create=True) as storage:
        storage.migrate("-2")
        storage.migrate(actor="alice")
        with storage.session() as session:
            (entry,) = session.audit.get_all()
    assert (entry.action, entry.entity_type, entry.actor_id) == ("migrate", "store", "alice")
    covered = """SELECT c.relname FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid
        WHERE c.relrowsecurity AND c.relforcerowsecurity"""
    assert {name for (name,) in ask(covered)} == set(OWNED)


def test_role_that_bypasses_policies_reads_across_tenants(storage: Storage, empty: str) -> None:
    fill(storage, "a")
    fill(storage, "b")
    with open_storage(empty, row_level_security=True) as everything:
        assert {record.tenant_id for record in everything.dump()} == {"a", "b"}


def test_many_rows_do_without_copy(storage: Storage) -> None:
    with storage.session(tenant="a") as session:
        session.documents.create_documents(
            [{"content": f"t{n}", "document_type": "email", "client_id": "c"} for n in range(400)]
        )
        session.commit()
        assert session.documents.count() == 400
        assert len(list(session.documents.query().iter())) == 400


@pytest.mark.parametrize("version", VERSIONS[:1], indirect=True)
def test_an_operation_is_one_round_trip_all_the_same(member: str) -> None:
    with wire(member) as line, open_storage(line.url, row_level_security=True) as storage:
        backend = storage.backend
        document = fill(storage, "a")
        for _ in range(8):
            backend.get_many(Document, [document.id], "a")
        assert line.trips_of(lambda: backend.get_many(Document, [document.id], "a")) == 1
        assert line.trips_of(lambda: backend.count(Query(Tag, "a"))) == 1


def test_guards_hold_under_policies(storage: Storage) -> None:
    document = fill(storage, "a")
    with storage.session(tenant="b") as session:
        assert session.documents.get_by_id(document.id) is None
    (tag,) = storage.backend.select(Query(Tag, "a"))
    storage.backend.apply(Batch("b", [Insert(tag.evolve(tenant_id="b"))]))
    assert storage.backend.count(Query(Tag, "b")) == 1
