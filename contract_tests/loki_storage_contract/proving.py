"""Proves the kit: each faulty backend, in a fresh process, is found by its own law run alone.

Odd but correct backends must pass everything. What comes out is the kill matrix, law x fault.
``python -m loki_storage_contract.proving`` imports the kit once, and forks for each fault.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, Literal

import attrs

from loki_storage_contract.faulty import FAULTS, ODD, odd_target
from loki_storage_contract.forks import Ended, Tell, forked
from loki_storage_contract.inventory import BACKEND, LAWS
from loki_storage_contract.profiles import PROFILES
from loki_storage_contract.registry import CHECKS, checks_of
from loki_storage_contract.runner import Stores, effort, judge
from loki_storage_contract.target import BackendTarget

__all__ = ["Mode", "Proof", "Proofs", "names", "prove"]

Mode = Literal["own", "every", "others"]
"""Which checks a fault meets: those of its own law, until one fails; one by one those of every law;
or all but those of its own law, until one fails."""
TIMEOUT = 900
"""Seconds until a process is ended; a fault that makes the kit itself hang is not found."""
PATIENCE = 20.0
"""Seconds until an example counts as hung."""


@attrs.frozen(kw_only=True)
class Proof:
    """What the kit said about one faulty or odd backend."""

    name: str
    law: str | None
    """The law that must find the fault; None for an odd backend, which nothing must find."""
    base: str
    text: str
    mode: Mode
    failed: tuple[str, ...]
    """The checks that failed."""
    seconds: float
    error: str = ""
    """What the process said where it broke down."""

    @property
    def ok(self) -> bool:
        """Whether the kit did what it must: find a fault, let an odd backend pass."""
        if self.error:
            return False
        return not self.failed if self.law is None or self.mode == "others" else bool(self._own)

    @property
    def _own(self) -> list[str]:
        return [name for name in self.failed if self.law in CHECKS[name].laws]

    def line(self) -> str:
        """The fault, the law that must find it, and whether it did."""
        wanted, mark = self.law or "must pass", "ok" if self.ok else "FAILED"
        return f"{mark:6} {wanted:9} {self.name:38} {self.base:6} {self.text}"

    @property
    def killed_by(self) -> tuple[str, ...]:
        """The laws of the checks that failed."""
        return tuple(law for law in LAWS if any(law in CHECKS[name].laws for name in self.failed))


@attrs.frozen(kw_only=True)
class Proofs:
    """The kill matrix."""

    proofs: tuple[Proof, ...]
    seconds: float
    part: str = "1/1"

    @property
    def ok(self) -> bool:
        """Whether every fault was found by its law, and no odd backend by any."""
        return bool(self.proofs) and all(proof.ok for proof in self.proofs)

    @property
    def survivors(self) -> list[Proof]:
        """What the kit got wrong."""
        return [proof for proof in self.proofs if not proof.ok]

    def as_json(self) -> dict[str, Any]:
        """The matrix as data, without times, so that equal runs give equal files."""
        return {
            "part": self.part,
            "faults": len([proof for proof in self.proofs if proof.law is not None]),
            "killed": len([proof for proof in self.proofs if proof.law is not None and proof.ok]),
            "ok": self.ok,
            "matrix": [
                {
                    "name": proof.name,
                    "law": proof.law,
                    "base": proof.base,
                    "text": proof.text,
                    "ok": proof.ok,
                    "killed_by": list(proof.killed_by),
                    "checks": list(proof.failed),
                }
                for proof in self.proofs
            ],
        }

    def as_text(self) -> str:
        """The matrix for people: a line per fault, laws as they found it."""
        return "\n".join([*(proof.line() for proof in self.proofs), "", self.summary()])

    def summary(self) -> str:
        """One line."""
        faults = [proof for proof in self.proofs if proof.law is not None]
        killed = sum(proof.ok for proof in faults)
        odd = [proof for proof in self.proofs if proof.law is None]
        passed = sum(proof.ok for proof in odd)
        return (
            f"{killed} of {len(faults)} faults killed by their own law, {passed} of {len(odd)} odd "
            f"backends pass ({self.seconds:.0f} s)"
        )


def names(part: str = "1/1") -> list[str]:
    """Faults and odd backends of part K of N (``"2/4"``): every N-th; else ``ValueError``."""
    number, _, of = part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError("a part is K/N, with K from 1 to N")
    return [*FAULTS, *ODD][int(number) - 1 :: int(of)]


def prove(
    chosen: Iterable[str] = (),
    *,
    part: str = "1/1",
    mode: Mode = "own",
    profile: str = "ci",
    jobs: int | None = None,
    tell: Callable[[Proof], None] = lambda proof: None,
) -> Proofs:
    """Prove these faults and odd backends, or those of a part; ``tell`` is called after each.

    ``KeyError`` for an unknown name.
    """
    wanted = list(chosen) or names(part)
    for name in wanted:
        _law_of(name)
    started = perf_counter()
    found: dict[str, Proof] = {}
    for name, told in _answers(wanted, mode, profile, jobs or os.cpu_count() or 1):
        found[name] = _proof(name, mode, **told)
        tell(found[name])
    lost = "the process that proves ended before"
    proofs = [found.get(name) or _proof(name, mode, (), 0.0, lost) for name in wanted]
    return Proofs(proofs=tuple(proofs), seconds=perf_counter() - started, part=part)


def _law_of(name: str) -> str | None:
    if name in ODD:
        return None
    return FAULTS[name].law


def _proof(name: str, mode: Mode, failed: Sequence[str], seconds: float, error: str) -> Proof:
    fault = FAULTS.get(name)
    return Proof(
        name=name,
        law=_law_of(name),
        base="memory" if fault is None else fault.base,
        text=(ODD[name].__doc__ or "").partition("\n")[0] if fault is None else fault.text,
        mode=mode,
        failed=tuple(failed),
        seconds=seconds,
        error=error,
    )


def _answers(
    wanted: Sequence[str], mode: Mode, profile: str, jobs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What comes of each, as it comes. The process that forks has no threads and no tests in it."""
    asked = [mode, profile, str(jobs), *wanted]
    command = [sys.executable, "-m", "loki_storage_contract.proving", *asked]
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                name, told = json.loads(line)
                yield name, told
        finally:
            process.terminate()


