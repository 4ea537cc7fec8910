"""QRY as far as backends answer it: each query means what ``loki_storage.matching`` says."""

from collections.abc import Callable, Collection, Iterable
from itertools import product
from typing import Any, TypeVar

from hypothesis import strategies as st

from loki_storage.matching import evaluate
from loki_storage.models import Chain, Document, Kind, Record, Tag, Validation, ValidationResult
from loki_storage.protocol import Reader
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
    Query,
    Text,
    equals,
)
from loki_storage_contract.histories import CLIENT, TENANT, Call, histories, play, session_of
from loki_storage_contract.queries import (
    any_kind,
    conditions,
    in_queries,
    leaves,
    orders,
    queries,
)
from loki_storage_contract.records import TENANTS, Places, parents, rows_of, sample, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store
from loki_storage_contract.values import HOSTILE_TEXTS

T = TypeVar("T")
Case = tuple[list[Record], T]
OURS = TENANTS[0]


def with_rows(draw: Callable[[Kind], st.SearchStrategy[T]]) -> st.SearchStrategy[Case[T]]:
    """Rows of some kind, and what is drawn for that kind."""
    return any_kind.flatmap(lambda kind: st.tuples(rows_of(kind), draw(kind)))


def stored(store: Store, rows: Iterable[Record]) -> tuple[list[Record], Places]:
    """Put those rows that fit into the store, behind their parents."""
    places = Places(store.backend)
    records = places.records(sound([*parents(), *rows]))
    store.put(*records)
    return records, places


def meaning(query: Query, records: Iterable[Record]) -> list[Record]:
    """The answer in plain Python."""
    rows = list(records)

    def members(condition: InQuery) -> Collection[tuple[str, object]]:
        found = meaning(condition.query, rows)
        pairs = {(row.tenant_id, row.stored(condition.its_field)) for row in found}
        return {pair for pair in pairs if pair[1] is not None}

    return evaluate(query, [row for row in rows if type(row) is query.kind], members)


def answers(store: Store, rows: Iterable[Record], *drawn: Query) -> None:
    """Each query selects what it means, in its order."""
    records, places = stored(store, rows)
    for query in map(places.query, drawn):
        assert list(store.backend.select(query)) == meaning(query, records)


@proves("QRY-5", "QRY-1", "QRY-3", "QRY-4", "QRY-10", share=2, case=with_rows(queries))
def any_query_selects_what_it_means(store: Store, case: Case[Query]) -> None:
    """Conditions, order and window together."""
    answers(store, case[0], case[1])


def ordered(kind: Kind) -> st.SearchStrategy[Query]:
    return orders(kind).map(lambda order: Query(kind, None, order=order))


@proves("QRY-1", case=with_rows(ordered))
def one_order_everywhere(store: Store, case: Case[Query]) -> None:
    """By code point, instant and rank, NULLs last in both directions, ``id`` as the last key."""
    rows, query = case
    back = [Order(order.field, not order.descending) for order in query.order]
    answers(store, rows, query, query.evolve(order=back))


@proves("QRY-1")
def order_of_plain_cases(store: Store) -> None:
    """What one expects of names, of missing values, and of severities."""
    names = ["B", "a", "Z", "é", "e\u0301", "10", "9", "\uffff", "\U0001f600"]
    tags = [store.new(Tag, name=name, category=name if name < "a" else None) for name in names]
    found = store.backend.select(Query(Tag, OURS, order=[Order("name")]))
    assert [tag.name for tag in found] == sorted(names)
    for descending in (False, True):
        query = Query(Tag, OURS, order=[Order("category", descending)])
        missing = [tag.id for tag in tags if tag.category is None]
        last = [tag.id for tag in store.backend.select(query)][-len(missing) :]
        assert last == sorted(missing, reverse=descending)


