"""Draws worlds of records, policies and holds, and stores them through one batch."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

from loki_storage.batch import Batch, Insert
from loki_storage.models import (
    Chain,
    Correction,
    CorrectionStatus,
    Document,
    Kind,
    LegalHold,
    PeriodUnit,
    PolicyKind,
    Record,
    RetentionAction,
    RetentionPolicy,
    RetentionState,
    Validation,
    ValidationStatus,
)
from loki_storage.protocol import Backend
from loki_storage.query import Query, equals
from loki_storage.rules.documents import content_hash
from loki_storage.rules.retention import FOREVER_DAYS
from tests.retention.reference import Hold, Policy, Row, Tree, World

LABELS = ("email", "nda")
LABEL_FIELD: dict[str, tuple[Kind, str]] = {
    "document": (Document, "document_type"),
    "validation": (Validation, "client_id"),
    "correction": (Correction, "correction_type"),
}
NOW = datetime(2028, 2, 29, 12, tzinfo=UTC)
LONG = "better text " * 100
UNITS = {"days": 1, "months": 28, "years": 365}


def draw(seed: int, ids: Callable[[Kind, int], list[int]]) -> World:
    """A world in which much is just due, just not yet, or held."""
    random = Random(seed)
    world = World(NOW)
    for _ in range(random.randint(1, 4)):
        tree = _tree(random, ids)
        world.documents[tree.versions[0].id] = tree
    world.policies = [_policy(random, n) for n in range(random.randint(1, 5))]
    world.holds = [_hold(random, n, world) for n in range(random.choice((0, 0, 1, 2)))]
    return world


def _time(random: Random) -> datetime:
    """At a bound of a period that policies have, or a microsecond beside it."""
    near = random.choice(
        (
            NOW - timedelta(days=30),
            NOW - timedelta(days=1),
            datetime(2027, 2, 28, 12, tzinfo=UTC),
            datetime(2024, 2, 29, 12, tzinfo=UTC),
            datetime(2028, 1, 29, 12, tzinfo=UTC),
            datetime(2028, 1, 31, 12, tzinfo=UTC),
            datetime(2022, 7, 1, tzinfo=UTC),
        )
    )
    return near + timedelta(microseconds=random.choice((-1, 0, 0, 1)))


def _row(random: Random, id: int) -> Row:
    created, changed = sorted((_time(random), _time(random)))
    events = {"left": _time(random)} if random.random() < 0.4 else {}
    return Row(id, created, changed, random.choice(LABELS), events)


def _tree(random: Random, ids: Callable[[Kind, int], list[int]]) -> Tree:
    versions = [_row(random, id) for id in ids(Document, random.randint(1, 3))]
    for before, after in pairwise(versions):
        after.created = max(after.created, before.created)
        after.changed = max(after.changed, after.created)
    if random.random() < 0.3:
        when = max(row.created for row in versions)
        for row in versions:
            row.deleted = when
    tree = Tree(versions)
    tree.validations = [_row(random, id) for id in ids(Validation, random.choice((0, 0, 1, 2)))]
    tree.corrections = [_row(random, id) for id in ids(Correction, random.choice((0, 0, 1)))]
    for row in (*versions, *tree.corrections):
        row.long = random.random() < 0.2
    return tree


def _policy(random: Random, number: int) -> Policy:
    about = random.choice(("document", "document", "validation", "correction"))
    triggers = ["created", "created", "updated", "deleted", "left"]
    if about == "document":
        triggers.append("superseded")
    unit = random.choice(("days", "days", "months", "years", "forever"))
    return Policy(
        name=f"policy {random.randint(0, 9)}-{number}",
        about=about,
        action=random.choice(("delete", "anonymize", "compress", "archive")),
        kind=random.choice(("maximum", "maximum", "minimum")),
        amount=random.choice({"days": (1, 30), "months": (1, 12)}.get(unit, (1, 4))),
        unit=unit,
        trigger=random.choice(triggers),
        priority=random.choice((1, 1, 2)),
        label=random.choice((None, None, *LABELS)),
        active=random.random() < 0.9,
    )


def _hold(random: Random, number: int, world: World) -> Hold:
    about = random.choice(("document", "document", "validation", "correction"))
    trees = list(world.documents.values())
    rows = {
        "document": [tree.versions[0] for tree in trees],
        "validation": [row for tree in trees for row in tree.validations],
        "correction": [row for tree in trees for row in tree.corrections],
    }[about]
    hold = Hold(f"hold {number}", about, released=random.random() < 0.2)
    if rows and random.random() < 0.6:
        hold.ids = {random.choice(rows).id}
    else:
        hold.label = random.choice(LABELS)
    return hold


# --- Storing a world ------------------------------------------------------------------------------


def store(
    backend: Backend, tenant: str, world: World, ids: Callable[[Kind, int], list[int]]
) -> None:
    """All of it as one batch."""
    records: list[Record] = [RetentionState(id=ids(RetentionState, 1)[0], tenant_id=tenant)]
    for root, tree in world.documents.items():
        records += _records(tenant, root, tree)
    for policy, id in zip(world.policies, ids(RetentionPolicy, len(world.policies)), strict=True):
        records.append(_policy_record(tenant, policy, id))
    for hold, id in zip(world.holds, ids(LegalHold, len(world.holds)), strict=True):
        records.append(_hold_record(tenant, hold, id))
    backend.apply(Batch(tenant, [Insert(record) for record in records]))


def _records(tenant: str, root: int, tree: Tree) -> list[Record]:
    live = tree.versions[0].deleted is None
    found: list[Record] = [Chain(id=root, tenant_id=tenant, client_id="c", live=live)]
    before = None
    for number, row in enumerate(tree.versions, 1):
        text = f"text {row.id}" * (100 if row.long else 1)
        found.append(
            Document(
                id=row.id,
                tenant_id=tenant,
                root_id=root,
                parent_id=before,
                version=number,
                content=text,
                content_hash=content_hash(text),
                content_length=len(text),
                document_type=row.label,
                client_id="c",
                created_at=row.created,
                updated_at=row.changed,
                is_latest=live and row is tree.versions[-1],
                deleted_at=row.deleted,
                is_deleted=not live,
                metadata_json=_events(row),
                title="title",
            )
        )
        before = row.id
    head = tree.versions[-1].id
    found += [_validation(tenant, head, row) for row in tree.validations]
    found += [_correction(tenant, head, row) for row in tree.corrections]
    return found


def _validation(tenant: str, head: int, row: Row) -> Validation:
    return Validation(
        id=row.id,
        tenant_id=tenant,
        document_id=head,
        modules_used=[],
        status=ValidationStatus.COMPLETED,
        request_hash=f"request {row.id}",
        client_id=row.label,
        created_at=row.created,
        completed_at=row.changed,
        config=_events(row),
    )


def _correction(tenant: str, head: int, row: Row) -> Correction:
    return Correction(
        id=row.id,
        tenant_id=tenant,
        document_id=head,
        correction_type=row.label,
        client_id="c",
        created_at=row.created,
        updated_at=row.changed,
        status=CorrectionStatus.REJECTED,
        metadata_json=_events(row),
        reasoning="because",
        corrected_content=LONG if row.long else None,
    )


def _events(row: Row) -> Any:
    return {"events": {name: time.isoformat() for name, time in row.events.items()}}


def _policy_record(tenant: str, policy: Policy, id: int) -> RetentionPolicy:
    days = policy.amount * UNITS.get(policy.unit, FOREVER_DAYS)
    for_ever = policy.unit == "forever"
    return RetentionPolicy(
        id=id,
        tenant_id=tenant,
        name=policy.name,
        entity_type=policy.about,
        retention_days=FOREVER_DAYS if for_ever else days,
        action=RetentionAction(policy.action),
        period_amount=None if for_ever else policy.amount,
        period_unit=PeriodUnit(policy.unit),
        trigger=policy.trigger,
        kind=PolicyKind(policy.kind),
        priority=policy.priority,
        is_active=policy.active,
        created_at=NOW,
        updated_at=NOW,
        criteria=_query(tenant, policy.about, policy.label),
    )


def _hold_record(tenant: str, hold: Hold, id: int) -> LegalHold:
    return LegalHold(
        id=id,
        tenant_id=tenant,
        name=hold.name,
        reason="r",
        entity_type=hold.about,
        ids=None if hold.ids is None else [[id, id] for id in sorted(hold.ids)],
        query=None if hold.ids is not None else _query(tenant, hold.about, hold.label),
        placed_by="x",
        placed_at=NOW,
        released_at=NOW if hold.released else None,
    )


def _query(tenant: str, about: str, label: str | None) -> Any:
    if label is None:
        return None
    kind, field = LABEL_FIELD[about]
    return Query(kind, tenant, equals(**{field: label})).to_json()
