"""Finding a format by its name or by a file's suffix; only what is needed is imported.

Ours are modules of this package. A third party's is an entry point of the group ``loki_storage``
whose name is the format's, or any plugin of the group that implements the hook.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from typing import Any

from loki_storage.errors import InvalidField, InvalidValue, PluginError
from loki_storage.export_format import ExportFormatSpec
from loki_storage.hookspecs import PROJECT
from loki_storage.plugins import plugin_manager

__all__ = ["find_format", "find_format_of_file", "format_names", "format_options"]

_HERE = __name__.rpartition(".")[0]
_OURS = {
    "csv": ("csv", ".csv"),
    "json": ("json", ".json"),
    "jsonl": ("json", ".jsonl"),
    "excel": ("excel", ".xlsx"),
    "parquet": ("parquet", ".parquet"),
}
"""Format -> its module here, and its suffix."""


def find_format(name: str) -> ExportFormatSpec:
    """The format of this name; ``InvalidField`` with a suggestion where there is none.

    ``PluginError`` where the plugin that offers it cannot be used.
    """
    if not isinstance(name, str):
        raise InvalidField(name, "is not an export format", _OURS)
    if name in _OURS:
        return _named(name, _ask(_import(_OURS[name][0]), name))
    for point in _points():
        if point.name == name:
            offered = _ask(_load(point), name)
            if any(spec.name == name for spec in offered):
                return _named(name, offered)
    found = _offered()
    if name not in found:
        raise InvalidField(name, "is not an export format", [*_OURS, *found])
    return found[name]


def find_format_of_file(name: str) -> ExportFormatSpec:
    """The format that a file's name ends with; ``InvalidValue`` where that tells none."""
    suffixes = {suffix: each for each, (_, suffix) in _OURS.items()}
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.endswith(suffix):
            return find_format(suffixes[suffix])
    for spec in sorted(_offered().values(), key=lambda spec: -len(spec.suffix)):
        if name.endswith(spec.suffix):
            return spec
    raise InvalidValue("file_path", "does not end with the suffix of a format; name the format")


def format_names() -> list[str]:
    """All formats, those of plugins after ours; a broken plugin offers none."""
    return [*_OURS, *sorted(_offered().keys() - _OURS.keys())]


def format_options(
    function: Callable[..., Any], options: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """The options, if they are keyword-only parameters of a format's function."""
    known = [
        parameter.name
        for parameter in signature(function).parameters.values()
        if parameter.kind is Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise InvalidField(option, f"is not an option of the {name} format", known)
    return dict(options)


def _import(module: str) -> Any:
    try:
        return import_module(f"{_HERE}.{module}")
    except ImportError as error:
        raise PluginError(
            f"the {module} format needs a library that is not installed; "
            f"run `pip install 'loki-storage[{module}]'`"
        ) from error


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # whatever a plugin raises here is that plugin's fault
        owner = point.dist.name if point.dist else "an unknown distribution"
        raise PluginError(
            f"{point.name!r} of {owner} cannot be imported ({type(error).__name__}); "
            "reinstall it or ask its authors"
        ) from error


def _ask(plugin: Any, name: str) -> list[ExportFormatSpec]:
    """What one plugin offers; it is registered with a manager of its own."""
    manager = plugin_manager()
    manager.register(plugin, name=name)
    offered = [spec for specs in manager.hook.loki_register_export_formats() for spec in specs]
    return [spec for spec in offered if isinstance(spec, ExportFormatSpec)]


def _named(name: str, offered: list[ExportFormatSpec]) -> ExportFormatSpec:
    for spec in offered:
        if spec.name == name:
            return spec
    raise PluginError(f"the plugin {name!r} registers no export format of that name")


@cache
def _offered() -> dict[str, ExportFormatSpec]:
    """The formats of all plugins that are installed; of two with one name the first has it."""
    found: dict[str, ExportFormatSpec] = {}
    for point in sorted(_points(), key=lambda point: point.name):
        for spec in _quietly(point):
            found.setdefault(spec.name, spec)
    return found


def _quietly(point: EntryPoint) -> Iterator[ExportFormatSpec]:
    try:
        yield from _ask(_load(point), point.name)
    except Exception:  # a plugin's fault must not stop the others; `loki-storage backends` tells
        return


def _points() -> list[EntryPoint]:
    return list(entry_points(group=PROJECT))
