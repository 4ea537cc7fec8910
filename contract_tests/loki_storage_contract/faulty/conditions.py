"""Faults of reads: what a condition means."""

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from loki_storage.models import Document
from loki_storage.query import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Query,
    Text,
)
from loki_storage_contract.faulty.catalogue import Faulty, breaks, rewritten

__all__: list[str] = []


class Rewriting(Faulty):
    """Takes each leaf of a condition for another one."""

    def leaf(self, condition: Condition) -> Condition:
        """What it is taken for."""
        raise NotImplementedError

    def select(self, query: Query) -> Iterator[Any]:
        return super().select(rewritten(query, self.leaf))


@breaks("QRY-5", over=("memory", "sqlite"))
class MissingFieldMatchesAnything(Rewriting):
    """A filter on the field of a row that has none is ignored."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case Compare(field, op) if op != "ne":
                return Or([condition, IsNull(field)])
        return condition


@breaks("QRY-5", over=("memory", "sqlite"))
class NotEqualsDropsNulls(Rewriting):
    """``not_equals`` leaves NULL rows out, as SQL does."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case Compare(field, "ne", value) if value is not None:
                return And([condition, Not(IsNull(field))])
        return condition


def negating(query: Query, change: Callable[[Condition], Condition]) -> Query:
    """The query with each negated leaf changed, its ``Not`` included."""

    def of(condition: Condition) -> Condition:
        match condition:
            case And(parts) | Or(parts):
                return type(condition)(map(of, parts))
            case Not():
                return change(condition)
        return condition

    return query.evolve(where=of(query.where))


@breaks("QRY-5")
class NotInDropsNulls(Faulty):
    """``NOT IN (...)`` leaves NULL rows out, as SQL does."""

    def select(self, query: Query) -> Iterator[Any]:
        def change(condition: Condition) -> Condition:
            match condition:
                case Not(In(field, values)) if values:
                    return And([condition, Not(IsNull(field))])
            return condition

        return super().select(negating(query, change))


@breaks("QRY-5", over=("memory", "sqlite"))
class NotOfAComparisonDropsNulls(Faulty):
    """``NOT (NULL < 5)`` is no answer, as in SQL."""

    def select(self, query: Query) -> Iterator[Any]:
        def change(condition: Condition) -> Condition:
            match condition:
                case Not(Compare(field) | Text(_, field)):
                    return And([condition, Not(IsNull(field))])
            return condition

        return super().select(negating(query, change))


@breaks("QRY-5")
class NotOfSeveralIsNotOfEach(Faulty):
    """``Not(And(a, b))`` is read as ``And(Not(a), Not(b))``."""

    def select(self, query: Query) -> Iterator[Any]:
        def change(condition: Condition) -> Condition:
            match condition:
                case Not(And(parts)) if len(parts) > 1:
                    return And(map(Not, parts))
            return condition

        return super().select(negating(query, change))


@breaks("QRY-5")
class OrOfNothingIsTrue(Faulty):
    """An ``Or`` without conditions matches everything."""

    def select(self, query: Query) -> Iterator[Any]:
        where = And(()) if query.where == Or(()) else query.where
        return super().select(query.evolve(where=where))


@breaks("QRY-5")
class InForgetsNull(Rewriting):
    """None among the values of ``In`` matches nothing."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case In(field, values) if None in values:
                return In(field, [value for value in values if value is not None])
        return condition


@breaks("QRY-3", over=("memory", "sqlite"))
class EmptyListMatchesAll(Rewriting):
    """``in []`` returns all rows."""

    def leaf(self, condition: Condition) -> Condition:
        return And(()) if isinstance(condition, In) and not condition.values else condition


@breaks("QRY-5")
class InTakesAThousand(Rewriting):
    """``In`` looks at its first thousand values only."""

    def leaf(self, condition: Condition) -> Condition:
        return (
            In(condition.field, condition.values[:1000]) if isinstance(condition, In) else condition
        )


@breaks("QRY-5", over=("memory", "sqlite"))
class BoundsAreIncluded(Rewriting):
    """``less_than`` includes its bound."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case Compare(field, "lt", value):
                return Compare(field, "le", value)
        return condition


@breaks("QRY-5")
class BoundsAreExcluded(Rewriting):
    """``at_least`` excludes its bound."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case Compare(field, "ge", value):
                return Compare(field, "gt", value)
        return condition


@breaks("QRY-5")
class SeverityComparedByAlphabet(Rewriting):
    """Comparisons of severities go by the words, not by rank."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case Compare("severity" | "overall_risk" as field, ("lt" | "gt") as op, value):
                words = ["critical", "high", "low", "medium", "none"]
                place = words.index(str(value))
                return In(field, words[:place] if op == "lt" else words[place + 1 :])
        return condition


