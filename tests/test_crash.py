"""kill -9 of a writer in mid-ingest: what was acknowledged is whole, nothing is there in part."""

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loki_storage.intercepts import Intercept
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    Validation,
    ValidationResult,
)
from loki_storage.protocol import Count
from loki_storage.query import Query, equals
from loki_storage.samples import open_intercepts
from loki_storage.storage import Session, Storage, open_storage

KILLS = 100

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


def sample_lines() -> list[dict[str, Any]]:
    with open_intercepts() as lines:
        return [json.loads(line) for line in lines]


def numbered(line: dict[str, Any], number: int) -> Intercept:
    """The sample as another client's, so that each one is new."""
    return Intercept.from_line({**line, "client_id": f"client-{number}"})


def write_until_killed(url: str, first: int, acknowledge: int) -> None:
    """The child: record one intercept after the other, and tell each only once it is committed."""
    lines = sample_lines()
    with open_storage(url) as storage:
        for number in range(first, first + 10_000):
            intercept = numbered(lines[number % len(lines)], number)
            storage.run(partial(Session.record_intercept, intercept=intercept))
            os.write(acknowledge, b"%d\n" % number)


def acknowledged_before_kill(url: str, first: int, acks_wanted: int, delay: float) -> list[int]:
    """Fork a writer, kill it in mid-work, and give what it had acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            write_until_killed(url, first, write)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        acks = [int(pipe.readline()) for _ in range(acks_wanted)]
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acks += [int(line) for line in pipe.read().splitlines()]
    return acks


def recorded_parts(storage: Storage, client: str) -> dict[str, int]:
    """What the store holds of one client, kind by kind."""
    backend = storage.backend
    parts = {
        kind.table: backend.count(Query(kind, "default", equals(client_id=client)))
        for kind in (Chain, Document, Validation, ValidationResult, Correction, AuditEntry)
    }
    corrections = Query(Correction, "default", equals(client_id=client))
    ids = [row[0] for row in backend.rows(corrections, ["id"])]
    parts["correction_history"] = sum(
        backend.count(Query(CorrectionHistory, "default", equals(correction_id=id))) for id in ids
    )
    return {name: count for name, count in parts.items() if count}


def expected_parts(intercept: Intercept) -> dict[str, int]:
    corrections = intercept.correction_count
    parts = {
        "document_chains": 1,
        "documents": 1 if intercept.corrected is None else 2,
        "validations": 1,
        "validation_results": intercept.result_count,
        "corrections": corrections,
        "correction_history": corrections,
        "audit_trail": 3 if corrections else 2,
    }
    return {name: count for name, count in parts.items() if count}


@pytest.mark.xdist_group("crash")
def test_every_acknowledged_intercept_is_whole_and_no_other_is_there_in_part(
    tmp_path: Path,
) -> None:
    url, dice = f"sqlite:///{tmp_path / 'loki.db'}", random.Random(4)
    open_storage(url).close()
    lines, first, present = sample_lines(), 0, 0
    for _ in range(KILLS):
        acks = acknowledged_before_kill(url, first, dice.randint(1, 4), dice.uniform(0, 0.02))
        with open_storage(url) as storage:
            for number in range(first, acks[-1] + 2):  # the next one may be there, not half of it
                found = recorded_parts(storage, f"client-{number}")
                whole = expected_parts(numbered(lines[number % len(lines)], number))
                assert found == whole or (not found and number not in acks)
                present += bool(found)
        assert acks == list(range(first, acks[-1] + 1))
        first = acks[-1] + 2
    with open_storage(url) as storage:
        counted = storage.backend.aggregate(Query(Validation, "default"), measures=[Count()])
        assert counted[0].values[0] == present