@proves("QRY-1", "QRY-5")
def severity_is_ordered_by_rank(store: Store) -> None:
    """Critical first when descending; comparisons mean the rank too (QRY-5)."""
    levels = ["low", "critical", None, "none", "high", "medium"]
    results = severities(store, levels)
    query = Query(ValidationResult, OURS, order=[Order("severity", descending=True)])
    found = [result.severity for result in store.backend.select(query)]
    assert found == ["critical", "high", "medium", "low", "none", None]
    above = store.backend.select(query.narrow(Compare("severity", "gt", "medium")))
    assert {result.id for result in above} == {results[1], results[4]}
    below = store.backend.select(query.narrow(Compare("severity", "lt", "low")))
    assert {result.id for result in below} == {results[3]}


def severities(store: Store, levels: Iterable[str | None]) -> list[int]:
    """A validation's results with these severities; their ids."""
    _, places = stored(store, [])
    validation = places.id(Validation, 1)
    made = [store.new(ValidationResult, validation_id=validation, severity=s) for s in levels]
    return [result.id for result in made]


@proves("QRY-3")
def nothing_is_asked_for(store: Store) -> None:
    """An empty list matches nothing, and everything when negated; ``limit(0)`` returns nothing."""
    tag = store.new(Tag)
    query = Query(Tag, OURS)
    assert list(store.backend.select(query.narrow(In("name", ())))) == []
    assert list(store.backend.select(query.narrow(Not(In("name", ()))))) == [tag]
    assert list(store.backend.select(query.evolve(limit=0))) == []
    assert list(store.backend.select(query.evolve(offset=1))) == []
    assert list(store.backend.select(query.evolve(limit=1))) == [tag]


def paged(kind: Kind) -> st.SearchStrategy[tuple[Query, int]]:
    return st.tuples(
        st.builds(Query, st.just(kind), st.just(OURS), order=orders(kind)), st.integers(1, 4)
    )


@proves("QRY-7", "QRY-5")
def nothing_is_cut_silently(store: Store) -> None:
    """Thousands of rows come whole; so many values in a list are all looked for."""
    ids = store.backend.reserve({Tag: 2500})[Tag]
    tags = [sample(Tag, id, name=f"{n}") for n, id in enumerate(ids)]
    store.put(*tags)
    everything = Query(Tag, OURS)
    assert [tag.id for tag in store.backend.select(everything)] == [*ids]
    assert store.backend.count(everything) == 2500
    sought = In("id", [*ids, *range(ids.stop, ids.stop + 70_000)])
    assert [tag.id for tag in store.backend.select(everything.narrow(sought))] == [*ids]
    assert store.backend.count(everything.narrow(Not(sought))) == 0


@proves("QRY-7", case=with_rows(paged))
def pages_show_every_row_once(store: Store, case: Case[tuple[Query, int]]) -> None:
    """By cursor and by offset, whatever the order and the size of a page."""
    rows, (query, size) = case
    stored(store, rows)
    whole, paged = list(store.backend.select(query)), list[Record]()
    page = query.evolve(limit=size)
    while len(paged) <= len(whole) and (found := list(store.backend.select(page))):
        paged += found
        last = tuple(getattr(found[-1], order.field) for order in query.total_order)
        page = page.evolve(after=last)
    assert paged == whole
    by_offset = [
        row
        for start in range(0, len(whole), size)
        for row in store.backend.select(query.evolve(limit=size, offset=start))
    ]
    assert by_offset == whole


texts = st.sampled_from(HOSTILE_TEXTS)


