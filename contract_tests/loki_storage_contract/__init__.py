"""The contract kit: proves that a backend keeps the laws of loki-storage.

In a test file of your own, four lines::

    from loki_storage_contract import BackendTarget, contract_suite

    target = BackendTarget("acme", open=open_acme)
    globals().update(contract_suite(target))

A backend is judged through ``loki_storage``'s public protocol and API alone.
"""

import pytest

# Assertions outside of test files explain themselves only if pytest is told of them first.
for _name in ("books", "laws", "machine", "reads", "store", "trail"):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")

from loki_storage_contract import laws  # noqa: E402, F401 - registers the checks
from loki_storage_contract.inventory import LAWS, Law  # noqa: E402
from loki_storage_contract.profiles import PROFILES, Profile  # noqa: E402
from loki_storage_contract.registry import CHECKS, Check, checks_of, proves  # noqa: E402
from loki_storage_contract.runner import judge, run_check, run_target  # noqa: E402
from loki_storage_contract.store import Clock, Store  # noqa: E402
from loki_storage_contract.suite import contract_suite  # noqa: E402
from loki_storage_contract.target import BackendTarget, empty, open_url  # noqa: E402
from loki_storage_contract.verdicts import (  # noqa: E402
    Cell,
    CheckResult,
    Failure,
    Result,
    Verdict,
    Waiver,
)

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
