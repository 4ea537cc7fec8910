"""Runs of the kit: verdicts are not vacuous, and failures tell how to see them again."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from loki_storage.memory import MemoryBackend
from loki_storage.query import Query
from loki_storage_contract import (
    LAWS,
    PROFILES,
    BackendTarget,
    CheckResult,
    Profile,
    Waiver,
    run_target,
)
from loki_storage_contract.children import in_processes
from loki_storage_contract.deadlines import Hung
from loki_storage_contract.faults import Proxy
from loki_storage_contract.laws.clients import apply_in_turn
from loki_storage_contract.references import memory_target, sqlite_target
from loki_storage_contract.registry import Check
from loki_storage_contract.runner import Stores, checks_to_run, judge
from loki_storage_contract.store import Store
from loki_storage_contract.verdicts import Cell, Result, verdict_of

SMOKE = PROFILES["smoke"]
TODAY = date(2026, 3, 1)
LAW = LAWS["QRY-3"]


class Unlimited(Proxy):
    """Takes ``limit=0`` for no limit."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend("unlimited"))

    def close(self) -> None:
        self.inner.close()

    def select(self, query: Query) -> Iterator[Any]:
        return self.inner.select(query if query.limit else query.evolve(limit=None))


def run(open: Callable[[], Any] = Unlimited, profile: Profile = SMOKE, **options: Any) -> Result:
    target = BackendTarget("unlimited", open, replay="run {check} of {law} in {profile}")
    return run_target(target, profile, today=TODAY, **options)


def test_failure_tells_place_trace_and_command() -> None:
    result = run(checks=["qry3_nothing_is_asked_for"])
    ((check, failure),) = result.failures
    assert not result.ok
    assert check.laws == ("QRY-3",)
    assert failure.error.startswith("AssertionError: assert ")
    assert failure.place.startswith("loki_storage_contract/laws/queries.py:")
    assert failure.trace[-1] == "backend.select(Query(Tag, 'a', limit=0))"
    assert failure.replay == "run qry3_nothing_is_asked_for of QRY-3 in smoke"
    assert failure.also_on == ()


def test_failure_that_the_references_share_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    select = MemoryBackend.select
    monkeypatch.setattr(
        MemoryBackend,
        "select",
        lambda self, query: select(self, query if query.limit else query.evolve(limit=None)),
    )
    result = run(checks=["qry3_nothing_is_asked_for"])
    assert [failure.also_on for _, failure in result.failures] == [("memory",)]


def test_failure_is_not_blamed_on_references_that_do_not_promise_what_it_needs() -> None:
    """Memory is no store of several processes, so it fails such a check whoever is judged."""
    target = BackendTarget.of_url("forgetful", "memory://forgetful", processes=True)
    result = run_target(target, "ci", checks=["bat6_histories_of_processes_have_some_order"])
    assert [failure.also_on for _, failure in result.failures] == [()]


def test_children_find_what_was_installed_after_others_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_processes(sqlite_target(), apply_in_turn, [[], []]) == [[], []]
    module = tmp_path / "installed_later.py"
    module.write_text("def program(backend, argument): return argument")
    monkeypatch.syspath_prepend(tmp_path)
    program = importlib.import_module(module.stem).program
    assert in_processes(sqlite_target(), program, [1, 2]) == [1, 2]


def test_same_seed_gives_the_same_examples() -> None:
    found = attrs.evolve(PROFILES["ci"], shrink=False)
    checks = ["qry5_any_query_selects_what_it_means"]
    runs = [run(profile=found, checks=checks, seed=7) for _ in range(2)]
    (first, second) = (failure.trace for result in runs for _, failure in result.failures)
    assert first == second


def test_seed_is_part_of_the_command() -> None:
    ((_, failure),) = run(checks=["qry3_nothing_is_asked_for"], seed=7).failures
    assert failure.replay.endswith(" --seed 7")


def test_url_with_a_password_stays_out_of_the_command() -> None:
    target = BackendTarget.of_url("acme", "acme://user:secret@host/db")
    assert "secret" not in target.replay
    assert '--url "$LOKI_STORAGE_URL"' in target.replay


def test_backend_that_cannot_be_opened_fails_everything() -> None:
    def broken() -> Any:
        raise ConnectionRefusedError

    result = run(broken, laws=["QRY-3", "BAT-9"])
    assert [verdict.outcome for verdict in result.verdicts.values()] == ["failed", "failed"]


def test_partial_run_judges_what_was_asked_for() -> None:
    result = run_target(memory_target(), SMOKE, laws=["BAT-9"])
    assert result.ok
    assert result.partial
    assert list(result.verdicts) == ["BAT-9"]


def test_law_that_is_not_known_is_refused() -> None:
    with pytest.raises(KeyError):
        run(laws=["unheard of"])


@pytest.mark.parametrize(("expires", "outcome"), [(TODAY, "waived"), (date(2026, 2, 28), "failed")])
def test_waiver_holds_until_it_expires(expires: date, outcome: str) -> None:
    result = run(laws=["QRY-3"], waivers=[Waiver("QRY-3", "a reason", expires)])
    assert result.verdicts["QRY-3"].outcome == outcome
    assert result.ok is (outcome == "waived")


def test_waiver_needs_a_reason_and_a_day() -> None:
    with pytest.raises(ValueError, match="reason"):
        Waiver("QRY-3", " ", TODAY)
    with pytest.raises(TypeError):
        Waiver("QRY-3", "a reason", None)  # type: ignore[arg-type]


def verdict(*outcomes: Any, law: Any = LAW, missing: tuple[str, ...] = ()) -> Any:
    checks = tuple(
        CheckResult(name=str(n), laws=(law.id,), outcome=outcome, missing=missing)
        for n, outcome in enumerate(outcomes)
    )
    return verdict_of(law, checks, None, TODAY, known=True)


