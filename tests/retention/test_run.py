"""Runs: what goes, what stays, holds at any moment, kills at every step, two at once (RET-3)."""

import json
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Intercept
from loki_storage.errors import (
    Conflict,
    Contention,
    IllegalTransition,
    InvalidField,
    InvalidValue,
    OnHold,
)
from loki_storage.export_manager import ExportManager
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    ExportLog,
    RetentionPolicy,
    RetentionRun,
    RetentionState,
    Validation,
    ValidationResult,
)
from loki_storage.query import Query, equals
from loki_storage.samples import open_intercepts
from loki_storage.storage import Storage
from tests.retention.places import LATER, MARKER, Place, fill, marked
from tests.stores import CLOCK, Fault, unsteady

SET = (Chain, Document, DocumentTag, Validation, ValidationResult, Correction, CorrectionHistory)


@pytest.fixture
def place(store: Storage, tenant: str) -> Place:
    return Place(store, tenant)


# --- Preview and run ------------------------------------------------------------------------------


def test_preview_writes_nothing_and_is_repeatable(place: Place) -> None:
    place.policy()
    fill(place, 2)
    before = place.rows()
    manager = place.manager()
    assert manager.preview().hash == manager.preview().hash
    assert place.rows() == before


def test_preview_tells_which_policy_won_and_why(place: Place) -> None:
    place.policy("old")
    place.policy("keep", kind="minimum", retention_days=60)
    place.policy("gentle", action="anonymize", priority=50, criteria=None)
    (id,) = fill(place, 1)
    ((_, planned),) = place.manager().preview().records()
    assert (planned.id, planned.action, planned.policy) == (id, None, "keep")
    assert planned.reason == "kept by a minimum"
    CLOCK.advance(days=30)
    ((_, planned),) = place.manager().preview().records()
    assert (planned.action, planned.policy, planned.reason) == ("anonymize", "gentle", "due")


def test_delete_takes_the_whole_set_and_leaves_the_audit(place: Place) -> None:
    place.policy()
    kept, gone = fill(place, 2)
    with place.begin() as session:
        session.documents.create_version(_head(place, kept), "new")
    before = {row.id for row in place.rows(AuditEntry)}
    assert place.manager().run().affected == 1
    assert place.documents() == {kept}
    assert {row.id for row in place.rows(Chain)} == {kept}
    for kind in SET:
        assert place.rows(kind), kind
    assert before <= {row.id for row in place.rows(AuditEntry)}
    with place.begin() as session:
        (tombstone,) = [e for e in session.audit.get_by_document(gone) if e.action == "purge"]
    assert not marked(tombstone)
    assert (tombstone.entity_id, tombstone.actor_id) == (gone, "officer")
    assert tombstone.metadata_json["policy"] == "old"
    kinds = {row["kind"] for row in tombstone.changes["rows"]}
    assert kinds == {kind.table for kind in SET if kind is not Chain}


def test_anonymize_leaves_no_marker_anywhere_and_keeps_the_figures(place: Place) -> None:
    place.policy(action="anonymize")
    (id,) = fill(place, 1)
    before = {(row.table, row.id): row for row in place.rows(*SET)}
    assert place.manager().run().affected == 1
    assert [(row, marked(row)) for row in place.rows() if marked(row)] == []
    for row in place.rows(*SET):
        was = before.pop((row.table, row.id))
        for field in row.domains:
            if field not in EMPTIED:
                assert row.stored(field) == was.stored(field), (row, field)
    assert before == {}
    with place.begin() as session:
        assert session.documents.verify(id)
        assert session.documents.get_as_of(id, CLOCK()) is not None


