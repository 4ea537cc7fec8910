"""The kit itself: it is complete, it is independent of what it judges, and it finds faults."""

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs
import pytest

from loki_storage.batch import Batch, Delete, Insert, Operation, Update
from loki_storage.errors import BrokenReference, Duplicate, StaleWrite
from loki_storage.memory import MemoryBackend
from loki_storage.models import KINDS, Kind
from loki_storage.protocol import Backend
from loki_storage.query import And, Compare, In, Query, Text
from loki_storage.values import JsonText
from loki_storage_contract import LAWS, PROFILES, BackendTarget, checks_of, empty, run_check
from loki_storage_contract.faults import Proxy
from loki_storage_contract.registry import unproven

QUICK = attrs.evolve(PROFILES["ci"], shrink=False)

WAITING = {
    "VAL-3": "lengths are checked where records are built, see tests/test_values.py",
    "VAL-5": "bounds are checked where records are built, see tests/test_values.py",
    "VAL-8": "errors of values, see tests/test_values.py",
    "DUP-5": "needs anonymized documents",
    "AUD-4": "audited reads",
    "AUD-5": "comes later",
    "QRY-2": "names are checked where queries are built, see tests/test_query.py",
    "QRY-6": "needs the query builders",
}


def test_every_law_has_a_check_or_a_reason_why_not() -> None:
    assert set(unproven()) == set(WAITING)


@pytest.mark.parametrize("module", ["model", "choices"])
def test_model_shares_nothing_with_what_it_judges(module: str) -> None:
    source = importlib.import_module(f"loki_storage_contract.{module}").__file__
    assert source is not None
    with open(source, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name and name.startswith("loki_storage")}
    assert ours <= {"loki_storage.errors", "loki_storage_contract.model"}


# Faults: each must fail its own law, run alone.


class Emptied(Backend):
    """Implements nothing."""

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        return {kind: range(1, count + 1) for kind, count in counts.items()}

    def select(self, query: Query) -> Iterator[Any]:
        return iter(())

    def apply(self, batch: Batch) -> None:
        pass

    def close(self) -> None:
        pass


