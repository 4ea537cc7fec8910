"""Faults of one type of field, one kind of query or one size only: what chance may overlook."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from loki_storage.batch import Batch, Insert, Operation
from loki_storage.errors import Duplicate
from loki_storage.models import Correction
from loki_storage.protocol import Count, CountDistinct, Day, Group, Max, Measure, Min
from loki_storage.query import And, Compare, Condition, Query, Text
from loki_storage.values import JsonText
from loki_storage_contract.faulty.catalogue import Faulty, breaks, changed_batch, rewritten
from loki_storage_contract.faulty.stored import StoringText

__all__: list[str] = []


# --- Values ---------------------------------------------------------------------------------------


@breaks("VAL-2")
class RewritesTimesInText(StoringText):
    """A text that looks like a time is kept as one: ``Z`` becomes ``+00:00``."""

    def text(self, text: str) -> str:
        is_time = re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", text)
        return text.replace("Z", "+00:00") if is_time else text


@breaks("VAL-2")
class UnescapesEntities(StoringText):
    """``&amp;`` comes back as ``&``, as from a page."""

    def text(self, text: str) -> str:
        return text.replace("&amp;", "&")


@breaks("VAL-2")
class CutsTextsOfCorrections(Faulty):
    """Texts of corrections have 4,000 characters at most."""

    def apply(self, batch: Batch) -> None:
        def cut(value: Any) -> Any:
            return value[:4000] if type(value) is str else value

        super().apply(changed_batch(batch, cut, Correction))


@breaks("VAL-4")
class GivesTimesAnotherZone(Faulty):
    """Times come back with an offset of zero that is not UTC."""

    def select(self, query: Query) -> Iterator[Any]:
        zone = timezone(timedelta(0), "GMT")
        for record in super().select(query):
            stored = {field: record.stored(field) for field in record.domains}
            times = {f: v for f, v in stored.items() if isinstance(v, datetime)}
            yield record.replaced({f: time.replace(tzinfo=zone) for f, time in times.items()})


# --- Guards and keys ------------------------------------------------------------------------------


class LooseGuards(Faulty):
    """Takes some of the values that guards ask for as met."""

    def met(self, asked: Any, stored: Any) -> bool:
        """Whether the guard is taken as met."""
        raise NotImplementedError

    def apply(self, batch: Batch) -> None:
        loosened = (self._loosened(operation, batch.tenant) for operation in batch.operations)
        super().apply(Batch(batch.tenant, loosened))

    def _loosened(self, operation: Operation, tenant: str) -> Operation:
        if isinstance(operation, Insert):
            return operation
        row = self.get_many(operation.kind, [operation.id], tenant).get(operation.id)
        guard = {
            field: asked
            for field, asked in operation.guard.items()
            if row is None or not self.met(asked, row.stored(field))
        }
        return attrs.evolve(operation, guard=guard)


@breaks("BAT-4")
class GuardsNoTimes(LooseGuards):
    """A guard on a time holds whatever is there."""

    def met(self, asked: Any, stored: Any) -> bool:
        return isinstance(asked, datetime)


@breaks("BAT-4")
class GuardsNoFloats(LooseGuards):
    """A guard on a number with a fraction holds whatever is there."""

    def met(self, asked: Any, stored: Any) -> bool:
        return isinstance(asked, float)


@breaks("BAT-4")
class GuardsNoJson(LooseGuards):
    """A guard on JSON holds whatever is there."""

    def met(self, asked: Any, stored: Any) -> bool:
        return isinstance(asked, JsonText)


@breaks("BAT-4")
class GuardsInAnyCase(LooseGuards):
    """A guard on a text holds in any case."""

    def met(self, asked: Any, stored: Any) -> bool:
        texts = isinstance(asked, str) and isinstance(stored, str)
        return texts and asked.casefold() == stored.casefold()


@breaks("BAT-4")
class TellsKeysBackwards(Faulty):
    """The fields of a key that is taken are told in another order."""

    def apply(self, batch: Batch) -> None:
        try:
            super().apply(batch)
        except Duplicate as error:
            raise Duplicate(error.kind, error.fields[::-1]) from error


# --- Tenants --------------------------------------------------------------------------------------


@breaks("BAT-1")
class TrimsTenants(Faulty):
    """A tenant whose name ends with a blank reads as the one without."""

    def select(self, query: Query) -> Iterator[Any]:
        trimmed = (query.tenant or "").rstrip(" ") or query.tenant
        return super().select(query.evolve(tenant=trimmed))


@breaks("BAT-1")
class TakesTenantsForPatterns(Faulty):
    """A tenant with ``%`` in its name reads what all tenants have."""

    def select(self, query: Query) -> Iterator[Any]:
        return super().select(query.evolve(tenant=None) if "%" in (query.tenant or "") else query)


# --- Queries --------------------------------------------------------------------------------------


@breaks("QRY-5")
class IgnoresBlanksAtTheEnd(Faulty):
    """``"a "`` equals ``"a"``, as in the SQL standard."""

    def select(self, query: Query) -> Iterator[Any]:
        def trimmed(leaf: Condition) -> Condition:
            if isinstance(leaf, Compare) and leaf.op == "eq" and type(leaf.value) is str:
                return attrs.evolve(leaf, value=leaf.value.rstrip(" "))
            return leaf

        return super().select(rewritten(query, trimmed))


EQUAL_NAMES = {(field, "eq") for field in ("title", "name", "user_id")}


@breaks("QRY-5")
class FindsTitlesInAnyCase(Faulty):
    """Titles, names and users are equal in any case."""

    def select(self, query: Query) -> Iterator[Any]:
        def folded(leaf: Condition) -> Condition:
            if isinstance(leaf, Compare) and (leaf.field, leaf.op) in EQUAL_NAMES:
                text, field = str(leaf.value), leaf.field
                first = Text("starts_with", field, text, case_sensitive=False)
                return And((first, Text("ends_with", field, text, case_sensitive=False)))
            return leaf

        return super().select(rewritten(query, folded))


@breaks("QRY-5")
class ComparesDays(Faulty):
    """Before a time means before its day."""

    def select(self, query: Query) -> Iterator[Any]:
        def by_day(leaf: Condition) -> Condition:
            if isinstance(leaf, Compare) and leaf.op == "lt" and isinstance(leaf.value, datetime):
                day = datetime.combine(leaf.value.date(), datetime.min.time(), UTC)
                return attrs.evolve(leaf, value=day)
            return leaf

        return super().select(rewritten(query, by_day))


@breaks("QRY-1")
class EndsAtACursorOfNull(Faulty):
    """No page comes behind a row whose key is NULL."""

    def select(self, query: Query) -> Iterator[Any]:
        if query.after and query.after[0] is None:
            return iter(())
        return super().select(query)


# --- Derived methods ------------------------------------------------------------------------------


@breaks("ACC-1")
class GetsFiveHundred(Faulty):
    """``get_many`` looks at the first 500 ids."""

    def get_many(self, kind: type[Any], ids: Iterable[int], tenant: str | None) -> dict[int, Any]:
        return super().get_many(kind, list(ids)[:500], tenant)


@breaks("ACC-1")
class ReadsIdsTwice(Faulty):
    """``get_many`` goes through its ids twice, which an iterator allows once."""

    def get_many(self, kind: type[Any], ids: Iterable[int], tenant: str | None) -> dict[int, Any]:
        if not list(ids):
            return {}
        return super().get_many(kind, ids, tenant)


@breaks("ACC-7")
class SearchesWithoutLimit(Faulty):
    """``search`` gives all that it finds."""

    def search(self, query: Query) -> Iterator[Any]:
        return super().search(query.evolve(limit=None))


class Aggregating(Faulty):
    """Makes something else of what is measured."""

    def groups(self, groups: list[Group], measures: Sequence[Measure]) -> list[Group]:
        """What comes instead."""
        raise NotImplementedError

    def aggregate(
        self, query: Query, by: Sequence[str | Day] = (), measures: Sequence[Measure] = (Count(),)
    ) -> list[Group]:
        return self.groups(super().aggregate(query, by, measures), measures)


@breaks("ACC-5")
class CountsNullAsAValue(Aggregating):
    """``CountDistinct`` has one too many."""

    def groups(self, groups: list[Group], measures: Sequence[Measure]) -> list[Group]:
        more = [int(isinstance(measure, CountDistinct)) for measure in measures]
        return [Group(g.key, tuple(map(_plus, g.values, more))) for g in groups]


def _plus(value: Any, more: int) -> Any:
    return value + more if more else value


@breaks("ACC-5")
class HasNoLeastText(Aggregating):
    """``Min`` and ``Max`` of texts and words are None."""

    def groups(self, groups: list[Group], measures: Sequence[Measure]) -> list[Group]:
        ends = [isinstance(measure, Min | Max) for measure in measures]
        return [
            Group(
                group.key,
                tuple(
                    None if end and isinstance(value, str) else value
                    for end, value in zip(ends, group.values, strict=True)
                ),
            )
            for group in groups
        ]


@breaks("ACC-5")
class GroupsUnderPlainText(Aggregating):
    """Groups of a vocabulary have the stored words as keys, not its members."""

    def groups(self, groups: list[Group], measures: Sequence[Measure]) -> list[Group]:
        return [Group(tuple(map(_plain, group.key)), group.values) for group in groups]


def _plain(key: Any) -> Any:
    return str.__str__(key) if isinstance(key, str) else key


@breaks("ACC-5")
class HasTwentyGroups(Aggregating):
    """An aggregate has twenty groups at most."""

    def groups(self, groups: list[Group], measures: Sequence[Measure]) -> list[Group]:
        return groups[:20]
