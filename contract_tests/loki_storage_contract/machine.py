"""The state machine: documents, validations, corrections, tags, deletes against the model.

Steps only change things. What is there is read after every step, through the session and through
the store, and compared with the model.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loki_storage.errors import IllegalTransition, StorageError
from loki_storage.models import Document
from loki_storage.storage import Session, Storage
from loki_storage_contract import books, reads, review_steps, reviews
from loki_storage_contract.choices import any_id
from loki_storage_contract.model import Refused, Version, World, merged
from loki_storage_contract.registry import proves
from loki_storage_contract.review_steps import REVIEWS, hide_reviews, show_reviews
from loki_storage_contract.reviews import Result
from loki_storage_contract.store import Store

__all__ = ["DocumentMachine"]

TENANTS = ("t1", "t2")
CONTENTS = ("", "a", "b", "a ")
UNKNOWN = 2**40

# One rule draws the step: Hypothesis leaves whole rules out of many traces, and what is interesting
# here needs several of them together. The more often, the more it has to do with.
CHANGES = [
    *["create"] * 2,
    *["create_version"] * 3,
    *["update", "delete", "restore", "restore_version", "add_tag", "remove_tag"] * 2,
    *["delete_version", "revert_to"],
]
UNITS = [*["commit"] * 5, "rollback", "leave", "reopen", *["advance"] * 2]
DECIDED = ["purge", "race"] * 2
"""Those that may be refused."""

_OTHERWISE = {
    "create_document": ["DuplicateDocument"],
    "create_version": ["NotFound"],
    "update": ["NotFound"],
    "delete": ["NotFound", "unchanged"],
    "restore": ["NotFound", "unchanged"],
    "restore_version": ["NotFound", "unchanged"],
    "add_tag": ["unchanged"],
    "remove_tag": ["unchanged"],
    "purge": ["IllegalTransition"],
    "create_validation": ["NotFound"],
    "start_validation": ["IllegalTransition"],
    "create_correction": ["NotFound"],
    "apply_correction": ["NotFound"],
    "update_correction": ["unchanged"],
    "commit after another": ["StaleVersion"],
}
_ALWAYS = [
    *("create_document", "create_version", "update", "delete", "delete_version", "restore"),
    *("restore_version", "revert_to", "add_tag", "remove_tag", "purge"),
    *("create_validation", "start_validation", "add_results"),
    *("complete_validation", "fail_validation", "cancel_validation"),
    *("create_correction", "update_correction", "apply_correction", "apply_corrections"),
    *("revert_correction", "reject_correction"),
    *("commit", "commit after another", "rollback", "leave", "reopen", "advance"),
]
REQUIRED_CELLS = {
    *((rule, "ok") for rule in _ALWAYS),
    *((rule, outcome) for rule, outcomes in _OTHERWISE.items() for outcome in outcomes),
}
"""What must happen in a run of ``ci`` or more: a rule that was never refused was not tested."""

contents = st.sampled_from(CONTENTS)
titles = st.sampled_from([None, "", "t"])
metadata = st.sampled_from([None, {}, {"a": 1}])
creations = st.tuples(
    contents, titles, st.sampled_from(["c1", "c2"]), st.sampled_from(["raise", "return", "allow"])
)
NAMES = ("x", "X")
names = st.sampled_from(NAMES)


class Side:
    """One tenant's session: what was committed before it began, and what it must show."""

    def __init__(self, tenant: str, storage: Storage, committed: World) -> None:
        self.tenant = tenant
        self.committed = self.view = committed
        self.session: Session = storage.session(actor=books.ACTOR, tenant=tenant)

    @property
    def pending(self) -> bool:
        return self.view is not self.committed


