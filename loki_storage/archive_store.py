"""``ArchiveStore``: where bundles of archived documents lie; a folder today, anything tomorrow."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

__all__ = ["ArchiveStore"]


class ArchiveStore(ABC):
    """Bundles by name. It belongs to one loki-storage store, and is kept as long as that.

    Names are up to 100 characters of ``a-z``, ``0-9`` and ``-``; none is ever used for other rows.
    Every method raises ``ArchiveError`` where the store behind it fails.
    """

    @abstractmethod
    def put(self, name: str, bundle: bytes) -> None:
        """Store a bundle, whole or not at all; durable on return. Replaces one of this name."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """The bundle; ``ArchiveError`` where there is none."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a bundle, and what an interrupted ``put`` left of it; nothing where it is gone."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The names of all bundles, also of those that an interrupted ``put`` left a part of."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether ``get`` would find it."""
