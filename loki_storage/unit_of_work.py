"""The unit of work: buffered changes over committed reads, committed as one batch.

A clean end commits, an exception discards. Repositories read through it and add ``Change`` values
to it; nothing else writes.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import pluggy

from loki_storage.archive_store import ArchiveStore
from loki_storage.authorization import (
    Operations,
    authority_of,
    decided_before,
    not_an_operation,
)
from loki_storage.batch import Batch
from loki_storage.deadline import pauses, within
from loki_storage.enums import ActorType
from loki_storage.errors import (
    Conflict,
    ConnectionLost,
    Duplicate,
    IllegalTransition,
    InvalidValue,
    OutcomeUnknown,
    ReadOnly,
    StaleWrite,
    StorageError,
    Unavailable,
)
from loki_storage.leases import IdLeases
from loki_storage.masking import Mask, Masked, check_readable
from loki_storage.models import AuditEntry, Kind, Record
from loki_storage.overlay import Pending, kinds_of, merged
from loki_storage.protocol import Backend, Count, Day, Group, Measure, Reader
from loki_storage.query import Query
from loki_storage.rules.change import (
    Actor,
    Change,
    Changes,
    audit_entries,
    audit_entry,
    read_noted,
)

__all__ = [
    "EVERY_TENANT",
    "SYSTEM",
    "Actor",
    "Clock",
    "Context",
    "Lost",
    "UnitOfWork",
    "pauses",
    "utc_now",
]

LOGGER = logging.getLogger("loki_storage")
Clock = Callable[[], datetime]
Lost = Callable[[Conflict, Batch], Batch | StorageError | None]
"""Explains a race lost at commit: the rule's own error, another batch to apply, or None."""
R = TypeVar("R", bound=Record)
T = TypeVar("T")

MOST_KNOWN = 100
EVERY_TENANT = ""
"""The tenant of a context that is about the store as a whole; none has this name (VAL-5)."""
SYSTEM = Actor("system", ActorType.SYSTEM)


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)


@attrs.frozen(kw_only=True)
class Context:
    """What stays the same for all of a session; hooks are given it."""

    tenant: str
    actor: Actor = SYSTEM
    timeout: float = 10.0
    read_only: bool = False
    audit_reads: bool = False
    mask: Mask = attrs.field(factory=Mask)


