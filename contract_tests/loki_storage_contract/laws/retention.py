"""RET, HLD: policies, runs, what is left of what went, and what nothing may destroy."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import strategies as st

from loki_storage.batch import Batch
from loki_storage.errors import Contention, InvalidValue, OnHold
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    LegalHold,
    Record,
    RetentionRun,
    RetentionState,
    Validation,
    ValidationResult,
)
from loki_storage.query import Query, equals
from loki_storage.retention import RetentionManager
from loki_storage.storage import Session, Storage
from loki_storage_contract.faults import Proxy
from loki_storage_contract.histories import CLIENT, TENANT
from loki_storage_contract.registry import proves
from loki_storage_contract.shelf import Shelf
from loki_storage_contract.store import Store, storage_over

SHARE = 0.25
TICK = timedelta(microseconds=1)
SECRET = "Wilhelmina"
"""What anonymization must leave nothing of."""
WHOLE = (Chain, Document, DocumentTag, Validation, ValidationResult, Correction, CorrectionHistory)


def begin(store: Store) -> Session:
    return store.storage().session(tenant=TENANT, actor="alice")


def manager(store: Store, storage: Storage | None = None) -> RetentionManager:
    return RetentionManager(storage or store.storage(), tenant=TENANT, actor="officer")


def policy(store: Store, name: str = "old", action: str = "delete", **options: Any) -> None:
    options = {"entity_type": "document", "retention_days": 30, **options}
    with begin(store) as session:
        session.retention.create(name, action=action, **options)


def plant(store: Store, text: str = "text", document_type: str = "email") -> int:
    """A document with all that hangs on one, and a name in every text; its root id."""
    with store.storage().session(tenant=TENANT, actor=SECRET) as session:
        document = session.documents.create_document(
            f"{text} {SECRET}",
            document_type,
            CLIENT,
            title=SECRET,
            description=SECRET,
            source=SECRET,
            user_id=SECRET,
            metadata={SECRET: SECRET},
        )
        validation = session.validations.create_validation(
            document.id, ["m"], CLIENT, user_id=SECRET, config={"of": SECRET}
        )
        session.validations.start_validation(validation.id)
        session.validations.add_result(
            validation.id,
            "module",
            "m.g",
            "fail",
            severity="high",
            message=SECRET,
            suggestion=SECRET,
            evidence={SECRET: 1},
            metadata=[SECRET],
        )
        session.validations.complete_validation(validation.id)
        correction = session.corrections.create_correction(
            document.id,
            "rewrite",
            CLIENT,
            validation_id=validation.id,
            reasoning=SECRET,
            corrected_content=f"{SECRET} {text}",
            diff=[SECRET],
            metadata={"by": SECRET},
        )
        session.corrections.apply_correction(correction.id, SECRET, SECRET)
    with begin(store) as session:
        session.documents.add_tag(document.id, "kept")
    return document.id


def documents(store: Store) -> set[int]:
    return {row.root_id for row in store.all(Document, TENANT)}


def telling(store: Store) -> list[Record]:
    """The rows in which the name stands, in any field."""
    rows = (row for row in store.dump() if row.tenant_id == TENANT)
    return [row for row in rows if any(SECRET in str(row.stored(f)) for f in row.domains)]


class Interrupting(Proxy):
    """A handle on which something else happens just before one of its batches."""

    def __init__(self, inner: Any, at: int, meanwhile: Callable[[], object]) -> None:
        super().__init__(inner)
        self._left, self._meanwhile = at, meanwhile

    def apply(self, batch: Batch) -> None:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        super().apply(batch)


def interrupted(store: Store, at: int, meanwhile: Callable[[], object]) -> Storage:
    return storage_over(Interrupting(store.backend, at, meanwhile), store.clock)


# --- RET-1: when --------------------------------------------------------------------------------


@proves("RET-1")
def due_from_the_very_moment_on(store: Store) -> None:
    """Not a microsecond before the period ends; then, and from then on."""
    policy(store, period_amount=1, period_unit="months", retention_days=None)
    store.clock.now = datetime(2027, 1, 31, 12, tzinfo=store.clock.now.tzinfo)
    id = plant(store)
    ends = datetime(2027, 2, 28, 12, tzinfo=store.clock.now.tzinfo)
    for moment, due in ((ends - TICK, []), (ends, [id]), (ends + TICK, [id])):
        store.clock.now = moment
        assert [item.id for _, item in manager(store).preview().records()] == due


@proves("RET-1", share=SHARE, late=st.integers(0, 40), kind=st.sampled_from("vdc"))
def newest_member_counts(store: Store, late: int, kind: str) -> None:
    """What comes to a document later postpones its time, whatever it is."""
    policy(store)
    id = plant(store)
    store.clock.advance(days=late)
    with begin(store) as session:
        head = session.documents.get_latest_version(id)
        assert head is not None
        if kind == "v":
            session.validations.create_validation(head.id, ["m"], CLIENT)
        elif kind == "d":
            session.documents.create_version(head.id, "later")
        else:
            session.corrections.create_correction(head.id, "note", CLIENT)
    store.clock.advance(days=30 - 1)
    assert len(manager(store).preview()) == 0
    store.clock.advance(days=1)
    assert len(manager(store).preview()) == 1


@proves("RET-1")
def no_trigger_is_never_due(store: Store) -> None:
    """An event without a date, a deletion that did not happen, a version that replaced none."""
    for trigger in ("left", "deleted", "superseded"):
        policy(store, trigger, trigger=trigger)
    with begin(store) as session:
        id = session.documents.create_document("one version", "email", CLIENT).id
    store.clock.advance(days=4000)
    assert len(manager(store).preview()) == 0
    with begin(store) as session:
        session.documents.delete(id)
    store.clock.advance(days=30)
    ((_, planned),) = manager(store).preview().records()
    assert planned.policy == "deleted"


# --- RET-2: what --------------------------------------------------------------------------------


@proves("RET-2")
def order_of_policies_decides_nothing(store: Store) -> None:
    """Whatever they were created in: the lowest number, then the mildest action."""
    rules = [("y", "delete", 1), ("z", "anonymize", 1), ("x", "delete", 1), ("a", "anonymize", 2)]
    outcomes = set()
    for order in permutations(rules):
        store.reset()
        for name, action, priority in order:
            policy(store, name, action, priority=priority)
        plant(store)
        store.clock.advance(days=31)
        ((_, planned),) = manager(store).preview().records()
        outcomes.add((planned.action, planned.policy))
    assert outcomes == {("anonymize", "z")}


@proves("RET-2")
def criteria_select_and_minimums_keep(store: Store) -> None:
    """A policy takes what its criteria match; an unexpired minimum stops what destroys."""
    match = Query(Document, TENANT, equals(document_type="email")).to_json()
    policy(store, criteria=match)
    policy(store, "keep", kind="minimum", retention_days=60)
    mail, other = plant(store), plant(store, "other", "nda")
    store.clock.advance(days=31)
    fates = {item.id: (item.action, item.policy) for _, item in manager(store).preview().records()}
    assert fates == {mail: (None, "keep")}
    store.clock.advance(days=30)
    assert manager(store).run().affected == 1
    assert documents(store) == {other}
    policy(store, "everything", "anonymize", retention_days=1, priority=200)
    policy(store, "mail first", priority=1, criteria=match)
    fates = {item.id: (item.action, item.policy) for _, item in manager(store).preview().records()}
    assert fates == {other: ("anonymize", "everything")}


@proves("RET-2")
def an_action_in_effect_is_no_candidate(store: Store) -> None:
    """So that a mild one does not starve a strong one for ever."""
    policy(store, "first", "anonymize", priority=1)
    policy(store, "then", "delete", priority=2)
    plant(store)
    store.clock.advance(days=31)
    assert manager(store).run().tenants[0].records == {"first": 1}
    assert manager(store).run().tenants[0].records == {"then": 1}


# --- RET-3: how ---------------------------------------------------------------------------------


@proves("RET-3")
def a_document_goes_whole_and_no_other(store: Store) -> None:
    """All that hangs on it, in one batch with its audit entry; a neighbour keeps every row."""
    policy(store, criteria=Query(Document, TENANT, equals(document_type="email")).to_json())
    plant(store)
    kept = plant(store, "kept", "nda")
    store.clock.advance(days=31)
    before = {kind: store.all(kind, TENANT) for kind in WHOLE}
    manager(store).run()
    assert documents(store) == {kept}
    for kind, rows in before.items():
        assert len(store.all(kind, TENANT)) == len(rows) / 2, kind.table
        assert [row for row in store.all(kind, TENANT) if row not in rows] == []


@proves("RET-3")
def a_new_fact_slips_in_before_no_batch(store: Store) -> None:
    """A version that comes between judgement and batch keeps its document."""
    policy(store)
    id = plant(store)
    store.clock.advance(days=31)

    def append() -> None:
        with begin(store) as session:
            head = session.documents.get_latest_version(id)
            assert head is not None
            session.documents.create_version(head.id, "a new fact")

    plan = manager(store).preview()
    report = manager(store, interrupted(store, 2, append)).run(plan)
    assert documents(store) == {id}
    assert report.tenants[0].skipped == {"no longer due": 1}


@proves("RET-3")
def a_killed_run_ends_as_an_unbroken_one(store: Store) -> None:
    """Killed before or after each commit, and gone on with by somebody else."""
    digests = set()
    for at in range(1, 5):
        for applied in (False, True):
            store.reset()
            digests.add(_killed(store, at, applied))
    assert len(digests) == 1


def _killed(store: Store, at: int, applied: bool) -> tuple[int, int]:
    policy(store)
    for number in range(2):
        plant(store, f"text {number}")
    store.clock.advance(days=31)
    plan = manager(store).preview()
    killed = storage_over(_Dying(store.backend, at, applied), store.clock)
    try:
        manager(store, killed).run(plan)
    except _Killed:
        store.clock.advance(minutes=1)
    report = manager(store).run(plan)
    (run,) = store.all(RetentionRun, TENANT)
    assert run.active is False
    assert documents(store) == set()
    return report.affected, report.skipped


class _Killed(BaseException):
    """The process is gone."""


class _Dying(Proxy):
    def __init__(self, inner: Any, at: int, applied: bool) -> None:
        super().__init__(inner)
        self._left, self._applied = at, applied

    def apply(self, batch: Batch) -> None:
        self._left -= 1
        if self._left > 0 or self._applied:
            super().apply(batch)
        if self._left == 0:
            raise _Killed


@proves("RET-3")
def two_runs_do_not_disturb_each_other(store: Store) -> None:
    """One has the lease; the other waits, or gives up."""
    policy(store)
    plant(store)
    store.clock.advance(days=31)
    met = []

    def another() -> None:
        with pytest.raises(Contention):
            manager(store).run(patience=0)
        met.append(True)

    report = manager(store, interrupted(store, 2, another)).run()
    assert met == [True]
    assert report.affected == 1
    assert len(store.all(RetentionRun, TENANT)) == 1


@proves("RET-3")
def changes_of_policies_and_holds_are_counted(store: Store) -> None:
    """Each adds 1 to the tenant's revision, which every batch of a run asks for."""
    policy(store)
    with begin(store) as session:
        session.retention.holds.place("case", "court", query=Query(Document, TENANT))
    (state,) = store.all(RetentionState, TENANT)
    assert state.revision == 2


