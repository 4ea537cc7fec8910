"""Records to rows and back: exactly, and with the types that records and drivers have."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.enums import DocumentType, RiskLevel
from loki_storage.models import KINDS, Document, Kind, ValidationResult
from loki_storage.rows import Rows
from loki_storage.values import JsonText, Time
from loki_storage_sql.codecs import (
    field_decoder,
    field_encoder,
    record_decoder,
    record_encoder,
    row_decoder,
    rows_encoder,
)
from loki_storage_sqlite.dialect import SqliteDialect
from tests.strategies import kinds, pool, records, sample, tables

DIALECT = SqliteDialect()
CODECS = {
    kind: (record_encoder(kind, DIALECT, tuple(kind.domains)), record_decoder(kind, DIALECT))
    for kind in KINDS.values()
}
STORABLE = {int, float, str, type(None)}


def stored(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row as SQLite gives it back."""
    connection = sqlite3.connect(":memory:")
    marks = ", ".join("?" * len(row))
    (found,) = connection.execute(f"SELECT {marks}", row)
    connection.close()
    return tuple(found)


@given(kinds.flatmap(records))
def test_record_comes_back_as_it_was(record: Any) -> None:
    encode, decode = CODECS[type(record)]
    (row,) = encode([record])
    again = decode(stored(row))
    assert again == record
    for field in type(record).domains:
        assert type(again.stored(field)) is type(record.stored(field))


@given(kinds.flatmap(records))
def test_row_holds_only_what_drivers_bind_fastest(record: Any) -> None:
    (row,) = CODECS[type(record)][0]([record])
    assert {type(value) for value in row} <= STORABLE


@given(kinds.flatmap(lambda kind: st.lists(records(kind), max_size=3)))
def test_rows_come_in_the_order_of_records(drawn: list[Any]) -> None:
    if drawn:
        encode, _ = CODECS[type(drawn[0])]
        assert encode(drawn) == [row for record in drawn for row in encode([record])]


@given(st.data())
def test_chosen_fields_come_back_as_records_hold_them(data: st.DataObject) -> None:
    record = data.draw(kinds.flatmap(records))
    kind: Kind = type(record)
    fields = data.draw(st.lists(st.sampled_from(list(kind.domains)), min_size=2, unique=True))
    (row,) = record_encoder(kind, DIALECT, fields)([record])
    assert row_decoder(kind, DIALECT, fields)(row) == tuple(map(record.stored, fields))


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.table)
def test_single_values_agree_with_whole_records(kind: Kind) -> None:
    for field, domain in kind.domains.items():
        encode, decode = field_encoder(domain, DIALECT), field_decoder(domain, DIALECT)
        for value in pool(domain):
            record = sample(kind).evolve(**{field: value})
            kept = record.stored(field)
            (row,) = record_encoder(kind, DIALECT, ("id", field))([record])
            encoded = kept if kept is None or encode is None else encode(kept)
            assert encoded == row[1]
            assert (decode(encoded), type(decode(encoded))) == (kept, type(kept))


@given(st.data())
def test_columns_agree_with_whole_records(data: st.DataObject) -> None:
    table = data.draw(kinds.flatmap(tables).filter(bool))
    kind, fields = type(table[0]), list(type(table[0]).domains)
    rows = data.draw(st.sampled_from([Rows.of(table), Rows.copies(table[0], id=range(1, 4))]))
    encoded = rows_encoder(kind, DIALECT, fields)(rows)
    assert encoded.columns.keys().isdisjoint(encoded.same)
    for field, expected in zip(fields, zip(*CODECS[kind][0](rows), strict=True), strict=True):
        column = encoded.columns.get(field, [encoded.same.get(field)] * len(rows))
        assert list(map(repr, column)) == list(map(repr, expected))
        assert set(map(type, column)) <= STORABLE


def test_words_come_back_as_members_and_unknown_ones_as_they_are() -> None:
    encode, decode = CODECS[Document]
    (row,) = encode([sample(Document).evolve(document_type="email")])
    place = list(Document.domains).index("document_type")
    assert decode(row).document_type is DocumentType.EMAIL
    assert decode((*row[:place], "unheard of", *row[place + 1 :])).document_type == "unheard of"


def test_closed_word_that_a_newer_version_wrote_does_not_break_a_read() -> None:
    encode, decode = CODECS[ValidationResult]
    (row,) = encode([sample(ValidationResult).evolve(severity=RiskLevel.HIGH)])
    place = list(ValidationResult.domains).index("severity")
    assert decode((*row[:place], "apocalyptic", *row[place + 1 :])).severity == "apocalyptic"


def test_json_stays_text_until_somebody_asks() -> None:
    encode, decode = CODECS[Document]
    (row,) = encode([sample(Document).evolve(metadata_json={"b": 1, "a": [1.0, 10**40]})])
    text = decode(row).stored("metadata_json")
    assert (type(text), text) == (JsonText, '{"b":1,"a":[1.0,' + "1" + "0" * 40 + "]}")


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=2))
def test_times_are_stored_in_the_order_of_time(times: list[datetime]) -> None:
    encode = field_encoder(Time(), DIALECT)
    assert encode is not None
    first, second = times
    assert (encode(first) < encode(second)) is (first < second)
