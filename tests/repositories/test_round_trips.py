"""How often each method asks the store: once or a few times, never once per row (no N+1).

The methods are found, not listed: a new one is one read, or has its line in ``COSTS``. Counted are
calls of the backend's reading methods, each of which is one round trip, ``select_many`` too.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loki_storage import Session, Storage, open_storage
from loki_storage.models import Document
from loki_storage.plugins import plugin_manager
from loki_storage.protocol import Backend
from loki_storage.query import In
from loki_storage_sqlite import open_sqlite
from tests.repositories.test_bad_input import ROUTES, World, arguments, call, methods, something
from tests.stores import CLOCK, new_tenant

READING = (
    "select",
    "select_many",
    "get_many",
    "count",
    "exists",
    "aggregate",
    "rows",
    "search",
    "explain",
)


class Counting(Backend):
    """Passes everything on, and counts what is asked."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.asked: Counter[str] = Counter()
        for name in dir(Backend):
            if not name.startswith("_"):
                setattr(self, name, self._counted(name))

    def _counted(self, name: str) -> Callable[..., Any]:
        passed = getattr(self.backend, name)

        def counted(*args: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return passed(*args, **named)

        return counted

    def reserve(self, counts: Any) -> Any: ...
    def select(self, query: Any) -> Any: ...
    def apply(self, batch: Any) -> None: ...
    def close(self) -> None: ...

    @property
    def reads(self) -> int:
        return sum(self.asked[name] for name in READING)


def counted(storage: Storage) -> tuple[Counting, Storage]:
    backend = Counting(storage.backend)
    return backend, Storage(backend, plugin_manager().hook, CLOCK)


def furnish(storage: Storage, size: int) -> World:
    """A tenant with so much of everything."""
    tenant = new_tenant()
    with storage.session(tenant=tenant) as session:
        ids = something(session)
        for n in range(size):
            made = something(session, f"text {n}")
            session.documents.create_version(made["document"], f"{n} again")
    return World(tenant, ids)


WITH_ARCHIVE = ("documents.query", "validations.query", "results.query", "corrections.query")
COSTS: dict[str, tuple[int, int]] = {
    "documents.add_tag": (2, 1),
    "documents.create_document": (1, 1),
    "documents.create_documents": (1, 1),
    "documents.create_version": (1, 1),
    "documents.delete": (2, 1),
    "documents.delete_documents": (2, 1),
    "documents.delete_version": (2, 1),
    "documents.get_statistics": (2, 0),
    "documents.remove_tag": (2, 0),
    "documents.restore_documents": (2, 0),
    "documents.revert_to": (1, 1),
    "documents.tag_documents": (4, 1),
    "documents.untag_documents": (4, 0),
    "documents.update": (2, 0),
    "validations.add_result": (1, 1),
    "validations.add_results": (1, 1),
    "validations.cancel_validation": (2, 1),
    "validations.complete_validation": (3, 1),
    "validations.create_validation": (1, 1),
    "validations.fail_validation": (2, 1),
    "validations.get_module_performance": (2, 0),
    "validations.get_overview": (4, 0),
    "validations.get_statistics": (2, 0),
    "corrections.apply_correction": (5, 1),
    "corrections.apply_corrections": (5, 1),
    "corrections.create_correction": (1, 1),
    "corrections.reject_correction": (2, 1),
    "corrections.review_correction": (2, 1),
    "corrections.update": (2, 0),
    "audit.get_by_document": (2, 0),
    "audit.get_statistics": (2, 0),
    "audit.log": (0, 1),
    "tags.create": (2, 1),
    "tags.delete": (2, 1),
    "tags.list_with_counts": (2, 0),
    "tags.update": (2, 0),
    "exports.complete": (2, 1),
    "exports.fail": (2, 1),
    "exports.start": (0, 1),
    "retention.activate": (3, 1),
    "retention.create": (3, 1),
    "retention.deactivate": (3, 0),
    "retention.delete": (2, 1),
    "retention.update": (3, 0),
    "retention.holds.covering": (6, 0),
    "retention.holds.place": (4, 1),
    "retention.holds.release": (3, 1),
    **{f"{owner}.include_archived": (2, 0) for owner in WITH_ARCHIVE},
    **{f"{owner}.build": (0, 0) for owner in ROUTES if owner.endswith("query")},
}
"""Reads and batches of what needs another number than one read and no batch."""
STATES = {
    "documents.purge",
    "validations.start_validation",
    "corrections.revert_correction",
    *(f"{owner}.{name}" for owner in ROUTES for name in ("after", "one")),
    "validations.query.by_status",
    "validations.query.metadata_equals",
    "corrections.query.by_status",
}
"""What refuses the arguments that are right for the others; below it is asked on its own."""
OURS = [owner for owner in ROUTES if owner != "session"]


def cost(storage: Storage, world: World, owner: str, name: str) -> tuple[int, int]:
    """How often one call of a method reads, and how often its commit writes."""
    backend, counting = counted(storage)
    session = counting.session(tenant=world.tenant)
    given, _ = arguments(world, owner, getattr(ROUTES[owner](session), name))
    backend.asked.clear()
    call(owner, name, (), given)(session)
    found = backend.reads
    session.commit()
    return found, backend.asked["apply"]


@pytest.mark.parametrize("owner", OURS)
def test_costs_are_as_told_and_do_not_grow_with_the_rows(owner: str) -> None:
    with open_storage("memory://", clock=CLOCK) as storage:
        names = methods(storage.session(), owner)
        for name in [name for name in names if f"{owner}.{name}" not in STATES]:
            expected = COSTS.get(f"{owner}.{name}", (1, 0))
            for size in (0, 6):
                world = furnish(storage, size)
                assert cost(storage, world, owner, name) == expected, f"{owner}.{name}"


def test_every_cost_is_of_a_method() -> None:
    with open_storage("memory://") as storage, storage.session() as session:
        known = {f"{owner}.{name}" for owner in OURS for name in methods(session, owner)}
    assert set(COSTS) <= known


PURGE_READS = 9
"""Which documents; policies and holds; their rows by kind, ids and times alone."""
Ask = Callable[[Session, list[Any]], object]


def described(count: int) -> list[dict[str, Any]]:
    one = {"document_type": "email", "client_id": "a", "tags": ["new", "vip"]}
    return [{**one, "content": f"new {n}"} for n in range(count)]


MANY: dict[str, tuple[Ask, int, int]] = {
    "create_documents": (lambda s, d: s.documents.create_documents(described(len(d))), 2, 1),
    "delete_documents": (lambda s, d: s.documents.delete_documents([x.id for x in d]), 2, 1),
    "tag_documents": (lambda s, d: s.documents.tag_documents([x.id for x in d], "new"), 4, 1),
    "untag_documents": (lambda s, d: s.documents.untag_documents([x.id for x in d], "vip"), 5, 1),
    "by query": (lambda s, d: s.documents.delete_documents(s.documents.query()), 3, 1),
    "validations": (lambda s, d: s.related(d, "validations"), 1, 0),
    "tags": (lambda s, d: s.related(d, "tags"), 1, 0),
    "versions": (lambda s, d: s.related(d, "versions"), 1, 0),
    "audit_trails": (lambda s, d: s.related(d, "audit_trails"), 1, 0),
    "add_results": (lambda s, d: add_results(s, len(d)), 2, 1),
    "get_with_validations": (lambda s, d: s.documents.get_with_validations(d[0].id), 1, 0),
    "get_with_results": (lambda s, d: s.validations.get_with_results(run(s)), 2, 0),
    "page": (lambda s, d: s.documents.query().limit(3).page(), 1, 0),
}


def run(session: Session) -> int:
    return session.validations.get_all(limit=1)[0].id


def add_results(session: Session, count: int) -> object:
    one = {"scope": "module", "gate_key": "m.g", "status": "pass"}
    return session.validations.add_results(run(session), [one] * count)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("size", [1, 30])
def test_many_cost_what_one_costs(store: Storage, name: str, size: int) -> None:
    ask, reads, batches = MANY[name]
    world = furnish(store, size)
    backend, counting = counted(store)
    session = counting.session(tenant=world.tenant)
    documents = session.documents.get_all(limit=size)
    backend.asked.clear()
    ask(session, documents)
    assert backend.reads == reads
    session.commit()
    assert backend.asked["apply"] == batches


def test_stepwise_operations_and_exact_answers(store: Storage) -> None:
    """The methods that need another state than those above."""
    backend, counting = counted(store)
    with counting.session(tenant=new_tenant()) as session:
        document = session.documents.create_document("1", "email", "a")
        pending = session.validations.create_validation(document.id, ["m"], "a")
        fix = session.corrections.create_correction(
            document.id, "rewrite", "a", corrected_content="2"
        )
        session.corrections.apply_correction(fix.id)
        session.commit()
        reads: dict[str, int] = {}

        def ask(name: str, made: Callable[[], object]) -> None:
            backend.asked.clear()
            made()
            reads[name] = backend.reads
            session.rollback()

        ask("start", lambda: session.validations.start_validation(pending.id))
        ask("revert", lambda: session.corrections.revert_correction(fix.id))
        ask("one", lambda: session.documents.query().latest_versions().one())
        cursor = session.documents.query().limit(1).page().next_cursor
        ask("after", lambda: session.documents.query().after(cursor).page())
    assert reads == {"start": 2, "revert": 8, "one": 1, "after": 1}


@pytest.mark.parametrize("size", [1, 30])
@pytest.mark.parametrize("by_query", [False, True])
def test_purge_reads_as_much_for_many_as_for_one(store: Storage, size: int, by_query: bool) -> None:
    """And commits each document on its own (TXN-9)."""
    world = furnish(store, size)
    backend, counting = counted(store)
    with counting.session(tenant=world.tenant) as session:
        free = (
            session.documents.query().latest_versions().ends_with("content", " again").limit(size)
        )
        made = [document.id for document in free.all()]
        session.documents.delete_documents(made)
        session.commit()
        gone = session.query(Document, In("id", made))
        backend.asked.clear()
        assert len(session.documents.purge(gone if by_query else made)) == size
    assert backend.reads == PURGE_READS
    assert backend.asked["apply"] == size


def test_a_read_is_one_statement(tmp_path: Path) -> None:
    """And ``select_many`` as many as it has queries."""
    url = f"sqlite:///{tmp_path / 'loki.db'}"
    with open_storage(url, clock=CLOCK) as storage:
        world = furnish(storage, 3)
    backend, asked_for = open_sqlite(url), list[str]()
    sa.event.listen(
        backend.engine().pool,
        "connect",
        lambda driver, _: driver.set_trace_callback(asked_for.append),
    )
    with Storage(backend, plugin_manager().hook, CLOCK) as storage:
        session = storage.session(tenant=world.tenant)
        documents = session.documents.get_all()
        counts = {}
        asked: dict[str, Callable[[], object]] = {
            "get_all": lambda: session.documents.get_all(),
            "search": lambda: session.documents.search("text"),
            "page": lambda: session.documents.query().page(),
            "aggregate": lambda: session.documents.query().aggregate("client_id"),
            "related": lambda: session.related(documents, "validations"),
            "related tags": lambda: session.related(documents, "tags"),
            "get_with_validations": lambda: session.documents.get_with_validations(1),
            "get_with_results": lambda: session.validations.get_with_results(1),
            "get_overview": lambda: session.validations.get_overview(),
            "get_gate_failure_stats": lambda: session.validations.get_gate_failure_stats(),
        }
        for name, made in asked.items():
            asked_for.clear()
            made()
            counts[name] = sum(statement.startswith("SELECT") for statement in asked_for)
    assert counts == {
        "get_all": 1,
        "search": 1,
        "page": 1,
        "aggregate": 1,
        "related": 1,
        "related tags": 2,
        "get_with_validations": 2,
        "get_with_results": 2,
        "get_overview": 4,
        "get_gate_failure_stats": 1,
    }
