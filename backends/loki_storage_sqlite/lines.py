"""Lines of files, written by SQLite (``loki_storage.lines`` says how they look).

Its values then never become Python's: lines come faster than the rows that they are made of. Most
of a line is one ``printf``, which copies each value once; what JSON escapes goes through
``json_object``, a run of fields at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import sqlalchemy as sa

from loki_storage.lines import FORMULA, NULL, Form
from loki_storage.values import Boolean, Domain, Integer, Json, Number, Time, Word
from loki_storage_sql.dialect import Cell, Column

__all__ = ["line"]

MOST = 45
"""Fields in a line: a function takes 100 arguments in older versions, a field two at most."""
_YEAR_1 = 62_135_596_800
"""Seconds from the year 1 to 1970: counted from there, no time is negative."""
_LETTERS = (("A", "\\"), ("]", "＇"))  # noqa: RUF001 - the first of the full-width forms
"""From, and before: texts between are as they are, and so begin nearly all. It saves a search."""

Part = tuple[str, Sequence[Column]]
"""A piece of the template of ``printf``, and the arguments that it takes."""


def line(form: Form, cells: Sequence[Cell]) -> Column | None:
    """The expression of a line, as bytes; None where it has too many cells, or none."""
    if not 0 < len(cells) <= MOST:
        return None
    if form.style == "array":
        text: Column = sa.func.json_array(*(_item(column, domain) for _, column, domain in cells))
    elif form.style == "object":
        text = _printed("{%s}", _members(cells))
    else:
        text = _printed("%s", (_field(column, domain, form) for _, column, domain in cells))
    return sa.cast(text, sa.LargeBinary)


def _printed(around: str, parts: Iterable[Part]) -> Column:
    templates, arguments = zip(*parts, strict=True)
    template = around.replace("%s", ",".join(templates))
    return sa.func.printf(_text(template), *(each for some in arguments for each in some))


def _item(column: Column, domain: Domain) -> Column:
    return sa.func.json(_number(column)) if isinstance(domain, Number) else column


# Objects


def _members(cells: Sequence[Cell]) -> Iterator[Part]:
    for escaped, run in groupby(cells, key=lambda cell: _is_escaped(cell[2])):
        if escaped:
            pairs = [(_text(name), column) for name, column, _ in run]
            run_of_them = sa.func.json_object(*(part for pair in pairs for part in pair))
            yield "%s", [sa.func.trim(run_of_them, _text("{}"))]
            continue
        for name, column, domain in run:
            template, arguments = _member(column, domain)
            yield f'"{name}":{template}', arguments


def _is_escaped(domain: Domain) -> bool:
    """Whether ``json_object`` writes it as we do; no such run ends in a brace of its own."""
    return not isinstance(domain, Time | Boolean | Json | Number)


def _member(column: Column, domain: Domain) -> Part:
    match domain:
        case Time():
            template, arguments = _iso(column)
            part: Part = f'"{template}"', arguments
        case Boolean():
            part = "%s", [_flag(column)]
        case Number():
            part = "%s", [_number(column)]
        case _:
            part = "%s", [column]
    return _unless_null(column, domain, part, "null")


# CSV


def _field(column: Column, domain: Domain, form: Form) -> Part:
    match domain:
        case Integer() | Word(open=False):
            part: Part = "%s", [column]
        case Number():
            part = "%s", [_number(column)]
        case Time():
            part = _iso(column)
        case Boolean():
            part = "%s", [_flag(column)]
        case _:
            part = '"%s%w"', [_mark(column, form.raw), column]  # %w doubles quotes
    return _unless_null(column, domain, part, NULL)


def _mark(column: Column, raw: bool) -> Column:
    """What stands before a text."""
    first = sa.func.unicode(column)
    like_null = sa.and_(first == _code("\\"), sa.func.ltrim(column, _text("\\")) == _text("N"))
    cases = [(like_null, _text("\\"))]
    if not raw:
        cases.insert(0, (first.in_(map(_code, sorted(FORMULA))), _text("'")))
        if isinstance(column, sa.Column):  # else to compute it again costs more
            cases[:0] = [
                (sa.and_(column >= _text(low), column < _text(high)), _text(""))
                for low, high in reversed(_LETTERS)
            ]
    return sa.case(*cases, else_=_text(""))


# Both


def _iso(column: Column) -> Part:
    million, since = _plain(1_000_000), column + _plain(_YEAR_1 * 1_000_000)
    second = sa.func.datetime(since // million - _plain(_YEAR_1), _text("unixepoch"))
    return "%s.%06d+00:00", [sa.func.replace(second, _text(" "), _text("T")), since % million]


def _number(column: Column) -> Column:
    return sa.case((column.is_not(None), sa.func.loki_repr(column)))


def _flag(column: Column) -> Column:
    return sa.case((column, _text("true")), else_=_text("false"))


def _unless_null(column: Column, domain: Domain, part: Part, null: str) -> Part:
    """The same, or else how NULL is written."""
    if not domain.nullable:
        return part
    template, arguments = part
    if template == "%s":
        return template, [sa.func.coalesce(*arguments, _text(null))]
    found = sa.func.printf(_text(template), *arguments)
    return "%s", [sa.case((column.is_(None), _text(null)), else_=found)]


def _text(text: str) -> Column:
    return sa.literal_column("'" + text.replace("'", "''") + "'", sa.Text())


def _plain(number: int) -> Column:
    return sa.literal_column(str(number), sa.Integer())


def _code(character: str) -> Column:
    return _plain(ord(character))
