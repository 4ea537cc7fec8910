"""The checks of the laws, by group. Importing a module registers its checks."""

from loki_storage_contract import machine
from loki_storage_contract.laws import batches, concurrency, queries, values

__all__ = ["batches", "concurrency", "machine", "queries", "values"]
