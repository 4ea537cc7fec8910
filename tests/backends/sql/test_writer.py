"""Batches in SQL: the law of ``batch.check``, in as few statements as there are groups."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings

from loki_storage.batch import Batch, Delete, DeleteMany, Insert, Operation, Part, Require, Update
from loki_storage.errors import BrokenReference, Duplicate, StaleWrite, StorageError
from loki_storage.memory import MemoryBackend
from loki_storage.models import Chain, Correction, Document, Tag, Validation, ValidationResult
from loki_storage.query import Query
from loki_storage_sql.connections import Connection
from loki_storage_sql.writer import plan
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend
from tests.strategies import MIDNIGHT, TENANTS, WORLD_KINDS, World, sample
from tests.test_batch import cases

CHAIN = Chain(id=1, tenant_id="a", client_id="c")
HEAD: Any = sample(Document).evolve(
    id=1, tenant_id="a", root_id=1, parent_id=None, version=1, is_latest=True, client_id="c"
)
NEXT = HEAD.evolve(id=2, version=2, parent_id=1, is_latest=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteBackend]:
    """One store for all examples: laying one out takes longer than a hundred batches."""
    path: Path = tmp_path_factory.mktemp("store") / "loki.db"
    backend = open_sqlite(f"sqlite:///{path}", synchronous="NORMAL")
    assert isinstance(backend, SqliteBackend)
    backend.prepare(create=True)
    yield backend
    backend.close()


def fill(backend: SqliteBackend, world: World) -> None:
    with backend._transaction() as connection:
        for kind in reversed(WORLD_KINDS):
            connection.execute(f"DELETE FROM {kind.table}")
    for tenant in TENANTS:
        mine = [record for record in world.values() if record.tenant_id == tenant]
        backend.apply(Batch(tenant, map(Insert, mine)))


def outcome(backend: Any, batch: Batch) -> type[StorageError] | None:
    try:
        backend.apply(batch)
    except StorageError as error:
        return type(error)
    return None


def passes_a_key_on(world: World, batch: Batch) -> bool:
    """Whether a unique value goes from one updated row to another: outside the protocol (BAT-3)."""
    held, wanted = {}, {}
    for operation in batch.operations:
        row = world.get((operation.kind, operation.id))
        if isinstance(operation, Update) and row is not None:
            for number, unique in enumerate(operation.kind.unique):
                after = unique.key(row.replaced(operation.changes))
                if after is not None:
                    held[operation.kind, number, unique.key(row)] = operation.id
                    wanted[operation.kind, number, after] = operation.id
    return any(held.get(key, id) != id for key, id in wanted.items())


@settings(max_examples=300)
@given(case=cases)
def test_batches_have_the_effect_that_the_law_says(
    store: SqliteBackend, case: tuple[World, Batch]
) -> None:
    world, batch = case
    fill(store, world)
    memory = MemoryBackend()
    memory.load(sorted(world.values(), key=lambda record: record.tenant_id))
    if passes_a_key_on(world, batch):
        return
    expected = outcome(memory, batch)
    event(str(expected and expected.__name__))
    assert outcome(store, batch) is expected
    assert list(store.dump()) == list(memory.dump())


# --- Groups and their order ----------------------------------------------------------------------


def order_of(*operations: Part) -> list[tuple[str, list[int]]]:
    return [
        (group.stage.name, list(parts) if group.is_by_id else [part.id for part in parts])
        for group, parts in plan(Batch("a", operations))
    ]


def test_groups_run_in_the_order_that_unique_keys_need() -> None:
    assert order_of(
        Insert(NEXT.evolve(id=9)),
        Update(Document, 5, {"title": "a"}),
        Update(Document, 4, {"is_latest": False}),
        Delete(Document, 3),
        Require(Document, 2),
    ) == [("REQUIRE", [2]), ("DELETE", [3]), ("RELEASE", [4]), ("UPDATE", [5]), ("INSERT", [9])]


def test_deletes_without_a_guard_are_one_group_however_they_were_given() -> None:
    assert order_of(
        Delete(Document, 3),
        DeleteMany(Document, [5, 4]),
        Delete(Document, 6, {"version": 1}),
        DeleteMany(Document, [1]),
    ) == [("DELETE", [3, 5, 4, 1]), ("DELETE", [6])]


def test_parents_are_inserted_first_and_deleted_last() -> None:
    assert [kind for kind, _ in order_of(Insert(HEAD), Insert(CHAIN))] == ["INSERT", "INSERT"]
    inserted = [group.kind for group, _ in plan(Batch("a", [Insert(HEAD), Insert(CHAIN)]))]
    deleted = [group.kind for group, _ in plan(Batch("a", [Delete(Chain, 1), Delete(Document, 1)]))]
    assert (inserted, deleted) == ([Chain, Document], [Document, Chain])


def test_update_without_changes_only_requires() -> None:
    assert order_of(Update(Document, 1, {}, {"version": 1})) == [("REQUIRE", [1])]


@pytest.mark.parametrize(
    ("kind", "changes", "stage"),
    [
        (Document, {"is_latest": False}, "RELEASE"),
        (Document, {"is_latest": True}, "UPDATE"),
        (Chain, {"text_claim": None}, "RELEASE"),
        (Chain, {"text_claim": "x"}, "UPDATE"),
    ],
)
def test_updates_that_release_a_key_come_before_others(
    kind: Any, changes: dict[str, object], stage: str
) -> None:
    assert order_of(Update(kind, 1, changes)) == [(stage, [1])]


def test_rows_may_exchange_keys_of_two_sorts(backend: SqliteBackend) -> None:
    """Each frees one key and takes another: all are freed before any is taken."""
    first, second = CHAIN.evolve(text_claim="t"), CHAIN.evolve(id=2, intercept_claim="i")
    backend.apply(Batch("a", [Insert(first), Insert(second)]))
    changes = [
        {"text_claim": None, "intercept_claim": "i"},
        {"text_claim": "t", "intercept_claim": None},
    ]
    backend.apply(Batch("a", [Update(Chain, n, c) for n, c in enumerate(changes, 1)]))
    expected = [record.evolve(**c) for record, c in zip((first, second), changes, strict=True)]
    assert list(backend.select(Query(Chain, "a"))) == expected


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were executed, other than those of the transaction."""
    told: list[str] = []

    def tell(self: Connection, text: str) -> None:
        if text.split()[0] not in ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA"):
            told.append(text)

    monkeypatch.setattr(Connection, "tell", tell)
    return told


