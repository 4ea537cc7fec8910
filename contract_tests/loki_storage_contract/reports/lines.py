"""A failed check in plain lines: what is broken, why it matters, how one gets there, how again."""

from collections.abc import Iterator
from textwrap import shorten

from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.rationales import RATIONALES
from loki_storage_contract.reports.groups import title
from loki_storage_contract.verdicts import CheckResult

__all__ = ["failure_lines", "trace_lines"]

LONGEST = 30
"""Steps of a trace that are shown; reports have all."""
WIDEST = 400
"""Characters of a step that are shown; reports have all."""


def failure_lines(result: CheckResult) -> Iterator[str]:
    """What a person needs who wrote the backend, in the order in which it is asked."""
    law, failure = ALL_LAWS[result.laws[0]], result.failure
    yield f"{law.id}: {title(law)}"
    if failure is None:
        yield f"{result.name} was {result.outcome}: no example of it ran"
        return
    yield failure.error
    if failure.also_on:
        yield f"{' and '.join(failure.also_on)} fail too: this is not the backend's fault"
    yield f"in {result.name}, {failure.place}"
    yield from trace_lines(failure.trace)
    more = f" … (loki-storage contract laws {law.id})"
    yield f"the law: {shorten(law.text, 240, placeholder=more)}"
    if law.id in RATIONALES:
        yield f"why: {RATIONALES[law.id]}"
    if len(result.laws) > 1:
        yield f"also about: {', '.join(result.laws[1:])}"
    yield f"again: {failure.replay}"


def trace_lines(trace: tuple[str, ...]) -> Iterator[str]:
    """The steps, numbered; of a long trace the last ones."""
    hidden = max(0, len(trace) - LONGEST)
    if hidden:
        yield f"  … {hidden} steps before these"
    for number, step in enumerate(trace[hidden:], hidden + 1):
        cut = step if len(step) <= WIDEST else f"{step[:WIDEST]} …"
        yield f"{number:>4}  {cut}"