@proves("QRY-4", "VAL-2", values=st.lists(texts, max_size=6), text=texts, sensitive=st.booleans())
def text_is_literal(store: Store, values: list[str], text: str, sensitive: bool) -> None:
    """``%``, ``_`` and ``\\`` mean themselves; insensitive means ``str.casefold`` on both sides."""
    bodies = [*values, text, f"x{text}y", f"{text}y", f"x{text}", text.swapcase()]
    tags = [store.new(Tag, name=str(n), description=body) for n, body in enumerate(bodies)]
    fold = str if sensitive else str.casefold
    for op, holds in _TESTS.items():
        found = store.backend.select(Query(Tag, OURS, Text(op, "description", text, sensitive)))
        expected = [
            tag.id for tag, body in zip(tags, bodies, strict=True) if holds(fold(body), fold(text))
        ]
        assert [tag.id for tag in found] == expected, op


@proves("QRY-4")
def no_character_is_a_pattern(store: Store) -> None:
    """Whatever means something to ``LIKE``, ``GLOB`` or a regular expression is itself."""
    special = [
        "%",
        "_",
        "\\",
        "*",
        "?",
        "[a]",
        "[^a]",
        "^",
        "$",
        ".",
        "+",
        "|",
        "(",
        "'",
        '"',
        "\\%",
    ]
    bodies = ["", "a", "ab", "xyz", *special, *(f"a{text}z" for text in special)]
    tags = [store.new(Tag, name=str(n), description=body) for n, body in enumerate(bodies)]
    for text in special:
        for op, holds in _TESTS.items():
            for sensitive in (True, False):
                query = Query(Tag, OURS, Text(op, "description", text, sensitive))
                found = [tag.id for tag in store.backend.select(query)]
                pairs = zip(tags, bodies, strict=True)
                assert found == [tag.id for tag, body in pairs if holds(body, text)], (op, text)


