"""From a target to test functions that pytest collects."""

from collections.abc import Callable

import pytest

from loki_storage_contract import profiles
from loki_storage_contract.profiles import Profile
from loki_storage_contract.registry import CHECKS, Check
from loki_storage_contract.runner import run_check
from loki_storage_contract.target import BackendTarget

__all__ = ["contract_suite"]

Test = Callable[[], None]


def contract_suite(target: BackendTarget, profile: Profile | None = None) -> dict[str, Test]:
    """Fresh test functions for a target, by name: ``globals().update(contract_suite(target))``.

    No base class and no fixtures: Hypothesis refuses inherited properties and fixtures of a
    function's scope.
    """
    chosen = profile or profiles.chosen()
    tests = [
        _test(target, check, chosen)
        for check in CHECKS.values()
        if chosen.includes(check.needs, exhaustive=check.exhaustive)
    ]
    return {test.__name__: test for test in tests}


def _test(target: BackendTarget, check: Check, profile: Profile) -> Test:
    missing = [claim for claim in check.needs if not target.claims(claim)]

    def test() -> None:
        if missing:
            pytest.skip(f"not claimed: {', '.join(missing)}")
        run_check(target, check, profile)

    test.__name__ = test.__qualname__ = f"test_{check.name}"
    test.__doc__ = check.function.__doc__
    return test
