"""The targets of the backends that come with loki-storage, offered as any plugin offers its own.

An entry point of the group ``loki_storage_contract``, named like the backend, is a function that
gives the target of a URL, or where no URL was named, of a store that it makes for the occasion.
"""

from loki_storage_contract.references import memory_target, sqlite_target
from loki_storage_contract.target import BackendTarget

__all__ = ["memory", "postgresql", "sqlite"]

_PRIVATE = ("sqlite://", "sqlite:///:memory:")


def memory(url: str | None) -> BackendTarget:
    """``memory://name``; without a name, one of the kit's own."""
    if url in (None, "memory://"):
        return memory_target()
    return BackendTarget.of_url("memory", url)


def sqlite(url: str | None) -> BackendTarget:
    """A file; where the URL names a private one, a file in a folder that goes with the process."""
    if url is None or url in _PRIVATE:
        return sqlite_target()
    return BackendTarget.of_url("sqlite", url, durable=True, processes=True)


def postgresql(url: str | None) -> BackendTarget:
    """A database that exists; there is none to be made for the occasion."""
    if url is None:
        raise ValueError("name a database of its own: --url postgresql://user@host/database")
    return BackendTarget.of_url("postgresql", url, durable=True, processes=True)
