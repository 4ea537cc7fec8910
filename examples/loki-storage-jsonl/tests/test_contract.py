"""The contract of loki-storage on a directory of JSON lines."""

from loki_storage_contract import contract_suite
from loki_storage_jsonl.contract import target

globals().update(contract_suite(target(None)))
