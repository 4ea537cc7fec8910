"""Does the audit explain what changed: its entries composed, against the difference of two dumps.

Written from AUD-1 and AUD-2: ``changes`` names every inserted, updated and deleted row, and the
fields of each update before and after; long text and evidence as their hashes. Ids are leased
ahead, so entries of several sessions may have been committed in another order than that of their
ids: what each entry tells of before must be what the one before it left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from loki_storage.models import KINDS, AuditEntry, Record
from loki_storage.values import JsonText, parse

__all__ = ["entries_of", "explains"]

Key = tuple[str, int]
Rows = Mapping[Key, Mapping[str, Any]]
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
    """Assert that the entries, composed in some order, turn one dump into the other."""
    rows, expected = _told(before), _told(after)
    if not _reaches(rows, entries, expected):
        for entry in entries:  # the order of ids tells best where it goes wrong
            rows = _composed(rows, entry)
        _are_all(rows, expected)
        raise AssertionError("the audit's entries give what is stored in no order")


def _reaches(rows: Rows, entries: Sequence[AuditEntry], expected: Rows) -> bool:
    """Whether the entries lead from these rows to those; the order of ids is tried first."""
    if not entries:
        return _holds(lambda: _are_all(rows, expected))
    for place, entry in enumerate(entries):
        try:
            composed = _composed(rows, entry)
        except AssertionError:
            continue
        if _reaches(composed, [*entries[:place], *entries[place + 1 :]], expected):
            return True
    return False


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


def _are_all(rows: Rows, expected: Rows) -> None:
    assert rows.keys() == expected.keys(), "the audit tells of other rows than those there are"
    for key, row in rows.items():
        known = {field: value for field, value in row.items() if value is not _UNKNOWN}
        found = {field: expected[key][field] for field in known}
        assert known == found, f"the audit tells other values of {key}"


def _told(records: Iterable[Record]) -> Rows:
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


def _composed(rows: Rows, entry: AuditEntry) -> Rows:
    """The rows after what an entry tells of, if that can follow."""
    changes: Any = entry.changes or {"rows": [], "fields": []}
    updates = {(told["kind"], told["id"]): told for told in changes["fields"]}
    assert len(updates) == len(changes["fields"]), "a row is told of twice"
    updated, now = set(), dict(rows)
    for op, key in _operations(changes["rows"]):
        if op == "insert":
            assert key not in now, f"{key} is told to be new twice"
            now[key] = dict.fromkeys(KINDS[key[0]].domains, _UNKNOWN)
        elif op == "delete":
            assert now.pop(key, None) is not None, f"{key} was not there"
        else:
            updated.add(key)
    assert updated == updates.keys(), "rows and fields name different updates"
    return now | {key: _updated(now, key, told) for key, told in updates.items()}


def _operations(told: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Key]]:
    for row in told:
        for first, last in row["ids"]:
            for id in range(first, last + 1):
                yield row["op"], (row["kind"], id)


def _updated(rows: Rows, key: Key, told: Mapping[str, Any]) -> Mapping[str, Any]:
    assert key in rows, f"{key} was not there"
    assert told["before"].keys() == told["after"].keys()
    assert told["before"] != told["after"], "an update of nothing"
    for field, value in told["before"].items():
        assert rows[key][field] in (value, _UNKNOWN), f"{field} was not what the audit tells"
    return {**rows[key], **told["after"]}
