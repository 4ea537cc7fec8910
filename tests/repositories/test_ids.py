"""TEN-1, VAL-1, DEL-5: what every call does with ids of others, of the deleted, and of nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from loki_storage import Session, Storage
from loki_storage.errors import InvalidValue, NotFound, StorageError
from loki_storage.models import Correction, Document, Record, Tag, Validation
from tests.programs import PRELUDE, UNKNOWN, perform, view
from tests.stores import new_tenant

Begin = Callable[..., Session]
Call = Callable[[Session, Any], Any]

THEN = datetime(2030, 1, 1, tzinfo=UTC)
RESULT: dict[str, Any] = {"scope": "module", "gate_key": "m.g", "status": "pass"}
READS: dict[str, tuple[type[Record], Call]] = {
    "documents.get_by_id": (Document, lambda s, id: s.documents.get_by_id(id)),
    "documents.get_deleted": (Document, lambda s, id: s.documents.get_by_id(id, True)),
    "documents.exists": (Document, lambda s, id: s.documents.exists(id)),
    "documents.count": (Document, lambda s, id: s.documents.count(root_id=id)),
    "documents.filter_by": (Document, lambda s, id: s.documents.filter_by(root_id=id)),
    "documents.latest": (Document, lambda s, id: s.documents.get_latest_version(id)),
    "documents.history": (Document, lambda s, id: s.documents.get_version_history(id, True)),
    "documents.as_of": (Document, lambda s, id: s.documents.get_as_of(id, THEN, True)),
    "documents.tags_of": (Document, lambda s, id: s.documents.tags_of(id)),
    "validations.get_by_id": (Validation, lambda s, id: s.validations.get_by_id(id, True)),
    "validations.results": (Validation, lambda s, id: s.validations.get_results(id)),
    "validations.with": (Validation, lambda s, id: s.validations.get_with_results(id, True)),
    "validations.of": (Document, lambda s, id: s.validations.get_by_document(id)),
    "validations.this": (Document, lambda s, id: s.validations.get_by_document(id, "this")),
    "corrections.get_by_id": (Correction, lambda s, id: s.corrections.get_by_id(id, True)),
    "corrections.of": (Document, lambda s, id: s.corrections.get_by_document(id)),
    "corrections.by_validation": (Validation, lambda s, id: s.corrections.get_by_validation(id)),
    "corrections.history": (Correction, lambda s, id: s.corrections.get_history(id)),
    "audit.of_document": (Document, lambda s, id: s.audit.get_by_document(id)),
    "audit.of_validation": (Validation, lambda s, id: s.audit.get_by_validation(id)),
    "audit.of_entity": (Document, lambda s, id: s.audit.get_by_entity("document", id)),
    "tags.get": (Tag, lambda s, id: s.tags.get(id)),
}
# What adds to a document, or goes on with what hangs on it: not while it is deleted (DEL-5).
ADDS: dict[str, tuple[type[Record], Call]] = {
    "create_version": (Document, lambda s, id: s.documents.create_version(id, "new")),
    "update": (Document, lambda s, id: s.documents.update(id, title="new")),
    "revert_to": (Document, lambda s, id: s.documents.revert_to(id)),
    "add_tag": (Document, lambda s, id: s.documents.add_tag(id, "new")),
    "remove_tag": (Document, lambda s, id: s.documents.remove_tag(id, "a")),
    "create_validation": (Document, lambda s, id: s.validations.create_validation(id, [], "a")),
    "start": (Validation, lambda s, id: s.validations.start_validation(id)),
    "add_result": (Validation, lambda s, id: s.validations.add_result(id, **RESULT)),
    "complete": (Validation, lambda s, id: s.validations.complete_validation(id)),
    "fail": (Validation, lambda s, id: s.validations.fail_validation(id, "error")),
    "cancel": (Validation, lambda s, id: s.validations.cancel_validation(id)),
    "correct": (Document, lambda s, id: s.corrections.create_correction(id, "rewrite", "a")),
    "update_correction": (Correction, lambda s, id: s.corrections.update(id, reasoning="new")),
    "review": (Correction, lambda s, id: s.corrections.review_correction(id)),
    "apply": (Correction, lambda s, id: s.corrections.apply_correction(id)),
    "apply_group": (Correction, lambda s, id: s.corrections.apply_corrections([id])),
    "reject": (Correction, lambda s, id: s.corrections.reject_correction(id)),
    "revert": (Correction, lambda s, id: s.corrections.revert_correction(id)),
}
OTHERS: dict[str, tuple[type[Record], Call]] = {
    "delete": (Document, lambda s, id: s.documents.delete(id)),
    "delete_version": (Document, lambda s, id: s.documents.delete_version(id)),
    "restore": (Document, lambda s, id: s.documents.restore(id)),
    "restore_version": (Document, lambda s, id: s.documents.restore_version(id)),
    "purge": (Document, lambda s, id: s.documents.purge([id])),
    "verify": (Document, lambda s, id: s.documents.verify(id)),
    "correct_validated": (
        Validation,
        lambda s, id: s.corrections.create_correction(mine(s), "rewrite", "a", validation_id=id),
    ),
    "tags.update": (Tag, lambda s, id: s.tags.update(id, name="new")),
    "tags.delete": (Tag, lambda s, id: s.tags.delete(id)),
}
WRITES = {**ADDS, **OTHERS}
CALLS = {**READS, **WRITES}


def mine(session: Session) -> int:
    """A document of the session's own, for calls that take two ids."""
    heads = session.documents.get_by_client("mine")
    return heads[0].id if heads else UNKNOWN


