"""What a tenant's validations and corrections must be, written from the laws alone (VLD, COR).

Functions from one ``World`` to the next, as ``model`` has them for documents. Nothing of the SDK
is imported but its errors. What follows is derived, as the counters are from the results.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from loki_storage.errors import IllegalTransition, InvalidValue, NotFound, StaleVersion
from loki_storage_contract.model import Document, Refused, Version, World

__all__ = [
    "Correction",
    "Result",
    "Step",
    "Validation",
    "add_results",
    "apply",
    "corrections_of",
    "create_correction",
    "create_validation",
    "end_validation",
    "reject",
    "revert",
    "review",
    "start_validation",
    "validations_of",
    "visible",
]

RANK = ("none", "low", "medium", "high", "critical")


@attrs.frozen(kw_only=True)
class Result:
    """One gate's result."""

    id: int
    gate_key: str
    status: str
    severity: str | None


@attrs.frozen(kw_only=True)
class Validation:
    """A validation of one version, with its results."""

    id: int
    document_id: int
    client_id: str
    created_at: datetime
    status: str = "pending"
    results: tuple[Result, ...] = ()
    started_at: datetime | None = None
    completed_at: datetime | None = None
    overall_risk: str | None = None
    error_message: str | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The row that the store must hold (VLD-2)."""
        row = attrs.asdict(self, recurse=False)
        del row["results"]
        counted = Counter(result.status for result in self.results)
        found = Counter(r.severity for r in self.results if r.status in ("fail", "warning"))
        row |= {f"{name}_count": counted[name] for name in ("pass", "fail", "warning")}
        row |= {f"{name}_count": found[name] for name in ("critical", "high", "medium", "low")}
        duration = None
        if self.started_at is not None and self.completed_at is not None:
            duration = (self.completed_at - self.started_at) // timedelta(milliseconds=1)
        return {**row, "duration_ms": duration}


@attrs.frozen(kw_only=True)
class Step:
    """One row of a correction's history."""

    change_type: str
    previous_status: str | None
    new_status: str


@attrs.frozen(kw_only=True)
class Correction:
    """A correction of one version, with its history."""

    id: int
    document_id: int
    client_id: str
    created_at: datetime
    corrected_content: str | None = None
    validation_id: int | None = None
    reasoning: str | None = None
    status: str = "pending"
    history: tuple[Step, ...] = ()
    group: tuple[int, ...] = ()
    """Those that were applied together."""
    brought: tuple[str, str] | None = None
    """The texts after and before, where it brought a version."""

    @property
    def row(self) -> dict[str, Any]:
        """The row that the store must hold."""
        row = attrs.asdict(self, recurse=False)
        for own in ("history", "group", "brought"):
            del row[own]
        return row

    def moved(self, change_type: str, status: str, **fields: Any) -> "Correction":
        """The next step of its life (COR-1)."""
        step = Step(change_type=change_type, previous_status=self.status, new_status=status)
        return attrs.evolve(self, status=status, history=(*self.history, step), **fields)


def visible(world: World, version_id: int) -> bool:
    """Whether what belongs to a version is shown by default (DEL-1)."""
    return world.of(version_id).version(version_id).deleted_at is None


def validations_of(world: World, document: Document) -> list[Validation]:
    """Those of all live versions, newest first."""
    live = {version.id for version in document.live}
    found = [v for v in world.validations.values() if v.document_id in live]
    return sorted(found, key=lambda v: (v.created_at, v.id), reverse=True)


def corrections_of(world: World, document: Document) -> list[Correction]:
    """Those of all live versions, newest first."""
    live = {version.id for version in document.live}
    found = [c for c in world.corrections.values() if c.document_id in live]
    return sorted(found, key=lambda c: (c.created_at, c.id), reverse=True)


# Validations.


def create_validation(world: World, version_id: int, id: int, now: datetime) -> World:
    """A pending one of a live version (VLD-1, DEL-5)."""
    document, _ = _live_version(world, version_id)
    new = Validation(id=id, document_id=version_id, client_id=document.client_id, created_at=now)
    return _with_validation(world, new)


def start_validation(world: World, id: int, now: datetime) -> World:
    """pending -> in_progress (VLD-1)."""
    validation = _validation(world, id)
    _allow(validation.status == "pending")
    return _with_validation(world, attrs.evolve(validation, status="in_progress", started_at=now))


def add_results(world: World, id: int, results: Iterable[Result]) -> World:
    """Results while it is in progress; none changes nothing (VLD-1, VLD-2)."""
    validation, new = _validation(world, id), tuple(results)
    _allow(validation.status == "in_progress")
    if not new:
        return world
    return _with_validation(world, attrs.evolve(validation, results=(*validation.results, *new)))


