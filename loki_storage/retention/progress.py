"""How far a run came; kept in its row, moved in the same batch as the records (RET-3)."""

from collections import Counter
from typing import Any, Self

import attrs

from loki_storage.retention.certificate import Line, extend
from loki_storage.retention.plan import Planned
from loki_storage.values import JsonValue

__all__ = ["EXAMPLES", "Progress", "Skipped"]

EXAMPLES = 100
"""Skipped records that are named one by one; all are counted."""

Skipped = tuple[str, int, str]
"""Entity type, id, reason."""


@attrs.define
class Progress:
    """Counts of what went and what stayed, and the running digest of what went."""

    counts: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)
    """(policy, action, kind) -> rows."""
    records: Counter[str] = attrs.field(factory=Counter)
    """Policy -> records that it acted on."""
    seen: Counter[str] = attrs.field(factory=Counter)
    """Policy -> records that were planned for it."""
    skipped: Counter[str] = attrs.field(factory=Counter)
    """Reason -> records."""
    examples: list[Skipped] = attrs.field(factory=list)
    saved: Counter[str] = attrs.field(factory=Counter)
    """Policy -> bytes that compressed rows take less."""
    digest: str | None = None
    audit_first: int | None = None

    def done(self, item: Planned, lines: list[Line]) -> None:
        """A record was acted on."""
        policy = str(item.policy)
        self.seen[policy] += 1
        self.records[policy] += 1
        self.removed(item, lines)

    def cleaned(self, item: Planned, lines: list[Line]) -> None:
        """Audit entries went: each is a record of its own."""
        self.seen[str(item.policy)] += len(lines)
        self.records[str(item.policy)] += len(lines)
        self.removed(item, lines)

    def removed(self, item: Planned, lines: list[Line]) -> None:
        """Rows went."""
        for kind, *_ in lines:
            self.counts[str(item.policy), str(item.action), kind] += 1
        self.digest = extend(self.digest, lines)

    def skip(self, item: Planned, reason: str) -> None:
        """A record stays as it is."""
        self.seen[str(item.policy)] += item.policy is not None
        self.skipped[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((item.entity_type, item.id, reason))

    def counted(self) -> list[JsonValue]:
        """The counts as JSON, sorted."""
        names = ("policy", "action", "kind")
        return [
            {**dict(zip(names, key, strict=True)), "rows": rows}
            for key, rows in sorted(self.counts.items())
        ]

    def to_json(self) -> dict[str, JsonValue]:
        return {
            "counts": [[*key, rows] for key, rows in sorted(self.counts.items())],
            "records": dict(sorted(self.records.items())),
            "seen": dict(sorted(self.seen.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "examples": [list(each) for each in self.examples],
            "saved": dict(sorted(self.saved.items())),
            "digest": self.digest,
            "audit_first": self.audit_first,
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(
            counts=Counter({(p, a, k): rows for p, a, k, rows in data["counts"]}),
            records=Counter(data["records"]),
            seen=Counter(data["seen"]),
            skipped=Counter(data["skipped"]),
            examples=[(kind, id, reason) for kind, id, reason in data["examples"]],
            saved=Counter(data.get("saved", {})),
            digest=data["digest"],
            audit_first=data["audit_first"],
        )

    def copy(self) -> Self:
        """One to go on with, to be dropped if the batch fails."""
        return self.from_json(self.to_json())
