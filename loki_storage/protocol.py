"""The storage protocol: what a backend is.

    reserve(counts) -> ranges     lease fresh ids
    select(query)   -> records    committed records that match, in order, streamed
    apply(batch)    -> None       all operations of a batch or none, durable on return
    close()                       release everything

A backend stores records; the SDK owns every rule. Everything else has a correct default built on
these four. Override a default to be faster: the contract suite runs each override against the
default that it replaces. A capability *is* an overridden method; there are no flags.

| area        | kinds                                           | through                          |
|-------------|-------------------------------------------------|----------------------------------|
| documents   | ``Document``, ``Tag``, ``DocumentTag``          | ``select``, ``apply``            |
| versions    | ``Document`` (``root_id``, ``version``, ...),   | ``apply`` with guards and unique |
|             | ``Chain``                                       | keys                             |
| validations | ``Validation``, ``ValidationResult``            | ``apply``, ``aggregate``         |
| corrections | ``Correction``, ``CorrectionHistory``           | ``select``, ``apply``            |
| audit       | ``AuditEntry``: one in every batch, its receipt | ``apply``, ``aggregate``         |
| retention   | ``RetentionPolicy``, ``RetentionState``         | ``select``, ``apply``            |
| export      | ``ExportLog``                                   | ``snapshot``, ``rows``, ``dump`` |

Backends are thread-safe and long-lived. They raise the errors of ``loki_storage.errors`` and no
others. The laws are BAT-1 to BAT-9 (docs/laws.md).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, Literal, TypeVar

import attrs

from loki_storage.batch import Batch, Delete, Insert
from loki_storage.errors import IllegalTransition, InvalidField, Unsupported
from loki_storage.explaining import in_words
from loki_storage.lines import Blocks, Form, encoded
from loki_storage.models import KINDS, ArchivedDocument, Document, Kind, Record, domain_of
from loki_storage.query import In, Order, Query
from loki_storage.rows import Rows
from loki_storage.values import Integer, Json, Number, Time

__all__ = [
    "NOT_EMPTY",
    "PROTOCOL_VERSION",
    "Backend",
    "BackendSpec",
    "Check",
    "Count",
    "CountDistinct",
    "Day",
    "Group",
    "Max",
    "Measure",
    "Min",
    "Reader",
    "Sum",
    "dump_order",
    "is_empty",
]

PROTOCOL_VERSION = "1.0"

R = TypeVar("R", bound=Record)


@attrs.frozen
class Day:
    """Groups by the UTC day of a time."""

    field: str


@attrs.frozen
class Count:
    """How many records."""


@attrs.frozen
class Sum:
    """The sum of a number field, NULLs left out; 0 of none."""

    field: str


@attrs.frozen
class Min:
    """The least value in the total order (severity by rank), NULLs left out; None of none."""

    field: str


@attrs.frozen
class Max:
    """The greatest value in the total order, NULLs left out; None of none."""

    field: str


@attrs.frozen
class CountDistinct:
    """How many different values, NULLs left out."""

    field: str


Measure = Count | CountDistinct | Sum | Min | Max


@attrs.frozen
class Check:
    """What a look at one thing found, in words that hold no stored value and no password.

    ``"problem"``: it is wrong now; ``"warning"``: it may go wrong. ``advice``: what to do then.
    """

    name: str
    status: Literal["ok", "warning", "problem"]
    told: str
    advice: str | None = None


@attrs.frozen
class Group:
    """One row of an aggregate: the values grouped by, and the measures over their records."""

    key: tuple[object, ...] = attrs.field(repr=False)
    values: tuple[Any, ...]


class Reader(ABC):
    """The reading half of a backend; a snapshot and a session are readers too."""

    @abstractmethod
    def select(self, query: Query) -> Iterator[Any]:
        """Records that match, in the query's total order, streamed.

        Sees one moment, taken at the first ``next()``; closing it early frees everything (BAT-7).
        """

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        """The tenant's records of these ids, by id; unknown and foreign ones are left out."""
        found = self.select(Query(kind, tenant, In("id", ids)))
        return {record.id: record for record in found}

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        """The answers of several queries, in one round trip where the backend can.

        At one moment, or one after the other: a later answer is never older than an earlier one.
        """
        return [list(self.select(query)) for query in queries]

    def count(self, query: Query) -> int:
        """How many records match, whatever limit, offset and cursor say (QRY-8)."""
        return sum(1 for _ in self.select(query.whole()))

    def exists(self, query: Query) -> bool:
        """Whether any record matches; stops at the first."""
        return any(True for _ in self.select(query.whole().evolve(limit=1)))

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        """Measures over what matches, per group, ordered by the group's key (NULLs last).

        Without ``by``: exactly one group. ``limit``, ``offset`` and ``after`` do not change it.
        """
        check_aggregate(query.kind, by, measures)
        groups: dict[tuple[object, ...], list[Record]] = {} if by else {(): []}
        for record in self.select(query.whole().evolve(order=())):
            groups.setdefault(tuple(group_value(record, part) for part in by), []).append(record)
        ordered = sorted(groups, key=lambda key: _group_order(query.kind, by, key))
        return [
            Group(key, tuple(measured(measure, query.kind, groups[key]) for measure in measures))
            for key in ordered
        ]

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """These fields of the matching records as stored (JSON as canonical text), streamed."""
        for field in fields:
            domain_of(query.kind, field)
        for record in self.select(query):
            yield tuple(record.stored(field) for field in fields)

    def lines(self, query: Query, fields: Sequence[str], form: Form) -> Blocks:
        """What ``rows`` gives as lines of a file, in blocks; a database may write them itself.

        Byte for byte what the default makes of the rows (ACC-11).
        """
        columns = {field: domain_of(query.kind, field) for field in fields}
        return encoded(form, columns, self.rows(query, fields))

    def search(self, query: Query) -> Iterator[Any]:
        """Records that match, best first where the backend ranks; the default keeps the order."""
        return self.select(query)

    def explain(self, query: Query) -> str:
        """What the query asks, in words without values; an override adds how it is answered."""
        return in_words(query)

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        """Every record, of one tenant or of all: parents before children, then by id.

        Equal stores have equal dumps, whatever backend they are on (BAK-1).
        """
        for kind in KINDS.values():
            yield from self.select(Query(kind, tenant, order=dump_order(kind)))


