"""Archive: out of the store and back equal, whatever is killed, damaged or in the way (RET-4)."""

import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings

from loki_storage import Storage, open_storage
from loki_storage.archive_folder import FolderArchive
from loki_storage.archive_store import ArchiveStore
from loki_storage.archives import with_archived
from loki_storage.backups.archive import Archive
from loki_storage.errors import (
    ArchiveError,
    Contention,
    IllegalTransition,
    InvalidValue,
    NotFound,
    ReadOnly,
    ResultTooLarge,
)
from loki_storage.models import (
    ArchivedDocument,
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    DocumentTag,
    RetentionRun,
    Validation,
    ValidationResult,
)
from loki_storage.plugins import plugin_manager
from loki_storage.query import Query, equals
from loki_storage.retention import RetentionManager
from loki_storage.retention.planner import plan_tenant
from loki_storage.retention.run import TenantRun
from loki_storage.storage import Session
from tests.retention.places import MARKER, Place, fill, marked
from tests.stores import CLOCK, Fault, Unsteady
from tests.strategies import queries

SET = (Chain, Document, DocumentTag, Validation, ValidationResult, Correction, CorrectionHistory)


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "archive")


@pytest.fixture
def place(store: Storage, tenant: str, archive: FolderArchive) -> Place:
    return Place(at(store, archive), tenant)


def at(store: Storage, archive: ArchiveStore | None, backend: Any = None) -> Storage:
    """The same store, with an archive."""
    hooks = plugin_manager().hook
    return Storage(backend or store.backend, hooks, CLOCK, store.name, archive=archive)


def archived(place: Place, number: int = 1) -> list[int]:
    """So many documents with all that a document can have, in the archive; their root ids."""
    place.policy("cold", action="archive")
    ids = fill(place, number)
    assert place.manager().run().affected == number
    return ids


def sets(place: Place) -> list[Any]:
    """All rows of record sets."""
    return place.rows(*SET)


def stubs(place: Place) -> list[ArchivedDocument]:
    found: list[Any] = place.rows(ArchivedDocument)
    return found


def names(place: Place) -> set[str]:
    assert place.storage.archive is not None
    return set(place.storage.archive.names())


# --- There and back -------------------------------------------------------------------------------


def test_unarchived_documents_are_what_they_were(place: Place) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 3)
    with place.begin() as session:
        session.documents.delete(ids[1])
    before, trail = sets(place), place.rows(AuditEntry)
    assert place.manager().run().tenants[0].records == {"cold": 3}
    assert sets(place) == []
    assert [stub.id for stub in stubs(place)] == ids
    assert place.rows(AuditEntry)[: len(trail)] == trail
    assert place.manager().unarchive(ids) == ids
    assert sets(place) == before
    assert (stubs(place), names(place)) == ([], set())


def test_the_trail_tells_of_both(place: Place) -> None:
    (id,) = archived(place)
    version = next(first for first, last in [stubs(place)[0].members["documents"][-1]])
    place.manager().unarchive([version])
    with place.begin() as session:
        back, out = session.audit.get_by_document(id)[:2]
    assert (out.action, out.entity_type, out.entity_id, out.document_id) == (
        *("archive", "document", id, id),
    )
    assert (back.action, back.actor_id) == ("unarchive", "officer")
    assert out.metadata_json["policy"] == back.metadata_json["policy"] == "cold"
    kinds = {kind.table for kind in SET if kind is not Chain}
    for entry, op in ((out, "delete"), (back, "insert")):
        assert {row["kind"] for row in entry.changes["rows"]} == kinds
        assert {row["op"] for row in entry.changes["rows"]} == {op}
        assert not marked(entry)


def test_the_trail_is_found_by_any_version_of_an_archived_document(place: Place) -> None:
    (id,) = archived(place)
    with place.begin() as session:
        expected = session.audit.get_by_document(id)
        assert len(expected) > 5
        assert session.audit.get_by_document(stubs(place)[0].highest_id) == expected


def test_what_is_live_is_passed_over_and_what_is_unknown_is_an_error(place: Place) -> None:
    (id,) = archived(place)
    with place.begin() as session:
        live = session.documents.create_document("text", "email", "client")
    assert place.manager().unarchive([live.id, id, id]) == [id]
    assert place.manager().unarchive([id]) == []
    with pytest.raises(NotFound):
        place.manager().unarchive([10**9])


def test_unarchiving_needs_a_session_without_pending_writes(place: Place) -> None:
    (id,) = archived(place)
    session = place.begin()
    session.documents.create_document("text", "email", "client")
    with pytest.raises(IllegalTransition):
        session.retention.unarchive([id])
    assert stubs(place)