class Faulty(Proxy):
    """A memory backend with a fault; subclasses say which."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend(type(self).__name__))

    def close(self) -> None:
        self.inner.close()


FAULTS: dict[str, tuple[str, type[Faulty]]] = {}


def breaks(law: str) -> Callable[[type[Faulty]], type[Faulty]]:
    def register(fault: type[Faulty]) -> type[Faulty]:
        FAULTS[fault.__name__] = law, fault
        return fault

    return register


@breaks("QRY-5")
class NotEqualsDropsNull(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        where = query.where
        for record in super().select(query):
            if (
                not (isinstance(where, Compare) and where.op == "ne")
                or getattr(record, where.field) is not None
            ):
                yield record


@breaks("QRY-3")
class EmptyListMatchesAll(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        empty = isinstance(query.where, In) and not query.where.values
        return super().select(query.evolve(where=And(())) if empty else query)


@breaks("QRY-3")
class LimitZeroMeansNone(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        return super().select(query if query.limit else query.evolve(limit=None))


@breaks("QRY-1")
class NoTieBreak(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        if len(query.order) != 1 or query.limit or query.offset or query.after:
            return super().select(query)
        field = query.order[0].field
        found = sorted(super().select(query), key=lambda record: -record.id)
        present = [record for record in found if getattr(record, field) is not None]
        return iter(sorted(present, key=lambda record: str(getattr(record, field))))


@breaks("QRY-4")
class PercentIsAWildcard(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        where = query.where
        if isinstance(where, Text) and "%" in where.text:
            text = where.text.replace("%", "")
            return super().select(query.evolve(where=attrs.evolve(where, text=text)))
        return super().select(query)


@breaks("QRY-7")
class LastPageIsMissing(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        found = list(super().select(query))
        return iter(found[:-1] if query.after and len(found) < (query.limit or 0) else found)


@breaks("QRY-8")
class CountsThePage(Faulty):
    def count(self, query: Query) -> int:
        return sum(1 for _ in self.select(query))


@breaks("TEN-1")
class ReadsAllTenantsById(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        by_id = isinstance(query.where, Compare) and query.where.field == "id"
        return super().select(query.evolve(tenant=None) if by_id else query)


@breaks("BAT-7")
class ReadsInPages(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        offset = query.offset
        while page := list(super().select(query.evolve(limit=50, offset=offset))):
            yield from page
            offset += 50


@breaks("BAT-7")
class TakesTheMomentEarly(Faulty):
    def select(self, query: Query) -> Iterator[Any]:
        return iter(list(super().select(query)))


@breaks("BAT-4")
class IgnoresGuards(Faulty):
    def apply(self, batch: Batch) -> None:
        super().apply(attrs.evolve(batch, operations=map(without_guard, batch.operations)))


def without_guard(operation: Operation) -> Operation:
    return operation if isinstance(operation, Insert) else attrs.evolve(operation, guard={})


@breaks("BAT-4")
class IgnoresGuardsOfDeletes(Faulty):
    def apply(self, batch: Batch) -> None:
        operations = (
            without_guard(operation) if isinstance(operation, Delete) else operation
            for operation in batch.operations
        )
        super().apply(attrs.evolve(batch, operations=operations))


@breaks("BAT-4")
class UpdatesOfNothingSucceed(Faulty):
    def apply(self, batch: Batch) -> None:
        operations = batch.operations
        try:
            super().apply(batch)
        except StaleWrite:
            if not all(isinstance(operation, Update) for operation in operations):
                raise


@breaks("BAT-4")
class TellsTheDuplicateFirst(Faulty):
    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite:
            inserts = [op for op in batch.operations if isinstance(op, Insert)]
            check_inserts(self.inner, batch.tenant, inserts)
            raise


def check_inserts(backend: Backend, tenant: str, inserts: list[Insert]) -> None:
    """Raise ``Duplicate`` where one of them would."""
    try:
        backend.apply(Batch(tenant, [*inserts, Delete(inserts[0].kind, 2**62)] if inserts else []))
    except StaleWrite:
        names = [
            insert.record.stored("name") for insert in inserts if hasattr(insert.record, "name")
        ]
        for name in names:
            if backend.exists(Query(inserts[0].kind, tenant, Compare("name", "eq", name))):
                raise Duplicate(inserts[0].kind.table, ("name",)) from None


@breaks("BAT-3")
class SplitsTheBatch(Faulty):
    def apply(self, batch: Batch) -> None:
        for operation in batch.operations:
            super().apply(Batch(batch.tenant, [operation]))


@breaks("BAT-3")
class DropsTheLastOperation(Faulty):
    def apply(self, batch: Batch) -> None:
        kept = batch.operations[:-1] if len(batch.operations) > 2 else batch.operations
        super().apply(Batch(batch.tenant, kept))


@breaks("BAT-1")
class ActsInEveryTenant(Faulty):
    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except StaleWrite as error:
            row = next(
                self.inner.select(Query(KINDS[error.kind], None, In("id", [error.id]))), None
            )
            if row is None:
                raise
            self.inner.apply(Batch(row.tenant_id, batch.operations))


@breaks("BAT-5")
class ChecksNoReference(Faulty):
    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except BrokenReference:
            return


@breaks("BAT-6")
class ChecksGuardsOutsideTheTransaction(Faulty):
    def apply(self, batch: Batch) -> None:
        guarded = [op for op in batch.operations if not isinstance(op, Insert)]
        for operation in guarded:
            found = self.inner.get_many(operation.kind, [operation.id], batch.tenant)
            row = found.get(operation.id)
            if row is None or any(row.stored(f) != v for f, v in operation.guard.items()):
                raise StaleWrite(operation.kind.table, operation.id)
        pause()
        super().apply(attrs.evolve(batch, operations=map(without_guard, batch.operations)))


def pause() -> None:
    import time

    time.sleep(0.001)


@breaks("BAT-8")
class LeasesPerHandle(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self._next = 0

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        leased = {}
        for kind, count in counts.items():
            leased[kind] = range(self._next + 1, self._next + 1 + count)
            self._next += count
        return leased


@breaks("BAK-1")
class LoadKeepsTheLeases(Faulty):
    def _lease_beyond(self, kind: Kind, top: int) -> None:
        pass


@breaks("BAT-9")
class AnswersWhenClosed(Faulty):
    def close(self) -> None:
        pass


@breaks("VAL-4")
class CutsMicroseconds(Faulty):
    def apply(self, batch: Batch) -> None:
        super().apply(attrs.evolve(batch, operations=map(self._cut, batch.operations)))

    def _cut(self, operation: Operation) -> Operation:
        return changed(
            operation, lambda v: v.replace(microsecond=0) if isinstance(v, datetime) else v
        )


@breaks("VAL-2")
class TrimsText(Faulty):
    def apply(self, batch: Batch) -> None:
        super().apply(attrs.evolve(batch, operations=map(self._trim, batch.operations)))

    def _trim(self, operation: Operation) -> Operation:
        return changed(operation, lambda v: v.strip() or v if type(v) is str else v)


@breaks("VAL-6")
class WritesWholeNumbersAsIntegers(Faulty):
    def apply(self, batch: Batch) -> None:
        super().apply(attrs.evolve(batch, operations=map(self._cut, batch.operations)))

    def _cut(self, operation: Operation) -> Operation:
        return changed(
            operation, lambda v: JsonText(v.replace(".0", "")) if isinstance(v, JsonText) else v
        )


def changed(operation: Operation, change: Callable[[Any], Any]) -> Operation:
    """The operation with other values stored."""
    if isinstance(operation, Insert):
        record = operation.record
        return Insert(record.replaced({f: change(record.stored(f)) for f in record.domains}))
    if isinstance(operation, Update):
        values = {field: change(value) for field, value in operation.changes.items()}
        return attrs.evolve(operation, changes=values)
    return operation


@breaks("TXN-2")
class ShowsHalfABatch(Faulty):
    def apply(self, batch: Batch) -> None:
        if len(batch.operations) == 2 and all(isinstance(op, Update) for op in batch.operations):
            for operation in batch.operations:
                super().apply(Batch(batch.tenant, [operation]))
                pause()
        else:
            super().apply(batch)


def failed(law: str, target: BackendTarget) -> Iterator[str]:
    """The checks of a law that the target fails, one after the other."""
    for check in checks_of(law):
        try:
            run_check(target, check, QUICK)
        except (Exception, pytest.fail.Exception):
            yield check.name


def target_of(fault: type[Faulty]) -> BackendTarget:
    """The store is emptied behind the fault's back."""
    return BackendTarget(fault.__name__, open=fault, reset=empty_inner)


def empty_inner(backend: Backend) -> None:
    assert isinstance(backend, Faulty)
    empty(backend.inner)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_by_its_law(name: str) -> None:
    law, fault = FAULTS[name]
    assert next(failed(law, target_of(fault)), None)


@pytest.mark.parametrize("law", [law.id for law in LAWS.values() if law.scope == "backend"])
def test_backend_that_does_nothing_fails_every_law(law: str) -> None:
    target = BackendTarget("emptied", open=Emptied, reset=lambda opened: None)
    assert next(failed(law, target), None)


@pytest.mark.parametrize("law", ["BAT-3", "BAT-7", "QRY-8", "TXN-5"])
def test_sound_backend_behind_a_proxy_passes(law: str) -> None:
    assert not list(failed(law, target_of(Faulty)))
