"""ACC: each derived method that a backend overrides, against the default that it inherits.

They run on backends without overrides as well: then the law is *absent*, and the default itself is
what was tried.
"""

from collections import Counter
from math import isclose
from typing import Any

from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Operation, Update
from loki_storage.errors import Conflict, Duplicate, Unsupported
from loki_storage.lines import ARRAYS, CSV, OBJECTS, RAW_CSV, Form
from loki_storage.models import Chain, Document, Kind, Record, Tag
from loki_storage.protocol import Backend, Count, CountDistinct, Max, Measure, Min, Reader
from loki_storage.query import Compare, InQuery, Not, Order, Query, Text, equals
from loki_storage_contract.laws.queries import Case, stored, with_rows
from loki_storage_contract.queries import by_parts, measures, queries
from loki_storage_contract.records import (
    TENANTS,
    Places,
    hostile_rows,
    mixed_rows,
    parents,
    sound,
)
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store, unchanged
from loki_storage_contract.trace import overrides

OURS, OTHERS = TENANTS
SHARE = 0.4
cases = with_rows(queries)


def put(store: Store, case: Case[Query]) -> tuple[list[Record], Query]:
    """The stored rows, and the query for them; a backend that stores nothing fails here."""
    records, places = stored(store, case[0])
    assert len(store.dump()) == len(records)
    return records, places.query(case[1])


@proves("ACC-1", derived="get_many", share=SHARE, case=cases)
def get_many_agrees(store: Store, case: Case[Query]) -> None:
    """In a tenant and across them; unknown and foreign ids are left out."""
    records, query = put(store, case)
    ids = [row.id for row in records] + [0, 2**40]
    for tenant in (OURS, OTHERS, None):
        wanted = query.kind, ids, tenant
        assert store.backend.get_many(*wanted) == Reader.get_many(store.backend, *wanted)


@proves("ACC-1", derived="get_many")
def get_many_gives_deleted_rows(store: Store) -> None:
    """Soft-deleted rows are rows; another tenant's are none."""
    chain = store.new(Chain)
    row = store.new(Document, root_id=chain.id, is_deleted=True, is_latest=False)
    foreign = store.new(Tag, OTHERS)
    assert store.backend.get_many(Document, [row.id], OURS) == {row.id: row}
    assert store.backend.get_many(Tag, [foreign.id], OURS) == {}
    assert store.backend.get_many(Tag, [foreign.id], None) == {foreign.id: foreign}


@proves("ACC-1", derived="get_many")
def get_many_sees_what_was_written(store: Store) -> None:
    """Also what another handle wrote, after it was asked before."""
    tag = store.new(Tag)
    for name in ("b", "c"):
        assert tag.id in store.backend.get_many(Tag, [tag.id], OURS)
        store.other.apply(Batch(OURS, [Update(Tag, tag.id, {"name": name})]))
        assert store.backend.get_many(Tag, [tag.id], OURS)[tag.id].name == name
    store.other.apply(Batch(OURS, [Delete(Tag, tag.id)]))
    assert store.backend.get_many(Tag, [tag.id], OURS) == {}


@proves("ACC-2", derived="select_many", share=SHARE, case=cases)
def select_many_agrees(store: Store, case: Case[Query]) -> None:
    """Several queries, of one kind and of others, none of them twice the same."""
    _, query = put(store, case)
    several = [query, query.whole(), Query(Tag, OURS), query.evolve(limit=1), Query(Tag, None)]
    assert store.backend.select_many(several) == Reader.select_many(store.backend, several)
    assert store.backend.select_many([]) == []


@proves("ACC-2", derived="select_many")
def select_many_keeps_each_order(store: Store) -> None:
    """Each answer has its query's own order and limit."""
    tags = [store.new(Tag, name=name) for name in ("b", "a", "c")]
    by_name = Query(Tag, OURS, order=[Order("name", True)])
    several = [by_name, by_name.evolve(limit=1), Query(Tag, OURS)]
    found = [[tag.name for tag in rows] for rows in store.backend.select_many(several)]
    assert found == [["c", "b", "a"], ["c"], [tag.name for tag in tags]]