_TESTS: dict[Any, Callable[[str, str], bool]] = {
    "contains": lambda body, text: text in body,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def simple(kind: Kind) -> st.SearchStrategy[Condition]:
    return leaves(kind, OURS, 0)


@proves("QRY-5", share=2, case=with_rows(simple))
def a_condition_and_its_complement(store: Store, case: Case[Condition]) -> None:
    """Every row of the tenant matches a condition or its ``Not``, never both, NULL or not."""
    rows, drawn = case
    records, places = stored(store, rows)
    kind = type(rows[0])
    query = places.query(Query(kind, OURS, drawn))
    positive = list(store.backend.select(query))
    negative = list(store.backend.select(query.evolve(where=Not(query.where))))
    assert positive == meaning(query, records)
    mine = {row.id for row in records if type(row) is kind and row.tenant_id == OURS}
    ids = [row.id for row in [*positive, *negative]]
    assert sorted(ids) == sorted(mine)


@proves("QRY-5")
def null_in_conditions(store: Store) -> None:
    """``not_equals`` and ``not_in_list`` include NULL rows, comparisons never match them."""
    present, absent = store.new(Tag, name="p", category="x"), store.new(Tag, name="a")
    matches(store, Compare("category", "ne", "x"), absent)
    matches(store, Not(Compare("category", "eq", "x")), absent)
    matches(store, Not(Compare("category", "lt", "a")), present, absent)
    matches(store, Compare("category", "ge", ""), present)
    matches(store, Not(In("category", ["x"])), absent)
    matches(store, In("category", [None]), absent)
    matches(store, Not(In("category", [None])), present)
    matches(store, In("category", ["x", None]), present, absent)
    matches(store, Not(In("category", ["y", None])), present)
    matches(store, IsNull("category"), absent)
    matches(store, IsNull("name"))
    matches(store, Not(IsNull("name")), present, absent)
    matches(store, And([]), present, absent)


def matches(store: Store, where: Condition, *expected: Tag) -> None:
    found = store.backend.select(Query(Tag, OURS, where))
    assert {tag.id for tag in found} == {tag.id for tag in expected}


@proves("QRY-5")
def not_is_the_complement_of_the_whole(store: Store) -> None:
    """Of several conditions together, of none, of a complement."""
    rows = [(n, a, b) for n, (a, b) in enumerate(product([None, "x", "y"], [None, "p", "q"]))]
    tags = {n: store.new(Tag, name=str(n), category=a, description=b) for n, a, b in rows}
    a, b = Compare("category", "eq", "x"), Compare("description", "lt", "q")
    holds = {n: (first == "x", second is not None and second < "q") for n, first, second in rows}
    cases: list[tuple[Condition, Callable[[bool, bool], bool]]] = [
        (And([a, b]), lambda p, q: p and q),
        (Or([a, b]), lambda p, q: p or q),
        (Not(And([a, b])), lambda p, q: not (p and q)),
        (Not(Or([a, b])), lambda p, q: not (p or q)),
        (Not(Not(b)), lambda p, q: q),
        (And([Not(a), Or([Not(b), a])]), lambda p, q: not p and (not q or p)),
        (Or([]), lambda p, q: False),
        (Not(And([])), lambda p, q: False),
        (Not(Or([])), lambda p, q: True),
    ]
    for condition, expected in cases:
        matches(store, condition, *(tags[n] for n, pair in holds.items() if expected(*pair)))


@proves("QRY-5")
def json_at_a_path(store: Store) -> None:
    """Canonical texts are compared; a missing path and null are NULL; lists have places."""
    values: list[Any] = [
        *({"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": None}, {"a": {"b": 1}}, {"a": [0, {"b": 1}]}),
        *({}, None, {"a": True}, {"a": {}}, {"a.b": 1}, {"0": 1}, {"a": 2**70}, {"A": 1}),
    ]
    chain = store.new(Chain)
    rows = [
        store.new(Document, root_id=chain.id, version=n, is_latest=False, metadata_json=value)
        for n, value in enumerate(values, 1)
    ]
    ids = [row.id for row in rows]
    cases: list[tuple[tuple[str | int, ...], Any, set[int]]] = [
        (("a",), 1, {0}),
        (("a",), 1.0, {1}),
        (("a",), "1", {2}),
        (("a",), None, {3, 6, 7, 10, 11, 13}),
        (("a", "b"), 1, {4}),
        (("a", 1, "b"), 1, {5}),
        (("a", 0), 0, {5}),
        (("a",), {"b": 1}, {4}),
        (("a",), True, {8}),
        (("a",), {}, {9}),
        (("a.b",), 1, {10}),
        (("0",), 1, {11}),
        ((0,), 1, set()),
        (("a",), 2**70, {12}),
    ]
    for path, value, expected in cases:
        where = JsonEquals("metadata_json", path, value)
        for condition, places in (
            (where, expected),
            (Not(where), set(range(len(rows))) - expected),
        ):
            found = store.backend.select(Query(Document, OURS, condition))
            assert {ids.index(row.id) for row in found} == places, (path, value)


@st.composite
def nested(draw: st.DrawFn, kind: Kind) -> Query:
    tenant = draw(st.sampled_from([OURS, None]))
    found = draw(in_queries(kind, tenant, 2))
    return Query(kind, tenant, draw(st.sampled_from([found, Not(found)])))


@proves("QRY-10", case=with_rows(nested))
def membership_in_another_query(store: Store, case: Case[Query]) -> None:
    """``InQuery`` and its negation, two levels deep, in one tenant."""
    answers(store, *case)


@proves("QRY-10")
def null_is_a_member_of_nothing(store: Store) -> None:
    """A NULL field matches the complement alone; a NULL in the other answer is no member."""
    chain = store.new(Chain)
    first = store.new(Document, root_id=chain.id, is_latest=False)
    second = store.new(Document, root_id=chain.id, version=2, parent_id=first.id, is_latest=False)
    cases: list[tuple[Condition, list[Document]]] = [
        (InQuery("parent_id", Query(Document, OURS), "id"), [second]),
        (Not(InQuery("parent_id", Query(Document, OURS), "id")), [first]),
        (InQuery("id", Query(Document, OURS), "parent_id"), [first]),
        (Not(InQuery("id", Query(Document, OURS), "parent_id")), [second]),
        (InQuery("parent_id", Query(Document, OURS), "parent_id"), [second]),
        (Not(InQuery("id", Query(Document, OURS, Or([])), "id")), [first, second]),
    ]
    for condition, expected in cases:
        assert list(store.backend.select(Query(Document, OURS, condition))) == expected


@proves("QRY-10", "TEN-1")
def membership_stays_in_its_tenant(store: Store) -> None:
    """Across tenants too: a row is judged by rows of its own tenant."""
    _, places = stored(store, [])
    theirs = places.id(Document, 2)
    same_key = InQuery("content_hash", Query(Document, None, equals(id=theirs)), "content_hash")
    found = store.backend.select(Query(Document, None, same_key))
    assert [document.id for document in found] == [theirs]


@proves("QRY-8", case=with_rows(queries))
def counts_are_those_of_the_stream(store: Store, case: Case[Query]) -> None:
    """``count``, ``exists`` and a counting ``aggregate`` agree with what is streamed."""
    records, places = stored(store, case[0])
    query, backend = places.query(case[1]), store.backend
    streamed = len(meaning(query.whole(), records))
    assert backend.count(query) == streamed
    assert backend.exists(query) is (streamed > 0)
    assert [group.values for group in backend.aggregate(query)] == [(streamed,)]


@proves("QRY-8")
def counts_are_about_all_that_matches(store: Store) -> None:
    """Whatever the window; of nothing there is a count too, and one group."""
    for n in range(5):
        store.new(Tag, name=str(n), category="x" if n else None)
    backend, query = store.backend, Query(Tag, OURS, equals(category="x"))
    page = query.evolve(limit=1, offset=3, after=(2**40,))
    none = Query(Tag, OURS, equals(category="y"))
    for asked, count in ((query, 4), (page, 4), (none, 0)):
        assert backend.count(asked) == count
        assert backend.exists(asked) is (count > 0)
        assert [group.values for group in backend.aggregate(asked)] == [(count,)]
    groups = backend.aggregate(Query(Tag, OURS), ["category"])
    assert [(group.key, group.values) for group in groups] == [(("x",), (4,)), ((None,), (1,))]


@st.composite
def of_a_session(draw: st.DrawFn) -> Query:
    where, order = draw(conditions(Document, TENANT, 1)), draw(orders(Document))
    query = Query(Document, TENANT, where, order, draw(st.none() | st.integers(0, 4)))
    return query.evolve(offset=draw(st.sampled_from([0, 0, 1])))


@proves("QRY-9", history=histories, query=of_a_session())
def a_session_reads_what_it_wrote(store: Store, history: list[Call], query: Query) -> None:
    """Each query answers as if what is pending were stored, whole or in parts."""
    for moment in play(store, history):
        session, rows = moment.session, list(moment.after.values())
        assert list(session.select(query)) == meaning(query, rows)
        whole = meaning(query.whole(), rows)
        assert session.count(query) == len(whole)
        assert session.exists(query) == bool(whole)
        assert session.aggregate(query) == Reader.aggregate(session, query)
        assert session.get_many(Document, [moment.id], TENANT) == {
            row.id: row for row in rows if row.id == moment.id
        }


@proves("QRY-9")
def a_page_is_filled_behind_what_is_pending(store: Store) -> None:
    """Rows that the session took out of an answer are made up for by the next ones."""
    session = session_of(store)
    ids = [session.documents.create_document(f"{n}", "email", CLIENT).id for n in range(8)]
    session.commit()
    for id in (ids[7], ids[6], ids[4]):
        session.documents.delete(id)
    session.documents.update(ids[3], title="new")
    shown = [ids[5], *reversed(ids[:4])]
    for size in (1, 2, 3, 5):
        pages = [session.documents.get_all(limit=size, offset=n) for n in range(0, 5, size)]
        assert [row.id for page in pages for row in page] == shown
