"""The same over real intercepts, where ``LOKI_REAL_INTERCEPTS`` names a file of them."""

import os
from pathlib import Path
from typing import Any

import orjson

from loki_storage import open_storage
from loki_storage.intercepts import Intercept
from tests.intercepts.engine import records, written

FILE = os.environ.get("LOKI_REAL_INTERCEPTS", "")


def lines() -> list[Any]:
    return [orjson.loads(line) for line in Path(FILE).read_bytes().splitlines()]


# Not collected, rather than skipped, where there is no such file: nobody misses it.
if FILE:

    def test_real_ones_come_back() -> None:
        for number, line in enumerate(lines(), 1):
            stored = records(Intercept.from_line(line))
            assert written(stored.report()) == written(line["report"]), number
            assert written(stored.group()) == written(line.get("corrections")), number

    def test_real_ones_come_back_from_a_file_that_stays_small(tmp_path: Path) -> None:
        file, given = tmp_path / "real.db", lines()
        with open_storage(f"sqlite:///{file}") as storage:
            for number, line in enumerate(given, 1):
                with storage.session() as session:
                    recorded = session.record_intercept(Intercept.from_line(line))
                stored = storage.session().get_intercept(recorded.validation.id)
                assert stored is not None
                assert written(stored.to_report()) == written(line["report"]), number
        assert file.stat().st_size / len(given) <= 45_000
