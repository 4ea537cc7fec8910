"""Plans: kept in files, altered ones refused, small in memory (RET-3)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loki_storage.enums import RetentionAction
from loki_storage.errors import InvalidValue
from loki_storage.retention import Plan, Planned, TenantPlan
from loki_storage.retention.plan import Items

TIME = datetime(2026, 1, 1, 12, 30, 0, 7, tzinfo=UTC)


def plan() -> Plan:
    rows = [
        Planned("document", 7, RetentionAction.DELETE, "old", "due"),
        Planned("document", 8, None, None, "on hold: case"),
        Planned("validation", 9, RetentionAction.ANONYMIZE, "anon", "due"),
    ]
    first = TenantPlan("acme", TIME, ({"name": "old"},), Items(rows))
    return Plan((first, TenantPlan("other", TIME, (), Items(rows[:1]))))


def test_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    plan().write(path)
    again = Plan.read(path)
    assert again.hash == plan().hash
    assert list(again.records()) == list(plan().records())
    assert again.tenants[0].as_of == TIME


@pytest.mark.parametrize(
    ("old", "new"),
    [("delete", "anonymize"), ("8,", "6,"), ("acme", "acne"), ("due", "dux"), ("12:30", "12:31")],
)
def test_altered_plan_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "plan.jsonl"
    plan().write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidValue):
        Plan.read(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]\n", '{"hash": "x"}\n{"tenant": 1}\n'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidValue):
        Plan.read(path)


def test_a_million_records_take_ten_bytes_each() -> None:
    items = Items()
    for id in range(20_000):
        items.add(Planned("document", id, RetentionAction.DELETE, "old", "due"))
    assert items._ids.itemsize + items._choices.itemsize == 10
    assert len(items._table) == 1
    assert [item.id for item in items.part(19_998, 200)] == [19_998, 19_999]
