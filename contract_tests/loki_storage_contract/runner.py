"""Runs the kit against a target, without pytest as a host: a ``Result`` comes back.

    result = run_target(BackendTarget.of_url("acme", "acme://..."), "ci")
    assert result.ok

Scenarios come first: the first failure of a backend that is being written appears within seconds.
An example that hangs fails, and the run goes on.
"""

import multiprocessing
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import attrs
import pytest
from hypothesis import given, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import loki_storage_contract.laws  # noqa: F401 - registers the checks
from loki_storage_contract.deadlines import Hung, deadline
from loki_storage_contract.forks import Ended, Tell, forked
from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.inventory import BACKEND
from loki_storage_contract.profiles import PROFILES, Profile
from loki_storage_contract.references import references_before
from loki_storage_contract.registry import CHECKS, Check, checks_of
from loki_storage_contract.store import Store
from loki_storage_contract.target import BackendTarget
from loki_storage_contract.trace import Trace, overrides
from loki_storage_contract.verdicts import (
    Cell,
    CheckResult,
    Failure,
    Outcome,
    Result,
    Waiver,
    verdict_of,
)

__all__ = [
    "FAILURES",
    "Trial",
    "checks_to_run",
    "effort",
    "judge",
    "result_of",
    "run_check",
    "run_target",
]

FAILURES = (Exception, pytest.fail.Exception, Hung)
"""What a check raises when it fails; the last two are no ``Exception``."""
CLAIMS = ("durable", "processes")
ROUNDS = 5
"""How often a state machine runs at most, until all has happened that must."""
LEAST_PATIENCE = 5.0
"""Seconds that an example may take even where others hung before it."""


def run_target(
    target: BackendTarget,
    profile: Profile | str = "ci",
    *,
    laws: Collection[str] = (),
    checks: Collection[str] = (),
    seed: int | None = None,
    waivers: Iterable[Waiver] = (),
    today: date | None = None,
    jobs: int = 1,
    tell: Callable[[CheckResult], None] = lambda result: None,
) -> Result:
    """Judge a target: of all laws, or of some, or by some checks.

    ``seed`` repeats a run of a random profile; ``jobs``: how many processes share the work, where
    the target is ``fresh`` in each; ``tell`` is called after each check. Raises ``KeyError`` for an
    unknown profile, law or check, ``ValueError`` for jobs that would share one store, never for
    anything that the target does.
    """
    chosen = (PROFILES[profile] if isinstance(profile, str) else profile).seeded(seed)
    started = perf_counter()
    to_run = checks_to_run(laws, checks, chosen)
    found: dict[str, CheckResult] = {}
    for result in _judged(target, to_run, chosen, jobs):
        found[result.name] = result
        tell(result)
    results = [found[check.name] for check in to_run]
    asked = laws or ({law for r in results for law in r.laws} if checks else ALL_LAWS)
    seconds = perf_counter() - started
    return result_of(
        target,
        chosen,
        results,
        asked,
        partial=bool(laws or checks),
        waivers=waivers,
        today=today,
        seconds=seconds,
    )


def result_of(
    target: BackendTarget,
    profile: Profile,
    results: Sequence[CheckResult],
    asked: Collection[str],
    *,
    partial: bool,
    waivers: Iterable[Waiver] = (),
    today: date | None = None,
    seconds: float = 0.0,
) -> Result:
    """The verdicts about the laws that were ``asked`` for, from what came of the checks."""
    waived = {waiver.law: waiver for waiver in waivers}
    _known(waived)
    day = today or datetime.now(UTC).date()
    return Result(
        target=target.name,
        profile=profile.name,
        seed=profile.seed,
        checks=tuple(results),
        verdicts={
            law.id: verdict_of(
                law, tuple(results), waived.get(law.id), day, known=bool(checks_of(law.id))
            )
            for law in ALL_LAWS.values()
            if law.id in asked
        },
        partial=partial,
        claims=tuple(claim for claim in CLAIMS if target.claims(claim)),
        overrides=_overrides_of(target),
        seconds=seconds,
    )


def checks_to_run(
    laws: Collection[str], checks: Collection[str], profile: Profile | str
) -> list[Check]:
    """The checks to run, quick ones first; what is asked for by name runs in every profile.

    Raises ``KeyError`` for an unknown profile, law or check.
    """
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    _known(laws)
    named = [CHECKS[name] for name in checks] or list(CHECKS.values())
    found = [check for check in named if not laws or not set(laws).isdisjoint(check.laws)]
    quick = [check for check in found if profile.includes(check.needs, exhaustive=check.exhaustive)]
    return sorted(found if checks else quick, key=effort)


def _known(laws: Iterable[str]) -> None:
    for law in laws:
        if law not in ALL_LAWS:
            raise KeyError(law)


def effort(check: Check) -> int:
    """What to run first: scenarios, and among them laws that a backend can break.

    Where a batch does not do what it should, nearly everything else fails as well: what is told
    first should be the cause. What takes longest stands before the last properties, so that
    processes that share the work end at about the same time.
    """
    above = ALL_LAWS[check.laws[0]].scope != BACKEND
    if isinstance(check.function, type):
        return 3
    if "processes" in check.needs:
        return 4
    return (5 if above else 1) if check.drawn or check.exhaustive else (2 if above else 0)


