"""VAL: what each domain accepts, what it refuses, and how it says so."""

import math
import sys
import traceback
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from loki_storage.enums import ActorType, DocumentType, GateStatus, RiskLevel
from loki_storage.errors import InvalidValue
from loki_storage.values import Boolean, Color, Domain, Integer, Json, Number, Text, Time, Word
from tests.hostile import (
    BERLIN,
    SECRET,
    SECRETS,
    SURROGATE,
    Level,
    LoudText,
    Moment,
    Offset,
    error_of,
    limits,
    refusal,
)
from tests.strategies import pool, texts, values

OPEN = Word(50, minimum=1, vocabulary=DocumentType, open=True)
CLOSED = Word(20, vocabulary=GateStatus)
RANKED = Word(20, vocabulary=RiskLevel, ranked=True)
DOMAINS: list[Domain] = [
    Integer(),
    Integer(minimum=1),
    Integer(1, 36_500),
    Number(),
    Boolean(),
    Time(),
    Text(),
    Text(3, minimum=1),
    Color(7),
    OPEN,
    CLOSED,
    RANKED,
    Json(),
    Json(bounded=False),
]
any_text = st.text(st.characters())


# --- None ------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_none_is_accepted_where_nullable_and_required_elsewhere(domain: Domain) -> None:
    assert refusal(domain, None) == "is required"
    assert attrs.evolve(domain, nullable=True).accept("field", None) is None


@pytest.mark.parametrize("domain", DOMAINS)
def test_none_is_an_operand_of_every_domain(domain: Domain) -> None:
    assert domain.operand("field", None) is None


@given(st.sampled_from(DOMAINS).flatmap(lambda d: st.tuples(st.just(d), values(d))))
def test_what_is_held_is_accepted_again_unchanged(drawn: tuple[Domain, Any]) -> None:
    domain, value = drawn
    held = domain.accept("field", value)
    assert domain.accept("field", held) == held
    assert domain.operand("field", value) == held


def test_every_legal_value_has_a_rank() -> None:
    for domain in DOMAINS:
        held = [domain.accept("field", value) for value in pool(domain)]
        assert len({domain.rank(value) for value in held}) == len(set(held))


# --- Numbers ---------------------------------------------------------------------------------


@given(st.integers() | st.integers(-(2**65), 2**65), st.integers(), st.integers())
@example(2**63, -(2**63), 2**63 - 1)
@example(-(2**63), -(2**63), 2**63 - 1)
@example(2**63 - 1, -(2**63), 2**63 - 1)
def test_integer_accepts_exactly_its_bounds(number: int, minimum: int, maximum: int) -> None:
    fits = -(2**63) <= number < 2**63
    assert (refusal(Integer(minimum, maximum), number) is None) is (
        fits and minimum <= number <= maximum
    )


@given(st.integers(-(2**70), 2**70))
def test_integer_operand_may_be_outside_the_bounds_but_not_outside_64_bits(number: int) -> None:
    domain = Integer(1, 2)
    if -(2**63) <= number < 2**63:
        assert domain.operand("field", number) == number
    else:
        with pytest.raises(InvalidValue):
            domain.operand("field", number)


@pytest.mark.parametrize(("given_", "held"), [(HTTPStatus.OK, 200), (Level.HIGH, 3)])
def test_integer_of_a_subclass_is_held_as_a_plain_one(given_: int, held: int) -> None:
    """Once, a range looked for such a member among 2**64 numbers, one by one."""
    accepted = Integer().accept("field", given_)
    assert (accepted, type(accepted)) == (held, int)
    assert refusal(Integer(), Level.HUGE) == "must fit 64 bits"


@given(st.floats() | st.integers(), st.floats(allow_nan=False), st.floats(allow_nan=False))
@example(10**400, 0.0, 1.0)
@example(math.nan, 0.0, 1.0)
@example(5e-324, 0.0, 1.0)
@example(1.0000000000000002, 0.0, 1.0)
def test_number_accepts_exactly_its_bounds(number: float, minimum: float, maximum: float) -> None:
    finite = abs(number) <= sys.float_info.max
    assert (refusal(Number(minimum, maximum), number) is None) is (
        finite and minimum <= float(number) <= maximum
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400])
def test_number_is_finite_as_an_operand_too(number: float) -> None:
    error = error_of(Number().operand, number)
    assert error is not None
    assert error.reason == "must be finite"


def test_number_has_one_zero() -> None:
    assert str(Number(-1.0).accept("field", -0.0)) == "0.0"


