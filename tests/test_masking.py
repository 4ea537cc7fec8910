"""Masked sessions: what is masked is in no answer, and nothing can be asked about it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import Count, Intercept, Max, Order, Query, Session, Storage
from loki_storage.errors import Forbidden, InvalidField, InvalidValue, ReadOnly
from loki_storage.masking import MASK, mask_of
from loki_storage.models import KINDS, AuditEntry, Document, Kind, Validation
from loki_storage.query import Compare, In, InQuery, IsNull, JsonEquals, Not, Text, equals
from loki_storage.samples import open_intercepts

SECRET = "Jane Doe"
NAMES = ("title", "metadata_json.customer")

Read = Callable[[Session], Any]


@pytest.fixture
def filled(store: Storage, tenant: str) -> int:
    """A document whose secrets stand in columns, in JSON, in the audit and in a history."""
    with store.session(tenant=tenant) as session:
        document = session.documents.create_document(
            "text",
            "email",
            "acme",
            title=SECRET,
            metadata={"customer": {"name": SECRET}, "open": 1},
        )
        session.documents.update(
            document.id, title=f"{SECRET} again", metadata={"customer": SECRET}
        )
        correction = session.corrections.create_correction(
            document.id, "rewrite", "acme", metadata={"customer": SECRET}
        )
        session.corrections.update(correction.id, metadata={"customer": [SECRET], "open": 2})
    return document.id


@pytest.fixture
def masked(store: Storage, tenant: str, filled: int) -> Iterator[Session]:
    with store.session(tenant=tenant, mask=NAMES) as session:
        yield session


def everything(record: Any) -> str:
    return " ".join(str(record.stored(field)) for field in record.domains)


def test_masked_fields_read_as_stars_and_others_as_they_are(masked: Session, filled: int) -> None:
    document = masked.documents.get_by_id(filled)
    assert document is not None
    assert document.title == MASK
    assert document.metadata_json == {"customer": MASK}
    assert document.content == "text"


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if not kind.internal])
def test_no_record_of_any_kind_tells_it(masked: Session, kind: Kind) -> None:
    query = masked.query(kind)
    found = [
        *masked.select(query),
        *masked.search(query),
        *masked.get_many(
            kind, [record.id for record in masked.select(query)], masked.tenant
        ).values(),
        *masked.select_many([query])[0],
    ]
    assert not any(SECRET in everything(record) for record in found)
    rows = list(masked.rows(query, list(kind.domains)))
    assert SECRET not in str(rows)
    assert [tuple(r.stored(f) for f in kind.domains) for r in masked.select(query)] == rows


def test_secret_is_there_without_the_mask(store: Storage, tenant: str, filled: int) -> None:
    """Else the tests above would pass for nothing."""
    with store.session(tenant=tenant) as session:
        for kind in ("documents", "corrections", "correction_history", "audit_trail"):
            found = session.select(session.query(KINDS[kind]))
            assert any(SECRET in everything(record) for record in found), kind


READS: dict[str, Read] = {
    "get_all": lambda s: s.documents.get_all(),
    "builder": lambda s: s.documents.query().all(),
    "iter": lambda s: list(s.documents.query().iter()),
    "page": lambda s: s.documents.query().page().records,
    "history": lambda s: s.documents.get_version_history(s.documents.get_all()[0].id),
    "related": lambda s: [
        record
        for records in s.related(s.documents.get_all(), "corrections").values()
        for record in records
    ],
    "statistics": lambda s: s.documents.get_statistics()["recent_documents"],
    "audit": lambda s: s.audit.get_all(),
    "corrections": lambda s: s.corrections.get_all(),
    "correction history": lambda s: s.corrections.get_history(s.corrections.get_all()[0].id),
    "dump": lambda s: list(s.dump(s.tenant)),
}


@pytest.mark.parametrize("name", READS)
def test_no_read_tells_it(masked: Session, name: str) -> None:
    found = READS[name](masked)
    assert found
    assert not any(SECRET in everything(record) for record in found)


def test_stream_is_masked(store: Storage, tenant: str, filled: int) -> None:
    (document,) = store.stream(Query(Document, tenant), mask=NAMES)
    assert document.title == MASK


ASKING = [
    Compare("title", "eq", SECRET),
    Compare("title", "ne", SECRET),
    In("title", [SECRET]),
    IsNull("title"),
    Not(Text("starts_with", "title", "J")),
    JsonEquals("metadata_json", ("customer", "name"), SECRET),
    JsonEquals("metadata_json", ("customer",), SECRET),
    JsonEquals("metadata_json", (), {}),
    JsonEquals("metadata_json", (0, "customer"), SECRET),
]


@pytest.mark.parametrize("condition", ASKING)
def test_condition_on_it_is_refused(masked: Session, condition: Any) -> None:
    query = masked.query(Document, condition)
    inner = masked.query(Validation, InQuery("document_id", query, "id"))
    for asked in (query, inner):
        for read in (masked.count, masked.exists, masked.aggregate, masked.explain):
            with pytest.raises(InvalidField):
                read(asked)
        for stream in (masked.select, masked.search):
            with pytest.raises(InvalidField):
                list(stream(asked))
        with pytest.raises(InvalidField):
            list(masked.rows(asked, ["id"]))
        with pytest.raises(InvalidField):
            masked.select_many([asked])


@pytest.mark.parametrize(
    "condition",
    [
        equals(client_id="acme"),
        JsonEquals("metadata_json", ("open",), 1),
        JsonEquals("metadata_json", ("other", "customer"), 1),
        InQuery("id", Query(Validation, "x"), "document_id"),
    ],
)
def test_condition_on_something_else_is_answered(
    masked: Session, condition: Any, tenant: str
) -> None:
    if isinstance(condition, InQuery):
        condition = InQuery("id", masked.query(Validation), "document_id")
    masked.count(masked.query(Document, condition))


def test_order_group_and_measure_by_it_are_refused(masked: Session) -> None:
    with pytest.raises(InvalidField):
        list(masked.select(masked.query(Document, order=(Order("title"),))))
    with pytest.raises(InvalidField):
        masked.aggregate(masked.query(Document), ["title"])
    with pytest.raises(InvalidField):
        masked.aggregate(masked.query(Document), [], [Max("title")])
    with pytest.raises(InvalidField):
        masked.documents.filter_by(title=SECRET)
    with pytest.raises(InvalidField):
        masked.documents.get_all(order_by="title")
    with pytest.raises(InvalidField):
        masked.count(masked.query(AuditEntry, JsonEquals("changes", ("fields",), [])))
    assert masked.aggregate(masked.query(Document), ["client_id"], [Count()])[0].values == (1,)


def test_masked_session_is_read_only(store: Storage, tenant: str, masked: Session) -> None:
    assert masked.context.read_only
    with pytest.raises(ReadOnly):
        masked.documents.create_document("another", "email", "acme")
    with pytest.raises(InvalidValue, match="audit_reads"):
        store.session(tenant=tenant, mask=NAMES, audit_reads=True)


def test_wrong_answers_are_refused_instead(store: Storage, tenant: str, filled: int) -> None:
    with store.session(tenant=tenant, mask=("content",)) as session:
        document = session.documents.get_by_id(filled)
        assert document is not None
        assert document.content == MASK
        with pytest.raises(Forbidden, match=r"documents\.content is masked"):
            session.documents.verify(filled)
        with pytest.raises(Forbidden):
            session.documents.diff(filled, filled)
    with store.session(tenant=tenant, mask=("title",)) as session:
        assert session.documents.verify(filled)


def test_intercept_reads_back_with_stars_or_not_at_all(store: Storage, tenant: str) -> None:
    with open_intercepts() as lines:
        line = json.loads(next(lines))
    with store.session(tenant=tenant) as session:
        id = session.record_intercept(Intercept.from_line(line)).validation.id
    with store.session(tenant=tenant, mask=("message", "suggestion")) as session:
        stored = session.get_intercept(id)
        assert stored is not None
        report: Any = stored.to_report()
        gates = [g for module in report["modules"].values() for g in module["gates"].values()]
        assert {gate["message"] for gate in gates if "message" in gate} == {MASK}
    for name in ("evidence", "metadata_json.at", "config"):
        with store.session(tenant=tenant, mask=(name,)) as session, pytest.raises(Forbidden):
            session.get_intercept(id)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("titel", "title"),
        ("id", None),
        ("created_at", None),
        ("version", None),
        ("is_latest", None),
        ("tenant_id", None),
        ("severity", None),
        ("title.part", None),
        ("", None),
        (3, None),
        (None, None),
    ],
)
def test_what_cannot_be_masked_is_refused(store: Storage, name: Any, suggestion: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        store.session(mask=(name,))
    assert caught.value.suggestion == suggestion


@pytest.mark.parametrize("mask", ["title", b"title", 3])
def test_mask_is_a_sequence_of_names(store: Storage, mask: Any) -> None:
    with pytest.raises(InvalidValue, match="mask"):
        store.session(mask=mask)


def test_no_mask_costs_nothing(store: Storage) -> None:
    assert store.session()._backend is store.session()._backend
    assert not store.session(mask=()).context.read_only


values = st.recursive(
    st.just(SECRET) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "c"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values, st.lists(st.sampled_from(["a", "b", "0"]), min_size=1, max_size=3))
def test_everything_at_the_path_is_masked_and_nothing_else(value: Any, path: list[str]) -> None:
    mask = mask_of([".".join(["metadata_json", *path])])
    hidden = mask.of("metadata_json", value)
    assert set(at(hidden, path)) <= {MASK}
    assert len(at(hidden, path)) == len(at(value, path))
    assert mask.of("metadata_json", hidden) == hidden
    if not at(value, path):
        assert hidden == value


def at(value: Any, path: list[str]) -> list[Any]:
    """What is at a path: in arrays of each item, or of the one that the step numbers."""
    if not path:
        return [value if isinstance(value, str | int | None) else repr(value)]
    first, *rest = path
    if isinstance(value, list) and first.isdecimal():
        return at(value[int(first)], rest) if int(first) < len(value) else []
    if isinstance(value, list):
        return [found for item in value for found in at(item, path)]
    return at(value[first], rest) if isinstance(value, dict) and first in value else []


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ({"before": {"title": "x", "open": 1}}, {"before": {"title": MASK, "open": 1}}),
        ({"title": {"before": "x", "after": None}}, {"title": MASK}),
        (
            {"metadata_json": {"before": {"customer": 1, "open": 2}, "after": None}},
            {"metadata_json": {"before": {"customer": MASK, "open": 2}, "after": None}},
        ),
        ([{"field": "title", "value": "x"}], [{"field": "title", "value": MASK}]),
        ({"field": "open", "value": "x"}, {"field": "open", "value": "x"}),
        (3, 3),
    ],
)
def test_what_tells_of_a_masked_field_is_masked(told: Any, seen: Any) -> None:
    assert mask_of(NAMES).told(told) == seen
