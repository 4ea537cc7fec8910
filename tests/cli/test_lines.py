import io
import json

import pytest

from loki_storage.cli.lines import parse_line, read_lines
from loki_storage.errors import InvalidValue


def lines_of(data: bytes, maximum: int = 100) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.data) for line in read_lines(io.BytesIO(data), maximum)]


def test_lines_are_numbered_from_one_and_stripped() -> None:
    assert lines_of(b'{"a":1}\r\n\n{"b":2}') == [(1, b'{"a":1}'), (2, b""), (3, b'{"b":2}')]


def test_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert lines_of(b'\xef\xbb\xbf{"a":1}\n') == [(1, b'{"a":1}')]


def test_line_that_is_too_long_is_skipped_whole() -> None:
    data = b"x" * 3_000_000 + b"\n{}\n" + b"y" * 11
    assert lines_of(data, maximum=10) == [(1, None), (2, b"{}"), (3, None)]


def test_line_of_exactly_the_maximum_is_read() -> None:
    assert lines_of(b"x" * 10 + b"\n", maximum=10) == [(1, b"x" * 10)]


def test_every_byte_is_accounted_for() -> None:
    data = b"x" * 100 + b"\n{}\n\n" + b"y" * 50
    assert sum(line.octets for line in read_lines(io.BytesIO(data), 10)) == len(data)


@pytest.mark.parametrize(
    "number", [2**63 - 1, 2**63, 2**64, -(2**64), 10**40, 12345678901234567890123]
)
def test_integers_of_any_length_are_exact(number: int) -> None:
    assert parse_line(b'{"n":%d}' % number) == {"n": number}


@pytest.mark.parametrize(
    "text", ["0.1", "1e22", "1.7976931348623157e308", "0.30000000000000004441"]
)
def test_floats_are_what_the_standard_library_reads(text: str) -> None:
    assert parse_line(f'{{"n":{text}}}'.encode()) == json.loads(f'{{"n":{text}}}')


def test_last_of_two_equal_keys_counts() -> None:
    assert parse_line(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": "secret', "is cut off"),
        (b'{"a": 1, "b"', "is cut off"),
        (b'{"secret": nope}', "is not JSON (column 12)"),
        (b'{"secret": 1} trailing', "is not JSON (column 15)"),
        (b'{"secret": NaN}', "is not JSON"),
        (b'{"n": 12345678901234567890, "secret": NaN}', "beyond all limits"),
        (b'{"n": 12345678901234567890, "secret": ', "is cut off"),
        (b'{"n": 12345678901234567890, "secret": "\xff"}', "is not UTF-8 (byte 40)"),
        (b'{"n": ' + b"9" * 5000 + b"}", "beyond all limits"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1234567890123456789," + b"[" * 100_000, "beyond all limits"),
        (b'{"secret": "\xff"}', "is not UTF-8 (byte 13)"),
        (b'["secret"]', "must be a JSON object"),
        (b'"secret"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (None, "is longer than"),
    ],
)
def test_bad_line_is_refused_with_its_reason_and_without_its_text(
    data: bytes | None, reason: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_line(data)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)