@pytest.fixture(scope="module")
def theirs(store: Storage) -> dict[type[Record], int]:
    """One id of each kind in another tenant."""
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        for step in [*PRELUDE, ("add_tag", 0, 0)]:
            perform(session, step)
    found = view(store.backend, tenant)
    return {type(row): row.id for row in reversed(found)}


@pytest.fixture(scope="module")
def own(store: Storage) -> str:
    """A tenant with a document of its own."""
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        session.documents.create_document("text", "email", "mine")
    return tenant


def outcome(session: Session, call: Call, id: object) -> Any:
    """What comes of a call, without the id that it was about."""
    try:
        found = call(session, id)
    except StorageError as error:
        facts = {name: value for name, value in vars(error).items() if value != id}
        return type(error), str(error).replace(str(id), "ID"), facts
    return found


@pytest.mark.parametrize("name", CALLS)
def test_id_of_another_tenant_is_an_id_that_does_not_exist(
    store: Storage, own: str, theirs: dict[type[Record], int], name: str
) -> None:
    kind, call = CALLS[name]
    before = view(store.backend, own)
    with store.session(tenant=own) as session:
        foreign = outcome(session, call, theirs[kind])
        assert foreign == outcome(session, call, UNKNOWN)
        if name in WRITES:
            assert foreign[0] is NotFound
        else:
            assert not foreign
        assert not session.pending
    assert view(store.backend, own) == before


NO_IDS: list[object] = [
    None,
    "1",
    "",
    1.0,
    1.5,
    True,
    b"1",
    [],
    [1],
    {},
    (1,),
    object(),
    2**63,
    -1,
    0,
]


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_id_is_refused_or_not_found(store: Storage, own: str, name: str) -> None:
    _, call = CALLS[name]
    with store.session(tenant=own) as session:
        for id in NO_IDS:
            if id is None and name in ("correct_validated", "audit.of_entity"):
                continue  # means "without"
            found = outcome(session, call, id)
            assert found in ([], {}, 0, None, False) or found[0] in (InvalidValue, NotFound)
            assert name in READS or found
        assert not session.pending


@pytest.mark.parametrize("name", ADDS)
def test_nothing_is_added_to_a_deleted_document(begin: Begin, store: Storage, name: str) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("add_tag", 0, 0), ("delete", 0, 0)]:
            perform(session, step)
    before = view(store.backend, session.tenant)
    kind, call = ADDS[name]
    deleted = {row.id for row in before if isinstance(row, Document) and row.is_deleted}
    about = [
        row.id
        for row in before
        if type(row) is kind and {row.id if kind is Document else of(row)} <= deleted
    ]
    assert about
    for id in about:
        with begin() as session, pytest.raises(NotFound):
            call(session, id)
    assert view(store.backend, session.tenant) == before


def of(row: Any) -> int:
    return int(row.document_id)


@pytest.mark.parametrize("name", ["delete", "delete_version", "restore", "restore_version"])
def test_deletes_and_restores_take_any_id_and_repeated_change_nothing(
    begin: Begin, store: Storage, name: str
) -> None:
    with begin() as session:
        for step in [*PRELUDE, ("append", 0, 4), ("delete", 1, 0)]:
            perform(session, step)
    _, call = OTHERS[name]
    documents = [r for r in view(store.backend, session.tenant) if isinstance(r, Document)]
    for document in documents:
        with begin() as session:
            once = call(session, document.id)
        before = view(store.backend, session.tenant)
        with begin() as session:
            assert call(session, document.id) == once
        assert view(store.backend, session.tenant) == before
