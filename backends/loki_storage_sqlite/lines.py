"""Lines of files, written by SQLite (``loki_storage.lines`` says how they look).

Its values then never become Python's: lines come faster than the rows that they are made of.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from loki_storage.lines import FORMULA, NULL, Form
from loki_storage.values import Boolean, Domain, Integer, Json, Number, Time, Word
from loki_storage_sql.dialect import Cell, Column

__all__ = ["line"]

MOST = 50
"""Fields in a line: a function takes 100 arguments in older versions."""
_YEAR_1 = 62_135_596_800
"""Seconds from the year 1 to 1970: counted from there, no time is negative."""


def line(form: Form, cells: Sequence[Cell]) -> Column | None:
    """The expression of a line, as bytes; None where it has too many cells, or none."""
    if not 0 < len(cells) <= MOST:
        return None
    if form.style == "array":
        text = sa.func.json_array(*(_item(column, domain) for _, column, domain in cells))
    elif form.style == "object":
        pairs = ((_text(name), _value(column, domain)) for name, column, domain in cells)
        text = sa.func.json_object(*(part for pair in pairs for part in pair))
    else:
        template = _text(",".join(["%s"] * len(cells)))
        text = sa.func.printf(template, *(_field(c, domain, form) for _, c, domain in cells))
    return sa.cast(text, sa.LargeBinary)


def _item(column: Column, domain: Domain) -> Column:
    return sa.func.json(_number(column)) if isinstance(domain, Number) else column


def _value(column: Column, domain: Domain) -> Column:
    match domain:
        case Time():
            return _unless_null(column, domain, _iso(column))
        case Boolean():
            return sa.func.json(_flag(column))
        case Json():
            return sa.func.json(column)
    return _item(column, domain)


def _field(column: Column, domain: Domain, form: Form) -> Column:
    match domain:
        case Integer() | Word(open=False):
            found = column
        case Number():
            found = _number(column)
        case Time():
            found = _iso(column)
        case Boolean():
            found = _flag(column)
        case _:
            found = _quoted(column, form.raw)
    return _unless_null(column, domain, found, _text(NULL))


def _quoted(column: Column, raw: bool) -> Column:
    first = sa.func.unicode(column)
    like_null = sa.and_(first == _code("\\"), sa.func.ltrim(column, _text("\\")) == _text("N"))
    cases = [(like_null, _text('"\\'))]
    if not raw:
        cases.insert(0, (first.in_(map(_code, sorted(FORMULA))), _text("\"'")))
    doubled = sa.func.replace(column, _text('"'), _text('""'))
    return sa.case(*cases, else_=_text('"')).concat(doubled).concat(_text('"'))


def _iso(column: Column) -> Column:
    million, since = _plain(1_000_000), column + _plain(_YEAR_1 * 1_000_000)
    seconds = since // million - _plain(_YEAR_1)
    second = sa.func.strftime(_text("%Y-%m-%dT%H:%M:%S"), seconds, _text("unixepoch"))
    rest = sa.func.substr(million + since % million, _plain(2))
    return second.concat(_text(".")).concat(rest).concat(_text("+00:00"))


def _number(column: Column) -> Column:
    return _unless_null(column, Number(nullable=True), sa.func.loki_repr(column))


def _flag(column: Column) -> Column:
    return sa.case((column, _text("true")), else_=_text("false"))


def _unless_null(column: Column, domain: Domain, found: Column, null: Any = None) -> Column:
    if not domain.nullable:
        return found
    return sa.case((column.is_(None), sa.null() if null is None else null), else_=found)


def _text(text: str) -> Column:
    return sa.literal_column("'" + text.replace("'", "''") + "'", sa.Text())


def _plain(number: int) -> Column:
    return sa.literal_column(str(number), sa.Integer())


def _code(character: str) -> Column:
    return _plain(ord(character))
