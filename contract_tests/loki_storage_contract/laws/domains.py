"""VAL-3, VAL-5 to VAL-8: bounds of every field, on both sides, and what an error tells."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from loki_storage.batch import Batch, Delete
from loki_storage.enums import Severity
from loki_storage.errors import InvalidField, InvalidValue, StorageError
from loki_storage.models import (
    KINDS,
    Chain,
    Document,
    Kind,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.values import Boolean, Color, Domain, Integer, Number, Text, Time, Word
from loki_storage_contract.laws.values import comes_back
from loki_storage_contract.records import Places, parents, sample
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store

SECRET = "S3CR3T"
Bounds = tuple[list[Any], list[Any]]


def free_fields() -> Iterator[tuple[Kind, str, Domain]]:
    """Every field whose value is free: no id, no tenant, no reference."""
    for kind in KINDS.values():
        taken = {"id", "tenant_id", *(reference.field for reference in kind.references)}
        for field, domain in kind.domains.items():
            if field not in taken:
                yield kind, field, domain


def with_value(kind: Kind, field: str, value: Any) -> Any:
    """A record whose references hold and whose keys are free, with this value in a field."""
    required = [r.field for r in kind.references if not kind.domains[r.field].nullable]
    fixed: dict[str, Any] = dict.fromkeys(required, 1)
    fixed |= {key: "free" for key in ("name", "request_hash") if key in kind.domains}
    own: dict[str, Any] = {"root_id": OWN} if kind is Document else {}
    return sample(kind, 3, **{**fixed, **own, field: value})


OWN = 4
"""A chain without documents."""


def come_back(store: Store, bounds: Any) -> None:
    """Each legal value of each field is stored and comes back, type and all."""
    places = Places(store.backend)
    store.put(*places.records([*parents(), sample(Chain, OWN)]))
    for kind, field, domain in free_fields():
        for value in bounds(domain)[0]:
            record = places.record(with_value(kind, field, value))
            store.put(record)
            comes_back(store, record)
            store.backend.apply(Batch(record.tenant_id, [Delete(kind, record.id)]))


def is_refused(build: Any, field: str) -> None:
    """``InvalidValue`` that names the field and gives a reason, and tells no value (VAL-8)."""
    with pytest.raises(InvalidValue) as caught:
        build()
    assert caught.value.field == field
    assert caught.value.reason
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


def are_refused(bounds: Any) -> None:
    for kind, field, domain in free_fields():
        for value in bounds(domain)[1]:
            is_refused(lambda: sample(kind, 3, **{field: value}), field)  # noqa: B023


def of_text(domain: Domain) -> Bounds:
    """The longest text there may be, in letters of one byte, of two and of four; one more."""
    match domain:
        case Color() | Word():
            return [], []
        case Text(minimum=minimum, limit=int(limit)):
            legal = [letter * limit for letter in ("a", "é", "\U0001f600", "e\u0301")]
            short = [""] if minimum else []
            return [text[:limit] for text in legal], [
                SECRET * limit,
                "\U0001f600" * (limit + 1),
                *short,
            ]
    return [], []


def of_number(domain: Domain) -> Bounds:
    match domain:
        case Integer(minimum=minimum, maximum=maximum):
            near = [2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, -(2**53) - 1]
            legal = [minimum, maximum, *(n for n in near if minimum <= n <= maximum)]
            return legal, [minimum - 1, maximum + 1, True, 1.0, "1", SECRET, 10**400]
        case Number(minimum=low, maximum=high):
            floats = [low, high, 0.1, 1 / 3, 5e-324, 0.5000000000000001]
            outside = [low - 1e-9, high + 1e-9, float("nan"), float("inf"), True, SECRET, 10**400]
            return [n for n in floats if low <= n <= high], outside
        case Boolean():
            return [True, False], [0, 1, "true", SECRET]
    return [], []


def of_word(domain: Domain) -> Bounds:
    match domain:
        case Color():
            return ["#00ff00", "#00FF00", "#abcdef"], ["#00ff0", "00ff00", "#00ff0g", SECRET, ""]
        case Word(open=True, limit=int(limit)):
            legal = [*domain.vocabulary, "a" * limit, "é" * limit, "two words", "Email"]
            return legal, ["", " a", "a ", "a\nb", "a\x7f", SECRET * limit, 1]
        case Word():
            return [*domain.vocabulary], [SECRET, "", next(iter(domain.vocabulary)).upper() + " "]
        case Time():
            return [], [datetime(2026, 1, 1), "2026-01-01", 0, SECRET]
    return [], []


@proves("VAL-3", "VAL-2")
def lengths_count_code_points(store: Store) -> None:
    """The longest text of every limited field comes back, whatever its characters take."""
    come_back(store, of_text)


@proves("VAL-3", "VAL-8")
def longer_text_is_refused(store: Store) -> None:
    """By one code point, with an error that names the field."""
    are_refused(of_text)


@proves("VAL-2", "VAL-3")
def long_content_comes_back(store: Store) -> None:
    """Some megabytes of it, in characters of every length, and none at all."""
    chain = store.new(Chain)
    texts = ["", "a" * 70_000, "\U0001f600é" * 200_000, "line\r\n" * 300_000]
    for version, content in enumerate(texts, 1):
        row = store.plan(Document, root_id=chain.id, version=version, is_latest=False)
        store.put(row.evolve(content=content, content_length=len(content)))
    assert [document.content for document in store.all(Document)] == texts


@proves("VAL-5", "VAL-1", "VAL-7")
def numbers_come_back_at_their_bounds(store: Store) -> None:
    """The least and the greatest, and those where floats and 32 bits end."""
    come_back(store, of_number)


@proves("VAL-5", "VAL-8")
def numbers_beyond_their_bounds_are_refused(store: Store) -> None:
    """And what is none: a boolean, a text, NaN, infinity."""
    are_refused(of_number)


@proves("VAL-7", "VAL-5")
def every_word_comes_back(store: Store) -> None:
    """Every word of every vocabulary, in every field that has it, as a member; and open words."""
    come_back(store, of_word)


@proves("VAL-7", "VAL-5", "VAL-8", "VAL-4")
def other_words_are_refused(store: Store) -> None:
    """Unknown ones of closed vocabularies, control characters, outer spaces, naive times."""
    are_refused(of_word)


@proves("VAL-5", "VAL-8")
def names_are_not_empty(store: Store) -> None:
    """Tenants, clients, actors: ``InvalidValue`` when the session or the call is made."""
    storage = store.storage()
    for wrong in ("", "a" * 101, "a\0", "\ud800"):
        for call in (
            lambda: storage.session(tenant=wrong),  # noqa: B023
            lambda: storage.session(actor=wrong),  # noqa: B023
            lambda: storage.session().documents.create_document("a", "email", wrong),  # noqa: B023
        ):
            with pytest.raises(InvalidValue):
                call()
    assert store.dump() == []


@proves("VAL-6")
def json_comes_back_at_its_bounds(store: Store) -> None:
    """As deep, as long and with as many digits as it may be; one more is refused."""
    deep: Any = 1
    for n in range(64):
        deep = {"a": deep} if n % 2 else [deep]
    values = [
        deep,
        10**4299,
        [10**4299, -(10**4299)],
        "a" * (2**20 - 2),
        {"é" * 1000: "\uffff" * 1000},
    ]
    chain = store.new(Chain)
    for version, value in enumerate(values, 1):
        row = store.new(
            Document, root_id=chain.id, version=version, is_latest=False, metadata_json=value
        )
        comes_back(store, row)
    for wrong in (
        [deep],
        10**4300,
        "a" * 2**20,
        {1: "a"},
        {"a": {1}},
        float("nan"),
        "\ud800",
        "\0",
    ):
        is_refused(
            lambda: sample(Document, 3, metadata_json=wrong),  # noqa: B023
            "metadata_json",
        )


@proves("VAL-8")
def refused_values_change_nothing(store: Store) -> None:
    """Through the API: the error is of the tree, names the field, and nothing is written."""
    with store.storage().session() as session:
        document = session.documents.create_document("a", "email", "c").id
        before = session.documents.get_by_id(document)
        calls: list[Callable[[], object]] = [
            lambda: session.documents.update(document, title=SECRET * 100),
            lambda: session.documents.update(document, metadata={1: SECRET}),
            lambda: session.documents.create_version(document, SECRET + "\0"),
            lambda: session.documents.add_tag(document, SECRET * 20),
            lambda: session.tags.create("t", color=SECRET),
        ]
        for call in calls:
            with pytest.raises((InvalidValue, InvalidField)) as caught:
                call()
            assert isinstance(caught.value, StorageError)
            assert SECRET not in str(caught.value)
        assert session.documents.get_by_id(document) == before
    assert [type(row) for row in store.dump() if isinstance(row, Document | Tag)] == [Document]


@proves("VAL-7")
def none_is_a_severity(store: Store) -> None:
    """And NULL is another thing: the engine gave none."""
    places = Places(store.backend)
    store.put(*places.records(parents()))
    of = places.id(Validation, 1)
    given = [Severity.NONE, None, Severity.CRITICAL]
    for severity in given:
        store.new(ValidationResult, validation_id=of, severity=severity)
    assert [row.severity for row in store.all(ValidationResult)] == given
    assert all(isinstance(row.severity, Severity | None) for row in store.all(ValidationResult))
