"""A batch as groups of operations that share a statement, in the order that SQL needs (BAT-3).

What is required comes first, then deletes (children first), updates that release a unique key,
other updates, inserts (parents first): databases check a unique key row by row.
"""

from collections import defaultdict
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from loki_storage.batch import Batch, Delete, Guarded, Require, Update
from loki_storage.models import KINDS, Kind, Unique, ValidationResult
from loki_storage_sql.connections import Connection
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.findings import ResultWriter
from loki_storage_sql.row_writer import RowWriter
from loki_storage_sql.tables import Schema, schema_for

__all__ = ["Group", "Plan", "Stage", "Writer", "disturbs_references", "plan"]


class Stage(IntEnum):
    """When a group runs."""

    REQUIRE = 0
    DELETE = 1
    RELEASE = 2
    UPDATE = 3
    INSERT = 4


class Group(NamedTuple):
    """What operations that share a statement have in common. Sorted, groups are in order."""

    stage: Stage
    rank: int
    """The kind's place among all: parents first; negative, children first, for deletes."""
    fields: tuple[str, ...] = ()
    guard: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return _KINDS[abs(self.rank)]

    @property
    def is_by_id(self) -> bool:
        """Whether all that its operations say is which rows go."""
        return self.stage is Stage.DELETE and not self.guard


Plan = list[tuple[Group, Any]]
"""Each group with its operations; insertions as ``Rows``, deletes without a guard as ids."""
_KINDS = list(KINDS.values())
_RANK = {kind: rank for rank, kind in enumerate(_KINDS)}


def plan(batch: Batch) -> Plan:
    """The batch's operations in groups, in the order in which they run."""
    groups: defaultdict[Group, list[Any]] = defaultdict(list)
    for operation in batch.singles:
        for part in _parts(operation):
            group = _group(part)
            groups[group].append(part.id if group.is_by_id else part)
    for kind, ids in batch.removals.items():
        groups[Group(Stage.DELETE, -_RANK[kind])] += ids
    inserts = {Group(Stage.INSERT, _RANK[k]): rows for k, rows in batch.inserts.items()}
    return sorted({**groups, **inserts}.items(), key=itemgetter(0))


def _parts(operation: Guarded) -> tuple[Guarded, ...]:
    """An update that frees one key and takes another as two: keys are freed before one is taken."""
    if not isinstance(operation, Update):
        return (operation,)
    kind, changes = operation.kind, operation.changes
    freed = {f: v for unique in kind.unique for f, v in changes.items() if _frees(unique, f, v)}
    keys = {field for unique in kind.unique for field in (*unique.fields, *unique.where)}
    if not freed or not (keys & changes.keys()) - freed.keys():
        return (operation,)
    rest = {field: value for field, value in changes.items() if field not in freed}
    first = Update(kind, operation.id, freed, operation.guard)
    return (first, Update(kind, operation.id, rest))


def _frees(unique: Unique, field: str, value: object) -> bool:
    outside = field in unique.where and value != unique.where[field]
    return outside or (field in unique.fields and value is None)


def _group(operation: Guarded) -> Group:
    rank, guard = _RANK[operation.kind], tuple(sorted(operation.guard))
    if isinstance(operation, Delete):
        return Group(Stage.DELETE, -rank, (), guard)
    if isinstance(operation, Require) or not operation.changes:
        return Group(Stage.REQUIRE, rank, (), guard)
    stage = Stage.RELEASE if _releases(operation) else Stage.UPDATE
    return Group(stage, rank, tuple(sorted(operation.changes)), guard)


def _releases(update: Update) -> bool:
    """Whether the row leaves a unique key for certain: a NULL in it, or outside its ``where``."""
    return any(
        _frees(unique, field, value)
        for unique in update.kind.unique
        for field, value in update.changes.items()
    )


def disturbs_references(plan: Plan) -> bool:
    """Whether references may not hold in the middle of a plan that is sound at its end.

    Inserts go parents first, so only deletes and changed references do that (and several new rows
    of a kind that refers to itself, where a child comes before its parent).
    """
    return any(
        group.stage is Stage.DELETE
        or any(reference.field in group.fields for reference in group.kind.references)
        for group, _ in plan
    )


@cache
def _row_writers(dialect: Dialect) -> Mapping[Kind, RowWriter]:
    tables = schema_for(dialect.name).tables
    return {k: RowWriter(k, t, dialect) for k, t in tables.items() if k is not ValidationResult}


class Writer:
    """Writes the groups of a plan, whatever their kinds. Thread-safe."""

    def __init__(self, dialect: Dialect, schema: Schema) -> None:
        self._results = ResultWriter(dialect, schema)
        self._writers = {**_row_writers(dialect), ValidationResult: self._results}

    def forget(self) -> None:
        """The last transaction was not committed: nothing is known of what it wrote."""
        self._results.forget()

    def write(self, connection: Connection, tenant: str, plan: Plan) -> None:
        """Run the groups inside the caller's transaction.

        Raises ``StaleWrite``, ``Rejected`` (a guard failed, some row's), or the driver's error.
        """
        for group, operations in plan:
            writer = self._writers[group.kind]
            match group.stage:
                case Stage.REQUIRE:
                    writer.require(connection, tenant, operations, group.guard)
                case Stage.DELETE if group.is_by_id:
                    writer.delete_all(connection, tenant, operations)
                case Stage.DELETE:
                    writer.delete(connection, tenant, operations, group.guard)
                case Stage.RELEASE | Stage.UPDATE:
                    writer.update(connection, tenant, operations, group.guard)
                case Stage.INSERT:
                    writer.insert(connection, operations)
