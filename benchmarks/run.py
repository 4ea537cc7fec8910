"""What loki-storage costs over the raw driver, as ratios of CPU time in one run.

python benchmarks/run.py [intercepts.jsonl]        without a file: the shipped samples
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import orjson
from floor import Written, connect, create, ddl_of, plain_rows, plain_schema, read_batches, write
from measure import Ratio, compare, table

from loki_storage import Batch, Insert, Query, Session, Storage, open_storage
from loki_storage.intercepts import Intercept
from loki_storage.models import Document, ValidationResult
from loki_storage.samples import open_intercepts

PHYSICAL = {"validation_results": "gate_results"}


@attrs.frozen
class Input:
    """The intercepts to write, with distinct texts, as lines and mapped; what they come to."""

    lines: list[bytes]
    intercepts: list[Intercept]
    batches: list[Batch]
    ddl: list[str]
    written: list[Written]
    plain: list[Written]
    bytes_each: float


class Folder:
    """Numbered database files in a temporary folder."""

    def __init__(self, path: Path) -> None:
        self._path, self._numbers = path, itertools.count()

    def file(self) -> Path:
        return self._path / f"{next(self._numbers)}.db"


def read_lines(arguments: Sequence[str]) -> list[bytes]:
    if arguments:
        lines = Path(arguments[0]).read_bytes().splitlines()
    else:
        with open_intercepts() as samples:
            lines = [line.encode() for line in samples]
    seen: dict[str, bytes] = {}
    for line in lines:
        seen.setdefault(json.loads(line)["document"], line)
    return list(seen.values())


def prepare(lines: list[bytes], folder: Folder) -> Input:
    """Record once, keep the batches, and read back what they left in the tables."""
    intercepts = [Intercept.from_line(orjson.loads(line)) for line in lines]
    path = folder.file()
    batches: list[Batch] = []
    with open_storage(f"sqlite:///{path}") as storage:
        keep(storage, batches)
        for intercept in intercepts:
            storage.run(recorder(intercept))
    inserted = [inserted_ids(batch) for batch in batches]
    written = read_batches(path, inserted)
    size = path.stat().st_size
    plain = [plain_rows(path, batch) for batch in written]
    return Input(lines, intercepts, batches, ddl_of(path), written, plain, size / len(lines))


def keep(storage: Storage, batches: list[Batch]) -> None:
    """Note each batch on its way to the backend."""
    apply = storage.backend.apply

    def noted(batch: Batch) -> None:
        batches.append(batch)
        apply(batch)

    storage.backend.apply = noted  # type: ignore[method-assign]


def inserted_ids(batch: Batch) -> dict[str, list[int]]:
    ids: dict[str, list[int]] = {}
    for operation in batch.operations:
        assert isinstance(operation, Insert), "distinct texts bring insertions only"
        name = operation.kind.table
        ids.setdefault(PHYSICAL.get(name, name), []).append(operation.id)
    order = ["document_chains", "documents", "validations", "gate_results", "corrections"]
    return dict(sorted(ids.items(), key=lambda item: (*order, item[0]).index(item[0])))


def recorder(intercept: Intercept) -> Callable[[Session], object]:
    return lambda session: session.record_intercept(intercept)


def fresh(folder: Folder) -> Storage:
    """A new store, its connection and statements warm, as in a service that runs."""
    storage = open_storage(f"sqlite:///{folder.file()}")
    storage.backend.ping()
    return storage


def write_path(data: Input, folder: Folder) -> Iterator[Ratio]:
    def floor_of(ddl: list[str], written: list[Written]) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            connection = create(folder.file(), ddl)
            return lambda: write(connection, written)

        return make

    floor = floor_of(data.ddl, data.written)
    plain = floor_of(plain_schema(data.ddl, "pruned"), data.plain)

    def apply() -> Callable[[], object]:
        storage = fresh(folder)
        return lambda: [storage.backend.apply(batch) for batch in data.batches]

    def record() -> Callable[[], object]:
        storage = fresh(folder)
        return lambda: [storage.run(recorder(intercept)) for intercept in data.intercepts]

    def from_line() -> Callable[[], object]:
        storage = fresh(folder)
        return lambda: [
            storage.run(recorder(Intercept.from_line(orjson.loads(line)))) for line in data.lines
        ]

    yield compare("floor against itself", floor, floor)
    yield compare("apply a built batch / floor", apply, floor, limit=1.2)
    yield compare("record a mapped intercept / floor", record, floor, limit=1.5)
    yield compare("line to committed / floor", from_line, floor, limit=1.8)
    yield compare("line to committed / plain layout", from_line, plain, limit=0.8)


def read_path(data: Input, folder: Folder) -> Iterator[Ratio]:
    path = folder.file()
    storage = open_storage(f"sqlite:///{path}")
    for intercept in data.intercepts:
        storage.run(recorder(intercept))
    ids = [row[0] for row in storage.backend.rows(Query(Document, "default"), ["id"])] * 20
    raw = connect(path)

    def get() -> Callable[[], object]:
        session = storage.session()
        return lambda: [session.documents.get_by_id(id, include_deleted=True) for id in ids]

    def raw_get() -> Callable[[], object]:
        sql = "SELECT * FROM documents WHERE tenant_id = ? AND id = ?"
        return lambda: [raw.execute(sql, ("default", id)).fetchone() for id in ids]

    def stream() -> Callable[[], object]:
        query = Query(ValidationResult, "default")
        return lambda: consume(storage.stream(query))

    def raw_stream() -> Callable[[], object]:
        sql = "SELECT * FROM validation_results WHERE tenant_id = ? ORDER BY id"
        return lambda: consume(raw.execute(sql, ("default",)))

    yield compare("get_by_id / raw select", get, raw_get, limit=2.5)
    yield compare("stream results / raw select", stream, raw_stream, limit=2.0)
    storage.close()


def consume(rows: Iterator[Any]) -> None:
    for _ in rows:
        pass


def wal_bytes(path: Path, ddl: list[str], written: list[Written]) -> int:
    """Bytes that writing all batches appends to the write-ahead log."""
    connection = create(path, ddl)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    write(connection, written)
    return Path(f"{path}-wal").stat().st_size


def sdk_wal_bytes(data: Input, folder: Folder) -> int:
    """The same through ``apply``; a reader's open transaction keeps the log from starting anew."""
    path = folder.file()
    storage = open_storage(f"sqlite:///{path}")
    watcher = connect(path)
    watcher.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    watcher.execute("BEGIN")
    watcher.execute("SELECT count(*) FROM documents").fetchone()
    for batch in data.batches:
        storage.backend.apply(batch)
    size = Path(f"{path}-wal").stat().st_size
    watcher.close()
    storage.close()
    return size


def sizes(data: Input, folder: Folder) -> list[str]:
    literal = wal_bytes(folder.file(), plain_schema(data.ddl, "literal"), data.plain)
    ours = sdk_wal_bytes(data, folder)
    rows = sum(batch.count for batch in data.written)
    each = len(data.batches)
    return [
        f"{each} intercepts, {rows} rows ({rows / each:.0f} each)",
        f"on disk per intercept        {data.bytes_each / 1000:6.1f} KB  at most 45",
        f"log per intercept            {ours / each / 1000:6.1f} KB",
        f"log, plain layout as listed  {literal / each / 1000:6.1f} KB"
        f"  ratio {ours / literal:.2f}  at most 0.3",
    ]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        data = prepare(read_lines(sys.argv[1:]), folder)
        ratios = [*write_path(data, folder), *read_path(data, folder)]
        print(table(ratios))
        print("\n".join(sizes(data, folder)))
    return 0 if all(ratio.passed for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
