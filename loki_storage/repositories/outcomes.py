"""Bulk writes that report what became of each item, in bounded batches of their own (TXN-9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import attrs

from loki_storage.errors import InvalidValue, ReadOnly, ResultTooLarge, StorageError, Unavailable
from loki_storage.models import Record
from loki_storage.unit_of_work import UnitOfWork

__all__ = ["MAXIMUM_BATCH", "OnError", "Outcome", "checked_batch", "reported", "written"]

OnError = Literal["raise", "report"]
MAXIMUM_BATCH = 100_000
"""Items that one batch takes; ``on_error="report"`` takes any number."""
REPORTED_AT_ONCE = 100
"""Items of a batch whose outcomes are reported."""

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Write = Callable[[Sequence[T]], Sequence[R]]


@attrs.frozen
class Outcome(Generic[R]):
    """What became of one item: its record as it is now, or the error that refused it."""

    item: int
    """The id that was given, or the place in what was given, from 0."""
    record: R | None = None
    error: StorageError | None = None

    @property
    def ok(self) -> bool:
        """Whether it was done (or was so already)."""
        return self.error is None


def checked_batch(items: Sequence[T], on_error: str) -> Sequence[T]:
    """The items, if that many may be one batch."""
    if on_error not in ("raise", "report"):
        raise InvalidValue("on_error", 'must be "raise" or "report"')
    if on_error == "raise" and len(items) > MAXIMUM_BATCH:
        raise ResultTooLarge(
            f"more than {MAXIMUM_BATCH:,} items are too many for one batch; "
            'give fewer, or on_error="report" for bounded batches'
        )
    return items


def written(
    session: UnitOfWork,
    items: Sequence[T],
    names: Sequence[int],
    write: Callable[[Any, Sequence[T]], list[R]],
    on_error: str,
) -> list[R] | list[Outcome[R]]:
    """What ``write(session, items)`` gives: one part of this unit of work, or outcomes (TXN-9)."""
    checked_batch(items, on_error)
    if on_error == "raise":
        with session.as_one():
            return write(session, items)
    session.fresh()  # refuses where anything is pending, also without items

    def commit(some: Sequence[T]) -> list[R]:
        with session.fresh() as unit:
            return write(unit, some)

    return reported(items, names, commit)


def reported(items: Sequence[T], names: Sequence[int], write: Write[T, R]) -> list[Outcome[R]]:
    """The outcome of each item; ``write`` commits some of them, or none.

    A batch that is refused is halved until each refusal has its item. Once the store does not
    answer, the rest is not tried.
    """
    numbered = list(zip(names, items, strict=True))
    starts = range(0, len(numbered), REPORTED_AT_ONCE)
    todo = [numbered[start : start + REPORTED_AT_ONCE] for start in reversed(starts)]
    outcomes: list[Outcome[R]] = []
    while todo:
        block = todo.pop()
        try:
            records = write([item for _, item in block])
        except ReadOnly:
            raise
        except Unavailable as error:
            outcomes.extend(Outcome(name, error=error) for name, _ in block)
            return [*outcomes, *_not_tried(todo)]
        except StorageError as error:
            half = len(block) // 2
            if half:
                todo += [block[half:], block[:half]]
            else:
                outcomes.append(Outcome(block[0][0], error=error))
        else:
            outcomes.extend(Outcome(block[n][0], record) for n, record in enumerate(records))
    return outcomes


def _not_tried(todo: Sequence[Sequence[tuple[int, Any]]]) -> Iterator[Outcome[Any]]:
    error = Unavailable("not tried: the store did not answer before it was this item's turn")
    return (Outcome(name, error=error) for block in reversed(todo) for name, _ in block)
