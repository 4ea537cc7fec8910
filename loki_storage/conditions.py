"""The conditions of queries, and the ways through them that no depth can break.

Conditions may stand inside one another as deep as one can build them: nothing here recurses, and
what goes through a condition elsewhere uses ``walk``, ``fold`` or ``spelled``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from loki_storage.errors import InvalidValue
from loki_storage.values import JsonText, JsonValue

if TYPE_CHECKING:
    from loki_storage.query import Query

__all__ = [
    "And",
    "Compare",
    "Condition",
    "In",
    "InQuery",
    "IsNull",
    "JsonEquals",
    "Not",
    "Or",
    "Text",
    "all_of",
    "any_of",
    "equals",
    "fold",
    "fold_walked",
    "listed",
    "parts_of",
    "spelled",
    "type_name",
    "walk",
]

T = TypeVar("T")
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
TextOperator = Literal["contains", "starts_with", "ends_with"]


def type_name(value: object) -> str:
    """What a repr, and with it a log, may tell of a value."""
    return f"<{type(value).__name__}>"


def listed(name: str, parts: object) -> tuple[Any, ...]:
    """The parts as a tuple. Text would come apart into its characters: it is refused."""
    if type(parts) is tuple:
        return parts
    if isinstance(parts, str | bytes) or not isinstance(parts, Iterable):
        raise InvalidValue(name, "must be a sequence")
    return tuple(parts)


def _members(members: Iterable[object]) -> tuple[object, ...]:
    return listed("values", members)


def _path(path: Iterable[str | int]) -> tuple[str | int, ...]:
    return listed("path", path)


def _conditions(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return listed("conditions", conditions)


@attrs.frozen
class Compare:
    """``field`` compared with a value that is not None, in the total order's terms (QRY-5)."""

    field: str
    op: Operator
    value: object = attrs.field(repr=type_name)


@attrs.frozen
class In:
    """``field`` is one of the values; None among them includes NULL rows (QRY-3, QRY-5)."""

    field: str
    values: tuple[object, ...] = attrs.field(converter=_members, repr=type_name)


@attrs.frozen
class IsNull:
    """``field`` is NULL."""

    field: str


@attrs.frozen
class Text:
    """Literal text matching; case-insensitive means ``str.casefold`` on both sides (QRY-4)."""

    op: TextOperator
    field: str
    text: str = attrs.field(repr=type_name)
    case_sensitive: bool = True


@attrs.frozen
class JsonEquals:
    """The value at a path in a JSON field has this canonical text; None: missing or null (QRY-5).

    A checked query holds ``value`` as ``JsonText``.
    """

    field: str
    path: tuple[str | int, ...] = attrs.field(converter=_path)
    value: JsonText | JsonValue = attrs.field(repr=type_name)


@attrs.frozen
class InQuery:
    """``field`` is among the ``its_field`` of what another query of the tenant matches (QRY-10).

    NULL is never among them: neither a NULL field matches, nor a NULL in the other query's answer.
    """

    field: str
    query: Query
    its_field: str


class _Junction:
    """A condition of conditions. Compared, hashed and told without recursion."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_alike, _nodes(self), _nodes(other)))

    def __hash__(self) -> int:
        return hash(tuple(_shape(node) or node for node in _nodes(self)))

    def __repr__(self) -> str:
        return spelled(self, _as_python)  # type: ignore[arg-type]


@attrs.frozen(eq=False, repr=False)
class And(_Junction):
    """All conditions hold; none: true."""

    conditions: tuple[Condition, ...] = attrs.field(converter=_conditions)


@attrs.frozen(eq=False, repr=False)
class Or(_Junction):
    """At least one condition holds; none: false."""

    conditions: tuple[Condition, ...] = attrs.field(converter=_conditions)


@attrs.frozen(eq=False, repr=False)
class Not(_Junction):
    """The complement of a condition: there is no third value (QRY-5)."""

    condition: Condition


Condition = Compare | In | IsNull | Text | JsonEquals | InQuery | And | Or | Not


def all_of(*conditions: Condition) -> Condition:
    """All of them, without needless nesting."""
    return _joined(And, conditions)


def any_of(*conditions: Condition) -> Condition:
    """At least one of them, without needless nesting."""
    return _joined(Or, conditions)


def _joined(node: type[And] | type[Or], conditions: Iterable[Condition]) -> Condition:
    parts: list[Condition] = []
    for condition in conditions:
        parts.extend(condition.conditions if isinstance(condition, node) else (condition,))
    return parts[0] if len(parts) == 1 else node(parts)


def equals(**fields: object) -> Condition:
    """Each field equals its value; None means NULL."""
    return all_of(*(_equal(field, value) for field, value in fields.items()))


def _equal(field: str, value: object) -> Condition:
    return IsNull(field) if value is None else Compare(field, "eq", value)


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that a condition is made of; of a leaf none."""
    if isinstance(condition, And | Or):
        return condition.conditions
    return (condition.condition,) if isinstance(condition, Not) else ()


def walk(condition: Condition) -> Iterator[Condition]:
    """A condition and all that it is made of, each before its parts, in their order."""
    todo = [condition]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, _Junction):
            todo += parts_of(node)[::-1]


def fold(condition: Condition, make: Callable[[Condition, list[T]], T]) -> T:
    """``make(node, what was made of its parts)``, from the leaves up."""
    return fold_walked([*walk(condition)], make)


def fold_walked(nodes: Sequence[Condition], make: Callable[[Condition, list[T]], T]) -> T:
    """The same for whom has walked already."""
    made: list[T] = []
    for node in reversed(nodes):  # each after its parts, the last part first
        if isinstance(node, _Junction):
            start = len(made) - len(parts_of(node))
            parts = made[start:][::-1]
            del made[start:]
            made.append(make(node, parts))
        else:
            made.append(make(node, []))
    return made[0]


def spelled(condition: Condition, spell: Callable[[Condition], Sequence[str | Condition]]) -> str:
    """A condition as text: ``spell`` says what stands for it, its parts among that as they are."""
    words: list[str] = []
    todo: list[str | Condition] = [condition]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            words.append(item)
        else:
            todo.extend(reversed(spell(item)))
    return "".join(words)


def _nodes(junction: _Junction) -> Iterator[Condition]:
    return walk(junction)  # type: ignore[arg-type]


def _alike(ours: Condition, theirs: Condition) -> bool:
    """Of two nodes at one place; with those before them alike, so are their places."""
    shape = _shape(ours)
    return shape == _shape(theirs) if shape else ours == theirs


def _shape(node: Condition) -> tuple[type, int] | None:
    """What a junction adds to the order of ``walk``, to tell the whole tree; of a leaf None."""
    return (type(node), len(parts_of(node))) if isinstance(node, _Junction) else None


def _as_python(node: Condition) -> Sequence[str | Condition]:
    match node:
        case And(parts) | Or(parts):
            told: list[str | Condition] = [f"{type(node).__name__}(conditions=("]
            for part in parts:
                told += [part, ", "]
            return [*told[: -1 if len(parts) > 1 else None], "))"]
        case Not(part):
            return ["Not(condition=", part, ")"]
    return [repr(node)]
