"""Archive: out of the store and back equal, whatever is killed, damaged or in the way (RET-4)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from loki_storage import Storage, open_storage
from loki_storage.archive_folder import FolderArchive
from loki_storage.archive_store import ArchiveStore
from loki_storage.archives import with_archived
from loki_storage.errors import (
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
    Validation,
    ValidationResult,
)
from loki_storage.plugins import plugin_manager
from loki_storage.query import Query
from loki_storage.storage import Session
from tests.retention.places import Place, fill, marked
from tests.stores import CLOCK
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
    assert stub.members.keys() == {"documents", "validations", "corrections"}
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
    whole = place.storage.backend
    tables = {each: list(whole.select(Query(each, place.tenant))) for each in SET}

    with open_storage("memory://") as memory:
        others = place.rows(*(k for k in _all_kinds() if k not in SET))
        memory.backend.load(
            sorted(
                [*others, *(row for rows in tables.values() for row in rows)],
                key=lambda row: list(_all_kinds()).index(type(row)),
            )
        )
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


def _all_kinds() -> Iterator[Any]:
    from loki_storage.models import KINDS

    return iter(KINDS.values())
