"""Exports, backups and restores that are wrong: fewer rows, other values, half a restore."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from loki_storage.batch import Batch, Update
from loki_storage.models import Document, ExportLog, Kind, Record, Tag
from loki_storage.protocol import Backend, Reader
from loki_storage.query import Query
from loki_storage.rows import Rows
from loki_storage_contract.faulty.catalogue import Faulty, breaks

__all__: list[str] = []

Fields = Sequence[str]
Row = tuple[Any, ...]


class _Passing(Faulty):
    """Passes snapshots and restores on, where the fault is somewhere else."""

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        with self.inner.snapshot(tenant) as reader:
            yield reader

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        self.inner.restore(rows, check, replace=replace, allow=allow)


@breaks("BAK-2", over=("memory", "sqlite"))
class SnapshotIsLive(_Passing):
    """A snapshot shows what is stored at each read."""

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        yield self.inner


class _Late(Reader):
    """Takes the moment of each kind when that is first read."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._held = backend, dict[Kind, list[Any]]()

    def select(self, query: Query) -> Iterator[Any]:
        return self._backend.select(query)


@breaks("EXP-1")
class SnapshotOfEachTable(_Passing):
    """A snapshot takes the moment of each table when that is first read."""

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        yield _Late(self.inner)


@breaks("EXP-1")
class RowsOfEveryTenant(Faulty):
    """``rows`` read across tenants."""

    def rows(self, query: Query, fields: Fields) -> Iterator[Row]:
        plain = query.evolve(tenant=None) if query.kind is Document else query
        return super().rows(plain, fields)


@breaks("EXP-1", over=("memory", "sqlite"))
class RowsLoseTheLast(Faulty):
    """``rows`` end one row early."""

    def rows(self, query: Query, fields: Fields) -> Iterator[Row]:
        found = list(super().rows(query, fields))
        return iter(found[:-1] if len(found) > 1 else found)


class _Changing(Faulty):
    """Gives other values in ``rows``, which exports read, and the right ones elsewhere."""

    def changed(self, value: Any) -> Any:
        return value

    def rows(self, query: Query, fields: Fields) -> Iterator[Row]:
        for row in super().rows(query, fields):
            yield tuple(map(self.changed, row))


@breaks("EXP-2")
class RowsCutMicroseconds(_Changing):
    """``rows`` give times in whole seconds."""

    def changed(self, value: Any) -> Any:
        return value.replace(microsecond=0) if isinstance(value, datetime) else value


@breaks("EXP-2")
class RowsGiveEmptyTextAsNull(_Changing):
    """``rows`` give the empty text as NULL."""

    def changed(self, value: Any) -> Any:
        return None if value == "" else value


@breaks("EXP-2")
class RowsNormalizeLineEnds(_Changing):
    """``rows`` give a carriage return as a line feed."""

    def changed(self, value: Any) -> Any:
        plain = type(value) is str and "\r" in value
        return value.replace("\r\n", "\n").replace("\r", "\n") if plain else value


@breaks("EXP-3", over=("memory", "sqlite"))
class ForgetsTheHash(Faulty):
    """What an export's file is is not stored with its log."""

    def apply(self, batch: Batch) -> None:
        super().apply(Batch(batch.tenant, [_without(op, "file_hash") for op in batch.operations]))


@breaks("EXP-3")
class ForgetsFailures(Faulty):
    """Why an export has failed is not stored with its log."""

    def apply(self, batch: Batch) -> None:
        kept = [_without(op, "error_message") for op in batch.operations]
        super().apply(Batch(batch.tenant, kept))


def _without(operation: Any, field: str) -> Any:
    if not isinstance(operation, Update) or operation.kind is not ExportLog:
        return operation
    changes = {name: value for name, value in operation.changes.items() if name != field}
    return Update(operation.kind, operation.id, changes, operation.guard)


@breaks("BAK-1", over=("memory", "sqlite"))
class DumpsNoInternalKinds(Faulty):
    """A dump leaves out what users do not see."""

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        return (row for row in super().dump(tenant) if not row.internal)


@breaks("BAK-1")
class LoadsNoDeletedRows(Faulty):
    """``load`` leaves soft-deleted rows out."""

    def load(self, records: Iterable[Record]) -> None:
        super().load(row for row in records if not getattr(row, "is_deleted", False))


@breaks("BAK-3")
class RestoreKeepsWhatWasThere(_Passing):
    """A restore adds its rows to those that are there."""

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        known = {(type(row), row.id) for row in self.inner.dump()}
        new = [row for part in rows for row in part if (type(row), row.id) not in known]
        if known and not replace:
            self.inner.restore(iter(()), check)
        self.inner.load(new)
        check(self.inner)


@breaks("BAK-3", over=("memory", "sqlite"))
class RestoreIgnoresTheCheck(_Passing):
    """A restore is done, whatever the check says of it."""

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        self.inner.restore(rows, lambda reader: None, replace=replace, allow=allow)
        check(self.inner)


@breaks("BAK-3")
class RestoreReplacesUnasked(_Passing):
    """A restore takes the place of what is there, whether that was asked for or not."""

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        self.inner.restore(rows, check, replace=True, allow=allow)


@breaks("BAK-3", over=("memory", "sqlite"))
class RestoreAsksNobody(_Passing):
    """A restore replaces what is there without asking whether it may."""

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        self.inner.restore(rows, check, replace=replace)


@breaks("BAK-3")
class RestoreDropsTags(_Passing):
    """A restore leaves a table out."""

    def restore(
        self,
        rows: Iterable[Rows[Any]],
        check: Callable[[Reader], object],
        *,
        replace: bool = False,
        allow: Callable[[Reader], object] | None = None,
    ) -> None:
        kept = (part for part in rows if part.kind is not Tag)
        self.inner.restore(kept, check, replace=replace, allow=allow)
