"""Reads the project's Markdown pages: code blocks, tables, links, headings, inline code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

__all__ = ["PAGES", "ROOT", "Block", "blocks", "code_spans", "headings", "links", "name", "tables"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = "```"


@attrs.frozen
class Block:
    """A fenced block; ``line`` is that of its first line of code, counted from 1."""

    page: Path
    line: int
    language: str
    text: str


def name(page: Path) -> str:
    """The page as failures and test ids call it."""
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, opened = [], None
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith(FENCE):
            continue
        if opened is None:
            opened = number, line.strip().removeprefix(FENCE)
        else:
            start, language = opened
            found.append(Block(page, start + 1, language, "\n".join(lines[start : number - 1])))
            opened = None
    assert opened is None, f"{name(page)}:{opened} is a code block without an end"
    return found


@cache
def prose(page: Path) -> str:
    """The page without its fenced blocks; lines keep their numbers."""
    lines = page.read_text("utf-8").splitlines()
    for block in blocks(page):
        first, last = block.line - 2, block.line + len(block.text.splitlines())
        lines[first:last] = [""] * (last - first)
    return "\n".join(lines)


_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


def links(page: Path) -> list[str]:
    """What the page links to, as it is written there."""
    text = _CODE.sub("", prose(page))
    return [inline or reference for inline, reference in _LINK.findall(text)]


def code_spans(page: Path) -> list[str]:
    """Inline code, without its backticks."""
    return _CODE.findall(prose(page))


def headings(page: Path) -> list[str]:
    """The headings, without their marks."""
    return _HEADING.findall(prose(page))


def tables(page: Path, heading: str) -> Iterator[list[dict[str, str]]]:
    """The tables under a heading, up to the next heading: a row is a cell per column name."""
    _, found, after = f"\n{prose(page)}".partition(f"# {heading}\n")
    assert found, f"{name(page)} has no heading {heading!r}"
    section = re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0]
    for part in re.split(r"\n\s*\n", section):
        lines = [line.strip() for line in part.strip().splitlines()]
        if lines and lines[0].startswith("|"):
            columns, _, *rows = map(_cells, lines)
            yield [dict(zip(columns, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    """The cells of a row; ``\\|`` is a bar inside one."""
    return [cell.replace(r"\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