class Backend(Reader):
    """A store. Implement ``reserve``, ``select``, ``apply`` and ``close``."""

    @abstractmethod
    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        """Lease that many fresh ids of each kind, in one call.

        Durable before it returns; never handed out twice, by any thread, process or later opening;
        gaps are fine (BAT-8).
        """

    @abstractmethod
    def apply(self, batch: Batch) -> None:
        """All operations of the batch or none; durable on return (BAT-2 to BAT-6).

        Raises ``StaleWrite`` where a guard fails, else ``Duplicate``, else ``BrokenReference``.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything; idempotent. Any call afterwards raises ``Unavailable`` (BAT-9)."""

    def prepare(self, *, create: bool) -> None:
        """Make the store ready. An empty store is laid out if ``create``, else ``SchemaOutdated``.

        Called once, before anything else; N processes may do so at once (MIG-1).
        """

    def migrate(self, revision: str = "head") -> tuple[str | None, str | None]:
        """Bring the layout to a revision; the one before, and the one now. None: none."""
        raise Unsupported(f"{type(self).__name__} has no schema revisions")

    def load(self, records: Iterable[Record]) -> None:
        """Store dumped records as they are, and raise the id leases above them (BAK-1)."""
        highest: dict[Kind, int] = {}
        for tenant, group in groupby(_checked_order(records), key=lambda record: record.tenant_id):
            while chunk := list(islice(group, 500)):
                self.apply(Batch(tenant, (Insert(record) for record in chunk)))
                for kind, id in chain.from_iterable(map(_given_out, chunk)):
                    highest[kind] = max(highest.get(kind, 0), id)
        for kind, top in highest.items():
            self._lease_beyond(kind, top)

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        """Make these rows all that is stored, or leave the store as it is (BAK-3).

        Each ``Rows`` is of one kind and tenant, parents first. ``check`` is given the new state
        before it counts; what it raises undoes everything. ``IllegalTransition`` for a store that
        is not empty, unless ``replace``. Ids leased later are above all that is stored now.

        ``allow`` is given what is to be replaced, once nobody can change it any more; what it
        raises leaves it as it is.

        The default cannot replace, and leaves a part where the process is killed in the middle.
        """
        if replace:
            raise Unsupported(
                f"{type(self).__name__} cannot replace what is stored; restore into an empty store"
            )
        if not is_empty(self):
            raise IllegalTransition(NOT_EMPTY)
        try:
            self.load(chain.from_iterable(rows))
            check(self)
        except BaseException:
            _empty(self)
            raise

    def copy_file(self, path: str) -> None:
        """A copy of the whole store as one new file, which the backend opens by its own URL.

        Consistent while others write. ``Unsupported`` where a store is no file.
        """
        raise Unsupported(f"{type(self).__name__} has no file to copy")

    def schema_revision(self) -> str | None:
        """The layout's revision that this SDK reads and writes; None where there is no such."""
        return None

    def compact(self, kind: Kind, ids: Iterable[int], tenant: str) -> int | None:
        """Store these rows in fewer bytes, as far as the backend can; no read tells (RET-4).

        Gives the bytes that they take less than they would, whenever that was done. None: not
        supported. Rows that nothing would be saved of stay as they are.
        """
        return None

    def compactable(self, kind: Kind, ids: Iterable[int], tenant: str) -> set[int]:
        """Those of these rows that ``compact`` has not looked at, or that were written since."""
        return set()

    def ping(self) -> None:
        """Return if the store answers, else raise ``Unavailable`` or its kin."""
        self.count(Query(Document, None, In("id", ())))

    def stats(self) -> dict[str, int | None]:
        """Figures of the connection pool; None where there is none."""
        return dict.fromkeys(("pool_size", "checked_in", "checked_out", "overflow"))

    def checks(self, *, deep: bool) -> Iterable[Check]:
        """What this backend can tell of its own soundness; reads, and leaves no trace.

        Not ``deep``: settings and surroundings, at the cost of a ping, also before ``prepare``.
        ``deep``: the content as well, and only that; reads the whole store.
        """
        return ()

    def database_version(self) -> str:
        """The database behind it and its version, like "PostgreSQL 18.4"; empty where none is."""
        return ""

    def tidy(self) -> None:
        """Leave no trace of removed rows in the store's files, as far as the backend can (RET-4).

        Called by maintenance. The default does nothing: there may be no files, or others see to it.
        """

    def engine(self, **options: Any) -> Any:
        """SQLAlchemy's engine, for backends that have one."""
        raise Unsupported(f"{type(self).__name__} has no SQLAlchemy engine")

    def snapshot(self, tenant: str | None) -> AbstractContextManager[Reader]:
        """One consistent view over many reads. There is no correct default."""
        raise Unsupported(f"{type(self).__name__} cannot hold one view over several reads")

    def turn(self, tenant: str, kind: Kind, id: int) -> AbstractContextManager[None]:
        """A thread's turn with a row that others change, too: inside, it meets fewer of them.

        Whoever has lost a race for a row asks for a turn before it tries again. It is an offer, no
        lock: guards decide as ever, and the default, which waits for nobody, is correct.
        """
        return nullcontext()

    def _lease_beyond(self, kind: Kind, top: int) -> None:
        leased = self.reserve({kind: 1})[kind]
        if leased.start <= top:
            self.reserve({kind: top - leased.start + 1})