def validated(results: int) -> list[Operation]:
    """A document, its validation and so many results that say five different things."""
    validation = sample(Validation).evolve(id=1, tenant_id="a", document_id=1, client_id="c")
    result: Any = sample(ValidationResult).evolve(tenant_id="a", validation_id=1)
    said = [result.evolve(id=n, gate_key=f"m.g{n % 5}") for n in range(1, results + 1)]
    corrections = [
        sample(Correction).evolve(id=n, tenant_id="a", document_id=1, validation_id=None)
        for n in (1, 2)
    ]
    return [Insert(r) for r in (CHAIN, HEAD, NEXT, validation, *said, *corrections)]


def test_group_is_one_statement_and_findings_are_one_more(
    backend: SqliteBackend, statements: list[str]
) -> None:
    backend.apply(Batch("a", validated(200)))
    written = [text.split("INTO ")[-1].split()[0] for text in statements if "INSERT" in text]
    assert written == [
        "document_chains",
        "documents",
        "validations",
        "gate_findings",
        "gate_results",
        "corrections",
    ]
    assert len(statements) == len(written) + 1  # the key of the findings, once a process


def test_findings_that_are_known_are_not_written_again(
    backend: SqliteBackend, statements: list[str]
) -> None:
    backend.apply(Batch("a", validated(20)))
    statements.clear()
    result: Any = sample(ValidationResult).evolve(tenant_id="a", validation_id=1, gate_key="m.g1")
    backend.apply(Batch("a", [Insert(result.evolve(id=n)) for n in range(100, 140)]))
    assert [text.split()[2] for text in statements] == ["gate_results"]


def test_many_updates_under_guards_are_one_statement(
    backend: SqliteBackend, statements: list[str]
) -> None:
    tags = [Tag(id=n, tenant_id="a", name=f"t{n}", created_at=MIDNIGHT) for n in range(1, 60)]
    backend.apply(Batch("a", map(Insert, tags)))
    statements.clear()
    backend.apply(
        Batch("a", [Update(Tag, t.id, {"category": str(t.id)}, {"name": t.name}) for t in tags])
    )
    assert len(statements) == 1
    assert [tag.category for tag in backend.select(Query(Tag, "a"))] == [str(t.id) for t in tags]


