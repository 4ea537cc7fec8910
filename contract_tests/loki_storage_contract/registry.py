"""The checks: functions that prove laws, registered by the modules in ``laws/``."""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
from hypothesis.strategies import SearchStrategy

from loki_storage_contract.inventory import LAWS, Claim

__all__ = ["CHECKS", "Check", "checks_of", "proves", "unproven"]

CheckFunction = TypeVar("CheckFunction", bound=Callable[..., object])


@attrs.frozen
class Check:
    """A property (it has ``drawn``), a scenario or a state machine; fails where a law is broken.

    ``function(store, **drawn)`` is given an empty ``Store``; a state machine takes its ``store``
    from its class. ``share``: how many examples it needs, as a share of the profile's.
    """

    name: str
    laws: tuple[str, ...]
    function: Callable[..., object]
    drawn: dict[str, SearchStrategy[Any]]
    needs: tuple[Claim, ...] = ()
    share: float = 1.0
    derived: str | None = None
    """The derived method that it is about; on a backend that does not override it: *absent*."""
    cells: frozenset[tuple[str, str]] = frozenset()
    """Which outcomes of which rules must occur."""
    exhaustive: bool = False
    """It goes through all there is, which takes seconds: for thorough profiles only."""


CHECKS: dict[str, Check] = {}
"""Every check by name, in the order of registration."""


def proves(
    *laws: str,
    needs: tuple[Claim, ...] = (),
    share: float = 1.0,
    derived: str | None = None,
    cells: Iterable[tuple[str, str]] = (),
    exhaustive: bool = False,
    **drawn: SearchStrategy[Any],
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a function or a state machine as a check of these laws.

    ``drawn`` makes a function a property.

    Raises ``KeyError`` for an unknown law, ``ValueError`` for a name that is taken.
    """

    def register(function: CheckFunction) -> CheckFunction:
        name = f"{LAWS[laws[0]].id.lower().replace('-', '')}_{_snake(function.__name__)}"
        if name in CHECKS:
            raise ValueError(f"two checks are named {name}")
        required = frozenset(cells)
        CHECKS[name] = Check(
            name, laws, function, drawn, needs, share, derived, required, exhaustive
        )
        return function

    return register


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def checks_of(law: str) -> list[Check]:
    """The checks that cite a law."""
    return [check for check in CHECKS.values() if law in check.laws]


def unproven() -> list[str]:
    """The laws that no check cites."""
    return [law for law in LAWS if not checks_of(law)]
