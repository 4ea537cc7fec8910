"""What differs between two documents or versions: their texts by lines, and their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import chain, takewhile
from typing import Any, Literal

import attrs

from loki_storage.models import Document
from loki_storage.rules.documents import DESCRIPTIVE

__all__ = ["DocumentDiff", "TextChange", "compare"]

COMPARED = ("document_type", "client_id", *DESCRIPTIVE)
CONTEXT = 3
LARGEST = 4_000_000
"""Lines times lines that are compared one by one: the time grows with their product."""


@attrs.frozen
class TextChange:
    """Lines that were put in the place of others; ``line`` numbers count from 1."""

    op: Literal["replace", "insert", "delete"]
    before_line: int
    after_line: int
    removed: tuple[str, ...] = attrs.field(repr=False)
    added: tuple[str, ...] = attrs.field(repr=False)


@attrs.frozen
class DocumentDiff:
    """From one document or version to another: as a unified diff, and as data."""

    before_id: int
    after_id: int
    unified: str = attrs.field(repr=False)
    """Unified diff with three lines of context; empty where the texts are equal."""
    changes: tuple[TextChange, ...]
    """The changed lines, from first to last."""
    fields: Mapping[str, tuple[Any, Any]] = attrs.field(repr=False)
    """Field -> (before, after), of descriptive fields, type and client."""

    @property
    def same_text(self) -> bool:
        """Whether the texts are equal."""
        return not self.changes


_Code = tuple[str, int, int, int, int]


def compare(before: Document, after: Document) -> DocumentDiff:
    """The difference; very long and very different texts are one change, not many small ones."""
    a, b = before.content.split("\n"), after.content.split("\n")
    codes = list(_codes(a, b))
    names = (f"document {before.id}", f"document {after.id}")
    return DocumentDiff(
        before_id=before.id,
        after_id=after.id,
        unified="\n".join(_unified(a, b, codes, names)),
        changes=tuple(_change(a, b, code) for code in codes if code[0] != "equal"),
        fields={
            name: (getattr(before, name), getattr(after, name))
            for name in COMPARED
            if before.stored(name) != after.stored(name)
        },
    )


def _codes(a: Sequence[str], b: Sequence[str]) -> Iterator[_Code]:
    """``SequenceMatcher``'s opcodes; what is equal at both ends costs one pass."""
    head = _equal_at_start(a, b)
    tail = _equal_at_start(a[head:][::-1], b[head:][::-1])
    if head:
        yield "equal", 0, head, 0, head
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    for op, i, j, k, m in _middle(middle_a, middle_b):
        yield op, i + head, j + head, k + head, m + head
    if tail:
        yield "equal", len(a) - tail, len(a), len(b) - tail, len(b)


def _equal_at_start(a: Sequence[str], b: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _middle(a: Sequence[str], b: Sequence[str]) -> list[_Code]:
    if a and b and len(a) * len(b) > LARGEST:
        return [("replace", 0, len(a), 0, len(b))]
    return list(SequenceMatcher(None, a, b).get_opcodes())


def _change(a: Sequence[str], b: Sequence[str], code: _Code) -> TextChange:
    op, i, j, k, m = code
    return TextChange(op, i + 1, k + 1, tuple(a[i:j]), tuple(b[k:m]))  # type: ignore[arg-type]


def _unified(
    a: Sequence[str], b: Sequence[str], codes: Sequence[_Code], names: tuple[str, str]
) -> Iterator[str]:
    groups = list(_grouped(codes))
    if groups:
        yield from (f"--- {names[0]}", f"+++ {names[1]}")
    for group in groups:
        (_, i, _, k, _), (_, _, j, _, m) = group[0], group[-1]
        yield f"@@ -{_span(i, j)} +{_span(k, m)} @@"
        yield from chain.from_iterable(_lines(a, b, code) for code in group)


def _grouped(codes: Sequence[_Code]) -> Iterator[Sequence[_Code]]:
    """Changes with their context; those that are near to one another together."""
    matcher = SequenceMatcher(None, "", "")
    matcher.opcodes = list(codes)  # type: ignore[attr-defined]
    yield from matcher.get_grouped_opcodes(CONTEXT)


def _span(start: int, end: int) -> str:
    length = end - start
    return f"{start + 1}" if length == 1 else f"{start + (length > 0)},{length}"


def _lines(a: Sequence[str], b: Sequence[str], code: _Code) -> Iterator[str]:
    op, i, j, k, m = code
    if op == "equal":
        yield from (f" {line}" for line in a[i:j])
        return
    yield from (f"-{line}" for line in a[i:j])
    yield from (f"+{line}" for line in b[k:m])
