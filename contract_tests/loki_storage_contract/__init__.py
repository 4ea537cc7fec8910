"""The contract kit: proves that a backend keeps the laws of loki-storage.

In a test file of your own, four lines::

    from loki_storage_contract import BackendTarget, contract_suite

    target = BackendTarget("acme", open=open_acme)
    globals().update(contract_suite(target))

A backend is judged through ``loki_storage``'s public protocol and API alone.

To import this package brings in neither Hypothesis nor pytest: what needs them is loaded when it is
asked for, so that laws can be listed and reports be rendered without them.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loki_storage_contract.inventory import LAWS, Law
    from loki_storage_contract.profiles import PROFILES, Profile
    from loki_storage_contract.registry import CHECKS, Check, checks_of, proves
    from loki_storage_contract.runner import judge, run_check, run_target
    from loki_storage_contract.store import Clock, Store
    from loki_storage_contract.suite import contract_suite
    from loki_storage_contract.target import BackendTarget, empty, open_url
    from loki_storage_contract.verdicts import Cell, CheckResult, Failure, Result, Verdict, Waiver

__all__ = [
    "CHECKS",
    "LAWS",
    "PROFILES",
    "BackendTarget",
    "Cell",
    "Check",
    "CheckResult",
    "Clock",
    "Failure",
    "Law",
    "Profile",
    "Result",
    "Store",
    "Verdict",
    "Waiver",
    "checks_of",
    "contract_suite",
    "empty",
    "judge",
    "open_url",
    "proves",
    "run_check",
    "run_target",
]

_LIGHT = {
    "inventory": ("LAWS", "Law"),
    "verdicts": ("Cell", "CheckResult", "Failure", "Result", "Verdict", "Waiver"),
}
_HEAVY = {
    "profiles": ("PROFILES", "Profile"),
    "registry": ("CHECKS", "Check", "checks_of", "proves"),
    "runner": ("judge", "run_check", "run_target"),
    "store": ("Clock", "Store"),
    "suite": ("contract_suite",),
    "target": ("BackendTarget", "empty", "open_url"),
}
_MODULES = {name: module for module, names in (_LIGHT | _HEAVY).items() for name in names}

if "pytest" in sys.modules:
    import pytest

    # Assertions outside of test files explain themselves only if pytest is told of them first.
    for _name in ("books", "laws", "machine", "reads", "store", "trail"):
        pytest.register_assert_rewrite(f"{__name__}.{_name}")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    if _MODULES[name] == "registry":
        import_module(f"{__name__}.laws")  # registers the checks
    return getattr(module, name)
