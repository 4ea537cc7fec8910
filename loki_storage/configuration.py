"""Where the store is and how it is opened: arguments, environment, a TOML file, defaults.

The first of them that gives a value has it. The file is the one that ``LOKI_STORAGE_CONFIG`` names,
else ``loki-storage.toml`` in the working directory, else ``[tool.loki-storage]`` of the
``pyproject.toml`` there. It holds ``url``, the SDK's own settings, options of the selected backend,
and tables named after backends, of which the selected one's counts. Nothing unknown is ignored.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import attrs

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.plugins import backend_names, installed
from loki_storage.protocol import BackendSpec

__all__ = [
    "DEFAULT_URL",
    "General",
    "Setting",
    "Settings",
    "backend_options",
    "general_settings",
    "load_settings",
    "make_parent",
    "resolved",
    "safe_url",
    "scheme_of",
    "shown",
]

LOGGER = logging.getLogger("loki_storage")
DEFAULT_URL = "sqlite:///data/loki.db"
PREFIX = "LOKI_STORAGE_"
FILES = ("loki-storage.toml", "pyproject.toml")
MOST_FILE_BYTES = 1_000_000


@attrs.frozen
class General:
    """The SDK's own settings.

    ``plugins``: names of installed plugins whose hooks are asked. ``slow_query``: seconds from
    which on a query or commit is told of as slow; 0: never. ``archive``: the folder (or ``file://``
    URL) of archived documents; empty: there is none.
    """

    plugins: tuple[str, ...] = ()
    slow_query: float = 1.0
    archive: str = ""


@attrs.frozen
class Setting:
    """One value, and which source gave it."""

    name: str
    value: Any = attrs.field(repr=False)
    source: str


@attrs.frozen
class Settings:
    """What the sources say, before a backend is asked what it knows; may hold passwords.

    ``options`` are arguments, ``environment`` the variables without their prefix, ``file`` the
    contents of the file that ``file_name`` names.
    """

    url: str = attrs.field(default=DEFAULT_URL, repr=False)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    file: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    file_name: str = "no file"
    url_source: str = "argument"


def load_settings(
    url: str | None = None, environ: Mapping[str, str] | None = None, **options: Any
) -> Settings:
    """What arguments, environment and file say. ``InvalidValue`` for a file that is no TOML."""
    environ = os.environ if environ is None else environ
    named = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX)
    }
    file_name, file = _read_file(named.pop("config", ""))
    sources = {
        "argument": url,
        f"environment: {PREFIX}URL": named.pop("url", None),
        file_name: _text("url", file.get("url")),
        "default": DEFAULT_URL,
    }
    source, chosen = next((source, value) for source, value in sources.items() if value)
    return Settings(chosen, options, named, file, file_name, source)


def scheme_of(url: str) -> str:
    """The URL's scheme, which names the backend."""
    scheme, colon, _ = url.partition(":")
    if not colon or not scheme:
        raise InvalidValue("url", "must be like sqlite:///file.db, postgresql://… or memory://")
    return scheme


def backend_options(spec: BackendSpec, settings: Settings) -> dict[str, Any]:
    """The options that a source gives, as the backend's ``open`` takes them.

    ``InvalidField`` with a suggestion for a name that nothing has, ``InvalidValue`` for a value of
    the wrong type. Names in the environment that another backend has are passed over: selecting
    one is configuration alone.
    """
    found = resolved(spec, settings)
    return {setting.name: setting.value for setting in found if setting.source != "default"}


def general_settings(settings: Settings) -> General:
    """The SDK's own settings, from environment and file."""
    layers = _layers(settings, "")[1:]
    known = signature(General).parameters
    return General(**{s.name: s.value for s in _chosen(known, layers) if s.source != "default"})


def resolved(spec: BackendSpec, settings: Settings) -> list[Setting]:
    """Every option of the backend, with its value and the source of it."""
    known = {
        name: parameter
        for name, parameter in signature(spec.open).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    _check_arguments(spec, known, settings.options)
    _check_file(spec, known, settings)
    _check_environment(spec, known, settings.environment)
    return _chosen(known, _layers(settings, spec.name))


def shown(spec: BackendSpec, settings: Settings) -> list[Setting]:
    """All settings as they may be shown: without passwords."""
    general = _chosen(signature(General).parameters, _layers(settings, "")[1:])
    url = Setting("url", settings.url, settings.url_source)
    return [
        attrs.evolve(setting, value=_harmless(setting))
        for setting in [url, *general, *resolved(spec, settings)]
    ]


def make_parent(url: str) -> None:
    """Create the folder of the default file database (0700), as its users expect."""
    if url == DEFAULT_URL:
        Path(url.removeprefix("sqlite:///")).parent.mkdir(mode=0o700, exist_ok=True)


_PASSWORD = re.compile(r"(?<=://)([^/@:?]*):.*@")
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)
_SECRET_OPTION = re.compile(rf"([?&;][^=&]*(?:{_SECRET.pattern})[^=&]*=)[^&]*", re.IGNORECASE)


def safe_url(url: str) -> str:
    """The URL without passwords, whatever is wrong with it otherwise."""
    return _SECRET_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def _harmless(setting: Setting) -> Any:
    if _SECRET.search(setting.name) and setting.value:
        return "***"
    return safe_url(setting.value) if isinstance(setting.value, str) else setting.value