def test_what_audited_reads_asked_for_goes_with_the_person(place: Place) -> None:
    """Who read which rows when stays, and so do reads of others' records."""
    place.policy(
        action="anonymize", criteria=Query(Document, place.tenant, equals(client_id="client"))
    )
    (id,) = fill(place, 1)
    with place.begin() as session:
        other = session.documents.create_document("text of somebody", "email", "other").id
    with place.storage.session(tenant=place.tenant, actor="bob", audit_reads=True) as session:
        assert session.documents.search(MARKER)
        session.validations.get_by_document(id)
        session.documents.search("somebody")
    reads = [row for row in place.rows(AuditEntry) if row.action == "read"]  # type: ignore[attr-defined]
    assert any(marked(row) for row in reads)
    assert place.manager().run().affected == 1
    assert [(row, marked(row)) for row in place.rows() if marked(row)] == []
    after = {row.id: row for row in place.rows(AuditEntry)}
    for read in reads:
        was, now = read.metadata_json, after[read.id].metadata_json  # type: ignore[attr-defined]
        assert (now["kind"], now["ids"]) == (was["kind"], was["ids"])
        assert after[read.id].actor_id == "bob"  # type: ignore[attr-defined]
        assert ("query" in now) == (was["ids"] == [[other, other]])
    assert id != other


def test_intercept_that_was_anonymized_says_so(place: Place) -> None:
    place.policy(action="anonymize")
    with open_intercepts() as lines:
        data = json.loads(next(iter(lines)))
    with place.begin() as session:
        validation = session.record_intercept(
            Intercept.from_report(data["document"], "email", "c", data["report"])
        ).validation
    CLOCK.advance(days=31)
    place.manager().run()
    with place.begin() as session:
        stored = session.get_intercept(validation.id)
        assert stored is not None
        assert len(stored.results) > 0
        for rebuild in (stored.to_report, stored.to_corrections):
            with pytest.raises(IllegalTransition, match="anonymized"):
                rebuild()


EMPTIED = {
    *("content", "content_hash", "content_length", "title", "description", "source", "user_id"),
    *("metadata_json", "config", "request_hash", "error_message", "error_traceback", "message"),
    *("suggestion", "legal_source", "evidence", "original_content", "corrected_content", "diff"),
    *("reasoning", "applied_by", "reviewed_by", "review_notes", "reason", "changed_by", "changes"),
    *("revision", "text_claim", "intercept_claim"),
}


def test_no_hash_of_what_was_anonymized_is_kept(place: Place) -> None:
    place.policy(action="anonymize")
    fill(place, 1)
    hashes = {row.content_hash for row in place.rows(Document)}  # type: ignore[attr-defined]
    place.manager().run()
    for row in place.rows():
        text = " ".join(str(row.stored(field)) for field in row.domains)
        assert not any(hash in text for hash in hashes), row


def test_anonymized_document_takes_no_part_in_duplicates(place: Place) -> None:
    place.policy(action="anonymize")
    with place.begin() as session:
        first = session.documents.create_document("text", "email", "client")
    CLOCK.advance(days=31)
    place.manager().run()
    with place.begin() as session:
        again = session.documents.create_document("text", "email", "client")
    assert again.id != first.id


def test_an_anonymized_document_is_not_anonymized_again(place: Place) -> None:
    place.policy(action="anonymize")
    fill(place, 1)
    place.manager().run()
    before = place.rows(*SET)
    report = place.manager().run()
    assert (report.affected, report.tenants[0].skipped) == (0, {"nothing to anonymize": 1})
    assert place.rows(*SET) == before
    place.policy("then", retention_days=31)
    assert place.manager().run().tenants[0].records == {"then": 1}
    assert place.documents() == set()


def test_what_came_to_an_anonymized_document_later_is_anonymized_too(place: Place) -> None:
    place.policy(action="anonymize")
    (id,) = fill(place, 1)
    place.manager().run()
    with place.begin() as session:
        session.validations.create_validation(_head(place, id), ["m"], "client", user_id=MARKER)
    CLOCK.advance(days=31)
    assert place.manager().run().affected == 1
    assert [row for row in place.rows() if marked(row)] == []


