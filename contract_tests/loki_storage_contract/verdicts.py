"""What a run of the kit found: plain values, from which every report is made.

A ``Result`` is one target under one profile. It holds a ``CheckResult`` per check that was asked
for and a ``Verdict`` per law; ``ok`` says whether the target passed. Nothing here runs anything,
and nothing here needs Hypothesis or pytest.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Literal

import attrs

from loki_storage_contract.inventory import BACKEND, Law

__all__ = [
    "Cell",
    "CheckResult",
    "Failure",
    "Outcome",
    "Result",
    "Verdict",
    "Waiver",
    "verdict_of",
]

Outcome = Literal["passed", "failed", "waived", "absent", "not claimed", "not run"]
"""``absent``: about a derived method that the backend does not override. ``not claimed``: it needs
something that the target does not claim. ``not run``: no check of it ran, which is a failure."""


def _text(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not value.strip():
        raise ValueError(f"a waiver needs its {attribute.name}")


@attrs.frozen
class Waiver:
    """A law that a backend is known to break, for a stated reason and until a day.

    Raises ``ValueError`` without a law or a reason.
    """

    law: str = attrs.field(validator=_text)
    reason: str = attrs.field(validator=_text)
    expires: date = attrs.field(validator=attrs.validators.instance_of(date))
    """The last day on which it holds (UTC)."""

    def holds(self, today: date) -> bool:
        """Whether it has not expired."""
        return today <= self.expires


@attrs.frozen(kw_only=True)
class Failure:
    """Why a check failed, and how to see it again."""

    error: str
    """The error's type and message; for a bare assertion, its source line."""
    place: str
    """``file:line`` of the check where it happened, as one finds it in the kit."""
    trace: tuple[str, ...]
    """The shrunk trace: the calls of the public API that lead to it, in order."""
    replay: str
    """One command that shows it again."""
    also_on: tuple[str, ...] = ()
    """The reference backends that fail in the same way: then it is not the backend's fault."""
    details: str = ""
    """The traceback."""


@attrs.frozen
class Cell:
    """How often a rule of a state machine had an outcome: "ok", "unchanged" or an error's name."""

    rule: str
    outcome: str
    hits: int
    required: bool

    @property
    def missing(self) -> bool:
        """Whether it had to occur and never did."""
        return self.required and not self.hits


@attrs.frozen(kw_only=True)
class CheckResult:
    """What came of one check."""

    name: str
    laws: tuple[str, ...]
    outcome: Outcome
    """Never ``waived``: laws are waived, not checks."""
    examples: int = 0
    """How many examples were tried; 1 for a scenario."""
    seconds: float = 0.0
    cells: tuple[Cell, ...] = ()
    missing: tuple[str, ...] = ()
    """The claims that the target does not make."""
    failure: Failure | None = None


@attrs.frozen(kw_only=True)
class Verdict:
    """What came of a law: of all its checks together."""

    law: Law
    outcome: Outcome
    required: bool
    """Whether the target fails where this law is not run. A law of the SDK that other tests of
    this project show, and no check of the kit, is not required."""
    checks: tuple[str, ...] = ()
    """The checks that ran."""
    unclaimed: tuple[str, ...] = ()
    """Checks that were left out because the target does not claim what they need."""
    examples: int = 0
    seconds: float = 0.0
    waiver: Waiver | None = None
    """Also an expired one, which changes nothing, and one of a law that passes."""
    failures: tuple[Failure, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the target may pass with it."""
        if self.outcome == "not run":
            return not self.required
        return self.outcome != "failed"


@attrs.frozen(kw_only=True)
class Result:
    """A target under a profile."""

    target: str
    profile: str
    seed: int
    checks: tuple[CheckResult, ...]
    verdicts: Mapping[str, Verdict]
    """By law, in the order of the inventory. Of a partial run: of the laws that were asked for."""
    partial: bool = False
    """Whether only some laws or checks were asked for."""
    claims: tuple[str, ...] = ()
    """What the target claims."""
    overrides: tuple[str, ...] = ()
    """The derived methods that the backend overrides."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every law holds, is waived, or needs what is not claimed."""
        return bool(self.verdicts) and all(verdict.ok for verdict in self.verdicts.values())

    @property
    def failures(self) -> Iterator[tuple[CheckResult, Failure]]:
        """Every failed check with its failure, in the order in which they ran."""
        for check in self.checks:
            if check.failure is not None:
                yield check, check.failure

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The table rule x outcome, of all checks together, ordered by rule and outcome."""
        found: dict[tuple[str, str], Cell] = {}
        for cell in (cell for check in self.checks for cell in check.cells):
            key = cell.rule, cell.outcome
            hits, required = (found[key].hits, found[key].required) if key in found else (0, False)
            found[key] = Cell(*key, hits + cell.hits, required or cell.required)
        return tuple(found[key] for key in sorted(found))

    def count(self, outcome: Outcome) -> int:
        """How many laws came to this."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts.values())


def verdict_of(
    law: Law, checks: tuple[CheckResult, ...], waiver: Waiver | None, today: date, *, known: bool
) -> Verdict:
    """The verdict of a law from the results of its checks.

    ``known``: whether the kit has any check of this law.
    """
    mine = [check for check in checks if law.id in check.laws]
    ran = [check for check in mine if check.outcome not in ("not claimed", "not run")]
    outcome = _outcome(law, mine, ran)
    if outcome == "failed" and waiver is not None and waiver.holds(today):
        outcome = "waived"
    return Verdict(
        law=law,
        outcome=outcome,
        required=law.scope == BACKEND or known,
        checks=tuple(check.name for check in ran),
        unclaimed=tuple(check.name for check in mine if check.outcome == "not claimed"),
        examples=sum(check.examples for check in ran),
        seconds=sum(check.seconds for check in ran),
        waiver=waiver,
        failures=tuple(check.failure for check in ran if check.failure is not None),
    )


def _outcome(law: Law, mine: list[CheckResult], ran: list[CheckResult]) -> Outcome:
    outcomes = {check.outcome for check in ran}
    if "failed" in outcomes:
        return "failed"
    unclaimed = {claim for check in mine for claim in check.missing}
    if law.needs is not None and law.needs in unclaimed:
        return "not claimed"
    if not ran or any(check.outcome == "not run" for check in mine):
        return "not claimed" if mine and not ran and unclaimed else "not run"
    return "absent" if outcomes == {"absent"} else "passed"
