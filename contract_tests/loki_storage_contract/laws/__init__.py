"""The checks of the laws, by group. Importing a module registers its checks."""

from loki_storage_contract import machine, retention_machine
from loki_storage_contract.laws import (
    accelerators,
    audit,
    backups,
    batches,
    builders,
    clients,
    concurrency,
    crashes,
    deletes,
    domains,
    duplicates,
    exports,
    queries,
    retention,
    units,
    values,
    versions,
)

__all__ = [
    "accelerators",
    "audit",
    "backups",
    "batches",
    "builders",
    "clients",
    "concurrency",
    "crashes",
    "deletes",
    "domains",
    "duplicates",
    "exports",
    "machine",
    "queries",
    "retention",
    "retention_machine",
    "units",
    "values",
    "versions",
]
