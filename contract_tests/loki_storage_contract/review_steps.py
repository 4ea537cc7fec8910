"""The state machine's steps on validations and corrections, and what must then be there."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import attrs
from hypothesis import strategies as st

from loki_storage import models
from loki_storage.models import CorrectionHistory, ValidationResult
from loki_storage.query import Order, Query, equals
from loki_storage.storage import Session
from loki_storage_contract import reviews
from loki_storage_contract.choices import any_id
from loki_storage_contract.model import Version, World
from loki_storage_contract.reviews import Correction, Result, Validation

__all__ = ["REVIEWS", "Perform", "hide_reviews", "show_reviews", "step"]

VALIDATIONS = [
    *["create_validation"] * 2,
    *["start_validation"] * 2,
    *["add_results", "complete_validation"] * 2,
    *["fail_validation", "cancel_validation"],
]
CORRECTIONS = [
    *["create_correction"] * 2,
    *["apply_correction", "revert_correction", "update_correction"] * 2,
    *["apply_corrections", "reject_correction"],
]
REVIEWS = [*VALIDATIONS, *CORRECTIONS]

Perform = Callable[[Callable[[], Any], Callable[[int, datetime], World], str, str], None]
"""The machine's: call, prediction, how the call is spelled, of which kind the new ids are."""

gates = st.tuples(
    st.sampled_from(["m.a", "m.b", "a"]),
    st.sampled_from(["fail", "pass", "warning", "skip", "error"]),
    st.sampled_from([None, "high", "critical", "none", "low"]),
)


def step(
    data: st.DataObject,
    action: str,
    session: Session,
    world: World,
    elsewhere: Sequence[int],
    perform: Perform,
) -> None:
    """One call on validations or corrections, and what the laws say of it."""
    _Steps(data, session, world, elsewhere, perform).take(action)