@proves("ACC-3", derived="count", share=SHARE, case=cases)
def count_agrees(store: Store, case: Case[Query]) -> None:
    """With its window and without."""
    _, query = put(store, case)
    expected = Reader.count(store.backend, query)
    assert (store.backend.count(query), store.backend.count(query.whole())) == (expected, expected)


@proves("ACC-3", "DEL-2", derived="count")
def count_leaves_deleted_rows_out(store: Store) -> None:
    """Where the query does; and other tenants' rows always."""
    chain = store.new(Chain)
    for version, deleted in ((1, True), (2, False), (3, True)):
        row = store.plan(Document, root_id=chain.id, version=version, is_latest=False)
        store.put(row.evolve(is_deleted=deleted, deleted_at=store.clock.now if deleted else None))
    store.new(Chain, OTHERS)
    live = Query(Document, OURS, equals(is_deleted=False))
    assert store.backend.count(live) == 1
    assert store.backend.count(Query(Document, OURS)) == 3
    assert (store.backend.count(Query(Chain, OURS)), store.backend.count(Query(Chain, None))) == (
        1,
        2,
    )


@proves("ACC-4", derived="exists", share=SHARE, case=cases)
def exists_agrees(store: Store, case: Case[Query]) -> None:
    """With its window and without."""
    _, query = put(store, case)
    expected = Reader.exists(store.backend, query)
    assert store.backend.exists(query) is expected
    assert store.backend.exists(query.whole()) is expected


@proves("ACC-4", derived="exists")
def exists_whatever_the_window(store: Store) -> None:
    """One row is enough, also behind the offset and at limit 0."""
    assert store.backend.exists(Query(Tag, OURS)) is False
    tag = store.new(Tag)
    for query in (
        Query(Tag, OURS, offset=1),
        Query(Tag, OURS, limit=0),
        Query(Tag, OURS, after=(tag.id,)),
    ):
        assert store.backend.exists(query) is True


def grouped(kind: Kind) -> st.SearchStrategy[tuple[Query, list[Any], list[Any]]]:
    return st.tuples(queries(kind), by_parts(kind), measures(kind))


@proves("ACC-5", "QRY-8", derived="aggregate", case=with_rows(grouped))
def aggregate_agrees(store: Store, case: Case[tuple[Query, list[Any], list[Any]]]) -> None:
    """Groups, their order, and each measure, whatever limit, offset and cursor say."""
    rows, (drawn, by, measured) = case
    _, query = put(store, (rows, drawn))
    given = store.backend.aggregate(query, by, measured)
    wanted = Reader.aggregate(store.backend, query, by, measured)
    assert [group.key for group in given] == [group.key for group in wanted]
    for ours, theirs in zip(given, wanted, strict=True):
        assert all(map(_close, ours.values, theirs.values))


@proves("ACC-5", "QRY-8", derived="aggregate")
def aggregate_of_nulls(store: Store) -> None:
    """NULL is a group, the last one; measures leave it out, and of nothing else there is none."""
    for n, (category, text) in enumerate([("x", "b"), ("x", None), ("x", "b"), (None, None)]):
        store.new(Tag, name=str(n), category=category, description=text)
    query, text = Query(Tag, OURS), "description"
    measured: list[Measure] = [Count(), CountDistinct(text), Min(text), Max(text)]
    groups = store.backend.aggregate(query, ["category"], measured)
    expected = [(("x",), (3, 1, "b", "b")), ((None,), (1, 0, None, None))]
    assert [(group.key, group.values) for group in groups] == expected
    (whole,) = store.backend.aggregate(query, [], measured)
    assert whole.values == (4, 1, "b", "b")
    (nothing,) = store.backend.aggregate(query.evolve(where=equals(name="no")), [], measured)
    assert nothing.values == (0, 0, None, None)


def _close(ours: Any, theirs: Any) -> bool:
    """Equal, but for the order in which floats were added."""
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return isclose(ours, theirs)
    return type(ours) is type(theirs) and bool(ours == theirs)


@proves("ACC-6", derived="rows", share=SHARE, case=cases, fields=st.sets(st.integers(0, 30)))
def rows_agree(store: Store, case: Case[Query], fields: set[int]) -> None:
    """Any fields, none of them too; values have the same types."""
    _, query = put(store, case)
    names = [name for n, name in enumerate(query.kind.domains) if n in fields]
    found = list(store.backend.rows(query, names))
    expected = list(Reader.rows(store.backend, query, names))
    assert found == expected
    assert [[type(v) for v in row] for row in found] == [[type(v) for v in row] for row in expected]


