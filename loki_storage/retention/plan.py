"""What a run would do, record by record, and why; made by ``preview``, proven by a hash (RET-3)."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import attrs

from loki_storage.enums import RetentionAction
from loki_storage.errors import InvalidValue
from loki_storage.values import JsonValue, canonical, parse

__all__ = ["Items", "Plan", "Planned", "TenantPlan"]

VERSION = 1


@attrs.frozen
class Planned:
    """One record: what is to be done to it (None: nothing), by which policy, and why."""

    entity_type: str
    id: int
    action: RetentionAction | None
    policy: str | None
    reason: str


class Items:
    """Planned records, ten bytes each: a plan for millions of records fits in memory."""

    def __init__(self, planned: Iterable[Planned] = ()) -> None:
        self._ids, self._choices = array("q"), array("H")
        self._table: dict[tuple[Any, ...], int] = {}
        for each in planned:
            self.add(each)

    def add(self, planned: Planned) -> None:
        """Append a record."""
        choice = (planned.entity_type, planned.action, planned.policy, planned.reason)
        self._ids.append(planned.id)
        self._choices.append(self._table.setdefault(choice, len(self._table)))

    def part(self, start: int, size: int) -> list[Planned]:
        """So many records from a position on."""
        choices = list(self._table)
        pairs = zip(
            self._ids[start : start + size], self._choices[start : start + size], strict=True
        )
        return [Planned(choices[n][0], id, *choices[n][1:]) for id, n in pairs]

    def counts(self) -> Counter[tuple[Any, ...]]:
        """How many records have each (entity type, action, policy, reason)."""
        choices = list(self._table)
        return Counter({choices[n]: count for n, count in Counter(self._choices).items()})

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Planned]:
        for start in range(0, len(self), 1000):
            yield from self.part(start, 1000)


@attrs.frozen(slots=False)
class TenantPlan:
    """A tenant's part of a plan: made at one time, under these policies."""

    tenant: str
    as_of: datetime
    policies: tuple[dict[str, JsonValue], ...] = attrs.field(repr=False)
    items: Items = attrs.field(factory=Items, repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over time, tenant, policies and every decision."""
        digest = sha256(canonical(self.head(), "plan", bounded=False).encode())
        for item in self.items:
            digest.update(_line(item).encode())
        return digest.hexdigest()

    @property
    def chosen(self) -> set[str]:
        """The names of the policies that it goes by."""
        return {str(policy["name"]) for policy in self.policies}

    def head(self) -> dict[str, JsonValue]:
        """All but the records, as JSON."""
        return {
            "tenant": self.tenant,
            "as_of": self.as_of.isoformat(),
            "policies": list(self.policies),
            "records": len(self.items),
        }


@attrs.frozen(slots=False)
class Plan:
    """What ``run`` will do, for each tenant."""

    tenants: tuple[TenantPlan, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the hashes of its parts."""
        return sha256(" ".join(part.hash for part in self.tenants).encode()).hexdigest()

    def __len__(self) -> int:
        return sum(len(part.items) for part in self.tenants)

    def records(self) -> Iterator[tuple[str, Planned]]:
        """Every record that is due, with its tenant: which policy won and why, or why none."""
        for part in self.tenants:
            for item in part.items:
                yield part.tenant, item

    def summary(self) -> list[dict[str, Any]]:
        """How many records of each tenant meet which fate."""
        names = ("entity_type", "action", "policy", "reason")
        return [
            {"tenant": part.tenant, **dict(zip(names, choice, strict=True)), "records": count}
            for part in self.tenants
            for choice, count in sorted(part.items.counts().items(), key=str)
        ]

    def write(self, path: Path) -> None:
        """Keep the plan in a file, for somebody to approve; it holds ids, no content."""
        with path.open("w", encoding="utf-8") as file:
            head = {"plan": VERSION, "hash": self.hash}
            file.write(canonical(head, "plan") + "\n")
            for part in self.tenants:
                file.write(canonical(part.head(), "plan", bounded=False) + "\n")
                file.writelines(_line(item) for item in part.items)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The plan of a file; ``InvalidValue`` where it is none, or was altered."""
        try:
            with path.open(encoding="utf-8") as file:
                head: Any = parse(file.readline())
                plan = cls(tuple(_parts(file)))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InvalidValue("plan", "is not a plan of retention") from error
        if not isinstance(head, dict) or head.get("hash") != plan.hash:
            raise InvalidValue("plan", "was altered: it does not have its hash")
        return plan


def _line(item: Planned) -> str:
    row: JsonValue = [item.entity_type, item.id, item.action, item.policy, item.reason]
    return canonical(row, "plan") + "\n"


def _parts(lines: Iterable[str]) -> Iterator[TenantPlan]:
    lines = iter(lines)
    for line in lines:
        head: Any = parse(line)
        part = TenantPlan(
            head["tenant"],
            datetime.fromisoformat(head["as_of"]).astimezone(UTC),
            tuple(head["policies"]),
        )
        for _ in range(head["records"]):
            row: Any = parse(next(lines, "null"))
            action = None if row[2] is None else RetentionAction(row[2])
            part.items.add(Planned(row[0], row[1], action, row[3], row[4]))
        yield part