def test_validation_goes_with_its_results_and_its_corrections_stay(place: Place) -> None:
    place.policy(entity_type="validation")
    fill(place, 1)
    corrections = {row.id for row in place.rows(Correction)}
    assert place.manager().run().affected == 2
    assert place.rows(Validation, ValidationResult) == []
    left: list[Any] = place.rows(Correction)
    assert {row.id for row in left} == corrections
    assert {row.validation_id for row in left} == {None}
    assert len(place.rows(CorrectionHistory)) > 0


def test_correction_goes_with_its_history(place: Place) -> None:
    place.policy(entity_type="correction")
    fill(place, 1)
    assert place.manager().run().affected == 2
    assert place.rows(Correction, CorrectionHistory) == []
    assert len(place.rows(Validation)) == 2


@pytest.mark.parametrize("entity_type", ["validation", "correction"])
def test_members_are_anonymized_alone(place: Place, entity_type: str) -> None:
    place.policy(action="anonymize", entity_type=entity_type)
    fill(place, 1)
    place.manager().run()
    kinds = (
        (Validation, ValidationResult)
        if entity_type == "validation"
        else (Correction, CorrectionHistory)
    )
    assert [row for row in place.rows(*kinds) if marked(row)] == []
    assert any(marked(row) for row in place.rows(Document))
    assert place.manager().run().affected == 0


def test_audit_policies_remove_old_entries_but_those_under_a_minimum(place: Place) -> None:
    place.policy("trail", entity_type="audit", retention_days=10)
    place.policy("keep", entity_type="audit", retention_days=40, kind="minimum")
    fill(place, 1, days=35)
    assert sum(map(len, [place.rows(AuditEntry)])) > 10
    place.manager().run()
    assert any(row.timestamp < CLOCK() - 20 * DAY for row in place.rows(AuditEntry))  # type: ignore[attr-defined]
    CLOCK.advance(days=10)
    place.manager().run()
    assert all(row.timestamp > CLOCK() - 20 * DAY for row in place.rows(AuditEntry))  # type: ignore[attr-defined]


DAY = LATER * 60 * 24


def test_run_notes_when_policies_ran_and_when_they_run_again(place: Place) -> None:
    place.policy(every_days=7)
    fill(place, 2)
    place.manager().run()
    (policy,) = place.rows(RetentionPolicy)
    assert isinstance(policy, RetentionPolicy)
    assert (policy.last_run, policy.next_run) == (CLOCK(), CLOCK() + 7 * DAY)
    assert (policy.total_processed, policy.total_affected) == (2, 2)
    assert len(place.manager().preview(due_only=True).tenants) == 0


def test_a_clock_that_was_set_back_makes_nothing_due(place: Place) -> None:
    place.policy()
    fill(place, 1)
    plan = place.manager().preview()
    earlier = Storage(place.storage.backend, place.storage._hooks, lambda: CLOCK() - 2 * DAY)
    report = place.manager(earlier).run(plan)
    assert report.tenants[0].skipped == {"no longer due": 1}


def test_the_future_cannot_be_previewed(place: Place) -> None:
    place.policy()
    with pytest.raises(InvalidValue):
        place.manager().preview(as_of=CLOCK() + DAY)


# --- What changed since the preview ---------------------------------------------------------------


def test_run_does_what_was_previewed_and_nothing_else(place: Place) -> None:
    place.policy(criteria=Query(Document, place.tenant, equals(document_type="email")))
    first, second, third = fill(place, 3)
    plan = place.manager().preview()
    with place.begin() as session:
        session.documents.create_version(_head(place, first), "a new fact")
        session.documents.delete(third)
        session.retention.holds.place("case", "court", ids=[second])
    report = place.manager().run(plan)
    assert place.documents() == {first, second}
    assert report.tenants[0].skipped == {"no longer due": 1, "on hold: case": 1}


