"""The checks of the laws, by group. Importing a module registers its checks."""

from loki_storage_contract.laws import batches, queries, values

__all__ = ["batches", "queries", "values"]
