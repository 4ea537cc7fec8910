"""What loki-storage costs on PostgreSQL over raw psycopg, as ratios of wall time in one run.

python benchmarks/postgresql.py [intercepts.jsonl]     without a file: the shipped samples

The floor is psycopg with the very statements and values, on a database of its own, on a server of
its own with its default durability. Everything runs in turn, each round on fresh databases.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from statistics import mean
from typing import Any, TypeVar

import attrs
import orjson
import psycopg
import sqlalchemy as sa
from measure import Ratio, table
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import registry

from loki_storage import Batch, Session, Storage, open_storage
from loki_storage.intercepts import Intercept
from loki_storage.models import Document
from loki_storage.samples import open_intercepts
from loki_storage_postgresql.values import register_values
from loki_storage_sql.tables import schema_for
from tests.postgresql.installations import installations
from tests.postgresql.servers import Server, running

Statement = tuple[str, list[Any]]
ROUNDS = 3
WRITERS, APPENDS = 8, 25
WARM = 15
MANY = 20_000
T = TypeVar("T")


class Databases:
    """New databases with an empty store, copied from one that was migrated."""

    def __init__(self, server: Server) -> None:
        self._server, self._numbers = server, itertools.count()
        open_storage(server.url(self._made("template0")), create=True).close()
        self._template = "bench_0"

    def url(self) -> str:
        return self._server.url(self._made(self._template))

    def _made(self, template: str) -> str:
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return name


@attrs.frozen
class Recorded:
    """What the SDK sent: per unit of work its batch, and its statements that read and write."""

    batch: Batch
    reads: list[Statement]
    writes: list[Statement]


def record(storage: Storage, unit: Callable[[Session], object]) -> Recorded:
    """Run a unit of work, and keep what it sent."""
    backend: Any = storage.backend
    reads: list[Statement] = []
    writes: list[Statement] = []
    batches: list[Batch] = []
    with backend._connected() as connection:
        kind = type(connection)
    execute, apply = kind.execute, backend.apply

    def noted(self: Any, text: str, parameters: Sequence[Any] = ()) -> Any:
        if "id_leases" not in text and "store_settings" not in text:
            (writes if text.startswith("WITH") else reads).append((text, list(parameters)))
        return execute(self, text, parameters)

    def applied(batch: Batch) -> None:
        batches.append(batch)
        apply(batch)

    kind.execute, backend.apply = noted, applied
    try:
        with storage.session() as session:
            unit(session)
    finally:
        kind.execute = execute
        del backend.apply
    return Recorded(batches[0], reads, writes)


def connect(url: str) -> "psycopg.Connection[Any]":
    connection = psycopg.connect(url, autocommit=True, options="-c timezone=UTC")
    register_values(connection)
    return connection


def parsed(statement: Statement) -> tuple[str, list[Any]]:
    """JSON parameters as the rows that whoever writes raw SQL has; they are dumped when sent."""
    text, values = statement
    return text, [
        orjson.loads(value) if isinstance(value, str) and value.startswith('[{"') else value
        for value in values
    ]


def send(connection: Any, text: str, values: Sequence[Any]) -> Any:
    given = [orjson.dumps(v).decode() if type(v) is list else v for v in values]
    return psycopg.RawCursor(connection).execute(text, given)


def replay(connection: Any, units: Sequence[tuple[list[Any], list[Any]]]) -> None:
    """The floor: reads as one pipeline, each write as its one statement."""
    for reads, writes in units:
        if len(reads) == 1:
            send(connection, *reads[0]).fetchall()
        elif reads:
            with connection.pipeline():
                cursors = [send(connection, *read) for read in reads]
            for cursor in cursors:
                cursor.fetchall()
        for write in writes:
            send(connection, *write).fetchone()


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


Units = Sequence[Callable[[], object]]


def compare(
    name: str,
    contender: Callable[[], Units],
    floor: Callable[[], Units],
    limit: float | None = None,
    rounds: int = ROUNDS,
) -> Ratio:
    """Unit by unit in turn, each round on fresh databases; each unit's best round counts.

    On a machine that others use, too, the median of a round tells of the others.
    """
    best: tuple[list[float], list[float]] = ([], [])
    ratios = []
    for _ in range(rounds):
        pair = (contender(), floor())
        times: tuple[list[float], list[float]] = ([], [])
        for number, units in enumerate(zip(*pair, strict=True)):
            for side in (0, 1) if number % 2 else (1, 0):
                times[side].append(timed(units[side]))
        ratios.append(sum(times[0]) / sum(times[1]))
        for side in (0, 1):
            known = best[side] or times[side]
            best[side][:] = map(min, known, times[side])
    return Ratio(name, sum(best[0]) / sum(best[1]), min(ratios), max(ratios), limit)


# --- Intercepts -----------------------------------------------------------------------------------


def read_lines(arguments: Sequence[str]) -> list[Any]:
    if arguments:
        with open(arguments[0], "rb") as file:
            lines = file.read().splitlines()
    else:
        with open_intercepts() as samples:
            lines = [line.encode() for line in samples]
    seen: dict[str, Any] = {}
    for line in map(orjson.loads, lines):
        seen.setdefault(line["document"], line)
    return list(seen.values())


def intercept_ratios(databases: Databases, lines: Sequence[Any]) -> Iterator[Ratio]:
    intercepts = [Intercept.from_line(line) for line in lines]
    units = [partial(_record, intercept) for intercept in intercepts]
    template = databases.url()
    with open_storage(template) as storage:
        recorded = [record(storage, unit) for unit in units]
    size = (_bytes(template) - _bytes(databases.url())) / len(units)
    both = [([parsed(s) for s in r.reads], [parsed(s) for s in r.writes]) for r in recorded]
    writes: list[Any] = [([], unit_writes) for _, unit_writes in both]

    def raw(units: Any) -> Units:
        connection = connect(databases.url())
        return [partial(replay, connection, [unit]) for unit in units]

    def warm() -> Storage:
        storage = open_storage(databases.url())
        storage.backend.ping()
        return storage

    def apply() -> Units:
        storage = warm()
        return [partial(storage.backend.apply, one.batch) for one in recorded]

    def whole() -> Units:
        storage = warm()
        return [partial(storage.run, unit) for unit in units]

    yield compare("floor against itself", partial(raw, both), partial(raw, list(both)))
    yield compare("apply an intercept's batch / raw", apply, partial(raw, writes), 1.3)
    yield compare("record an intercept / raw reads and write", whole, partial(raw, both), 1.3)
    rows = _orm_rows(template, recorded)
    orm = partial(_orm, databases, rows)
    yield compare("record / ORM with a flush per object", whole, orm, 0.25, rounds=2)
    yield Ratio("KB on disk per intercept", size / 1000, size / 1000, size / 1000, 55.0)


def _record(intercept: Intercept, session: Session) -> object:
    return session.record_intercept(intercept)


def _bytes(url: str) -> float:
    """Tables, indexes and texts."""
    total = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE relkind = 'r' "
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            f"{total} AND relnamespace = 'public'::regnamespace".encode()
        ).fetchone()
    assert found is not None
    return float(found[0])


def _orm_rows(url: str, recorded: Sequence[Recorded]) -> list[list[tuple[str, dict[str, Any]]]]:
    """The rows of each unit, table by table, parents first; findings where they are first used."""
    rows, seen = [], set()
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        for one in recorded:
            mine: list[tuple[str, dict[str, Any]]] = []
            for kind, inserted in one.batch.inserts.items():
                name = "gate_results" if kind.table == "validation_results" else kind.table
                text = f"SELECT * FROM {name} WHERE id = ANY(%s)".encode()
                for row in connection.execute(text, [list(inserted.ids)]):
                    finding = row.get("finding_id")
                    if finding is not None and finding not in seen:
                        seen.add(finding)
                        by_id = b"SELECT * FROM gate_findings WHERE id = %s"
                        mine += [("gate_findings", r) for r in connection.execute(by_id, [finding])]
                    mine.append((name, row))
            order = [table.name for table in schema_for("postgresql").metadata.sorted_tables]
            rows.append(sorted(mine, key=lambda pair: (order.index(pair[0]), pair[1]["id"])))
    return rows


def _orm(databases: Databases, rows: Any) -> Units:
    mapper, classes = registry(), {}
    for name, each in schema_for("postgresql").metadata.tables.items():
        classes[name] = type(name, (), {})
        mapper.map_imperatively(classes[name], each)
    engine = sa.create_engine(databases.url().replace("postgresql:", "postgresql+psycopg:"))

    def write(unit: Any) -> None:
        with OrmSession(engine) as session:
            for name, row in unit:
                made = classes[name]()
                for field, value in row.items():
                    setattr(made, field, value)
                session.add(made)
                session.flush()
            session.commit()

    return [partial(write, unit) for unit in rows]


# --- Documents ------------------------------------------------------------------------------------


def document_ratios(databases: Databases) -> Iterator[Ratio]:
    def create(number: int, session: Session, **options: Any) -> object:
        return session.documents.create_document(f"text {number} " * 20, "email", "acme", **options)

    with open_storage(databases.url()) as storage:
        recorded = [record(storage, partial(create, n, on_duplicate="allow")) for n in range(400)]
        ids = [one.batch.operations[0].id for one in recorded]
    writes: list[Any] = [([], [parsed(s) for s in one.writes]) for one in recorded]

    def raw() -> Units:
        connection = connect(databases.url())
        return [partial(replay, connection, [unit]) for unit in writes]

    def apply() -> Units:
        storage = open_storage(databases.url())
        storage.backend.ping()
        return [partial(storage.backend.apply, one.batch) for one in recorded]

    def whole() -> Units:
        storage = open_storage(databases.url())
        storage.backend.ping()
        units = [partial(create, n, on_duplicate="allow") for n in range(len(recorded))]
        return [partial(storage.run, unit) for unit in units]

    yield compare("apply a document's batch / raw", apply, raw, 1.4)
    yield compare("create_document / raw write", whole, raw)
    yield _reading(databases, create, len(ids))


def _reading(databases: Databases, create: Any, count: int) -> Ratio:
    url = databases.url()
    storage, connection = open_storage(url), connect(url)
    ids = [storage.run(partial(create, number)).id for number in range(count)] * 5
    columns = ", ".join(schema_for("postgresql").metadata.tables["documents"].columns.keys())
    text = f"SELECT {columns} FROM documents WHERE tenant_id = $1 AND id = $2"

    def raw() -> Units:
        def read(id: int) -> object:
            return psycopg.RawCursor(connection).execute(text, ["default", id]).fetchone()

        return [partial(read, id) for id in ids]

    def get() -> Units:
        session = storage.session(read_only=True)
        return [partial(session.documents.get_by_id, id) for id in ids]

    return compare("get_by_id / raw select", get, raw, 2.5)


# --- Many documents -------------------------------------------------------------------------------


def bulk_ratios(databases: Databases) -> Iterator[Ratio]:
    given = [
        {"content": f"text {n} " * 30, "document_type": "email", "client_id": "acme"}
        for n in range(MANY)
    ]

    def create(session: Session) -> None:
        session.documents.create_documents(given)

    url, batches = databases.url(), []
    with open_storage(url) as storage:
        apply = storage.backend.apply
        storage.backend.apply = lambda batch: (batches.append(batch), apply(batch))[1]  # type: ignore[method-assign,func-returns-value]
        storage.run(create, timeout=120)
    rows: dict[str, list[Any]] = {}
    with connect(url) as connection:
        for name in ("document_chains", "documents", "audit_trail"):
            text = f"SELECT * FROM {name}".encode()
            rows[name] = connection.execute(text).fetchall()

    def raw() -> Units:
        connection = connect(databases.url())

        def copy() -> None:
            with connection.transaction(), connection.cursor() as cursor:
                for name, each in rows.items():
                    with cursor.copy(f"COPY {name} FROM STDIN".encode()) as copying:
                        for row in each:
                            copying.write_row(row)

        return [copy]

    def built() -> Units:
        storage = open_storage(databases.url())
        storage.backend.ping()
        return [lambda: [storage.backend.apply(batch) for batch in batches]]

    def texts() -> Units:
        storage = open_storage(databases.url())
        storage.backend.ping()
        return [lambda: storage.run(create, timeout=120)]

    yield compare(f"apply {MANY} documents / COPY", built, raw, 1.3, rounds=3)
    yield compare(f"create_documents of {MANY} / COPY", texts, raw, 2.3, rounds=3)


# --- Several writers ------------------------------------------------------------------------------
#
# Threads of one process on both sides, with connections and statements that are warm.


def writer_ratios(databases: Databases) -> Iterator[Ratio]:
    waits: list[list[float]] = []
    appending = partial(_appending, databases)
    retrying = partial(_retrying, databases)
    yield compare(
        "8 writers of one document / raw retry",
        partial(appending, waits, same=True),
        partial(retrying, same=True),
        1 / 0.9,
    )
    shares = [max(each) / mean(each) for each in waits]
    yield Ratio("longest wait / mean wait", max(shares), min(shares), max(shares), 20)
    yield compare(
        "8 writers of 8 documents / the same without run",
        partial(appending, [], same=False),
        partial(appending, [], same=False, run=_in_session),
        1 / 0.9,
    )
    yield compare(
        "8 writers of 8 documents / raw",
        partial(appending, [], same=False),
        partial(retrying, same=False),
    )


def _in_session(storage: Storage, unit: Callable[[Session], object]) -> None:
    with storage.session() as session:
        unit(session)


def _appending(
    databases: Databases,
    waits: list[list[float]],
    *,
    same: bool,
    run: Callable[..., object] = Storage.run,
) -> Units:
    storage = open_storage(databases.url(), pool_size=WRITERS)
    roots, own, ready = _roots(storage), _roots(storage), threading.Barrier(WRITERS)

    def append(root: int, session: Session) -> object:
        head = session.documents.get_latest_version(root)
        assert head is not None
        return session.documents.create_version(head.id, f"{head.version}")

    def warm(number: int) -> None:
        backend: Any = storage.backend
        with backend._connected():
            ready.wait()  # so that each has another connection
        for _ in range(WARM):
            storage.run(partial(append, own[number]))
        storage.run(lambda session: session.new_ids({Document: 2 * APPENDS}))

    def writer(number: int) -> list[float]:
        root = roots[0 if same else number]
        return [timed(lambda: run(storage, partial(append, root))) for _ in range(APPENDS)]

    _together(warm)
    return [lambda: waits.append(list(itertools.chain.from_iterable(_together(writer))))]


def _roots(storage: Storage) -> list[int]:
    def create(number: int, session: Session) -> Any:
        return session.documents.create_document(f"{number}", "email", "c", on_duplicate="allow")

    return [storage.run(partial(create, number)).id for number in range(WRITERS)]


_HEAD = """
SELECT {}, revision FROM documents AS d JOIN document_chains AS c
    ON c.tenant_id = d.tenant_id AND c.id = d.root_id
