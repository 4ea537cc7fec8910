"""What retention must decide, written a second time from the laws, and from nothing of the engine.

A world is plain data: documents with versions, validations and corrections, policies, holds, a
time. ``fates`` says what happens to each record, by the simplest means: no pages, no queries, no
order. It imports nothing from ``rules``, ``repositories`` or ``retention``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs

MILDEST = ("compress", "archive", "anonymize", "delete")
POSSIBLE = ("anonymize", "delete")


@attrs.define
class Row:
    """A version, validation or correction; ``label`` is what criteria and queries ask for."""

    id: int
    created: datetime
    changed: datetime
    label: str
    events: dict[str, datetime] = attrs.field(factory=dict)
    deleted: datetime | None = None
    long: bool = False
    """Whether its text is long enough to be compressed, and is not yet."""


@attrs.define
class World:
    """``document`` is the root id."""

    now: datetime
    archives: bool = False
    """Whether there is an archive store."""
    compresses: bool = False
    """Whether the store can compress."""
    documents: dict[int, Tree] = attrs.field(factory=dict)
    policies: list[Policy] = attrs.field(factory=list)
    holds: list[Hold] = attrs.field(factory=list)


@attrs.define
class Tree:
    """A document: its versions in ascending order and what hangs on it."""

    versions: list[Row]
    validations: list[Row] = attrs.field(factory=list)
    corrections: list[Row] = attrs.field(factory=list)
    archived: bool = False

    def everything(self) -> list[tuple[str, Row]]:
        return [
            *(("document", row) for row in self.versions),
            *(("validation", row) for row in self.validations),
            *(("correction", row) for row in self.corrections),
        ]


@attrs.define
class Policy:
    """``label``: the criterion; None: everything."""

    name: str
    about: str
    action: str
    kind: str
    amount: int
    unit: str
    trigger: str
    priority: int
    label: str | None = None
    active: bool = True


@attrs.define
class Hold:
    """On ids (of versions 1, validations or corrections) or on all rows with a label."""

    name: str
    about: str
    ids: set[int] | None = None
    label: str | None = None
    released: bool = False


Fate = tuple[str | None, str | None]
"""Action and deciding policy; (None, None) where a hold decides."""


def fates(world: World) -> dict[tuple[str, int], Fate]:
    """What happens to each record that is due; one that is not due is not in it."""
    found: dict[tuple[str, int], Fate] = {}
    for root, tree in world.documents.items():
        whole = _whole(world, tree)
        if whole is not None:
            found["document", root] = whole
        if tree.archived or (whole is not None and whole[0] is not None):
            continue
        for about, row in tree.everything():
            if about != "document":
                fate = _single(world, tree, about, row)
                if fate is not None:
                    found[about, row.id] = fate
    return found


def _whole(world: World, tree: Tree) -> Fate | None:
    maxima = [p for p in _active(world, "document", "maximum") if _fits(p, tree.versions[-1])]
    if tree.archived:
        maxima = [p for p in maxima if p.action in POSSIBLE]
    minima = [
        (p, _began_whole(tree, p.trigger))
        for p in _active(world, "document", "minimum")
        if any(_fits(p, row) for row in tree.versions)
    ]
    for about, row in tree.everything():
        if about != "document":
            minima += [
                (p, _began_single(tree, row, p.trigger))
                for p in _active(world, about, "minimum")
                if _fits(p, row)
            ]
    held = any(
        _covers(hold, about, row) for hold in world.holds for about, row in tree.everything()
    )
    due = [p for p in maxima if _over(p, _began_whole(tree, p.trigger), world.now)]
    return _choose(world, due, minima, held, any(row.long for _, row in tree.everything()))


def _single(world: World, tree: Tree, about: str, row: Row) -> Fate | None:
    mine = [p for p in _active(world, about, "maximum") if _fits(p, row)]
    due = [p for p in mine if _over(p, _began_single(tree, row, p.trigger), world.now)]
    minima = [
        (p, _began_single(tree, row, p.trigger))
        for p in _active(world, about, "minimum")
        if _fits(p, row)
    ]
    minima += [
        (p, _began_whole(tree, p.trigger))
        for p in _active(world, "document", "minimum")
        if any(_fits(p, version) for version in tree.versions)
    ]
    held = any(_covers(hold, about, row) for hold in world.holds) or any(
        _covers(hold, "document", version) for hold in world.holds for version in tree.versions
    )
    return _choose(world, due, minima, held, row.long)


def _choose(
    world: World,
    due: list[Policy],
    minima: list[tuple[Policy, datetime | None]],
    held: bool,
    long: bool,
) -> Fate | None:
    if not due:
        return None
    if held:
        return None, None
    possible = (*POSSIBLE, "compress") if world.compresses and long else POSSIBLE
    able = sorted(
        (p for p in due if p.action in possible or _archives(world, p)),
        key=lambda p: (p.priority, MILDEST.index(p.action), p.name),
    )
    if not able:
        first = min(due, key=lambda p: (p.priority, MILDEST.index(p.action), p.name))
        return None, first.name
    keeping = [(p, began) for p, began in minima if not _over(p, began, world.now)]
    mild = able if not keeping else [p for p in able if p.action in ("compress", "archive")]
    if mild:
        return mild[0].action, mild[0].name
    ends = [(_end(p, began), p.name) for p, began in keeping]
    for_ever = [name for end, name in ends if end is None]
    if for_ever:
        return None, max(for_ever)
    return None, max((end, name) for end, name in ends if end is not None)[1]


def _archives(world: World, policy: Policy) -> bool:
    return world.archives and (policy.action, policy.about) == ("archive", "document")


def _active(world: World, about: str, kind: str) -> Iterator[Policy]:
    return (p for p in world.policies if p.active and p.about == about and p.kind == kind)


def _fits(policy: Policy, row: Row) -> bool:
    return policy.label is None or policy.label == row.label


def _covers(hold: Hold, about: str, row: Row) -> bool:
    if hold.released or hold.about != about:
        return False
    return row.id in hold.ids if hold.ids is not None else hold.label == row.label


def _began_whole(tree: Tree, trigger: str) -> datetime | None:
    rows, last = [row for _, row in tree.everything()], tree.versions[-1]
    if trigger == "created":
        return max(row.created for row in rows)
    if trigger == "updated":
        return max(max(row.created, row.changed) for row in rows)
    if trigger == "superseded":
        return last.created if len(tree.versions) > 1 else None
    if trigger == "deleted":
        times = [row.deleted for row in tree.versions]
        return None if None in times else max(time for time in times if time is not None)
    return last.events.get(trigger)


def _began_single(tree: Tree, row: Row, trigger: str) -> datetime | None:
    if trigger == "created":
        return row.created
    if trigger == "updated":
        return max(row.created, row.changed)
    if trigger == "deleted":
        return _began_whole(tree, trigger)
    return row.events.get(trigger)


def _over(policy: Policy, began: datetime | None, now: datetime) -> bool:
    end = _end(policy, began)
    return end is not None and end <= now


def _end(policy: Policy, began: datetime | None) -> datetime | None:
    """Days one by one; months by trying the same day, then the one before, and so on."""
    if began is None or policy.unit == "forever":
        return None
    if policy.unit == "days":
        return began + timedelta(days=policy.amount)
    months = policy.amount * (12 if policy.unit == "years" else 1)
    year, month = began.year, began.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    for day in range(began.day, 0, -1):
        try:
            return datetime(
                year, month, day, began.hour, began.minute, began.second, began.microsecond, UTC
            )
        except ValueError:
            continue
    return None