def _schemes(schemes: Iterable[str]) -> tuple[str, ...]:
    return tuple(schemes)


@attrs.frozen
class BackendSpec:
    """What a plugin registers. Its options are the keyword-only parameters of ``open``.

    ``open(url, **options)`` gives a ``Backend`` without touching the store; ``prepare`` comes next.
    ``creates``: whether ``open_storage`` lays out an empty store unless told otherwise.
    """

    name: str
    open: Any
    summary: str = ""
    schemes: tuple[str, ...] = attrs.field(default=(), converter=_schemes)
    protocol_version: str = PROTOCOL_VERSION
    creates: bool = False


def check_aggregate(kind: Kind, by: Sequence[str | Day], measures: Sequence[Measure]) -> None:
    """``InvalidField`` where a group or measure does not fit the kind."""
    for part in by:
        domain = domain_of(kind, part.field if isinstance(part, Day) else part)
        if isinstance(part, Day) and not isinstance(domain, Time):
            raise InvalidField(part.field, "is not a time")
    for measure in measures:
        if isinstance(measure, Sum):
            if not isinstance(domain_of(kind, measure.field), Integer | Number):
                raise InvalidField(measure.field, "is not a number")
        elif isinstance(measure, Min | Max):
            if not domain_of(kind, measure.field).orderable:
                raise InvalidField(measure.field, "has no order")
        elif isinstance(measure, CountDistinct):
            if isinstance(domain_of(kind, measure.field), Json):
                raise InvalidField(measure.field, "is JSON; its values cannot be told apart here")
        elif not isinstance(measure, Count):
            raise InvalidField(type(measure).__name__, "is not a measure")


