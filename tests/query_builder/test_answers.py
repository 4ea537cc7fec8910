"""What builders answer: lists with a bound, pages, streams, counts and groups (QRY-6 to QRY-9)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import Batch, Insert, Max, Session, Storage, Sum
from loki_storage.errors import (
    InvalidValue,
    NotFound,
    ResultTooLarge,
    StorageFull,
)
from loki_storage.models import Document
from loki_storage.protocol import Backend, Count, Day, Group
from loki_storage.query_builder import DocumentQueryBuilder, SortOrder
from tests.stores import CLOCK, Fault, new_tenant, unsteady

Begin = Callable[..., Session]

TITLES = ["b", None, "a", "b", "%", None, "a%"]


@pytest.fixture(scope="module")
def filled(store: Storage) -> Begin:
    """Sessions of a tenant with some documents; nobody writes there."""
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        for n, title in enumerate(TITLES):
            session.documents.create_document(f"text {n}", "email", "ab"[n % 2], title)
    return lambda **options: store.session(tenant=tenant, **options)


def titles(documents: Iterable[Document]) -> list[str | None]:
    return [document.title for document in documents]


def test_all_is_everything_in_order(filled: Begin) -> None:
    found = filled().documents.query().order_by("title").all()
    assert titles(found) == ["%", "a", "a%", "b", "b", None, None]


def test_builder_answers_the_same_each_time(filled: Begin) -> None:
    builder = filled().documents.query().by_client("a").order_by("title", "desc")
    assert builder.all() == builder.all() == list(builder.iter())


def test_window_does_not_change_counts(filled: Begin) -> None:
    builder = filled().documents.query().limit(1).offset(3)
    assert (builder.count(), builder.exists()) == (7, True)
    assert builder.limit(0).exists()
    assert builder.limit(0).all() == []
    assert builder.limit(0).page().records == []


def test_first_and_one(filled: Begin) -> None:
    query = filled().documents.query()
    first = query.order_by("title").first()
    assert first is not None
    assert first.title == "%"
    assert query.limit(0).first() is None
    assert query.equals("title", "%").one().title == "%"
    with pytest.raises(NotFound):
        query.equals("title", "z").one()
    with pytest.raises(ResultTooLarge):
        query.one()


def test_pages_by_number(filled: Begin) -> None:
    query = filled().documents.query().order_by("title")
    pages = [query.paginate(n, 3).all() for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert list(chain(*pages)) == query.all()


def test_groups(filled: Begin) -> None:
    query = filled().documents.query()
    assert query.aggregate() == [Group((), (7,))]
    assert query.aggregate("client_id") == [Group(("a",), (4,)), Group(("b",), (3,))]
    by = query.aggregate(["client_id", Day("created_at")], [Count(), Max("title"), Sum("version")])
    day = CLOCK().date()
    assert by == [Group(("a", day), (4, "b", 4)), Group(("b", day), (3, "b", 3))]
    assert query.aggregate(Day("created_at"), Sum("version")) == [Group((day,), (7,))]


def test_explanation_tells_no_value_in_its_words(filled: Begin) -> None:
    query = filled().documents.query().by_client("secret").search_content("secret").limit(3)
    words, *plan = query.order_by("title", SortOrder.DESC).explain().splitlines()
    assert "secret" not in words
    assert words.startswith("documents of the tenant where client_id = <str> and (content contains")
    assert words.endswith("ordered by title descending, id descending, limit 3")
    assert not plan or "SELECT" in plan[0]


def test_explanation_is_words_at_least_and_a_plan_where_there_is_one(filled: Begin) -> None:
    session = filled()
    query = session.documents.query().build()
    words = Backend.explain(session._backend, query)
    assert session.explain(query).startswith(words)
    with pytest.raises(InvalidValue):
        session.explain(query.evolve(tenant="another"))


# --- The bound of a list ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(store: Storage) -> Begin:
    """Sessions of a tenant with 10,001 audit entries."""
    tenant = new_tenant()
    with store.session(tenant=tenant) as session:
        session.audit.log("seen", "document")
    (entry,) = store.session(tenant=tenant).audit.get_all()
    ids = store.backend.reserve({type(entry): 10_000})[type(entry)]
    copies = (Insert(entry.replaced({"id": id})) for id in ids)
    store.backend.apply(Batch(tenant, tuple(copies)))
    return lambda **options: store.session(tenant=tenant, **options)


def test_list_past_its_bound_is_refused_and_nothing_is_cut(crowded: Begin) -> None:
    query = crowded().audit.query()
    with pytest.raises(ResultTooLarge, match=r"iter\(\)"):
        query.all()
    with pytest.raises(ResultTooLarge):
        query.limit(20_000).all()
    assert len(query.limit(10_000).all()) == 10_000
    assert sum(1 for _ in query.iter()) == query.count() == 10_001


def test_page_may_be_as_long_as_a_list(crowded: Begin) -> None:
    query = crowded().audit.query()
    page = query.limit(10_000).page()
    assert len(page.records) == 10_000
    assert len(query.after(page.next_cursor).page().records) == 1
    with pytest.raises(InvalidValue, match="limit"):
        query.limit(10_001).page()


# --- Cursors ---------------------------------------------------------------------------------


def walk(query: DocumentQueryBuilder) -> Iterator[list[Document]]:
    page = query.page()
    yield page.records
    while page.next_cursor is not None:
        page = query.after(page.next_cursor).page()
        yield page.records


@given(
    size=st.integers(1, 8),
    order=st.lists(
        st.tuples(st.sampled_from(["title", "client_id", "id"]), st.sampled_from(SortOrder)),
        max_size=3,
    ),
)
def test_pages_are_the_whole_without_gap_or_repeat(
    filled: Begin, size: int, order: list[tuple[str, SortOrder]]
) -> None:
    query = filled().documents.query()
    for key in order:
        query = query.order_by(*key)
    pages = list(walk(query.limit(size)))
    assert list(chain(*pages)) == query.all()
    assert all(len(page) == size for page in pages[:-1])


def test_pages_survive_inserts_and_pending_writes(begin: Begin) -> None:
    def create(session: Session, *names: str) -> None:
        for name in names:
            session.documents.create_document(name, "email", "a", title=name)

    with begin() as session:
        create(session, "b", "d", "f", "h")
    session = begin()
    query = session.documents.query().order_by("title").limit(2)
    first = query.page()
    with begin() as other:
        create(other, "a", "e")
    create(session, "c", "g")
    rest = list(walk(begin().documents.query().order_by("title").limit(2).after(first.next_cursor)))
    assert titles(first.records) == ["b", "d"]
    assert [t for page in walk(query.limit(3)) for t in titles(page)] == list("abcdefgh")
    assert [titles(page) for page in rest] == [["e", "f"], ["h"]]


def test_cursor_is_of_its_query_alone(filled: Begin) -> None:
    query = filled().documents.query().by_client("a").order_by("title").limit(1)
    cursor = query.page().next_cursor
    assert cursor is not None
    for other in (
        query.by_type("email"),
        query.order_by("version"),
        query.include_deleted(),
        filled().documents.query().order_by("title"),
    ):
        with pytest.raises(InvalidValue, match="cursor"):
            other.after(cursor)
    assert query.limit(5).after(cursor).page().records, "the size of a page may change"


def test_cursor_is_of_its_tenant_alone(filled: Begin, begin: Begin) -> None:
    cursor = filled().documents.query().limit(1).page().next_cursor
    with pytest.raises(InvalidValue, match="cursor"):
        begin().documents.query().limit(1).after(cursor)


@given(data=st.data())
def test_altered_or_invented_cursor_is_refused(filled: Begin, data: st.DataObject) -> None:
    query = filled().documents.query().order_by("title").limit(1)
    cursor = query.page().next_cursor or ""
    at = data.draw(st.integers(0, len(cursor) - 2))
    altered = data.draw(
        st.sampled_from([cursor[:at], cursor[:at] + "!" + cursor[at + 1 :], cursor[at + 1 :]])
        | st.text()
        | st.binary().map(lambda raw: raw.hex())
    )
    with pytest.raises(InvalidValue, match="cursor"):
        query.after(altered)


def test_cursor_of_moving_days_goes_on_while_the_clock_does(begin: Begin) -> None:
    with begin() as session:
        for n in range(3):
            session.documents.create_document(f"{n}", "email", "a")

    def recent() -> DocumentQueryBuilder:
        builder = begin().documents.query()
        return builder.or_filter(builder.last_n_days(7)).last_n_days(3).limit(2)

    cursor = recent().page().next_cursor
    CLOCK.advance(hours=1)
    assert len(recent().after(cursor).page().records) == 1
    with pytest.raises(InvalidValue):
        begin().documents.query().last_n_days(3).after(cursor)


def test_cursor_leaves_an_offset_behind(filled: Begin) -> None:
    query = filled().documents.query().limit(2).offset(2)
    rest = list(walk(query.after(query.page().next_cursor)))
    assert sum(map(len, rest)) == 3


# --- Audited reads (AUD-4) -------------------------------------------------------------------

READS: dict[str, Callable[[DocumentQueryBuilder], object]] = {
    "all": lambda query: query.all(),
    "first": lambda query: query.first(),
    "one": lambda query: query.limit(1).one(),
    "page": lambda query: query.page(),
    "iter": lambda query: list(query.iter()),
}


@pytest.mark.parametrize("name", READS)
def test_read_is_audited_before_anything_is_handed_out(
    store: Storage, begin: Begin, tenant: str, name: str
) -> None:
    with begin() as session:
        session.documents.create_document("text", "email", "a")
    before = begin().audit.count(action="read")
    READS[name](begin(audit_reads=True).documents.query())
    assert begin().audit.count(action="read") == before + 1
    backend, storage = unsteady(store)
    backend.fail(Fault(StorageFull("full")))
    with pytest.raises(StorageFull):
        READS[name](storage.session(tenant=tenant, audit_reads=True).documents.query())


def test_page_audits_what_it_hands_out_alone(begin: Begin) -> None:
    with begin() as session:
        made = [session.documents.create_document(f"{n}", "email", "a") for n in range(3)]
    begin(audit_reads=True).documents.query().limit(2).page()
    (entry,) = begin().audit.get_by_action("read")
    assert entry.metadata_json["ids"] == [[made[0].id, made[1].id]]


def test_long_stream_is_audited_in_blocks(crowded: Begin) -> None:
    stream = crowded(audit_reads=True).audit.query().limit(2_500).iter()
    next(stream)
    assert crowded().audit.count(action="read") == 1
    assert sum(1 for _ in stream) == 2_499
    assert crowded().audit.count(action="read") == 3
