"""What default reads show: no deleted document, and nothing of one (DEL-1, DEL-2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from loki_storage.models import (
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Validation,
    ValidationResult,
)
from loki_storage.query import And, Condition, InQuery, Not, Query, equals

__all__ = ["Shown", "deleted", "shown", "visible"]

Shown = Literal["live", "all", "deleted"]

# Kind -> the field that names its parent, and the parent.
_PARENTS: Mapping[Kind, tuple[str, Kind]] = {
    Validation: ("document_id", Document),
    ValidationResult: ("validation_id", Validation),
    Correction: ("document_id", Document),
    CorrectionHistory: ("correction_id", Correction),
}


def visible(kind: Kind, tenant: str | None) -> Condition:
    """What a default read of this kind shows. Its complement lists deleted rows: they are few."""
    if kind is Document:
        return equals(is_deleted=False)
    return Not(deleted(kind, tenant)) if kind in _PARENTS else And(())


def deleted(kind: Kind, tenant: str | None) -> Condition:
    """A deleted document version, or what hangs on one."""
    if kind is Document:
        return equals(is_deleted=True)
    field, parent = _PARENTS[kind]
    return InQuery(field, Query(parent, tenant, deleted(parent, tenant)), "id")


def shown(kind: Kind, tenant: str | None, which: Shown) -> Condition:
    """The condition for live rows, for all, or for deleted ones."""
    if which == "all":
        return And(())
    return visible(kind, tenant) if which == "live" else deleted(kind, tenant)
