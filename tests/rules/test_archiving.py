"""RET-4: what moving a document to the archive and back asks of the store."""

from typing import Any

import pytest

from loki_storage.batch import DeleteMany, Insert, Require
from loki_storage.enums import AuditAction
from loki_storage.models import (
    ArchivedDocument,
    Chain,
    Correction,
    Document,
    DocumentTag,
    Kind,
    Record,
    Validation,
)
from loki_storage.rules import archiving as rules
from loki_storage.rules.change import Change, Edit, Removal, Step, edit
from loki_storage.values import LIMITS, parse
from tests.strategies import sample

STUB = sample(ArchivedDocument).evolve(id=1, tenant_id="t", client_id="a", bundle="old")
ROWS: list[Record] = [
    sample(kind).evolve(id=id)
    for kind, id in (
        *((Chain, 1), (Document, 1), (Document, 2), (DocumentTag, 3)),
        *((Validation, 4), (Correction, 5)),
    )
]


def removed(step: Step) -> list[tuple[Kind, int]]:
    if isinstance(step, DeleteMany):
        return [(step.kind, id) for id in step.ids]
    return [(type(step.before), step.before.id)] if isinstance(step, Removal) else []


def test_stub_tells_the_ids_of_all_but_the_chain() -> None:
    told = rules.members_of([*ROWS, sample(Document).evolve(id=9)])
    assert told == {
        "documents": [[1, 2], [9, 9]],
        "document_tags": [[3, 3]],
        "validations": [[4, 4]],
        "validation_results": [],
        "corrections": [[5, 5]],
        "correction_history": [],
    }


def test_set_leaves_its_stub_children_first_and_as_it_was_copied() -> None:
    change = rules.archive(STUB, ROWS, {"a": 1})
    gone = [key for step in change.steps for key in removed(step)]
    assert gone == [
        *((Correction, 5), (Validation, 4), (DocumentTag, 3)),
        *((Document, 1), (Document, 2), (Chain, 1)),
    ]
    guards = {type(s.before): s.guard.keys() for s in change.steps if isinstance(s, Removal)}
    assert {kind: set(names) for kind, names in guards.items() if names} == {
        Chain: {"revision"},
        Validation: {"status"},
        Correction: {"status", "updated_at"},
    }
    for step in (step for step in change.steps if isinstance(step, Removal)):
        assert all(step.before.stored(name) == value for name, value in step.guard.items())
    assert change.steps[-1] == Insert(STUB)
    assert (change.action, change.entity_id, change.document_id) == (AuditAction.ARCHIVE, 1, 1)
    assert (change.client_id, change.metadata) == ("a", {"a": 1})


def test_set_comes_back_as_it_was_and_its_stub_goes() -> None:
    change = rules.unarchive(STUB, ROWS, None)
    assert list(change.steps) == [*map(Insert, ROWS), Removal(STUB, {"bundle": "old"})]
    assert change.action == AuditAction.UNARCHIVE


def test_stub_names_where_its_rows_are_now() -> None:
    step = rules.moved(STUB, bundle="new")
    assert (step.before, step.guard, step.changes) == (STUB, {"bundle": "old"}, {"bundle": "new"})


@pytest.mark.parametrize("metadata", [None, {"policy": "p"}])
def test_what_is_done_to_rows_in_the_archive_is_told_and_not_asked_of_the_store(
    metadata: Any,
) -> None:
    chain, first, second, link, validation, correction = ROWS
    rows = {(type(row), row.id): row for row in ROWS if row is not correction}
    here: list[Step] = [
        Require(Chain, 7),
        edit(correction, reasoning="here"),
        Insert(sample(Document)),
    ]
    change = Change(
        action="anonymize",
        entity_type="document",
        entity_id=1,
        client_id="a",
        steps=[
            *(here[0], Edit(first, {"title": "new"}), here[1]),
            *(Removal(link), Removal(validation), here[2], Edit(chain, {"live": False})),
        ],
        metadata=metadata,
    )
    left, after = rules.elsewhere(change, STUB, rows)
    assert list(left.steps) == here
    assert after == [
        *(chain.replaced({"live": False}), first.replaced({"title": "new"}), second),
    ]
    told: Any = parse(str(left.metadata))
    archived = told.pop("archived")
    assert told == (metadata or {})
    assert archived == [
        {"kind": "documents", "op": "update", "ids": [[1, 1]]},
        {"kind": "document_tags", "op": "delete", "ids": [[3, 3]]},
        {"kind": "validations", "op": "delete", "ids": [[4, 4]]},
    ]


def test_stub_goes_with_the_last_row_and_what_was_told_stays() -> None:
    rows = {(type(row), row.id): row for row in ROWS}
    before = Change(action="purge", entity_type="document", entity_id=1, client_id="a", steps=())
    some, after = rules.elsewhere(before, STUB, rows)
    assert (list(some.steps), after) == ([], ROWS)
    steps = [Removal(row) for row in ROWS]
    whole = Change(
        action="purge",
        entity_type="document",
        entity_id=1,
        client_id="a",
        steps=steps,
        metadata=some.metadata,
    )
    left, after = rules.elsewhere(whole, STUB, rows)
    assert (list(left.steps), after) == ([Removal(STUB, {"bundle": "old"})], [])
    told: Any = parse(str(left.metadata))
    assert told["archived"][0] == {"kind": "documents", "op": "delete", "ids": [[1, 2]]}


def test_limits_on_json_do_not_bind_what_is_told_of_the_archive() -> None:
    longest: Any = {"a": "x" * (LIMITS.json_bytes - 9)}
    change = Change(
        action="purge",
        entity_type="document",
        entity_id=1,
        client_id="a",
        steps=[Removal(ROWS[1])],
        metadata=longest,
    )
    left, _ = rules.elsewhere(change, STUB, {(Document, 1): ROWS[1]})
    told: Any = parse(str(left.metadata))
    assert told["a"] == longest["a"]
