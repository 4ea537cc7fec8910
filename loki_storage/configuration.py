"""Where the store is: arguments, then environment, then the default (a SQLite file)."""

import os
from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import attrs

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.protocol import BackendSpec

__all__ = ["DEFAULT_URL", "Settings", "backend_options", "load_settings", "scheme_of"]

DEFAULT_URL = "sqlite:///data/loki.db"
PREFIX = "LOKI_STORAGE_"


@attrs.frozen
class Settings:
    """A store's URL and the options of its backend; the URL may hold a password.

    ``environment``: options that the environment gives to whatever backend is selected.
    """

    url: str = attrs.field(default=DEFAULT_URL, repr=False)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)


def load_settings(
    url: str | None = None, environ: Mapping[str, str] | None = None, **options: Any
) -> Settings:
    """Settings from arguments, else ``LOKI_STORAGE_URL`` and ``LOKI_STORAGE_*``, else defaults."""
    environ = os.environ if environ is None else environ
    url = url or environ.get(f"{PREFIX}URL") or DEFAULT_URL
    named = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name != f"{PREFIX}URL"
    }
    return Settings(url, options, named)


def scheme_of(url: str) -> str:
    """The URL's scheme, which names the backend."""
    scheme, colon, _ = url.partition(":")
    if not colon or not scheme:
        raise InvalidValue("url", "must be like sqlite:///file.db, postgresql://… or memory://")
    return scheme


def backend_options(spec: BackendSpec, settings: Settings) -> dict[str, Any]:
    """The options as the backend's ``open`` takes them; text is converted.

    Raises ``InvalidField`` with a suggestion for an argument that the backend does not have. What
    the environment says for other backends is passed over: selecting one is configuration alone.
    """
    known = {
        name: parameter
        for name, parameter in signature(spec.open).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    for name in settings.options:
        if name not in known:
            raise InvalidField(name, f"is not an option of the {spec.name} backend", known)
    ours = {name: value for name, value in settings.environment.items() if name in known}
    options = {**ours, **settings.options}
    return {name: _converted(name, known[name], value) for name, value in options.items()}


def make_parent(url: str) -> None:
    """Create the folder of the default file database (0700), as its users expect."""
    if url == DEFAULT_URL:
        Path(url.removeprefix("sqlite:///")).parent.mkdir(mode=0o700, exist_ok=True)


_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _converted(name: str, parameter: Parameter, value: Any) -> Any:
    """Text as the type of the option's default."""
    default = parameter.default
    if not isinstance(value, str) or isinstance(default, str) or default in (None, Parameter.empty):
        return value
    try:
        return _WORDS[value.lower()] if isinstance(default, bool) else type(default)(value)
    except (KeyError, ValueError):
        raise InvalidValue(name, f"must be a {type(default).__name__}") from None