def test_law_that_did_not_run_fails() -> None:
    assert not verdict().ok
    assert verdict().outcome == "not run"
    assert not verdict("passed", "not run").ok


def test_law_of_one_claim_is_not_passed_without_it() -> None:
    durable = LAWS["TXN-6"]
    assert verdict("passed", "not claimed", law=durable, missing=("durable",)).outcome == (
        "not claimed"
    )
    assert verdict("failed", "not claimed", law=durable, missing=("durable",)).outcome == "failed"
    assert verdict("passed", "not claimed", missing=("durable",)).outcome == "passed"


def test_law_about_what_is_not_overridden_is_absent() -> None:
    assert verdict("absent").outcome == "absent"
    assert verdict("absent", "passed").outcome == "passed"
    assert verdict("absent", "failed").outcome == "failed"


def test_result_without_verdicts_is_not_well() -> None:
    assert not Result(target="t", profile="ci", seed=0, checks=(), verdicts={}).ok


def test_cells_add_up_over_checks() -> None:
    one = CheckResult(name="1", laws=(), outcome="passed", cells=(Cell("restore", "ok", 2, True),))
    two = CheckResult(name="2", laws=(), outcome="passed", cells=(Cell("restore", "ok", 3, False),))
    result = Result(target="t", profile="ci", seed=0, checks=(one, two), verdicts={})
    assert result.cells == (Cell("restore", "ok", 5, True),)


class Rare(RuleBasedStateMachine):
    """Something happens only after so many examples."""

    store: ClassVar[Store]
    examples: ClassVar[int]
    after: ClassVar[int]

    @initialize()
    def begin(self) -> None:
        type(self).examples += 1

    @rule()
    def step(self) -> None:
        if type(self).examples > self.after:
            self.store.hit("step", "rare")


@pytest.mark.parametrize(("after", "outcome"), [(25, "passed"), (10**6, "failed")])
def test_machine_runs_again_until_all_has_happened_that_must(after: int, outcome: str) -> None:
    machine = type("Rare", (Rare,), {"examples": 0, "after": after})
    check = Check("rare", ("VER-1",), machine, {}, cells=frozenset({("step", "rare")}))
    profile = attrs.evolve(SMOKE, thorough=True, shrink=False)
    result = judge(memory_target(), check, profile)
    assert result.outcome == outcome
    assert result.failure is None or result.failure.error.endswith("never happened: step: rare")


class Stuck(Proxy):
    """Never answers a count."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend("stuck"))

    def close(self) -> None:
        self.inner.close()

    def count(self, query: Query) -> int:
        Event().wait()
        return 0


def test_backend_that_hangs_fails_and_the_run_goes_on() -> None:
    impatient = attrs.evolve(SMOKE, patience=0.3)
    checks = ["qry8_counts_are_about_all_that_matches", "val2_hostile_texts_are_different_names"]
    result = run(Stuck, impatient, checks=checks)
    ((check, failure),) = result.failures
    assert check.laws == ("QRY-8",)
    assert failure.error == "Hung: nothing came back within 0.3 s"
    assert "Event().wait()" in failure.details
    assert result.verdicts["VAL-2"].outcome == "passed"
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_examples_of_a_property_have_their_time_each() -> None:
    unhurried = attrs.evolve(SMOKE, examples=250, patience=1.5)
    checks = ["qry8_counts_are_those_of_the_stream"]
    assert run_target(memory_target(), unhurried, checks=checks, today=TODAY).ok


def test_less_time_is_given_after_each_that_hung() -> None:
    for before, after in ((60.0, 30.0), (8.0, 5.0), (1.0, 1.0)):
        stores = Stores(memory_target(), before)
        with pytest.raises(Hung), stores.use():
            raise Hung(before)
        assert stores.patience == after


def run_script(code: str) -> str:
    """In a process without other threads, as the command line is one: it forks."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SHARED = """
import json, os
from loki_storage_contract import run_target
from loki_storage_contract.references import memory_target
{setup}
result = run_target(memory_target(), "smoke", laws=["QRY-3", "BAT-9", "VAL-2", "ACC-1"], jobs=2)
print(json.dumps([(check.name, check.outcome, check.examples) for check in result.checks]))
"""


def test_work_that_is_shared_gives_the_same_result() -> None:
    alone = run_target(memory_target(), SMOKE, laws=["QRY-3", "BAT-9", "VAL-2", "ACC-1"])
    shared = json.loads(run_script(SHARED.format(setup="")))
    assert shared == [[check.name, check.outcome, check.examples] for check in alone.checks]


def test_check_that_ends_its_process_fails() -> None:
    setup = """
from loki_storage.memory import MemoryBackend
MemoryBackend.count = lambda self, query: os._exit(7)
"""
    checks = json.loads(run_script(SHARED.format(setup=setup)))
    outcomes = {name: outcome for name, outcome, _ in checks}
    assert outcomes["qry3_nothing_is_asked_for"] == "passed"
    assert "failed" in outcomes.values()


def test_processes_never_share_a_store() -> None:
    with pytest.raises(ValueError, match="one job"):
        run(laws=["QRY-3"], jobs=2)


def test_first_failure_comes_among_the_first_checks() -> None:
    """Scenarios that take milliseconds are run before anything that takes seconds."""
    order = checks_to_run((), (), "ci")
    kinds = [bool(check.drawn) or isinstance(check.function, type) for check in order]
    assert kinds.index(True) > 60
    assert not any("processes" in check.needs for check in order[: kinds.index(True)])
