"""Results as findings and facts: what the two tables hold, whatever is done to the results."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, InsertMany, Operation, Update
from loki_storage.errors import Conflict, StaleWrite, StorageDamaged
from loki_storage.memory import MemoryBackend
from loki_storage.models import Chain, Document, Record, Validation, ValidationResult
from loki_storage.query import Query
from loki_storage.rows import Combination, Rows
from loki_storage_sql import findings
from loki_storage_sql.findings import finding_id
from loki_storage_sql.tables import FINDING_FIELDS
from loki_storage_sqlite import open_sqlite
from loki_storage_sqlite.backend import SqliteBackend
from tests.strategies import pool, sample

PARENTS: list[Record] = [
    Chain(id=1, tenant_id="a", client_id="c"),
    sample(Document).evolve(id=1, tenant_id="a", root_id=1, parent_id=None),
    sample(Validation).evolve(id=1, tenant_id="a", document_id=1),
]
RESULT: Any = sample(ValidationResult).evolve(tenant_id="a", validation_id=1)


def rows(backend: SqliteBackend, text: str) -> list[Any]:
    with backend._connected() as connection:
        found: list[Any] = connection.execute(text).fetchall()
        return found


def findings_of(backend: SqliteBackend) -> list[tuple[Any, ...]]:
    return rows(backend, f"SELECT {', '.join(FINDING_FIELDS)} FROM gate_findings")


def said(backend: SqliteBackend) -> set[tuple[Any, ...]]:
    found = backend.rows(Query(ValidationResult, "a"), FINDING_FIELDS)
    return set(found)


@pytest.fixture
def filled(backend: SqliteBackend) -> SqliteBackend:
    backend.apply(Batch("a", map(Insert, PARENTS)))
    return backend


def result(id: int, **fields: Any) -> Any:
    return RESULT.evolve(id=id, **fields)


def test_what_gates_say_alike_is_kept_once(filled: SqliteBackend) -> None:
    drawn = [result(n, message=f"m{n % 3}", evidence={"n": n}) for n in range(1, 10)]
    filled.apply(Batch("a", map(Insert, drawn)))
    assert len(findings_of(filled)) == 3
    assert list(filled.select(Query(ValidationResult, "a"))) == drawn


def test_tenants_do_not_share_findings(filled: SqliteBackend) -> None:
    theirs = [record.evolve(id=9, tenant_id="b") for record in PARENTS]
    theirs[1] = theirs[1].evolve(root_id=9)
    theirs[2] = theirs[2].evolve(document_id=9)
    filled.apply(Batch("b", map(Insert, theirs)))
    for tenant, id in (("a", 1), ("b", 9)):
        mine = result(id, tenant_id=tenant, validation_id=id)
        filled.apply(Batch(tenant, [Insert(mine)]))
    assert len(findings_of(filled)) == 2


def test_ids_are_keyed_with_the_stores_own_key(filled: SqliteBackend) -> None:
    filled.apply(Batch("a", [Insert(RESULT)]))
    ((id,),) = rows(filled, "SELECT id FROM gate_findings")
    ((key,),) = rows(filled, "SELECT value FROM store_settings WHERE name = 'finding_key'")
    content = filled._writer._results._stored
    (said,) = content
    assert finding_id(bytes.fromhex(key), orjson.dumps(said)) == id
    assert 0 <= id < 2**63


def test_finding_goes_with_its_last_result(filled: SqliteBackend) -> None:
    drawn = [result(1), result(2), result(3, message="another")]
    filled.apply(Batch("a", map(Insert, drawn)))
    filled.apply(Batch("a", [Delete(ValidationResult, 1)]))
    assert len(findings_of(filled)) == 2
    filled.apply(Batch("a", [Delete(ValidationResult, 2), Delete(ValidationResult, 3)]))
    assert findings_of(filled) == []


def test_finding_goes_when_its_last_result_says_something_else(filled: SqliteBackend) -> None:
    filled.apply(Batch("a", [Insert(result(1))]))
    filled.apply(Batch("a", [Update(ValidationResult, 1, {"message": "new"})]))
    assert len(findings_of(filled)) == 1


def test_finding_that_went_can_come_back_in_the_same_batch(filled: SqliteBackend) -> None:
    filled.apply(Batch("a", [Insert(result(1))]))
    filled.apply(Batch("a", [Delete(ValidationResult, 1), Insert(result(2))]))
    assert list(filled.select(Query(ValidationResult, "a"))) == [result(2)]
    assert len(findings_of(filled)) == 1


def test_update_may_change_what_is_said_and_what_is_known_at_once(filled: SqliteBackend) -> None:
    filled.apply(Batch("a", [Insert(result(1)), Insert(result(2))]))
    changes = {"message": "new", "evidence": {"a": 1}}
    filled.apply(Batch("a", [Update(ValidationResult, 1, changes, {"gate_key": RESULT.gate_key})]))
    expected = [result(1, **changes), result(2)]
    assert list(filled.select(Query(ValidationResult, "a"))) == expected
    assert len(findings_of(filled)) == 2


@pytest.mark.parametrize("changes", [{"message": "new"}, {"evidence": [1]}])
@pytest.mark.parametrize("guard", [{}, {"message": "other"}, {"confidence_score": 0.125}])
def test_missing_row_or_failed_guard_is_stale(
    filled: SqliteBackend, changes: dict[str, object], guard: dict[str, object]
) -> None:
    filled.apply(Batch("a", [Insert(result(1))]))
    operations: list[Operation] = [
        Update(ValidationResult, 1 if guard else 9, changes, guard),
        Delete(ValidationResult, 1 if guard else 9, guard),
    ]
    for operation in operations:
        with pytest.raises(StaleWrite):
            filled.apply(Batch("a", [operation]))
    assert list(filled.select(Query(ValidationResult, "a"))) == [result(1)]


def test_rolled_back_finding_is_not_taken_for_stored(filled: SqliteBackend) -> None:
    with pytest.raises(StaleWrite):
        filled.apply(Batch("a", [Insert(result(1)), Update(Document, 9, {"title": "x"})]))
    filled.apply(Batch("a", [Insert(result(1))]))
    assert list(filled.select(Query(ValidationResult, "a"))) == [result(1)]


def test_memory_of_findings_is_bounded(
    filled: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "REMEMBERED_FINDINGS", 3)
    drawn = [result(n, message=f"m{n % 7}") for n in range(1, 40)]
    for each in drawn:
        filled.apply(Batch("a", [Insert(each)]))
    assert len(filled._writer._results._stored) <= 4
    assert list(filled.select(Query(ValidationResult, "a"))) == drawn


# --- What recurs is found by its identity ---------------------------------------------------------


def packed(*results: Any, said: list[Combination]) -> InsertMany:
    """Results as columns; what they say as these combinations."""
    own = ("id", "evidence", "confidence_score", "metadata_json")
    columns = {field: [each.stored(field) for each in results] for field in own}
    same = {f: results[0].stored(f) for f in ("tenant_id", "validation_id", "client_id")}
    same["created_at"] = results[0].created_at
    return InsertMany(Rows(ValidationResult, columns, same, (FINDING_FIELDS, said)))


SAID = [
    Combination(tuple(result(1, message=message).stored(f) for f in FINDING_FIELDS))
    for message in ("one", "two")
]
SAYING = [result(n, message=("one", "two")[n % 2]) for n in range(4)[1:]]
SAID_BY = [SAID[n % 2] for n in range(4)[1:]]


def test_combinations_come_to_the_findings_of_what_they_say(filled: SqliteBackend) -> None:
    filled.apply(Batch("a", [packed(*SAYING, said=SAID_BY)]))
    again = [each.evolve(id=each.id + 10) for each in SAYING]
    filled.apply(Batch("a", [packed(*again, said=SAID_BY)]))
    single = [each.evolve(id=each.id + 20) for each in SAYING]
    filled.apply(Batch("a", map(Insert, single)))
    assert list(filled.select(Query(ValidationResult, "a"))) == [*SAYING, *again, *single]
    assert len(findings_of(filled)) == 2


def test_combinations_are_forgotten_with_what_was_rolled_back(filled: SqliteBackend) -> None:
    rows = packed(*SAYING, said=SAID_BY)
    with pytest.raises(StaleWrite):
        filled.apply(Batch("a", [rows, Update(Document, 9, {"title": "x"})]))
    filled.apply(Batch("a", [rows]))
    assert list(filled.select(Query(ValidationResult, "a"))) == SAYING


def test_combinations_are_those_of_their_tenant(filled: SqliteBackend) -> None:
    theirs = [record.evolve(id=9, tenant_id="b") for record in PARENTS]
    theirs[1] = theirs[1].evolve(root_id=9)
    theirs[2] = theirs[2].evolve(document_id=9)
    filled.apply(Batch("b", map(Insert, theirs)))
    filled.apply(Batch("a", [packed(*SAYING, said=SAID_BY)]))
    others = [each.evolve(id=each.id + 10, tenant_id="b", validation_id=9) for each in SAYING]
    filled.apply(Batch("b", [packed(*others, said=SAID_BY)]))
    assert list(filled.select(Query(ValidationResult, "b"))) == others
    assert len(findings_of(filled)) == 4


def test_memory_of_combinations_is_bounded(
    filled: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "REMEMBERED_FINDINGS", 3)
    for n in range(1, 20):
        fresh = Combination(SAID[0].values)
        filled.apply(Batch("a", [packed(result(n, message="one"), said=[fresh])]))
    assert sum(map(len, filled._writer._results._known.values())) <= 4
    assert len(findings_of(filled)) == 1


def test_lost_key_is_damage(filled: SqliteBackend) -> None:
    with filled._transaction() as connection:
        connection.execute("DELETE FROM store_settings")
    with pytest.raises(StorageDamaged, match="key of the findings"):
        filled.apply(Batch("a", [Insert(result(1))]))


# --- Anything done to results leaves what the law says, and no orphan -----------------------------

IDS = st.integers(1, 4)
FIELDS = ("message", "status", "severity", "evidence", "confidence_score", "module_id")


@st.composite
def batches(draw: st.DrawFn, present: set[int]) -> Batch:
    """Mostly such that it can be applied to results with these ids."""
    drawn = {id: draw(operations(id, id in present)) for id in draw(st.sets(IDS, min_size=1))}
    return Batch("a", drawn.values())


@st.composite
def operations(draw: st.DrawFn, id: int, present: bool) -> Operation:
    fields = {f: draw(st.sampled_from(pool(ValidationResult.domains[f])[:3])) for f in FIELDS}
    some = {field: fields[field] for field in draw(st.lists(st.sampled_from(FIELDS), max_size=3))}
    odd = draw(st.integers(0, 9)) == 0
    if present is odd:
        return Insert(result(id, **fields))
    guard = {"message": fields["message"]} if odd else {}
    update = Update(ValidationResult, id, some, guard)
    changed: list[Operation] = [update, update, Delete(ValidationResult, id, guard)]
    return draw(st.sampled_from(changed))


@pytest.fixture(scope="module")
def shared() -> Iterator[SqliteBackend]:
    backend = open_sqlite("sqlite://", synchronous="NORMAL")
    assert isinstance(backend, SqliteBackend)
    backend.prepare(create=True)
    backend.apply(Batch("a", map(Insert, PARENTS)))
    yield backend
    backend.close()


@settings(max_examples=100)
@given(data=st.data())
def test_results_are_what_memory_says_and_findings_what_results_say(
    shared: SqliteBackend, data: st.DataObject
) -> None:
    left = [Delete(ValidationResult, row.id) for row in shared.select(Query(ValidationResult, "a"))]
    shared.apply(Batch("a", left))
    memory = MemoryBackend()
    memory.load(PARENTS)
    for _ in range(4):
        present = {row.id for row in memory.select(Query(ValidationResult, "a"))}
        batch = data.draw(batches(present))
        assert outcome(shared, batch) == outcome(memory, batch)
    assert list(shared.dump()) == list(memory.dump())
    kept = findings_of(shared)
    assert len(kept) == len(set(kept))
    assert set(kept) == said(shared)


def outcome(backend: Any, batch: Batch) -> Any:
    try:
        backend.apply(batch)
    except Conflict as error:
        return type(error)
    return None