def test_a_stub_tells_where_what_is(place: Place) -> None:
    (id,) = archived(place, 1)
    (stub,) = stubs(place)
    assert (stub.id, stub.client_id, stub.document_type) == (id, "client", "email")
    assert (stub.policy, stub.archived_by, stub.archived_at) == ("cold", "officer", CLOCK())
    assert (stub.row_count, len(stub.sha256)) == (16, 64)
    assert stub.members.keys() == {kind.table for kind in SET if kind is not Chain}
    with place.begin() as session:
        assert session.retention.list_archived() == [stub]
        assert session.retention.list_archived("another") == []
    assert not marked(stub)


# --- Reads ----------------------------------------------------------------------------------------

Read = Callable[..., Any]
READS: dict[str, Callable[[Session, int, Any], Any]] = {
    "get_by_id": lambda s, id, more: s.documents.get_by_id(id, **more),
    "get_latest_version": lambda s, id, more: s.documents.get_latest_version(id, **more),
    "get_version_history": lambda s, id, more: s.documents.get_version_history(id, **more),
    "get_as_of": lambda s, id, more: s.documents.get_as_of(id, CLOCK(), **more),
    "get_all": lambda s, id, more: s.documents.get_all(versions="all", **more),
    "get_all of a client": lambda s, id, more: s.documents.get_all(client_id="client", **more),
    "get_by_client": lambda s, id, more: s.documents.get_by_client("client", **more),
}


@pytest.mark.parametrize("name", READS)
def test_reads_see_what_is_archived_on_request_only(place: Place, name: str) -> None:
    place.policy("cold", action="archive")
    first, _ = fill(place, 2)
    with place.begin() as session:
        session.documents.create_document("live", "email", "client")
        before = READS[name](session, first, {})
    place.manager().run()
    with place.begin() as session:
        assert READS[name](session, first, {"include_archived": True}) == before
        assert before
        after = READS[name](session, first, {})
        assert after in (None, []) or [document.content for document in after] == ["live"]


def test_builders_of_every_kind_see_it_on_request_only(place: Place) -> None:
    place.policy("cold", action="archive")
    fill(place, 2)
    answers: list[list[Any]] = []
    for when in ("before", "after"):
        with place.begin() as session:
            builders: list[Any] = [
                session.documents.query().by_tag("person"),
                session.documents.query().latest_versions().order_by("created_at", "desc"),
                session.validations.query().with_failures(),
                session.validations.query_results().failures_only(),
                session.corrections.query().order_by("id", "desc").limit(2),
            ]
            if when == "after":
                assert [builder.count() for builder in builders] == [0] * 5
                builders = [builder.include_archived() for builder in builders]
            answers.append(
                [
                    (b.all(), b.count(), b.exists(), b.first(), b.page().records, list(b.iter()))
                    for b in builders
                ]
                + [builders[2].aggregate("status"), builders[3].aggregate(["status", "gate_key"])]
            )
        if when == "before":
            place.manager().run()
    assert answers[0] == answers[1]
    assert all(all_ for all_, *_ in answers[0][:5])


def test_deleted_ones_are_seen_where_both_are_asked_for(place: Place) -> None:
    place.policy("cold", action="archive")
    (id,) = fill(place, 1)
    with place.begin() as session:
        session.documents.delete(id)
    place.manager().run()
    with place.begin() as session:
        documents = session.documents
        assert documents.get_by_id(id, include_archived=True) is None
        found = documents.get_by_id(id, include_deleted=True, include_archived=True)
        assert found is not None
        assert found.is_deleted
        assert documents.query().include_archived().count() == 0
        assert documents.query().include_archived().only_deleted().count() == 2


def test_pages_go_through_live_and_archived_documents(place: Place) -> None:
    archived(place, 3)
    with place.begin() as session:
        session.documents.create_document("live", "email", "client")
        query = session.documents.query().include_archived().limit(2)
        whole, found, cursor = query.limit(None).all(), list[Any](), None
        while True:
            page = query.after(cursor).page()
            found += page.records
            cursor = page.next_cursor
            if cursor is None:
                break
    assert found == whole
    assert len(whole) == 7


def test_the_sessions_own_pending_writes_are_seen_too(place: Place) -> None:
    archived(place, 1)
    with place.begin() as session:
        session.documents.create_document("pending", "email", "client")
        assert len(session.documents.get_all(include_archived=True)) == 2


def test_an_archived_document_is_read_only(place: Place) -> None:
    (id,) = archived(place)
    with place.begin() as session:
        found = session.documents.get_by_id(id, include_archived=True)
        assert found is not None
        for change in (
            lambda: session.documents.update(id, title="new"),
            lambda: session.documents.create_version(id, "new"),
            lambda: session.documents.delete(id),
            lambda: session.documents.add_tag(id, "new"),
            lambda: session.validations.create_validation(id, ["gdpr"], "client"),
            lambda: session.documents.purge([id]),
        ):
            with pytest.raises(NotFound):
                change()
        with pytest.raises(ReadOnly):
            with_archived(session).new_ids({Document: 1})


