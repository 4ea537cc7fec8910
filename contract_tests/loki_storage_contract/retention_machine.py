"""The state machine of retention: policies, holds, time and runs against a model in plain data."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loki_storage.errors import IllegalTransition, OnHold, StorageError
from loki_storage.models import Document
from loki_storage.query import Query, equals
from loki_storage.retention import RetentionManager
from loki_storage.storage import Session
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store

__all__ = ["RetentionMachine"]

TENANT, CLIENT, TYPES = "t1", "c1", ("email", "nda")
STEPS = [
    *["create"] * 3,
    *["version", "validate", "delete"],
    *["hold", "release", "policy", "switch", "purge"],
    *["advance", "run"] * 3,
]


@attrs.define
class Entry:
    """A document: its type, when its newest member came, when it was deleted.

    ``open``: it has a validation that goes on. Then each run looks at it again.
    """

    type: str
    newest: datetime
    deleted: datetime | None = None
    anonymized: bool = False
    open: bool = False


@attrs.define
class Rule:
    """A policy: what it does how many days after creation or deletion, to which type."""

    action: str
    kind: str
    trigger: str
    days: int
    priority: int
    type: str | None
    active: bool = True


@attrs.define
class Hold:
    """On documents, or on a type."""

    ids: set[int]
    type: str | None
    active: bool = True


@proves("RET-1", "RET-2", "RET-3", "HLD-1", "HLD-2", share=0.1)
class RetentionMachine(RuleBasedStateMachine):
    """One tenant's documents. A subclass brings the store."""

    store: ClassVar[Store]

    @initialize()
    def begin(self) -> None:
        self.store.reset()
        self.documents: dict[int, Entry] = {}
        self.policies: dict[int, Rule] = {}
        self.holds: dict[str, Hold] = {}
        self.texts = 0

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """One call of the public API, or time that passes."""
        action = data.draw(st.sampled_from(STEPS))
        if action in ("create", "policy", "advance", "run") or self.documents:
            getattr(self, f"_{action}")(data)

    @invariant()
    def the_store_has_the_models_documents(self) -> None:
        rows = list(self.store.backend.select(Query(Document, TENANT)))
        assert {row.root_id for row in rows} == set(self.documents)
        for row in rows:
            placeholder = row.content.startswith("[anonymized ")
            assert placeholder or not self.documents[row.root_id].anonymized

    # Documents

    def _create(self, data: st.DataObject) -> None:
        self.texts += 1
        type = data.draw(st.sampled_from(TYPES))
        with self._session() as session:
            made = session.documents.create_document(f"text {self.texts}", type, CLIENT)
        self.documents[made.id] = Entry(type, self.store.clock.now)

    def _version(self, data: st.DataObject) -> None:
        id, entry = self._any(data)
        self.texts += 1
        if entry.deleted is None:
            with self._session() as session:
                session.documents.create_version(self._head(session, id), f"text {self.texts}")
            entry.newest, entry.anonymized = self.store.clock.now, False

    def _validate(self, data: st.DataObject) -> None:
        id, entry = self._any(data)
        if entry.deleted is None:
            with self._session() as session:
                session.validations.create_validation(self._head(session, id), ["m"], CLIENT)
            entry.newest, entry.anonymized, entry.open = self.store.clock.now, False, True

    def _delete(self, data: st.DataObject) -> None:
        id, entry = self._any(data)
        with self._session() as session:
            session.documents.delete(id)
        entry.deleted = entry.deleted or self.store.clock.now

    def _purge(self, data: st.DataObject) -> None:
        id, entry = self._any(data)
        error: type[StorageError] | None = None
        if self._held(id, entry):
            error = OnHold
        elif self._kept(entry) or (entry.deleted is None and self._fate(id, entry) != "delete"):
            error = IllegalTransition
        with self._session() as session:
            if error is None:
                assert session.documents.purge([id]) == [id]
                del self.documents[id]
            else:
                with pytest.raises(error):
                    session.documents.purge([id])

    # Policies and holds

    def _policy(self, data: st.DataObject) -> None:
        made = Rule(
            data.draw(st.sampled_from(["delete", "anonymize"])),
            data.draw(st.sampled_from(["maximum", "maximum", "minimum"])),
            data.draw(st.sampled_from(["created", "created", "deleted"])),
            data.draw(st.sampled_from([1, 3, 7])),
            data.draw(st.integers(1, 2)),
            data.draw(st.sampled_from([None, *TYPES])),
        )
        with self._session() as session:
            stored = session.retention.create(
                f"policy {len(self.policies):03}",
                "document",
                made.action,
                made.days,
                kind=made.kind,
                trigger=made.trigger,
                priority=made.priority,
                criteria=_of_type(made.type),
            )
        self.policies[stored.id] = made

    def _switch(self, data: st.DataObject) -> None:
        if self.policies:
            id = data.draw(st.sampled_from(sorted(self.policies)))
            made = self.policies[id]
            made.active = not made.active
            with self._session() as session:
                change = session.retention.activate if made.active else session.retention.deactivate
                change(id)

    def _hold(self, data: st.DataObject) -> None:
        id, _ = self._any(data)
        type = data.draw(st.sampled_from([None, None, *TYPES]))
        name = f"hold {len(self.holds)}"
        with self._session() as session:
            ids = [id] if type is None else None
            session.retention.holds.place(name, "court", ids=ids, query=_of_type(type))
        self.holds[name] = Hold({id} if type is None else set(), type)

    def _release(self, data: st.DataObject) -> None:
        active = sorted(name for name, hold in self.holds.items() if hold.active)
        if active:
            name = data.draw(st.sampled_from(active))
            with self._session() as session:
                session.retention.holds.release(name)
            self.holds[name].active = False

    # Time and runs

    def _advance(self, data: st.DataObject) -> None:
        days = data.draw(st.sampled_from([1, 1, 2, 7]))
        tick = data.draw(st.sampled_from([0, 0, -1, 1]))
        self.store.clock.now += timedelta(days=days, microseconds=tick)

    def _run(self, data: st.DataObject) -> None:
        expected = {id: self._fate(id, entry) for id, entry in self.documents.items()}
        manager = RetentionManager(self.store.storage(), tenant=TENANT, actor="officer")
        plan = manager.preview()
        planned = {item.id: item.action for _, item in plan.records() if item.action}
        assert planned == {id: fate for id, fate in expected.items() if fate}
        report = manager.run(plan)
        done = [id for id in planned if self.documents[id].anonymized]
        again = [id for id in done if planned[id] == "anonymize"]
        assert report.affected == len(planned) - len(again)
        for id, fate in expected.items():
            if fate == "delete":
                del self.documents[id]
            elif fate == "anonymize":
                self.documents[id].anonymized = True

    # What the model says

    def _fate(self, id: int, entry: Entry) -> str | None:
        due = [
            (rule.priority, 0 if rule.action == "anonymize" else 1, rule.action)
            for rule in self.policies.values()
            if rule.active and rule.kind == "maximum" and self._matches(rule, entry)
            if self._over(rule, entry)
            if not (rule.action == "anonymize" and entry.anonymized and not entry.open)
        ]
        if not due or self._held(id, entry) or self._kept(entry):
            return None
        return min(due)[2]

    def _held(self, id: int, entry: Entry) -> bool:
        return any(
            hold.active and (id in hold.ids or hold.type == entry.type)
            for hold in self.holds.values()
        )

    def _kept(self, entry: Entry) -> bool:
        return any(
            rule.active
            and rule.kind == "minimum"
            and self._matches(rule, entry)
            and not self._over(rule, entry)
            for rule in self.policies.values()
        )

    def _matches(self, rule: Rule, entry: Entry) -> bool:
        return rule.type is None or rule.type == entry.type

    def _over(self, rule: Rule, entry: Entry) -> bool:
        began = entry.newest if rule.trigger == "created" else entry.deleted
        return began is not None and self.store.clock.now >= began + timedelta(days=rule.days)

    # Helpers

    def _session(self) -> Session:
        return self.store.storage().session(tenant=TENANT, actor="alice")

    def _any(self, data: st.DataObject) -> tuple[int, Entry]:
        id = data.draw(st.sampled_from(sorted(self.documents)))
        return id, self.documents[id]

    def _head(self, session: Session, id: int) -> int:
        head: Any = session.documents.get_latest_version(id)
        return int(head.id)


def _of_type(type: str | None) -> Query | None:
    return None if type is None else Query(Document, TENANT, equals(document_type=type))
