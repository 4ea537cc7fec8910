"""Finding backends: entry points of the group ``loki_storage``, loaded through pluggy.

The entry point's name is the backend's name and its URL scheme. Only the selected one is imported,
so a broken plugin never stops a host that does not use it (PLG-1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from loki_storage import hookspecs
from loki_storage.errors import InvalidValue, PluginError
from loki_storage.hookspecs import PROJECT
from loki_storage.protocol import PROTOCOL_VERSION, BackendSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "Installed",
    "backend_names",
    "find_backend",
    "installed",
    "plugin_manager",
    "register_backend",
    "register_plugins",
]

_REGISTERED: dict[str, BackendSpec] = {}


@attrs.frozen
class Installed:
    """A backend that is installed: what it is, or why it cannot be used."""

    name: str
    distribution: str
    version: str
    spec: BackendSpec | None
    error: str | None


def plugin_manager() -> pluggy.PluginManager:
    """A plugin manager that knows our hooks, without any plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def register_plugins(plugins: Iterable[object], manager: pluggy.PluginManager) -> None:
    """Register objects with hooks, and installed plugins by their names.

    ``PluginError`` for a name that is not installed, or whose plugin is broken: what a host counts
    on to refuse must not be missing silently.
    """
    if isinstance(plugins, str):
        raise InvalidValue("plugins", "must be a sequence of plugins or their names")
    for plugin in plugins:
        if isinstance(plugin, str):
            _register_installed(plugin, manager)
        elif not manager.is_registered(plugin):
            manager.register(plugin)


def _register_installed(name: str, manager: pluggy.PluginManager) -> None:
    found = [point for point in _entry_points() if point.name == name]
    if not found:
        raise PluginError(f"no plugin named {name!r} is installed; install it")
    if not manager.has_plugin(name):
        manager.register(_imported(found[0]), name=name)


def find_backend(scheme: str, manager: pluggy.PluginManager) -> BackendSpec:
    """The backend of a URL scheme; its plugin is registered with the manager.

    ``postgresql+anything`` is ``postgresql``. Raises ``PluginError`` where none, several, a broken
    one or one for another protocol version is installed, and says what to do.
    """
    name = scheme.partition("+")[0].lower()
    if name in _REGISTERED:
        return _checked(_REGISTERED[name], "register_backend")
    found = [point for point in _entry_points() if point.name == name]
    owners = sorted({_owner(point) for point in found})
    if not found:
        raise PluginError(_unknown(name))
    if len(owners) > 1:
        raise PluginError(
            f"backend {name!r} is offered by {' and '.join(owners)}; uninstall one of them"
        )
    return _load(found[0], manager)


def installed() -> list[Installed]:
    """Every backend that is installed; a broken one with its error."""
    rows = []
    for point in sorted(_entry_points(), key=lambda point: point.name):
        spec, error = None, None
        try:
            spec = _load(point, plugin_manager())
        except PluginError as problem:
            error = str(problem)
        distribution = point.dist
        version = distribution.version if distribution else "?"
        rows.append(Installed(point.name, _owner(point), version, spec, error))
    return rows


def backend_names() -> list[str]:
    """The names of all installed and registered backends; none is imported."""
    return sorted({point.name for point in _entry_points()} | set(_REGISTERED))


@contextmanager
def register_backend(spec: BackendSpec) -> Iterator[None]:
    """Offer a backend in this process only, for tests: ``with register_backend(spec): ...``."""
    names = (spec.name, *spec.schemes)
    before = {name: _REGISTERED[name] for name in names if name in _REGISTERED}
    _REGISTERED.update(dict.fromkeys(names, spec))
    try:
        yield
    finally:
        for name in names:
            _REGISTERED.pop(name, None)
        _REGISTERED.update(before)


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # a third of our import time; only opening needs it

    return list(entry_points(group=PROJECT))


def _load(point: EntryPoint, manager: pluggy.PluginManager) -> BackendSpec:
    try:
        offered = _offered(point, manager)
    except Exception as error:  # whatever a plugin raises here is that plugin's fault
        raise _broken(point, error) from error
    for spec in offered:
        if point.name in (spec.name, *spec.schemes):
            return _checked(spec, _owner(point))
    raise PluginError(f"{_owner(point)} registers no backend named {point.name!r}")


def _offered(point: EntryPoint, manager: pluggy.PluginManager) -> list[BackendSpec]:
    """Import a plugin, register it, and ask it for its backends."""
    if not manager.has_plugin(point.name):
        manager.register(point.load(), name=point.name)
    offered = [spec for specs in manager.hook.loki_register_backends() for spec in _listed(specs)]
    return [spec for spec in offered if isinstance(spec, BackendSpec)]


def _imported(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise _broken(point, error) from error


def _broken(point: EntryPoint, error: Exception) -> PluginError:
    return PluginError(
        f"plugin {point.name!r} of {_owner(point)} cannot be imported "
        f"({type(error).__name__}); reinstall it or ask its authors"
    )


def _listed(specs: Any) -> Sequence[Any]:
    return [specs] if isinstance(specs, BackendSpec) else list(specs)


def _checked(spec: BackendSpec, owner: str) -> BackendSpec:
    ours, theirs = _version(PROTOCOL_VERSION), _version(str(spec.protocol_version))
    if theirs[:1] != ours[:1] or theirs > ours:
        upgrade = "loki-storage" if theirs > ours else owner
        raise PluginError(
            f"backend {spec.name!r} of {owner} is written for protocol {spec.protocol_version}, "
            f"this loki-storage speaks {PROTOCOL_VERSION}; upgrade {upgrade}"
        )
    return spec


def _version(text: str) -> tuple[int, ...]:
    """A protocol version as numbers; what is none is older than every version."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _unknown(name: str) -> str:
    found = ", ".join(backend_names()) or "none"
    return f"no backend is installed for {name!r}; installed: {found}; install its plugin"


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"
