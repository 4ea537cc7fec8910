"""The host's own access control: ``loki_authorize`` is asked once per operation, before its reads.

The public methods of a class that inherits ``Operations`` are operations, unless they are marked
as none: a new one cannot be forgotten. Where a plugin implements the hook, instances become those
of a subclass whose operations ask first; where none does, nothing is wrapped and nothing costs.
Operations that call each other are one operation, and so is all that a plugin reads to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from types import FunctionType
from typing import Any, TypeVar

import attrs

__all__ = [
    "Authority",
    "Operations",
    "authority_of",
    "decided_before",
    "not_an_operation",
    "operations_of",
]

F = TypeVar("F", bound=Callable[..., Any])
_INSIDE: ContextVar[bool] = ContextVar("loki_storage_inside_operation", default=False)
_END = object()


@attrs.frozen
class Authority:
    """Who decides (the hook of all plugins), and about whom (the session's context)."""

    hook: Callable[..., object]
    context: Any

    def ask(self, actions: tuple[str, ...]) -> None:
        """Return where every plugin agrees; what a plugin raises is passed on."""
        for action in actions:
            self.hook(action=action, context=self.context)


def authority_of(hooks: Any, context: Any) -> Authority | None:
    """The authority of these plugins; None where none of them implements the hook."""
    hook = hooks.loki_authorize
    return Authority(hook, context) if hook.get_hookimpls() else None


def not_an_operation(method: F) -> F:
    """Mark a public method that reads and writes nothing by itself."""
    method.__dict__["loki_wrapper"] = None
    return method


def decided_before(method: F) -> F:
    """Mark a public method that finishes what was decided, operation by operation: a commit."""
    method.__dict__["loki_wrapper"] = _finishing
    return method


class Operations:
    """Its public methods are operations."""

    _authority: Authority | None = None

    def _obey(self, authority: Authority | None) -> None:
        """Ask this authority from now on; to be called when an instance is made."""
        self._authority = authority
        if authority is not None:
            cls: Any = type(self)
            self.__class__ = _asking(cls)

    @not_an_operation
    def authorize(self, action: str) -> None:
        """Ask about an operation that is none of this class's methods: an export, a backup."""
        if self._authority is not None and not _INSIDE.get():
            with _inside():
                self._authority.ask((action,))

    def _actions(self, name: str, arguments: tuple[object, ...]) -> tuple[str, ...]:
        """What a call of this method is asked as."""
        return (f"{type(self).__name__}.{name}",)


def operations_of(cls: type[Operations]) -> list[str]:
    """The names of a class's operations, sorted."""
    return [name for name, wrapper in _wrappers(cls) if wrapper is _operation]


@cache
def _asking(cls: type[Any]) -> type[Any]:
    """The subclass whose operations ask; of one that does, itself."""
    if "loki_asks" in vars(cls):
        return cls
    wrapped = {name: wrapper(name, getattr(cls, name)) for name, wrapper in _wrappers(cls)}
    make: Any = type(cls)  # the metaclass
    asking: type[Any] = make(cls.__name__, (cls,), {**wrapped, "loki_asks": True})
    return asking


def _wrappers(cls: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods that are to be wrapped, and by what."""
    for name in dir(cls):
        method = None if name.startswith("_") else getattr(cls, name)
        if isinstance(method, FunctionType):
            wrapper = getattr(method, "loki_wrapper", _operation)
            if wrapper is not None:
                yield name, wrapper


def _operation(name: str, method: FunctionType) -> Callable[..., Any]:
    @wraps(method)
    def asked(self: Operations, *args: Any, **named: Any) -> Any:
        if _INSIDE.get() or self._authority is None:
            return method(self, *args, **named)
        with _inside():
            self._authority.ask(self._actions(name, (*args, *named.values())))
            found = method(self, *args, **named)
        return _streamed(found) if isinstance(found, Iterator) else found

    return asked


def _finishing(name: str, method: FunctionType) -> Callable[..., Any]:
    @wraps(method)
    def finishing(self: Operations, *args: Any, **named: Any) -> Any:
        with _inside():
            return method(self, *args, **named)

    return finishing


@contextmanager
def _inside() -> Iterator[None]:
    token = _INSIDE.set(True)
    try:
        yield
    finally:
        _INSIDE.reset(token)


def _streamed(found: Iterator[Any]) -> Iterator[Any]:
    """What an operation gives later is still part of it."""
    try:
        while True:
            with _inside():
                item = next(found, _END)
            if item is _END:
                return
            yield item
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()