class UnitOfWork(Operations, Reader):
    """Reads and writes of one tenant by one actor; serves one thread at a time (TXN-8)."""

    def __init__(
        self,
        backend: Backend,
        leases: IdLeases,
        context: Context,
        clock: Clock,
        hooks: pluggy.HookRelay,
        archive: ArchiveStore | None = None,
    ) -> None:
        self.context = context
        self.archive = archive
        """Where archived documents are; None: nowhere."""
        self.receipt: int | None = None
        """Audit entry id of the last commit: its presence proves the commit (TXN-5)."""
        self._backend, self._leases, self._clock, self._hooks = backend, leases, clock, hooks
        self._obey(authority_of(hooks, context))
        self._pending = Pending()
        self._lost: list[Lost] = []
        self._audit_ids: list[int] = []
        self._known: deque[Record] = deque(maxlen=MOST_KNOWN)
        self._is_view = False

    @property
    def tenant(self) -> str:
        return self.context.tenant

    @property
    def actor(self) -> Actor:
        return self.context.actor

    @property
    def schema_revision(self) -> str | None:
        """The layout's revision that this SDK reads and writes; None where there is no such."""
        return self._backend.schema_revision()

    @property
    def _unaudited(self) -> Context:
        return attrs.evolve(self.context, audit_reads=False)

    @property
    def pending(self) -> bool:
        """Whether anything waits for the commit."""
        return bool(self._pending)

    @not_an_operation
    def writes(self, kind: Kind, id: int) -> bool:
        """Whether a pending write is about this row."""
        return self._pending.names(kind, id)

    @not_an_operation
    def now(self) -> datetime:
        """The clock's time, in UTC."""
        moment = self._clock()
        if moment.tzinfo is None:
            raise InvalidValue("clock", "must give aware datetimes")
        return moment.astimezone(UTC)

    # Reading: the backend's own methods where nothing pending can matter, else the overlay.

    def select(self, query: Query) -> Iterator[Any]:
        if not self._touched(query):
            return self._bounded(self._backend.select(query))
        return merged(query, self._pending, self._committed, self.select)

    def get_many(self, kind: type[R], ids: Iterable[int], tenant: str | None) -> dict[int, R]:
        wanted = [id for id in ids if kind.domains["id"].operand("id", id) is not None]
        self._check_tenant(tenant)
        if self._pending.touches((kind,)):
            return super().get_many(kind, wanted, tenant)
        with within(self.context.timeout):
            return self._backend.get_many(kind, wanted, tenant)

    def select_many(self, queries: Sequence[Query]) -> list[list[Any]]:
        touched = [self._touched(query) for query in queries]
        if any(touched):
            return super().select_many(queries)
        with within(self.context.timeout):
            return self._backend.select_many(queries)

    def count(self, query: Query) -> int:
        with within(self.context.timeout):
            return self._reader(query).count(query)

    def exists(self, query: Query) -> bool:
        with within(self.context.timeout):
            return self._reader(query).exists(query)

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        with within(self.context.timeout):
            return self._reader(query).aggregate(query, by, measures)

    def rows(self, query: Query, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        return self._bounded(self._reader(query).rows(query, fields))

    def search(self, query: Query) -> Iterator[Any]:
        return self._bounded(self._reader(query).search(query))

    def explain(self, query: Query) -> str:
        self._check_tenant(query.tenant)
        with within(self.context.timeout):
            return self._backend.explain(query)

    def compact(self, kind: Kind, ids: Iterable[int]) -> int | None:
        """``Backend.compact`` for this tenant's rows, at once: it is no change that could wait."""
        return self._backend.compact(kind, ids, self.tenant)

    def compactable(self, kind: Kind, ids: Iterable[int]) -> set[int]:
        """``Backend.compactable`` for this tenant's rows."""
        return self._backend.compactable(kind, ids, self.tenant)

    def get(self, kind: type[R], id: int) -> R | None:
        """The tenant's record of this id, deleted or not."""
        return self.get_many(kind, (id,), self.tenant).get(id)

    def both_views(self, query: Query) -> list[Any]:
        """What matches in the session's view or in the store without it."""
        found = {record.id: record for record in self._committed(query)}
        return list((found | {record.id: record for record in self.select(query)}).values())

    @not_an_operation
    def query(self, kind: Kind, *args: Any, **parts: Any) -> Query:
        """A query of this session's tenant."""
        return Query(kind, self.tenant, *args, **parts)

    @not_an_operation
    def hand_out(self, records: Sequence[Record]) -> None:
        """Note what the caller is told, the last 100 of it: updates may build on that."""
        self._known.extend(records)

    @not_an_operation
    def handing_out(self, found: Iterator[R]) -> Iterator[R]:
        """The same, one record at a time."""
        for record in found:
            self._known.append(record)
            yield record

    @not_an_operation
    def check_readable(self, kind: Kind, *fields: str) -> None:
        """``Forbidden`` where a masked session would give a wrong answer from these fields."""
        check_readable(self.context.mask, kind, *fields)

    @not_an_operation
    def check_known(self, record: Record, fields: Iterable[str]) -> None:
        """``StaleWrite`` where another writer has changed what the caller was told (TXN-2).

        Also where that writer left the very value that is asked for: two that each add 1 to what
        they read come to the same value, and one of them would be lost without a trace.
        """
        told = (known for known in reversed(self._known) if known.id == record.id)
        known = next((known for known in told if type(known) is type(record)), record)
        if any(known.stored(field) != record.stored(field) for field in fields):
            raise StaleWrite(record.table, record.id)

    def _actions(self, name: str, arguments: tuple[object, ...]) -> tuple[str, ...]:
        """Reads are asked for by table, as those of repositories are."""
        tables = dict.fromkeys(table for each in arguments for table in _tables(each))
        return tuple(f"{table}.{name}" for table in tables) or (f"session.{name}",)

    def _reader(self, query: Query) -> Reader:
        return _Overlaid(self) if self._touched(query) else self._backend

    def _touched(self, query: Query) -> bool:
        """Whether pending writes matter to a query; it must be of the session's tenant (TEN-2)."""
        self._check_tenant(query.tenant)
        return bool(self._pending) and self._pending.touches(kinds_of(query))

    def _check_tenant(self, tenant: str | None) -> None:
        if tenant != self.context.tenant:
            raise InvalidValue("tenant", "is not the session's")

    def _committed(self, query: Query) -> Iterator[Any]:
        return self._bounded(self._backend.select(query))

    def _bounded(self, found: Iterator[T]) -> Iterator[T]:
        """What a backend streams; to begin may take as long as the session allows (TXN-4)."""
        with within(self.context.timeout):
            first = list(islice(found, 1))
        yield from first
        yield from found

    @not_an_operation
    def note_read(self, query: Query, ids: Iterable[int]) -> None:
        """Audit a read before its records are handed out, in a commit of its own (AUD-4)."""
        if self.context.audit_reads:
            unit = UnitOfWork(
                self._backend, self._leases, self._unaudited, self._clock, self._hooks
            )
            with unit:
                unit.add(read_noted(query, ids))

    # Writing

    @not_an_operation
    def new_ids(self, counts: Mapping[Kind, int]) -> dict[Kind, list[int]]:
        """Fresh ids, and those of audit entries to come (one if not told), in one round trip."""
        self._check_writable()
        audits = counts.get(AuditEntry, 1) - len(self._audit_ids)
        wanted = {**counts, AuditEntry: max(0, audits)}
        with within(self.context.timeout):
            ids = self._leases.take({kind: n for kind, n in wanted.items() if n})
        self._audit_ids.extend(ids.pop(AuditEntry, ()))
        return ids

    @property
    def next_audit_id(self) -> int:
        """The id that the next change's audit entry will have."""
        if not self._audit_ids:
            self.new_ids({})
        return self._audit_ids[0]

    @not_an_operation
    @contextmanager
    def as_one(self) -> Iterator[None]:
        """What is added inside stays, or nothing of it where the block raises (TXN-3)."""
        lost = len(self._lost)
        try:
            with self._pending.as_one():
                yield
        except BaseException:
            del self._lost[lost:]
            raise

    def add(self, change: Change, *lost: Lost) -> None:
        """Buffer a change and its audit entry, or nothing where it does not fit the view.

        ``lost`` explain a conflict at commit in the rule's own words (TXN-7).
        """
        self._check_writable()
        if not self._audit_ids:
            self.new_ids({})
        entry = audit_entry(
            change,
            id=self._audit_ids[0],
            tenant=self.tenant,
            actor=self.actor,
            now=self.now(),
        )
        self._pending.add(change)
        self._pending.insert(entry)
        self._audit_ids.pop(0)
        self._lost.extend(lost)

    def add_all(self, changes: Changes, *lost: Lost) -> None:
        """``add`` for each of many changes: all of them, or none."""
        self._check_writable()
        count = len(changes.ids)
        self.new_ids({AuditEntry: count})
        entries = audit_entries(
            changes,
            ids=self._audit_ids[:count],
            tenant=self.tenant,
            actor=self.actor,
            now=self.now(),
        )
        with self._pending.as_one():
            self._pending.add(changes)
            self._pending.insert_many(entries)
        del self._audit_ids[:count]
        self._lost.extend(lost)

    @decided_before
    def commit(self) -> None:
        """Write all that is pending as one batch; whatever happens, nothing is pending afterwards.

        Raises the rule's own error for a race that was lost (``StaleVersion``,
        ``DuplicateDocument``), else ``StaleWrite``, ``Duplicate`` or ``BrokenReference``, all
        retryable (TXN-7); ``OutcomeUnknown`` where the store did not answer within the session's
        timeout (TXN-5).
        """
        parts, lost = self._pending.parts(), self._lost
        self.rollback()
        if not parts:
            return
        batch = Batch(self.tenant, parts)
        self._hooks.loki_before_commit(batch=batch, context=self.context)
        batch = self._apply_explained(batch, lost)
        self.receipt = _receipt(batch)
        if self.receipt is not None:
            self._announce(batch)

    @not_an_operation
    def rollback(self) -> None:
        """Forget all that is pending."""
        self._pending, self._lost = Pending(), []
        self._known.clear()

    @not_an_operation
    def fresh(self) -> "Self":
        """Another unit of work with the same context, for what commits on its own (TXN-9)."""
        if self.pending:
            raise IllegalTransition("commit or roll back first: this commits in units of its own")
        return self._another()

    @not_an_operation
    def beside(self, records: Iterable[Record]) -> "Self":
        """This unit's view with these records in it, as if they were stored; for reading only."""
        mask = self._backend.masked if isinstance(self._backend, Masked) else None
        view = self._another()
        view._pending, view._known, view._is_view = self._pending.copy(), self._known, True
        for record in records:
            view._pending.insert(record if mask is None else mask(record))
        return view

    def _another(self) -> "Self":
        return type(self)(
            *(self._backend, self._leases, self.context, self._clock, self._hooks, self.archive)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.commit()
        else:
            self.rollback()

    def _check_writable(self) -> None:
        if self._is_view:
            raise ReadOnly("archived documents can only be read; unarchive them to change them")
        if self.context.read_only:
            raise ReadOnly("this session is read-only; open one without read_only=True to write")

    def _apply_explained(self, batch: Batch, lost: Sequence[Lost]) -> Batch:
        """Apply a batch; a conflict becomes the error of the rule that lost, or another batch."""
        deadline = time.monotonic() + self.context.timeout
        while True:
            try:
                self._apply(batch, deadline)
            except Conflict as error:
                # The rule had checked it when it was called: run again, it finds its own words.
                error.retryable = True
                if isinstance(error, Duplicate) and error.fields == ("id",):
                    self._leases.forget()  # the store was restored since they were leased
                explained = _first_answer(lost, error, batch)
                if explained is None:
                    raise
                if not isinstance(explained, Batch):
                    raise explained from error
                if time.monotonic() > deadline:
                    raise
                batch = explained
            else:
                return batch

    def _apply(self, batch: Batch, deadline: float) -> None:
        """Apply until there is an answer; then the receipt tells whether it happened (TXN-5)."""
        receipt = _receipt(batch)
        if receipt is None:  # others have done all of it
            return
        try:
            with within(deadline - time.monotonic()):
                self._backend.apply(batch)
        except ConnectionLost:
            self._apply_again(batch, receipt, deadline)

    def _apply_again(self, batch: Batch, receipt: int, deadline: float) -> None:
        LOGGER.warning("the connection broke in commit %s: applying it again", receipt)
        for pause in pauses():
            if time.monotonic() + pause > deadline:
                raise OutcomeUnknown(receipt)
            time.sleep(pause)
            try:
                with within(deadline - time.monotonic()):
                    self._apply_once(batch, receipt)
            except Conflict:
                raise
            except StorageError:  # whatever it is, it does not tell how the first attempt ended
                continue
            return

    def _apply_once(self, batch: Batch, receipt: int) -> None:
        """Apply a batch that an earlier attempt may have applied: then its receipt is there."""
        try:
            self._backend.apply(batch)
        except Conflict:
            if not self._backend.get_many(AuditEntry, (receipt,), self.tenant):
                raise

    def _announce(self, batch: Batch) -> None:
        try:
            self._hooks.loki_after_commit(batch=batch, context=self.context)
        except Exception:  # a hook's failure cannot undo what is durable
            LOGGER.exception("a loki_after_commit hook failed")


class _Overlaid(Reader):
    """The derived defaults over a session's own view."""

    def __init__(self, session: UnitOfWork) -> None:
        self._session = session

    def select(self, query: Query) -> Iterator[Any]:
        return self._session.select(query)


def _tables(argument: object) -> Iterator[str]:
    """The tables that an argument of a read names."""
    for each in argument if isinstance(argument, list | tuple) else (argument,):
        if isinstance(each, Query):
            yield each.kind.table
        elif isinstance(each, type) and issubclass(each, Record):
            yield each.table


def _first_answer(
    lost: Sequence[Lost], error: Conflict, batch: Batch
) -> Batch | StorageError | None:
    answers = (explain(error, batch) for explain in lost)
    try:
        return next((answer for answer in answers if answer is not None), None)
    except Unavailable:  # a connection lost here is not one that was lost during the commit
        return None


def _receipt(batch: Batch) -> int | None:
    """The id of the first audit entry that the batch stores; None: it changes nothing."""
    entries = batch.inserts.get(AuditEntry)
    return None if entries is None else entries.ids[0]