def test_another_tenant_sees_nothing(place: Place) -> None:
    (id,) = archived(place)
    with place.storage.session(tenant=f"{place.tenant} no") as session:
        assert session.documents.get_by_id(id, include_archived=True) is None
        assert session.documents.query().include_archived().all() == []
        assert session.retention.list_archived() == []
        with pytest.raises(NotFound):
            session.retention.unarchive([id])


def test_audited_reads_are_audited(place: Place) -> None:
    (id,) = archived(place)
    with place.storage.session(tenant=place.tenant, audit_reads=True) as session:
        found = session.documents.get_by_id(id, include_archived=True)
    assert found is not None
    with place.begin() as session:
        (entry,) = session.audit.get_by_action("read")
        assert entry.metadata_json["ids"] == [[id, id]]


def test_masked_sessions_read_archived_documents_masked(place: Place) -> None:
    (id,) = archived(place)
    with place.storage.session(tenant=place.tenant, mask=("title", "content")) as session:
        found = session.documents.get_by_id(id, include_archived=True)
        (listed, _) = session.documents.query().include_archived().all()
    assert found is not None
    assert {found.title, found.content, listed.title} == {"***"}


def test_too_much_at_once_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _) = archived(place, 2)
    monkeypatch.setattr("loki_storage.archives.MOST_BYTES", stubs(place)[0].size + 1)
    with place.begin() as session:
        assert session.documents.get_by_id(first, include_archived=True) is not None
        assert session.documents.query().include_archived().equals("id", first).count() == 1
        with pytest.raises(ResultTooLarge):
            session.documents.query().include_archived().count()


def test_a_filter_takes_no_builder_with_archived_documents(place: Place) -> None:
    with place.begin() as session:
        query = session.documents.query()
        with pytest.raises(InvalidValue):
            query.or_filter(query.include_archived())


@pytest.mark.parametrize("kind", [Document, Validation, ValidationResult, Correction])
def test_any_query_over_the_view_is_as_if_nothing_were_archived(place: Place, kind: Any) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 3)
    place.manager().holds.place("stays", "some are live", ids=[ids[1]])
    with open_storage("memory://") as memory:
        memory.backend.load(place.storage.dump(place.tenant))
        place.manager().run()
        assert len(stubs(place)) == 2

        @settings(max_examples=60)
        @given(queries(kind, place.tenant))
        def check(query: Query) -> None:
            with place.begin() as session, memory.session(tenant=place.tenant) as before:
                view = with_archived(session)
                assert list(view.select(query)) == list(before.select(query))
                assert view.count(query) == before.count(query)

        check()


# --- What retention does to what is archived ------------------------------------------------------


def test_preview_explains_what_wins_over_what(place: Place) -> None:
    place.policy("cold", action="archive")
    place.policy("nameless", action="anonymize")
    place.policy("gone", action="delete", retention_days=60)
    (id,) = fill(place, 1)
    assert fates(place) == {id: ("archive", "cold", "due")}
    place.manager().run()
    assert fates(place) == {id: ("anonymize", "nameless", "due")}
    CLOCK.advance(days=30)
    assert fates(place) == {id: ("anonymize", "nameless", "due")}  # the least destructive first
    place.policy("first", action="delete", retention_days=60, priority=1)
    assert fates(place) == {id: ("delete", "first", "due")}


def fates(place: Place) -> dict[int, Any]:
    plan = place.manager().preview()
    return {each.id: (each.action, each.policy, each.reason) for _, each in plan.records()}


def test_a_lower_number_wins_over_the_milder_archive(place: Place) -> None:
    place.policy("cold", action="archive", priority=2)
    place.policy("gone", action="delete", priority=1)
    (id,) = fill(place, 1)
    assert fates(place) == {id: ("delete", "gone", "due")}


def test_a_minimum_does_not_keep_from_archiving(place: Place) -> None:
    place.policy("cold", action="archive")
    place.policy("gone", action="delete", retention_days=31)
    place.policy("keep", kind="minimum", retention_days=40)
    (id,) = fill(place, 1)
    assert fates(place) == {id: ("archive", "cold", "due")}
    place.manager().run()
    assert fates(place) == {id: (None, "keep", "kept by a minimum")}
    CLOCK.advance(days=9)
    assert fates(place) == {id: ("delete", "gone", "due")}


def test_without_an_archive_store_it_is_not_supported_and_starves_nobody(
    store: Storage, tenant: str
) -> None:
    place = Place(at(store, None), tenant)
    place.policy("cold", action="archive")
    (id,) = fill(place, 1)
    assert fates(place) == {id: (None, "cold", "archive is not supported")}
    place.policy("gone", action="delete", priority=200)
    assert fates(place) == {id: ("delete", "gone", "due")}


