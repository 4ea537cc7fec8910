"""``loki_authorize``: asked once per operation, before its reads, and whatever the operation is."""

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loki_storage import Intercept, Query, Session, Storage, hookimpl, open_storage
from loki_storage.authorization import Operations, operations_of
from loki_storage.backup_manager import BackupManager
from loki_storage.errors import (
    DuplicateDocument,
    Forbidden,
    InvalidField,
    InvalidValue,
    PluginError,
    StorageError,
)
from loki_storage.export_manager import ExportManager
from loki_storage.models import AuditEntry, Document, DocumentTag, Tag, Validation
from loki_storage.repositories.base import Repository
from tests.stores import CLOCK, Unsteady, unsteady

Call = Callable[..., Any]


class Gatekeeper:
    """A host's plugin that notes what it is asked, and refuses what it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.contexts: list[Any] = []
        self.refuses: Callable[[str], bool] = lambda action: False

    @hookimpl
    def loki_authorize(self, action: str, context: Any) -> None:
        self.asked.append(action)
        self.contexts.append(context)
        if self.refuses(action):
            raise Forbidden("not for you")


@pytest.fixture
def keeper() -> Gatekeeper:
    return Gatekeeper()


@pytest.fixture
def kept(store: Storage, keeper: Gatekeeper) -> tuple[Unsteady, Storage]:
    return unsteady(store, keeper)


def repositories() -> list[tuple[str, type[Repository[Any]]]]:
    """The repositories of a session, by the attribute that they stand under."""
    with open_storage("memory://") as storage, storage.session() as session:
        found = {
            name: type(getattr(session, name)) for name in dir(session) if not name.startswith("_")
        }
    return [(name, cls) for name, cls in found.items() if issubclass(cls, Repository)]


def every_operation() -> Iterator[Any]:
    for area, cls in repositories():
        for name in operations_of(cls):
            yield pytest.param(area, name, id=f"{area}.{name}")
    for name in operations_of(Session):
        yield pytest.param(None, name, id=f"session.{name}")


OPERATIONS = list(every_operation())


def target(session: Session, area: str | None) -> Any:
    return session if area is None else getattr(session, area)


def required(method: Call) -> list[inspect.Parameter]:
    parameters = inspect.signature(method).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def expected(session: Session, area: str | None, name: str) -> str:
    return f"{'session' if area is None else getattr(session, area).kind.table}.{name}"


def test_there_are_operations_to_ask_for() -> None:
    names = {param.id for param in OPERATIONS}
    assert {"documents.create_document", "audit.get_by_actor", "session.select"} <= names
    assert len(names) > 80


@pytest.mark.parametrize(("area", "name"), OPERATIONS)
def test_refused_operation_reads_nothing(
    area: str | None, name: str, kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str
) -> None:
    backend, storage = kept
    session = storage.session(tenant=tenant)
    keeper.refuses = lambda action: True
    before = backend.calls
    method = getattr(target(session, area), name)
    with pytest.raises(Forbidden):
        method(*(None for _ in required(method)))
    assert keeper.asked == [expected(session, area, name)]
    assert backend.calls == before
    assert not session.pending


@pytest.fixture
def known(kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str) -> dict[str, Any]:
    """Arguments, by the name of the parameter, with which most operations succeed."""
    _, storage = kept
    with storage.session(tenant=tenant) as session:
        document = session.documents.create_document("text", "email", "acme", tags=["tag"])
        validation = session.validations.create_validation(document.id, ["m"], "acme")
        session.validations.start_validation(validation.id)
        correction = session.corrections.create_correction(
            document.id, "rewrite", "acme", corrected_content="better"
        )
        tag = session.tags.get_by_name("tag")
        assert tag is not None
    query = Query(Document, tenant)
    keeper.asked.clear()
    return {
        "action": "seen",
        "client_id": "acme",
        "change": None,
        "content": "other text",
        "content_hash": document.content_hash,
        "correction_type": "rewrite",
        "document_id": document.id,
        "document_type": "email",
        "documents": [],
        "entity_type": "document",
        "error_message": "it failed",
        "fields": ("id",),
        "gate_key": "m.gate",
        "id": {"documents": document.id, "validations": validation.id, "tags": tag.id}
        | {"corrections": correction.id},
        "ids": (),
        "intercept": Intercept.from_report("an intercept", "email", "acme", {"modules": {}}),
        "intercepts": [],
        "kind": Document,
        "modules_used": ["m"],
        "name": "tag",
        "parent_id": document.id,
        "queries": [query],
        "query": query,
        "reason": "because",
        "results": [],
        "scope": "module",
        "since": CLOCK() - timedelta(days=1),
        "status": "pass",
        "tenant": tenant,
        "tenant_id": tenant,
        "time": CLOCK(),
        "validation_id": validation.id,
        "version_id": document.id,
    }


@pytest.mark.parametrize(("area", "name"), OPERATIONS)
def test_allowed_operation_is_asked_for_exactly_once(
    area: str | None,
    name: str,
    kept: tuple[Unsteady, Storage],
    keeper: Gatekeeper,
    tenant: str,
    known: dict[str, Any],
) -> None:
    """Whatever else it calls, and also where it fails afterwards."""
    session = kept[1].session(tenant=tenant)
    method = getattr(target(session, area), name)
    arguments = [known.get(parameter.name) for parameter in required(method)]
    chosen = [a.get(area) if isinstance(a, dict) else a for a in arguments]
    try:
        found = method(*chosen)
        if isinstance(found, Iterator):
            list(found)
    except (StorageError, TypeError, AttributeError):
        pass  # an argument that this one does not take: it was asked for all the same
    assert len(keeper.asked) == 1
    assert keeper.asked[0].endswith(f".{name}")


def test_create_and_the_commit_after_it_are_asked_for_once(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str
) -> None:
    with kept[1].session(tenant=tenant, actor="alice") as session:
        session.documents.create_document("text", "email", "acme", tags=["a", "b"])
    assert keeper.asked == ["documents.create_document"]
    assert keeper.contexts[0].actor.id == "alice"
    assert keeper.contexts[0].tenant == tenant


def test_lost_race_is_explained_without_asking_again(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str
) -> None:
    _, storage = kept
    session = storage.session(tenant=tenant)
    session.documents.create_document("text", "email", "acme")
    with storage.session(tenant=tenant) as other:
        other.documents.create_document("text", "email", "acme")
    with pytest.raises(DuplicateDocument):
        session.commit()
    assert keeper.asked == ["documents.create_document"] * 2


def test_purge_in_units_of_its_own_is_one_operation(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str, known: dict[str, Any]
) -> None:
    with kept[1].session(tenant=tenant) as session:
        session.documents.delete(known["document_id"])
    with kept[1].session(tenant=tenant) as session:
        assert session.documents.purge([known["document_id"]])
    assert keeper.asked == ["documents.delete", "documents.purge"]


def test_raw_reads_are_asked_for_by_table(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str
) -> None:
    with kept[1].session(tenant=tenant) as session:
        list(session.select(Query(AuditEntry, tenant)))
        session.count(query=Query(Tag, tenant))
        session.get(Validation, 1)
        session.select_many([Query(Document, tenant), Query(DocumentTag, tenant)])
    assert keeper.asked == [
        "audit_trail.select",
        "tags.count",
        "validations.get",
        "documents.select_many",
        "document_tags.select_many",
    ]


def test_stream_is_asked_for_at_the_call_and_not_per_record(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str, known: dict[str, Any]
) -> None:
    stream = kept[1].stream(Query(Document, tenant), actor="auditor")
    assert keeper.asked == ["documents.select"]
    assert len(list(stream)) == 1
    assert keeper.asked == ["documents.select"]
    assert keeper.contexts[-1].actor.id == "auditor"
    kept[1].stream(Query(Document, None)).close()  # type: ignore[attr-defined]
    assert keeper.asked == ["documents.select"] * 2
    assert keeper.contexts[-1].tenant == ""
    with pytest.raises(InvalidField):
        kept[1].stream(Query(Document, None), actor="auditor")


def test_two_sessions_at_once_are_asked_for_each(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str, known: dict[str, Any]
) -> None:
    """An open stream of one does not hide the operations of the other."""
    first, second = (kept[1].session(tenant=tenant) for _ in range(2))
    for _ in first.select(Query(Document, tenant)):
        second.documents.get_all()
    assert keeper.asked == ["documents.select", "documents.get_all"]


def test_reads_of_the_plugin_itself_are_not_asked_for(store: Storage, tenant: str) -> None:
    seen = []

    class Roles:
        @hookimpl
        def loki_authorize(self, action: str, context: Any) -> None:
            seen.append(action)
            with storage.session(tenant=tenant, read_only=True) as session:
                session.tags.get_by_name("role")

    _, storage = unsteady(store, Roles())
    with storage.session(tenant=tenant) as session:
        session.documents.get_all()
    assert seen == ["documents.get_all"]


def test_store_wide_operations_can_be_refused(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper
) -> None:
    keeper.refuses = lambda action: action.startswith("storage.")
    for name in operations_of(Storage):
        with pytest.raises(Forbidden):
            getattr(kept[1], name)(*(None for _ in required(getattr(kept[1], name))))
    assert {"storage.dump", "storage.migrate"} <= set(keeper.asked)


def test_one_of_several_plugins_is_enough_to_refuse(store: Storage, tenant: str) -> None:
    lenient, strict = Gatekeeper(), Gatekeeper()
    strict.refuses = lambda action: True
    _, storage = unsteady(store, lenient, strict)
    with storage.session(tenant=tenant) as session, pytest.raises(Forbidden):
        session.documents.get_all()


def test_without_a_plugin_nothing_is_wrapped(store: Storage, tenant: str) -> None:
    with store.session(tenant=tenant) as session:
        assert type(session) is Session
        assert "loki_asks" not in vars(type(session.documents))


def test_new_method_is_asked_for_without_being_declared(store: Storage, tenant: str) -> None:
    keeper = Gatekeeper()

    class Notes(Repository[Document]):
        kind, noun = Document, "note"

        def shiny(self) -> int:
            return self.count()

    _, storage = unsteady(store, keeper)
    notes = Notes(storage.session(tenant=tenant))
    assert notes.shiny() == 0
    assert keeper.asked == ["documents.shiny"]
    assert issubclass(Notes, Operations)


def test_host_gives_its_plugins_when_it_opens_the_store() -> None:
    keeper = Gatekeeper()
    keeper.refuses = lambda action: action == "documents.create_document"
    with open_storage("memory://", plugins=[keeper]) as storage, storage.session() as session:
        with pytest.raises(Forbidden):
            session.documents.create_document("text", "email", "acme")
        assert session.documents.count() == 0


def test_plugin_that_is_not_there_is_an_error_and_not_a_hole() -> None:
    with pytest.raises(PluginError, match="no plugin named 'acme-access'"):
        open_storage("memory://", plugins=["acme-access"])
    with pytest.raises(InvalidValue):
        open_storage("memory://", plugins="acme-access")
    open_storage("memory://", plugins=["sqlite"]).close()


def test_export_is_asked_for_before_anything_is_read_or_written(
    kept: tuple[Unsteady, Storage], keeper: Gatekeeper, tenant: str, tmp_path: Path
) -> None:
    _, storage = kept
    manager = ExportManager(
        storage, tmp_path / "exports", tenant=tenant, actor="alice", mask=["title"]
    )
    keeper.refuses = lambda action: action == "documents.export"
    with pytest.raises(Forbidden):
        manager.export_documents("csv", None, "bob", consistent=False)
    assert keeper.asked == ["documents.export"]
    assert (keeper.contexts[0].tenant, keeper.contexts[0].actor.id) == (tenant, "alice")
    assert keeper.contexts[0].mask.names == ("title",)
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize("action", ["storage.backup", "storage.restore"])
def test_backup_and_restore_are_asked_for(keeper: Gatekeeper, tmp_path: Path, action: str) -> None:
    with open_storage("memory://", plugins=[keeper]) as storage:
        manager = BackupManager(storage, tmp_path / "backups", actor="operator")
        if action == "storage.restore":
            manager.create_backup("b")
        keeper.refuses = lambda asked: asked == action
        attempt = manager.create_backup if action == "storage.backup" else manager.restore_backup
        with pytest.raises(Forbidden):
            attempt("b")
        assert keeper.contexts[keeper.asked.index(action)].actor.id == "operator"
    assert action == "storage.restore" or not (tmp_path / "backups").exists()
