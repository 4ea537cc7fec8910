"""A whole batch as one data-modifying statement, which is one transaction and one round trip.

PostgreSQL runs the parts of one statement on one snapshot, in no order, and a part that finds
nothing does not stop the others. So the rows that the batch counts on are locked and counted first
(``ready``), and every other part asks for that count; deletes come before updates and these before
inserts, because each asks for the rows that the parts before it have touched. Unique keys are
checked row by row, references at the end of the statement.

A statement's text depends on the shape of the batch alone, and is made once per shape.
"""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP

from loki_storage_postgresql.dialect import PostgresqlDialect

__all__ = ["Part", "Verb", "statement"]

CACHED_STATEMENTS = 512


class Verb(Enum):
    """What a part does, in the order of the parts."""

    REQUIRE = "FOR SHARE"
    KEEP = "FOR NO KEY UPDATE"
    TAKE = "FOR UPDATE"
    DELETE = "delete"
    RELEASE = "release"
    UPDATE = "update"
    IGNORE = "ignore"
    INSERT = "insert"

    @property
    def locks(self) -> bool:
        return self in (Verb.REQUIRE, Verb.KEEP, Verb.TAKE)

    @property
    def stage(self) -> int:
        """Parts of one stage need no order among themselves."""
        return _STAGES[self]


_STAGES = {
    Verb.REQUIRE: 0,
    Verb.KEEP: 0,
    Verb.TAKE: 0,
    Verb.DELETE: 1,
    Verb.RELEASE: 2,
    Verb.UPDATE: 3,
    Verb.IGNORE: 4,
    Verb.INSERT: 4,
}


class Part(NamedTuple):
    """Rows of one table that are treated alike.

    ``fields``: what is inserted or set; ``guard``: what must be there. ``shared``: columns with one
    value for all rows, each a parameter; ``own``: the others. ``rows``: how many rows of ``own``
    are parameters; 0: they are one parameter, a JSON array of objects. Old values of guards are
    columns named ``old_...``.
    """

    verb: Verb
    table: sa.Table
    fields: tuple[str, ...]
    guard: tuple[str, ...]
    shared: tuple[str, ...]
    own: tuple[str, ...]
    rows: int


@lru_cache(CACHED_STATEMENTS)
def statement(dialect: PostgresqlDialect, parts: tuple[Part, ...]) -> str:
    """The statement's text. Its answer is one row: whether it found all rows that it locks.

    Where it did not, the ids that each locking part has found follow; else NULL for each.
    Parameters: the tenant, how many rows are to be locked (if any), then per part the shared
    values and the rows' own.
    """
    locks = parts[0].verb.locks
    made = _Text(dialect, 3 if locks else 2)
    for _, stage in groupby(parts, lambda part: part.verb.stage):
        made.add_stage(list(stage))
    expressions = ", ".join(made.expressions)
    if not locks:
        return f"WITH {expressions}\nSELECT true"
    found = (f"CASE WHEN NOT ready THEN ARRAY(SELECT id FROM {name}) END" for name in made.locked)
    return f"WITH {expressions}\nSELECT ready, {', '.join(found)} FROM ready"