def _judged(
    target: BackendTarget, checks: list[Check], profile: Profile, jobs: int
) -> Iterator[CheckResult]:
    """The results as they come."""
    if jobs > 1:
        yield from _side_by_side(target, checks, profile, jobs)
        return
    with Stores(target, profile.patience) as stores:
        for check in checks:
            yield judge(target, check, profile, stores)


def _side_by_side(
    target: BackendTarget, checks: list[Check], profile: Profile, jobs: int
) -> Iterator[CheckResult]:
    """By several processes, each with a store of its own: whoever is free takes the next check."""
    if target.fresh is None:
        raise ValueError("processes would empty each other's store; run it with one job")
    taken, missing = multiprocessing.get_context("fork").Value("i", 0), {c.name: c for c in checks}
    codes = []
    for _, told in forked([partial(_work, target, checks, profile, taken)] * jobs, jobs):
        if isinstance(told, Ended):
            codes.append(told.code)
        else:
            del missing[told.name]
            yield told
    for check in missing.values():
        yield _lost(target, check, profile, f"its process ended (exit codes {codes})")


def _work(
    target: BackendTarget, checks: list[Check], profile: Profile, taken: Any, tell: Tell
) -> None:
    assert target.fresh is not None
    own = target.fresh()
    with Stores(own, profile.patience) as stores:
        while True:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= len(checks):
                return
            tell(judge(own, checks[number], profile, stores))


def _lost(target: BackendTarget, check: Check, profile: Profile, error: str) -> CheckResult:
    """A check that took its process along: a crash in native code, or ``os._exit``."""
    failure = Failure(
        error=error, place="", trace=(), replay=_replay(Trial(target, check, profile))
    )
    return CheckResult(name=check.name, laws=check.laws, outcome="failed", failure=failure)


def _overrides_of(target: BackendTarget) -> tuple[str, ...]:
    try:
        backend = target.open()
    except Exception:
        return ()  # every check has failed with this error already
    try:
        return overrides(backend)
    finally:
        backend.close()


class Stores:
    """The target's store, opened once for many checks; anew after one that failed."""

    def __init__(self, target: BackendTarget, patience: float) -> None:
        self._target = target
        self._store: Store | None = None
        self.patience = patience
        """Seconds until an example counts as hung: less after one that did, or a backend that never
        answers would take hours."""

    @contextmanager
    def use(self) -> Iterator[Store]:
        """The store, for one check."""
        if self._store is None:
            self._store = Store(self._target)
        else:
            self._store.renew()
        try:
            yield self._store
        except Hung:
            self.patience = min(self.patience, max(self.patience / 2, LEAST_PATIENCE))
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, whatever state it is in."""
        store, self._store = self._store, None
        if store is not None:
            with suppress(*FAILURES):  # what broke has been told by the check
                store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@attrs.define
class Trial:
    """One check on one target: what it tried, also where it fails."""

    target: BackendTarget
    check: Check
    profile: Profile
    examples: int = 0
    overridden: bool = False
    cells: tuple[Cell, ...] = ()
    trace: Trace = attrs.field(factory=Trace)
    stores: Stores | None = None
    _begin: Callable[[], None] = lambda: None
    """Begins an example's time anew."""

    def run(self) -> None:
        """Raises what the check or Hypothesis raises; ``Hung`` where an example does not end."""
        if self.stores is None:
            with Stores(self.target, self.profile.patience) as stores:
                self._run_on(stores)
        else:
            self._run_on(self.stores)
        self._check_cells()

    def _run_on(self, stores: Stores) -> None:
        with deadline(stores.patience) as self._begin, stores.use() as store:
            self.trace = store.trace
            self.overridden = self.check.derived in overrides(store.backend)
            try:
                self._run(store)
            finally:
                self.cells = self._cells(store)

    def _run(self, store: Store) -> None:
        check, chosen = self.check, self.profile.settings(self.check.share)
        begin = self.profile.seed_of(check.name)
        if isinstance(check.function, type):
            self._run_machine(check.function, store, begin, chosen)
        elif check.drawn:
            seed(begin)(chosen(given(**check.drawn)(self._example(store))))()
        else:
            store.reset()
            self.examples = 1
            check.function(store)

    def _run_machine(self, machine: type, store: Store, begin: int, chosen: settings) -> None:
        """Again from another seed where something that must happen did not: that may be chance.

        Which examples a seed stands for differs among versions of Hypothesis.
        """
        bound = self._counted(type(machine.__name__, (machine,), {"store": store}))
        for number in range(ROUNDS):
            run_state_machine_as_test(seed(begin + number)(bound), settings=chosen)
            if not (self.profile.thorough and any(cell.missing for cell in self._cells(store))):
                return

    def _counted(self, machine: type) -> type:
        """The machine, each of whose examples is counted."""
        trial = self

        class Counted(machine):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                trial._begin()
                trial.examples += 1

        return Counted

    def _example(self, store: Store) -> Callable[..., None]:
        def example(**drawn: object) -> None:
            self._begin()
            store.reset()
            self.examples += 1
            self.check.function(store, **drawn)

        # Hypothesis derives the key of its example database from the name.
        example.__name__ = example.__qualname__ = f"{self.target.name}_{self.check.name}"
        return example

    def _cells(self, store: Store) -> tuple[Cell, ...]:
        named = sorted({*store.hits, *self.check.cells})
        return tuple(Cell(*cell, store.hits[cell], cell in self.check.cells) for cell in named)

    def _check_cells(self) -> None:
        """A rule that never came to an outcome which it must have was not tested."""
        missing = [f"{cell.rule}: {cell.outcome}" for cell in self.cells if cell.missing]
        assert not (missing and self.profile.thorough), f"never happened: {', '.join(missing)}"


