"""Records to rows and back, by functions that are generated once per kind; columns as wholes.

A generated function has one expression per field and no loop over fields: a record costs less than
a microsecond each way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from loki_storage.models import Kind, Record
from loki_storage.rows import Rows
from loki_storage.values import Domain, Json, JsonText, Word
from loki_storage_sql.dialect import Dialect
from loki_storage_sql.packing import packable, unpack

__all__ = [
    "Encoded",
    "field_decoder",
    "field_encoder",
    "record_decoder",
    "record_encoder",
    "row_decoder",
    "rows_encoder",
]

Function = Callable[..., Any]
Row = Sequence[Any]


@attrs.frozen
class Encoded:
    """Rows as a driver binds them; a field that is in neither is NULL.

    ``columns``: by field, one value per row. ``same``: by field, the value that all rows have.
    """

    columns: dict[str, Sequence[Any]] = attrs.field(repr=False)
    same: dict[str, Any] = attrs.field(repr=False)


def record_encoder(
    kind: Kind, dialect: Dialect, fields: Sequence[str]
) -> Callable[[Iterable[Record]], list[Row]]:
    """A function from records to rows of these fields: for few, faster than columns."""
    return _encoding(kind, dialect, fields).build("encode")


def rows_encoder(
    kind: Kind, dialect: Dialect, fields: Sequence[str]
) -> Callable[[Rows[Any]], Encoded]:
    """A function that encodes these fields of rows, what they share once for all of them."""
    encoders = {field: field_encoder(kind.domains[field], dialect) for field in fields}

    def encode(rows: Rows[Any]) -> Encoded:
        columns = {f: column for f in fields if (column := rows.own(f)) is not None}
        shared = {f: rows.same.get(f) for f in fields if f not in columns}
        same = {field: value for field, value in shared.items() if value is not None}
        return Encoded(
            {field: _column(encoders[field], column) for field, column in columns.items()},
            {field: _value(encoders[field], value) for field, value in same.items()},
        )

    return encode


_PLAIN = frozenset((str, type(None)))


def _column(encode: Function | None, column: Sequence[Any]) -> Sequence[Any]:
    if encode is None or (encode is str and set(map(type, column)) <= _PLAIN):
        return column
    return [None if value is None else encode(value) for value in column]


def _value(encode: Function | None, value: Any) -> Any:
    return value if value is None or encode is None else encode(value)


def record_decoder(kind: Kind, dialect: Dialect) -> Callable[[Row], Any]:
    """A function from a row, of all fields in declaration order, to a record."""
    return _decoding(kind, dialect).build("decode")


def row_decoder(kind: Kind, dialect: Dialect, fields: Sequence[str]) -> Callable[[Row], Any]:
    """A function from a row of these fields to the tuple of what records hold in them."""
    made = _Source()
    width = len(fields) + len(dialect.beside(kind.table, fields))
    cells = _texts(made, kind, dialect, fields, [f"row[{n}]" for n in range(width)])
    values = [
        _decoded(made, f, kind.domains[f], dialect, cell)
        for f, cell in zip(fields, cells, strict=True)
    ]
    made.text = f"def decode(row):\n    return ({''.join(f'{value}, ' for value in values)})"
    return made.build("decode")


class _Source:
    """The source of one function and the names that it uses."""

    def __init__(self, scope: Mapping[str, Any] | None = None) -> None:
        self.text = ""
        self._scope: dict[str, Any] = dict(scope or {})

    def name(self, stem: str, value: Any) -> str:
        """A name in the function's scope for this value; equal stems must mean equal values."""
        self._scope[stem] = value
        return stem

    def build(self, function: str) -> Function:
        exec(self.text, self._scope)
        built: Function = self._scope[function]
        return built


def _encoding(kind: Kind, dialect: Dialect, fields: Sequence[str]) -> _Source:
    made = _Source()
    values = [
        _encoded(made, f, kind.domains[f], dialect, f"d[{kind.attributes[f]!r}]") for f in fields
    ]
    row = "\n".join(f"            {value}," for value in values)
    made.text = (
        "def encode(records):\n"
        f"    return [\n        (\n{row}\n        )\n"
        "        for d in [record.__dict__ for record in records]\n"
        "    ]"
    )
    return made


def _encoded(made: _Source, field: str, domain: Domain, dialect: Dialect, value: str) -> str:
    encode = field_encoder(domain, dialect)
    if encode is None:
        return value
    name = "str" if encode is str else made.name(f"encode_{field}", encode)
    if domain.nullable:
        return f"None if (v := {value}) is None else {name}(v)"
    return f"{name}({value})"


def _decoding(kind: Kind, dialect: Dialect) -> _Source:
    made = _Source({"trusted": kind.trusted})
    fields = tuple(kind.domains)
    width = len(fields) + len(dialect.beside(kind.table, fields))
    cells = [f"v{n}" for n in range(width)]
    values = [
        _decoded(made, f, kind.domains[f], dialect, cell)
        for f, cell in zip(fields, _texts(made, kind, dialect, fields, cells), strict=True)
    ]
    unpacked = ", ".join(cells)
    arguments = "\n".join(f"        {value}," for value in values)
    made.text = f"def decode(row):\n    {unpacked}, = row\n    return trusted(\n{arguments}\n    )"
    return made


def _texts(
    made: _Source, kind: Kind, dialect: Dialect, fields: Sequence[str], cells: Sequence[str]
) -> list[str]:
    """The source of each field's stored value; ``cells``: those of all columns of the row."""
    found, beside = list(cells[: len(fields)]), iter(cells[len(fields) :])
    if dialect.packing is None:
        return found
    for n, field in enumerate(fields):
        if packable(kind.table, field):
            call = made.name("unpack", unpack)
            if dialect.packing.in_sql:
                found[n] = f"({call}({cells[n]}) if type({cells[n]}) is bytes else {cells[n]})"
            else:
                packed = next(beside)
                found[n] = f"({cells[n]} if {packed} is None else {call}({packed}))"
    return found


def _decoded(made: _Source, field: str, domain: Domain, dialect: Dialect, value: str) -> str:
    if isinstance(domain, Word):
        # An unknown word is its own meaning, and so is NULL.
        return f"{made.name(f'member_{field}', domain.members.get)}({value}, {value})"
    decode = JsonText if isinstance(domain, Json) else dialect.decoder(domain)
    if decode is None:
        return value
    call = f"{made.name(f'decode_{field}', decode)}({value})"
    return f"None if {value} is None else {call}" if domain.nullable else call


def field_encoder(domain: Domain, dialect: Dialect) -> Function | None:
    """What turns a record's value of this domain (not None) into the driver's; None: as it is.

    Drivers bind exact ``str`` fastest, so members and JSON text are made plain.
    """
    return str if isinstance(domain, Word | Json) else dialect.encoder(domain)


def field_decoder(domain: Domain, dialect: Dialect) -> Callable[[Any], Any]:
    """What turns a stored value of this domain, or NULL, into a record's."""
    if isinstance(domain, Word):
        members = domain.members
        return lambda value: members.get(value, value)
    decode = JsonText if isinstance(domain, Json) else dialect.decoder(domain)
    if decode is None:
        return lambda value: value
    return lambda value: None if value is None else decode(value)