def test_a_policy_that_changed_since_the_preview_is_not_run_as_it_was(place: Place) -> None:
    place.policy()
    fill(place, 1)
    plan = place.manager().preview()
    with place.begin() as session:
        (policy,) = session.retention.list()
        session.retention.update(policy.id, action="anonymize")
    report = place.manager().run(plan)
    assert report.tenants[0].skipped == {"decided otherwise since the preview": 1}


# --- Holds at every moment ------------------------------------------------------------------------


def test_hold_placed_at_any_moment_protects_what_is_not_destroyed(place: Place) -> None:
    """For every commit of a run: a hold on all, placed just before it, stops it and the rest."""
    place.policy()
    fill(place, 4)
    commits = 4  # the start, and one batch a document with batch_rows=1; see the last assertion
    for moment in range(1, commits + 1):
        backend, storage = unsteady(place.storage)
        name = f"hold at {moment} of {place.tenant}"
        calls = [Fault(None)] * moment

        def put(name: str = name) -> None:
            with place.begin() as session:
                query = Query(Document, place.tenant)
                session.retention.holds.place(name, "court", query=query)

        backend.fail(*calls, Fault(None, meanwhile=put))
        before = place.documents()
        report = run_slowly(place, storage)
        assert len(before) - len(place.documents()) == moment - 1
        assert report.skipped == {f"on hold: {name}": len(before) - (moment - 1)}
        with place.begin() as session:
            session.retention.holds.release(name)
        fill(place, 4 - len(place.documents()))


def run_slowly(place: Place, storage: Storage) -> Any:
    """Each document a batch of its own."""
    from loki_storage.retention.manager import TenantReport
    from loki_storage.retention.planner import plan_tenant
    from loki_storage.retention.run import TenantRun

    def begin() -> Any:
        return storage.session(tenant=place.tenant, actor="officer")

    run = TenantRun(begin, owner="slow", patience=0, batch_rows=1)
    return TenantReport.of(run.carry_out(None, lambda as_of: plan_tenant(begin(), as_of)))


def test_hold_on_a_query_catches_what_is_created_later(place: Place) -> None:
    place.policy()
    with place.begin() as session:
        query = Query(Document, place.tenant, equals(client_id="client"))
        session.retention.holds.place("all of client", "court", query=query)
    fill(place, 2)
    assert place.manager().run().affected == 0
    assert len(place.documents()) == 2


@pytest.mark.parametrize("entity_type", ["validation", "correction"])
def test_hold_on_a_member_protects_its_whole_document(place: Place, entity_type: str) -> None:
    place.policy()
    fill(place, 1)
    kind = Validation if entity_type == "validation" else Correction
    with place.begin() as session:
        id = place.rows(kind)[0].id
        session.retention.holds.place("case", "court", ids=[id], entity_type=entity_type)
    assert place.manager().run().affected == 0


def test_several_holds_are_released_one_by_one(place: Place) -> None:
    place.policy()
    (id,) = fill(place, 1)
    holds = place.manager().holds
    for name in ("one", "two"):
        holds.place(name, "court", ids=[id])
    assert [hold.name for hold in holds.covering(id)] == ["one", "two"]
    holds.release("one", "settled")
    assert place.manager().run().affected == 0
    holds.release("two")
    assert place.manager().run().affected == 1


def test_purge_of_a_held_document_names_the_hold_and_a_query_passes_over_it(place: Place) -> None:
    held, free = fill(place, 2)
    place.manager().holds.place("case", "court", ids=[held])
    with place.begin() as session:
        for id in (held, free):
            session.documents.delete(id)
    with place.begin() as session:
        with pytest.raises(OnHold, match="case") as raised:
            session.documents.purge([held])
        assert raised.value.hold == "case"
        assert session.documents.purge(Query(Document, place.tenant)) == [free]
    assert place.documents() == {held}