def run_check(target: BackendTarget, check: Check, profile: Profile) -> None:
    """Run one check on a target; raises what it or Hypothesis raises, with trace and replay."""
    trial = Trial(target, check, profile)
    try:
        trial.run()
    except FAILURES as error:
        lines = [*trial.trace.lines(), f"replay: {_replay(trial)}"]
        error.add_note("\n".join(lines))
        raise


def judge(
    target: BackendTarget, check: Check, profile: Profile, stores: Stores | None = None
) -> CheckResult:
    """What comes of one check on a target; ``stores`` is shared by those of one run.

    A failure is first looked for on the reference backends, and made small there: they are quicker,
    and what they fail too is not the target's fault.
    """
    missing = _missing(target, check)
    if missing:
        return CheckResult(name=check.name, laws=check.laws, outcome="not claimed", missing=missing)
    references = _references(target, check) if profile.shrink else []
    first = attrs.evolve(profile, shrink=False) if references else profile
    started = perf_counter()
    trial = Trial(target, check, first, stores=stores)
    error = _error_of(trial)
    failure = None if error is None else _failure(trial, error, profile, references)
    return CheckResult(
        name=check.name,
        laws=check.laws,
        outcome=_outcome(trial, error),
        examples=trial.examples,
        seconds=perf_counter() - started,
        cells=trial.cells,
        failure=failure,
    )


def _missing(target: BackendTarget, check: Check) -> tuple[str, ...]:
    return tuple(claim for claim in check.needs if not target.claims(claim))


def _references(target: BackendTarget, check: Check) -> list[BackendTarget]:
    """The reference backends that promise what the check needs: others fail it, rightly."""
    return [each for each in references_before(target) if not _missing(each, check)]


def _error_of(trial: Trial) -> BaseException | None:
    try:
        trial.run()
    except FAILURES as error:
        return error
    return None


def _outcome(trial: Trial, error: BaseException | None) -> Outcome:
    if error is not None:
        return "failed"
    if not trial.examples:
        return "not run"
    about = trial.check.derived
    return "passed" if about is None or trial.overridden else "absent"


def _failure(
    trial: Trial, error: BaseException, profile: Profile, references: list[BackendTarget]
) -> Failure:
    """The failure, as small as it can be made; one that hangs is told as it is."""
    if isinstance(error, Hung):
        references = []
    again = [Trial(reference, trial.check, profile) for reference in references]
    errors = {same.target.name: (same, found) for same in again if (found := _error_of(same))}
    if errors:
        smallest, error = next(iter(errors.values()))
    else:
        smallest = Trial(trial.target, trial.check, profile) if references else trial
        shrunk = _error_of(smallest) if references else error
        # A race need not be lost twice: then the first failure is told as it was.
        smallest, error = (trial, error) if shrunk is None else (smallest, shrunk)
    return Failure(
        error=_told(error),
        place=_place(error),
        trace=smallest.trace.lines(),
        replay=_replay(trial),
        also_on=tuple(errors),
        details="".join(traceback.format_exception(error)),
    )


def _replay(trial: Trial) -> str:
    values = {"check": trial.check.name, "profile": trial.profile.name, "law": trial.check.laws[0]}
    command = trial.target.replay.format(**values)
    return command if not trial.profile.seed else f"{command} --seed {trial.profile.seed}"


def _told(error: BaseException) -> str:
    """The error's type and first line; an assertion without a message is its source line."""
    message = str(error).strip().partition("\n")[0]
    if not message and (frames := traceback.extract_tb(error.__traceback__)):
        message = frames[-1].line or ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _place(error: BaseException) -> str:
    """Where in a check it happened, and where it was raised if that is not in the kit."""
    kit, frames = Path(__file__).parent, traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if kit in Path(f.filename).parents and "trace.py" not in f.filename]
    if not ours:
        return ""
    place = f"{Path(ours[-1].filename).relative_to(kit.parent).as_posix()}:{ours[-1].lineno}"
    raised = Path(frames[-1].filename)
    if kit in raised.parents:
        return place
    return f"{place} (raised in {raised.parent.name}/{raised.name}:{frames[-1].lineno})"
