"""The developer's program: what it says of itself and what it pins."""

import re
import tomllib

import pytest

import dev


def test_lowest_versions_are_the_lower_bounds_of_all_that_users_install() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = dict(dev.lowest_versions())
    for requirement in project["dependencies"]:
        name = re.split(r"[^\w-]", requirement)[0]
        assert f"{name}>={pinned[name]}" in requirement.replace("[binary]", "")
    assert {"psycopg", "pyarrow", "hypothesis", "pytest"} <= set(pinned)


def test_usage_names_every_command_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main([]) == 2
    lines = capsys.readouterr().out.splitlines()
    for name in dev.COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)
    assert max(map(len, lines)) <= 110