@pytest.mark.parametrize("entity_type", ["validation", "correction", "audit", "export_log"])
def test_only_documents_are_archived(place: Place, entity_type: str) -> None:
    with pytest.raises(InvalidValue, match="action"):
        place.policy(action="archive", entity_type=entity_type)


def test_an_archived_document_is_deleted_with_its_bundle(place: Place) -> None:
    (id,) = archived(place)
    (stub,) = stubs(place)
    place.policy("gone", action="delete", retention_days=31)
    report = place.manager().run()
    assert report.tenants[0].records == {"gone": 1}
    assert (stubs(place), sets(place), names(place)) == ([], [], set())
    counts = RetentionManager.verify_certificate(report.tenants[0].certificate)["counts"]
    assert sum(count["rows"] for count in counts) == stub.row_count - 1  # without the chain
    with place.begin() as session:
        tombstone = session.audit.get_by_document(stub.highest_id)[0]
        assert (tombstone.action, tombstone.entity_id) == ("purge", id)
        assert session.documents.get_by_id(id, include_archived=True) is None
    told = tombstone.metadata_json["archived"]
    assert {(row["kind"], row["op"]) for row in told} == {
        (kind.table, "delete") for kind in SET if kind is not Chain
    }
    assert not marked(tombstone)
    with pytest.raises(NotFound):
        place.manager().unarchive([id])


def test_an_archived_document_is_anonymized_in_its_bundle(place: Place) -> None:
    (id,) = archived(place)
    (before,) = names(place)
    place.policy("nameless", action="anonymize", retention_days=31)
    assert place.manager().run().tenants[0].records == {"nameless": 1}
    assert before not in names(place)
    (after,) = names(place)
    assert stubs(place)[0].bundle == after
    assert place.manager().run().affected == 0  # nothing is left to anonymize
    assert place.manager().unarchive([id]) == [id]
    assert [(row, marked(row)) for row in place.rows() if marked(row)] == []
    assert len(place.rows(Validation)) == 2
    with place.begin() as session:
        assert session.documents.verify(id)


def test_policies_with_criteria_and_events_reach_into_the_archive(place: Place) -> None:
    first, second = archived(place, 2)
    with place.begin() as session:
        selecting = session.retention.selecting
        by_text = selecting(Document, equals(root_id=second))
    place.policy("text", action="delete", retention_days=1, criteria=by_text, trigger="left")
    assert fates(place)[second] == ("delete", "text", "due")
    assert first not in fates(place)


# --- Holds ----------------------------------------------------------------------------------------


def test_a_hold_keeps_from_archiving(place: Place) -> None:
    place.policy("cold", action="archive")
    held, free = fill(place, 2)
    plan = place.manager().preview()
    place.manager().holds.place("case", "court", ids=[held])
    report = place.manager().run(plan)
    assert report.tenants[0].skipped == {"on hold: case": 1}
    assert [stub.id for stub in stubs(place)] == [free]
    assert place.documents() == {held}


def test_a_hold_placed_while_a_bundle_is_written_protects(place: Place) -> None:
    place.policy("cold", action="archive")
    (id,) = fill(place, 1)
    before = sets(place)
    holds = place.manager().holds

    def hold() -> None:
        holds.place("case", "court", ids=[id])

    storage = at(place.storage, Meddling(place.storage.archive, {"put": [hold]}))
    report = place.manager(storage).run()
    assert report.tenants[0].skipped == {"on hold: case": 1}
    assert (sets(place), stubs(place), names(place)) == (before, [], set())


@pytest.mark.parametrize("on", ["document", "validation", "correction", "query"])
def test_a_hold_on_what_is_archived_protects_it(place: Place, on: str) -> None:
    held, free = archived(place, 2)
    place.policy("gone", action="delete", retention_days=31)
    plan = place.manager().preview()
    stub = next(stub for stub in stubs(place) if stub.id == held)
    holds = place.manager().holds
    if on == "query":
        query = Query(Document, place.tenant, equals(root_id=held))
        holds.place("case", "court", query=query)
    else:
        last = stub.members[f"{on}s"][-1][-1]
        holds.place("case", "court", ids=[last], entity_type=on)
    assert [hold.name for hold in holds.covering(stub.highest_id)] == ["case"]
    report = place.manager().run(plan)
    assert report.tenants[0].skipped == {"on hold: case": 1}
    assert [stub.id for stub in stubs(place)] == [held]
    holds.release("case")
    assert fates(place) == {held: ("delete", "gone", "due")}
    assert free not in {stub.id for stub in stubs(place)}


def test_a_hold_on_what_is_nowhere_is_not_found(place: Place) -> None:
    archived(place)
    for entity_type in ("document", "validation", "correction"):
        with pytest.raises(NotFound):
            place.manager().holds.place("case", "court", ids=[10**9], entity_type=entity_type)


