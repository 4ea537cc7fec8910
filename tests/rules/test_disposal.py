"""RET-4, DUP-5: what deletion and anonymization leave of a record, told row by row."""

from typing import Any

import pytest

from loki_storage.batch import DeleteMany
from loki_storage.enums import EntityType
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.rules import disposal as rules
from loki_storage.rules.change import Change, Edit, Removal
from loki_storage.rules.retained import ANONYMIZED, placeholder, token_hash
from tests.strategies import sample

CHAIN = Chain(id=1, tenant_id="t", client_id="a", revision=7, text_claim="x", intercept_claim="y")
KINDS = [Document, Validation, ValidationResult, Correction, CorrectionHistory, AuditEntry]
DATES = "0123456789-+:.TZ"


def of(kind: Kind, **fields: Any) -> Any:
    """A row of the kind whose JSON tells of a person."""
    told: dict[Kind, dict[str, Any]] = {
        CorrectionHistory: {
            "changes": {"fields": {"confidence": {"before": 1}}, "group": [[1, 1]]}
        },
        AuditEntry: {"action": "update", "changes": {"fields": []}, "metadata_json": {"a": "Bob"}},
    }
    return sample(kind).evolve(**{**told.get(kind, {}), **fields})


def anonymized(record: Record, *tokens: str) -> Any:
    return record.replaced(rules.anonymous(record, tokens).operation.changes)


def chain_edit(change: Change | None) -> Edit:
    """The chain's revision is the guard, and one more."""
    assert change is not None
    (edit,) = (s for s in change.steps if isinstance(s, Edit) and isinstance(s.before, Chain))
    assert (edit.guard, edit.changes["revision"]) == ({"revision": 7}, 8)
    return edit


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_anonymous_stays_as_it_is(kind: Kind) -> None:
    once = anonymized(of(kind), "first")
    assert rules.anonymous(once, ["second"]).changes == {}


@pytest.mark.parametrize("other", ["", "zzz"])
def test_text_that_came_after_goes_too(other: str) -> None:
    document = anonymized(of(Document), "first").evolve(content=other)
    assert anonymized(document, "second").content == placeholder("second")
    validation = anonymized(of(Validation), "first").evolve(request_hash=other or "0")
    after = anonymized(validation, "second")
    assert (after.config[ANONYMIZED], after.request_hash) == ("second", token_hash("second"))


@pytest.mark.parametrize("json", [None, [], {ANONYMIZED: 5}, {"name": "Bob"}])
def test_token_is_text_and_made_where_there_is_none(json: Any) -> None:
    assert anonymized(of(Document, metadata_json=json), "t").metadata_json == {ANONYMIZED: "t"}
    assert anonymized(of(Correction, metadata_json=json), "t").metadata_json == {ANONYMIZED: "t"}
    assert anonymized(of(Validation, config=json), "t").config == {ANONYMIZED: "t"}


def test_of_events_the_dates_stay() -> None:
    dates = {"signed": "2026-01-31", "all": DATES, "longest": "1" * 40}
    others = {"who": "Bob", "number": 5, "long": "1" * 41, "none": None}
    for events, kept in (({**dates, **others}, {"events": dates}), (others, {}), ([], {})):
        document = of(Document, metadata_json={"events": events})
        after = anonymized(document, "t")
        assert after.metadata_json == {ANONYMIZED: "t", **kept}


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        ({"built_on": 1, "version": 2, "name": "Bob", "count": 3}, {"built_on": 1, "version": 2}),
        ({"version": "Bob"}, {"version": None}),
        ({"name": "Bob"}, None),
        (None, None),
    ],
)
def test_of_an_entrys_metadata_numbers_of_versions_stay(metadata: Any, kept: Any) -> None:
    assert anonymized(of(AuditEntry, metadata_json=metadata)).metadata_json == kept


def test_of_a_read_all_stays_but_what_was_asked_for() -> None:
    told = {"kind": "documents", "query": {"name": "Bob"}, "ids": [[1, 2]], "when": "today"}
    entry = of(AuditEntry, action="".join(["re", "ad"]), metadata_json=told)
    edit = rules.anonymous(entry, [])
    after = entry.replaced(edit.operation.changes)
    assert after.metadata_json == {name: told[name] for name in ("kind", "ids", "when")}
    assert edit.silent
    assert after.actor_id == entry.actor_id


@pytest.mark.parametrize("kind", [*EntityType])
def test_claims_are_of_the_whole_document(kind: str) -> None:
    """Another text could be asked for by the hash of what was there."""
    name = "".join([*kind])
    change = rules.anonymize(CHAIN, [of(Document)], ["a", "b", "c"], None, name, 5)
    whole = {"text_claim": token_hash("b"), "intercept_claim": token_hash("c")}
    claims = whole if name == "document" else {}
    assert chain_edit(change).changes == {"revision": 8, **claims}
    assert change is not None
    assert (change.entity_type, change.entity_id) == (name, 5)
    assert change.validation_id == (5 if name == "validation" else None)


def test_nothing_to_anonymize_is_no_change() -> None:
    once = anonymized(of(Document), "first")
    assert rules.anonymize(CHAIN, [once], [], None) is None


def test_who_anonymized_a_document_before_stays_told() -> None:
    proof, other = of(AuditEntry, action="anonymize"), of(AuditEntry, action="create")
    assert rules.anonymize(CHAIN, [proof], [], None) is None
    change = rules.anonymize(CHAIN, [proof, other], ["a", "b"], None)
    assert change is not None
    assert [s.before for s in change.steps if isinstance(s, Edit)][:-1] == [other]


def test_member_goes_with_what_hangs_on_it() -> None:
    correction = of(Correction, validation_id=5)
    changes = (
        rules.delete_validation(CHAIN, 5, [6, 7], [correction], None),
        rules.delete_correction(CHAIN, 5, [6, 7], None),
    )
    for change, kind, hanging in zip(
        changes, (Validation, Correction), (ValidationResult, CorrectionHistory), strict=True
    ):
        chain_edit(change)
        assert DeleteMany(hanging, [6, 7]) in change.steps
        gone = [(type(s.before), s.before.id) for s in change.steps if isinstance(s, Removal)]
        assert gone == [(kind, 5)]
        assert (change.entity_id, change.document_id) == (5, 1)
    assert [change.validation_id for change in changes] == [5, None]
    (loose,) = (s for s in changes[0].steps if isinstance(s, Edit) and s.before is correction)
    assert loose.changes == {"validation_id": None}