def end_validation(
    world: World, id: int, status: str, now: datetime, said: str | None = None
) -> World:
    """completed, failed or cancelled; ``said``: the risk or the error (VLD-1, VLD-3)."""
    validation = _validation(world, id)
    before = ("in_progress",) if status == "completed" else ("pending", "in_progress")
    _allow(validation.status in before)
    end = now if validation.started_at is None else max(now, validation.started_at)
    told: dict[str, Any] = {}
    if status == "completed":
        told = {"overall_risk": said or _worst(validation)}
    elif status == "failed":
        told = {"error_message": said}
    return _with_validation(
        world, attrs.evolve(validation, status=status, completed_at=end, **told)
    )


def _worst(validation: Validation) -> str:
    """The highest severity among failed results, else none (VLD-3)."""
    failed = [r.severity for r in validation.results if r.status == "fail" and r.severity]
    return max(failed, key=RANK.index, default="none")


def _validation(world: World, id: int) -> Validation:
    validation: Validation | None = world.validations.get(id)
    if validation is None or not visible(world, validation.document_id):
        raise Refused(NotFound)
    return validation


def _with_validation(world: World, validation: Validation) -> World:
    kept = {**world.validations, validation.id: validation}
    return attrs.evolve(world, validations=kept).told("validation", validation.id)


# Corrections.


def create_correction(
    world: World,
    version_id: int,
    id: int,
    now: datetime,
    corrected_content: str | None,
    validation_id: int | None,
) -> World:
    """A pending one of a live version; its validation is one of the same document's (COR-3)."""
    document = world.of(version_id)
    validation = None if validation_id is None else world.validations.get(validation_id)
    if validation_id is not None and validation is None:
        raise Refused(NotFound)
    _live_version(world, version_id)
    if validation is not None and world.of(validation.document_id) != document:
        raise Refused(InvalidValue)
    created = Step(change_type="created", previous_status=None, new_status="pending")
    new = Correction(
        id=id,
        document_id=version_id,
        client_id=document.client_id,
        created_at=now,
        corrected_content=corrected_content,
        validation_id=validation_id,
        history=(created,),
    )
    return _with_corrections(world, [new])


def review(world: World, id: int, reasoning: str | None) -> World:
    """Another reason for a pending one; the same one changes nothing (COR-1)."""
    correction = _correction(world, id)
    _allow(correction.status == "pending")
    if correction.reasoning == reasoning:
        return world
    return _with_corrections(world, [correction.moved("updated", "pending", reasoning=reasoning)])


def reject(world: World, id: int) -> World:
    """pending -> rejected (COR-1)."""
    correction = _correction(world, id)
    _allow(correction.status == "pending")
    return _with_corrections(world, [correction.moved("rejected", "rejected")])


def apply(world: World, ids: Sequence[int], version: Version) -> World:
    """pending -> applied, together; the last one's text becomes the next version (COR-2)."""
    group = [_known(world, id) for id in ids]
    documents = [_live_version(world, correction.document_id)[0] for correction in group]
    if any(document != documents[0] for document in documents):
        raise Refused(InvalidValue)
    text, brought = group[-1].corrected_content, None
    if text is not None:
        document, head = documents[0], documents[0].live[-1]
        for correction in group:
            _allow(correction.status == "pending")
            if document.version(correction.document_id).content != head.content:
                raise Refused(StaleVersion, current_id=[head.id])
        world = world.appended(document, attrs.evolve(version, content=text))
        brought = (text, head.content)
    for correction in group:
        _allow(correction.status == "pending")
    applied = [
        correction.moved("applied", "applied", group=tuple(ids), brought=brought)
        for correction in group
    ]
    return _with_corrections(world, applied)


def revert(world: World, id: int, version: Version) -> World:
    """applied -> reverted, with its group; the exact text from before returns (COR-2)."""
    correction = _correction(world, id)
    _allow(correction.status == "applied")
    group = [_known(world, each) for each in correction.group]
    documents = [_live_version(world, each.document_id)[0] for each in group]
    document = documents[0]
    if correction.brought is not None:
        after, before = correction.brought
        head = document.live[-1]
        if head.content != after:
            raise Refused(StaleVersion, current_id=[head.id])
        world = world.appended(document, attrs.evolve(version, content=before))
    return _with_corrections(world, [each.moved("reverted", "reverted") for each in group])


def _correction(world: World, id: int) -> Correction:
    correction = _known(world, id)
    if not visible(world, correction.document_id):
        raise Refused(NotFound)
    return correction


def _known(world: World, id: int) -> Correction:
    correction: Correction | None = world.corrections.get(id)
    if correction is None:
        raise Refused(NotFound)
    return correction


def _with_corrections(world: World, changed: Sequence[Correction]) -> World:
    """These as they are now; applied or reverted together they are one aggregate (AUD-1)."""
    kept = {**world.corrections, **{correction.id: correction for correction in changed}}
    return attrs.evolve(world, corrections=kept).told("correction", changed[0].id)


def _live_version(world: World, id: int) -> tuple[Document, Version]:
    """A live version with its document (DEL-5)."""
    document = world.of(id)
    version = document.version(id)
    if version.deleted_at is not None:
        raise Refused(NotFound)
    return document, version


def _allow(condition: bool) -> None:
    if not condition:
        raise Refused(IllegalTransition)