@pytest.mark.parametrize("damaged", [False, True])
def test_audit_cleanup_leaves_what_is_about_a_held_archived_document(
    place: Place, damaged: bool
) -> None:
    held, free = archived(place, 2)
    query = Query(Document, place.tenant, equals(root_id=held))
    place.manager().holds.place("case", "court", query=query)
    if damaged:
        for stub in stubs(place):
            damage(place, stub.bundle)
    CLOCK.advance(days=400)
    with place.begin() as session:
        session.audit.cleanup_old_entries(30)
    left = {entry.document_id for entry in place.rows(AuditEntry)}  # type: ignore[attr-defined]
    assert held in left
    assert (free in left) == damaged  # what cannot be read may be held


def damage(place: Place, bundle: str) -> bytes:
    """Flip a byte of a bundle; the bytes that were there."""
    archive = place.storage.archive
    assert archive is not None
    data = archive.get(bundle)
    archive.put(bundle, data[:200] + bytes([data[200] ^ 1]) + data[201:])
    return data


# --- Kills ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone; nothing catches it."""


class Meddling(ArchiveStore):
    """An archive in which others act before calls, or the process is killed before or after."""

    def __init__(
        self,
        archive: ArchiveStore | None,
        before: dict[str, list[Callable[[], None]]] | None = None,
        after: dict[str, list[Callable[[], None]]] | None = None,
    ) -> None:
        assert archive is not None
        self.archive, self.before, self.after = archive, before or {}, after or {}

    def _call(self, name: str, act: Callable[[], Any]) -> Any:
        for calls in self.before.get(name, [])[:1]:
            self.before[name].pop(0)
            calls()
        found = act()
        for calls in self.after.get(name, [])[:1]:
            self.after[name].pop(0)
            calls()
        return found

    def put(self, name: str, bundle: bytes) -> None:
        self._call("put", lambda: self.archive.put(name, bundle))

    def get(self, name: str) -> bytes:
        found: bytes = self._call("get", lambda: self.archive.get(name))
        return found

    def delete(self, name: str) -> None:
        self._call("delete", lambda: self.archive.delete(name))

    def names(self) -> Iterator[str]:
        found: Iterator[str] = self._call("names", lambda: self.archive.names())
        return found

    def exists(self, name: str) -> bool:
        return bool(self._call("exists", lambda: self.archive.exists(name)))


def nothing() -> None:
    """A call that goes well."""


def die() -> None:
    raise Killed


def slowly(place: Place, storage: Storage) -> None:
    """A run with a commit for each document, by a process of its own."""
    manager = place.manager(storage)
    session: Callable[[], Session] = lambda: manager._session(place.tenant)  # noqa: E731
    run = TenantRun(session, owner=f"process {CLOCK()}", batch_rows=1)
    run.carry_out(None, lambda as_of: plan_tenant(session(), as_of))


STEPS = [
    *((name, when, at) for name in ("put", "get") for when in ("before", "after") for at in (0, 1)),
    *(("delete", when, at) for when in ("before", "after") for at in (0, 1)),
    *(("names", when, 0) for when in ("before", "after")),
    *(("commit", when, at) for when in ("before", "after") for at in range(6)),
]
"""Documents 1 and 2 are in the archive and due for deletion, 3 and 4 are to be archived."""


@pytest.mark.parametrize(("call", "when", "at_"), STEPS)
def test_killed_run_neither_loses_nor_doubles(place: Place, call: str, when: str, at_: int) -> None:
    archived(place, 2)
    place.policy("gone", action="delete", retention_days=32)
    CLOCK.advance(days=1)
    with place.begin() as session:
        session.retention.update(session.retention.list()[0].id, retention_days=1)
    new = fill(place, 2, days=1)
    before = sets(place)
    backend = Unsteady(place.storage.backend)
    archive = Meddling(place.storage.archive)
    faults: list[Callable[[], None]] = [nothing] * at_ + [die]
    if call == "commit":
        last = Fault(Killed(), applied=True) if when == "after" else Fault(None, meanwhile=die)  # type: ignore[arg-type]
        backend.fail(*[Fault(None)] * at_, last)
    else:
        (archive.before if when == "before" else archive.after)[call] = faults
    with pytest.raises(Killed):
        slowly(place, at(place.storage, archive, backend))
    CLOCK.advance(minutes=1)
    slowly(place, place.storage)
    assert [stub.id for stub in stubs(place)] == new
    assert names(place) == {stub.bundle for stub in stubs(place)}
    assert sets(place) == []
    runs: list[Any] = place.rows(RetentionRun)
    assert sum(sum(run.progress["records"].values()) for run in runs) == 2 + 4
    assert place.manager().unarchive(new) == new
    assert sets(place) == before
    assert names(place) == set()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["get", "commit", "delete"])
