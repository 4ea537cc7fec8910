"""Exports of PostgreSQL: killed at every step, and equal to those of another backend."""

import os
from pathlib import Path

import pytest

from tests.exports.test_faults import Steps, check, export, fail, filled, kill
from tests.postgresql.shared import store_url, versions

pytestmark = pytest.mark.postgresql


def new_url() -> str:
    return store_url(versions()[0])


def steps_of_an_export(folder: Path) -> int:
    url, steps = new_url(), Steps(0, fail)
    filled(url)
    assert export(url, folder / "dry", steps) is None
    assert check(url, folder / "dry") == ["completed"]
    return steps.count


@pytest.mark.parametrize("after", [False, True])
def test_kill_at_every_step_leaves_no_file_and_a_log_that_says_why(
    tmp_path: Path, after: bool
) -> None:
    """EXP-3, where the store is another process, which goes on."""
    seen = set()
    for at in range(1, steps_of_an_export(tmp_path) + 1):
        url, folder = new_url(), tmp_path / f"{at}"
        filled(url)
        child = os.fork()
        if child == 0:
            try:
                export(url, folder, Steps(at, kill, after))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 9
        seen |= {tuple(check(url, folder))}
    assert {(), ("failed",), ("completed",)} == seen