@attrs.frozen
class _Steps:
    data: st.DataObject
    session: Session
    world: World
    elsewhere: Sequence[int]
    perform: Perform

    def take(self, action: str) -> None:
        """The step; where there is nothing to take it on, what it could be taken on is created."""
        kind = "validation" if action in VALIDATIONS else "correction"
        there = getattr(self.world, f"{kind}s") or self._draw(*range(10)) == 9
        getattr(self, f"_{action}" if there else f"_create_{kind}")()

    def _draw(self, *values: Any) -> Any:
        return self.data.draw(st.sampled_from(values))

    # Validations.

    def _create_validation(self) -> None:
        version, client = self._version(), self._client
        self.perform(
            lambda: self.session.validations.create_validation(version, ["m"], client(version)),
            lambda id, now: reviews.create_validation(self.world, version, id, now),
            f"create_validation({version})",
            "validation",
        )

    def _start_validation(self) -> None:
        id = self._validation("pending")
        self.perform(
            lambda: self.session.validations.start_validation(id),
            lambda _, now: reviews.start_validation(self.world, id, now),
            f"start_validation({id})",
            "validation",
        )

    def _add_results(self) -> None:
        id, found = self._validation("in_progress"), self.data.draw(st.lists(gates, max_size=3))
        given = [
            {"scope": "module", "gate_key": key, "status": status, "severity": severity}
            for key, status, severity in found
        ]

        def predict(_: int, now: datetime) -> World:
            known = self.world.validations.get(id)
            fresh = self._new_results(id, len(known.results) if known else 0)
            pairs = zip(fresh or [0] * len(found), found, strict=True)
            results = [Result(id=n, gate_key=k, status=s, severity=v) for n, (k, s, v) in pairs]
            return reviews.add_results(self.world, id, results)

        self.perform(
            lambda: self.session.validations.add_results(id, given),
            predict,
            f"add_results({id}, {found})",
            "validation",
        )

    def _new_results(self, id: int, known: int) -> list[int]:
        return [row.id for row in _results_of(self.session, id)][known:]

    def _complete_validation(self) -> None:
        id, risk = self._validation("in_progress"), self._draw(None, None, "low", "critical")
        self.perform(
            lambda: self.session.validations.complete_validation(id, risk),
            lambda _, now: reviews.end_validation(self.world, id, "completed", now, risk),
            f"complete_validation({id}, {risk!r})",
            "validation",
        )

    def _fail_validation(self) -> None:
        id = self._validation("pending", "in_progress")
        self.perform(
            lambda: self.session.validations.fail_validation(id, "broken"),
            lambda _, now: reviews.end_validation(self.world, id, "failed", now, "broken"),
            f"fail_validation({id}, 'broken')",
            "validation",
        )

    def _cancel_validation(self) -> None:
        id = self._validation("pending", "in_progress")
        self.perform(
            lambda: self.session.validations.cancel_validation(id),
            lambda _, now: reviews.end_validation(self.world, id, "cancelled", now),
            f"cancel_validation({id})",
            "validation",
        )

    # Corrections.

    def _create_correction(self) -> None:
        version, client = self._version(), self._client
        text, validation = self._draw(None, "a", "b", "c"), None
        if self._draw(0, 0, 1):
            validation = self._validation("pending", "in_progress", "completed")
        self.perform(
            lambda: self.session.corrections.create_correction(
                version,
                "rewrite",
                client(version),
                validation_id=validation,
                corrected_content=text,
            ),
            lambda id, now: reviews.create_correction(
                self.world, version, id, now, text, validation
            ),
            f"create_correction({version}, corrected_content={text!r}, {validation=})",
            "correction",
        )

    def _apply_correction(self) -> None:
        id = self._correction("pending")
        self._apply([id], lambda: self.session.corrections.apply_correction(id), f"{id}")

    def _apply_corrections(self) -> None:
        first = self._correction("pending")
        ids = list(dict.fromkeys([first, self._correction("pending", near=first)]))
        self._apply(ids, lambda: self.session.corrections.apply_corrections(ids), f"{ids}")

    def _apply(self, ids: list[int], call: Callable[[], object], text: str) -> None:
        self.perform(
            lambda: self._newest(call, ids[0]),
            lambda new, now: reviews.apply(self.world, ids, self._fresh(new, now)),
            f"apply_correction{'s' if text.startswith('[') else ''}({text})",
            "correction",
        )

    def _revert_correction(self) -> None:
        id = self._correction("applied")
        self.perform(
            lambda: self._newest(lambda: self.session.corrections.revert_correction(id), id),
            lambda new, now: reviews.revert(self.world, id, self._fresh(new, now)),
            f"revert_correction({id})",
            "correction",
        )

    def _reject_correction(self) -> None:
        id = self._correction("pending")
        self.perform(
            lambda: self.session.corrections.reject_correction(id),
            lambda _, now: reviews.reject(self.world, id),
            f"reject_correction({id})",
            "correction",
        )

    def _update_correction(self) -> None:
        id, reasoning = self._correction("pending"), self._draw(None, "r")
        self.perform(
            lambda: self.session.corrections.update(id, reasoning=reasoning),
            lambda _, now: reviews.review(self.world, id, reasoning),
            f"update_correction({id}, {reasoning=})",
            "correction",
        )

    def _newest(self, call: Callable[[], object], id: int) -> Any:
        """Do it; the head of its document then, which may be new."""
        call()
        version = self.world.corrections[id].document_id
        return self.session.documents.get_latest_version(version)

    def _fresh(self, id: int, now: datetime) -> Version:
        return Version(id=id, content="", created_at=now, user_id=self.session.actor.id)

    # On what.

    def _version(self) -> int:
        return any_id(self.data, self.world, "add_tag", self.elsewhere)

    def _client(self, version: int) -> str:
        """The version's own client; for an unknown one, any."""
        known = [d for d in self.world.documents.values() if version in {v.id for v in d.versions}]
        return known[0].client_id if known else "c1"

    def _validation(self, *statuses: str) -> int:
        return self._child(self.world.validations, statuses, None)

    def _correction(self, *statuses: str, near: int | None = None) -> int:
        return self._child(self.world.corrections, statuses, near)

    def _child(self, children: Any, statuses: tuple[str, ...], near: int | None) -> int:
        """Mostly one that it changes something about; one time in ten one of ``elsewhere``."""
        chance = self._draw(*range(10))
        if not children or chance == 9:
            return int(self._draw(*self.elsewhere))
        fitting = [id for id, child in children.items() if child.status in statuses]
        if near in children and chance < 6:
            of = self.world.of(children[near].document_id)
            same = {version.id for version in of.versions}
            fitting = [id for id in fitting if children[id].document_id in same]
        return int(self._draw(*(fitting if fitting and chance < 7 else children)))


