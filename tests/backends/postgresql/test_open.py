"""Opening a PostgreSQL store: URLs, options, sessions, roles, several at once."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from loki_storage import open_storage
from loki_storage.deadline import within
from loki_storage.errors import (
    ConnectionLost,
    Forbidden,
    InvalidField,
    InvalidValue,
    PluginError,
    PoolExhausted,
    SchemaOutdated,
    StorageDamaged,
    StorageError,
    Unavailable,
)
from loki_storage.lines import ARRAYS, CSV, OBJECTS, RAW_CSV, encoded
from loki_storage.models import Document, Tag, ValidationResult
from loki_storage.query import Query
from loki_storage_postgresql.backend import PostgresqlBackend
from tests.backends.postgresql.conftest import VERSIONS
from tests.postgresql.shared import versions

Ask = Callable[..., list[tuple[Any, ...]]]
Open = Callable[..., PostgresqlBackend]


def told(backend: PostgresqlBackend, setting: str) -> str:
    with backend._connected() as connection:
        (value,) = connection.execute(f"SHOW {setting}").fetchone()
        return str(value)


# --- The store ------------------------------------------------------------------------------------


def test_empty_database_is_laid_out_only_when_asked(empty: str) -> None:
    with pytest.raises(SchemaOutdated, match="migrate up") as caught:
        open_storage(empty)
    assert caught.value.found is None
    with open_storage(empty, create=True) as storage:
        assert list(storage.dump()) == []
    with open_storage(empty) as storage:
        assert list(storage.dump()) == []


@pytest.mark.parametrize("version", VERSIONS[:1], indirect=True)
def test_processes_may_prepare_one_empty_store_at_once(empty: str) -> None:
    code = f"from loki_storage import open_storage; open_storage({empty!r}, create=True).close()"
    command = [sys.executable, "-W", "error", "-c", code]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: subprocess.run(command, check=False), range(4)))
    assert [process.returncode for process in done] == [0] * 4
    open_storage(empty).close()


def test_tables_of_others_are_left_alone(empty: str, ask: Ask) -> None:
    ask("CREATE TABLE orders (id int)", of=empty)
    with open_storage(empty, create=True) as storage:
        storage.migrate("base")
    assert ask("SELECT count(*) FROM orders", of=empty) == [(0,)]


def test_table_of_ours_without_its_revision_is_damage(empty: str, ask: Ask) -> None:
    ask("CREATE TABLE documents (id int)", of=empty)
    with pytest.raises(StorageDamaged):
        open_storage(empty, create=True)


def test_stamp_without_tables_is_damage(url: str, ask: Ask) -> None:
    ask("DROP VIEW validation_results")
    with pytest.raises(StorageDamaged, match="alembic stamp base"):
        open_storage(url)


# --- Schemas: every name qualified ----------------------------------------------------------------


@pytest.mark.parametrize("schema", ["loki", "Odd schema"])
def test_stores_of_two_schemas_do_not_meet(empty: str, ask: Ask, schema: str) -> None:
    with (
        open_storage(empty, schema=schema, create=True) as ours,
        open_storage(empty, create=True) as theirs,
    ):
        with ours.session() as session:
            document = session.documents.create_document("text", "email", "acme")
            session.documents.add_tag(document.id, "vip")
        with ours.session() as session:
            assert [tag.name for tag in session.documents.tags_of(document.id)] == ["vip"]
        assert list(theirs.dump()) == []
        places = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'documents'"
        assert set(ask(places, of=empty)) == {(schema,), ("public",)}
        theirs.migrate("base")
        assert len(list(ours.dump())) > 0


def test_no_statement_of_a_schema_leans_on_the_search_path(empty: str, opened: Open) -> None:
    with open_storage(empty, schema="loki", create=True) as storage:
        backend: Any = storage.backend
        with backend._connected() as connection:
            connection.execute("SET search_path TO pg_catalog")
        with storage.session() as session:
            document = session.documents.create_document("text", "email", "acme")
            validation = session.validations.create_validation(document.id, ["m"], "acme")
            session.validations.start_validation(validation.id)
            session.validations.add_result(validation.id, "module", "m.g", "fail")
        with storage.session() as session:
            session.documents.create_version(document.id, "other")
            session.documents.delete(document.id)
        with storage.session() as session:
            session.documents.purge([document.id])
        assert storage.backend.checks(deep=True)


# --- URLs and options -----------------------------------------------------------------------------


def test_password_may_hold_what_urls_escape(url: str) -> None:
    # The servers of the tests have such passwords; a server that is given may not.
    if versions() == ("given",):
        return
    password = sa.make_url(url).password
    assert password is not None
    assert {"%", "@", ":", "/", "?"} <= set(password)


def test_driver_may_be_named(url: str) -> None:
    open_storage(url.replace("postgresql:", "postgresql+psycopg:")).close()


@pytest.mark.parametrize("wrong", ["postgresql://[h/x", "postgresql://h/x?nonsense=1"])
def test_url_that_is_none_is_refused_without_its_text(wrong: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        open_storage(wrong)
    assert wrong not in str(caught.value)


def test_unknown_option_is_refused(url: str) -> None:
    with pytest.raises(InvalidField, match="lock_timeout"):
        open_storage(url, lock_timout=1)


def test_wrong_password_is_told_without_it(url: str) -> None:
    wrong = sa.make_url(url).set(password="s3cret").render_as_string(hide_password=False)
    with pytest.raises(StorageError) as caught:
        open_storage(wrong)
    assert isinstance(caught.value, ConnectionLost | Forbidden)
    assert "s3cret" not in f"{caught.value!r}{caught.value}"


def test_missing_database_is_told(url: str) -> None:
    missing = sa.make_url(url).set(database="no_such_one").render_as_string(hide_password=False)
    with pytest.raises(Unavailable):
        open_storage(missing)


def test_driver_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("loki_storage_postgresql.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PluginError, match=r"pip install .loki-storage\[postgresql\]"):
        open_storage("postgresql://localhost/x")


# --- Sessions -------------------------------------------------------------------------------------


def test_sessions_have_bounds_whatever_the_server_says(backend: PostgresqlBackend) -> None:
    assert told(backend, "timezone") == "UTC"
    assert told(backend, "statement_timeout") == "30s"
    assert told(backend, "lock_timeout") == "10s"
    assert told(backend, "idle_in_transaction_session_timeout") == "1min"
    assert told(backend, "default_transaction_isolation") == "read committed"
    assert told(backend, "application_name") == "loki-storage"
    with backend._connected() as connection:
        parameters = connection.driver.info.get_parameters()
    assert parameters["tcp_user_timeout"] == "10000"
    assert parameters["connect_timeout"] == "10"


def test_pool_is_that_of_the_specification(backend: PostgresqlBackend) -> None:
    pool: Any = backend.engine().pool
    assert (pool.size(), pool._max_overflow, pool._recycle) == (5, 10, 3600)
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(backend._connected())
        with within(0.1), pytest.raises(PoolExhausted):
            backend.ping()
    backend.ping()


def test_bounds_are_options(url: str, opened: Open) -> None:
    backend = opened(
        url, statement_timeout=2, lock_timeout=0.25, idle_in_transaction_timeout=3,
        application_name="a b", tcp_user_timeout=4, connect_timeout=5,
    )  # fmt: skip
    assert told(backend, "statement_timeout") == "2s"
    assert told(backend, "lock_timeout") == "250ms"
    assert told(backend, "idle_in_transaction_session_timeout") == "3s"
    assert told(backend, "application_name") == "a b"
    with backend._connected() as connection:
        parameters = connection.driver.info.get_parameters()
    assert parameters["tcp_user_timeout"] == "4000"
    assert parameters["connect_timeout"] == "5"


def test_what_the_url_says_wins(url: str, opened: Open) -> None:
    given = f"{url}?application_name=mine&options=-c%20lock_timeout%3D77ms"
    backend = opened(given)
    assert told(backend, "application_name") == "mine"
    assert told(backend, "lock_timeout") == "77ms"


def test_connections_may_be_handed_in(url: str) -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(psycopg.connect(url, application_name="token"))
        return made[-1]

    with open_storage("postgresql://", connect=connect, create=True) as storage:
        with storage.session() as session:
            session.documents.create_document("text", "email", "acme")
        backend: Any = storage.backend
        assert told(backend, "application_name") == "token"
        assert told(backend, "statement_timeout") == "30s"
        assert told(backend, "timezone") == "UTC"
    assert made
    assert all(connection.closed for connection in made)


@pytest.mark.parametrize("pool", [sa.pool.QueuePool, sa.pool.NullPool])
def test_engine_may_be_handed_in(url: str, pool: type[sa.pool.Pool]) -> None:
    """It makes the connections, with its arguments and events (tokens); the pool is ours."""
    theirs = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg", password="expired"),
        connect_args={"application_name": "theirs"},
        poolclass=pool,
    )
    tokens: list[str] = []

    @sa.event.listens_for(theirs, "do_connect")
    def give_token(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> None:
        tokens.append(str(sa.make_url(url).password))
        named["password"] = tokens[-1]

    with open_storage("postgresql://", engine=theirs, create=True) as storage:
        with storage.session() as session:
            document = session.documents.create_document("text", "email", "acme", metadata={"a": 1})
        assert storage.run(lambda s: s.documents.get_by_id(document.id)) == document
        backend: Any = storage.backend
        with backend._connected(), backend._connected():  # more than one at a time
            assert told(backend, "application_name") == "theirs"
        assert told(backend, "statement_timeout") == "30s"
        assert told(backend, "timezone") == "UTC"
    assert len(tokens) >= 3
    with theirs.connect() as connection:  # it stays its owner's
        assert connection.scalar(sa.text("SELECT 1")) == 1
    theirs.dispose()


def test_rows_are_tuples_whatever_connections_are_set_to(url: str) -> None:
    def connect() -> Any:
        return psycopg.connect(url, row_factory=dict_row)

    with open_storage("postgresql://", connect=connect, create=True) as storage:
        made = storage.run(lambda s: s.documents.create_document("text", "email", "acme"))
        assert storage.run(lambda s: s.documents.get_by_id(made.id)) == made
        assert storage.run(lambda s: s.documents.delete(made.id)).is_deleted


def test_engine_of_another_driver_is_refused(url: str) -> None:
    for wrong in (sa.create_engine("sqlite://"), object()):
        with pytest.raises(InvalidValue, match="psycopg"):
            open_storage("postgresql://", engine=wrong)
    theirs = sa.create_engine("postgresql+psycopg://")
    with pytest.raises(InvalidValue, match="connect"):
        open_storage("postgresql://", engine=theirs, connect=lambda: psycopg.connect(url))


def test_who_uses_the_engine_gets_transactions(backend: PostgresqlBackend) -> None:
    insert = sa.text(
        "INSERT INTO tags (tenant_id, id, name, created_at) VALUES ('a', 1, 'x', now())"
    )
    with backend.engine().connect() as connection:
        connection.execute(insert)
        connection.rollback()
    assert backend.get_many(Tag, [1], "a") == {}
    with backend.engine().begin() as connection:
        connection.execute(insert)
    assert set(backend.get_many(Tag, [1], "a")) == {1}


# --- Roles ----------------------------------------------------------------------------------------


@pytest.fixture
def writer_url(url: str, ask: Ask) -> Iterator[str]:
    """The URL of a role that may read and write rows, and nothing else."""
    password = "w%@:/r"
    role = f"writer_{sa.make_url(url).database}"
    ask(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    ask(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    made = sa.make_url(url).set(username=role, password=password)
    assert quote(password, "") in made.render_as_string(hide_password=False)
    yield made.render_as_string(hide_password=False)
    ask(f"DROP OWNED BY {role}")
    ask(f"DROP ROLE {role}")


def test_role_that_may_only_write_rows_suffices(writer_url: str) -> None:
    with open_storage(writer_url, create=True) as storage:
        with storage.session() as session:
            document = session.documents.create_document("text", "email", "acme")
            session.documents.add_tag(document.id, "vip")
        with storage.session() as session:
            session.documents.create_version(document.id, "other")
            session.documents.delete(document.id)
        with storage.session() as session:
            session.documents.purge([document.id])
        assert storage.run(lambda session: session.documents.count()) == 0
        with pytest.raises(Forbidden):
            storage.migrate("base")


HOSTILE_SETTINGS = {
    "extra_float_digits": "-10",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "datestyle": "'German'",
    "timezone": "'Asia/Kathmandu'",
    "bytea_output": "'escape'",
    "default_transaction_isolation": "'serializable'",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
}


@pytest.mark.parametrize("handed_in", [False, True])
def test_settings_of_a_role_change_nothing_that_is_read(
    writer_url: str, ask: Ask, handed_in: bool
) -> None:
    role = sa.make_url(writer_url).username
    for name, value in HOSTILE_SETTINGS.items():
        ask(f"ALTER ROLE {role} SET {name} = {value}")
    text, number = "\\N 'ß' \u2028 \U0001f600 \x7f \x01", 0.1234567890123456
    source: dict[str, Any] = {"url": writer_url}
    if handed_in:
        source = {"url": "postgresql://", "connect": lambda: psycopg.connect(writer_url)}
    with open_storage(**source) as storage:
        with storage.session() as session:
            made = session.documents.create_document(
                text, "email", "acme", title="", metadata={"a": text, "b": 10**30}
            )
            validation = session.validations.create_validation(made.id, ["m"], "acme")
            session.validations.start_validation(validation.id)
            session.validations.add_result(
                validation.id, "module", "m.g", "fail", message=text, confidence_score=number
            )
        session = storage.session(read_only=True)
        assert session.documents.get_by_id(made.id) == made
        (result,) = session.validations.get_results(validation.id)
        assert (result.message, result.confidence_score) == (text, number)
        assert session.documents.search("\\n 'SS'") == [made]
        for query, record in (
            (Query(Document, "default"), made),
            (Query(ValidationResult, "default"), result),
        ):
            fields = tuple(record.domains)
            row = tuple(record.stored(field) for field in fields)
            for form in (CSV, RAW_CSV, OBJECTS, ARRAYS):
                expected = list(encoded(form, record.domains, [row]))
                assert list(storage.backend.lines(query, fields, form)) == expected


def test_role_without_rights_is_refused(writer_url: str, ask: Ask) -> None:
    ask(f"REVOKE INSERT ON tags FROM {sa.make_url(writer_url).username}")
    with (
        open_storage(writer_url) as storage,
        pytest.raises(Forbidden) as caught,
        storage.session() as session,
    ):
        session.tags.create("a secret name")
    assert "secret" not in str(caught.value)
