"""The contract on PostgreSQL, on every version that can be had."""

from functools import partial

import pytest

from loki_storage.protocol import Backend
from loki_storage_contract import BackendTarget, contract_suite
from loki_storage_contract.profiles import PROFILES
from loki_storage_contract.target import open_url
from tests.postgresql.shared import process_url, versions

pytestmark = pytest.mark.postgresql


def open_store(version: str) -> Backend:
    """This test process has one store per version; its child processes find the same."""
    return open_url(process_url(version, "contract"))


for number, version in enumerate(versions() or ("none",)):
    name = f"postgresql_{version}"
    target = BackendTarget(name, partial(open_store, version), durable=True, processes=True)
    # The newest as thoroughly as other backends; what older ones may do differently shows sooner.
    profile = PROFILES["smoke"] if number else None
    for test_name, test in contract_suite(target, profile).items():
        globals()[f"{test_name}_{version}"] = test