@given(st.integers(-1, 1))
def test_number_is_held_as_a_float(number: int) -> None:
    assert type(Number(-1.0).accept("field", number)) is float


@pytest.mark.parametrize("domain", [Integer(), Number()])
@pytest.mark.parametrize("value", [True, False, "1", b"1", Decimal(1), 1j, [1], object()])
def test_number_is_nothing_that_merely_counts_as_one(domain: Domain, value: object) -> None:
    assert refusal(domain, value) is not None


@pytest.mark.parametrize("value", [0, 1, "true", "", [], object(), 1.0])
def test_boolean_is_nothing_that_merely_counts_as_one(value: object) -> None:
    assert refusal(Boolean(), value) == "must be a boolean"


# --- Times -----------------------------------------------------------------------------------

offsets = st.timedeltas(timedelta(hours=-24), timedelta(hours=24)).filter(
    lambda offset: abs(offset) < timedelta(hours=24)
)
zones = st.timezones() | offsets.map(timezone)


@given(st.datetimes(timezones=zones, allow_imaginary=True))
@example(datetime.min.replace(tzinfo=timezone(timedelta(microseconds=1))))
@example(datetime.max.replace(tzinfo=timezone(timedelta(microseconds=-1))))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC, fold=1))
@example(datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")))
def test_time_is_held_in_utc_with_its_microseconds(value: datetime) -> None:
    try:
        expected = value.astimezone(UTC)
    except OverflowError:
        assert refusal(Time(), value) == "must be within the years 1 and 9999 in UTC"
        return
    held: Any = Time().accept("field", value)
    assert held == expected
    assert (type(held), held.tzinfo is UTC, held.fold) == (datetime, True, 0)


def test_time_tells_the_two_hours_of_a_clock_change_apart() -> None:
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    first, second = (Time().accept("field", twice.replace(fold=fold)) for fold in (0, 1))
    assert (first, second) == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )


BROKEN_ZONES = [
    tzinfo(),  # type: ignore[abstract]
    Offset(timedelta(hours=25)),
    Offset("SECRET"),
    Offset(ValueError("SECRET")),
    Offset(OverflowError("SECRET")),
]


@pytest.mark.parametrize("zone", BROKEN_ZONES)
def test_time_zone_that_fails_is_refused(zone: tzinfo) -> None:
    moment = datetime(2026, 1, 1, tzinfo=zone)
    assert refusal(Time(), moment) == "must have a time zone that tells its offset"


@pytest.mark.parametrize("zone", [None, Offset(None)])
def test_naive_time_is_refused(zone: tzinfo | None) -> None:
    moment = datetime(2026, 1, 1, tzinfo=zone)
    assert "aware" in str(refusal(Time(), moment))


@given(st.datetimes(timezones=zones))
def test_time_of_a_subclass_is_held_as_a_plain_one(value: datetime) -> None:
    assume(refusal(Time(), value) is None)
    moment = Moment.combine(value.date(), value.timetz()).replace(fold=value.fold)
    assert type(Time().accept("field", moment)) is datetime
    assert Time().accept("field", moment) == Time().accept("field", value)


@pytest.mark.parametrize("value", [date(2026, 1, 1), 0, 0.0, "2026-01-01T00:00:00Z", object()])
def test_time_is_a_datetime(value: object) -> None:
    assert refusal(Time(), value) == "must be a datetime"


# --- Text ------------------------------------------------------------------------------------


def is_stored_text(text: str) -> bool:
    return not any(c == "\0" or unicodedata.category(c) == "Cs" for c in text)


@given(any_text, st.integers(0, 4), st.none() | st.integers(0, 8))
@example("\r\n \u00e9 e\u0301 \u0344 \ufb01 \uffff\ufeff\U0010ffff", 0, None)
@example("\U0001f600" * 8, 0, 8)
@example("\U0001f600" * 9, 0, 8)
@example(f"a{SURROGATE}\ude00", 0, None)
def test_text_is_kept_exactly_or_refused(text: str, minimum: int, limit: int | None) -> None:
    legal = is_stored_text(text) and minimum <= len(text) <= (len(text) if limit is None else limit)
    domain = Text(limit, minimum=minimum)
    if legal:
        assert domain.accept("field", text) == text
    else:
        assert refusal(domain, text) is not None


@given(any_text)
def test_text_operand_is_refused_only_for_what_no_text_has(text: str) -> None:
    domain = Text(1, minimum=1)
    if is_stored_text(text):
        assert domain.operand("field", text) == text
    else:
        with pytest.raises(InvalidValue):
            domain.operand("field", text)


