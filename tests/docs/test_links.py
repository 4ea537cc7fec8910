"""No link on a page leads nowhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, headings, links, name

ELSEWHERE = ("https://", "http://", "mailto:")


def broken(page: Path) -> Iterator[str]:
    for link in links(page):
        if link.startswith(ELSEWHERE):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            yield link


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in headings(page)}


def anchor(heading: str) -> str:
    """As the usual hosts make them: lower case, punctuation dropped, spaces as hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# A heading: here\n")
    page.write_text(
        "# Top\n[a](other.md) [b](other.md#a-heading-here) [c](#top) [d](https://example.com)\n"
        "[e](absent.md) [f](other.md#elsewhere) [g](#bottom) `[h](code.md)`\n\n[i]: gone.md\n"
    )
    assert list(broken(page)) == ["absent.md", "other.md#elsewhere", "#bottom", "gone.md"]