def test_killed_unarchiving_neither_loses_nor_doubles(place: Place, call: str, when: str) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 1)
    before = sets(place)
    place.manager().run()
    backend = Unsteady(place.storage.backend)
    archive = Meddling(place.storage.archive)
    if call == "commit":
        backend.fail(
            Fault(Killed(), applied=True) if when == "after" else Fault(None, meanwhile=die)  # type: ignore[arg-type]
        )
    else:
        (archive.before if when == "before" else archive.after)[call] = [die]
    with pytest.raises(Killed):
        place.manager(at(place.storage, archive, backend)).unarchive(ids)
    assert (sets(place) == before) == (not stubs(place))
    place.manager().unarchive(ids)
    assert (sets(place), stubs(place)) == (before, [])
    place.manager().holds.place("case", "court", ids=ids)
    place.manager().run()
    assert names(place) == set()


def test_an_archive_store_that_fails_stops_nothing_else(place: Place) -> None:
    place.policy("cold", action="archive")
    first, second = fill(place, 2)

    def fail() -> None:
        raise ArchiveError("no room")

    storage = at(place.storage, Meddling(place.storage.archive, {"put": [fail]}))
    report = place.manager(storage).run()
    assert report.tenants[0].skipped == {"the archive store did not take its bundle": 1}
    assert [stub.id for stub in stubs(place)] == [second]
    assert place.documents() == {first}
    storage = at(place.storage, Meddling(place.storage.archive, {"names": [fail]}))
    assert place.manager(storage).run().affected == 1


def test_a_bundle_that_was_stored_otherwise_is_not_relied_on(place: Place) -> None:
    place.policy("cold", action="archive")
    fill(place, 1)
    before = sets(place)

    class Lossy(Meddling):
        def put(self, name: str, bundle: bytes) -> None:
            super().put(name, bundle[:-1])

    report = place.manager(at(place.storage, Lossy(place.storage.archive))).run()
    assert report.affected == 0
    assert (sets(place), stubs(place), names(place)) == (before, [], set())


# --- Others at the same time ----------------------------------------------------------------------


def test_a_writer_between_copy_and_commit_is_not_lost(place: Place) -> None:
    place.policy("cold", action="archive", retention_days=30)
    (id,) = fill(place, 1)
    added: list[int] = []

    def write() -> None:
        with place.begin() as session:
            head = session.documents.get_latest_version(id)
            assert head is not None
            if len(added) == 0:
                session.documents.add_tag(id, "new")
            elif len(added) == 1:
                session.validations.create_validation(head.id, ["gdpr"], "client")
            else:
                session.documents.create_version(head.id, "new")
            added.append(head.id)

    storage = at(place.storage, Meddling(place.storage.archive, {"put": [write] * 3}))
    place.manager(storage).run()
    assert len(added) in (2, 3)  # what is new makes it younger
    assert (stubs(place), names(place)) == ([], set())
    CLOCK.advance(days=31)
    before = sets(place)
    place.manager().run()
    assert place.manager().unarchive([id]) == [id]
    assert sets(place) == before


def test_what_a_process_wrote_that_lost_its_lease_does_not_count(place: Place) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 2)
    before = sets(place)

    def taken_over() -> None:
        CLOCK.advance(minutes=1)
        slowly(place, place.storage)

    storage = at(place.storage, Meddling(place.storage.archive, {"put": [taken_over]}))
    with pytest.raises(Contention):
        slowly(place, storage)
    assert [stub.id for stub in stubs(place)] == ids
    assert {stub.bundle for stub in stubs(place)} < names(place)  # the late one's is left
    place.manager().run()
    assert {stub.bundle for stub in stubs(place)} == names(place)
    place.manager().unarchive(ids)
    assert sets(place) == before


def test_a_late_sweep_removes_nothing_of_who_took_over(place: Place) -> None:
    place.policy("cold", action="archive")
    (first,) = fill(place, 1)

    def taken_over() -> None:
        CLOCK.advance(minutes=1)
        slowly(place, place.storage)

    storage = at(place.storage, Meddling(place.storage.archive, after={"names": [taken_over]}))
    with pytest.raises(Contention):
        slowly(place, storage)
    assert [stub.id for stub in stubs(place)] == [first]
    assert names(place) == {stubs(place)[0].bundle}


