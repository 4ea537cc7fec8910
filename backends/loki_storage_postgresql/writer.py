"""Writes a batch: as one statement where that can be, else as a few in one transaction.

Several statements are needed where results are changed or removed (a finding goes with its last
result), where a row frees one unique key and takes another, and where rows come by the hundred,
which ``COPY`` takes fastest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import orjson
import sqlalchemy as sa

from loki_storage.batch import Batch, Update
from loki_storage.errors import StaleWrite
from loki_storage.models import Kind, ValidationResult
from loki_storage.rows import Rows
from loki_storage_postgresql.connections import PostgresqlConnection
from loki_storage_postgresql.dialect import PostgresqlDialect
from loki_storage_postgresql.results import Results
from loki_storage_postgresql.statements import Part, Verb, statement
from loki_storage_sql.findings import CONTENT, Content
from loki_storage_sql.packing import packable
from loki_storage_sql.row_writer import Rejected, RowWriter
from loki_storage_sql.tables import Schema
from loki_storage_sql.writer import Group, Stage, plan

__all__ = ["Work", "WorkWriter"]

FEW = 8
"""Rows up to which each value is a parameter; more go as one JSON document."""
MANY = 300
"""Rows from which ``COPY`` pays for its round trips."""
LARGEST_JSON = 64 * 2**20
"""Bytes; the server takes 256 MB, and ``COPY`` has no limit."""

_VERBS = {
    Stage.REQUIRE: (Verb.REQUIRE, None),
    Stage.DELETE: (Verb.TAKE, Verb.DELETE),
    Stage.RELEASE: (Verb.KEEP, Verb.RELEASE),
    Stage.UPDATE: (Verb.KEEP, Verb.UPDATE),
}


@attrs.frozen
class Step:
    """A part of a statement with its parameters, and the ids of the rows that it locks."""

    part: Part
    values: list[Any] = attrs.field(repr=False)
    ids: Sequence[int] = ()

    @property
    def verb(self) -> Verb:
        return self.part.verb


@attrs.frozen
class Bulk:
    """Rows for ``COPY``."""

    table: sa.Table
    columns: Mapping[str, Sequence[Any]] = attrs.field(repr=False)
    same: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen
class Work:
    """What a batch comes to."""

    tenant: str
    changes: list[Step]
    inserts: list[Step | Bulk]
    results: list[tuple[Group, list[Any]]]
    findings: Mapping[Content, int]
    """Findings that are stored afterwards."""
    split: bool
    """Whether rows are changed twice, which one statement does not do."""

    @property
    def is_one_statement(self) -> bool:
        bulky = any(isinstance(step, Bulk) for step in self.inserts)
        return not (bulky or self.results or self.split)


class WorkWriter:
    """Plans batches and writes them. Thread-safe."""

    copies = True
    """Whether many rows may go through ``COPY``."""

    def __init__(self, dialect: PostgresqlDialect, schema: Schema) -> None:
        self._dialect, self._results = dialect, Results(dialect, schema)
        self._writers: dict[Kind, RowWriter] = {
            kind: RowWriter(kind, table, dialect)
            for kind, table in schema.tables.items()
            if kind is not ValidationResult
        }
        self._writers[ValidationResult] = self._results

    def forget(self) -> None:
        """Something was not committed, or was removed: take nothing for stored."""
        self._results.forget()

    def plan(self, connection: PostgresqlConnection, batch: Batch) -> Work:
        """What to do. Reads only what the process does not know of the store yet."""
        groups = plan(batch)
        copies = self.copies and not _moves_references(groups)
        made = Work(batch.tenant, [], [], [], {}, _changes_twice(batch, groups))
        for group, given in groups:
            if group.stage is Stage.INSERT:
                made = self._insert(connection, made, group.kind, given, copies)
            elif group.kind is ValidationResult and group.stage is not Stage.REQUIRE:
                made.results.append((group, given))
                made.changes.append(self._lock_results(_ids(group, given)))
            elif group.kind is ValidationResult:
                made.results.append((group, given))
            else:
                made.changes.extend(self._change(group, given))
        return made

    def write(self, connection: PostgresqlConnection, work: Work) -> None:
        """Do it; inside a transaction unless it is one statement. ``StaleWrite``: guards failed."""
        if work.is_one_statement:
            inserts = [step for step in work.inserts if isinstance(step, Step)]
            self._run(connection, work.tenant, [*work.changes, *inserts])
        else:
            self._write_stages(connection, work)
        self._results.remember(work.findings)

    def _write_stages(self, connection: PostgresqlConnection, work: Work) -> None:
        stages: dict[int, list[Step]] = {}
        for step in sorted(work.changes, key=lambda step: step.verb.stage):
            stages.setdefault(step.verb.stage, []).append(step)
        self._run(connection, work.tenant, stages.pop(0, []))
        for group, operations in work.results:
            self._results.change(connection, work.tenant, group, operations)
        # References hold at the end of a statement: what refers to a row may leave it as that goes.
        together = [step for steps in stages.values() for step in steps]
        for steps in stages.values() if work.split else [together]:
            self._run(connection, work.tenant, steps)
        small: list[Step] = []
        for insert in work.inserts:  # parents first
            if isinstance(insert, Step):
                small.append(insert)
                continue
            self._run(connection, work.tenant, small)
            small = []
            self._dialect.insert_many(connection, insert.table, insert.columns, insert.same)
        self._run(connection, work.tenant, small)

    def _run(self, connection: PostgresqlConnection, tenant: str, steps: Sequence[Step]) -> None:
        if not steps:
            return
        ordered = sorted(steps, key=lambda step: step.verb.stage)
        text = statement(self._dialect, tuple(step.part for step in ordered))
        values: list[Any] = [tenant]
        locks = [step for step in ordered if step.verb.locks]
        if locks:
            values.append(sum(len(step.ids) for step in locks))
        for step in ordered:
            values += step.values
        ready, *found = connection.execute(text, values).fetchone()
        if not ready:
            raise self._stale(locks, found)

    def _stale(
        self, locks: Sequence[Step], found: Sequence[Sequence[int]]
    ) -> StaleWrite | Rejected:
        """Names a row that is not there, or not as its guard has it: the first error (BAT-4).

        Where a guard is about a text that may be packed, SQL cannot tell.
        """
        if any(packable(step.part.table.name, f) for step in locks for f in step.part.guard):
            return Rejected()
        missing = (
            (step.part.table, step_ids)
            for step, there in zip(locks, found, strict=True)
            if (step_ids := {*step.ids} - {*there})
        )
        table, ids = next(missing)
        kind = ValidationResult.table if table is self._results.table else table.name
        return StaleWrite(kind, min(ids))

    # Planning

    def _insert(
        self, connection: PostgresqlConnection, work: Work, kind: Kind, rows: Rows[Any], copy: bool
    ) -> Work:
        writer = self._writers[kind]
        if len(rows) <= FEW and kind is not ValidationResult:
            few = writer.encode_few(rows.records)
            work.inserts.append(_few(writer.table, writer.fields, few))
            return work
        encoded, fields = writer.encode(rows), writer.fields
        if kind is ValidationResult:
            ids, new = self._results.findings(connection, rows)
            work = attrs.evolve(work, findings=new)
            if new:
                work.inserts.append(self._new_findings(new))
            encoded.columns["finding_id"], fields = ids, (*fields, "finding_id")
        columns, same = encoded.columns, encoded.same
        work.inserts.append(_step(Verb.INSERT, writer.table, fields, columns, same, copy))
        return work

    def _new_findings(self, new: Mapping[Content, int]) -> "Step | Bulk":
        said = {
            field: [None if value is None else str(value) for value in column]
            for field, column in zip(CONTENT, zip(*new, strict=True), strict=True)
        }
        columns: dict[str, Sequence[Any]] = {"id": list(new.values()), **said}
        table = self._results.finding_table
        return _step(Verb.IGNORE, table, tuple(columns), columns, {}, copy=False)

    def _change(self, group: Group, operations: Sequence[Any]) -> Iterable[Step]:
        writer, guard = self._writers[group.kind], group.guard
        lock, verb = _VERBS[group.stage]
        olds = {
            f"old_{f}": [writer.encoded(f, each.guard[f]) for each in operations] for f in guard
        }
        ids = {"id": _ids(group, operations)}
        yield _guarded(lock, writer.table, (), guard, {**ids, **olds})
        if verb is not None:
            news = {
                f: [writer.encoded(f, o.changes[f]) for o in operations if isinstance(o, Update)]
                for f in group.fields
            }
            yield _guarded(verb, writer.table, group.fields, (), {**ids, **news})

    def _lock_results(self, ids: Sequence[int]) -> Step:
        return _guarded(Verb.TAKE, self._results.table, (), (), {"id": ids})


def _ids(group: Group, operations: Sequence[Any]) -> Sequence[int]:
    return operations if group.is_by_id else [operation.id for operation in operations]


def _step(
    verb: Verb,
    table: sa.Table,
    fields: tuple[str, ...],
    columns: Mapping[str, Sequence[Any]],
    same: Mapping[str, Any],
    copy: bool,
) -> Step | Bulk:
    if copy and len(columns["id"]) >= MANY:
        return Bulk(table, columns, same)
    own = {field: column for field, column in columns.items() if field != "tenant_id"}
    shared = {field: value for field, value in same.items() if field != "tenant_id"}
    step = _made(Part(verb, table, fields, (), tuple(shared), tuple(own), 0), shared, own)
    return Bulk(table, columns, same) if step is None else step


def _few(table: sa.Table, fields: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> Step:
    """New rows as tuples of these fields; the tenant is a parameter of the whole statement."""
    at = fields.index("tenant_id")
    names = (*fields[:at], *fields[at + 1 :])
    values = [value for row in rows for value in (*row[:at], *row[at + 1 :])]
    if len(rows) == 1:
        return Step(Part(Verb.INSERT, table, fields, (), names, (), 0), values)
    return Step(Part(Verb.INSERT, table, fields, (), (), names, len(rows)), values)


def _guarded(
    verb: Verb,
    table: sa.Table,
    fields: tuple[str, ...],
    guard: tuple[str, ...],
    columns: Mapping[str, Sequence[Any]],
) -> Step:
    step = _made(Part(verb, table, fields, guard, (), tuple(columns), 0), {}, columns)
    assert step is not None
    return step


def _made(part: Part, same: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> Step | None:
    """The step of a part, in the form for so many rows; None: too large for a parameter."""
    ids, values = columns["id"], list(same.values())
    count = len(ids)
    if count == 1:
        values += [column[0] for column in columns.values()]
        return Step(part._replace(shared=(*part.shared, *part.own), own=()), values, ids)
    rows = zip(*columns.values(), strict=True)
    if count <= FEW:
        values += [value for row in rows for value in row]
        return Step(part._replace(rows=count), values, ids)
    names = part.own
    json = orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])
    if len(json) > LARGEST_JSON and part.verb is Verb.INSERT:
        return None
    return Step(part, [*values, json.decode()], ids)


def _changes_twice(batch: Batch, groups: Sequence[tuple[Group, Any]]) -> bool:
    changed = sum(len(given) for group, given in groups if group.stage is not Stage.INSERT)
    return changed > len(batch.singles) + sum(map(len, batch.removals.values()))


def _moves_references(groups: Sequence[tuple[Group, Any]]) -> bool:
    """Whether updates change references, perhaps to new rows: then all must be one statement."""
    moved = ({reference.field for reference in g.kind.references} & {*g.fields} for g, _ in groups)
    return any(moved)
