"""What exports and backups cost, as ratios against a raw floor in one run.

python benchmarks/exports.py [documents]        20,000 by default

Exports of SQLite by CPU time; backups, and all of PostgreSQL, by the time that passes, with what
disks and the server do. The server is one of its own with its default durability.
"""

import gzip
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count as numbers
from pathlib import Path
from typing import Any

import psycopg
from measure import Ratio, compare, table
from openpyxl import Workbook  # type: ignore[import-untyped]

from loki_storage import Batch, Insert, Query, Storage, open_storage
from loki_storage.backup_manager import BackupManager
from loki_storage.backups.rows import lines_of
from loki_storage.export_manager import ExportManager
from loki_storage.models import KINDS, Chain, Document
from loki_storage.values import canonical
from tests.postgresql.installations import installations
from tests.postgresql.servers import Server, running

WORDS = ("capital at risk", "returns are not guaranteed", "=1+1", "naïve; plain, quoted", "7 %")


def filled(storage: Storage, count: int) -> Storage:
    """The store with documents whose texts have some 600 characters."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    ids = storage.backend.reserve({Chain: count, Document: count})
    pairs = list(zip(ids[Chain], ids[Document], strict=True))
    for start in range(0, count, 500):
        rows: list[Insert] = []
        for root, id in pairs[start : start + 500]:
            time = first + timedelta(seconds=id, microseconds=id % 977)
            text = " ".join(WORDS[(id + n * 3) % len(WORDS)] + f" {id * n}" for n in range(24))
            rows.append(Insert(Chain(id=root, tenant_id="default", client_id="c")))
            rows.append(
                Insert(
                    Document(
                        id=id,
                        tenant_id="default",
                        root_id=root,
                        content_hash=f"{id:064x}",
                        document_type="email",
                        content=text,
                        content_length=len(text),
                        title=f"document {id}",
                        metadata_json=canonical({"region": "EU", "n": id}),
                        client_id="c",
                        created_at=time,
                        updated_at=time,
                    )
                )
            )
        storage.backend.apply(Batch("default", rows))
    return storage


class Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(memoryview(data).cast("B"))


def exports(storage: Storage, path: Path, folder: Path) -> Iterator[Ratio]:
    manager = ExportManager(storage, folder / "exports")
    fields = list(Document.domains)
    columns = ", ".join(fields)
    select = f"SELECT {columns} FROM documents WHERE tenant_id = ? AND is_latest ORDER BY id"

    def raw() -> Callable[[], object]:
        connection = sqlite3.connect(path)

        def read() -> None:
            for _ in connection.execute(select, ("default",)):
                pass

        return read

    def contender(format: str) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            stream: Any = Nowhere()
            return lambda: manager.export_documents(format, None, "bench", stream=stream)

        return make

    yield compare("CSV / raw read", contender("csv"), raw, limit=2.6)
    yield compare("JSONL / raw read", contender("jsonl"), raw, limit=1.8)
    yield compare("rows() / raw read", lambda: lambda: drain(storage), raw)

    def bare() -> Callable[[], object]:
        rows = [
            [str(cell) if isinstance(cell, datetime) else cell for cell in row]
            for row in storage.backend.rows(Query(Document, "default"), fields)
        ]

        def write() -> None:
            workbook = Workbook(write_only=True)
            sheet = workbook.create_sheet()
            for row in rows:
                sheet.append(row)
            workbook.save(Nowhere())

        return write

    yield compare("Excel / bare openpyxl", contender("excel"), bare, rounds=3, limit=1.3)


def drain(storage: Storage) -> None:
    for _ in storage.backend.rows(Query(Document, "default"), list(Document.domains)):
        pass


def backups(storage: Storage, path: Path, folder: Path) -> Iterator[Ratio]:
    manager = BackupManager(storage, folder / "backups")
    storage.backend.copy_file(str(folder / "plain.db"))
    plain = folder / "plain.db"

    def copy() -> Callable[[], object]:
        def run() -> None:
            shutil.copyfile(plain, folder / "copy.db")
            with (folder / "copy.db").open("rb+") as file:
                os.fsync(file.fileno())

        return run

    def zipped() -> Callable[[], object]:
        def run() -> None:
            with plain.open("rb") as source, gzip.open(folder / "copy.gz", "wb", 6) as target:
                shutil.copyfileobj(source, target, 1 << 20)

        return run

    def zipped_rows() -> Callable[[], object]:
        def run() -> None:
            with gzip.open(folder / "rows.gz", "wb", 6) as target:
                for kind in KINDS.values():
                    for block, _ in lines_of(storage.backend, kind, "default"):
                        target.write(block)

        return run

    def native() -> Callable[[], object]:
        return lambda: manager.create_backup("native", native=True)

    def rows() -> Callable[[], object]:
        return lambda: manager.create_backup("rows")

    passing = partial(compare, clock=time.perf_counter)
    yield passing("native backup / file copy", native, copy, rounds=5, limit=3.0)
    yield passing("native backup / gzip -6", native, zipped, rounds=3, limit=0.2)
    yield passing("backup of rows / gzip -6", rows, zipped_rows, rounds=3)
    yield passing("backup of rows / file copy", rows, copy, rounds=3)


def postgresql(server: Server, count: int, folder: Path) -> Iterator[Ratio]:
    passing = partial(compare, clock=time.perf_counter, rounds=5)
    made = numbers(1)

    def database() -> str:
        name = f"bench_{next(made)}"
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name

    def program(name: str, *arguments: str) -> None:
        at = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
        environment = {**os.environ, "PGPASSWORD": server.password}
        path = server.installation.programs / name
        subprocess.run([path, *at, *arguments], env=environment, check=True)

    source, dumped = database(), str(folder / "dump")
    storage = filled(open_storage(server.url(source), create=True), count)
    columns = ", ".join(Document.domains)
    text = f"SELECT {columns} FROM documents WHERE tenant_id = 'default' AND is_latest ORDER BY id"
    manager = ExportManager(storage, folder / "postgresql")
    backup = BackupManager(storage, folder / "postgresql backups")

    def copy() -> Callable[[], object]:
        connection = psycopg.connect(server.url(source))

        def run() -> None:
            with connection.cursor().copy(f"COPY ({text}) TO STDOUT (FORMAT csv)") as lines:
                for _ in lines:
                    pass

        return run

    def export(format: str) -> Callable[[], Callable[[], object]]:
        stream: Any = Nowhere()
        return lambda: lambda: manager.export_documents(format, None, "bench", stream=stream)

    def restore() -> Callable[[], object]:
        target = BackupManager(
            open_storage(server.url(database()), create=True), folder / "postgresql backups"
        )
        return lambda: target.restore_backup("b")

    def pg_restore() -> Callable[[], object]:
        return partial(program, "pg_restore", "-d", database(), dumped)

    def pg_dump() -> Callable[[], object]:
        return partial(program, "pg_dump", "-Fc", "-f", dumped, source)

    yield passing("PostgreSQL: CSV / COPY", export("csv"), copy, limit=1.5)
    yield passing("PostgreSQL: JSONL / COPY", export("jsonl"), copy)
    yield passing(
        "PostgreSQL: backup / pg_dump -Fc",
        lambda: partial(backup.create_backup, "b"),
        pg_dump,
        limit=0.33,
    )
    yield passing("PostgreSQL: restore / pg_restore", restore, pg_restore, limit=1.3)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory(prefix="loki-bench-") as name:
        folder = Path(name)
        path = folder / "loki.db"
        with filled(open_storage(f"sqlite:///{path}", synchronous="NORMAL"), count) as storage:
            print(f"{count:,} documents, {path.stat().st_size / 1e6:.1f} MB, ratios")
            found = [*exports(storage, path, folder), *backups(storage, path, folder)]
        for installation in installations()[:1]:
            with running(installation, {}) as server:
                found += postgresql(server, count, folder)
    print(table(found))
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
