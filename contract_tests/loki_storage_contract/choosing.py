"""From a name and a URL to what is judged: for the command line and for pytest's options."""

import os
import traceback
from collections.abc import Collection
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs

from loki_storage.errors import PluginError, StorageError
from loki_storage.plugins import find_backend, plugin_manager
from loki_storage.protocol import Backend, BackendSpec
from loki_storage_contract.forks import CAN_FORK
from loki_storage_contract.reports.report import Subject
from loki_storage_contract.target import BackendTarget

__all__ = ["TARGETS", "check_store", "choose_target", "jobs_for", "leave_empty", "subject_of"]

TARGETS = "loki_storage_contract"
"""The group of entry points by which a plugin offers its target: ``target(url or None)``."""


def choose_target(name: str | None, url: str | None, claims: Collection[str] = ()) -> BackendTarget:
    """The target that the backend's plugin offers, else that of the URL.

    ``claims`` are added to what the plugin says of itself. Raises ``PluginError`` for an unknown
    backend, ``ValueError`` where a URL is missing.
    """
    if name is None:
        if url is None:
            raise ValueError("name a backend, or the URL of a store to judge it on")
        name = url.partition(":")[0].partition("+")[0]
    find_backend(name, plugin_manager())
    target: BackendTarget
    if (offered := _offered(name)) is not None:
        target = offered(url)
    elif url is not None:
        target = BackendTarget.of_url(name, url)
    else:
        raise ValueError(
            f"give the URL of a store of its own; the plugin of {name} offers none (entry point "
            f"{name!r} of the group {TARGETS!r})"
        )
    claimed: Any = dict.fromkeys(claims, True)
    return attrs.evolve(target, **claimed)


def jobs_for(target: BackendTarget) -> int:
    """How many processes share the work unless somebody says so: one per core, four at most."""
    if target.fresh is None or not CAN_FORK:
        return 1
    return min(4, os.cpu_count() or 1)


def check_store(target: BackendTarget, *, wipe: bool) -> None:
    """``ValueError`` where the store cannot be opened, or holds anything and may not be emptied.

    The kit empties a store again and again. One that a plugin made for the occasion may be emptied.
    """
    try:
        backend = target.open()
    except StorageError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"{target.name} cannot be opened: {type(error).__name__}: {error} "
            f"({place.filename}:{place.lineno})"
        ) from error
    try:
        if not wipe and _has_rows(backend):
            raise ValueError(
                f"the store of {target.name} is not empty, and the kit would delete what is in it; "
                "give another one, or wipe it first"
            )
    finally:
        backend.close()


def leave_empty(target: BackendTarget) -> None:
    """Take away what the last example left, so that the next run finds an empty store."""
    with suppress(Exception):  # a backend that cannot was told of by the checks
        backend = target.open()
        try:
            target.reset(backend)
        finally:
            backend.close()


def _has_rows(backend: Backend) -> bool:
    try:
        return any(True for _ in backend.dump())
    except Exception:
        return False  # what cannot be read is not going to be emptied; the checks will tell


def subject_of(target: BackendTarget) -> Subject:
    """What a report tells of the backend; what cannot be found out stays empty."""
    point, spec = _point("loki_storage", target.name), _spec(target.name)
    distribution = point.dist if point is not None else None
    return Subject(
        name=target.name,
        distribution="" if distribution is None else distribution.name,
        version="" if distribution is None else distribution.version,
        summary="" if spec is None else spec.summary,
        database=_database(target),
        protocol="" if spec is None else spec.protocol_version,
    )


def _offered(name: str) -> Any:
    point = _point(TARGETS, name)
    return None if point is None else point.load()


def _point(group: str, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=group, name=name)), None)


def _spec(name: str) -> BackendSpec | None:
    try:
        return find_backend(name, plugin_manager())
    except PluginError:
        return None


def _database(target: BackendTarget) -> str:
    try:
        backend = target.open()
    except StorageError:
        return ""  # the checks will tell
    try:
        return backend.database_version()
    finally:
        backend.close()
