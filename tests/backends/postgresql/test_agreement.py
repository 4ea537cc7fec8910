"""Whatever is done, PostgreSQL, SQLite and memory hold the same afterwards, to the byte.

Ids and times are injected, and so is what else would be random.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings

from loki_storage import Storage, open_storage
from loki_storage.intercepts import Intercept
from loki_storage.models import Kind, Record
from loki_storage.plugins import plugin_manager
from loki_storage.samples import open_intercepts
from tests.intercepts.engine import written
from tests.postgresql.shared import process_url
from tests.programs import PRELUDE, Step, perform, program
from tests.stores import Clock

pytestmark = pytest.mark.postgresql
NUMBERS = itertools.count(1)
REAL = [
    Path(os.environ.get("LOKI_REAL_INTERCEPTS") or "/nowhere"),
    Path(__file__).resolve().parents[4] / "shared" / "data" / "intercepts.jsonl",
]


class FixedIds:
    """Ids of a kind one after the other, from a number that all stores begin with."""

    def __init__(self, first: int) -> None:
        self._next: dict[Kind, int] = {}
        self._first = first

    def take(self, counts: Mapping[Kind, int]) -> dict[Kind, list[int]]:
        taken = {}
        for kind, count in counts.items():
            first = self._next.get(kind, self._first)
            taken[kind] = list(range(first, first + count))
            self._next[kind] = first + count
        return taken


def canonical(records: Sequence[Record]) -> bytes:
    """A dump as bytes: fields by name, JSON as its text."""
    return b"\n".join(
        orjson.dumps([record.table, {f: record.stored(f) for f in record.domains}])
        for record in records
    )


def again(store: Storage, first: int) -> Storage:
    """The same store with a clock and ids that begin where those of the others do."""
    made = Storage(store.backend, plugin_manager().hook, Clock())
    made._leases = FixedIds(first)  # type: ignore[assignment]
    return made


@pytest.fixture(scope="module")
def stores(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Storage]]:
    file = tmp_path_factory.mktemp("agreement") / "loki.db"
    with (
        open_storage("memory://") as memory,
        open_storage(f"sqlite:///{file}", synchronous="NORMAL") as sqlite,
        open_storage(process_url(version, "agreement")) as postgresql,
    ):
        yield [memory, sqlite, postgresql]


class Chance:
    """What request hashes are made of where nobody gives one, the same for each store."""

    def __init__(self) -> None:
        self.thrown = itertools.count()

    def urandom(self, size: int) -> bytes:
        return next(self.thrown).to_bytes(size, "big")


CHANCE = Chance()


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_random() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loki_storage.repositories.validations.os", CHANCE)
        yield


def dumps(stores: Sequence[Storage], work: Callable[[Storage, str], object]) -> list[bytes]:
    """The canonical dump of each store after the same work."""
    number = next(NUMBERS)
    tenant, found = f"agreed {os.getpid()} {number}", []
    for store in stores:
        ours, CHANCE.thrown = again(store, 10_000 * number), itertools.count()
        work(ours, tenant)
        found.append(canonical(list(ours.dump(tenant))))
    return found


@settings(max_examples=40)
@example([("apply_group", 0, 1), ("append", 0, 2), ("revert", 0, 0), ("delete", 0, 0)])
@given(steps=program(14))
def test_generated_programs_leave_equal_stores(
    stores: list[Storage], steps: Sequence[Step]
) -> None:
    def work(storage: Storage, tenant: str) -> None:
        for part in (PRELUDE, steps[: len(steps) // 2], steps[len(steps) // 2 :]):
            with storage.session(tenant=tenant, actor="alice") as session:
                for step in part:
                    perform(session, step)
                    storage._clock.advance(seconds=1)  # type: ignore[attr-defined]

    first, *others = dumps(stores, work)
    assert len(first) > 100
    for other in others:
        assert other == first


def lines_of(name: str) -> list[Any]:
    if name == "samples":
        with open_intercepts() as samples:
            return [orjson.loads(line) for line in samples]
    return [orjson.loads(line) for line in Path(name).read_bytes().splitlines()]


# Whoever has a file of real intercepts beside the checkout tests with it, too.
FILES = ["samples", *{str(path.resolve()): None for path in REAL if path.is_file()}]


@pytest.mark.parametrize("name", FILES, ids=lambda name: Path(name).stem)
def test_intercepts_leave_equal_stores(stores: list[Storage], name: str) -> None:
    """And each comes back as it came in."""
    lines = lines_of(name)

    def work(storage: Storage, tenant: str) -> None:
        for line in lines:
            with storage.session(tenant=tenant) as session:
                recorded = session.record_intercept(Intercept.from_line(line))
            storage._clock.advance(seconds=1)  # type: ignore[attr-defined]
            stored = storage.session(tenant=tenant).get_intercept(recorded.validation.id)
            assert stored is not None
            assert written(stored.to_report()) == written(line["report"])

    first, *others = dumps(stores, work)
    assert len(first) > 1000 * len(lines)
    for other in others:
        assert other == first