def _serve(mode: Mode, profile: str, jobs: int, wanted: Sequence[str]) -> None:
    """A line of JSON for each fault, when its process has ended."""
    programs = [partial(_prove_one, name, mode, profile) for name in wanted]
    answers: dict[int, dict[str, Any]] = {}
    for number, told in forked(programs, jobs, TIMEOUT):
        if isinstance(told, Ended):
            answer = answers.pop(number, None) or _broken(told)
            print(json.dumps([wanted[number], answer]), flush=True)
        else:
            answers[number] = told


def _broken(ended: Ended) -> dict[str, Any]:
    late = f"it did not end within {TIMEOUT} s"
    error = late if ended.code is None else f"its process ended with exit code {ended.code}"
    return {"failed": (), "seconds": 0.0, "error": error}


def _prove_one(name: str, mode: Mode, profile: str, tell: Tell) -> None:
    started, law = perf_counter(), _law_of(name)
    target = odd_target(name) if law is None else FAULTS[name].target()
    failed: list[str] = []
    try:
        failing = _failing(target, law, mode, profile)
        failed += failing if law is None or mode == "every" else islice(failing, 1)
        error = ""
    except Exception:
        error = traceback.format_exc()
    tell({"failed": failed, "seconds": perf_counter() - started, "error": error})


def _failing(target: BackendTarget, law: str | None, mode: Mode, profile: str) -> Iterator[str]:
    """The checks that the target fails, one after the other, quick ones first."""
    if law is None:
        asked: Sequence[Any] = list(CHECKS.values())
    elif mode == "own":
        asked = checks_of(law)
    else:
        asked = [c for c in CHECKS.values() if mode == "every" or law not in c.laws]
    chosen = attrs.evolve(PROFILES[profile], shrink=False, patience=PATIENCE)
    with Stores(target, PATIENCE) as stores:
        for check in sorted(asked, key=effort):
            wanted = mode == "own" or chosen.includes(check.needs, exhaustive=check.exhaustive)
            if wanted and judge(target, check, chosen, stores).outcome == "failed":
                yield check.name


def untested_laws() -> list[str]:
    """The backend laws that could be taken out of the kit without any fault staying alive."""
    told = {fault.law for fault in FAULTS.values()}
    return [law.id for law in LAWS.values() if law.scope == BACKEND and law.id not in told]


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])  # type: ignore[arg-type]
