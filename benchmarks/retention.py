"""What a run of retention costs against a bare batched DELETE, in one process and one run.

    python benchmarks/retention.py [documents]

Two equal SQLite stores are filled; one is emptied by ``RetentionManager.run``, the other by DELETE
statements on the same tables in commits of as many documents, with the same PRAGMAs; a third time
with an audit entry per document, which the law asks for (AUD-1). Told: rates, their ratio, the
memory that the run adds, and the longest time that a batch holds the write lock, for small
documents and for one of 5,000 rows, against that of recording an intercept; on PostgreSQL how long
a writer's commits take beside a run in another process, beside bare DELETE there, and alone.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from statistics import median, quantiles
from typing import Any

import psycopg

from loki_storage import Intercept, open_storage
from loki_storage.batch import Batch, Insert
from loki_storage.models import Chain, Document
from loki_storage.retention import RetentionManager
from loki_storage.rules.documents import content_hash
from loki_storage.samples import open_intercepts
from loki_storage.storage import Storage
from tests.postgresql.installations import installations
from tests.postgresql.servers import running

OLD = datetime(2020, 1, 1, tzinfo=UTC)
PER_BATCH = 130
"""Documents that a batch of the run takes: three rows each, 400 rows."""


def fill(storage: Storage, number: int) -> None:
    """So many documents of one version and 280 characters."""
    backend = storage.backend
    for start in range(0, number, 1000):
        count = min(1000, number - start)
        ids = backend.reserve({Document: count})[Document]
        batch = []
        for id in ids:
            text = f"{id} {'x' * 270}"
            batch += [
                Insert(Chain(id=id, tenant_id="default", client_id="c")),
                Insert(
                    Document(
                        id=id,
                        tenant_id="default",
                        root_id=id,
                        content=text,
                        content_hash=content_hash(text),
                        content_length=len(text),
                        document_type="email",
                        client_id="c",
                        created_at=OLD,
                        updated_at=OLD,
                    )
                ),
            ]
        backend.apply(Batch("default", batch))


AUDIT = """INSERT INTO audit_trail (id, tenant_id, document_id, action, entity_type, entity_id,
    actor_id, actor_type, timestamp, client_id, changes, metadata_json)
    VALUES (1000000 + ?1, 'default', ?1, 'purge', 'document', ?1, 'system', 'system', 1, 'c',
    '{"rows":[{"kind":"documents","op":"delete","ids":[[1,1]]}],"fields":[]}',
    '{"policy":"old","reason":"due","run":1,"plan":"0123456789abcdef0123456789abcdef"}')"""


def bare_delete(path: Path, audited: bool) -> float:
    """Seconds of CPU to delete all by statement, children first."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA synchronous=FULL")
    ids = [id for (id,) in connection.execute("SELECT id FROM document_chains ORDER BY id")]
    began = time.process_time()
    for start in range(0, len(ids), PER_BATCH):
        part = [(id,) for id in ids[start : start + PER_BATCH]]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM documents WHERE root_id = ?", part)
        connection.executemany("DELETE FROM document_chains WHERE id = ?", part)
        if audited:
            connection.executemany(AUDIT, part)
        connection.execute("COMMIT")
    spent = time.process_time() - began
    connection.close()
    return spent


def peak() -> int:
    """The process's largest resident size so far, in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


class Locks:
    """Notes how long each batch holds the write lock: from BEGIN IMMEDIATE to the commit's end."""

    def __init__(self, storage: Storage) -> None:
        self.held: list[float] = []
        backend: Any = storage.backend
        begin, commit = backend._begin, backend._commit

        def begun(connection: Any) -> None:
            begin(connection)
            self._since = time.perf_counter()

        def committed(connection: Any) -> None:
            commit(connection)
            self.held.append(time.perf_counter() - self._since)

        backend._begin, backend._commit = begun, committed

    def told(self) -> str:
        ordered = sorted(self.held)
        return (
            f"{ordered[-1] * 1000:8.1f} ms, median {median(ordered) * 1000:.1f} of {len(ordered)}"
        )


def clock() -> datetime:
    return OLD + timedelta(days=100)


def intercepts() -> Iterator[Intercept]:
    import json

    with open_intercepts() as lines:
        for line in lines:
            data = json.loads(line)
            yield Intercept.from_report(
                data["document"],
                data["document_type"],
                "c",
                data["report"],
                data.get("corrections"),
            )


def small_documents(folder: Path, number: int) -> None:
    stores = [folder / name for name in ("run.db", "bare.db", "told.db")]
    for path in stores:
        with open_storage(f"sqlite:///{path}", clock=clock) as storage:
            fill(storage, number)
    bare, told = bare_delete(stores[1], False), bare_delete(stores[2], True)
    with open_storage(f"sqlite:///{stores[0]}", clock=clock) as storage:
        with storage.session() as session:
            session.retention.create("old", "document", "delete", 30)
        manager, locks = RetentionManager(storage), Locks(storage)
        before, began = peak(), time.process_time()
        plan = manager.preview()
        planned = time.process_time() - began
        report = manager.run(plan)
        spent = time.process_time() - began
        assert report.affected == number
    print(f"{number:,} documents of 2 rows, CPU time:")
    print(f"  bare DELETE      {number / bare:10,.0f} /s")
    print(f"  bare and audited {number / told:10,.0f} /s   {bare / told:.2f} of bare")
    print(f"  preview and run  {number / spent:10,.0f} /s   {bare / spent:.2f} of bare")
    print(
        f"  run alone        {number / (spent - planned):10,.0f} /s   "
        f"{bare / (spent - planned):.2f} of bare"
    )
    print(f"  memory added     {(peak() - before) / 1024:10.1f} MB")
    print(f"  lock held        {locks.told()}")


