"""Case-insensitive tests as a regular expression that lets no match slip through.

``str.casefold`` is the law (QRY-4). A code point stands in the pattern for every one whose folded
form has it; one that may also come out of the code point before it (``ß`` folds to ``ss``) may be
missing. So some rows more may match, and none too few; Python judges those that do.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

__all__ = ["pattern"]

LONGEST = 60
"""Characters that are looked at; a longer text is narrowed by a part of it."""
_PLANES = 0x20000
"""Beyond the first two planes nothing has case."""


def pattern(op: str, folded: str) -> str:
    """A pattern for PostgreSQL's ``~`` that matches whatever ``op`` with this text does."""
    if op == "ends_with":
        return f"{_body(folded[-LONGEST:])}$"
    body = _body(folded[:LONGEST])
    return f"^{body}" if op == "starts_with" else body


def _body(folded: str) -> str:
    sources, followers = _folds()
    parts = []
    for before, char in zip(["", *folded], folded, strict=False):
        choices = sources.get(char, "")
        one = f"[{char}{choices}]" if choices else _escaped(char)
        parts.append(f"{one}?" if before + char in followers else one)
    return "".join(parts)


@cache
def _folds() -> tuple[Mapping[str, str], frozenset[str]]:
    """What else folds to something with a character, and pairs that one code point folds to."""
    sources: defaultdict[str, str] = defaultdict(str)
    pairs: set[str] = set()
    for char in map(chr, range(_PLANES)):
        folded = char.casefold()
        if folded != char:
            for part in set(folded):
                sources[part] += char
            pairs.update(folded[n : n + 2] for n in range(len(folded) - 1))
    return sources, frozenset(pairs)


def _escaped(char: str) -> str:
    return f"\\{char}" if re.match(r"[^\w\s]", char, re.ASCII) and char.isascii() else char
