"""What changed between two texts: a unified diff with the changed words marked."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher, unified_diff
from itertools import zip_longest

import attrs
from rich.table import Table
from rich.text import Text

from loki_storage.cli.output import console, escaped, heading

__all__ = ["print_diff", "unified"]

LARGEST = 200_000
"""Characters of both texts together that are compared: the time grows with their square."""
CONTEXT = 2


def unified(before: str, after: str, names: tuple[str, str]) -> str | None:
    """A unified diff as text; None where the texts are too long to be compared here."""
    if len(before) + len(after) > LARGEST:
        return None
    lines = unified_diff(before.split("\n"), after.split("\n"), *names, lineterm="")
    return "\n".join(lines)


def print_diff(before: str, after: str, title: str) -> None:
    """The changed lines with a little around them, changed words underlined."""
    out = console()
    heading(out, title)
    if len(before) + len(after) > LARGEST:
        out.print(Text("too long to be compared here; see --content", style="dim"))
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in _lines(before.split("\n"), after.split("\n")):
        grid.add_row(Text(line.sign, style=_STYLES[line.sign]), _text(line))
    out.print(grid if grid.row_count else Text("the texts are equal", style="dim"))


_Piece = tuple[str, bool]


@attrs.frozen
class _Line:
    """A line of a diff: its sign, and its text in pieces, each with whether it was changed."""

    sign: str
    pieces: list[_Piece]


_STYLES = {"-": "red", "+": "green", " ": "dim", "~": "cyan"}


def _text(line: _Line) -> Text:
    style = _STYLES[line.sign]
    text = Text()
    for piece, changed in line.pieces:
        text.append(
            escaped(piece, tabs=True), style=f"bold underline {style}" if changed else style
        )
    return text


def _lines(before: list[str], after: list[str]) -> Iterator[_Line]:
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for n, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        if n:
            yield _Line("~", [("…", False)])
        for kind, a, b, c, d in group:
            if kind == "equal":
                yield from (_Line(" ", [(line, False)]) for line in before[a:b])
            else:
                yield from _replaced(before[a:b], after[c:d])


def _replaced(before: list[str], after: list[str]) -> Iterator[_Line]:
    """Removed lines, then added ones; lines that face each other show the words that differ."""
    pairs = [_words(*pair) for pair in zip_longest(before, after)]
    yield from (_Line("-", old) for old, _ in pairs[: len(before)])
    yield from (_Line("+", new) for _, new in pairs[: len(after)])


def _words(before: str | None, after: str | None) -> tuple[list[_Piece], list[_Piece]]:
    if before is None or after is None:
        return [(before or "", False)], [(after or "", False)]
    old, new = _WORD.findall(before), _WORD.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.quick_ratio() < 0.3:
        return [(before, False)], [(after, False)]  # two different lines: marks would be noise
    codes = matcher.get_opcodes()
    return (
        _joined([("".join(old[a:b]), kind != "equal") for kind, a, b, _, _ in codes if b > a]),
        _joined([("".join(new[c:d]), kind != "equal") for kind, _, _, c, d in codes if d > c]),
    )


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """Pieces with the spaces between changed words marked too, so that they read as one."""
    joined: list[_Piece] = []
    for n, (text, changed) in enumerate(pieces):
        marked = changed or (text.isspace() and 0 < n < len(pieces) - 1)
        if joined and joined[-1][1] == marked:
            joined[-1] = (joined[-1][0] + text, marked)
        else:
            joined.append((text, marked))
    return joined


_WORD = re.compile(r"\s+|\w+|[^\w\s]")
