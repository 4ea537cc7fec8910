"""From a target to test functions that pytest collects."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis.stateful import run_state_machine_as_test

from loki_storage_contract import profiles
from loki_storage_contract.profiles import Profile
from loki_storage_contract.registry import CHECKS, Check
from loki_storage_contract.store import Store
from loki_storage_contract.target import BackendTarget

__all__ = ["contract_suite", "run_check"]

Test = Callable[[], None]


def contract_suite(target: BackendTarget, profile: Profile | None = None) -> dict[str, Test]:
    """Fresh test functions for a target, by name: ``globals().update(contract_suite(target))``.

    No base class and no fixtures: Hypothesis refuses inherited properties and fixtures of a
    function's scope.
    """
    tests = [_test(target, check, profile or profiles.chosen()) for check in CHECKS.values()]
    return {test.__name__: test for test in tests}


def run_check(target: BackendTarget, check: Check, profile: Profile) -> None:
    """Run one check on a target; raises what the check or Hypothesis raises."""
    with Store(target) as store:
        if isinstance(check.function, type):
            bound = type(check.function.__name__, (check.function,), {"store": store})
            run_state_machine_as_test(bound, settings=profile.settings(check.share))
        elif check.drawn:
            _property(store, check, profile)()
        else:
            store.reset()
            check.function(store)


def _test(target: BackendTarget, check: Check, profile: Profile) -> Test:
    missing = [claim for claim in check.needs if not target.claims(claim)]

    def test() -> None:
        if missing:
            pytest.skip(f"not claimed: {', '.join(missing)}")
        run_check(target, check, profile)

    test.__name__ = test.__qualname__ = f"test_{check.name}"
    test.__doc__ = check.function.__doc__
    return test


def _property(store: Store, check: Check, profile: Profile) -> Test:
    def example(**drawn: object) -> None:
        store.reset()
        check.function(store, **drawn)

    # Hypothesis derives the seed and the key of its example database from the name.
    example.__name__ = example.__qualname__ = f"{store.target.name}_{check.name}"
    test: Test = profile.settings(check.share)(given(**check.drawn)(example))
    return test
