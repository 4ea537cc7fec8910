"""VLD-1 to VLD-4 as callers of ``session.validations`` meet them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
from loki_storage.enums import GateStatus, RiskLevel
from loki_storage.errors import (
    Duplicate,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleWrite,
)
from loki_storage.models import Document, Validation
from tests.programs import view
from tests.stores import CLOCK, new_tenant

Begin = Callable[..., Session]


@pytest.fixture
def document(begin: Begin) -> Document:
    with begin() as session:
        return session.documents.create_document("text", "email", "a")


def running(session: Session, document: Document) -> Validation:
    """A validation in progress."""
    validation = session.validations.create_validation(document.id, ["gdpr"], document.client_id)
    return session.validations.start_validation(validation.id)


def result(status: str = "pass", severity: str | None = None, **more: Any) -> dict[str, Any]:
    fields = {"scope": "module", "gate_key": "gdpr.basis", "status": status, "severity": severity}
    return {**fields, **more}


# --- Life ------------------------------------------------------------------------------------


def test_whole_life(begin: Begin, document: Document) -> None:
    with begin() as session:
        validations = session.validations
        created = validations.create_validation(
            document.id, ["gdpr"], "a", "user", {"strict": True}
        )
        CLOCK.advance(seconds=1)
        validations.start_validation(created.id)
        validations.add_results(created.id, [result("fail", "high"), result("skip", "critical")])
        CLOCK.advance(milliseconds=1500)
        done = validations.complete_validation(created.id)
    assert (created.status, done.status) == ("pending", "completed")
    assert (done.duration_ms, done.overall_risk) == (1500, "high")
    assert (done.fail_count, done.high_count, done.critical_count) == (1, 1, 0)
    assert (done.config, done.modules_used, done.user_id) == ({"strict": True}, ["gdpr"], "user")
    found = begin().validations.get_with_results(done.id)
    assert found is not None
    assert found[0] == done
    assert [(row.gate_key, row.status) for row in found[1]] == [
        ("gdpr.basis", "fail"),
        ("gdpr.basis", "skip"),
    ]
    assert [entry.action for entry in begin().audit.get_by_validation(done.id)][::-1] == [
        "create",
        "start",
        "update",
        "complete",
    ]


def test_life_across_sessions_is_the_same(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = session.validations.create_validation(document.id, [], "a").id
    with begin() as session:
        session.validations.start_validation(id)
    with begin() as session:
        session.validations.add_result(id, **result("warning", "low"))
    with begin() as session:
        session.validations.add_result(id, **result("fail"))
    with begin() as session:
        done = session.validations.complete_validation(id)
    assert (done.warning_count, done.low_count, done.fail_count) == (1, 1, 1)
    assert done.overall_risk == "none", "a failure without severity has no rank (VLD-3)"


def test_validation_in_progress_goes_on_after_a_restore(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = running(session, document).id
        session.documents.delete(document.id)
        with pytest.raises(NotFound):
            session.validations.add_result(id, **result())
        session.documents.restore(document.id)
        session.validations.add_result(id, **result())
        assert session.validations.complete_validation(id).pass_count == 1


@pytest.mark.parametrize("end", ["complete_validation", "cancel_validation"])
def test_what_is_finished_is_immutable(begin: Begin, document: Document, end: str) -> None:
    with begin() as session:
        id = running(session, document).id
        session.validations.add_result(id, **result())
        getattr(session.validations, end)(id)
    before = view(begin(), document.tenant_id)
    validations = begin().validations
    for call in (
        lambda: validations.start_validation(id),
        lambda: validations.add_result(id, **result()),
        lambda: validations.add_results(id, []),
        lambda: validations.complete_validation(id),
        lambda: validations.fail_validation(id, "why"),
        lambda: validations.cancel_validation(id),
    ):
        with pytest.raises(IllegalTransition):
            call()
    assert view(begin(), document.tenant_id) == before


# --- Risk and counters -----------------------------------------------------------------------

found_results = st.lists(
    st.tuples(st.sampled_from(GateStatus), st.none() | st.sampled_from(RiskLevel)), max_size=6
)


@settings(max_examples=25)
@given(st.lists(found_results, max_size=3), st.none() | st.sampled_from(RiskLevel))
def test_risk_is_as_said_else_the_worst_failure(
    store: Storage, batches: list[Any], said: RiskLevel | None
) -> None:
    with store.session(tenant=new_tenant()) as session:
        document = session.documents.create_document("text", "email", "a")
        id = running(session, document).id
        for batch in batches:
            session.validations.add_results(id, [result(s, risk) for s, risk in batch])
            session.commit()
        done = session.validations.complete_validation(id, said)
    failed = [r for batch in batches for s, r in batch if s == "fail" and r is not None]
    worst = max(failed, key=lambda risk: risk.rank, default=RiskLevel.NONE)
    assert done.overall_risk is (worst if said is None else said)


def test_failure_that_comes_while_it_completes_stops_the_completion(
    begin: Begin, document: Document, store: Storage
) -> None:
    with begin() as session:
        id = running(session, document).id
    mine = begin()
    mine.validations.complete_validation(id)
    with begin() as other:
        other.validations.add_result(id, **result("fail", "critical"))
    with pytest.raises(StaleWrite):
        mine.commit()
    done = store.run(
        lambda session: session.validations.complete_validation(id), tenant=document.tenant_id
    )
    assert done.overall_risk is RiskLevel.CRITICAL


def test_results_of_two_writers_are_all_counted(
    begin: Begin, document: Document, store: Storage
) -> None:
    with begin() as session:
        id = running(session, document).id
    mine = begin()
    mine.validations.add_result(id, **result("fail", "low"))
    with begin() as other:
        other.validations.add_result(id, **result("fail", "high"))
    with pytest.raises(StaleWrite):
        mine.commit()
    store.run(
        lambda session: session.validations.add_result(id, **result("fail", "low")),
        tenant=document.tenant_id,
    )
    found = begin().validations.get_by_id(id)
    assert found is not None
    assert (found.fail_count, found.high_count, found.low_count) == (2, 1, 1)


def test_results_in_no_counter_do_not_stand_in_each_others_way(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        id = running(session, document).id
    mine = begin()
    mine.validations.add_result(id, **result("skip"))
    with begin() as other:
        other.validations.add_result(id, **result("error", "high"))
    mine.commit()
    assert len(begin().validations.get_results(id)) == 2
    late = begin()
    late.validations.add_result(id, **result("skip"))
    with begin() as other:
        other.validations.complete_validation(id)
    with pytest.raises(StaleWrite):
        late.commit()


def test_caller_cannot_set_what_is_counted_or_decided(begin: Begin, document: Document) -> None:
    with begin() as session:
        id = running(session, document).id
        for fields in ({"id": 1}, {"validation_id": 1}, {"client_id": "b"}, {"created_at": None}):
            with pytest.raises(InvalidValue, match="result"):
                session.validations.add_results(id, [result(**fields)])


@pytest.mark.parametrize(
    "given_result",
    [
        None,
        "fail",
        5,
        [],
        {},
        {"status": "pass"},
        result(status="bad"),
        result(severity="urgent"),
        result(gate_key=""),
        result(gate_key=None),
        result(scope=""),
        result(confidence_score=1.5),
        result(evidence={"a": float("nan")}),
        result(colour="red"),
    ],
)
def test_result_outside_the_value_domain_spoils_nothing(
    begin: Begin, document: Document, given_result: Any
) -> None:
    with begin() as session:
        id = running(session, document).id
        session.commit()
        with pytest.raises(InvalidValue):
            session.validations.add_results(id, [result(), given_result])
        assert not session.pending
        assert session.validations.get_results(id) == []


@pytest.mark.parametrize("risk", ["urgent", "", 5, "High", True])
def test_risk_is_one_of_five(begin: Begin, document: Document, risk: Any) -> None:
    with begin() as session:
        id = running(session, document).id
        with pytest.raises(InvalidValue, match="overall_risk"):
            session.validations.complete_validation(id, risk)


# --- Requests --------------------------------------------------------------------------------


def test_known_request_returns_its_validation_and_writes_nothing(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        first = session.validations.create_validation(document.id, ["m"], "a", request_hash="r")
        again = session.validations.create_validation(document.id, ["n"], "a", request_hash="r")
        assert again == first
        version = session.documents.create_version(document.id, "more")
    with begin() as session:
        for id in (document.id, version.id):
            known = session.validations.create_validation(id, [], "a", request_hash="r")
            assert known == first
        assert not session.pending
        session.documents.delete(document.id)
        session.commit()
        known = session.validations.create_validation(document.id, [], "a", request_hash="r")
        assert known == first, "also of a deleted one"
        assert not session.pending


def test_known_request_of_another_document_is_a_duplicate(begin: Begin, document: Document) -> None:
    with begin() as session:
        session.validations.create_validation(document.id, [], "a", request_hash="r")
        same_client = session.documents.create_document("other", "email", "a")
        other_client = session.documents.create_document("other", "email", "b")
        with pytest.raises(Duplicate) as caught:
            session.validations.create_validation(same_client.id, [], "a", request_hash="r")
        assert caught.value.fields == ("client_id", "request_hash")
        session.validations.create_validation(other_client.id, [], "b", request_hash="r")


def test_request_without_a_hash_has_one_of_its_own(begin: Begin, document: Document) -> None:
    with begin() as session:
        made = [session.validations.create_validation(document.id, [], "a") for _ in range(3)]
    assert len({validation.request_hash for validation in made}) == 3


@pytest.mark.parametrize("request_hash", ["", 5, "a" * 65, b"r"])
def test_hash_outside_the_value_domain_is_refused(
    begin: Begin, document: Document, request_hash: Any
) -> None:
    with begin() as session, pytest.raises(InvalidValue, match="request_hash"):
        session.validations.create_validation(document.id, [], "a", request_hash=request_hash)


def test_validation_belongs_to_the_client_of_its_document(begin: Begin, document: Document) -> None:
    with begin() as session, pytest.raises(InvalidValue, match="client_id"):
        session.validations.create_validation(document.id, [], "b")


@pytest.mark.parametrize("modules", ["gdpr", None, 5, [1]])
def test_modules_are_a_sequence_of_names(begin: Begin, document: Document, modules: Any) -> None:
    with begin() as session, pytest.raises(InvalidValue, match="modules_used"):
        session.validations.create_validation(document.id, modules, "a")


# --- Reading ---------------------------------------------------------------------------------


def test_any_member_answers_for_its_document_or_for_itself(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        first = session.validations.create_validation(document.id, [], "a")
        version = session.documents.create_version(document.id, "more")
        CLOCK.advance(seconds=1)
        second = session.validations.create_validation(version.id, [], "a")
    validations = begin().validations
    for id in (document.id, version.id):
        assert validations.get_by_document(id) == [second, first]
    assert validations.get_by_document(version.id, versions="this") == [second]
    with pytest.raises(InvalidValue, match="versions"):
        validations.get_by_document(document.id, versions="heads")


def test_gates_are_told_by_failures_with_the_worst_severity_by_rank(
    begin: Begin, document: Document
) -> None:
    with begin() as session:
        id = running(session, document).id
        session.validations.add_results(
            id,
            [
                result("fail", "low", gate_key="a.x"),
                result("fail", "critical", gate_key="a.x"),
                result("fail", "medium", gate_key="a.x"),
                result("fail", None, gate_key="b.y"),
                result("warning", "high", gate_key="b.y"),
                result("pass", gate_key="c.z"),
            ],
        )
    stats = begin().validations.get_gate_failure_stats("a")
    assert [(row["gate_key"], row["failure_count"], row["max_severity"]) for row in stats] == [
        ("a.x", 3, "critical"),
        ("b.y", 1, None),
    ]
    assert (stats[0]["module_id"], stats[0]["gate_id"]) == ("a", "x")
    assert begin().validations.get_gate_failure_stats("b") == []
    assert len(begin().validations.get_gate_failure_stats(limit=1)) == 1
    CLOCK.advance(days=3)
    assert begin().validations.get_gate_failure_stats(days=2) == []
    assert len(begin().validations.get_gate_failure_stats(days=4)) == 2


@pytest.mark.parametrize("limit", [-1, True, "1", 1.0])
def test_limit_that_is_none_is_refused_everywhere(begin: Begin, limit: Any) -> None:
    for call in (
        begin().validations.get_gate_failure_stats,
        begin().validations.get_recent,
        begin().validations.get_all,
    ):
        with pytest.raises(InvalidValue, match="limit"):
            call(limit=limit)


def test_unknown_filter_is_refused_with_a_suggestion(begin: Begin) -> None:
    validations = begin().validations
    for call in (validations.filter_by, validations.count, validations.get_all):
        with pytest.raises(InvalidField, match="did you mean 'status'"):
            call(statsu="pending")
    with pytest.raises(InvalidValue, match="status"):
        validations.filter_by(status="done")
