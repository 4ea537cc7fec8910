"""Settings: arguments, then environment, then defaults; text becomes what an option is."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import BackendSpec, open_storage, register_backend
from loki_storage.configuration import (
    DEFAULT_URL,
    General,
    Settings,
    backend_options,
    general_settings,
    load_settings,
    resolved,
    scheme_of,
    shown,
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


def test_unknown_argument_is_refused() -> None:
    with pytest.raises(InvalidField, match="did you mean 'pool_size'"):
        backend_options(ACME, Settings("acme://", {"pool_sise": 3}))
    with pytest.raises(InvalidField):
        backend_options(ACME, Settings("acme://", {"nothing_like_it": 3}))


def test_slip_in_the_environment_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"LOKI_STORAGE_POOL_SISE.*did you mean 'pool_size'"):
        options(pool_sise="3")
    with pytest.raises(InvalidField, match="did you mean 'plugins'"):
        options(plugin="acme")


def test_what_another_backend_knows_is_passed_over_in_the_environment() -> None:
    assert options(busy_timeout="3", max_overflow="3") == {}
    with register_backend(BackendSpec("other", lambda url, *, waits=1: None)):
        assert options(nothing_like_it="3") == {}


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


# --- The file ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "loki-storage.toml") -> None:
    (folder / name).write_text(text, "utf-8")


def load(environ: dict[str, str] | None = None, **options: Any) -> Settings:
    return load_settings(None, environ or {}, **options)


def test_file_gives_url_and_options(folder: Path) -> None:
    write(folder, 'url = "acme://file"\npool_size = 7\necho = true\nwait = 2\n')
    settings = load()
    assert (settings.url, settings.url_source) == ("acme://file", "loki-storage.toml")
    assert backend_options(ACME, settings) == {"pool_size": 7, "echo": True, "wait": 2.0}


def test_pyproject_gives_its_own_table(folder: Path) -> None:
    write(folder, '[tool.other]\nurl = 3\n[tool.loki-storage]\nurl = "acme://p"\n', PYPROJECT)
    assert load().url == "acme://p"
    write(folder, 'url = "acme://own"')
    assert load().url == "acme://own"


def test_pyproject_without_the_table_is_no_file(folder: Path) -> None:
    write(folder, "[tool.other]\nx = 1\n", PYPROJECT)
    assert load().file_name == "no file"


def test_file_that_the_environment_names_goes_before_others(folder: Path) -> None:
    write(folder, 'url = "acme://here"')
    write(folder, 'url = "acme://named"', "other.toml")
    assert load({"LOKI_STORAGE_CONFIG": "other.toml"}).url == "acme://named"
    with pytest.raises(InvalidValue, match=r"absent\.toml: cannot be read"):
        load({"LOKI_STORAGE_CONFIG": "absent.toml"})


names = st.sampled_from(["pool_size", "wait", "echo"])
values = {"pool_size": st.integers(0, 99), "wait": st.floats(0, 99), "echo": st.booleans()}
layer = st.fixed_dictionaries({}, optional=values)


@given(argument=layer, environment=layer, table=layer, top=layer)
def test_first_source_that_gives_a_value_has_it(
    argument: dict[str, Any],
    environment: dict[str, Any],
    table: dict[str, Any],
    top: dict[str, Any],
) -> None:
    settings = Settings(
        "acme://",
        options=argument,
        environment={name: str(value) for name, value in environment.items()},
        file={**top, "acme": table},
        file_name="f.toml",
    )
    found = {setting.name: setting for setting in resolved(ACME, settings)}
    sources = [("argument", argument), ("environment", environment), ("f.toml [acme]", table)]
    for name in ("pool_size", "wait", "echo"):
        given_by = [(s, v[name]) for s, v in [*sources, ("f.toml", top)] if name in v]
        source, value = given_by[0] if given_by else ("default", DEFAULTS[name])
        assert found[name].value == value
        assert found[name].source.partition(":")[0] == source


DEFAULTS = {"pool_size": 5, "wait": 1.0, "echo": False}
PYPROJECT = "pyproject.toml"


def test_tables_of_other_installed_backends_are_passed_over(folder: Path) -> None:
    write(folder, "[acme]\npool_size = 2\n[sqlite]\nbusy_timeout = 3\n[memory]\n")
    assert backend_options(ACME, load()) == {"pool_size": 2}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pool_sise = 3", "did you mean 'pool_size'"),
        ("busy_timeout = 3", "stand in a table of its name"),
        ("[acme]\npool_sise = 3", "did you mean 'pool_size'"),
        ("[acmee]\npool_size = 3", "did you mean 'acme'"),
        ("plugin = []", "did you mean 'plugins'"),
    ],
)
def test_unknown_name_in_the_file_is_refused(folder: Path, text: str, word: str) -> None:
    write(folder, text)
    with pytest.raises(InvalidField, match=word):
        backend_options(ACME, load())


@pytest.mark.parametrize(
    "text",
    [
        'pool_size = "many"',
        "pool_size = true",
        "pool_size = 1.5",
        "wait = true",
        "echo = 1",
        "mode = 3",
        "slow_query = true",
        "plugins = [1]",
        "plugins = 1",
    ],
)
def test_value_of_another_type_in_the_file_is_refused(folder: Path, text: str) -> None:
    write(folder, text)
    with pytest.raises(InvalidValue, match=text.partition(" ")[0]):
        (backend_options(ACME, load()), general_settings(load()))


@pytest.mark.parametrize(
    "text", [f'url = "{PASSWORD}', f"{PASSWORD}", "url = 3", "\x00", "[tool]\n[tool]\n"]
)
def test_file_that_is_no_settings_is_refused_without_telling_it(folder: Path, text: str) -> None:
    write(folder, text)
    with pytest.raises(InvalidValue) as caught:
        load()
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


def test_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "loki-storage.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidValue, match="UTF-8"):
        load()


def test_settings_of_the_sdk_itself(folder: Path) -> None:
    assert general_settings(load()) == General((), 1.0)
    write(folder, 'slow_query = 2\nplugins = ["a"]')
    assert general_settings(load()) == General(("a",), 2.0)
    environ = {"LOKI_STORAGE_SLOW_QUERY": "0.5", "LOKI_STORAGE_PLUGINS": "b, c,"}
    assert general_settings(load(environ)) == General(("b", "c"), 0.5)


def test_store_opens_as_the_file_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOKI_STORAGE_URL", raising=False)
    write(folder, 'url = "sqlite:///here.db"\npool_size = 3\n')
    with open_storage() as storage:
        assert storage.backend.stats()["pool_size"] == 3
    with open_storage(pool_size=4) as storage:
        assert storage.backend.stats()["pool_size"] == 4
    assert (folder / "here.db").exists()


# --- What is shown -------------------------------------------------------------------------------


def test_every_setting_is_shown_with_its_source_and_no_secret() -> None:
    def open_it(url: str, *, password: str = "", api_token: str = "", size: int = 1) -> Any: ...

    settings = Settings(
        f"acme://u:{PASSWORD}@h/?sslpassword={PASSWORD}",
        {"password": PASSWORD},
        {"api_token": PASSWORD, "size": "2"},
    )
    found = shown(BackendSpec("acme", open_it), settings)
    assert PASSWORD not in str([(s.name, s.value, s.source) for s in found])
    assert [(s.name, s.value, s.source) for s in found] == [
        ("url", "acme://u:***@h/?sslpassword=***", "argument"),
        ("plugins", (), "default"),
        ("slow_query", 1.0, "default"),
        ("archive", "", "default"),
        ("password", "***", "argument"),
        ("api_token", "***", "environment: LOKI_STORAGE_API_TOKEN"),
        ("size", 2, "environment: LOKI_STORAGE_SIZE"),
    ]
    assert PASSWORD not in repr(found)
