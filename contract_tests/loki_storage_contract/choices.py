"""Which id an operation is tried on: mostly one that it changes something about."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from loki_storage_contract.model import Document, Version, World

__all__ = ["any_id"]

Likely = Callable[[Document, Version], bool]


def any_id(data: st.DataObject, world: World, operation: str, elsewhere: Sequence[int]) -> int:
    """The id of a version, mostly one that fits; one time in ten one of ``elsewhere``."""
    chance = data.draw(st.sampled_from(range(10)))
    ids = [*world.rows]
    if not ids or chance == 9:
        return data.draw(st.sampled_from(elsewhere))
    fitting = _fitting(world, _LIKELY[operation]) if chance < 7 else []
    return data.draw(st.sampled_from(fitting or ids))


def _fitting(world: World, likely: Likely) -> list[int]:
    return [
        version.id
        for document in world.documents.values()
        for version in document.versions
        if likely(document, version)
    ]


def _head(document: Document, version: Version) -> bool:
    return version == document.head


def _live(document: Document, version: Version) -> bool:
    return version.deleted_at is None


def _deleted(document: Document, version: Version) -> bool:
    return version.deleted_at is not None


def _gone(document: Document, version: Version) -> bool:
    return document.head is None


def _tagged(document: Document, version: Version) -> bool:
    return bool(document.tags) and version.deleted_at is None


_LIKELY: dict[str, Likely] = {
    "create_version": _head,
    "revert_to": _live,
    "update": _head,
    "delete": _live,
    "delete_version": _live,
    "restore": _gone,
    "restore_version": _deleted,
    "add_tag": _live,
    "remove_tag": _tagged,
    "purge": _gone,
}