@breaks("QRY-4", over=("memory", "sqlite"))
class PercentIsAWildcard(Rewriting):
    """``%`` in a text stands for anything."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, Text) and "%" in condition.text:
            parts = condition.text.split("%")
            return And([attrs.evolve(condition, text=part) for part in parts])
        return condition


@breaks("QRY-4")
class UnderscoreIsAWildcard(Faulty):
    """``_`` in a text stands for any character."""

    def select(self, query: Query) -> Iterator[Any]:
        match query.where:
            case Text("contains", field, "_"):
                found = super().select(query.evolve(where=And(())))
                return (row for row in found if getattr(row, field))
        return super().select(query)


@breaks("QRY-4")
class BackslashIsAnEscape(Rewriting):
    """A backslash in a text takes away the meaning of what follows, and goes."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, Text) and "\\" in condition.text:
            return attrs.evolve(condition, text=condition.text.replace("\\", "", 1))
        return condition


@breaks("QRY-4")
class StartsWithLooksAnywhere(Rewriting):
    """``starts_with`` finds the text anywhere."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, Text) and condition.op == "starts_with":
            return attrs.evolve(condition, op="contains")
        return condition


@breaks("QRY-4", over=("memory", "sqlite"))
class CaseIsIgnored(Rewriting):
    """A search that asks for the case gets any, as with ``LIKE``."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, Text):
            return attrs.evolve(condition, case_sensitive=False)
        return condition


@breaks("QRY-4")
class FoldsAsciiOnly(Faulty):
    """A search without regard to case folds A to Z and nothing else, as SQLite's ``LIKE`` does."""

    def select(self, query: Query) -> Iterator[Any]:
        found = super().select(query)
        match query.where:
            case Text("contains", field, text, False):
                folded = ascii_lower(text)
                return (row for row in found if folded in ascii_lower(getattr(row, field)))
        return found


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if "A" <= c <= "Z" else c for c in text)


@breaks("QRY-5")
class JsonNumbersAreLoose(Rewriting):
    """``1`` and ``1.0`` are one value at a path of JSON."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, JsonEquals) and condition.value in ("1", "1.0"):
            return Or([attrs.evolve(condition, value=value) for value in (1, 1.0)])
        return condition


@breaks("QRY-5")
class JsonNullIsNotMissing(Faulty):
    """A path that leads nowhere is not NULL."""

    def select(self, query: Query) -> Iterator[Any]:
        found = super().select(query)
        match query.where:
            case JsonEquals(field, path, None) if path:
                return (row for row in found if row.stored(field) is not None)
        return found


@breaks("QRY-5")
class JsonPathsStopAtLists(Rewriting):
    """A path of JSON does not lead into a list."""

    def leaf(self, condition: Condition) -> Condition:
        match condition:
            case JsonEquals(field, path) if any(isinstance(step, int) for step in path):
                return And([IsNull(field), Not(IsNull(field))])
        return condition


@breaks("QRY-10", over=("memory", "sqlite"))
class NotInQueryDropsNulls(Faulty):
    """A NULL field is in no answer, and in the complement of none either."""

    def select(self, query: Query) -> Iterator[Any]:
        def change(condition: Condition) -> Condition:
            match condition:
                case Not(InQuery(field)):
                    return And([condition, Not(IsNull(field))])
            return condition

        return super().select(negating(query, change))


@breaks("QRY-10")
class InnerConditionsAreIgnored(Rewriting):
    """A query inside of another one matches all of its kind."""

    def leaf(self, condition: Condition) -> Condition:
        if isinstance(condition, InQuery):
            return attrs.evolve(condition, query=condition.query.evolve(where=And(())))
        return condition


@breaks("QRY-10")
class InnerQueryCrossesTenants(Faulty):
    """What a query inside of another one finds in any tenant counts."""

    def select(self, query: Query) -> Iterator[Any]:
        match query.where:
            case InQuery(field, inner, its_field) if inner.kind is Document:
                values = {row.stored(its_field) for row in self.inner.select(inner)}
                return super().select(query.evolve(where=In(field, values - {None})))
        return super().select(query)


@breaks("TEN-1", over=("memory", "sqlite"))
class ReadsEveryTenantById(Faulty):
    """What is asked for by id is found in any tenant."""

    def select(self, query: Query) -> Iterator[Any]:
        by_id = isinstance(query.where, Compare) and query.where.field == "id"
        return super().select(query.evolve(tenant=None) if by_id else query)


@breaks("QRY-5")
class TenantsAreFoldedToOne(Faulty):
    """Tenants that differ in case only are one when read."""

    def select(self, query: Query) -> Iterator[Any]:
        if query.tenant is None:
            return super().select(query)
        found = super().select(query.evolve(tenant=None))
        return (row for row in found if row.tenant_id.lower() == str(query.tenant).lower())