# --- RET-4, RET-5: what is left -----------------------------------------------------------------


@proves("RET-4", "DUP-5")
def anonymization_leaves_nothing_of_persons(store: Store) -> None:
    """In any version, child or audit entry; counts, statuses, severities and times stay."""
    policy(store, action="anonymize")
    id = plant(store)
    store.clock.advance(days=31)
    before = {(row.table, row.id): row for row in store.dump() if row.tenant_id == TENANT}
    assert telling(store) != []
    manager(store).run()
    assert telling(store) == []
    kept = ("status", "severity", "created_at", "version", "is_latest", "fail_count", "gate_key")
    for row in store.dump():
        was = before.get((row.table, row.id))
        for field in kept if was is not None else ():
            if field in row.domains:
                assert row.stored(field) == was.stored(field)  # type: ignore[union-attr]
    with begin(store) as session:
        assert session.documents.verify(id)
        again = session.documents.create_document(f"text {SECRET}", "email", CLIENT)
        assert again.root_id != id


@proves("RET-4")
def what_was_archived_comes_back_equal(store: Store) -> None:
    """Out of every default read, there on request; unarchived, every row is what it was."""
    policy(store, action="archive")
    ids = [plant(store, "one"), plant(store, "two")]
    store.clock.advance(days=31)
    before = whole_sets(store)
    storage = storage_over(store.backend, store.clock, archive=Shelf())
    assert manager(store, storage).run().affected == 2
    assert whole_sets(store) == []
    with storage.session(tenant=TENANT) as session:
        assert session.documents.query().count() == 0
        archived = session.documents.query().include_archived().all()
        assert archived == [row for row in before if isinstance(row, Document)]
    assert manager(store, storage).unarchive(ids) == ids
    assert whole_sets(store) == before