WHERE d.tenant_id = 'default' AND d.root_id = $1 AND d.is_latest
"""
_VERSION = """
WITH moved AS (
    UPDATE documents SET is_latest = false, updated_at = now()
    WHERE tenant_id = 'default' AND id = $2 RETURNING 1
), added AS (
    INSERT INTO documents (tenant_id, id, root_id, parent_id, version, content_hash, document_type,
        content_length, client_id, is_latest, created_at, updated_at, is_deleted, content)
    SELECT 'default', $1, $3, $2, $4, $5, 'email', 1, 'c', true, now(), now(), false, $6
    WHERE (SELECT count(*) FROM moved) = 1 RETURNING 1
), revised AS (
    UPDATE document_chains SET revision = $8
    WHERE tenant_id = 'default' AND id = $3 AND (SELECT count(*) FROM added) = 1
)
INSERT INTO audit_trail (tenant_id, id, action, entity_type, actor_id, actor_type, timestamp,
    client_id, changes) VALUES ('default', $1, 'version', 'document', 'a', 'user', now(), 'c', $7)
"""


def _retrying(databases: Databases, *, same: bool) -> Units:
    """Raw: read the head, insert the next number, and again where the unique key is taken."""
    url = databases.url()
    with open_storage(url) as storage:
        roots, own = _roots(storage), _roots(storage)
    ids, lock = itertools.count(100_000), threading.Lock()
    connections = [connect(url) for _ in range(WRITERS)]
    names = list(schema_for("postgresql").metadata.tables["documents"].columns.keys())
    text = _HEAD.format(", ".join(f"d.{name}" for name in names))
    names.append("revision")

    def append(connection: Any, root: int) -> None:
        while True:
            row = psycopg.RawCursor(connection).execute(text, [root]).fetchone()
            if row is None:
                continue
            head = dict(zip(names, row, strict=True))
            with lock:
                id = next(ids)
            told = [{"kind": "documents", "op": "insert", "ids": [[id, id]]}]
            changes = orjson.dumps({"rows": told, "fields": []}).decode()
            content = str(head["version"])
            hashed = sha256(content.encode()).hexdigest()
            values = [id, head["id"], root, head["version"] + 1, hashed, content, changes]
            try:
                psycopg.RawCursor(connection).execute(_VERSION, [*values, head["revision"] + 1])
            except psycopg.errors.UniqueViolation:
                continue
            return

    def warm(number: int) -> None:
        for _ in range(WARM):
            append(connections[number], own[number])

    def writer(number: int) -> None:
        root = roots[0 if same else number]
        for _ in range(APPENDS):
            append(connections[number], root)

    _together(warm)
    return [partial(_together, writer)]


def _together(writer: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(writer, range(WRITERS)))


def main() -> int:
    with running(installations()[0], {}) as server:
        databases = Databases(server)
        ratios: list[Ratio] = []
        parts: list[Callable[[], Iterator[Ratio]]] = [
            lambda: intercept_ratios(databases, read_lines(sys.argv[1:])),
            lambda: document_ratios(databases),
            lambda: bulk_ratios(databases),
            lambda: writer_ratios(databases),
        ]
        for ratio in itertools.chain.from_iterable(part() for part in parts):
            print(table([ratio]), flush=True)
            ratios.append(ratio)
        print(f"\n{table(ratios)}")
    return 0 if all(ratio.passed for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
