"""Does the audit explain what changed: its entries composed, against the difference of two dumps.

Written from AUD-1 and AUD-2: ``changes`` names every inserted, updated and deleted row, and the
fields of each update before and after; long text and evidence as their hashes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from loki_storage.models import KINDS, AuditEntry, Record
from loki_storage.values import JsonText, parse

__all__ = ["entries_of", "explains"]

Key = tuple[str, int]
_HASHED = {
    *("content", "original_content", "corrected_content", "diff", "evidence", "error_traceback"),
}
_UNKNOWN = object()
"""The value of a field that an insert did not tell."""


def entries_of(before: Iterable[Record], after: Iterable[Record]) -> list[AuditEntry]:
    """The audit entries that are new, in id order."""
    known = {record.id for record in before if isinstance(record, AuditEntry)}
    new = [r for r in after if isinstance(r, AuditEntry) and r.id not in known]
    return sorted(new, key=lambda entry: entry.id)


def explains(
    entries: Sequence[AuditEntry], before: Iterable[Record], after: Iterable[Record]
) -> None:
    """Assert that the entries, composed in their order, turn one dump into the other."""
    rows = {key: dict(row) for key, row in _told(before).items()}
    for entry in entries:
        _compose(rows, entry.changes or {"rows": [], "fields": []})
    expected = _told(after)
    assert rows.keys() == expected.keys(), "the audit tells of other rows than those there are"
    for key, row in rows.items():
        known = {field: value for field, value in row.items() if value is not _UNKNOWN}
        found = {field: expected[key][field] for field in known}
        assert known == found, f"the audit tells other values of {key}"


def _told(records: Iterable[Record]) -> dict[Key, dict[str, Any]]:
    """The rows that the audit must explain, field by field as it tells them."""
    return {
        (record.table, record.id): {f: _value(f, record.stored(f)) for f in record.domains}
        for record in records
        if not record.internal and not isinstance(record, AuditEntry)
    }


def _value(field: str, value: Any) -> Any:
    if value is None:
        return None
    if field in _HASHED:
        return f"sha256:{sha256(str(value).encode()).hexdigest()}"
    if isinstance(value, JsonText):
        return parse(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _compose(rows: dict[Key, dict[str, Any]], changes: Mapping[str, Any]) -> None:
    updates = {(told["kind"], told["id"]): told for told in changes["fields"]}
    updated = set()
    for told in changes["rows"]:
        for id in (n for first, last in told["ids"] for n in range(first, last + 1)):
            key = told["kind"], id
            if told["op"] == "insert":
                assert key not in rows, f"{key} is told to be new twice"
                rows[key] = dict.fromkeys(KINDS[told["kind"]].domains, _UNKNOWN)
            elif told["op"] == "delete":
                del rows[key]
            else:
                updated.add(key)
    assert updated == updates.keys(), "rows and fields name different updates"
    for key, told in updates.items():
        _update(rows[key], told)


def _update(row: dict[str, Any], told: Mapping[str, Any]) -> None:
    assert told["before"].keys() == told["after"].keys()
    assert told["before"] != told["after"], "an update of nothing"
    for field, value in told["before"].items():
        assert row[field] in (value, _UNKNOWN), f"{field} was not what the audit tells"
    row.update(told["after"])