def whole_sets(store: Store) -> list[Record]:
    return [row for kind in WHOLE for row in store.all(kind, TENANT)]


@proves("RET-5")
def what_went_stands_in_audit_and_certificate(store: Store) -> None:
    """Every row's id, the policy, the run, the actor; and no byte of the certificate may change."""
    policy(store)
    id = plant(store)
    rows = [len(store.all(kind, TENANT)) for kind in WHOLE if kind is not Chain]
    store.clock.advance(days=31)
    (report,) = manager(store).run().tenants
    where = equals(action="purge", document_id=id)
    (entry,) = store.backend.select(Query(AuditEntry, TENANT, where))
    told = [last - first + 1 for row in entry.changes["rows"] for first, last in row["ids"]]
    assert sum(told) == sum(rows)
    assert (entry.actor_id, entry.metadata_json["policy"]) == ("officer", "old")
    assert entry.metadata_json["run"] == report.run_id
    facts = RetentionManager.verify_certificate(report.certificate)
    assert facts["actor"] == "officer"
    assert facts["records"] == {"old": 1}
    assert sum(count["rows"] for count in facts["counts"]) == sum(rows)
    assert facts["audit"]["first"] <= entry.id <= facts["audit"]["last"]
    assert manager(store).certificate(report.run_id) == report.certificate
    for place in range(0, len(report.certificate), 97):
        changed = (report.certificate[place] == "0" and "1") or "0"
        with pytest.raises(InvalidValue):
            RetentionManager.verify_certificate(
                report.certificate[:place] + changed + report.certificate[place + 1 :]
            )