def test_columns_of_nothing_are_left_out_and_read_as_nothing(
    backend: SqliteBackend, statements: list[str]
) -> None:
    tags = [Tag(id=n, tenant_id="a", name=f"t{n}", created_at=MIDNIGHT) for n in range(1, 60)]
    tags[-1] = tags[-1].evolve(color="#00ff00")
    backend.apply(Batch("a", map(Insert, tags)))
    assert "color" in statements[0]
    assert "description" not in statements[0]
    assert list(backend.select(Query(Tag, "a"))) == tags


# --- What was rejected, by name -------------------------------------------------------------------


@pytest.fixture
def filled(backend: SqliteBackend) -> SqliteBackend:
    backend.apply(Batch("a", [Insert(CHAIN), Insert(HEAD), Insert(NEXT)]))
    return backend


@pytest.mark.parametrize(
    ("operations", "error", "named"),
    [
        ([Update(Document, 1, {"title": "a"}, {"version": 2})], StaleWrite, ("documents", 1)),
        ([Delete(Document, 2, {"version": 1})], StaleWrite, ("documents", 2)),
        ([Require(Document, 7)], StaleWrite, ("documents", 7)),
        (
            [Delete(Document, 2), Update(Document, 1, {"title": "a"}, {"title": "b"})],
            StaleWrite,
            ("documents", 1),
        ),
        ([Insert(HEAD)], Duplicate, ("documents", ("id",))),
        ([Insert(HEAD.evolve(id=3))], Duplicate, ("documents", ("root_id", "version"))),
        ([Insert(HEAD.evolve(id=3, version=3))], Duplicate, ("documents", ("root_id",))),
        ([Delete(Chain, 1)], BrokenReference, ("documents", "root_id")),
        ([Delete(Document, 1)], BrokenReference, ("documents", "parent_id")),
        ([Update(Document, 2, {"parent_id": 9})], BrokenReference, ("documents", "parent_id")),
        # Several at once.
        ([Insert(HEAD), Delete(Chain, 1), Require(Tag, 1)], StaleWrite, ("tags", 1)),
        ([Insert(HEAD), Delete(Chain, 1)], Duplicate, ("documents", ("id",))),
    ],
)
def test_error_names_what_is_wrong(
    filled: SqliteBackend, operations: list[Operation], error: type[Exception], named: Any
) -> None:
    before = list(filled.dump())
    with pytest.raises(error) as caught:
        filled.apply(Batch("a", operations))
    facts = {name: getattr(caught.value, name, None) for name in ("kind", "id", "fields", "field")}
    assert tuple(fact for fact in facts.values() if fact is not None) == named
    assert list(filled.dump()) == before


def test_guard_among_many_updates_is_found(filled: SqliteBackend) -> None:
    with pytest.raises(StaleWrite) as caught:
        filled.apply(
            Batch("a", [Update(Document, n, {"title": "x"}, {"version": 1}) for n in (1, 2)])
        )
    assert caught.value.id == 2
    assert all(row.title != "x" for row in filled.select(Query(Document, "a")))


def test_children_may_come_before_parents_of_their_kind(backend: SqliteBackend) -> None:
    backend.apply(Batch("a", [Insert(NEXT), Insert(HEAD), Insert(CHAIN)]))
    assert list(backend.dump()) == [CHAIN, HEAD, NEXT]


def test_what_is_in_the_way_of_the_first_try_only_does_not_fail_the_batch(
    filled: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes a finding that this one takes for stored."""
    filled.apply(Batch("a", validated(5)[3:]))
    with filled._transaction() as connection:
        connection.execute("DELETE FROM gate_results")
        connection.execute("DELETE FROM gate_findings")
    again: Any = sample(ValidationResult).evolve(
        id=50, tenant_id="a", validation_id=1, gate_key="m.g1"
    )
    filled.apply(Batch("a", [Insert(again)]))
    assert list(filled.select(Query(ValidationResult, "a"))) == [again]
