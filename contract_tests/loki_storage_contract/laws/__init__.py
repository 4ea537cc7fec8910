"""The checks of the laws, by group. Importing a module registers its checks."""

from loki_storage_contract import machine
from loki_storage_contract.laws import (
    batches,
    concurrency,
    deletes,
    duplicates,
    queries,
    values,
    versions,
)

__all__ = [
    "batches",
    "concurrency",
    "deletes",
    "duplicates",
    "machine",
    "queries",
    "values",
    "versions",
]