def test_purge_takes_what_a_policy_would_delete_and_not_what_a_minimum_keeps(place: Place) -> None:
    place.policy()
    (id,) = fill(place, 1)
    with place.begin() as session:
        keep = session.retention.create("keep", "document", "delete", 60, kind="minimum")
        session.commit()
        with pytest.raises(ValueError, match="keep"):
            session.documents.purge([id])
        session.retention.deactivate(keep.id)
        session.commit()
        assert session.documents.purge([id]) == [id]


def test_hold_placed_while_purging_protects(place: Place) -> None:
    (id,) = fill(place, 1)
    with place.begin() as session:
        session.documents.delete(id)
    backend, storage = unsteady(place.storage)
    backend.fail(
        Fault(None, meanwhile=lambda: place.manager().holds.place("case", "court", ids=[id]))
    )
    with storage.session(tenant=place.tenant) as session, pytest.raises(OnHold):
        session.documents.purge([id])
    assert place.documents() == {id}


def test_audit_cleanup_leaves_what_is_about_a_held_document(place: Place) -> None:
    held, free = fill(place, 2, days=400)
    place.manager().holds.place("case", "court", ids=[held])
    with place.begin() as session:
        session.audit.cleanup_old_entries(365)
    left = {row.document_id for row in place.rows(AuditEntry)}  # type: ignore[attr-defined]
    assert held in left
    assert free not in left


def test_audit_cleanup_leaves_what_a_minimum_keeps(place: Place) -> None:
    place.policy("keep", "delete", entity_type="audit", kind="minimum", retention_days=500)
    fill(place, 1, days=400)
    before = place.rows(AuditEntry)
    with place.begin() as session:
        assert session.audit.cleanup_old_entries(365) == 0
    assert place.rows(AuditEntry) == before
    CLOCK.advance(days=100)
    with place.begin() as session:
        assert session.audit.cleanup_old_entries(365) == len(before)


def test_a_minimum_that_begins_while_the_trail_is_cleaned_keeps_the_rest(place: Place) -> None:
    fill(place, 1, days=400)
    before = place.rows(AuditEntry)

    def keep() -> None:
        place.policy("keep", "delete", entity_type="audit", kind="minimum", retention_days=500)

    backend, storage = unsteady(place.storage)
    backend.fail(Fault(None, meanwhile=keep))
    with storage.session(tenant=place.tenant) as session, pytest.raises(Conflict):
        session.audit.cleanup_old_entries(365)
    assert {row.id for row in before} <= {row.id for row in place.rows(AuditEntry)}


def test_soft_delete_and_additions_stay_allowed_under_a_hold(place: Place) -> None:
    (id,) = fill(place, 1)
    place.manager().holds.place("case", "court", ids=[id])
    with place.begin() as session:
        session.documents.update(_head(place, id), title="described")
        session.documents.create_version(_head(place, id), "more")
        session.documents.delete(id)
        session.documents.restore(id)


# --- Kills and leases -----------------------------------------------------------------------------


def outcome(place: Place) -> Any:
    """What a run leaves, without ids of its own and times."""
    (run,) = [row for row in place.rows(RetentionRun) if not row.active]  # type: ignore[attr-defined]
    progress = dict(run.progress)  # type: ignore[attr-defined]
    progress.pop("audit_first")
    return place.documents(), progress


class Killed(BaseException):
    """What a signal does: nothing of ours runs after it."""


def _slowly(place: Place, storage: Storage, plan: Any) -> Any:
    from loki_storage.retention.run import TenantRun

    def begin() -> Any:
        return storage.session(tenant=place.tenant, actor="officer")

    run = TenantRun(begin, owner=f"run {id(storage)}", patience=0, batch_rows=1)
    return run.carry_out(plan, lambda as_of: plan)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("action", ["delete", "anonymize"])
