"""The backend: the protocol's four methods, ``prepare``, and one accelerator."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loki_storage.batch import Batch, check
from loki_storage.errors import Unavailable
from loki_storage.models import Kind
from loki_storage.protocol import Backend, Reader
from loki_storage.query import Query
from loki_storage_jsonl.log import Log
from loki_storage_jsonl.rows import Rows, TenantRows

__all__ = ["JsonlBackend"]


class JsonlBackend(Backend):
    """A handle to a directory. Any number of handles, in any number of processes, share one."""

    def __init__(self, folder: Path, compact_after: int) -> None:
        self._log, self._rows, self._threads = Log(folder), Rows(), threading.RLock()
        self._compact_after, self._closed = compact_after, False

    def prepare(self, *, create: bool) -> None:
        """Lay out an empty directory (MIG-1); write a log anew of which much is superseded."""
        with self._current(alone=True, create=create) as rows:
            if not self._log.exists or rows.superseded >= self._compact_after:
                self._log.rewrite(rows.entries())

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        """Lease ids; the next free ones are an entry of the log like any other (BAT-8)."""
        with self._current(alone=True) as rows:
            first = {kind: rows.next_ids.get(kind.table, 1) for kind in counts}
            leased = {kind: range(first[kind], first[kind] + counts[kind]) for kind in counts}
            self._write({"next_ids": {kind.table: ids.stop for kind, ids in leased.items()}})
            return leased

    def select(self, query: Query) -> Iterator[Any]:
        """Answer from memory, as of the first ``next()`` (BAT-7)."""
        self._check_open()
        return self._stream(query)

    def apply(self, batch: Batch) -> None:
        """Judge the batch with the SDK's ``check``, then keep it as one line (BAT-3, BAT-4)."""
        with self._current(alone=True) as rows:
            self._write(rows.entry(check(TenantRows(rows.tables, batch.tenant), batch)))

    def close(self) -> None:
        """Nothing is open between calls; those that come are refused (BAT-9)."""
        self._closed = True

    @contextmanager
    def snapshot(self, tenant: str | None) -> Iterator[Reader]:
        """An accelerator: one moment for many reads."""
        with self._current() as rows:
            copy = rows.copy()
        yield copy

    def _stream(self, query: Query) -> Iterator[Any]:
        with self._current() as rows:
            found = rows.select(query)
        yield from found

    @contextmanager
    def _current(self, *, alone: bool = False, create: bool = False) -> Iterator[Rows]:
        """The rows as of now, under the lock."""
        self._check_open()
        with self._threads, self._log.locked(alone=alone, create=create):
            new, entries = self._log.news()
            if new:
                self._rows = Rows()
            for entry in entries:
                self._rows.replay(entry)
            yield self._rows

    def _write(self, entry: dict[str, Any]) -> None:
        self._log.append(entry)
        self._rows.replay(entry)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("this storage is closed; open it again with open_storage")
