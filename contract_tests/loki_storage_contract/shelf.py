"""An archive store in memory, for laws about what is archived."""

from collections.abc import Iterator

from loki_storage.archive_store import ArchiveStore
from loki_storage.errors import ArchiveError

__all__ = ["Shelf"]


class Shelf(ArchiveStore):
    """Bundles in a dictionary."""

    def __init__(self) -> None:
        self._bundles: dict[str, bytes] = {}

    def put(self, name: str, bundle: bytes) -> None:
        self._bundles[name] = bundle

    def get(self, name: str) -> bytes:
        try:
            return self._bundles[name]
        except KeyError:
            raise ArchiveError(f"there is no bundle {name}") from None

    def delete(self, name: str) -> None:
        self._bundles.pop(name, None)

    def names(self) -> Iterator[str]:
        return iter(list(self._bundles))

    def exists(self, name: str) -> bool:
        return name in self._bundles