def test_killed_run_goes_on_and_ends_as_an_unbroken_one(
    place: Place, action: str, at: int, applied: bool
) -> None:
    """Killed before or after each of its commits: the start, four documents, the end."""
    place.policy(action=action)
    ids = fill(place, 4)
    place.manager().holds.place("case", "court", ids=ids[:1])
    (plan,) = place.manager().preview().tenants

    def die() -> None:
        raise Killed

    backend, storage = unsteady(place.storage)
    if applied:
        backend.fail(*[Fault(None)] * at, Fault(Killed(), applied=True))  # type: ignore[arg-type]
    else:
        backend.fail(*[Fault(None)] * at, Fault(None, meanwhile=die))
    died = False
    try:
        _slowly(place, storage, plan)
    except Killed:
        died = True
    assert died == (at < 5)
    CLOCK.advance(minutes=1)
    done = _slowly(place, place.storage, plan)
    gone, progress = outcome(place)
    assert progress["records"] == {"old": 3}
    assert progress["skipped"] == {"on hold: case": 1}
    assert done.certificate["digest"] == progress["digest"]
    if action == "delete":
        assert gone == {ids[0]}
    purges = [e for e in place.rows(AuditEntry) if e.metadata_json and "plan" in e.metadata_json]  # type: ignore[attr-defined]
    acted = [e for e in purges if e.action in ("purge", "anonymize")]  # type: ignore[attr-defined]
    assert len(acted) == 3


def test_run_without_its_plan_goes_on_too(place: Place) -> None:
    place.policy()
    fill(place, 4)
    (plan,) = place.manager().preview().tenants
    backend, storage = unsteady(place.storage)
    backend.fail(*[Fault(None)] * 3, Fault(Killed(), applied=True))  # type: ignore[arg-type]
    with pytest.raises(Killed):
        _slowly(place, storage, plan)
    CLOCK.advance(minutes=1)
    report = place.manager().run()
    assert report.tenants[0].records == {"old": 4}
    assert len(place.rows(RetentionRun)) == 1
    assert place.documents() == set()


def test_second_run_waits_for_the_lease_and_then_gives_up(place: Place) -> None:
    place.policy()
    fill(place, 2)
    (plan,) = place.manager().preview().tenants
    backend, storage = unsteady(place.storage)
    met: list[Exception] = []

    def another() -> None:
        try:
            place.manager().run(patience=0)
        except Contention as error:
            met.append(error)

    backend.fail(Fault(None), Fault(None, meanwhile=another))
    _slowly(place, storage, plan)
    assert len(met) == 1
    assert place.documents() == set()


def test_a_run_whose_lease_was_taken_over_stops(place: Place) -> None:
    place.policy()
    fill(place, 3)
    (plan,) = place.manager().preview().tenants
    backend, storage = unsteady(place.storage)

    def taken_over() -> None:
        CLOCK.advance(minutes=1)
        _slowly(place, place.storage, plan)

    backend.fail(Fault(None), Fault(None, meanwhile=taken_over))
    with pytest.raises(Contention):
        _slowly(place, storage, plan)
    (run,) = place.rows(RetentionRun)
    assert run.progress["records"] == {"old": 3}  # type: ignore[attr-defined]


def test_a_plan_that_was_carried_out_gives_the_same_report_again(place: Place) -> None:
    place.policy()
    fill(place, 1)
    plan = place.manager().preview()
    first = place.manager().run(plan)
    before = place.rows()
    assert place.manager().run(plan) == first
    assert place.rows() == before


def test_busy_documents_do_not_stop_a_run(place: Place) -> None:
    """Others write to a document each time that it is about to go: all the rest goes."""
    place.policy()
    ids = fill(place, 3)
    (plan,) = place.manager().preview().tenants
    backend, storage = unsteady(place.storage)
    pokes = iter(range(10_000))

    def poke() -> None:
        if next(pokes) < 60:
            with place.begin() as session:
                session.documents.update(_head(place, ids[0]), title=f"{next(pokes)}")

    backend.fail(Fault(None), *[Fault(None, meanwhile=poke) for _ in range(100)])
    _slowly(place, storage, plan)
    assert place.documents() <= {ids[0]}


