"""Starter packs of policies: data with citations, stored switched off until somebody decides."""

import json
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import Any

from loki_storage.errors import InvalidField
from loki_storage.models import RetentionPolicy
from loki_storage.query import Compare, Condition, In, JsonEquals, Query, all_of
from loki_storage.repositories.retention import RetentionRepository
from loki_storage.rules.retention import KIND_OF

__all__ = ["PACKS", "install", "pack"]

PACKS = ("uk",)


def pack(name: str = "uk") -> list[dict[str, Any]]:
    """The policies of a pack, as the file has them."""
    if name not in PACKS:
        raise InvalidField(name, "is not a pack of policies", PACKS)
    text = files("loki_storage.retention").joinpath("packs", f"{name}.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)["policies"]
    return found


def install(
    policies: RetentionRepository,
    name: str = "uk",
    ids: Collection[str] | None = None,
    *,
    active: bool = False,
) -> list[RetentionPolicy]:
    """Store a pack's policies, or those of these ids; what is there already by name stays as it is.

    They come switched off, and run only once somebody calls ``activate`` or asks for ``active``.
    """
    rows = pack(name)
    known = [row["id"] for row in rows]
    for id in ids or ():
        if id not in known:
            raise InvalidField(id, f"is not in the pack {name}", known)
    wanted = [row for row in rows if ids is None or row["id"] in ids]
    new = [row for row in wanted if policies.get_by_name(row["name"]) is None]
    return [_create(policies, row, active) for row in new]


def _create(policies: RetentionRepository, row: Mapping[str, Any], active: bool) -> RetentionPolicy:
    amount, unit = row["period"]
    return policies.create(
        row["name"],
        row["entity_type"],
        row["action"],
        period_amount=amount,
        period_unit=unit,
        trigger=row["trigger"],
        kind=row["kind"],
        criteria=_criteria(policies, row),
        is_active=active,
        description=row["id"],
        citation=row["citation"],
        text_date=row["text_date"],
        verified=row["verified"],
    )


def _criteria(policies: RetentionRepository, row: Mapping[str, Any]) -> Query | None:
    conditions = [_condition(field, value) for field, value in row["where"].items()]
    kind = KIND_OF[row["entity_type"]]
    return policies.selecting(kind, all_of(*conditions)) if conditions else None


def _condition(field: str, value: Any) -> Condition:
    """A field is one of several values or equal to one; a dotted one is a path in its JSON."""
    name, *path = field.split(".")
    if path:
        return JsonEquals(name, tuple(path), value)
    return In(name, value) if isinstance(value, list) else Compare(name, "eq", value)
