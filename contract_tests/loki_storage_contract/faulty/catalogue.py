"""How a fault is written: a thin wrapper over a sound backend, tagged with its law."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from loki_storage.batch import Batch, Insert, Operation, Update
from loki_storage.memory import MemoryBackend
from loki_storage.models import Kind, Record
from loki_storage.protocol import Backend
from loki_storage.query import And, Condition, InQuery, Not, Or, Query
from loki_storage_contract.faults import Proxy
from loki_storage_contract.inventory import LAWS
from loki_storage_contract.target import BackendTarget, empty, open_url

__all__ = [
    "FAULTS",
    "Base",
    "Fault",
    "Faulty",
    "breaks",
    "changed_batch",
    "rewritten",
    "rows_of",
]

Base = Literal["memory", "sqlite"]
F = TypeVar("F", bound="type[Faulty]")


class Faulty(Proxy):
    """A sound backend behind a proxy. Subclasses say in their first line what is wrong."""

    def close(self) -> None:
        self.inner.close()


@attrs.frozen
class Fault:
    """One faulty backend over one base."""

    name: str
    law: str
    """The law that must find it, run alone."""
    kind: type[Faulty]
    base: Base

    @property
    def text(self) -> str:
        """What is wrong with it."""
        return (self.kind.__doc__ or "").partition("\n")[0]

    def target(self) -> BackendTarget:
        """To be judged. The store is emptied behind the fault's back."""
        folder = tempfile.mkdtemp("", "loki-fault-", _SHARED if _SHARED.is_dir() else None)
        Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
        durable = self.base == "sqlite"
        return BackendTarget(
            self.name,
            partial(_open, self.kind, self.base, folder),
            reset=_empty_inner,
            durable=durable,
            processes=durable,
            replay=f"loki-storage contract prove --fault {self.name}",
        )


FAULTS: dict[str, Fault] = {}
"""Every fault by name."""
_SHARED = Path("/dev/shm")


def breaks(law: str, *, over: Iterable[Base] = ("memory",)) -> Callable[[F], F]:
    """Register a faulty backend over one base or both; ``KeyError`` for an unknown law."""

    def register(kind: F) -> F:
        for number, base in enumerate(over):
            name = kind.__name__ if number == 0 else f"{kind.__name__}-{base}"
            FAULTS[name] = Fault(name, LAWS[law].id, kind, base)
        return kind

    return register


def _open(kind: type[Faulty], base: Base, folder: str) -> Backend:
    if base == "memory":
        return kind(MemoryBackend(folder))
    return kind(open_url(f"sqlite:///{folder}/loki.db"))


def _empty_inner(backend: Backend) -> None:
    assert isinstance(backend, Faulty)
    empty(backend.inner)


def rewritten(query: Query, change: Callable[[Condition], Condition]) -> Query:
    """The query with each leaf of its condition changed."""
    return query.evolve(where=_rewritten(query.where, change))


def _rewritten(condition: Condition, change: Callable[[Condition], Condition]) -> Condition:
    match condition:
        case And(parts) | Or(parts):
            return type(condition)(_rewritten(part, change) for part in parts)
        case Not(inner):
            return Not(_rewritten(inner, change))
        case InQuery(field, query, its_field):
            return change(InQuery(field, rewritten(query, change), its_field))
    return change(condition)


def changed_batch(batch: Batch, change: Callable[[Any], Any], *kinds: Kind) -> Batch:
    """The batch with other values stored, of these kinds or of all."""

    def of(operation: Operation) -> Operation:
        if kinds and operation.kind not in kinds:
            return operation
        if isinstance(operation, Insert):
            return Insert(_changed_record(operation.record, change))
        if isinstance(operation, Update):
            values = {field: change(value) for field, value in operation.changes.items()}
            return _unchecked(operation, values)
        return operation

    return Batch(batch.tenant, map(of, batch.operations))


def _changed_record(record: Record, change: Callable[[Any], Any]) -> Record:
    named = [field for field in record.domains if field not in ("id", "tenant_id")]
    return record.replaced({field: change(record.stored(field)) for field in named})


def _unchecked(operation: Update, values: Mapping[str, object]) -> Update:
    """A faulty backend does not check what it writes."""
    copy = Update(operation.kind, operation.id, {}, operation.guard)
    object.__setattr__(copy, "changes", values)
    return copy


def rows_of(backend: Backend, kind: Kind, tenant: str | None = None) -> Iterator[Any]:
    """Every row of a kind."""
    return backend.select(Query(kind, tenant))
