"""Each step is the condition that it says, and leaves the builder that it is called on alone."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from loki_storage import Query, Session
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    DocumentTag,
    RiskLevel,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.query import (
    And,
    Compare,
    Condition,
    In,
    InQuery,
    IsNull,
    JsonEquals,
    Not,
    Or,
    Order,
    Text,
    all_of,
    any_of,
    equals,
)
from loki_storage.query_builder import (
    AuditQueryBuilder,
    CorrectionQueryBuilder,
    DocumentQueryBuilder,
    QueryBuilder,
    SortOrder,
    ValidationQueryBuilder,
    ValidationResultQueryBuilder,
)
from tests.stores import CLOCK

Begin = Callable[..., Session]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def session(begin: Begin) -> Session:
    return begin()


Step = Callable[[Any], QueryBuilder[Any]]

STEPS: list[tuple[Step, Condition]] = [
    (lambda b: b.filter_by(), And(())),
    (lambda b: b.filter_by(title=None, version=2), equals(title=None, version=2)),
    (lambda b: b.equals("title", "x"), Compare("title", "eq", "x")),
    (lambda b: b.equals("title", None), IsNull("title")),
    (lambda b: b.not_equals("title", "x"), Compare("title", "ne", "x")),
    (lambda b: b.not_equals("title", None), Not(IsNull("title"))),
    (lambda b: b.greater_than("version", 1), Compare("version", "gt", 1)),
    (lambda b: b.less_than("version", 1), Compare("version", "lt", 1)),
    (lambda b: b.at_least("version", 1), Compare("version", "ge", 1)),
    (lambda b: b.at_most("version", 1), Compare("version", "le", 1)),
    (
        lambda b: b.between("version", 1, 3),
        And([Compare("version", "ge", 1), Compare("version", "le", 3)]),
    ),
    (lambda b: b.in_list("title", []), In("title", ())),
    (lambda b: b.in_list("title", ("x", None)), In("title", ("x", None))),
    (lambda b: b.not_in_list("title", ["x"]), Not(In("title", ("x",)))),
    (lambda b: b.contains("title", "%"), Text("contains", "title", "%", True)),
    (lambda b: b.starts_with("title", "a", False), Text("starts_with", "title", "a", False)),
    (lambda b: b.ends_with("title", "a"), Text("ends_with", "title", "a", True)),
    (lambda b: b.is_null("title"), IsNull("title")),
    (lambda b: b.is_not_null("title"), Not(IsNull("title"))),
    (lambda b: b.metadata_equals("a.0.b", 1), JsonEquals("metadata_json", ("a", 0, "b"), 1)),
    (lambda b: b.metadata_equals(("a.0",), None), JsonEquals("metadata_json", ("a.0",), None)),
    (lambda b: b.or_filter(), Or(())),
    (lambda b: b.and_filter(), And(())),
    (lambda b: b.not_filter(), Not(And(()))),
    (
        lambda b: b.or_filter({"title": "x"}, IsNull("title"), version=1),
        Or([equals(title="x"), IsNull("title"), equals(version=1)]),
    ),
    (
        lambda b: b.not_filter({"title": "x", "version": 2}),
        Not(And([equals(title="x"), equals(version=2)])),
    ),
    (lambda b: b.not_filter(Not(IsNull("title"))), IsNull("title")),
    (
        lambda b: b.or_filter(b.equals("version", 1), b.not_filter(b.equals("version", 2))),
        Or([Compare("version", "eq", 1), Not(Compare("version", "eq", 2))]),
    ),
    (lambda b: b.by_type("email"), equals(document_type="email")),
    (lambda b: b.by_client("a"), equals(client_id="a")),
    (lambda b: b.by_user("a"), equals(user_id="a")),
    (lambda b: b.latest_versions(), equals(is_latest=True)),
    (
        lambda b: b.search_content("x"),
        any_of(*(Text("contains", f, "x", False) for f in ("content", "title", "description"))),
    ),
    (
        lambda b: b.date_range("2026-03-01", "2026-03-02"),
        And(
            [
                Compare("created_at", "ge", datetime(2026, 3, 1, tzinfo=UTC)),
                Compare("created_at", "lt", datetime(2026, 3, 3, tzinfo=UTC)),
            ]
        ),
    ),
    (
        lambda b: b.date_range(NOON, NOON, "updated_at"),
        And([Compare("updated_at", "ge", NOON), Compare("updated_at", "le", NOON)]),
    ),
    (
        lambda b: b.date_range(start_date=date(2026, 3, 1)),
        Compare("created_at", "ge", datetime(2026, 3, 1, tzinfo=UTC)),
    ),
    (
        lambda b: b.date_range(end_date="2026-03-01T12:00:00+01:00"),
        Compare("created_at", "le", NOON - timedelta(hours=1)),
    ),
    (lambda b: b.date_range(end_date=date.max), And(())),
    (lambda b: b.date_range(), And(())),
]


@pytest.mark.parametrize(("step", "condition"), STEPS)
def test_step_is_the_condition_that_it_says(
    session: Session, step: Step, condition: Condition
) -> None:
    builder = DocumentQueryBuilder(session).include_deleted()
    before = builder.build()
    after = step(DocumentQueryBuilder(session)).include_deleted()  # type: ignore[attr-defined]
    assert after.build() == session.query(Document, condition)
    assert builder.build() == before


OTHERS: list[tuple[type[QueryBuilder[Any]], Step, Condition]] = [
    (ValidationQueryBuilder, lambda b: b.by_status("failed"), equals(status="failed")),
    (ValidationQueryBuilder, lambda b: b.by_risk("low"), equals(overall_risk="low")),
    (ValidationQueryBuilder, lambda b: b.by_client("a"), equals(client_id="a")),
    (ValidationQueryBuilder, lambda b: b.completed_only(), equals(status="completed")),
    (
        ValidationQueryBuilder,
        lambda b: b.high_risk(),
        Compare("overall_risk", "ge", RiskLevel.HIGH),
    ),
    (ValidationQueryBuilder, lambda b: b.with_failures(), Compare("fail_count", "gt", 0)),
    (
        ValidationQueryBuilder,
        lambda b: b.metadata_equals("strict", True, "config"),
        JsonEquals("config", ("strict",), True),
    ),
    (ValidationResultQueryBuilder, lambda b: b.by_validation(1), equals(validation_id=1)),
    (ValidationResultQueryBuilder, lambda b: b.by_client("a"), equals(client_id="a")),
    (ValidationResultQueryBuilder, lambda b: b.by_scope("cross"), equals(scope="cross")),
    (ValidationResultQueryBuilder, lambda b: b.by_module("m"), equals(module_id="m")),
    (ValidationResultQueryBuilder, lambda b: b.by_gate("m.g"), equals(gate_key="m.g")),
    (ValidationResultQueryBuilder, lambda b: b.by_status("skip"), equals(status="skip")),
    (ValidationResultQueryBuilder, lambda b: b.by_severity("none"), equals(severity="none")),
    (ValidationResultQueryBuilder, lambda b: b.failures_only(), equals(status="fail")),
    (CorrectionQueryBuilder, lambda b: b.by_status("applied"), equals(status="applied")),
    (CorrectionQueryBuilder, lambda b: b.by_validation(1), equals(validation_id=1)),
    (CorrectionQueryBuilder, lambda b: b.by_client("a"), equals(client_id="a")),
    (CorrectionQueryBuilder, lambda b: b.pending_only(), equals(status="pending")),
    (CorrectionQueryBuilder, lambda b: b.high_confidence(), Compare("confidence", "ge", 0.8)),
    (CorrectionQueryBuilder, lambda b: b.high_confidence(1), Compare("confidence", "ge", 1.0)),
    (AuditQueryBuilder, lambda b: b.by_action("create"), equals(action="create")),
    (AuditQueryBuilder, lambda b: b.by_entity("tag"), equals(entity_type="tag")),
    (
        AuditQueryBuilder,
        lambda b: b.by_entity("tag", 3),
        And([equals(entity_type="tag"), equals(entity_id=3)]),
    ),
    (AuditQueryBuilder, lambda b: b.by_actor("a"), equals(actor_id="a")),
    (AuditQueryBuilder, lambda b: b.by_client("a"), equals(client_id="a")),
    (AuditQueryBuilder, lambda b: b.by_request("r"), equals(request_id="r")),
    (AuditQueryBuilder, lambda b: b.date_range(NOON), Compare("timestamp", "ge", NOON)),
]


@pytest.mark.parametrize(("builder", "step", "condition"), OTHERS)
def test_step_in_the_words_of_its_kind(
    session: Session, builder: type[QueryBuilder[Any]], step: Step, condition: Condition
) -> None:
    taken = step(builder(session))
    everything = taken.include_deleted() if hasattr(taken, "include_deleted") else taken
    assert everything.build() == session.query(builder.kind, condition)


DELETED = equals(is_deleted=True)


def hidden(session: Session) -> dict[Any, Condition]:
    documents = session.query(Document, DELETED)
    validations = session.query(Validation, InQuery("document_id", documents, "id"))
    return {
        DocumentQueryBuilder: DELETED,
        ValidationQueryBuilder: InQuery("document_id", documents, "id"),
        ValidationResultQueryBuilder: InQuery("validation_id", validations, "id"),
        CorrectionQueryBuilder: InQuery("document_id", documents, "id"),
    }


@pytest.mark.parametrize(
    "builder",
    [
        DocumentQueryBuilder,
        ValidationQueryBuilder,
        ValidationResultQueryBuilder,
        CorrectionQueryBuilder,
    ],
)
def test_deleted_rows_are_shown_on_request_only(session: Session, builder: Any) -> None:
    condition = hidden(session)[builder]
    live = equals(is_deleted=False) if condition == DELETED else Not(condition)
    query = session.query(builder.kind)
    assert builder(session).build() == query.narrow(live)
    assert builder(session).include_deleted().not_deleted().build() == query.narrow(live)
    assert builder(session).include_deleted().build() == query
    assert builder(session).only_deleted().build() == query.narrow(condition)


def test_tag_is_looked_up_through_its_links(session: Session) -> None:
    tag = session.query(Tag, equals(name="vip"))
    links = session.query(DocumentTag, InQuery("tag_id", tag, "id"))
    by_tag = DocumentQueryBuilder(session).include_deleted().by_tag("vip")
    assert by_tag.build() == session.query(Document, InQuery("root_id", links, "document_id"))


@pytest.mark.parametrize("builder", [ValidationQueryBuilder, CorrectionQueryBuilder])
def test_any_version_stands_for_its_document(session: Session, builder: Any) -> None:
    this = session.query(Document, equals(id=7))
    chain = session.query(Document, InQuery("root_id", this, "root_id"))
    query = session.query(builder.kind)
    everything = builder(session).include_deleted()
    of = everything.by_document(7)
    assert of.build() == query.narrow(InQuery("document_id", chain, "id"))
    of = everything.by_document(7, versions="this")
    assert of.build() == query.narrow(InQuery("document_id", this, "id"))
    with pytest.raises(InvalidValue):
        everything.by_document(7, versions="some")


def test_last_days_are_counted_by_the_sessions_clock(session: Session) -> None:
    query = AuditQueryBuilder(session).last_n_days(7).build()
    since = CLOCK() - timedelta(days=7)
    assert query == session.query(AuditEntry, Compare("timestamp", "ge", since))
    updated = DocumentQueryBuilder(session).include_deleted().last_n_days(7, "updated_at")
    assert updated.build() == session.query(Document, Compare("updated_at", "ge", since))


WINDOWS: list[tuple[Step, dict[str, Any]]] = [
    (lambda b: b.order_by("title"), {"order": (Order("title"),)}),
    (
        lambda b: b.order_by("title", SortOrder.DESC).order_by("id", "asc"),
        {"order": (Order("title", True), Order("id"))},
    ),
    (lambda b: b.limit(0), {"limit": 0}),
    (lambda b: b.limit(3).limit(None), {"limit": None}),
    (lambda b: b.offset(4), {"offset": 4}),
    (lambda b: b.paginate(), {"limit": 100, "offset": 0}),
    (lambda b: b.paginate(3, 20), {"limit": 20, "offset": 40}),
    (lambda b: b.after(None), {"after": None}),
]


@pytest.mark.parametrize(("step", "parts"), WINDOWS)
def test_order_and_window(session: Session, step: Step, parts: dict[str, Any]) -> None:
    documents = DocumentQueryBuilder(session)
    assert step(documents).build() == documents.build().evolve(**parts)


REFUSED: list[tuple[Step, type[Exception]]] = [
    (lambda b: b.equals("titel", "x"), InvalidField),
    (lambda b: b.filter_by(titel="x"), InvalidField),
    (lambda b: b.or_filter(titel="x"), InvalidField),
    (lambda b: b.or_filter({"titel": "x"}), InvalidField),
    (lambda b: b.or_filter({3: "x"}), InvalidField),
    (lambda b: b.or_filter("title = 'x'"), InvalidField),
    (lambda b: b.or_filter(None), InvalidField),
    (lambda b: b.or_filter(b.limit(1)), InvalidValue),
    (lambda b: b.or_filter(b.order_by("title")), InvalidValue),
    (lambda b: b.or_filter(b.only_deleted()), InvalidValue),
    (lambda b: b.or_filter(ValidationQueryBuilder(b._session)), InvalidField),
    (lambda b: b.equals("version", "1"), InvalidValue),
    (lambda b: b.equals("metadata_json", {}), InvalidField),
    (lambda b: b.greater_than("is_latest", True), InvalidField),
    (lambda b: b.greater_than("version", None), InvalidValue),
    (lambda b: b.in_list("title", "abc"), InvalidValue),
    (lambda b: b.in_list("title", 5), InvalidValue),
    (lambda b: b.contains("version", "1"), InvalidField),
    (lambda b: b.contains("title", None), InvalidValue),
    (lambda b: b.contains("title", "a", "yes"), InvalidValue),
    (lambda b: b.metadata_equals("a", 1, "title"), InvalidField),
    (lambda b: b.metadata_equals("", 1), InvalidValue),
    (lambda b: b.metadata_equals(5, 1), InvalidValue),
    (lambda b: b.metadata_equals(("a", -1), 1), InvalidValue),
    (lambda b: b.metadata_equals("a", object()), InvalidValue),
    (lambda b: b.date_range("yesterday"), InvalidValue),
    (lambda b: b.date_range(datetime(2026, 1, 1)), InvalidValue),
    (lambda b: b.date_range(5), InvalidValue),
    (lambda b: b.date_range("2026-01-01T00:00:00"), InvalidValue),
    (lambda b: b.date_range("2026-01-01", attr=""), InvalidField),
    (lambda b: b.last_n_days(-1), InvalidValue),
    (lambda b: b.last_n_days("7"), InvalidValue),
    (lambda b: b.last_n_days(36_501), InvalidValue),
    (lambda b: b.last_n_days(7, "title"), InvalidValue),
    (lambda b: b.by_client(None), InvalidValue),
    (lambda b: b.by_tag(None), InvalidValue),
    (lambda b: b.order_by("titel"), InvalidField),
    (lambda b: b.order_by("content"), InvalidField),
    (lambda b: b.order_by("title", "down"), InvalidField),
    (lambda b: b.limit(-1), InvalidValue),
    (lambda b: b.limit("1"), InvalidValue),
    (lambda b: b.limit(True), InvalidValue),
    (lambda b: b.offset(None), InvalidValue),
    (lambda b: b.paginate(0), InvalidValue),
    (lambda b: b.paginate(1, 0), InvalidValue),
    (lambda b: b.paginate(2**62, 2**62), InvalidValue),
    (lambda b: b.after("nonsense"), InvalidValue),
    (lambda b: b.after(5), InvalidValue),
    (lambda b: b.aggregate(by="titel"), InvalidField),
    (lambda b: b.aggregate(by=5), InvalidValue),
    (lambda b: b.aggregate(measures=("count",)), InvalidField),
    (lambda b: b.search_content(None), InvalidValue),
]


@pytest.mark.parametrize(("step", "error"), REFUSED)
def test_step_that_means_nothing_is_refused(
    session: Session, step: Step, error: type[Exception]
) -> None:
    with pytest.raises(error):
        step(DocumentQueryBuilder(session))


def test_nearest_name_is_suggested(session: Session) -> None:
    with pytest.raises(InvalidField, match="did you mean 'title'"):
        session.documents.query().equals("titel", "x")
    with pytest.raises(InvalidField, match="did you mean 'desc'"):
        session.documents.query().order_by("title", "dec")


def test_builder_cannot_be_changed_or_made_without_a_session(session: Session) -> None:
    builder = session.documents.query()
    with pytest.raises(AttributeError):
        builder._query = Query(Document, None)  # type: ignore[misc]
    with pytest.raises(InvalidValue, match="session"):
        DocumentQueryBuilder("session")  # type: ignore[arg-type]


def test_repr_tells_nothing_of_values(session: Session) -> None:
    assert "secret" not in repr(session.documents.query().equals("title", "secret"))


@pytest.mark.parametrize("depth", [1, 5, 20])
def test_filters_nest(session: Session, depth: int) -> None:
    builder = session.documents.query()
    nested = builder.equals("version", 0)
    for n in range(1, depth):
        nested = builder.or_filter(nested, version=n) if n % 2 else builder.not_filter(nested)
    assert session.documents.query().and_filter(nested).count() == 0


def test_all_of_these_is_nothing_but_conditions(session: Session) -> None:
    builder = session.documents.query().include_deleted()
    inner = session.documents.query().by_client("a").latest_versions()
    found = builder.by_type("email").and_filter(inner).build()
    expected = all_of(equals(document_type="email"), equals(client_id="a"), equals(is_latest=True))
    assert found == session.query(Document, expected)


def test_models_have_a_builder_each(session: Session) -> None:
    kinds = [
        session.documents.query().kind,
        session.validations.query().kind,
        session.validations.query_results().kind,
        session.corrections.query().kind,
        session.audit.query().kind,
    ]
    assert kinds == [Document, Validation, ValidationResult, Correction, AuditEntry]