# --- Policies that could not be run ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"entity_type": "tag"}, InvalidField),
        ({"retention_days": 0}, InvalidValue),
        ({"retention_days": None}, InvalidValue),
        ({"period_amount": 1, "period_unit": "years"}, InvalidValue),
        ({"retention_days": None, "period_unit": "forever", "period_amount": 1}, InvalidValue),
        ({"action": "shred"}, InvalidValue),
        ({"criteria": {"colour": "red"}}, InvalidValue),
        ({"entity_type": "audit", "action": "anonymize"}, InvalidValue),
        ({"action": "archive", "entity_type": "validation"}, InvalidValue),
        ({"entity_type": "validation", "trigger": "superseded"}, InvalidValue),
    ],
)
def test_policy_that_could_not_be_run_is_refused(
    place: Place, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        place.policy(**options)
    assert place.rows() == []


def test_what_is_not_supported_is_told_and_starves_nobody(place: Place) -> None:
    place.policy("small", action="compress", priority=1)
    fill(place, 1)  # the texts are too short
    able = place.storage.backend.compact(Document, (), place.tenant) is not None
    told = "nothing to compress" if able else "compress is not supported"
    assert place.manager().run().tenants[0].skipped == {told: 1}
    place.policy(priority=2)
    assert place.manager().run().tenants[0].records == {"old": 1}


def test_unknown_field_in_criteria_is_an_error(place: Place) -> None:
    good = Query(Document, place.tenant, equals(document_type="email")).to_json()
    good["where"]["field"] = "colour"  # type: ignore[call-overload, index]
    with pytest.raises(InvalidField):
        place.policy(criteria=good)


def test_every_change_of_policies_and_holds_raises_the_revision(place: Place) -> None:
    def revision() -> int:
        (state,) = place.rows(RetentionState)
        return state.revision  # type: ignore[attr-defined, no-any-return]

    seen = []
    place.policy()
    seen.append(revision())
    with place.begin() as session:
        (policy,) = session.retention.list()
        for change in (
            lambda: session.retention.update(policy.id, priority=1),
            lambda: session.retention.deactivate(policy.id),
            lambda: session.retention.activate(policy.id),
            lambda: session.retention.holds.place("h", "r", query=Query(Document, place.tenant)),
            lambda: session.retention.holds.release("h"),
            lambda: session.retention.delete(policy.id),
        ):
            change()
            session.commit()
            seen.append(revision())
    assert seen == list(range(1, 8))


def test_period_in_units_keeps_the_shortest_equivalent_in_days(place: Place) -> None:
    with place.begin() as session:
        years = session.retention.create(
            "y", "document", "delete", period_amount=5, period_unit="years"
        )
        ever = session.retention.create("f", "document", "delete", period_unit="forever")
    assert (years.retention_days, ever.retention_days) == (1825, 36_500)


def _head(place: Place, id: int) -> int:
    with place.begin() as session:
        head = session.documents.get_latest_version(id)
    assert head is not None
    return head.id


def test_export_policies_remove_file_and_log(place: Place, tmp_path: Path) -> None:
    place.policy("exports", entity_type="export_log")
    place.policy("keep", entity_type="export_log", kind="minimum", retention_days=60)
    fill(place, 1, days=0)
    exports = ExportManager(place.storage, tmp_path, tenant=place.tenant)
    made = [exports.export_documents("json", "client", "alice") for _ in range(2)]
    CLOCK.advance(days=31)
    assert place.manager().run().tenants[0].skipped == {"kept by a minimum": 2}
    CLOCK.advance(days=31)
    Path(made[1]["file_path"]).write_text("somebody else's")
    report = place.manager().run()
    assert report.affected == 1
    assert not Path(made[0]["file_path"]).exists()
    assert Path(made[1]["file_path"]).exists()
    assert [row.id for row in place.rows(ExportLog)] == [made[1]["export_id"]]
