"""What a check works with: handles to the target's store, storages over them, a clock."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache, cached_property
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from loki_storage.archive_store import ArchiveStore
from loki_storage.batch import Batch, Insert
from loki_storage.models import Record
from loki_storage.plugins import plugin_manager
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage.storage import Storage
from loki_storage_contract.records import TENANTS, sample
from loki_storage_contract.target import BackendTarget
from loki_storage_contract.trace import Trace
from loki_storage_contract.values import NOON

__all__ = ["Clock", "Store", "storage_over", "unchanged"]

R = TypeVar("R", bound=Record)


@attrs.define
class Clock:
    """A clock that stands still until it is moved, in either direction."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        """Move by a ``timedelta`` of these units; the new time."""
        self.now += timedelta(**by)
        return self.now


class Store:
    """The target's store, with one handle open all the time; closes what it opened."""

    def __init__(self, target: BackendTarget, trace: Trace | None = None) -> None:
        self.target, self.clock, self.trace = target, Clock(), trace or Trace()
        self.hits: Counter[tuple[str, str]] = Counter()
        """How often a rule had an outcome."""
        self._kept, self._extra, self._handles = ExitStack(), ExitStack(), 0
        self.backend = self._open(self._kept)

    def open(self) -> Backend:
        """Another handle to the same store, closed with the example's check."""
        return self._open(self._extra)

    def _open(self, opened: ExitStack) -> Backend:
        backend = self.target.open()
        opened.callback(backend.close)
        self._handles += 1
        self.trace.watch(backend, "backend" if self._handles == 1 else f"backend{self._handles}")
        return backend

    @cached_property
    def other(self) -> Backend:
        """A second handle, as another thread or process would have."""
        return self._open(self._kept)

    def say(self, text: str) -> None:
        """Note a call of the API in the example's trace."""
        self.trace.say(text)

    def hit(self, rule: str, outcome: str) -> None:
        """Count that a rule had an outcome."""
        self.hits[rule, outcome] += 1

    @cached_property
    def third(self) -> Backend:
        """One more."""
        return self._open(self._kept)

    def reopen(self) -> None:
        """Close every handle, then open the store again."""
        self.close()
        self.__dict__.pop("other", None)
        self.__dict__.pop("third", None)
        self.backend = self._open(self._kept)

    def renew(self) -> None:
        """As if it were opened anew, for another check: to open a store costs more than most."""
        self._extra.close()
        self.hits.clear()
        self.trace = Trace()
        for name in ("backend", *{"other", "third"} & self.__dict__.keys()):
            self.trace.watch(getattr(self, name), name)

    def close(self) -> None:
        """Close every handle."""
        self._extra.close()
        self._kept.close()

    def storage(self, backend: Backend | None = None) -> Storage:
        """A storage with ids of its own, over a handle, on this store's clock."""
        return storage_over(backend or self.backend, self.clock)

    def reset(self) -> None:
        """Empty the store and set the clock back, for the next example."""
        self.target.reset(self.backend)
        self.clock.now = NOON
        self.trace.clear()

    def new(self, kind: type[R], tenant: str = TENANTS[0], /, **fields: Any) -> R:
        """A plain record, stored under a leased id."""
        record = self.plan(kind, tenant, **fields)
        self.put(record)
        return record

    def plan(self, kind: type[R], tenant: str = TENANTS[0], /, **fields: Any) -> R:
        """A plain record with a leased id, not stored."""
        return sample(kind, self.backend.reserve({kind: 1})[kind].start, tenant, **fields)

    def put(self, *records: Record) -> None:
        """Store records, a batch per tenant, in the order in which tenants come."""
        for tenant in dict.fromkeys(record.tenant_id for record in records):
            mine = (record for record in records if record.tenant_id == tenant)
            self.backend.apply(Batch(tenant, map(Insert, mine)))

    def dump(self, tenant: str | None = None) -> list[Record]:
        """The canonical dump: every record, parents first."""
        return list(self.backend.dump(tenant))

    def all(self, kind: type[R], tenant: str | None = None) -> list[R]:
        """Every record of a kind, by id."""
        return list(self.backend.select(Query(kind, tenant)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def storage_over(backend: Backend, clock: Clock, archive: ArchiveStore | None = None) -> Storage:
    """A storage with ids of its own over a backend."""
    return Storage(backend, _hooks(), clock, archive=archive)


@cache
def _hooks() -> Any:
    """No plugin's: what is judged is the backend. To make a manager costs milliseconds."""
    return plugin_manager().hook


def unchanged(store: Store, action: Callable[[], Any], *errors: type[Exception]) -> Any:
    """Call what must be refused with one of these errors and leave the store as it was."""
    before = store.dump()
    try:
        action()
    except errors as error:
        assert store.dump() == before, "it was refused, and changed the store all the same"
        return error
    raise AssertionError(f"it was not refused with {_names(errors)}")


def _names(errors: Iterable[type[Exception]]) -> str:
    return " or ".join(error.__name__ for error in errors)
