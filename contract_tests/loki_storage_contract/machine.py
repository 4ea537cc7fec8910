"""The state machine: documents, versions, deletes and restores against the model.

Rules only change things. What is there is read after every step, through the session and through
the store, and compared with the model. Arguments are drawn from what the model knows; about one id
in ten is unknown, purged, or another tenant's.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loki_storage.errors import StorageError
from loki_storage.models import AuditEntry, Chain, Document, Record
from loki_storage.storage import Session
from loki_storage_contract import reads
from loki_storage_contract.model import Refused, Version, World
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store
from loki_storage_contract.trail import entries_of, explains

__all__ = ["DocumentMachine"]

TENANTS = ("t1", "t2")
CLIENTS = ("c1", "c2")
CONTENTS = ("", "a", "b", "a ")
TITLES = (None, "", "t")
TAG_NAMES = ("x", "X")
UNKNOWN = 2**40

data = st.data()


class Side:
    """One tenant: its session, what is committed, and what the session must show."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.committed = self.view = World()
        self.session: Session
        self.gone: list[int] = []
        """Ids of versions that are not there any more."""

    @property
    def pending(self) -> bool:
        return self.view is not self.committed


@proves(
    *("VER-1", "VER-2", "VER-3", "VER-4", "VER-5", "VER-6", "VER-7", "VER-8", "VER-9", "VER-10"),
    *("DEL-1", "DEL-2", "DEL-3", "DEL-4", "DEL-5", "DEL-6", "DUP-1", "DUP-2", "DUP-3"),
    *("TAG-1", "TAG-2", "AUD-1", "AUD-2", "TXN-1", "TXN-3", "QRY-9", "TEN-1"),
)
class DocumentMachine(RuleBasedStateMachine):
    """Sessions of two tenants over one store. A subclass brings the store."""

    store: ClassVar[Store]

    @initialize()
    def begin(self) -> None:
        self.store.reset()
        self.storage = self.store.storage()
        self.sides = {tenant: Side(tenant) for tenant in TENANTS}
        self.side = self.sides[TENANTS[0]]
        self.handed_out: dict[str, set[int]] = {"document": set(), "tag": set()}
        self.steps = 0
        for side in self.sides.values():
            self._new_session(side)
        self.stored = self.store.dump()

    # Rules: documents and versions.

    @rule(
        data=data,
        content=st.sampled_from(CONTENTS),
        title=st.sampled_from(TITLES),
        client=st.sampled_from(CLIENTS),
        on_duplicate=st.sampled_from(["raise", "return", "allow"]),
    )
    def create(
        self, data: st.DataObject, content: str, title: str, client: str, on_duplicate: Any
    ) -> None:
        side = self._choose(data)
        self._perform(
            lambda: side.session.documents.create_document(
                content, "email", client, title=title, on_duplicate=on_duplicate
            ),
            lambda id, now: side.view.create(
                Version(id=id, content=content, created_at=now, title=title),
                client,
                "email",
                on_duplicate,
            ),
            f"create_document({content!r}, 'email', {client!r}, {on_duplicate=})",
        )

    @rule(
        data=data,
        content=st.sampled_from(CONTENTS),
        given=st.dictionaries(st.just("title"), st.sampled_from(TITLES), max_size=1),
    )
    def create_version(self, data: st.DataObject, content: str, given: dict[str, Any]) -> None:
        side = self._choose(data)
        id = self._head_or_other(data)
        self._perform(
            lambda: side.session.documents.create_version(id, content, user_id="u", **given),
            lambda new, now: side.view.create_version(
                id, Version(id=new, content=content, created_at=now, user_id="u"), **given
            ),
            f"create_version({id}, {content!r}, {given})",
        )

    @rule(data=data)
    def revert(self, data: st.DataObject) -> None:
        side = self._choose(data)
        id = self._some_id(data)
        self._perform(
            lambda: side.session.documents.revert_to(id),
            lambda new, now: side.view.revert(id, Version(id=new, content="", created_at=now)),
            f"revert_to({id})",
        )

    @rule(data=data, title=st.sampled_from(TITLES), metadata=st.sampled_from([None, {}, {"a": 1}]))
    def update(self, data: st.DataObject, title: str | None, metadata: Any) -> None:
        side = self._choose(data)
        id = self._head_or_other(data)
        self._perform(
            lambda: side.session.documents.update(id, title=title, metadata=metadata),
            lambda _, now: side.view.update(id, title=title, metadata_json=metadata),
            f"update({id}, title={title!r}, metadata={metadata!r})",
        )

    # Rules: deletes and restores.

    @rule(data=data)
    def delete(self, data: st.DataObject) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.delete(id),
            lambda _, now: self.side.view.delete(id, now),
            f"delete({id})",
        )

    @rule(data=data)
    def delete_version(self, data: st.DataObject) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.delete_version(id),
            lambda _, now: self.side.view.delete_version(id, now),
            f"delete_version({id})",
        )

    @rule(data=data)
    def restore(self, data: st.DataObject) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.restore(id),
            lambda _, now: self.side.view.restore(id),
            f"restore({id})",
        )

    @rule(data=data)
    def restore_version(self, data: st.DataObject) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.restore_version(id),
            lambda _, now: self.side.view.restore_version(id),
            f"restore_version({id})",
        )

    # Rules: tags.

    @rule(data=data, name=st.sampled_from(TAG_NAMES))
    def add_tag(self, data: st.DataObject, name: str) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.add_tag(id, name),
            lambda tag, now: self.side.view.add_tag(id, name, tag),
            f"add_tag({id}, {name!r})",
            kind="tag",
        )

    @rule(data=data, name=st.sampled_from(TAG_NAMES))
    def remove_tag(self, data: st.DataObject, name: str) -> None:
        id = self._chosen_id(data)
        self._perform(
            lambda: self.side.session.documents.remove_tag(id, name),
            lambda _, now: self.side.view.remove_tag(id, name),
            f"remove_tag({id}, {name!r})",
        )

    # Rules: units of work, time, the store.

    @rule(data=data)
    def commit(self, data: st.DataObject) -> None:
        side = self._choose(data)
        note(f"{side.tenant}.commit()")
        side.session.commit()
        side.committed = side.view
        self._store_holds_the_model()

    @rule(data=data, by_exception=st.booleans())
    def rollback(self, data: st.DataObject, by_exception: bool) -> None:
        side = self._choose(data)
        note(f"{side.tenant}.rollback()")
        if by_exception:
            try:
                with side.session:
                    raise _Left
            except _Left:
                self._new_session(side)
        else:
            side.session.rollback()
        side.gone += side.view.rows.keys() - side.committed.rows.keys()
        side.view = side.committed

    @rule(seconds=st.sampled_from([1e-6, 1, 86_400, -1e-6, -3600]))
    def advance(self, seconds: float) -> None:
        note(f"advance({seconds})")
        self.store.clock.advance(seconds=seconds)

    @rule()
    def reopen(self) -> None:
        """Another storage, as after a restart; what was not committed is lost."""
        note("reopen()")
        self.storage = self.store.storage()
        for side in self.sides.values():
            side.gone += side.view.rows.keys() - side.committed.rows.keys()
            side.view = side.committed
            self._new_session(side)

    @precondition(lambda self: not self.side.pending)
    @rule(data=data)
    def purge(self, data: st.DataObject) -> None:
        id, side = self._some_id(data), self.side
        before = side.view.rows.keys()
        self._perform(
            lambda: side.session.documents.purge([id]),
            lambda _, now: side.view.purge(id),
            f"purge([{id}])",
        )
        side.committed = side.view
        side.gone += before - side.view.rows.keys()
        self._store_holds_the_model()

    # Invariants.

    @invariant()
    def the_session_shows_the_model(self) -> None:
        self.steps += 1
        reads.show(self.side.session, self.side.view, self.steps, self.store.clock.now)
        reads.hide(self.side.session, self._not_here(self.side))

    @invariant()
    def nothing_is_written_before_the_commit(self) -> None:
        assert self.store.dump() == self.stored

    # How a rule is carried out.

    def _perform(
        self,
        call: Callable[[], Any],
        predict: Callable[[int, datetime], World],
        text: str,
        kind: str = "document",
    ) -> None:
        """Call, predict, compare: the error with its facts, or the ids that are new."""
        side, before = self.side, self.side.view
        note(f"{side.tenant}.{text}")
        result, error = None, None
        try:
            result = call()
        except StorageError as raised:
            error = raised
        new_id = getattr(result, "id", UNKNOWN)
        try:
            after = predict(new_id, self.store.clock.now)
        except Refused as refused:
            _check_refusal(refused, error)
            return
        if error is not None:
            raise AssertionError("it was refused, and no law refuses it") from error
        side.view = reads.moved(side.session, before, after, self.store.clock.now)
        self._check_new_ids(kind, _ids(after, kind) - _ids(before, kind))
        if isinstance(result, Document):
            reads.same(result, side.view.rows[result.id])

    def _check_new_ids(self, kind: str, ids: set[int]) -> None:
        """Ids are never reused, not even those of what was rolled back."""
        assert self.handed_out[kind].isdisjoint(ids)
        self.handed_out[kind] |= ids

    def _store_holds_the_model(self) -> None:
        before, self.stored = self.stored, self.store.dump()
        explains(entries_of(before, self.stored), before, self.stored)
        for side in self.sides.values():
            mine = [record for record in self.stored if record.tenant_id == side.tenant]
            _check_audit(side.committed, mine)
            _check_chains(side.committed, mine)

    def _new_session(self, side: Side) -> None:
        side.session = self.storage.session(actor="alice", tenant=side.tenant)

    # What is drawn.

    def _choose(self, data: st.DataObject) -> Side:
        """Mostly the first tenant."""
        self.side = self.sides[data.draw(st.sampled_from([TENANTS[0]] * 8 + [TENANTS[1]]))]
        return self.side

    def _chosen_id(self, data: st.DataObject) -> int:
        self._choose(data)
        return self._some_id(data)

    def _some_id(self, data: st.DataObject) -> int:
        """The id of a version, live or deleted; one time in ten of none that there is."""
        ids = [*self.side.view.rows] or [UNKNOWN]
        if data.draw(st.integers(0, 9)) == 9:
            ids = self._not_here(self.side)
        return _drawn(data, ids)

    def _head_or_other(self, data: st.DataObject) -> int:
        """Mostly a head: what builds on another version is refused."""
        heads = [head.id for _, head in self.side.view.heads]
        if heads and data.draw(st.integers(0, 3)):
            return _drawn(data, heads)
        return self._some_id(data)

    def _not_here(self, side: Side) -> list[int]:
        """Some ids that the tenant must not know: unknown, gone, another tenant's."""
        others = [
            id for other in self.sides.values() if other is not side for id in other.view.rows
        ]
        return [UNKNOWN, *side.gone[-1:], *others[:1]]