@given(texts)
def test_text_of_a_subclass_is_held_as_what_it_is(text: str) -> None:
    held = Text().accept("field", LoudText(text))
    assert (held, type(held)) == (text, str)


@pytest.mark.parametrize("text", ["a\0b", f"a{SURROGATE}b"])
@pytest.mark.parametrize("domain", [Text(), OPEN, Json()])
def test_text_of_a_subclass_cannot_hide_what_it_is(domain: Domain, text: str) -> None:
    assert refusal(domain, LoudText(text)) is not None


def test_member_of_an_enum_is_held_as_plain_text() -> None:
    assert type(Text().accept("field", DocumentType.EMAIL)) is str


@given(texts, st.integers(0, 40))
@example("\U0001f600" * 10, 40)
@example("\U0001f600" * 10, 39)
@example("a" * 41, 40)
@example("\u00e9" * 20 + "a", 40)
def test_text_without_a_length_is_limited_in_bytes(text: str, limit: int) -> None:
    with limits(content_bytes=limit):
        assert (refusal(Text(), text) is None) is (len(text.encode()) <= limit)


@given(any_text | st.from_regex("#[0-9a-fA-F]{5,7}", fullmatch=True))
@example("#12aB9f\n")
@example("#\u0661\u0662\u0663\u0664\u0665\u0666")
def test_color_is_a_hash_and_six_hexadecimal_digits(text: str) -> None:
    legal = text[:1] == "#" and len(text) == 7 and set(text[1:]) <= set("0123456789abcdefABCDEF")
    assert (refusal(Color(7), text) is None) is legal


@pytest.mark.parametrize("domain", [Text(), Color(7), OPEN, CLOSED])
@pytest.mark.parametrize("value", [b"email", 1, ["email"], {"email": 1}, object(), str])
def test_text_is_text(domain: Domain, value: object) -> None:
    assert refusal(domain, value) is not None


# --- Vocabularies ----------------------------------------------------------------------------


@pytest.mark.parametrize("member", DocumentType)
def test_open_vocabulary_gives_known_words_back_as_members(member: DocumentType) -> None:
    for given_ in (member, member.value, LoudText(member.value)):
        assert OPEN.accept("field", given_) is member
        assert OPEN.operand("field", given_) is member
    assert OPEN.member(member.value) is member


@given(any_text)
@example("x" * 50)
@example("x" * 51)
@example("\u3000x")
@example("x\u2003")
@example("x\u0085y")
@example("two words")
@example("EMAIL")
def test_open_vocabulary_accepts_any_clean_word_as_it_is(word: str) -> None:
    control = any(unicodedata.category(c) == "Cc" for c in word)
    legal = is_stored_text(word) and 1 <= len(word) <= 50 and not control
    if legal and word == word.strip():
        assert OPEN.accept("field", word) == word == OPEN.member(word)
    else:
        assert refusal(OPEN, word) is not None


@given(any_text | st.sampled_from(list(GateStatus)) | st.sampled_from(["PASS", " pass", "N/A"]))
def test_closed_vocabulary_accepts_its_own_words_only(word: str) -> None:
    if word in list(GateStatus):
        assert CLOSED.accept("field", word) is GateStatus(word)
        assert CLOSED.operand("field", word) is GateStatus(word)
    else:
        assert refusal(CLOSED, word) == "must be one of pass, fail, warning, skip, error"
        with pytest.raises(InvalidValue):
            CLOSED.operand("field", word)


def test_member_of_another_vocabulary_counts_by_its_word() -> None:
    assert Word(20, vocabulary=ActorType).accept("field", "user") is ActorType.USER
    assert OPEN.accept("field", ActorType.API) == "api"
    assert type(OPEN.accept("field", ActorType.API)) is str


def test_ranked_words_are_ordered_by_rank_and_others_by_value() -> None:
    assert sorted(RiskLevel, key=RANKED.rank) == ["none", "low", "medium", "high", "critical"]  # type: ignore[arg-type]
    assert sorted(["b", "B", "\u00e9", "email"], key=OPEN.rank) == ["B", "b", "email", "\u00e9"]  # type: ignore[arg-type]


# --- Messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("value", SECRETS, ids=range(len(SECRETS)))
def test_error_never_tells_the_value(domain: Domain, value: object) -> None:
    for error in (error_of(domain.accept, value), error_of(domain.operand, value)):
        if error is not None:
            told = "".join(traceback.format_exception(error))
            assert SECRET not in f"{told} {error!r} {vars(error)}"