def test_two_runs_and_an_unarchiving_at_once(place: Place) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 12)
    before = sets(place)
    errors: list[BaseException] = []

    def work(act: Callable[[], Any]) -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    manager = place.manager()
    back = lambda: [manager.unarchive(each.id for each in stubs(place)) for _ in range(3)]  # noqa: E731
    threads = [Thread(target=work, args=[act]) for act in (manager.run, manager.run, back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    manager.run()
    assert [stub.id for stub in stubs(place)] == ids
    assert names(place) == {stub.bundle for stub in stubs(place)}
    manager.unarchive(ids)
    assert sets(place) == before


def test_reads_while_it_is_unarchived_find_it(place: Place) -> None:
    (id,) = archived(place)

    def back() -> None:
        place.manager().unarchive([id])

    storage = at(place.storage, Meddling(place.storage.archive, {"get": [back]}))
    with storage.session(tenant=place.tenant) as session:
        assert session.documents.get_by_id(id, include_archived=True) is not None


# --- Damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flipped", "missing", "of another", "no archive"])
def test_a_bundle_that_cannot_be_read_is_an_error_and_nothing_is_lost(
    place: Place, how: str
) -> None:
    place.policy("cold", action="archive")
    ids = fill(place, 2)
    before = sets(place)
    place.manager().run()
    (bad, good), archive, storage = stubs(place), place.storage.archive, place.storage
    assert archive is not None
    data = archive.get(bad.bundle)
    if how == "flipped":
        damage(place, bad.bundle)
    elif how == "missing":
        archive.delete(bad.bundle)
    elif how == "of another":
        archive.put(bad.bundle, archive.get(good.bundle))
    else:
        storage = at(place.storage, None)
    with storage.session(tenant=place.tenant) as session:
        with pytest.raises(ArchiveError):
            session.documents.get_by_id(ids[0], include_archived=True)
        with pytest.raises(ArchiveError):
            session.documents.query().include_archived().all()
        with pytest.raises(ArchiveError):
            session.retention.unarchive([ids[0]])
    if how != "no archive":
        place.policy("gone", action="delete", retention_days=31)
        report = place.manager().run()
        assert report.tenants[0].skipped == {"its bundle in the archive cannot be read": 1}
        assert [stub.id for stub in stubs(place)] == [ids[0]]
    archive.put(bad.bundle, data)
    assert place.manager().unarchive(ids[:1]) == ids[:1]
    mine = {row.root_id: row for row in before if isinstance(row, Document)}
    assert set(place.documents()) == {ids[0]}
    assert set(mine) == set(ids)


def test_every_flipped_byte_of_a_bundle_is_found(place: Place) -> None:
    archived(place)
    (stub,) = stubs(place)
    archive = place.storage.archive
    assert archive is not None
    data = archive.get(stub.bundle)
    session = place.begin()
    for position in range(0, len(data), 7):
        altered = bytearray(data)
        altered[position] ^= 1
        archive.put(stub.bundle, bytes(altered))
        with pytest.raises(ArchiveError):
            session.documents.get_by_id(stub.id, include_archived=True)


# --- What happened meanwhile ----------------------------------------------------------------------


def test_a_text_can_be_stored_again_while_it_is_archived(place: Place) -> None:
    place.policy("cold", action="archive")
    with place.begin() as session:
        first = session.documents.create_document("text", "email", "client")
    CLOCK.advance(days=31)
    place.manager().run()
    with place.begin() as session:
        again = session.documents.create_document("text", "email", "client")
    place.manager().unarchive([first.id])
    with place.begin() as session:
        assert session.documents.get_by_id(first.id) == first
        assert session.documents.get_by_id(again.id) == again
    claims = {row.id: row.text_claim is None for row in place.rows(Chain)}  # type: ignore[attr-defined]
    assert claims == {first.id: True, again.id: False}


def test_a_request_recorded_again_meanwhile_is_named(place: Place) -> None:
    place.policy("cold", action="archive")

    def record() -> int:
        with place.begin() as session:
            document = session.documents.create_document("text", "email", "client")
            validations = session.validations
            validations.create_validation(document.id, ["m"], "client", request_hash="same")
        return document.id

    first = record()
    CLOCK.advance(days=31)
    place.manager().run()
    second = record()
    with pytest.raises(IllegalTransition, match="has recorded a request of this document again"):
        place.manager().unarchive([first])
    assert [stub.id for stub in stubs(place)] == [first]
    CLOCK.advance(days=31)
    place.manager().run()
    assert place.manager().unarchive([first]) == [first]
    assert place.documents() == {first}
    assert [stub.id for stub in stubs(place)] == [second]


def test_a_tag_deleted_meanwhile_does_not_come_back(place: Place) -> None:
    (id,) = archived(place)
    with place.begin() as session:
        tag = session.tags.get_by_name("person")
        assert tag is not None
        session.tags.delete(tag.id)
        assert session.documents.query().include_archived().by_tag("person").all() == []
    assert place.manager().unarchive([id]) == [id]
    assert place.rows(DocumentTag) == []


def test_unarchiving_again_after_a_lost_race(place: Place) -> None:
    place.policy("cold", action="archive")
    with place.begin() as session:
        first = session.documents.create_document("text", "email", "client", tags=["a"])
    CLOCK.advance(days=31)
    place.manager().run()

    def meddle() -> None:
        with place.begin() as session:
            session.documents.create_document("text", "email", "client")
            tag = session.tags.get_by_name("a")
            assert tag is not None
            session.tags.delete(tag.id)

    backend = Unsteady(place.storage.backend)
    backend.fail(Fault(None, meanwhile=meddle))
    storage = at(place.storage, place.storage.archive, backend)
    assert place.manager(storage).unarchive([first.id]) == [first.id]
    assert place.documents() >= {first.id}
    assert names(place) == set()


def test_ids_of_archived_rows_are_not_given_out_again_after_a_load(place: Place) -> None:
    archived(place)
    (stub,) = stubs(place)
    with open_storage("memory://") as memory:
        memory.backend.load(place.storage.dump(place.tenant))
        with memory.session(tenant=place.tenant) as session:
            ids = session.new_ids(dict.fromkeys(SET[1:], 1))
    for kind in SET[1:]:
        assert ids[kind][0] > max(last for _, last in stub.members[kind.table])


# --- The folder -----------------------------------------------------------------------------------


def test_folder_and_files_are_private(place: Place, archive: FolderArchive) -> None:
    archived(place)
    assert stat.S_IMODE(archive.folder.stat().st_mode) == 0o700
    (file,) = archive.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "nul", "a\0b", "-a", "a" * 101]
)
def test_hostile_names_are_refused(archive: FolderArchive, name: str) -> None:
    for act in (
        lambda: archive.put(name, b""),
        lambda: archive.get(name),
        lambda: archive.delete(name),
        lambda: archive.exists(name),
    ):
        with pytest.raises(InvalidValue):
            act()
    assert not archive.folder.exists()