# --- HLD ----------------------------------------------------------------------------------------


@proves("HLD-1")
def no_path_destroys_what_is_held(store: Store) -> None:
    """Policies, purge and audit cleanup pass over it, or say which hold it is."""
    policy(store)
    policy(store, "trail", entity_type="audit")
    held, free = plant(store), plant(store, "free")
    manager(store).holds.place("case", "court", ids=[held])
    store.clock.advance(days=400)
    report = manager(store).run()
    assert documents(store) == {held}
    assert report.tenants[0].skipped == {"on hold: case": 1}
    told = {entry.document_id for entry in store.all(AuditEntry, TENANT)}
    assert held in told
    with begin(store) as session:
        session.audit.cleanup_old_entries(1)
        session.documents.delete(held)
        session.commit()
        with pytest.raises(OnHold) as raised:
            session.documents.purge([held])
        assert raised.value.hold == "case"
        assert session.documents.purge(Query(Document, TENANT)) == []
    assert held in {entry.document_id for entry in store.all(AuditEntry, TENANT)}
    assert free not in documents(store)


@proves("HLD-1")
def a_hold_on_a_query_catches_what_comes_later(store: Store) -> None:
    """And one on a member its whole document."""
    policy(store)
    manager(store).holds.place(
        "all mail", "court", query=Query(Document, TENANT, equals(document_type="email"))
    )
    mail, other = plant(store), plant(store, "other", "nda")
    (validation,) = [v for v in store.all(Validation, TENANT) if v.document_id >= other]
    manager(store).holds.place("one", "court", ids=[validation.id], entity_type="validation")
    store.clock.advance(days=31)
    assert manager(store).run().affected == 0
    assert documents(store) == {mail, other}


@proves("HLD-2")
def holds_are_released_one_by_one(store: Store) -> None:
    """Several may lie on one record; each is released alone."""
    policy(store)
    id = plant(store)
    holds = manager(store).holds
    for name in ("one", "two", "three"):
        holds.place(name, "court", ids=[id])
    store.clock.advance(days=31)
    for name, left in (("two", ["one", "three"]), ("one", ["three"])):
        holds.release(name)
        assert [hold.name for hold in holds.covering(id)] == left
        assert manager(store).run().affected == 0
    holds.release("three", "settled")
    assert manager(store).run().affected == 1
    assert len(store.all(LegalHold, TENANT)) == 3


@proves("HLD-2")
def a_hold_protects_from_any_moment_of_a_run_on(store: Store) -> None:
    """Placed just before a batch that would have destroyed."""
    for moment in (1, 2):
        store.reset()
        policy(store)
        id = plant(store)
        store.clock.advance(days=31)

        def place(id: int = id) -> None:
            manager(store).holds.place("case", "court", ids=[id])

        report = manager(store, interrupted(store, moment, place)).run()
        assert documents(store) == {id}
        assert report.tenants[0].skipped == {"on hold: case": 1}
