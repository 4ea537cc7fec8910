"""One program on several backends: the outcome of each call and the store at its end are the same.

Ids are leased by each store, so what is compared names rows by their place among the rows of their
kind; what is drawn at random (request hashes) is left out.

    from loki_storage_contract.differential import differences
    assert not differences([target_a, target_b], PROFILES["ci"])
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
from hypothesis import given, seed
from hypothesis import strategies as st

from loki_storage.errors import StorageError
from loki_storage.models import KINDS, AuditEntry, CorrectionHistory, Record, Validation
from loki_storage.storage import Session
from loki_storage_contract.profiles import Profile
from loki_storage_contract.store import Store
from loki_storage_contract.target import BackendTarget

__all__ = ["Observed", "Step", "canonical", "differences", "observe", "programs"]

CLIENT, TENANTS = "c1", ("t1", "t1", "t1", "t2")
OPERATIONS = [
    *["create_document"] * 3,
    *["create_version"] * 3,
    *["update", "delete", "delete_version", "restore", "restore_version", "revert_to", "purge"],
    *["add_tag", "add_tag", "remove_tag", "rename_tag", "delete_tag"],
    *["create_validation", "start_validation", "add_results", "complete_validation"] * 2,
    *["fail_validation", "cancel_validation"],
    *["create_correction", "apply_correction"] * 2,
    *["revert_correction", "reject_correction", "update_correction"],
    *["commit"] * 4,
    *["rollback", "advance", "advance"],
]


@attrs.frozen
class Step:
    """One call: an operation, whose tenant's, which of the known ids it gets, and a text."""

    operation: str
    tenant: str
    pick: int
    text: str


programs = st.lists(
    st.builds(
        Step,
        st.sampled_from(OPERATIONS),
        st.sampled_from(TENANTS),
        st.integers(0, 9),
        st.sampled_from(["a", "b", "", "\U0001f600 \u00e9"]),
    ),
    min_size=5,
    max_size=40,
)


@attrs.frozen
class Observed:
    """What a backend made of a program: an outcome per step, and the canonical store."""

    outcomes: tuple[str, ...]
    store: tuple[Any, ...]


def observe(store: Store, program: Iterable[Step]) -> Observed:
    """Carry a program out, commit what is pending, and look."""
    sides = {
        tenant: _Side(store, store.storage().session(actor="alice", tenant=tenant))
        for tenant in dict.fromkeys(TENANTS)
    }
    outcomes = [sides[step.tenant].take(step) for step in program]
    outcomes += [side.take(Step("commit", "", 0, "")) for side in sides.values()]
    return Observed(tuple(outcomes), canonical(store.dump()))


class _Side:
    """A tenant's session and the ids that it has seen, in the order in which it saw them."""

    def __init__(self, store: Store, session: Session) -> None:
        self.store, self.session = store, session
        self.documents: list[int] = []
        self.validations: list[int] = []
        self.corrections: list[int] = []
        self.tags: list[int] = []

    def take(self, step: Step) -> str:
        """One call; the name of its error, or what it returned, in words."""
        self.store.say(f"{step.tenant}.{step.operation}, {step.pick}, {step.text!r}")
        try:
            return getattr(self, f"_{step.operation}")(step) or "ok"
        except StorageError as error:
            return type(error).__name__

    def _of(self, ids: list[int], step: Step) -> int:
        return ids[-1 - step.pick % len(ids)] if ids else 2**40

    def _known(self, ids: list[int], record: Any) -> str:
        if record.id in ids:
            return f"known {ids.index(record.id)}"
        ids.append(record.id)
        return f"new {len(ids)}"

    # Documents and tags.

    def _create_document(self, step: Step) -> str:
        ways: Any = ("raise", "return", "allow")
        made = self.session.documents.create_document(
            step.text, "email", CLIENT, title=step.text, on_duplicate=ways[step.pick % 3]
        )
        return self._known(self.documents, made)

    def _create_version(self, step: Step) -> str:
        parent = self._of(self.documents, step)
        made = self.session.documents.create_version(parent, step.text)
        return self._known(self.documents, made)

    def _revert_to(self, step: Step) -> str:
        made = self.session.documents.revert_to(self._of(self.documents, step))
        return self._known(self.documents, made)

    def _update(self, step: Step) -> None:
        id = self._of(self.documents, step)
        self.session.documents.update(id, description=step.text, metadata={"n": [step.pick, 1.0]})

    def _delete(self, step: Step) -> None:
        self.session.documents.delete(self._of(self.documents, step))

    def _delete_version(self, step: Step) -> None:
        self.session.documents.delete_version(self._of(self.documents, step))

    def _restore(self, step: Step) -> None:
        self.session.documents.restore(self._of(self.documents, step))

    def _restore_version(self, step: Step) -> None:
        self.session.documents.restore_version(self._of(self.documents, step))

    def _purge(self, step: Step) -> None:
        self.session.documents.purge([self._of(self.documents, step)])

    def _add_tag(self, step: Step) -> str:
        id, name = self._of(self.documents, step), step.text or "tag"
        return self._known(self.tags, self.session.documents.add_tag(id, name))

    def _remove_tag(self, step: Step) -> None:
        self.session.documents.remove_tag(self._of(self.documents, step), step.text or "tag")

    def _rename_tag(self, step: Step) -> None:
        self.session.tags.update(self._of(self.tags, step), name=f"renamed {step.text}")

    def _delete_tag(self, step: Step) -> None:
        self.session.tags.delete(self._of(self.tags, step))

    # Validations and corrections.

    def _create_validation(self, step: Step) -> str:
        id = self._of(self.documents, step)
        made = self.session.validations.create_validation(id, ["m"], CLIENT)
        return self._known(self.validations, made)

    def _start_validation(self, step: Step) -> None:
        self.session.validations.start_validation(self._of(self.validations, step))

    def _add_results(self, step: Step) -> None:
        result = {"scope": "module", "gate_key": "m.g", "status": "fail", "severity": "high"}
        given = [{**result, "message": step.text}] * (step.pick % 3)
        self.session.validations.add_results(self._of(self.validations, step), given)

    def _complete_validation(self, step: Step) -> None:
        self.session.validations.complete_validation(self._of(self.validations, step))

    def _fail_validation(self, step: Step) -> None:
        self.session.validations.fail_validation(self._of(self.validations, step), step.text)

    def _cancel_validation(self, step: Step) -> None:
        self.session.validations.cancel_validation(self._of(self.validations, step))

    def _create_correction(self, step: Step) -> str:
        made = self.session.corrections.create_correction(
            self._of(self.documents, step),
            "rewrite",
            CLIENT,
            corrected_content=None if step.pick % 3 == 0 else f"corrected {step.text}",
        )
        return self._known(self.corrections, made)

    def _apply_correction(self, step: Step) -> None:
        self.session.corrections.apply_correction(self._of(self.corrections, step))

    def _revert_correction(self, step: Step) -> None:
        self.session.corrections.revert_correction(self._of(self.corrections, step))

    def _reject_correction(self, step: Step) -> None:
        self.session.corrections.reject_correction(self._of(self.corrections, step))

    def _update_correction(self, step: Step) -> None:
        self.session.corrections.update(self._of(self.corrections, step), reasoning=step.text)

    # Units of work and time.

    def _commit(self, step: Step) -> None:
        self.session.commit()

    def _rollback(self, step: Step) -> None:
        self.session.rollback()

    def _advance(self, step: Step) -> None:
        self.store.clock.advance(seconds=step.pick)


