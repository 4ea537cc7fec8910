"""Bulk writes do what one call per item does, as one batch or with an outcome each (TXN-9)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import AsyncStorage, Outcome, Session, Storage
from loki_storage.batch import InsertMany
from loki_storage.errors import (
    ConnectionLost,
    DuplicateDocument,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    OutcomeUnknown,
    ReadOnly,
    ResultTooLarge,
    StaleWrite,
    StorageError,
    Unavailable,
)
from loki_storage.models import KINDS, AuditEntry, Chain, Document
from tests.programs import PRELUDE, UNKNOWN, check_explained, check_laws, entries, perform, view
from tests.stores import Fault, new_tenant, unsteady

Begin = Callable[..., Session]
Bulk = Callable[[Session, list[int]], Any]
Each = Callable[[Session, int], Any]

PAIRS: dict[str, tuple[Bulk, Each]] = {
    "delete": (
        lambda s, ids: s.documents.delete_documents(ids, reason="r"),
        lambda s, id: s.documents.delete(id, reason="r"),
    ),
    "restore": (
        lambda s, ids: s.documents.restore_documents(ids),
        lambda s, id: s.documents.restore(id),
    ),
    "tag": (
        lambda s, ids: s.documents.tag_documents(ids, "new"),
        lambda s, id: s.documents.add_tag(id, "new"),
    ),
    "tag again": (
        lambda s, ids: s.documents.tag_documents(ids, "a"),
        lambda s, id: s.documents.add_tag(id, "a"),
    ),
    "untag": (
        lambda s, ids: s.documents.untag_documents(ids, "a"),
        lambda s, id: s.documents.remove_tag(id, "a"),
    ),
    "untag unknown": (
        lambda s, ids: s.documents.untag_documents(ids, "never"),
        lambda s, id: s.documents.remove_tag(id, "never"),
    ),
}
PUBLIC = [kind for kind in KINDS.values() if kind is not AuditEntry]


def described(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [{"content": text, "document_type": "email", "client_id": "a", **more} for text in texts]


def furnish(session: Session, steps: list[Any]) -> None:
    more = [("add_tag", 0, 0), ("append", 0, 1), ("create_document", 4, 2), ("delete", 2, 0)]
    for step in [*PRELUDE, *more, *steps]:
        perform(session, step)


def shape(session: Session) -> list[Any]:
    """All rows without ids and times, so that two stores can be compared."""
    told = []
    for row in view(session, session.tenant, PUBLIC):
        fields = {f: row.stored(f) for f in row.domains if not f.endswith(("_at", "id", "hash"))}
        told.append((row.table, sorted(fields.items())))
    return told


@settings(max_examples=10)
@pytest.mark.parametrize("name", PAIRS)
@given(picks=st.lists(st.integers(0, 9), max_size=5), committed=st.booleans())
def test_bulk_does_what_one_call_each_does(
    store: Storage, name: str, picks: list[int], committed: bool
) -> None:
    bulk, each = PAIRS[name]
    shapes = []
    for way in ("bulk", "each"):
        with store.session(tenant=new_tenant()) as session:
            furnish(session, [])
            if committed:
                session.commit()
            before = view(session, session.tenant)
            documents = [row.id for row in before if isinstance(row, Document)]
            ids = [documents[pick % len(documents)] for pick in picks]
            error: StorageError | None = None
            try:
                with session.as_one():
                    if way == "bulk":
                        bulk(session, ids)
                    for id in ids if way == "each" else ():
                        each(session, id)
            except StorageError as refused:
                error = refused
            shapes.append((shape(session), type(error)))
            after = view(session, session.tenant)
            check_explained(before, after, entries(after) - entries(before))
            check_laws(after)
    assert shapes[0] == shapes[1]


DESCRIPTIONS = st.fixed_dictionaries(
    {
        "content": st.sampled_from(["a", "A", "ß\r\n", ""]),
        "document_type": st.sampled_from(["email", "a word of its own"]),
        "client_id": st.sampled_from(["a", "b"]),
    },
    optional={
        "title": st.sampled_from([None, "", "t"]),
        "description": st.just("d"),
        "source": st.none(),
        "language": st.sampled_from([None, "de"]),
        "user_id": st.just("u"),
        "metadata": st.sampled_from([None, {"b": 1, "a": 10**30}, [1.0]]),
        "tags": st.lists(st.sampled_from(["x", "y", "a"]), max_size=4),
        "on_duplicate": st.sampled_from(["raise", "return", "allow", "return"]),
    },
)


@settings(max_examples=40)
@given(
    descriptions=st.lists(DESCRIPTIONS, max_size=5),
    there=st.lists(DESCRIPTIONS, max_size=2),
    committed=st.booleans(),
)
def test_create_documents_does_what_one_call_each_does(
    store: Storage,
    descriptions: list[dict[str, Any]],
    there: list[dict[str, Any]],
    committed: bool,
) -> None:
    found: list[Any] = []
    for way in ("bulk", "each"):
        made: list[Document] = []
        error: StorageError | None = None
        with store.session(tenant=new_tenant()) as session:
            for one in there:
                session.documents.create_document(**{**one, "on_duplicate": "allow"})
            if committed:
                session.commit()
            before = view(session, session.tenant)
            try:
                with session.as_one():
                    if way == "bulk":
                        made = session.documents.create_documents(descriptions)
                    for one in descriptions if way == "each" else ():
                        made.append(session.documents.create_document(**one))
            except StorageError as refused:
                error = refused
            after = view(session, session.tenant)
            check_explained(before, after, entries(after) - entries(before))
            check_laws(after)
            rows = sorted(shape(session), key=repr)  # tags of many are made in another order
            told: list[Any] = [rows, claims(session), trail(session), type(error)]
        if error is None:
            stored = store.backend.get_many(Document, {d.id for d in made}, session.tenant)
            assert made == [stored[document.id] for document in made]
            places = [[d.id for d in made].index(document.id) for document in made]
            told.append(places)
        found.append(told)
    assert found[0] == found[1]


def claims(session: Session) -> list[Any]:
    rows = view(session, session.tenant, [Chain])
    return [(row.stored("client_id"), row.stored("text_claim")) for row in rows]


def trail(session: Session) -> list[Any]:
    """What the entries say, ids apart."""
    rows: Any = view(session, session.tenant, [AuditEntry])
    kinds = [[row["kind"] for row in (entry.changes or {}).get("rows", ())] for entry in rows]
    return sorted(
        (entry.entity_type, entry.action, entry.client_id, entry.actor_id, told)
        for entry, told in zip(rows, kinds, strict=True)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "a\0"},
        {"content": None},
        {"document_type": " a"},
        {"client_id": ""},
        {"title": "t" * 501},
        {"language": 1, "description": 1},
        {"metadata": {"a": float("nan")}, "user_id": ""},
        {"user_id": ""},
        {"tags": "x"},
        {"on_duplicate": "perhaps"},
        {"on_duplicate": ["raise"]},
        {"contnt": "a", "content": 1},
    ],
)
def test_wrong_one_among_many_is_refused_as_alone(begin: Begin, wrong: dict[str, Any]) -> None:
    session = begin()
    given = described("1", "2", "3")
    given[1].update(wrong)
    refused = []
    calls: list[Callable[[], object]] = [
        lambda: session.documents.create_documents(given),
        lambda: session.documents.create_document(**given[1]),
    ]
    for call in calls if "contnt" not in wrong else calls[:1]:
        with pytest.raises((InvalidValue, InvalidField)) as error:
            call()
        found: Any = error.value
        refused.append((found.field, str(found)))
        assert not session.pending
    assert refused[0] == refused[-1]
    (outcome,) = session.documents.create_documents(given[1:2], on_error="report")
    assert getattr(outcome.error, "field", None) == refused[0][0]


def test_documents_need_what_one_needs(begin: Begin) -> None:
    session = begin()
    for name in ("content", "document_type", "client_id"):
        given = described("1", "2")
        del given[1][name]
        with pytest.raises(InvalidValue) as refused:
            session.documents.create_documents(given)
        assert (refused.value.field, refused.value.reason) == (name, "is required")
    with pytest.raises(InvalidValue):
        session.documents.create_documents([*described("1"), "2"])  # type: ignore[list-item]
    assert session.documents.create_documents([]) == []
    assert not session.pending


def test_many_documents_are_no_operation_each(store: Storage) -> None:
    """No record, no audit entry and no operation is made one by one: columns reach the batch."""
    backend, storage = unsteady(store)
    with storage.session(tenant=new_tenant()) as session:
        session.documents.create_documents(described(*map(str, range(50))))
    (batch,) = backend.batches
    assert {type(part) for part in batch.parts} == {InsertMany}
    assert {kind: len(rows) for kind, rows in batch.inserts.items()} == {
        Chain: 50,
        Document: 50,
        AuditEntry: 50,
    }


def test_lost_race_names_the_document_that_has_a_text_of_many(store: Storage, begin: Begin) -> None:
    backend, storage = unsteady(store)
    tenant, won = begin().tenant, []

    def meanwhile() -> None:
        with begin() as other:
            won.extend(other.documents.create_documents(described("7", "30", "allowed")))

    backend.fail(Fault(None, meanwhile=meanwhile))
    session = storage.session(tenant=tenant)
    allowed = described("allowed", on_duplicate="allow")
    session.documents.create_documents([*allowed, *described(*map(str, range(20, 50)))])
    with pytest.raises(DuplicateDocument) as lost:
        session.commit()
    assert lost.value.existing_id == won[1].id
    assert lost.value.retryable
    assert backend.calls <= 5, "it is not asked about each text"
    assert begin().documents.count() == 3


def test_every_document_has_its_own_audit_entry(begin: Begin) -> None:
    with begin() as session:
        made = session.documents.create_documents(described("1", "2", "3", tags=["x", "y"]))
        session.documents.delete_documents([document.id for document in made])
    trail = begin().audit.get_all()
    assert sorted((entry.action, entry.entity_type, entry.entity_id) for entry in trail) == sorted(
        [
            *(("create", "tag", tag.id) for tag in begin().tags.get_all()),
            *(("create", "document", document.id) for document in made),
            *(("delete", "document", document.id) for document in made),
        ]
    )


def test_created_documents_are_those_of_single_calls(begin: Begin) -> None:
    with begin() as session:
        (made,) = session.documents.create_documents(
            described("text", title="t", tags=["x"], metadata={"a": 1}, language="de", user_id="u")
        )
    assert begin().documents.get_by_id(made.id) == made
    assert (made.title, made.metadata_json, made.language, made.user_id) == (
        "t",
        {"a": 1},
        "de",
        "u",
    )
    assert [tag.name for tag in begin().documents.tags_of(made.id)] == ["x"]


def test_duplicates_among_themselves_and_in_the_store(begin: Begin) -> None:
    with begin() as session:
        (there,) = session.documents.create_documents(described("there"))
    session = begin()
    with pytest.raises(DuplicateDocument) as refused:
        session.documents.create_documents(described("new", "there"))
    assert refused.value.existing_id == there.id
    assert not session.pending, "nothing of a refused bulk write is left"
    with pytest.raises(DuplicateDocument):
        session.documents.create_documents(described("twice", "twice"))
    with begin() as session:
        same = session.documents.create_documents(
            described("there", "twice", "twice"), on_duplicate="return"
        )
        assert [same[0], same[1]] == [there, same[2]]
    with begin() as session:
        allowed = described("twice", on_duplicate="allow")
        found = session.documents.create_documents([*allowed, *described("other")])
    assert len({document.id for document in [*same, *found]}) == 4


def test_query_names_the_documents(begin: Begin) -> None:
    with begin() as session:
        made = session.documents.create_documents(described("1", "2", "3"))
    with begin() as session:
        query = session.documents.query().not_equals("content_hash", made[0].content_hash)
        gone = session.documents.delete_documents(query)
    assert {document.id for document in gone} == {made[1].id, made[2].id}
    with begin() as session:
        session.documents.restore_documents(session.documents.query().only_deleted().build())
    assert begin().documents.count() == 3
    with pytest.raises(InvalidField):
        begin().documents.delete_documents(begin().validations.query())  # type: ignore[arg-type]


# --- Outcomes --------------------------------------------------------------------------------


def oks(outcomes: list[Outcome[Document]]) -> list[bool]:
    return [outcome.ok for outcome in outcomes]


def test_each_item_has_its_outcome(begin: Begin) -> None:
    session = begin()
    given = described("1", "2", "1", "3", *(f"x{n}" for n in range(120)))
    given[3] = {"content": "3"}
    outcomes = session.documents.create_documents(given, on_error="report")
    assert [outcome.item for outcome in outcomes] == list(range(124))
    assert [n for n, ok in enumerate(oks(outcomes)) if not ok] == [2, 3]
    assert isinstance(outcomes[2].error, DuplicateDocument)
    assert isinstance(outcomes[3].error, InvalidValue)
    assert begin().documents.count() == 122
    for outcome in outcomes:
        assert outcome.record is None or begin().documents.get_by_id(outcome.record.id)
    ids = [outcome.record.id for outcome in outcomes if outcome.record is not None]
    deleted = session.documents.delete_documents([*ids, UNKNOWN], on_error="report")
    assert oks(deleted) == [True] * 122 + [False]
    assert deleted[-1].item == UNKNOWN
    assert isinstance(deleted[-1].error, NotFound)
    assert begin().documents.count() == 0
    assert oks(session.documents.restore_documents(ids[:2], on_error="report")) == [True, True]
    tagged = session.documents.tag_documents(ids[:3], "x", on_error="report")
    assert oks(tagged) == [True, True, False]
    assert oks(session.documents.untag_documents(ids[:1], "x", on_error="report")) == [True]


def test_reports_are_units_of_their_own(begin: Begin) -> None:
    session = begin()
    session.documents.create_document("pending", "email", "a")
    with pytest.raises(IllegalTransition):
        session.documents.create_documents(described("1"), on_error="report")
    with pytest.raises(IllegalTransition):
        session.documents.create_documents([], on_error="report")
    session.rollback()
    session.documents.create_documents(described("1"), on_error="report")
    session.rollback()
    assert begin().documents.count() == 1


def test_conflict_at_commit_is_found_item_by_item(store: Storage, begin: Begin) -> None:
    backend, storage = unsteady(store)
    with begin() as session:
        made = session.documents.create_documents(described(*"1234"))
    ids = [document.id for document in made]
    backend.fail(Fault(StaleWrite("documents", ids[0])))
    session = storage.session(tenant=made[0].tenant_id)
    assert oks(session.documents.delete_documents(ids, on_error="report")) == [True] * 4
    assert len(backend.batches) == 3


def test_store_that_goes_away_ends_the_report(
    store: Storage, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.repositories.outcomes.REPORTED_AT_ONCE", 2)
    backend, storage = unsteady(store)
    with begin() as session:
        made = session.documents.create_documents(described(*"12345"))
    backend.fail(Fault(None), *[Fault(ConnectionLost("gone"))] * 99)
    session = storage.session(tenant=made[0].tenant_id, timeout=0.01)
    outcomes = session.documents.delete_documents([d.id for d in made], on_error="report")
    assert oks(outcomes) == [True, True, False, False, False]
    assert [outcome.item for outcome in outcomes] == [document.id for document in made]
    assert {type(outcome.error) for outcome in outcomes[2:4]} == {OutcomeUnknown}
    assert type(outcomes[4].error) is Unavailable
    assert len(begin().documents.query().only_deleted().all()) == 2


# --- Results of a validation -----------------------------------------------------------------


def running(session: Session) -> int:
    """A validation in progress, committed."""
    document = session.documents.create_document("text", "email", "a")
    id = session.validations.create_validation(document.id, ["m"], "a").id
    session.validations.start_validation(id)
    session.commit()
    return id


def gate(n: int, **more: Any) -> dict[str, Any]:
    return {"scope": "module", "gate_key": f"m.{n}", "status": "fail", "severity": "low", **more}


def test_each_result_has_its_outcome_and_each_batch_its_audit_entry(begin: Begin) -> None:
    session = begin()
    id = running(session)
    given: list[Any] = [gate(n) for n in range(230)]
    given[7], given[120], given[229] = gate(7, status="perhaps"), "no mapping", gate(229, gat="x")
    before = view(session, session.tenant)
    outcomes = session.validations.add_results(id, given, on_error="report")
    after = view(begin(), session.tenant)
    assert [outcome.item for outcome in outcomes] == list(range(230))
    refused = {outcome.item: type(outcome.error) for outcome in outcomes if not outcome.ok}
    assert refused == dict.fromkeys((7, 120, 229), InvalidValue)
    stored = begin().validations.get_results(id)
    assert stored == [outcome.record for outcome in outcomes if outcome.record is not None]
    assert [one.gate_key for one in stored] == [f"m.{n}" for n in range(230) if n not in refused]
    found = begin().validations.get_by_id(id)
    assert found is not None
    assert (found.fail_count, found.low_count) == (227, 227)
    check_explained(before, after, entries(after) - entries(before))
    check_laws(after)


def test_results_are_reported_in_units_of_their_own(begin: Begin) -> None:
    session = begin()
    id = running(session)
    session.documents.create_document("pending", "email", "a")
    for results in ([gate(1)], []):
        with pytest.raises(IllegalTransition, match="commit or roll back"):
            session.validations.add_results(id, results, on_error="report")
    session.rollback()
    assert session.validations.add_results(id, [], on_error="report") == []
    session.validations.add_results(id, [gate(1)], on_error="report")
    session.rollback()
    assert len(begin().validations.get_results(id)) == 1


def test_validation_that_takes_no_results_is_refused_before_any(begin: Begin) -> None:
    session = begin()
    id = running(session)
    with pytest.raises(NotFound):
        session.validations.add_results(UNKNOWN, [gate(1)], on_error="report")
    with begin() as other:
        other.validations.complete_validation(id)
    with pytest.raises(IllegalTransition, match="in progress"):
        session.validations.add_results(id, [gate(1)], on_error="report")
    assert begin().validations.get_results(id) == []


def test_validation_that_ends_meanwhile_takes_no_more_results(
    store: Storage, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.repositories.outcomes.REPORTED_AT_ONCE", 2)
    backend, storage = unsteady(store)
    session = begin()
    id = running(session)

    def end() -> None:
        with begin() as other:
            other.validations.cancel_validation(id)

    backend.fail(Fault(None), Fault(None, meanwhile=end))
    with storage.session(tenant=session.tenant) as reporting:
        outcomes = reporting.validations.add_results(
            id, [gate(n) for n in range(4)], on_error="report"
        )
    assert [outcome.ok for outcome in outcomes] == [True, True, False, False]
    assert {type(outcome.error) for outcome in outcomes[2:]} == {IllegalTransition}
    assert len(begin().validations.get_results(id)) == 2


def test_results_in_one_batch_are_all_or_nothing(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin()
    id = running(session)
    with pytest.raises(InvalidValue):
        session.validations.add_results(id, [gate(1), gate(2, status="perhaps")])
    with pytest.raises(InvalidValue, match="on_error"):
        session.validations.add_results(id, [gate(1)], on_error="ignore")  # type: ignore[call-overload]
    assert not session.pending
    monkeypatch.setattr("loki_storage.repositories.outcomes.MAXIMUM_BATCH", 2)
    with pytest.raises(ResultTooLarge, match="report"):
        session.validations.add_results(id, [gate(n) for n in range(3)])


def test_results_are_reported_under_asyncio(store: Storage, begin: Begin) -> None:
    session = begin()
    id = running(session)
    given = [gate(1), gate(2, status="perhaps"), gate(3)]
    outcomes = asyncio.run(
        AsyncStorage(store).run(
            lambda s: s.validations.add_results(id, given, on_error="report"),
            tenant=session.tenant,
        )
    )
    assert [outcome.ok for outcome in outcomes] == [True, False, True]


@pytest.mark.parametrize("on_error", ["raise", "report"])
def test_read_only_session_refuses_at_once(begin: Begin, on_error: Any) -> None:
    session = begin(read_only=True)
    with pytest.raises(ReadOnly):
        session.documents.create_documents(described("1"), on_error=on_error)
    id = running(begin())
    with pytest.raises(ReadOnly):
        session.validations.add_results(id, [gate(1)], on_error=on_error)


def test_batch_has_a_bound(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loki_storage.repositories.outcomes.MAXIMUM_BATCH", 2)
    with pytest.raises(ResultTooLarge, match="report"):
        begin().documents.create_documents(described(*"123"))


REFUSED: list[Callable[[Any], object]] = [
    lambda s: s.documents.create_documents("text"),
    lambda s: s.documents.create_documents(None),
    lambda s: s.documents.create_documents(described("1")[0]),
    lambda s: s.documents.create_documents(["text"]),
    lambda s: s.documents.create_documents(described("1"), on_error="ignore"),
    lambda s: s.documents.create_documents(described("1"), on_duplicate="ignore"),
    lambda s: s.documents.create_documents(described("1", on_duplicate="ignore")),
    lambda s: s.documents.create_documents(described("1", tags="vip")),
    lambda s: s.documents.create_documents(described("1", tags=[""])),
    lambda s: s.documents.create_documents(described("1", titel="x")),
    lambda s: s.documents.create_documents([{"content": "1"}]),
    lambda s: s.documents.delete_documents("1"),
    lambda s: s.documents.delete_documents(None),
    lambda s: s.documents.delete_documents(["1"]),
    lambda s: s.documents.delete_documents([None]),
    lambda s: s.documents.delete_documents([True]),
    lambda s: s.documents.restore_documents([1.0]),
    lambda s: s.documents.tag_documents([1], None),
]


@pytest.mark.parametrize("call", REFUSED)
def test_bulk_write_that_means_nothing_is_refused(
    begin: Begin, call: Callable[[Any], object]
) -> None:
    session = begin()
    with pytest.raises((InvalidValue, InvalidField, NotFound)):
        call(session)
    assert not session.pending
