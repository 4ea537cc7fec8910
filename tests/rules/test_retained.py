"""RET-1: when things happened to a record set, and what of it is anonymous, by its rows alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loki_storage.enums import CorrectionStatus, ValidationStatus
from loki_storage.models import Chain, Correction, Document, Kind, Validation
from loki_storage.rules.documents import content_hash
from loki_storage.rules.retained import (
    ANONYMIZED,
    FIELDS,
    Member,
    RecordSet,
    placeholder,
    token_hash,
)
from loki_storage.values import canonical
from tests.strategies import MIDNIGHT

CHAIN = Chain(id=1, tenant_id="t", client_id="a")
JSON = {Document: "metadata_json", Validation: "config", Correction: "metadata_json"}
OPEN = {ValidationStatus.PENDING, ValidationStatus.IN_PROGRESS, CorrectionStatus.PENDING}
TEXTS: dict[Kind, tuple[str, ...]] = {
    Document: ("title", "description", "source", "user_id"),
    Validation: ("user_id",),
    Correction: ("reasoning",),
}


def hour(n: int) -> datetime:
    return MIDNIGHT + timedelta(hours=n)


def member(kind: Kind, json: Any = None, **fields: Any) -> Member:
    """A member whose fields are NULL unless they are given."""
    named = {"id": 1, "root_id": 1, "document_id": 1, "created_at": MIDNIGHT, "version": 1}
    named[JSON[kind]] = None if json is None else canonical(json)
    return Member.of(kind, [{**named, **fields}.get(field) for field in FIELDS[kind]])


def anonymous(kind: Kind, **fields: Any) -> Member:
    """A member of which nothing is left."""
    ended = {Validation: ValidationStatus.FAILED, Correction: CorrectionStatus.REJECTED}
    rest: dict[str, Any] = {"request_hash": token_hash("t"), "status": ended.get(kind)}
    rest["content_hash"] = document_hash("t")
    return member(kind, {ANONYMIZED: "t"}, **{**rest, **fields})


def document_hash(token: str) -> str:
    return content_hash(placeholder(token))


@pytest.mark.parametrize("kind", TEXTS)
def test_row_is_anonymous_if_nothing_is_left_in_it(kind: Kind) -> None:
    assert anonymous(kind).anonymized
    for text in TEXTS[kind]:
        assert not anonymous(kind, **{text: "Bob"}).anonymized
    for json in (None, {}, {ANONYMIZED: 5}, ["t"]):
        told = None if json is None else canonical(json)
        assert not anonymous(kind, **{JSON[kind]: told}).anonymized


def test_document_may_be_deleted_and_anonymous() -> None:
    assert anonymous(Document, deleted_at=MIDNIGHT).anonymized


@pytest.mark.parametrize("proof", ["", "z"])
def test_token_without_its_hash_proves_nothing(proof: str) -> None:
    assert not anonymous(Document, content_hash=proof).anonymized
    assert not anonymous(Validation, request_hash=proof).anonymized
    assert anonymous(Correction).anonymized, "which has none"


@pytest.mark.parametrize("status", [*ValidationStatus])
def test_validation_that_still_runs_is_not_anonymous_for_good(status: ValidationStatus) -> None:
    assert anonymous(Validation, status=status).anonymized == (status not in OPEN)


@pytest.mark.parametrize("status", [*CorrectionStatus])
def test_correction_that_is_undecided_is_not_anonymous_for_good(status: CorrectionStatus) -> None:
    assert anonymous(Correction, status=status).anonymized == (status not in OPEN)


def test_member_shows_nothing_that_was_read() -> None:
    shown = repr(member(Document, {"a": "Bob"}, content_hash="hash", title="title"))
    assert not [told for told in ("Bob", "hash", "title") if told in shown]


def test_member_is_found_by_its_kind_and_id() -> None:
    members = [member(Validation, id=id) for id in (9, 5, 7)]
    found = RecordSet(CHAIN, (member(Document, id=5),), tuple(members))
    assert [found.member(Validation, id) for id in (5, 7, 9)] == [
        members[1],
        members[2],
        members[0],
    ]


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00", None),
        ("20260131", None),
        ("2026-99-99", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        (20260131, None),
        (None, None),
    ],
)
def test_event_has_a_date_or_an_aware_time(told: Any, moment: datetime | None) -> None:
    found = dict(member(Document, {"events": {"signed": told}}).events())
    assert found == ({} if moment is None else {"signed": moment})


LOST = {"superseded": "2020-01-01", "deleted": "2020-01-01"}


def test_superseded_is_a_set_with_a_second_version() -> None:
    first = member(Document, {"events": LOST}, created_at=hour(1))
    assert RecordSet(CHAIN, (first,)).times().keys() == {"created", "updated"}
    for number in (2, 3):
        newest = member(Document, {"events": LOST}, version=number, created_at=hour(number))
        times = RecordSet(CHAIN, (first, newest)).times()
        assert times["superseded"] == times["created"] == hour(number)
        assert "deleted" not in times


def test_deleted_is_a_set_whose_last_version_was_deleted() -> None:
    gone = CHAIN.evolve(live=False)
    versions = [member(Document, version=n, deleted_at=hour(n + 5)) for n in (1, 2)]
    validation = member(Validation, {"events": LOST}, id=5)
    whole = RecordSet(gone, tuple(versions), (validation,))
    assert whole.times()["deleted"] == hour(7)
    assert whole.times_of(validation)["deleted"] == hour(7)
    assert "superseded" not in whole.times_of(validation)
    unknown = RecordSet(gone, (member(Document, created_at=hour(2)), versions[0]))
    assert unknown.times()["deleted"] == hour(6)
    assert RecordSet(gone, (member(Document, created_at=hour(2)),)).times()["deleted"] == hour(2)


def test_builtin_triggers_are_no_events_of_a_member() -> None:
    validation = member(Validation, {"events": {**LOST, "signed": "2026-01-31"}}, id=5)
    whole = RecordSet(CHAIN, (member(Document),), (validation,))
    assert whole.times_of(validation).keys() == {"created", "updated", "signed"}
