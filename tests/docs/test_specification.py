"""The tables of docs/specification.md are those of the records and of the databases."""

import re
from collections.abc import Callable, Mapping

import pytest
from sqlalchemy import Boolean, Double, Integer, String, Table
from sqlalchemy import Text as Unbounded

from loki_storage import values
from loki_storage.models import KINDS, Kind
from loki_storage.values import Domain
from loki_storage_sql.tables import schema_for
from tests.docs.pages import ROOT, code_spans, headings, tables

PAGE = ROOT / "docs" / "specification.md"
PUBLIC = {table: kind for table, kind in KINDS.items() if not kind.internal}


def is_text(domain: Domain) -> bool:
    return isinstance(domain, values.Text)


def limit(domain: Domain) -> int | None:
    return domain.limit if isinstance(domain, values.Text) else None


# The specification's word for a type -> whether a domain is that.
TYPES: Mapping[str, Callable[[Domain], bool]] = {
    "Integer": lambda domain: isinstance(domain, values.Integer),
    "Float": lambda domain: isinstance(domain, values.Number),
    "Boolean": lambda domain: isinstance(domain, values.Boolean),
    "DateTime": lambda domain: isinstance(domain, values.Time),
    "JSON": lambda domain: isinstance(domain, values.Json),
    "Enum": lambda domain: isinstance(domain, values.Word),
    "Text": lambda domain: is_text(domain) and limit(domain) is None,
}


def is_of_type(domain: Domain, asked: str) -> bool:
    if asked == "added":
        return True
    length = re.fullmatch(r"String\((\d+)\)", asked)
    if length:
        return is_text(domain) and limit(domain) == int(length[1])
    return TYPES[asked](domain)


def columns_of(table: str) -> list[dict[str, str]]:
    (rows,) = tables(PAGE, table)
    return rows


def built(cell: str) -> str:
    """What "asked → built" comes to."""
    return cell.split(" → ")[-1]


@pytest.mark.parametrize(("table", "kind"), PUBLIC.items())
def test_page_has_exactly_the_columns_of_the_record(table: str, kind: Kind) -> None:
    assert sorted(row["column"] for row in columns_of(table)) == sorted(kind.domains)


@pytest.mark.parametrize(("table", "kind"), PUBLIC.items())
def test_fields_have_the_type_and_nullability_of_the_page(table: str, kind: Kind) -> None:
    for row in columns_of(table):
        domain = kind.domains[row["column"]]
        assert is_of_type(domain, built(row["type"])), row
        assert domain.nullable == (built(row["NULL"]) == "yes"), row


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("table", "kind"), PUBLIC.items())
def test_stored_columns_have_the_type_and_nullability_of_the_page(
    table: str, kind: Kind, dialect: str
) -> None:
    stored: Table = schema_for(dialect).tables[kind]
    for row in columns_of(table):
        column = stored.c[row["column"]]
        assert column.nullable == (built(row["NULL"]) == "yes"), row
        assert is_stored_as(column.type, built(row["type"])), row


def is_stored_as(stored: object, asked: str) -> bool:
    length = re.fullmatch(r"String\((\d+)\)", asked)
    if length:
        return isinstance(stored, String) and stored.length == int(length[1])
    types = {
        "Integer": Integer,
        "Float": Double,
        "Boolean": Boolean,
        "JSON": Unbounded,
        "Enum": String,
        "Text": Unbounded,
    }
    return isinstance(stored, types.get(asked, object))


def test_page_names_every_table() -> None:
    names = schema_for("sqlite").names
    assert names - {*code_spans(PAGE), *headings(PAGE)} == set()