@proves("ACC-6", derived="rows")
def rows_keep_their_order(store: Store) -> None:
    """They come as the records would, whatever their ids; within the window, with any fields."""
    for name in ("b", "c", "a"):
        store.new(Tag, name=name)
    by_name = Query(Tag, OURS, order=[Order("name", True)])
    assert list(store.backend.rows(by_name, ["name"])) == [("c",), ("b",), ("a",)]
    assert list(store.backend.rows(by_name.evolve(offset=1, limit=1), ["name"])) == [("b",)]
    assert list(store.backend.rows(by_name.evolve(limit=2), [])) == [(), ()]


@proves("ACC-7", derived="search", share=SHARE, case=cases)
def search_agrees(store: Store, case: Case[Query]) -> None:
    """The same records, if perhaps in another order; as many as the window holds."""
    _, query = put(store, case)
    whole = query.whole()
    matching = Counter(Reader.search(store.backend, whole))
    assert Counter(store.backend.search(whole)) == matching
    if query.after is None:
        page = list(store.backend.search(query))
        assert len(page) == len(list(Reader.search(store.backend, query)))
        assert not Counter(page) - matching


@proves("ACC-8", "BAK-1", derived="dump", share=SHARE, rows=mixed_rows())
def dump_agrees(store: Store, rows: list[Record]) -> None:
    """Of one tenant and of all; nothing more and nothing less than was stored."""
    records = Places(store.backend).records(sound([*parents(), *rows]))
    store.put(*records)
    assert Counter(store.backend.dump()) == Counter(records)
    for tenant in (None, *TENANTS, "nobody"):
        assert list(store.backend.dump(tenant)) == list(Reader.dump(store.backend, tenant))


@proves("ACC-9", "BAK-1", derived="load", share=SHARE, rows=mixed_rows())
def load_agrees(store: Store, rows: list[Record]) -> None:
    """Into an empty store: the same rows, whichever ``load`` stored them."""
    places = Places(store.backend)
    store.put(*places.records(sound([*parents(), *rows])))
    before = store.dump()
    assert before
    for load in (store.backend.load, lambda dumped: Backend.load(store.backend, dumped)):
        store.reset()
        load(iter(before))
        assert store.dump() == before
    top = max(row.id for row in before if isinstance(row, Chain))
    assert store.backend.reserve({Chain: 1})[Chain].start > top


@proves("ACC-9", "BAK-1", derived="load")
def load_refuses_what_is_there(store: Store) -> None:
    """A row that is there already is ``Duplicate``; it stays as it was."""
    tag = store.new(Tag)
    error = unchanged(store, lambda: store.backend.load([tag.evolve(name="b")]), Conflict)
    assert type(error) is Duplicate


LONG = "In the matter of your complaint, %_ ß SS, we have to say: " * 8


@proves("RET-4", "ACC-6", derived="compact", share=SHARE, case=cases)
def compacted_rows_read_as_before(store: Store, case: Case[Query]) -> None:
    """By every query, also about their texts; half of them are compacted, another tenant's not."""
    records, query = put(store, case)
    texts = [row for row in records if isinstance(row, Document)]
    for row in texts:
        change = {"content": f"{row.content}{LONG}{row.content}"}
        store.backend.apply(Batch(row.tenant_id, [Update(Document, row.id, change)]))
    about = [
        Query(Document, OURS, where)
        for text in ("", "matter OF", "ss, we", *(row.content for row in texts[:2]))
        for where in (
            Text("contains", "content", text),
            Not(Text("starts_with", "content", text, case_sensitive=False)),
            Compare("content", "eq", f"{text}{LONG}{text}"),
        )
    ]
    asked = [query, *about, Query(Document, OURS, InQuery("id", about[0], "id"))]
    before = _told(store.backend, asked)
    ids = [row.id for row in texts[::2]]
    assert store.backend.compactable(Document, ids, OURS) <= set(ids)
    saved = store.backend.compact(Document, ids, OURS)
    if "compact" not in overrides(store.backend):
        assert saved is None
        return
    assert saved is not None
    assert store.backend.compactable(Document, ids, OURS) == set()
    assert store.backend.compact(Document, ids, OURS) == saved >= 0
    assert _told(store.backend, asked) == before


