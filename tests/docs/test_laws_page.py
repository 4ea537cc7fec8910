"""docs/laws.md is the inventory of laws, and pages and docstrings cite no law that is not in it."""

import re

import pytest

from loki_storage_contract.further_laws import ALL_LAWS, FURTHER_LAWS
from loki_storage_contract.inventory import LAWS
from loki_storage_contract.laws_page import FAMILIES, laws_page
from tests.docs.pages import PAGES, ROOT, headings, name

PAGE = ROOT / "docs" / "laws.md"
LATER = {"EXP", "BAK"}
"""Families that are cited already, and whose laws are added with what they are about."""
LAW = re.compile(rf"\b({'|'.join({*FAMILIES} - LATER)})-(\d+)(?: to (?:[A-Z]{{3}}-)?(\d+))?\b")
SOURCES = [
    *PAGES,
    *(
        path
        for folder in ("loki_storage", "backends", "migrations", "contract_tests", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ),
]


def test_page_is_generated_from_the_inventory() -> None:
    command = "python -m loki_storage_contract.laws_page > docs/laws.md"
    assert PAGE.read_text("utf-8") == laws_page(), f"run: {command}"


def test_page_has_every_law_once() -> None:
    listed = [heading for heading in headings(PAGE)[1:] if ":" not in heading]
    assert sorted(listed) == sorted([*LAWS, *FURTHER_LAWS])


def cited(text: str) -> set[str]:
    """The laws that a text names, "VER-1 to VER-10" in full."""
    return {
        f"{family}-{number}"
        for family, first, last in LAW.findall(text)
        for number in range(int(first), int(last or first) + 1)
    }


def test_every_law_that_is_cited_is_a_law() -> None:
    unknown = {
        name(path): sorted(missing)
        for path in SOURCES
        if (missing := cited(path.read_text("utf-8")) - set(ALL_LAWS))
    }
    assert unknown == {}


@pytest.mark.parametrize(
    ("text", "laws"),
    [
        ("kept (VER-4, DEL-2)", {"VER-4", "DEL-2"}),
        ("DEL-1 to DEL-3", {"DEL-1", "DEL-2", "DEL-3"}),
        ("BAT-2 to 4", {"BAT-2", "BAT-3", "BAT-4"}),
        ("UTF-8, SHA-256", set()),
    ],
)
def test_citations_are_found(text: str, laws: set[str]) -> None:
    assert cited(text) == laws
