"""AUD-3: what a cleanup may remove, and what it tells."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.batch import DeleteMany
from loki_storage.errors import InvalidValue
from loki_storage.models import AuditEntry
from loki_storage.rules import audit as rules
from tests.strategies import MIDNIGHT, moments


@given(moments, st.integers(1, 36_500))
def test_limit_is_a_midnight_at_least_that_many_days_ago(now: datetime, days: int) -> None:
    limit = rules.cleanup_limit(now, days)
    if limit.year == 1:
        return
    assert limit <= now - timedelta(hours=24), "never one of the last 24 hours"
    assert limit <= now - timedelta(days=days)
    assert now - limit < timedelta(days=days + 1)
    assert limit.time() == datetime.min.time()


def test_limit_before_the_calendar_begins_is_its_beginning() -> None:
    beginning = datetime.min.replace(tzinfo=UTC)
    assert rules.cleanup_limit(beginning + timedelta(days=2), 36_500) == beginning
    assert rules.cleanup_limit(beginning, 1) == beginning


@pytest.mark.parametrize("days", [0, -1, 36_501, True, 1.0, "365", None])
def test_days_outside_the_law_are_refused(days: Any) -> None:
    with pytest.raises(InvalidValue, match="retention_days"):
        rules.check_cleanup(days, 1000)


@pytest.mark.parametrize("size", [0, -1, 10_001, True, 1.0, "1", None])
def test_batches_outside_the_law_are_refused(size: Any) -> None:
    with pytest.raises(InvalidValue, match="batch_size"):
        rules.check_cleanup(365, size)


def test_the_widest_law_is_allowed() -> None:
    rules.check_cleanup(1, 1)
    rules.check_cleanup(36_500, 10_000)


def entry(id: int, **fields: Any) -> AuditEntry:
    words = {"action": "create", "entity_type": "tag", "actor_id": "alice", "client_id": "-"}
    return AuditEntry(id=id, tenant_id="t", timestamp=MIDNIGHT, **{**words, **fields})


def test_cleanup_tells_range_count_and_digest() -> None:
    entries = [entry(1), entry(2), entry(5)]
    change = rules.cleanup(entries, MIDNIGHT)
    assert list(change.steps) == [DeleteMany(AuditEntry, [1, 2, 5])]
    told: Any = change.metadata
    assert told["count"] == 3
    assert told["ids"] == [[1, 2], [5, 5]]
    assert told["before"] == MIDNIGHT.isoformat()
    assert told["digest"].startswith("sha256:")


def test_digest_tells_entries_apart_and_forgets_their_order() -> None:
    def digest(*entries: AuditEntry) -> Any:
        told: Any = rules.cleanup(entries, MIDNIGHT).metadata
        return told["digest"]

    one, two = entry(1), entry(2)
    assert digest(one, two) == digest(two, one)
    others = [entry(1, action="delete"), entry(1).evolve(timestamp=MIDNIGHT + timedelta(1))]
    assert len({digest(one), digest(two), digest(one, two), *map(digest, others)}) == 5
