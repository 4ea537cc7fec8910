"""Settings: arguments, then environment, then defaults; text becomes what an option is."""

from typing import Any, Literal

import pytest

from loki_storage import BackendSpec
from loki_storage.configuration import (
    DEFAULT_URL,
    Settings,
    backend_options,
    load_settings,
    scheme_of,
)
from loki_storage.errors import InvalidField, InvalidValue

PASSWORD = "hunter2"


def open_acme(
    url: str,
    *,
    pool_size: int = 5,
    wait: float = 1.0,
    echo: bool = False,
    mode: Literal["fast", "safe"] = "safe",
    sink: object = None,
) -> Any:
    raise AssertionError("nothing is opened here")


ACME = BackendSpec("acme", open_acme)


def options(**environment: str) -> dict[str, Any]:
    return backend_options(ACME, Settings("acme://", environment=environment))


def test_without_anything_it_is_the_default_file() -> None:
    settings = load_settings(environ={})
    assert settings.url == DEFAULT_URL
    assert backend_options(ACME, settings) == {}


def test_argument_goes_before_environment_before_default() -> None:
    environ = {"LOKI_STORAGE_URL": "acme://environment", "LOKI_STORAGE_POOL_SIZE": "3"}
    settings = load_settings(environ=environ)
    assert settings.url == "acme://environment"
    assert backend_options(ACME, settings) == {"pool_size": 3}
    settings = load_settings("acme://argument", environ, pool_size=9)
    assert settings.url == "acme://argument"
    assert backend_options(ACME, settings) == {"pool_size": 9}


def test_empty_url_in_the_environment_is_none() -> None:
    assert load_settings(environ={"LOKI_STORAGE_URL": ""}).url == DEFAULT_URL


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("pool_size", "12", 12),
        ("wait", "0.5", 0.5),
        ("wait", "2", 2.0),
        ("echo", "true", True),
        ("echo", "YES", True),
        ("echo", "0", False),
        ("echo", "False", False),
        ("mode", "fast", "fast"),
        ("sink", "text", "text"),
    ],
)
def test_text_becomes_what_the_option_is(name: str, text: str, value: object) -> None:
    assert options(**{name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"), [("pool_size", "many"), ("pool_size", "1.5"), ("wait", ""), ("echo", "maybe")]
)
def test_text_that_is_no_such_value_is_refused_without_telling_it(name: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=name) as caught:
        options(**{name: text})
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_values_that_are_no_text_are_taken_as_they_are() -> None:
    given = {"pool_size": 3, "echo": True, "sink": print}
    assert backend_options(ACME, Settings("acme://", given)) == given


def test_unknown_argument_is_refused_unknown_environment_is_not() -> None:
    with pytest.raises(InvalidField, match="did you mean 'pool_size'"):
        backend_options(ACME, Settings("acme://", {"pool_sise": 3}))
    assert options(pool_sise="3") == {}


def test_settings_tell_nothing_of_themselves() -> None:
    settings = Settings(f"acme://u:{PASSWORD}@h", {"key": PASSWORD}, {"other": PASSWORD})
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [("sqlite:///x.db", "sqlite"), ("memory://", "memory"), ("postgresql+psycopg://h", None)],
)
def test_scheme_is_what_stands_before_the_colon(url: str, scheme: str | None) -> None:
    assert scheme_of(url) == (scheme or "postgresql+psycopg")


@pytest.mark.parametrize("url", ["", PASSWORD, f"//{PASSWORD}", f":{PASSWORD}"])
def test_url_without_a_scheme_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        scheme_of(url)
    assert PASSWORD not in str(caught.value)
