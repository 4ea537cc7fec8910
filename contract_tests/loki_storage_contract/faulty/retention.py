"""Faults that retention and legal holds must find: what must go stays, what must stay goes."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs

from loki_storage.batch import Batch, Delete, Insert, Operation, Require, Update
from loki_storage.models import (
    ArchivedDocument,
    AuditEntry,
    Chain,
    Document,
    LegalHold,
    RetentionPolicy,
    RetentionRun,
    RetentionState,
    ValidationResult,
)
from loki_storage.query import And, Compare, Condition, In, Query
from loki_storage_contract.faulty.catalogue import Faulty, breaks

__all__ = ["Changing"]


class Changing(Faulty):
    """A backend that makes something else of some operations."""

    def apply(self, batch: Batch) -> None:
        changed = [self.changed(operation, batch) for operation in batch.operations]
        super().apply(Batch(batch.tenant, [each for each in changed if each is not None]))

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        """What it makes of an operation; None: it leaves it out."""
        return operation


def unguarded(operation: Operation) -> Operation:
    return operation if isinstance(operation, Insert) else attrs.evolve(operation, guard={})


def destroys(batch: Batch) -> bool:
    return any(isinstance(each, Delete) for each in batch.operations)


@breaks("RET-1")
class BoundsAreExclusive(Faulty):
    """``le`` on a time means "before"."""

    def select(self, query: Query) -> Iterator[Any]:
        return super().select(query.evolve(where=_exclusive(query.where)))


def _exclusive(where: Condition) -> Condition:
    if isinstance(where, And):
        return And([_exclusive(part) for part in where.conditions])
    if isinstance(where, Compare) and where.op == "le" and where.field == "created_at":
        return Compare(where.field, "lt", where.value)
    return where


@breaks("RET-2")
class CriteriaMatchEverything(Faulty):
    """A condition beside a list of ids is not looked at."""

    def select(self, query: Query) -> Iterator[Any]:
        where = query.where
        if query.kind is Document and isinstance(where, And):
            lists = [part for part in where.conditions if isinstance(part, In)]
            where = lists[0] if lists else where
        return super().select(query.evolve(where=where))


@breaks("RET-2")
class PrioritiesAreForgotten(Changing):
    """Every policy has the default priority."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        if isinstance(operation, Insert) and isinstance(operation.record, RetentionPolicy):
            return Insert(operation.record.evolve(priority=100))
        return operation


@breaks("RET-3")
class NewFactsSlipIn(Changing):
    """The guard on a chain's revision is not looked at in batches that destroy."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        return unguarded(operation) if operation.kind is Chain and destroys(batch) else operation

    def apply(self, batch: Batch) -> None:
        if destroys(batch):  # what came in the meantime goes, too
            roots = [each.id for each in batch.operations if each.kind is Chain]
            named = {each.id for each in batch.operations if each.kind is Document}
            found = self.inner.select(Query(Document, batch.tenant, In("root_id", roots)))
            more = [Delete(Document, row.id) for row in found if row.id not in named]
            batch = Batch(batch.tenant, [*batch.operations, *more])
        super().apply(batch)


@breaks("RET-3")
class NeighboursGoToo(Faulty):
    """A delete of results takes those of another validation with it."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        if any(isinstance(o, Delete) and o.kind is ValidationResult for o in batch.operations):
            left = list(self.inner.select(Query(ValidationResult, batch.tenant)))
            if left:
                self.inner.apply(Batch(batch.tenant, [Delete(ValidationResult, left[0].id)]))


@breaks("RET-3")
class ProgressIsLost(Changing):
    """How far a run came is not stored, although the update is acknowledged."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        if isinstance(operation, Update) and operation.kind is RetentionRun:
            left = {f: v for f, v in operation.changes.items() if f != "progress"}
            return Update(RetentionRun, operation.id, left, operation.guard)
        return operation


@breaks("RET-3")
class TwoRunsAtOnce(Changing):
    """Nobody sees that a run is active."""

    def select(self, query: Query) -> Iterator[Any]:
        found = super().select(query)
        is_asked = query.kind is RetentionRun and isinstance(query.where, Compare)
        return iter(()) if is_asked and "active" in repr(query.where) else found

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        if isinstance(operation, Insert) and isinstance(operation.record, RetentionRun):
            return Insert(operation.record.evolve(active=False))
        return unguarded(operation) if operation.kind is RetentionRun else operation


@breaks("RET-4")
class EvidenceStays(Changing):
    """Updates of results are acknowledged and not done."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        is_update = isinstance(operation, Update) and operation.kind is ValidationResult
        return None if is_update else operation


@breaks("RET-4")
class AuditKeepsItsActors(Changing):
    """Audit entries are never updated here, whatever is asked."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        is_update = isinstance(operation, Update) and operation.kind is AuditEntry
        return None if is_update else operation


@breaks("RET-4")
class WhatComesBackIsTouched(Changing):
    """A document that is brought back from the archive counts as updated."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        back = any(isinstance(o, Delete) and o.kind is ArchivedDocument for o in batch.operations)
        if back and isinstance(operation, Insert) and isinstance(operation.record, Document):
            later = operation.record.updated_at + timedelta(microseconds=1)
            return Insert(operation.record.evolve(updated_at=later))
        return operation


@breaks("RET-5")
class TombstonesAreEmpty(Changing):
    """What a purge tells of rows is not kept."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        if isinstance(operation, Insert) and isinstance(operation.record, AuditEntry):
            entry = operation.record
            return Insert(entry.evolve(changes=None)) if entry.action == "purge" else operation
        return operation


@breaks("RET-5")
class CertificatesAreCut(Changing):
    """A long text loses its end."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        if isinstance(operation, Update) and "certificate" in operation.changes:
            return Update(operation.kind, operation.id, {**operation.changes, "certificate": None})
        return operation


@breaks("HLD-1")
class HoldsAreInvisible(Faulty):
    """Holds are stored, and never found."""

    def select(self, query: Query) -> Iterator[Any]:
        return iter(()) if query.kind is LegalHold else super().select(query)


@breaks("HLD-1")
class QueriesOfHoldsMatchNothing(Faulty):
    """A hold's query is asked with ids, and that finds nothing."""

    def select(self, query: Query) -> Iterator[Any]:
        where = query.where
        parts = where.conditions if isinstance(where, And) else ()
        held = any(isinstance(part, In) for part in parts) and query.kind is Document
        return iter(()) if held else super().select(query)


@breaks("HLD-2")
class ReleasingOneReleasesAll(Faulty):
    """An update of a hold touches its neighbours."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        for operation in batch.operations:
            if isinstance(operation, Update) and operation.kind is LegalHold:
                others = list(self.inner.select(Query(LegalHold, batch.tenant)))
                changes = [Update(LegalHold, each.id, operation.changes) for each in others]
                self.inner.apply(Batch(batch.tenant, changes))


@breaks("HLD-2")
class HoldsComeTooLate(Changing):
    """What a batch requires of the count of holds is left out."""

    def changed(self, operation: Operation, batch: Batch) -> Operation | None:
        is_asked = isinstance(operation, Require) and operation.kind is RetentionState
        return None if is_asked else operation