# --- The file -------------------------------------------------------------------------------------


def _read_file(named: str) -> tuple[str, Mapping[str, Any]]:
    """The name of the file that counts, and what it says."""
    if named:
        path = Path(named)
        found = _parsed(path)
        return str(path), _section(found) if path.name == FILES[1] else found
    for path in map(Path, FILES):
        if path.is_file():
            found = _parsed(path)
            section = _section(found) if path.name == FILES[1] else found
            if section or path.name == FILES[0]:
                return str(path), section
    return "no file", {}


def _section(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    tools = pyproject.get("tool", {})
    section = tools.get("loki-storage", {}) if isinstance(tools, dict) else {}
    if not isinstance(section, dict):
        raise InvalidValue("tool.loki-storage", "must be a table")
    return section


def _parsed(path: Path) -> Mapping[str, Any]:
    import tomllib  # only who has a file needs it

    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(MOST_FILE_BYTES).decode())
    except OSError as error:
        reason = f"cannot be read ({type(error).__name__})"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        # The parser's own words may quote the file, and with it a password.
        place = re.search(r"at line \d+, column \d+|at end of document", str(error))
        reason = f"is no TOML {place[0] if place else ''}".rstrip()
    raise InvalidValue(str(path), reason)


# --- Checking and choosing ------------------------------------------------------------------------


def _check_arguments(
    spec: BackendSpec, known: Mapping[str, Parameter], options: Mapping[str, Any]
) -> None:
    for name in options:
        if name not in known:
            raise InvalidField(name, f"is not an option of the {spec.name} backend", known)


def _check_file(spec: BackendSpec, known: Mapping[str, Parameter], settings: Settings) -> None:
    """Every name of the file means something, whichever backend is selected."""
    general = {"url", *signature(General).parameters}
    where = f"in {settings.file_name}"
    for name, value in settings.file.items():
        if isinstance(value, Mapping):
            if name not in (backends := [*backend_names(), spec.name]):
                raise InvalidField(name, f"{where} is no installed backend", backends)
        elif name not in general and name not in known:
            reason = (
                f"{where} is not an option of the {spec.name} backend; "
                "options of another one stand in a table of its name"
            )
            raise InvalidField(name, reason, [*general, *known])
    for name in _table(settings.file, spec.name):
        if name not in known:
            raise InvalidField(name, f"{where} is not an option of {spec.name}", known)


def _check_environment(
    spec: BackendSpec, known: Mapping[str, Parameter], environment: Mapping[str, str]
) -> None:
    """What looks like a slip is refused; what another backend knows, or nothing, is passed over."""
    names = [*known, *signature(General).parameters]
    for name in environment:
        if name in names:
            continue
        slip = InvalidField(name, f"({PREFIX}{name.upper()}) is not an option", [*names, "url"])
        if slip.suggestion is not None and name not in _options_of_others(spec):
            raise slip
        LOGGER.info("%s%s is not an option of %s: passed over", PREFIX, name.upper(), spec.name)


def _options_of_others(spec: BackendSpec) -> set[str]:
    others = [each.spec for each in installed() if each.spec is not None and each.name != spec.name]
    return {name for other in others for name in signature(other.open).parameters}


def _layers(settings: Settings, backend: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The sources of options, the strongest first."""
    name = settings.file_name
    return [
        ("argument", settings.options),
        ("environment", settings.environment),
        (f"{name} [{backend}]", _table(settings.file, backend)),
        (name, {k: v for k, v in settings.file.items() if not isinstance(v, Mapping)}),
    ]


def _table(file: Mapping[str, Any], backend: str) -> Mapping[str, Any]:
    table = file.get(backend, {})
    return table if isinstance(table, Mapping) else {}


def _chosen(
    known: Mapping[str, Parameter], layers: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[Setting]:
    return [
        next(_given(name, parameter, layers), Setting(name, parameter.default, "default"))
        for name, parameter in known.items()
    ]


def _given(
    name: str, parameter: Parameter, layers: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[Setting]:
    for source, values in layers:
        if name in values:
            told = f"environment: {PREFIX}{name.upper()}" if source == "environment" else source
            yield Setting(name, _converted(name, parameter.default, values[name]), told)


_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _converted(name: str, default: Any, value: Any) -> Any:
    """A value as the type of the option's default; text of the environment becomes that."""
    if default in (None, Parameter.empty):
        return value
    if isinstance(default, tuple):
        return _names(name, value)
    if isinstance(value, str) and not isinstance(default, str):
        return _read(name, default, value)
    fits = isinstance(value, type(default)) or (isinstance(default, float) and type(value) is int)
    if not fits or (isinstance(value, bool) and not isinstance(default, bool)):
        raise InvalidValue(name, f"must be a {type(default).__name__}")
    return float(value) if isinstance(default, float) else value


def _read(name: str, default: Any, text: str) -> Any:
    try:
        return _WORDS[text.lower()] if isinstance(default, bool) else type(default)(text)
    except (KeyError, ValueError):
        raise InvalidValue(name, f"must be a {type(default).__name__}") from None


def _names(name: str, value: Any) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise InvalidValue(name, "must be a list of names")
    return tuple(one.strip() for one in listed if one.strip())


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidValue(name, "must be text")
    return value