# What is there.


def show_reviews(session: Session, world: World, turn: int) -> None:
    """The session shows the validations and corrections that the model says.

    Every row is compared. The other reads take turns.
    """
    _same_rows(session, models.Validation, world.validations)
    _same_rows(session, models.Correction, world.corrections)
    _READS[turn % len(_READS)](session, world, turn // len(_READS))


def _show_validations(session: Session, world: World, turn: int) -> None:
    for validation in _turns(world.validations, turn):
        _show_validation(session, world, validation)


def _show_corrections(session: Session, world: World, turn: int) -> None:
    for correction in _turns(world.corrections, turn):
        _show_correction(session, world, correction)


def _show_lists(session: Session, world: World, turn: int) -> None:
    for document in _turns(world.documents, turn):
        member = document.versions[turn % len(document.versions)].id
        found = [row.id for row in session.validations.get_by_document(member)]
        assert found == [v.id for v in reviews.validations_of(world, document)]
        found = [row.id for row in session.corrections.get_by_document(member)]
        assert found == [c.id for c in reviews.corrections_of(world, document)]


def _show_counts(session: Session, world: World, turn: int) -> None:
    shown = {c.id for c in world.corrections.values() if reviews.visible(world, c.document_id)}
    waiting = {id for id in shown if world.corrections[id].status == "pending"}
    assert {row.id for row in session.corrections.get_pending()} == waiting
    assert session.corrections.count() == len(shown)
    live = [v for v in world.validations.values() if reviews.visible(world, v.document_id)]
    assert session.validations.count() == len(live)


_READS = (_show_validations, _show_corrections, _show_lists, _show_counts)


def _turns(items: Any, turn: int) -> list[Any]:
    """One of them, another one each turn, and the last one."""
    values = list(items.values())
    return values[turn % len(values) :][:1] + values[-1:] if values else []


def _same_rows(session: Session, kind: Any, expected: Any) -> None:
    found = {row.id: row for row in session.select(Query(kind, session.tenant))}
    assert found.keys() == expected.keys()
    for id, child in expected.items():
        row = child.row
        assert {field: getattr(found[id], field) for field in row} == row


def _results_of(session: Session, id: int) -> list[ValidationResult]:
    where, order = equals(validation_id=id), [Order("id")]
    return list(session.select(Query(ValidationResult, session.tenant, where, order)))


def _show_validation(session: Session, world: World, validation: Validation) -> None:
    results = [(r.id, r.gate_key, r.status, r.severity) for r in validation.results]
    stored = _results_of(session, validation.id)
    assert [(r.id, r.gate_key, r.status, r.severity) for r in stored] == results
    shown = session.validations.get_with_results(validation.id)
    assert (shown is not None) == reviews.visible(world, validation.document_id)
    if shown is not None:
        assert (shown[0].id, [row.id for row in shown[1]]) == (
            validation.id,
            [r[0] for r in results],
        )


def _show_correction(session: Session, world: World, correction: Correction) -> None:
    where = equals(correction_id=correction.id)
    query = Query(CorrectionHistory, session.tenant, where, [Order("id")])
    told = [(h.change_type, h.previous_status, h.new_status) for h in session.select(query)]
    steps = [(s.change_type, s.previous_status, s.new_status) for s in correction.history]
    assert told == steps
    shown = session.corrections.get_history(correction.id)
    assert len(shown) == len(steps) * reviews.visible(world, correction.document_id)


def hide_reviews(session: Session, id: int) -> None:
    """An id that the tenant must not know is read as if nobody had it (TEN-1)."""
    assert session.validations.get_by_id(id, include_deleted=True) is None
    assert session.validations.get_with_results(id) is None
    assert session.validations.get_by_document(id) == []
    assert session.corrections.get_by_id(id, include_deleted=True) is None
    assert session.corrections.get_history(id) == []
    assert session.corrections.get_by_document(id) == []