def test_links_and_foreign_files_are_no_bundles(archive: FolderArchive, tmp_path: Path) -> None:
    archive.put("a", b"1")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (archive.folder / "b.loki.zip").symlink_to(secret)
    (archive.folder / "c.loki.zip").mkdir()
    (archive.folder / "notes.txt").write_text("mine")
    assert list(archive.names()) == ["a"]
    assert [archive.exists(name) for name in ("a", "b", "c", "d")] == [True, False, False, False]
    for name in ("b", "c", "d"):
        with pytest.raises(ArchiveError):
            archive.get(name)
    archive.put("b", b"2")  # takes the link's place
    assert (archive.get("b"), secret.read_bytes()) == (b"2", b"secret")


def test_what_an_interrupted_put_leaves_can_be_found_and_removed(archive: FolderArchive) -> None:
    archive.put("a", b"1")
    (archive.folder / ".b.loki.zip.part").write_bytes(b"half")
    assert sorted(archive.names()) == ["a", "b"]
    assert not archive.exists("b")
    archive.delete("b")
    assert [file.name for file in archive.folder.iterdir()] == ["a.loki.zip"]
    archive.delete("b")
    (archive.folder / ".b.loki.zip.part").write_bytes(b"half")
    archive.put("b", b"whole")
    assert archive.get("b") == b"whole"


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    archive = FolderArchive(tmp_path / "file" / "archive")
    with pytest.raises(ArchiveError):
        archive.put("a", b"1")
    assert list(archive.names()) == []


def test_the_archive_is_configured_like_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(**options: Any) -> Any:
        with open_storage("memory://", **options) as storage:
            return storage.archive and getattr(storage.archive, "folder", storage.archive)

    own = Meddling(FolderArchive(tmp_path))
    assert folder() is None
    assert (
        folder(archive=tmp_path / "a") == folder(archive=f"file://{tmp_path}/a") == tmp_path / "a"
    )
    assert folder(archive=own) is own
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loki-storage.toml").write_text('archive = "from file"')
    assert folder() == tmp_path / "from file"
    monkeypatch.setenv("LOKI_STORAGE_ARCHIVE", "from environment")
    assert folder() == tmp_path / "from environment"
    assert folder(archive="") is None
    for wrong in (1, "s3://bucket", "file://"):
        with pytest.raises(InvalidValue, match="archive"):
            folder(archive=wrong)


def test_a_manifest_tells_what_is_in_a_bundle(place: Place) -> None:
    archived(place)
    (stub,) = stubs(place)
    assert place.storage.archive is not None
    with Archive(BytesIO(place.storage.archive.get(stub.bundle))) as bundle:
        manifest = bundle.manifest
    assert manifest.tenant == place.tenant
    assert manifest.schema_revision == place.storage.backend.schema_revision()
    assert sum(manifest.tables.values()) == stub.row_count
    assert sum(member.size for member in manifest.members) == stub.size
    assert manifest.metadata["policy"] == "cold"  # type: ignore[index,call-overload]
    assert MARKER not in manifest.to_json().decode()
