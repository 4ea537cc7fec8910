"""Packed texts are the same to every read, guard and write, on SQLite and PostgreSQL (RET-4)."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from loki_storage import Storage, open_storage
from loki_storage.batch import Batch, Delete, Insert, Require, Update
from loki_storage.errors import StaleWrite
from loki_storage.lines import ARRAYS, CSV, OBJECTS
from loki_storage.models import Chain, Correction, Document, Kind
from loki_storage.protocol import Count, CountDistinct
from loki_storage.query import Compare, In, InQuery, Not, Query, Text
from loki_storage_sql import compacting
from loki_storage_sql.backend import SqlBackend
from loki_storage_sql.packing import SHORTEST, pack, plain_size, unpack
from loki_storage_sqlite.backend import SqliteBackend
from tests.conftest import POSTGRESQL, SOURCES
from tests.postgresql.shared import store_url, versions
from tests.stores import new_tenant
from tests.strategies import TEXTS, queries, row, texts


@pytest.fixture(scope="module", params=["sqlite", POSTGRESQL])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlBackend]:
    """A store in which also the shortest texts are packed."""
    url, options = SOURCES[request.param](tmp_path_factory.mktemp("packing"))
    with pytest.MonkeyPatch.context() as patch, open_storage(url, create=True, **options) as store:
        patch.setattr(compacting, "SHORTEST", 0)
        compacting.texts_of.cache_clear()
        assert isinstance(store.backend, SqlBackend)
        yield store.backend
    compacting.texts_of.cache_clear()


def documents(backend: SqlBackend, tenant: str, contents: list[str]) -> list[Document]:
    """Documents of these texts."""
    ids = backend.reserve({Document: len(contents)})[Document] if contents else range(0)
    made = [
        row(Document, Random(id)).evolve(
            id=id,
            tenant_id=tenant,
            root_id=id,
            parent_id=None,
            is_latest=True,
            client_id="c",
            content=content,
        )
        for id, content in zip(ids, contents, strict=True)
    ]
    chains = [Chain(id=id, tenant_id=tenant, client_id="c") for id in ids]
    backend.apply(Batch(tenant, [Insert(each) for each in (*chains, *made)]))
    return made


def corrections(
    backend: SqlBackend, tenant: str, document: Document, bodies: list[tuple[str | None, ...]]
) -> list[Correction]:
    ids = backend.reserve({Correction: len(bodies)})[Correction] if bodies else range(0)
    made = [
        row(Correction, Random(id)).evolve(
            id=id,
            tenant_id=tenant,
            document_id=document.id,
            validation_id=None,
            original_content=original,
            corrected_content=corrected,
        )
        for id, (original, corrected) in zip(ids, bodies, strict=True)
    ]
    backend.apply(Batch(tenant, [Insert(each) for each in made]))
    return made


EQUAL_TO_ANOTHERS = Query(
    Correction, "a", InQuery("original_content", Query(Correction, "a"), "corrected_content")
)
some_texts = st.sampled_from([*TEXTS, "aA" * 300, "ß a% SS" * 100]) | texts


@st.composite
def questions(draw: st.DrawFn) -> list[Query]:
    """Queries, many of them about texts that may be packed."""
    kind: Kind = draw(st.sampled_from([Document, Correction]))
    fields = ["content"] if kind is Document else ["original_content", "corrected_content"]
    leaf = st.one_of(
        st.builds(
            Text,
            st.sampled_from(["contains", "starts_with", "ends_with"]),
            st.sampled_from(fields),
            st.sampled_from(TEXTS),
            st.booleans(),
        ),
        st.builds(Compare, st.sampled_from(fields), st.sampled_from(["eq", "ne"]), some_texts),
        st.builds(In, st.sampled_from(fields), st.lists(some_texts, max_size=3)),
    )
    where = draw(leaf | st.builds(Not, leaf))
    about = Query(kind, "a", where, limit=draw(st.none() | st.integers(0, 3)))
    inside = Query(kind, "a", InQuery("id", Query(kind, "a", where), "id"))
    by_text = Query(kind, "a", InQuery(fields[0], Query(kind, "a", where), fields[0]))
    return [about, inside, by_text, draw(queries(kind))]


def answers(backend: SqlBackend, tenant: str, asked: list[Query]) -> list[Any]:
    """Everything that the backend says to these queries, and its dump."""
    found: list[Any] = []
    asked = [moved(query, tenant) for query in asked]
    for query in asked:
        fields = list(query.kind.domains)
        text = "content" if query.kind is Document else "corrected_content"
        groups = backend.aggregate(query, [text], [Count(), CountDistinct(text)])
        found += [
            list(backend.select(query)),
            list(backend.rows(query, fields)),
            list(backend.rows(query, [text, "id", text])),
            [
                b"".join(b for b, _ in backend.lines(query, fields, f))
                for f in (ARRAYS, OBJECTS, CSV)
            ],
            backend.count(query),
            backend.exists(query),
            [(group.key, group.values) for group in groups],
        ]
        with backend.snapshot(tenant) as view:
            found += [list(view.select(query)), view.count(query)]
    return [*found, backend.select_many(asked), list(backend.dump(tenant))]


def moved(query: Query, tenant: str) -> Query:
    """The query in another tenant, inner ones too."""
    return Query.from_json(_renamed(query.to_json(), tenant))


def _renamed(data: Any, tenant: str) -> Any:
    if isinstance(data, dict):
        return {k: tenant if k == "tenant" else _renamed(v, tenant) for k, v in data.items()}
    return [_renamed(each, tenant) for each in data] if isinstance(data, list) else data


bodies = st.lists(st.tuples(st.none() | some_texts, st.none() | some_texts), max_size=4)


@settings(max_examples=150)
@given(
    st.lists(some_texts, min_size=1, max_size=6), bodies, st.sets(st.integers(0, 5)), questions()
)
@example(["x", ""], [], {0, 1}, [Query(Document, "a", Compare("content", "eq", ""))])
@example(["a", "b"], [], {0}, [Query(Document, "a", Not(Text("contains", "content", "a")))])
@example(["a"], [("x", None), ("y", "x")], {1}, [EQUAL_TO_ANOTHERS])
def test_no_read_tells_what_is_packed(
    backend: SqlBackend,
    contents: list[str],
    pairs: list[tuple[str | None, ...]],
    chosen: set[int],
    asked: list[Query],
) -> None:
    tenant = new_tenant()
    made = documents(backend, tenant, contents)
    others = corrections(backend, tenant, made[0], pairs)
    before = answers(backend, tenant, asked)
    event(f"something is found: {bool(before[0])}")
    for rows in (made, others):
        ids = [each.id for n, each in enumerate(rows) if n in chosen]
        kind: Kind = Document if rows is made else Correction
        wanted = backend.compactable(kind, ids, tenant)
        saved = backend.compact(kind, ids, tenant)
        assert saved is not None
        assert saved >= 0
        assert backend.compactable(kind, ids, tenant) == set()
        assert wanted <= set(ids)
        assert backend.compact(kind, ids, tenant) == saved  # again: the same, and nothing done
    assert answers(backend, tenant, asked) == before


@given(texts | st.sampled_from(["", "aA" * 300]), st.integers(0, 2000))
def test_packed_is_unpacked(text: str, most: int) -> None:
    packed = pack(text, most)
    assert unpack(packed) == text
    assert plain_size(packed[:18], len(packed)) == len(text.encode())
    assert len(packed) <= len(text.encode())


def test_writes_to_packed_rows(backend: SqlBackend) -> None:
    """Guards compare the text, an update makes it plain again, a delete is one."""
    tenant = new_tenant()
    text = "Guten Tag, " * 100
    first, second, third = documents(backend, tenant, [text, text, text])
    ids = [first.id, second.id, third.id]
    assert (backend.compact(Document, ids, tenant) or 0) > 3000
    with pytest.raises(StaleWrite):
        backend.apply(
            Batch(tenant, [Update(Document, first.id, {"title": "x"}, {"content": "no"})])
        )
    guard = {"content": text}
    backend.apply(
        Batch(
            tenant,
            [
                Update(Document, first.id, {"title": "x"}, guard),
                Update(Document, second.id, {"content": "short"}),
                Require(Document, third.id, guard),
            ],
        )
    )
    assert backend.get_many(Document, ids, tenant) == {
        first.id: first.evolve(title="x"),
        second.id: second.evolve(content="short"),
        third.id: third,
    }
    assert second.id in backend.compactable(Document, ids, tenant)
    backend.apply(Batch(tenant, [Delete(Document, third.id, guard)]))
    assert set(backend.get_many(Document, ids, tenant)) == {first.id, second.id}


def test_a_row_that_changed_meanwhile_is_left_alone(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is packed only if it still is there."""
    tenant = new_tenant()
    (document,) = documents(backend, tenant, ["Old " * 100])

    def change_first(*args: Any) -> Any:
        update = Update(Document, document.id, {"content": "new"})
        backend.apply(Batch(tenant, [update]))
        return compacting.packed(*args)

    monkeypatch.setattr("loki_storage_sql.backend.packed", change_first)
    assert backend.compact(Document, [document.id], tenant) == 0
    assert backend.get_many(Document, [document.id], tenant)[document.id].content == "new"


