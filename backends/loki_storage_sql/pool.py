"""SQLAlchemy's pool, bounded by the caller's deadline as well."""

from typing import Any

from sqlalchemy.pool import QueuePool

from loki_storage.deadline import time_left

__all__ = ["DeadlinePool"]


class DeadlinePool(QueuePool):
    """Waits for a connection no longer than its own timeout and the caller's session allow."""

    _longest: float

    @property
    def _timeout(self) -> float:
        left = time_left()
        return self._longest if left is None else min(self._longest, left)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self._longest = seconds

    def recreate(self) -> QueuePool:
        pool: Any = super().recreate()
        pool._longest = self._longest
        return pool  # type: ignore[no-any-return]