def _drawn(data: st.DataObject, ids: list[int]) -> int:
    return ids[data.draw(st.integers(0, len(ids) - 1))]


class _Left(Exception):
    """Why a block was left."""


def _ids(world: World, kind: str) -> set[int]:
    return set(world.rows) if kind == "document" else set(world.tags.values())


def _check_refusal(refused: Refused, error: StorageError | None) -> None:
    assert error is not None, f"it was done, and the laws refuse it ({refused.error.__name__})"
    assert type(error) is refused.error
    for name, allowed in refused.facts.items():
        assert getattr(error, name) in allowed, name  # type: ignore[operator]


def _check_audit(world: World, records: Iterable[Record]) -> None:
    """One entry per changed aggregate of each operation (AUD-1)."""
    entries = [record for record in records if isinstance(record, AuditEntry)]
    assert Counter((e.entity_type, e.entity_id) for e in entries) == Counter(world.audited)
    assert {entry.actor_id for entry in entries} <= {"alice"}


def _check_chains(world: World, records: Iterable[Record]) -> None:
    """The bookkeeping that the laws describe: revision, life and claim (VER-10, DUP-1)."""
    chains = {record.id: record for record in records if isinstance(record, Chain)}
    assert chains.keys() == world.documents.keys()
    for root_id, document in world.documents.items():
        chain, head = chains[root_id], document.head
        assert (chain.client_id, chain.revision) == (document.client_id, document.revision)
        assert chain.live is bool(document.live)
        claimed = None if document.text_claim is None or head is None else document.row(head)
        assert chain.text_claim == (claimed["content_hash"] if claimed else None)
