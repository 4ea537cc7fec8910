"""The contract on ``memory://``."""

from loki_storage_contract import BackendTarget, contract_suite

target = BackendTarget.of_url("memory", "memory://contract")
globals().update(contract_suite(target))
