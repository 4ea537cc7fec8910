"""Fresh ids, leased from the store in blocks: small stores have small ids, busy ones ask rarely."""

from collections import defaultdict
from collections.abc import Mapping
from threading import Lock

from loki_storage.models import Kind
from loki_storage.protocol import Backend

__all__ = ["LARGEST_LEASE", "IdLeases"]

LARGEST_LEASE = 10_000


class IdLeases:
    """Fresh ids from leased blocks, shared by all sessions of a storage.

    The first lease of a kind is what is needed, later ones double, up to 10,000.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = Lock()
        self._left: dict[Kind, list[range]] = defaultdict(list)
        self._size: dict[Kind, int] = {}

    def take(self, counts: Mapping[Kind, int]) -> dict[Kind, list[int]]:
        """That many ids of each kind; at most one ``reserve``."""
        with self._lock:
            if any(self._count(kind) < n for kind, n in counts.items()):
                # Whoever is asked anyway is asked for those who will be short next time, too.
                short = {kind: n for kind, n in counts.items() if self._count(kind) < 2 * n}
                leases = {kind: self._lease(kind, n) for kind, n in short.items()}
                for kind, leased in self._backend.reserve(leases).items():
                    self._left[kind].append(leased)
            return {kind: self._pop(kind, n) for kind, n in counts.items()}

    def forget(self) -> None:
        """Take no more of what was leased: the store was restored, and has such ids already."""
        with self._lock:
            self._left.clear()

    def _count(self, kind: Kind) -> int:
        return sum(map(len, self._left[kind]))

    def _lease(self, kind: Kind, needed: int) -> int:
        size = max(needed, min(2 * self._size.get(kind, 0), LARGEST_LEASE))
        self._size[kind] = size
        return size

    def _pop(self, kind: Kind, count: int) -> list[int]:
        ids: list[int] = []
        blocks = self._left[kind]
        while len(ids) < count:
            part = blocks[0][: count - len(ids)]
            blocks[0] = blocks[0][len(part) :]
            ids.extend(part)
            if not blocks[0]:
                del blocks[0]
        return ids
