"""PostgreSQL in a test run: ``--without-postgresql``, one server per version, what did not run.

Tests that need one carry the marker ``postgresql``. Where none can be had they are not run, the
summary says so, and the run fails, unless it was told ``--without-postgresql``.
"""

from __future__ import annotations  # older versions of pytest export fewer types

from collections.abc import Generator
from importlib.metadata import entry_points

import pytest

from tests.postgresql.shared import TestRun, versions

NOT_RUN = pytest.StashKey[int]()
RUN = pytest.StashKey[TestRun]()
OPTION = "--without-postgresql"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="do not run what needs PostgreSQL")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgresql: needs a PostgreSQL server")
    if not entry_points(group="loki_storage", name="postgresql"):
        raise pytest.UsageError(
            "the installation is older than pyproject.toml: python3 dev.py lint"
        )
    config.stash[NOT_RUN] = 0
    if not _is_worker(config):
        config.stash[RUN] = TestRun()


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(RUN, None):
        run.end()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if versions() and not config.getoption(OPTION):
        return
    left_out = [item for item in items if item.get_closest_marker("postgresql")]
    config.stash[NOT_RUN] = len(left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("postgresql")]


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    config = session.config
    if _is_worker(config):
        config.workeroutput["postgresql_not_run"] = config.stash[NOT_RUN]  # type: ignore[attr-defined]
    result = yield
    if config.stash[NOT_RUN] and not config.getoption(OPTION) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController, error: object) -> None:  # type: ignore[name-defined]  # noqa: F821
    output = getattr(node, "workeroutput", {})
    stash = node.config.stash
    stash[NOT_RUN] = max(stash[NOT_RUN], output.get("postgresql_not_run", 0))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if count := config.stash[NOT_RUN]:
        told = config.getoption(OPTION)
        why = f"{OPTION} was given" if told else f"there is none; pass {OPTION} if that is right"
        terminalreporter.section("PostgreSQL: NOT RUN", red=not told, yellow=bool(told))
        terminalreporter.line(f"{count} tests that need PostgreSQL were not run: {why}.")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