class _Text:
    """The common table expressions so far, which of them lock, and the next parameter's number."""

    def __init__(self, dialect: PostgresqlDialect, parameter: int) -> None:
        self.expressions: list[str] = []
        self.locked: list[str] = []
        self._dialect, self._parameter = dialect, parameter
        self._quote = dialect.sqlalchemy.identifier_preparer.quote
        self._conditions: list[str] = []

    def add_stage(self, parts: Sequence[Part]) -> None:
        names = [self._add(part) for part in parts]
        counts = " + ".join(f"(SELECT count(*) FROM {name})" for name in names)
        if parts[0].verb.locks:
            self.locked = names
            self.expressions.append(f"ready AS MATERIALIZED (SELECT {counts} = $2 AS ready)")
            self._conditions.append("(SELECT ready FROM ready)")
        elif parts[0].verb.stage < _STAGES[Verb.INSERT]:
            # To ask for the count is to wait for it, and for whatever that waited for.
            self._conditions[1:] = [f"{counts} >= 0"]

    def _add(self, part: Part) -> str:
        name = f"p{len(self.expressions)}"
        values = _Values(self._dialect, part, self._parameter)
        self._parameter = values.parameter
        text = getattr(self, f"_{'lock' if part.verb.locks else _METHODS[part.verb]}")(part, values)
        # Without the word, what is read once may be moved to where it is read.
        self.expressions.append(f"{name} AS MATERIALIZED ({text})")
        return name

    def _lock(self, part: Part, values: "_Values") -> str:
        source = f", {values.source}" if values.source else ""
        return (
            f"SELECT t.id FROM {self._table(part)} AS t{source} WHERE {self._row(part, values)} "
            f"ORDER BY t.id {part.verb.value} OF t"
        )

    def _delete(self, part: Part, values: "_Values") -> str:
        source = f" USING {values.source}" if values.source else ""
        return (
            f"DELETE FROM {self._table(part)} AS t{source} WHERE {self._row(part, values)}"
            f"{self._and()} RETURNING 1"
        )

    def _update(self, part: Part, values: "_Values") -> str:
        source = f" FROM {values.source}" if values.source else ""
        beside = (f"{self._quote(f)} = NULL" for f in self._beside(part))
        changes = ", ".join([*(f"{self._quote(f)} = {values[f]}" for f in part.fields), *beside])
        return (
            f"UPDATE {self._table(part)} AS t SET {changes}{source} "
            f"WHERE {self._row(part, values)}{self._and()} RETURNING 1"
        )

    def _insert(self, part: Part, values: "_Values") -> str:
        columns = ", ".join(self._quote(field) for field in part.fields)
        chosen = ", ".join(values[field] for field in part.fields)
        source = f" FROM {values.source}" if values.source else ""
        where = f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
        # Findings come in id order: writers wait for each other instead of deadlocking.
        ignore = " ORDER BY 1 ON CONFLICT DO NOTHING" if part.verb is Verb.IGNORE else ""
        return f"INSERT INTO {self._table(part)} ({columns}) SELECT {chosen}{source}{where}{ignore}"

    def _and(self) -> str:
        return "".join(f" AND {condition}" for condition in self._conditions)

    def _table(self, part: Part) -> str:
        return self._dialect.qualified(part.table.name)

    def _beside(self, part: Part) -> tuple[str, ...]:
        return self._dialect.beside(part.table.name, part.fields)

    def _row(self, part: Part, values: "_Values") -> str:
        guards = (
            f" AND t.{self._quote(field)} IS NOT DISTINCT FROM {values[f'old_{field}']}"
            for field in part.guard
        )
        return f"t.tenant_id = $1 AND t.id = {values['id']}{''.join(guards)}"


_METHODS = {
    Verb.DELETE: "delete",
    Verb.RELEASE: "update",
    Verb.UPDATE: "update",
    Verb.IGNORE: "insert",
    Verb.INSERT: "insert",
}


class _Values:
    """Where a part's values are: expressions by column, and what to select them from."""

    def __init__(self, dialect: PostgresqlDialect, part: Part, parameter: int) -> None:
        self._part, self.parameter = part, parameter
        self._expressions: dict[str, str] = {}
        for name in part.shared:
            self._expressions[name] = self._next(name)
        self.source = self._source() if part.own else ""
        quote = dialect.sqlalchemy.identifier_preparer.quote
        self._expressions.update((name, f"v.{quote(name)}") for name in part.own)
        self._quote = quote

    def __getitem__(self, name: str) -> str:
        if name == "tenant_id":
            return "$1"
        return self._expressions.get(name, "NULL")

    def _source(self) -> str:
        own = self._part.own
        if not self._part.rows:
            columns = ", ".join(f'"{name}" {self._type(name)}' for name in own)
            source = f"jsonb_to_recordset(${self.parameter}::jsonb) AS v({columns})"
            self.parameter += 1
            return source
        rows = [f"({', '.join(self._next(name) for name in own)})" for _ in range(self._part.rows)]
        return f"(VALUES {', '.join(rows)}) AS v({', '.join(map(_quoted, own))})"

    def _next(self, name: str) -> str:
        self.parameter += 1
        return f"${self.parameter - 1}::{self._type(name)}"

    def _type(self, name: str) -> str:
        return _type(self._part.table.c[name.removeprefix("old_")].type)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _type(type_: sa.types.TypeEngine[object]) -> str:
    """What to cast to; a cast to ``varchar(n)`` would cut silently, so texts are ``text``."""
    match type_:
        case sa.BigInteger():
            return "bigint"
        case sa.Boolean():
            return "boolean"
        case sa.Double():
            return "double precision"
        case TIMESTAMP():
            return "timestamptz"
    return "text"