def _told(backend: Backend, asked: list[Query]) -> list[Any]:
    """All that a backend says to queries, and what it holds."""
    found: list[Any] = [list(backend.dump())]
    for query in asked:
        rows = list(backend.rows(query, list(query.kind.domains)))
        found += [list(backend.select(query)), backend.count(query), backend.exists(query), rows]
    return found


@proves("ACC-10", derived="snapshot")
def a_snapshot_shows_one_moment(store: Store) -> None:
    """By every read that a reader has, while others insert, change and delete."""
    tags = [store.new(Tag, name=name, category="x") for name in "abc"]
    store.new(Tag, OTHERS)
    assert store.all(Tag, OURS) == tags
    if "snapshot" not in overrides(store.backend):
        _is_unsupported(store)
        return
    for tenant in (OURS, None):
        before = _reads(store.backend, tenant, tags)
        with store.backend.snapshot(tenant) as reader:
            first = _reads(reader, tenant, tags)
            _write(store, tags)
            assert _reads(reader, tenant, tags) == first == before
        assert _reads(store.backend, tenant, tags) != before
        _restore(store, tags)


def _is_unsupported(store: Store) -> None:
    try:
        with store.backend.snapshot(None):
            raise AssertionError("the default has no correct answer")
    except Unsupported:
        return


def _reads(reader: Reader, tenant: str | None, tags: list[Tag]) -> list[Any]:
    query = Query(Tag, tenant, order=[Order("name")])
    ids = [tag.id for tag in tags]
    return [
        list(reader.select(query)),
        reader.get_many(Tag, ids, tenant),
        reader.select_many([query, query.evolve(limit=1)]),
        (reader.count(query), reader.exists(query)),
        [(group.key, group.values) for group in reader.aggregate(query, ["category"])],
        list(reader.rows(query, ["name"])),
        list(reader.dump(tenant)),
    ]


def _write(store: Store, tags: list[Tag]) -> None:
    new = store.plan(Tag, name="new")
    changes: list[Operation] = [
        Insert(new),
        Update(Tag, tags[0].id, {"category": "y"}),
        Delete(Tag, tags[1].id),
    ]
    store.other.apply(Batch(OURS, changes))


def _restore(store: Store, tags: list[Tag]) -> None:
    store.backend.apply(Batch(OURS, [Delete(Tag, tag.id) for tag in store.all(Tag, OURS)]))
    store.put(*tags)


@proves(
    "ACC-11",
    derived="lines",
    share=SHARE,
    case=cases,
    fields=st.sets(st.integers(0, 30)),
    form=st.sampled_from([ARRAYS, OBJECTS, CSV, RAW_CSV]),
)
def lines_agree(store: Store, case: Case[Query], fields: set[int], form: Form) -> None:
    """In whatever form, of any fields; the blocks tell how many lines they hold."""
    records, query = put(store, case)
    names = [name for n, name in enumerate(query.kind.domains) if n in fields]
    found = list(store.backend.lines(query, names, form))
    expected = list(Reader.lines(store.backend, query, names, form))
    assert b"".join(block for block, _ in found) == b"".join(block for block, _ in expected)
    assert sum(rows for _, rows in found) == sum(rows for _, rows in expected) <= len(records)


@proves("ACC-11", derived="lines", rows=hostile_rows())
def lines_hold_what_is_hard_to_write(store: Store, rows: list[Record]) -> None:
    """Formulas, quotation marks, line ends, what looks like NULL, any time, any number."""
    records = Places(store.backend).records(sound([*parents(), *rows]))
    store.put(*records)
    for kind in {type(record) for record in records}:
        for form in (ARRAYS, OBJECTS, CSV, RAW_CSV):
            asked = Query(kind, None), tuple(kind.domains), form
            found = b"".join(block for block, _ in store.backend.lines(*asked))
            assert found == b"".join(block for block, _ in Reader.lines(store.backend, *asked))
