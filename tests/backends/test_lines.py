"""Lines that a database writes are those that Python writes, whatever they hold (ACC-11)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from loki_storage import open_storage
from loki_storage.batch import Batch, InsertMany
from loki_storage.lines import ARRAYS, CSV, FORMULA, OBJECTS, RAW_CSV, Form
from loki_storage.models import Chain, Document
from loki_storage.protocol import Backend, Reader
from loki_storage.query import Query
from loki_storage.rows import Rows
from loki_storage_sql.backend import SqlBackend
from tests.conftest import POSTGRESQL, SOURCES
from tests.stores import new_tenant

EDGES = "\u007f\u0080\u2028\u2029\ud7ff\ue000\uff07\uff08\uff0a\ufffe\uffff\U00010000\U0010ffff"
STARTS = [*map(chr, range(1, 0x100)), *map(chr, range(0xFF00, 0xFF41)), *sorted(FORMULA), *EDGES]
"""Every first character of a text that is written in a way of its own, and its neighbours."""
TEXTS = [
    *STARTS,
    *(f"{start}N" for start in STARTS),
    *(f"{start}{start}N}}" for start in STARTS),
    *("{", "}", "{}}", "}}\n", '"', '""', '"}', "%s%w%%", "a%", "\\N", "\\\\N", "\\\\n", "N", "''"),
    *("a\r\nb\tc\x0b\x1f", "\x7f\x80\x9f", "null", "true", "0", "-0.0", "1e999", " ", "a\\u0000"),
]
TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, microsecond=1, tzinfo=UTC),
    datetime(1582, 10, 15, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999_500, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
BIG = 2**53 + 1
FORMS = {"csv": CSV, "raw csv": RAW_CSV, "objects": OBJECTS, "arrays": ARRAYS}


@pytest.fixture(scope="module", params=["sqlite", POSTGRESQL])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    url, options = SOURCES[request.param](tmp_path_factory.mktemp("lines"))
    with open_storage(url, create=True, **options) as storage:
        yield storage.backend


@pytest.fixture(scope="module")
def asked(backend: Backend) -> Query:
    """The documents of a tenant whose texts and times are hard to write."""
    tenant, count = new_tenant(), len(TEXTS)
    ids = backend.reserve({Chain: count, Document: count})
    chain = Chain(id=1, tenant_id=tenant, client_id="c")
    document = Document(
        id=1,
        tenant_id=tenant,
        root_id=1,
        content_hash="0" * 64,
        document_type="email",
        content="",
        content_length=BIG,
        client_id="c",
        created_at=TIMES[0],
        updated_at=TIMES[0],
    )
    times = [TIMES[n % len(TIMES)] for n in range(count)]
    documents = Rows.copies(
        document,
        id=ids[Document],
        root_id=ids[Chain],
        content=TEXTS,
        title=[*TEXTS[1:], ""],
        description=[None if n % 3 == 0 else "" for n in range(count)],
        created_at=times,
        updated_at=[min(time, TIMES[-1] - timedelta(days=1)) for time in reversed(times)],
        deleted_at=[None if n % 2 else time for n, time in enumerate(times)],
        metadata_json=[None if n % 2 else '{"a":"}","n":9007199254740993}' for n in range(count)],
    )
    backend.apply(Batch(tenant, [InsertMany(Rows.copies(chain, id=ids[Chain]))]))
    backend.apply(Batch(tenant, [InsertMany(documents)]))
    return Query(Document, tenant)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_the_database_writes_what_python_writes(backend: Backend, asked: Query, form: Form) -> None:
    fields = tuple(Document.domains)
    assert isinstance(backend, SqlBackend)
    assert backend._language.lines(asked, fields, form) is not None
    found = b"".join(block for block, _ in backend.lines(asked, fields, form))
    expected = b"".join(block for block, _ in Reader.lines(backend, asked, fields, form))
    assert found.split(form.end.encode()) == expected.split(form.end.encode())
    assert len(found) > len(TEXTS)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_whatever_fields_stand_beside_each_other(
    backend: Backend, asked: Query, form: Form
) -> None:
    """Runs of fields that are written together begin and end anywhere."""
    names = list(Document.domains)
    for start in range(len(names)):
        for fields in (names[start : start + 1], names[start : start + 3], names[start:][::-2]):
            found = b"".join(block for block, _ in backend.lines(asked, fields, form))
            slow = b"".join(block for block, _ in Reader.lines(backend, asked, fields, form))
            assert found == slow, fields