def test_only_the_tenants_own_rows(backend: SqlBackend) -> None:
    ours, theirs = new_tenant(), new_tenant()
    (document,) = documents(backend, ours, ["text " * 100])
    assert backend.compact(Document, [document.id], theirs) == 0
    assert backend.compactable(Document, [document.id], theirs) == set()
    assert backend.compactable(Document, [document.id], ours) == {document.id}


def test_many_rows_go_in_bounded_transactions(
    backend: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = new_tenant()
    made = documents(backend, tenant, ["text " * 100] * 10)
    monkeypatch.setattr(compacting, "CHUNK", 1000)
    begun = Mock(side_effect=backend._transaction)
    monkeypatch.setattr(backend, "_transaction", begun)
    backend.compact(Document, [each.id for each in made], tenant)
    assert begun.call_count == 5


def test_downgrade_makes_texts_plain(backend: SqlBackend, tmp_path: Path) -> None:
    """One revision down and up again: nothing is lost, and nothing is packed."""
    is_file = isinstance(backend, SqliteBackend)
    url = f"sqlite:///{tmp_path}/loki.db" if is_file else store_url(versions()[0])
    with open_storage(url, create=True) as store:
        assert isinstance(store.backend, SqlBackend)
        bodies: list[tuple[str | None, ...]] = [("text " * 100, None), (None, "é" * 300)]
        made = documents(store.backend, "a", ["text " * 100] * 3)
        others = corrections(store.backend, "a", made[0], bodies)
        for rows in (made, others):
            ids = [each.id for each in rows]
            assert store.backend.compact(type(rows[0]), ids, "a")
        before = list(store.backend.dump())
        store.backend.migrate("-1")
        store.backend.migrate()
        assert list(store.backend.dump()) == before
        ids = [each.id for each in made]
        assert store.backend.compactable(Document, ids, "a") == set(ids)


def test_short_texts_stay_plain(
    store: Storage, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limit that ships; memory has nothing to save and says so."""
    monkeypatch.setattr(compacting, "SHORTEST", SHORTEST)
    compacting.texts_of.cache_clear()
    with store.session(tenant=tenant) as session:
        ids = [
            session.documents.create_document("é" * size, "email", f"c {size}").id
            for size in (SHORTEST - 1, SHORTEST)
        ]
    supported = isinstance(store.backend, SqlBackend)
    found: set[int] = store.backend.compactable(Document, ids, tenant)
    assert found == ({ids[1]} if supported else set())
    saved = store.backend.compact(Document, ids, tenant)
    assert saved is None if not supported else (saved or 0) > 300
