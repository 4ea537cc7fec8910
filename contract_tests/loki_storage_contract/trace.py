"""The trace of an example: the calls that lead to a failure, as one would write them.

Calls are kept as they are and spelled only when somebody wants to read them: examples that pass
cost next to nothing.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from enum import Enum
from functools import wraps
from inspect import isgenerator
from typing import Any

import attrs

from loki_storage.batch import Batch
from loki_storage.models import Record
from loki_storage.protocol import Backend

__all__ = ["DERIVED", "REQUIRED", "Trace", "overrides", "spelled"]

REQUIRED = ("reserve", "select", "apply", "close")
DERIVED = (
    *("get_many", "select_many", "count", "exists", "aggregate", "rows", "lines", "search"),
    *("dump", "load", "snapshot", "ping", "stats", "migrate", "engine", "compact", "turn"),
)
"""What has a default; a capability is an override of one of these."""
_TRACED = ("reserve", "select", "apply", *DERIVED[:10])
LONGEST = 40
"""How many calls are shown; those before are counted."""


def overrides(backend: Backend) -> tuple[str, ...]:
    """The derived methods that a backend overrides."""
    kind = type(backend)
    return tuple(name for name in DERIVED if getattr(kind, name) is not getattr(Backend, name))


class Trace:
    """What was called in one example: on the API where a check says so, and on the backends."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._called: list[tuple[str, tuple[Any, ...], Mapping[str, Any]]] = []
        self._inside = threading.local()

    def clear(self) -> None:
        """Begin another example."""
        self._said.clear()
        self._called.clear()

    def say(self, text: str) -> None:
        """Note a call of the API, or a thing that happened."""
        self._said.append(text)

    def watch(self, backend: Backend, name: str) -> None:
        """Note the protocol calls on a backend, those that it makes of itself left out.

        A backend is watched by one trace at a time: the last one that was asked to.
        """
        for method in _TRACED:
            found = getattr(backend, method)
            original = getattr(found, "watched", found)
            setattr(backend, method, self._noting(original, f"{name}.{method}"))

    def _noting(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            if getattr(self._inside, "call", False):
                return method(*args, **options)
            self._called.append((name, args, options))
            self._inside.call = True
            try:
                found = method(*args, **options)
            finally:
                self._inside.call = False
            lazy = isgenerator(found) and not name.endswith("select")
            return self._quietly(found) if lazy else found

        vars(call)["watched"] = method
        return call

    def _quietly(self, found: Iterator[Any]) -> Iterator[Any]:
        """What a derived method calls only when it is read is its own business too."""
        while True:
            self._inside.call = True
            try:
                record = next(found)
            except StopIteration:
                return
            finally:
                self._inside.call = False
            yield record

    def lines(self) -> tuple[str, ...]:
        """The calls in order: those of the API, or where a check names none, of the protocol."""
        found = self._said or [_call(*called) for called in self._called[-LONGEST:]]
        hidden = 0 if self._said else max(0, len(self._called) - LONGEST)
        return (*([f"# {hidden} calls before"] if hidden else []), *found)


def _call(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    named = [f"{option}={spelled(value)}" for option, value in options.items()]
    return f"{name}({', '.join([*map(spelled, args), *named])})"


def spelled(value: Any) -> str:
    """A value as one would write it. Reprs of records and queries hide what is in them."""
    match value:
        case Record():
            fields = {field: getattr(value, field) for field in value.domains}
            shown = {field: content for field, content in fields.items() if content is not None}
            return _call(type(value).__name__, (), shown)
        case Batch():
            return _call("Batch", (value.tenant, list(value.operations)), {})
        case Enum():
            return repr(value.value)
        case type():
            return value.__name__
        case date():
            return f"time({value.isoformat()!r})"
        case list() | tuple() | set() | frozenset():
            return f"[{', '.join(map(spelled, value))}]"
        case dict():
            return f"{{{', '.join(f'{spelled(k)}: {spelled(v)}' for k, v in value.items())}}}"
    return _construction(value) if attrs.has(type(value)) else repr(value)


def _construction(value: Any) -> str:
    """What builds an attrs value: parts without a default by place, others by name."""
    fields = attrs.fields(type(value))
    needed = tuple(getattr(value, f.name) for f in fields if f.default is attrs.NOTHING)
    others = {f.name: (getattr(value, f.name), _default(f)) for f in fields}
    changed = {name: part for name, (part, default) in others.items() if part != default}
    named = {name: part for name, part in changed.items() if others[name][1] is not attrs.NOTHING}
    return _call(type(value).__name__, needed, named)


def _default(field: "attrs.Attribute[Any]") -> Any:
    default: Any = field.default
    return default.factory() if hasattr(default, "factory") else default
