"""pytest's options of the kit, and its suite as a module that can be run from anywhere::

    pytest --pyargs loki_storage_contract.suite --loki-backend acme --loki-url acme://...

pytest loads this at every start of a host that has loki-storage installed: nothing is imported
here that such a host does not need.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from loki_storage_contract.registry import Check
    from loki_storage_contract.target import BackendTarget
    from loki_storage_contract.verdicts import CheckResult

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_pycollect_makemodule",
    "pytest_sessionfinish",
]

_SUITE = Path(__file__).with_name("suite.py")
_OPTIONS = "--loki-backend NAME --loki-url URL --loki-profile smoke --loki-claim durable"
_PROFILE = "LOKI_CONTRACT_PROFILE"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is judged, and how thoroughly."""
    group = parser.getgroup("loki-storage", "contract of loki-storage backends")
    group.addoption("--loki-backend", metavar="NAME", help="The backend to judge.")
    group.addoption(
        "--loki-url", metavar="URL", help="A store of its own: the kit empties it, many times."
    )
    group.addoption(
        "--loki-profile",
        choices=("smoke", "ci", "nightly", "soak"),
        help=f"How much is tried; also for suites of your own. [default: ${_PROFILE} or ci]",
    )
    group.addoption(
        "--loki-claim",
        action="append",
        default=[],
        choices=("durable", "processes"),
        help="What the backend promises, where its plugin does not say so; repeatable.",
    )
    group.addoption(
        "--loki-report",
        metavar="DIR",
        type=Path,
        help="Write report.json, junit.xml, report.md, badge.svg and report.html there.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The profile is told by the environment, so that workers and children have it too."""
    profile = config.getoption("--loki-profile")
    if profile:
        os.environ[_PROFILE] = profile


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> "pytest.Collector | None":
    """The kit's own suite is collected as checks of the chosen backend."""
    if module_path != _SUITE:
        return None
    suite: pytest.Collector = _Suite.from_parent(parent, path=module_path)
    return suite


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports of the kit's own suite, where they were asked for."""
    folder, run = session.config.getoption("--loki-report"), session.config.stash.get(_RUN, None)
    if folder is not None and run is not None:
        run.write(folder)


class _Run:
    """What the suite has found so far."""

    def __init__(self, target: "BackendTarget") -> None:
        self.target, self.results = target, list["CheckResult"]()
        self._started, self._began = datetime.now(UTC), perf_counter()

    def write(self, folder: Path) -> None:
        """A run of some checks is judged by their laws; else a law that did not run has failed."""
        from loki_storage_contract.choosing import subject_of
        from loki_storage_contract.further_laws import ALL_LAWS
        from loki_storage_contract.profiles import chosen
        from loki_storage_contract.reports import report_of, write_reports
        from loki_storage_contract.runner import checks_to_run, result_of

        whole = len(self.results) == len(checks_to_run((), (), chosen()))
        asked = ALL_LAWS if whole else {law for found in self.results for law in found.laws}
        seconds = perf_counter() - self._began
        result = result_of(
            self.target, chosen(), self.results, asked, partial=not whole, seconds=seconds
        )
        write_reports(report_of(result, subject_of(self.target), self._started), folder)


_RUN = pytest.StashKey[_Run]()


class _Suite(pytest.File):
    """Every check of the kit, quick ones first."""

    def collect(self) -> Iterator[pytest.Item]:
        from loki_storage_contract.profiles import chosen
        from loki_storage_contract.runner import checks_to_run

        target = self._target()
        self.config.stash[_RUN] = _Run(target)
        for check in checks_to_run((), (), chosen()):
            item: pytest.Item = _Item.from_parent(self, name=check.name, check=check, target=target)
            yield item

    def _target(self) -> "BackendTarget":
        from loki_storage.errors import StorageError
        from loki_storage_contract.choosing import check_store, choose_target, leave_empty

        option = self.config.getoption
        if hasattr(self.config, "workerinput") and option("--loki-url"):
            raise self.CollectError("workers would empty each other's store; run it with -n 0")
        if hasattr(self.config, "workerinput") and option("--loki-report"):
            raise self.CollectError("a report is of one process's run; run it with -n 0")
        try:
            target = choose_target(
                option("--loki-backend"), option("--loki-url"), option("--loki-claim")
            )
            check_store(target, wipe=option("--loki-url") is None)
        except (StorageError, ValueError) as error:
            raise self.CollectError(f"{error}\noptions: {_OPTIONS}") from error
        self.config.add_cleanup(partial(leave_empty, target))
        return target


class _Item(pytest.Item):
    """One check on the target."""

    def __init__(
        self, *, check: "Check", target: "BackendTarget", parent: Any, name: str, **options: Any
    ) -> None:
        super().__init__(name, parent, **options)
        self._check, self._target = check, target

    def runtest(self) -> None:
        from loki_storage_contract.profiles import chosen
        from loki_storage_contract.runner import judge

        result = judge(self._target, self._check, chosen())
        self.config.stash[_RUN].results.append(result)
        if result.missing:
            pytest.skip(f"not claimed: {', '.join(result.missing)}")
        if result.outcome == "absent":
            pytest.skip("absent: the backend leaves this method to its default")
        if result.outcome != "passed":
            raise _Broken(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, _Broken):
            return "\n".join(excinfo.value.lines())
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self._check.laws[0]} {self.name}"


class _Broken(Exception):
    """A check failed: what is told instead of a traceback through the kit."""

    def __init__(self, result: "CheckResult") -> None:
        super().__init__(result.name)
        self._result = result

    def lines(self) -> Iterator[str]:
        from loki_storage_contract.reports.lines import failure_lines

        yield from failure_lines(self._result)