@proves(
    *("VER-1", "VER-2", "VER-3", "VER-4", "VER-5", "VER-6", "VER-7", "VER-8", "VER-9", "VER-10"),
    *("DEL-1", "DEL-2", "DEL-3", "DEL-4", "DEL-5", "DEL-6", "DUP-1", "DUP-2", "DUP-3", "TAG-1"),
    *("VLD-1", "VLD-2", "VLD-3", "COR-1", "COR-2", "COR-3"),
    *("TAG-2", "AUD-1", "AUD-2", "TXN-1", "TXN-3", "TXN-7", "TXN-8", "TXN-9", "QRY-9", "TEN-1"),
    share=0.6,
    cells=REQUIRED_CELLS,
)
class DocumentMachine(RuleBasedStateMachine):
    """Sessions of two tenants over one store. A subclass brings the store."""

    store: ClassVar[Store]

    @initialize(population=st.integers(0, 2))
    def begin(self, population: int) -> None:
        self.store.reset()
        self.handed_out: dict[str, set[int]] = defaultdict(set)
        self.gone: dict[str, list[int]] = {tenant: [] for tenant in TENANTS}
        self.turn, self.stored = 0, self.store.dump()
        self._open(dict.fromkeys(TENANTS, World()))
        counted = self.store.hits.copy()
        for tenant in TENANTS:
            self.side = self.sides[tenant]
            for content in CONTENTS[1 : 1 + population]:
                self._create(content, None, "c1", "raise")
                for text in (f"{content}2", f"{content}3"):
                    self._create_version(max(self.side.view.rows), text, {})
                self._populate(max(self.side.view.rows))
            self._commit()
        self.store.hits = counted  # what is there to begin with is no step

    def _populate(self, version: int) -> None:
        """A tag, a running validation with a result, two pending corrections, an applied one."""
        session, side = self.side.session, self.side
        client = side.view.of(version).client_id
        validation = session.validations.create_validation(version, ["m"], client).id
        session.validations.start_validation(validation)
        result = session.validations.add_result(validation, "module", "m.a", "fail", "high")
        now = self.store.clock.now
        side.view = reviews.create_validation(side.view, version, validation, now)
        side.view = reviews.start_validation(side.view, validation, now)
        failed = Result(id=result.id, gate_key="m.a", status="fail", severity="high")
        side.view = reviews.add_results(side.view, validation, [failed])
        created = []
        for text in (None, "b", "b"):
            correction = session.corrections.create_correction(
                version, "rewrite", client, corrected_content=text
            ).id
            side.view = reviews.create_correction(side.view, version, correction, now, text, None)
            created.append(correction)
        self._check_new_ids("validation", {validation})
        self._check_new_ids("correction", {*created})
        self._tag("add_tag", version, NAMES[0])
        self._perform(
            lambda: _newest(session, created[-1], version),
            lambda new, now: reviews.apply(
                side.view,
                created[-1:],
                Version(id=new, content="", created_at=now, user_id=session.actor.id),
            ),
            f"apply_correction({created[-1]})",
            kind="correction",
        )

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """One call of the public API, or one thing that happens to the store."""
        self.side = self.sides[data.draw(st.sampled_from([TENANTS[0]] * 8 + [TENANTS[1]]))]
        actions = [*CHANGES, *UNITS, *DECIDED, *REVIEWS]
        if not self.side.view.documents:  # nearly everything would be refused
            actions = ["create"] * len(actions) + actions
        action = data.draw(st.sampled_from(actions))
        if action in CHANGES:
            self._change(data, action)
        elif action in REVIEWS:
            view, elsewhere = self.side.view, self._not_here()
            review_steps.step(data, action, self.side.session, view, elsewhere, self._perform)
        else:
            getattr(self, f"_{action}")(data)
        if action in UNITS:
            self.store.hit(action, "ok")

    # What is there, after every step.

    @invariant()
    def the_session_shows_the_model(self) -> None:
        self.turn += 1
        session, unknown = self.side.session, self._not_here()
        reads.show(session, self.side.view, self.turn, self.store.clock.now)
        show_reviews(session, self.side.view, self.turn)
        nobodys = unknown[self.turn // 2 % len(unknown)]
        if self.turn % 2:
            reads.hide(session, nobodys)
        elif nobodys not in {*self.side.view.validations, *self.side.view.corrections}:
            hide_reviews(session, nobodys)

    @invariant()
    def nothing_is_written_before_the_commit(self) -> None:
        assert self.store.dump() == self.stored

    # Changes.

    def _change(self, data: st.DataObject, action: str, among: World | None = None) -> None:
        if action == "create":
            self._create(*data.draw(creations))
            return
        id = any_id(data, among or self.side.view, action, self._not_here())
        if action == "create_version":
            given = {"title": data.draw(titles)} if data.draw(st.booleans()) else {}
            self._create_version(id, data.draw(contents), given)
        elif action == "revert_to":
            self._revert(id)
        elif action == "update":
            self._update(id, data.draw(titles), data.draw(metadata))
        elif action == "add_tag":
            self._tag(action, id, data.draw(names))
        elif action == "remove_tag":
            self._tag(action, id, data.draw(st.sampled_from([*self._tags_of(id), *NAMES])))
        else:
            self._delete_or_restore(action, id)

    def _tags_of(self, id: int) -> list[str]:
        documents = self.side.view.documents.values()
        return sorted(tag for d in documents if id in {v.id for v in d.versions} for tag in d.tags)

    def _create(self, content: str, title: str | None, client: str, on_duplicate: Any) -> None:
        side = self.side
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
            f"create_document({content!r}, 'email', {client!r}, {title=}, {on_duplicate=})",
        )

    def _create_version(self, id: int, content: str, given: dict[str, Any]) -> None:
        side = self.side
        self._perform(
            lambda: side.session.documents.create_version(id, content, user_id="u", **given),
            lambda new, now: side.view.create_version(
                id, Version(id=new, content=content, created_at=now, user_id="u"), **given
            ),
            f"create_version({id}, {content!r}, {given})",
        )

    def _revert(self, id: int) -> None:
        side = self.side
        self._perform(
            lambda: side.session.documents.revert_to(id),
            lambda new, now: side.view.revert(id, Version(id=new, content="", created_at=now)),
            f"revert_to({id})",
        )

    def _update(self, id: int, title: str | None, metadata: Any) -> None:
        side = self.side
        self._perform(
            lambda: side.session.documents.update(id, title=title, metadata=metadata),
            lambda _, now: side.view.update(id, title=title, metadata_json=metadata),
            f"update({id}, {title=}, {metadata=})",
        )

    def _delete_or_restore(self, action: str, id: int) -> None:
        side = self.side
        self._perform(
            lambda: getattr(side.session.documents, action)(id),
            lambda _, now: getattr(side.view, action)(id, now),
            f"{action}({id})",
        )

    def _tag(self, action: str, id: int, name: str) -> None:
        side = self.side
        self._perform(
            lambda: getattr(side.session.documents, action)(id, name),
            lambda tag, now: getattr(side.view, action)(id, name, tag),
            f"{action}({id}, {name!r})",
            kind="tag",
        )

    # Units of work, time, the store.

    def _commit(self, data: object = None) -> None:
        self.store.say(f"{self.side.tenant}.commit()")
        self.side.session.commit()
        self._committed(self.side.view)

    def _rollback(self, data: object) -> None:
        self.store.say(f"{self.side.tenant}.rollback()")
        self.side.session.rollback()
        self._discarded(self.side)

    def _leave(self, data: object) -> None:
        """Leave the block by an exception, then begin another session."""
        self.store.say(f"{self.side.tenant}: an exception leaves the block")
        try:
            with self.side.session:
                raise _Left
        except _Left:
            self._discarded(self.side)

    def _reopen(self, data: object) -> None:
        """Another storage, as after a restart; what was not committed is lost."""
        self.store.say("reopen()")
        for side in self.sides.values():
            self._discarded(side)
        self._open({tenant: side.committed for tenant, side in self.sides.items()})

    def _advance(self, data: st.DataObject) -> None:
        seconds = data.draw(st.sampled_from([1e-6, 1, 86_400, -1e-6, -3600]))
        self.store.say(f"advance({seconds})")
        self.store.clock.advance(seconds=seconds)

    def _purge(self, data: st.DataObject) -> None:
        """At once, in a unit of its own; refused where something is pending (TXN-9)."""
        side = self.side
        id = any_id(data, side.view, "purge", self._not_here())
        before = side.view.rows.keys()

        def predict(_: int, now: datetime) -> World:
            if side.pending:
                raise Refused(IllegalTransition)
            return side.view.purge(id)

        self._perform(lambda: side.session.documents.purge([id]), predict, f"purge([{id}])")
        if not side.pending or side.view.rows.keys() != before:
            self.gone[side.tenant] += before - side.view.rows.keys()
            self._committed(side.view)

    def _race(self, data: st.DataObject) -> None:
        """Another writer commits first; then this session commits, and wins or loses (TXN-7)."""
        side = self.side
        if side.view.reviewed != side.committed.reviewed:
            self._commit()  # races of validations and corrections are laws of their own
        if not side.pending:
            self._change(data, data.draw(st.sampled_from(CHANGES)))
        if not side.pending:
            return
        base = side.committed
        rival = Side(side.tenant, self.rival, base)
        self.side = self.sides[side.tenant] = rival
        action = data.draw(st.sampled_from([c for c in CHANGES if "tag" not in c]))
        self._change(data, action, among=base.changed_in(side.view))
        self._commit()
        self.side = self.sides[side.tenant] = side
        side.committed, expected = rival.committed, merged(base, side.view, rival.committed)
        self.store.say(f"{side.tenant}.commit(), after the other one")
        _, error = _outcome(side.session.commit)
        if isinstance(expected, list):
            books.check_refusal(expected, error)
            self.store.hit("commit after another", type(error).__name__)
            self._discarded(side)
        else:
            if error is not None:
                raise AssertionError("no law refuses it") from error
            self.store.hit("commit after another", "ok")
            side.view = expected
            self._committed(expected)

    # How a step is carried out.

    def _perform(
        self,
        call: Callable[[], Any],
        predict: Callable[[int, datetime], World],
        text: str,
        kind: str = "document",
    ) -> None:
        """Call, predict, compare: the error with its facts, or what it did."""
        side, before, now = self.side, self.side.view, self.store.clock.now
        self.store.say(f"{side.tenant}.{text}")
        rule, (result, error) = text.partition("(")[0], _outcome(call)
        try:
            after = predict(getattr(result, "id", UNKNOWN), now)
        except Refused as refused:
            books.check_refusal([refused], error)
            self.store.hit(rule, refused.error.__name__)
            return
        if error is not None:
            raise AssertionError("it was refused, and no law refuses it") from error
        self.store.hit(rule, "unchanged" if after is before else "ok")
        if after is not before:
            side.view = reads.moved(side.session, before, after, now)
        self._check_new_ids(kind, books.ids_of(after, kind) - books.ids_of(before, kind))
        if isinstance(result, Document):
            reads.same(result, side.view.rows[result.id])

    def _check_new_ids(self, kind: str, ids: set[int]) -> None:
        """Ids are never reused, not even those of what was rolled back."""
        assert self.handed_out[kind].isdisjoint(ids)
        self.handed_out[kind] |= ids

    def _open(self, committed: dict[str, World]) -> None:
        self.storage, self.rival = self.store.storage(), self.store.storage(self.store.other)
        self.sides = {t: Side(t, self.storage, world) for t, world in committed.items()}
        self.side = self.sides[TENANTS[0]]

    def _committed(self, world: World) -> None:
        """The store holds what the model says, and the audit explains how it came there."""
        self.side.committed = world
        before, self.stored = self.stored, self.store.dump()
        books.check(before, self.stored, {t: side.committed for t, side in self.sides.items()})

    def _discarded(self, side: Side) -> None:
        self.gone[side.tenant] += side.view.rows.keys() - side.committed.rows.keys()
        side.view = side.committed

    def _not_here(self) -> Sequence[int]:
        """Some ids that the tenant must not know: unknown, gone, another tenant's."""
        others = [side.view.rows for side in self.sides.values() if side.tenant != self.side.tenant]
        return [UNKNOWN, *self.gone[self.side.tenant][-1:], *(id for rows in others for id in rows)]


def _newest(session: Session, correction: int, version: int) -> Any:
    """Apply a correction; the head that came of it."""
    session.corrections.apply_correction(correction)
    return session.documents.get_latest_version(version)


def _outcome(call: Callable[[], Any]) -> tuple[Any, StorageError | None]:
    try:
        return call(), None
    except StorageError as error:
        return None, error


class _Left(Exception):
    """Why a block was left."""
