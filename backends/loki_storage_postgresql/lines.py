"""Lines of files, written by PostgreSQL (``loki_storage.lines`` says how they look).

The server then writes while the client digests, and sends one value instead of a row of them.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from loki_storage.lines import FORMULA, NULL, Form
from loki_storage.values import Boolean, Domain, Integer, Json, Number, Time, Word
from loki_storage_sql.dialect import Cell, Column

__all__ = ["line"]

MOST = 90
"""Fields in a line: a function takes 100 arguments."""


def line(form: Form, cells: Sequence[Cell]) -> Column | None:
    """The expression of a line; None where it has too many cells, or none."""
    if not 0 < len(cells) <= MOST:
        return None
    if form.style == "array":
        parts = [_unless_null(c, domain, _item(c, domain), "null") for _, c, domain in cells]
    elif form.style == "object":
        parts = [
            _text(f'"{name}":').concat(_unless_null(c, domain, _value(c, domain), "null"))
            for name, c, domain in cells
        ]
    else:
        parts = [_unless_null(c, domain, _field(c, domain, form), NULL) for _, c, domain in cells]
    line = sa.func.concat_ws(_text(","), *parts)
    if form.style == "csv":
        return line
    before, after = ("[", "]") if form.style == "array" else ("{", "}")
    return _text(before).concat(line).concat(_text(after))


def _item(column: Column, domain: Domain) -> Column:
    match domain:
        case Integer():
            return sa.cast(column, sa.Text())
        case Number():
            return _number(column)
        case Time():
            epoch = sa.func.extract("epoch", column)  # numeric, and therefore exact
            return sa.cast(sa.cast(epoch * _plain(1_000_000), sa.BigInteger()), sa.Text())
        case Boolean():
            return sa.case((column, _text("1")), else_=_text("0"))
    return sa.cast(sa.func.to_json(column), sa.Text())


def _value(column: Column, domain: Domain) -> Column:
    match domain:
        case Time():
            return _text('"').concat(_iso(column)).concat(_text('"'))
        case Boolean():
            return _flag(column)
        case Json():
            return column
    return _item(column, domain)


def _field(column: Column, domain: Domain, form: Form) -> Column:
    match domain:
        case Integer() | Word(open=False):
            return sa.cast(column, sa.Text())
        case Number():
            return _number(column)
        case Time():
            return _iso(column)
        case Boolean():
            return _flag(column)
    return _quoted(column, form.raw)


def _quoted(column: Column, raw: bool) -> Column:
    first = sa.func.ascii(column)  # the code point, whichever it is
    like_null = sa.and_(first == _code("\\"), sa.func.ltrim(column, _text("\\")) == _text("N"))
    cases = [(like_null, _text('"\\'))]
    if not raw:
        cases.insert(0, (first.in_(map(_code, sorted(FORMULA))), _text("\"'")))
    doubled = sa.func.replace(column, _text('"'), _text('""'))
    return sa.case(*cases, else_=_text('"')).concat(doubled).concat(_text('"'))


def _iso(column: Column) -> Column:
    return sa.func.to_char(column, _text('YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))


def _number(column: Column) -> Column:
    """As ``repr``: the shortest digits, with a fraction."""
    text = sa.cast(column, sa.Text())
    whole = text.op("~")(_text("^-?[0-9]+$"))
    return sa.case((whole, text.concat(_text(".0"))), else_=text)


def _flag(column: Column) -> Column:
    return sa.case((column, _text("true")), else_=_text("false"))


def _unless_null(column: Column, domain: Domain, found: Column, null: str) -> Column:
    return sa.func.coalesce(found, _text(null)) if domain.nullable else found


def _text(text: str) -> Column:
    return sa.literal_column("'" + text.replace("'", "''") + "'", sa.Text())


def _plain(number: int) -> Column:
    return sa.literal_column(str(number), sa.Integer())


def _code(character: str) -> Column:
    return _plain(ord(character))
