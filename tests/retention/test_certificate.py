"""A certificate of disposal holds against any changed byte, without a store (RET-5)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.errors import InvalidValue
from loki_storage.retention.certificate import extend, sealed, verify

FACTS = {"tenant": "t", "run": 1, "counts": [{"kind": "documents", "rows": 2}], "name": "Ünïcode"}
TEXT = sealed(FACTS)  # type: ignore[arg-type]
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_facts_come_back() -> None:
    assert verify(TEXT) == {"certificate": 1, **FACTS}
    assert verify(TEXT.encode() + b"\n") == verify(TEXT)


def test_every_single_changed_bit_is_noticed() -> None:
    data = bytearray(TEXT.encode())
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            with pytest.raises(InvalidValue):
                verify(bytes(data))
            data[place] ^= 1 << bit
    assert verify(bytes(data)) == verify(TEXT)


@given(st.integers(0, len(TEXT) - 1), st.text(min_size=1, max_size=3))
def test_anything_put_in_or_left_out_is_noticed(place: int, text: str) -> None:
    for changed in (TEXT[:place] + text + TEXT[place:], TEXT[:place] + TEXT[place + 1 :]):
        if changed.removesuffix("\n") != TEXT:
            with pytest.raises(InvalidValue):
                verify(changed)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "\x00", '{"seal": 1}'])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        verify(text)


@given(st.lists(st.integers(1, 9), max_size=8), st.integers(0, 8))
def test_digest_does_not_show_the_batches(ids: list[int], cut: int) -> None:
    lines = [("documents", id, TIME, "delete") for id in ids]
    assert extend(extend(None, lines[:cut]), lines[cut:]) == extend(None, lines)