def large_document(folder: Path) -> None:
    path = folder / "large.db"
    with open_storage(f"sqlite:///{path}", clock=lambda: OLD) as storage:
        locks = Locks(storage)
        recorded = 0
        with storage.session() as session:
            document = session.documents.create_document("large", "email", "c")
        for _ in range(27):
            with storage.session() as session:
                validation = session.validations.create_validation(document.id, ["m"], "c")
                session.validations.start_validation(validation.id)
                results = [
                    {
                        "scope": "module",
                        "gate_key": f"m.g{n}",
                        "status": "pass",
                        "message": f"message {n}",
                        "evidence": {"n": n},
                    }
                    for n in range(184)
                ]
                session.validations.add_results(validation.id, results)
                session.validations.complete_validation(validation.id)
        locks.held.clear()
        for intercept in intercepts():
            with storage.session() as session:
                session.record_intercept(intercept)
                recorded += 1
        one = locks
        with storage.session() as session:
            session.retention.create("old", "document", "delete", 30)
    with open_storage(f"sqlite:///{path}", clock=clock) as storage:
        locks = Locks(storage)
        RetentionManager(storage).run()
    rows = 1 + 27 * 185 + 1
    longest, typical = max(locks.held), median(one.held)
    print(f"one document of {rows:,} rows, and {recorded} intercepts; the write lock is held:")
    print(f"  recording one    {one.told()}   (some 200 rows)")
    print(f"  deleting it      {locks.told()}")
    print(
        f"  per 200 rows     {longest / typical / (rows / 200):8.2f} of recording one (at most 3)"
    )


# --- PostgreSQL: a writer beside a run ------------------------------------------------------------

ALONE = 10.0
"""Seconds for which the writer is measured without a run."""
PACE = 0.005


def beside_a_run(number: int) -> None:
    """A writer's p99 beside a process that deletes: by retention, by bare DELETE, or not at all."""
    with running(installations()[0], {}) as server:
        url = server.url()
        with open_storage(url, create=True) as storage:
            with storage.session() as session:
                session.retention.create("old", "document", "delete", 30)
            writes = {"alone": write(storage, lambda since: since < ALONE)}
            for mode in ("--run", "--bare"):
                fill(storage, number)
                other = subprocess.Popen([sys.executable, __file__, mode, url])
                writes[mode] = write(storage, lambda since: other.poll() is None)  # noqa: B023
                assert other.returncode == 0
    p99 = {mode: quantiles(each, n=100)[98] for mode, each in writes.items()}
    print(f"PostgreSQL, {number:,} documents are deleted while a writer writes every 5 ms; p99:")
    for mode, text in (("alone", "alone"), ("--run", "beside a run"), ("--bare", "beside DELETE")):
        ratio = p99[mode] / p99["alone"]
        print(f"  {text:<14} {p99[mode] * 1000:8.2f} ms of {len(writes[mode]):,}   {ratio:.2f}")


def write(storage: Storage, go_on: Callable[[float], bool]) -> list[float]:
    """Seconds of each write."""
    found: list[float] = []
    start = time.perf_counter()
    while go_on(time.perf_counter() - start):
        began = time.perf_counter()
        with storage.session() as session:
            session.documents.create_document(token_hex(100), "email", "writer")
        found.append(time.perf_counter() - began)
        time.sleep(PACE)
    return found


def run_only(url: str) -> None:
    with open_storage(url) as storage:
        began = time.perf_counter()
        report = RetentionManager(storage).run()
        print(f"  {report.affected / (time.perf_counter() - began):,.0f} documents a second")


def bare_only(url: str) -> None:
    """The same rows by plain DELETE in commits of as many documents."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id FROM document_chains WHERE client_id = 'c'")
        ids = [id for (id,) in rows]
        began = time.perf_counter()
        for start in range(0, len(ids), PER_BATCH):
            part = [ids[start : start + PER_BATCH]]
            connection.execute("DELETE FROM documents WHERE root_id = ANY(%s)", part)
            connection.execute("DELETE FROM document_chains WHERE id = ANY(%s)", part)
            connection.commit()
        print(f"  {len(ids) / (time.perf_counter() - began):,.0f} documents a second by DELETE")


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run_only(sys.argv[2])
        return
    if sys.argv[1:2] == ["--bare"]:
        bare_only(sys.argv[2])
        return
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        small_documents(Path(folder), number)
        large_document(Path(folder))
    beside_a_run(min(number, 20_000))


if __name__ == "__main__":
    main()