def group_value(record: Record, part: str | Day) -> object:
    """What a record is grouped under."""
    if isinstance(part, str):
        return record.stored(part)
    moment = getattr(record, part.field)
    return None if moment is None else moment.date()


def measured(measure: Measure, kind: Kind, records: Sequence[Record]) -> Any:
    """A measure's value over the records of one group."""
    if isinstance(measure, Count):
        return len(records)
    values = [v for record in records if (v := record.stored(measure.field)) is not None]
    if isinstance(measure, CountDistinct):
        return len(set(values))
    if isinstance(measure, Sum):
        return sum(values)
    rank: Any = domain_of(kind, measure.field).rank
    pick = min if isinstance(measure, Min) else max
    return pick(values, key=rank, default=None)


def _group_order(kind: Kind, by: Sequence[str | Day], key: tuple[object, ...]) -> tuple[Any, ...]:
    return tuple(
        (value is None, None if value is None else _group_rank(kind, part, value))
        for part, value in zip(by, key, strict=True)
    )


def _group_rank(kind: Kind, part: str | Day, value: object) -> Any:
    return value if isinstance(value, date) else domain_of(kind, str(part)).rank(value)


def dump_order(kind: Kind) -> tuple[Order, ...]:
    """Within a chain a later version may have a lower id, so versions come by number."""
    first = (Order("tenant_id"),)
    return (*first, Order("root_id"), Order("version")) if kind is Document else first


NOT_EMPTY = "the store is not empty; restore into an empty one, or replace what it holds"


def is_empty(reader: Reader) -> bool:
    """Whether no tenant has any row."""
    return not any(reader.exists(Query(kind, None)) for kind in KINDS.values())


def _empty(backend: Backend) -> None:
    """Delete every row, children first."""
    for kind in reversed(KINDS.values()):
        order = tuple(Order(each.field, not each.descending) for each in dump_order(kind))
        query = Query(kind, None, order=order, limit=500)
        while found := list(backend.rows(query, ("tenant_id", "id"))):
            for tenant, group in groupby(found, key=itemgetter(0)):
                backend.apply(Batch(tenant, [Delete(kind, id) for _, id in group]))


def _given_out(record: Record) -> Iterator[tuple[Kind, int]]:
    """The ids that are never given out again: its own, and those of rows that it stands for."""
    yield type(record), record.id
    if isinstance(record, ArchivedDocument) and isinstance(record.members, dict):
        for table in record.members.keys() & KINDS.keys():
            yield from ((KINDS[table], last) for _, last in record.members[table])


def _checked_order(records: Iterable[Record]) -> Iterator[Record]:
    """Pass records on; a thing that is no record is refused before it reaches a backend."""
    for record in records:
        if not isinstance(record, Record):
            raise InvalidField(type(record).__name__, "is not a record")
        yield record
