"""Fair measuring on shared machines: contenders in turn, CPU time, ratios against a floor."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

import attrs

__all__ = ["Ratio", "compare", "cpu"]


@attrs.frozen
class Ratio:
    """A contender against its floor: the median of the rounds' ratios, and what it may be."""

    name: str
    ratio: float
    low: float
    high: float
    limit: float | None = None

    @property
    def passed(self) -> bool:
        return self.limit is None or self.ratio <= self.limit


def cpu(
    run: Callable[[], object],
    clock: Callable[[], float] = time.process_time,
    collecting: bool = False,
) -> float:
    """CPU seconds of this process that one call takes, garbage collection aside unless told."""
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        start = clock()
        run()
        return clock() - start
    finally:
        gc.enable()


def compare(
    name: str,
    contender: Callable[[], Callable[[], object]],
    floor: Callable[[], Callable[[], object]],
    *,
    rounds: int = 7,
    limit: float | None = None,
    clock: Callable[[], float] = time.process_time,
    collecting: bool = False,
) -> Ratio:
    """Run both in turn, each round on its own fresh set-up; the set-up is not timed.

    ``clock``: ``time.perf_counter`` where disks and other processes are a part of the work.
    ``collecting``: the garbage collector runs as it does in a user's process.
    """
    ratios = []
    for number in range(rounds):
        first, second = (contender, floor) if number % 2 else (floor, contender)
        times = {}
        for make in (first, second):
            times[make] = cpu(make(), clock, collecting)
        ratios.append(times[contender] / times[floor])
    return Ratio(name, median(ratios), min(ratios), max(ratios), limit)


def table(rows: Sequence[Ratio]) -> str:
    """The ratios as lines that line up."""
    width = max(len(row.name) for row in rows)
    return "\n".join(
        f"{row.name:<{width}}  {row.ratio:5.2f}  ({row.low:.2f} to {row.high:.2f})"
        + ("" if row.limit is None else f"  at most {row.limit}  {'ok' if row.passed else 'OVER'}")
        for row in rows
    )
