"""Fixtures for the tests of a host: a store in memory, new for each test, and a clock to move."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from loki_storage import Storage, open_storage


class Clock:
    """Stands still until a test moves it: nothing sleeps."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(clock: Clock) -> Iterator[Storage]:
    """An empty store that passes the same contract as those of production."""
    with open_storage("memory://", clock=clock) as storage:
        yield storage