_RANDOM = {(Validation, "request_hash")}
_IDS_INSIDE = {(AuditEntry, "metadata_json"), (CorrectionHistory, "changes")}
"""JSON that holds ids in many forms: the laws of audit and corrections look into it."""


def canonical(dump: Sequence[Record]) -> tuple[Any, ...]:
    """The rows with ids by place, in the dump's order: equal for equal histories."""
    places: dict[tuple[str, int], int] = {}
    for kind in KINDS.values():
        ids = sorted(record.id for record in dump if type(record) is kind)
        places |= {(kind.table, id): place for place, id in enumerate(ids)}
    return tuple(_row(record, places) for record in dump)


def _row(record: Record, places: dict[tuple[str, int], int]) -> tuple[Any, ...]:
    kind, targets = type(record), {"id": type(record).table}
    targets |= {reference.field: reference.kind.table for reference in kind.references}
    row: list[Any] = [kind.table]
    for field in kind.domains:
        value = record.stored(field)
        if (kind, field) in _RANDOM | _IDS_INSIDE:
            value = value is None
        elif field in targets and value is not None:
            value = places[targets[field], value]
        elif kind is AuditEntry and field in ("document_id", "validation_id", "entity_id"):
            value = value is None
        elif kind is AuditEntry and field == "changes" and value is not None:
            value = _changes(getattr(record, field))
        row.append((field, value))
    return tuple(row)


def _changes(changes: Any) -> Any:
    """Which kinds of rows were written how often, and which fields became what."""
    rows = [
        (row["kind"], row["op"], sum(last - first + 1 for first, last in row["ids"]))
        for row in changes["rows"]
    ]
    fields = [
        (f["kind"], str(_without_ids(f["before"])), str(_without_ids(f["after"])))
        for f in changes["fields"]
    ]
    return tuple(rows), tuple(fields)


def _without_ids(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.endswith("_id")}


def differences(targets: Sequence[BackendTarget], profile: Profile) -> str:
    """How the backends differ on some program, as the error of the shrunk one; else nothing."""

    def example(program: list[Step]) -> None:
        observed = []
        for store in stores:
            store.reset()
            observed.append(observe(store, program))
        for target, other in zip(targets[1:], observed[1:], strict=True):
            assert other == observed[0], f"{target.name} differs from {targets[0].name}"

    names = "_".join(target.name for target in targets)
    begin_with = seed(profile.seed_of(f"differential_{names}"))
    with ExitStack() as opened:
        stores = [opened.enter_context(Store(target)) for target in targets]
        try:
            begin_with(profile.settings()(given(programs)(example)))()
        except AssertionError as error:
            return "\n".join([str(error).partition("\n")[0], *stores[0].trace.lines()])
    return ""
