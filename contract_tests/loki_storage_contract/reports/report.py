"""What a report tells: a run's result, what was judged, by what, and on what machine.

Times stand in ``started`` and in fields named ``seconds``; all else is the same at each run of a
repeatable profile on the same machine.
"""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args, get_origin

import attrs

from loki_storage.protocol import PROTOCOL_VERSION
from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.verdicts import Cell, CheckResult, Outcome, Result, Verdict

__all__ = [
    "FORMAT",
    "LawReport",
    "Report",
    "Subject",
    "Surroundings",
    "from_json",
    "labels",
    "report_of",
]

FORMAT = 1


@attrs.frozen(kw_only=True)
class Subject:
    """What was judged."""

    name: str
    distribution: str = ""
    version: str = ""
    summary: str = ""
    """What the plugin says of itself."""
    database: str = ""
    """The database behind it and its version."""
    protocol: str = PROTOCOL_VERSION
    """The protocol version that the plugin is written for."""


@attrs.frozen(kw_only=True)
class Surroundings:
    """By what it was judged, and where."""

    contract: str
    """The version of the protocol, and a digest of the laws' texts: equal, so were the laws."""
    kit: str
    python: str
    system: str

    @classmethod
    def here(cls) -> "Surroundings":
        """This kit in this process."""
        return cls(
            contract=f"{PROTOCOL_VERSION}+{_digest_of_laws()}",
            kit=_version_of("loki-storage"),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            system=f"{platform.system()} {platform.machine()}",
        )


@attrs.frozen(kw_only=True)
class FailureReport:
    """Why a law is broken, and how to see it again."""

    check: str
    error: str
    place: str
    trace: tuple[str, ...]
    replay: str
    also_on: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class LawReport:
    """What came of one law."""

    id: str
    outcome: Outcome
    required: bool
    examples: int = 0
    checks: tuple[str, ...] = ()
    unclaimed: tuple[str, ...] = ()
    waiver: str = ""
    """Why it is waived, and until when."""
    failures: tuple[FailureReport, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether a backend may pass with it."""
        return self.outcome != "failed" and not (self.required and self.outcome == "not run")


@attrs.frozen(kw_only=True)
class Report:
    """One backend under one profile."""

    subject: Subject
    surroundings: Surroundings
    profile: str
    seed: int
    ok: bool
    partial: bool
    claims: tuple[str, ...]
    overrides: tuple[str, ...]
    laws: tuple[LawReport, ...]
    cells: tuple[Cell, ...]
    started: str
    seconds: float

    @property
    def examples(self) -> int:
        """How many examples were tried; one counts for each law that it shows."""
        return sum(law.examples for law in self.laws)

    @property
    def broken(self) -> "dict[FailureReport, list[str]]":
        """Each failure with the laws that it breaks."""
        found: dict[FailureReport, list[str]] = {}
        for law in self.laws:
            for failure in law.failures:
                found.setdefault(failure, []).append(law.id)
        return found

    @property
    def required(self) -> list[LawReport]:
        """The laws that count: those of the kit, and those that did not come out well."""
        return [law for law in self.laws if law.required or law.outcome != "not run"]

    def count(self, outcome: Outcome) -> int:
        """How many of the laws that count came to this."""
        return sum(law.outcome == outcome for law in self.required)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; ``from_json`` reads them."""
        return {"report": "loki-storage-contract", "format": FORMAT, **attrs.asdict(self)}


def labels(reports: Sequence[Report]) -> list[str]:
    """What to call each backend beside the others: its name; its database where two share one."""
    names = Counter(report.subject.name for report in reports)
    return [
        s.database if names[s.name] > 1 and s.database else s.name
        for s in (report.subject for report in reports)
    ]


def report_of(result: Result, subject: Subject, started: datetime | None = None) -> Report:
    """The report of a result; ``started``: now, unless given."""
    checks = {check.name: check for check in result.checks}
    begun = started or datetime.now(UTC)
    return Report(
        subject=subject,
        surroundings=Surroundings.here(),
        profile=result.profile,
        seed=result.seed,
        ok=result.ok,
        partial=result.partial,
        claims=result.claims,
        overrides=result.overrides,
        laws=tuple(_law_report(verdict, checks) for verdict in result.verdicts.values()),
        cells=result.cells,
        started=begun.isoformat(timespec="seconds"),
        seconds=round(result.seconds, 3),
    )


def _law_report(verdict: Verdict, checks: Mapping[str, CheckResult]) -> LawReport:
    return LawReport(
        id=verdict.law.id,
        outcome=verdict.outcome,
        required=verdict.required,
        examples=verdict.examples,
        checks=verdict.checks,
        unclaimed=verdict.unclaimed,
        waiver=_waiver(verdict),
        failures=tuple(_failures(verdict, checks)),
        seconds=round(verdict.seconds, 3),
    )


def _waiver(verdict: Verdict) -> str:
    waiver = verdict.waiver
    return "" if waiver is None else f"{waiver.reason} (until {waiver.expires})"


def _failures(verdict: Verdict, checks: Mapping[str, CheckResult]) -> list[FailureReport]:
    failed = [checks[name] for name in verdict.checks if checks[name].failure is not None]
    return [
        FailureReport(
            check=check.name,
            error=failure.error,
            place=failure.place,
            trace=failure.trace,
            replay=failure.replay,
            also_on=failure.also_on,
        )
        for check in failed
        if (failure := check.failure) is not None
    ]


def from_json(data: object) -> Report:
    """A report from JSON values; ``ValueError`` where they are none, or of a later format."""
    if not isinstance(data, dict) or data.get("report") != "loki-storage-contract":
        raise ValueError("is not a report of the contract kit")
    if data.get("format") != FORMAT:
        raise ValueError(f"is of format {data.get('format')}, this kit reads {FORMAT}")
    try:
        report: Report = _built(Report, data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("is not a whole report") from error
    return report


def _built(expected: Any, data: Any) -> Any:
    """JSON values as a class of this module, a tuple of them, or what they are."""
    if attrs.has(expected):
        fields = attrs.fields(attrs.resolve_types(expected))
        given = {f.name: _built(f.type, data[f.name]) for f in fields if f.name in data}
        return expected(**given)
    if get_origin(expected) is tuple:
        return tuple(_built(get_args(expected)[0], item) for item in data)
    return data


def _digest_of_laws() -> str:
    texts = (f"{law.id}\0{law.scope}\0{law.text}" for law in ALL_LAWS.values())
    return sha256("\n".join(texts).encode()).hexdigest()[:12]


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
