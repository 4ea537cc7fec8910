"""The same query, in any nesting, gives the same rows in the same order on every backend.

One filled store, thousands of queries: a seed draws five of them. What each means is what
``loki_storage.matching`` makes of the store's rows in plain Python.
"""

from collections.abc import Callable, Collection, Iterable
from itertools import chain
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from loki_storage import Session, Storage
from loki_storage.explaining import in_words
from loki_storage.matching import evaluate
from loki_storage.models import Kind, Record
from loki_storage.protocol import Backend, Count, CountDistinct, Day, Max, Measure, Min
from loki_storage.query import InQuery, Query
from loki_storage.query_builder import QueryBuilder, SortOrder
from loki_storage.values import Json, Text, Time, Word
from tests.programs import perform, view
from tests.stores import CLOCK, new_tenant

TEXTS = [
    "",
    "a",
    "A",
    "a%",
    "%",
    "_",
    "\\",
    "ß",
    "SS",
    "é",
    "e\u0301",
    "\U0001f600",
    "\uffff",
    None,
]
NESTED = {"b": [1, None, "x"]}
JSONS: list[Any] = [None, {}, {"a": 1}, {"a": 1.0}, {"a": NESTED}, {"b": [True]}, {"a": None}]
PATHS: list[Any] = ["a", "b", "a.b", "a.b.0", "a.b.2", ("a", "b", 1), ("0",), "b.0"]
QUERIES = 5
BUILDERS: dict[str, Callable[[Session], QueryBuilder[Any]]] = {
    "documents": lambda session: session.documents.query(),
    "validations": lambda session: session.validations.query(),
    "results": lambda session: session.validations.query_results(),
    "corrections": lambda session: session.corrections.query(),
    "audit": lambda session: session.audit.query(),
}


def furnish(session: Session, random: Random) -> None:
    """Rows with equal, near, hostile and missing values in every field that callers set."""
    made = [
        session.documents.create_document(
            f"{random.choice(TEXTS)} {n}",
            random.choice(["email", "nda", "é"]),
            random.choice("aAb"),
            title=random.choice(TEXTS),
            description=random.choice(TEXTS),
            source=random.choice(TEXTS),
            user_id=random.choice([None, "u", "U"]),
            metadata=random.choice(JSONS),
            tags=random.sample(["vip", "VIP", "%"], random.randint(0, 2)),
        )
        for n in range(40)
    ]
    for document in made[:20]:
        CLOCK.advance(hours=random.randint(0, 30))
        session.documents.create_version(document.id, f"{document.id}", title=random.choice(TEXTS))
    for document in made:
        judge(session, document, random)
        for _ in range(random.randint(0, 2)):
            session.corrections.create_correction(
                document.id,
                random.choice(["rewrite", "A"]),
                document.client_id,
                confidence=random.choice([None, 0.1, 0.8, 1]),
                reasoning=random.choice(TEXTS),
                metadata=random.choice(JSONS),
            )
    for n in range(60):
        name = random.choice(["apply", "reject", "review", "update_correction", "revert", "update"])
        perform(session, (name, random.randint(0, 8), n))
    for document in random.sample(made, 8):
        session.documents.delete(document.id)


def judge(session: Session, document: Any, random: Random) -> None:
    run = session.validations.create_validation(
        document.id, ["m"], document.client_id, config=random.choice(JSONS)
    )
    session.validations.start_validation(run.id)
    results = [
        {
            "scope": random.choice(["module", "universal"]),
            "gate_key": random.choice(["m.a", "m.b", "%.é"]),
            "status": random.choice(["pass", "fail", "warning", "skip", "error"]),
            "severity": random.choice([None, "critical", "high", "medium", "low", "none"]),
            "message": random.choice(TEXTS),
            "evidence": random.choice(JSONS),
            "confidence_score": random.choice([None, 0.0, 0.5]),
        }
        for _ in range(random.randint(0, 3))
    ]
    session.validations.add_results(run.id, results)
    CLOCK.advance(milliseconds=random.randint(0, 9))
    if random.random() < 0.7:
        session.validations.complete_validation(run.id)


@attrs.frozen
class World:
    """A filled tenant, and its rows."""

    session: Session
    rows: list[Record]

    def of(self, kind: Kind) -> list[Record]:
        return [row for row in self.rows if type(row) is kind]

    def meaning(self, query: Query) -> list[Record]:
        """The answer in plain Python."""

        def members(condition: InQuery) -> Collection[tuple[str, object]]:
            found = self.meaning(condition.query)
            pairs = {(row.tenant_id, row.stored(condition.its_field)) for row in found}
            return {pair for pair in pairs if pair[1] is not None}

        return evaluate(query, self.of(query.kind), members)


@pytest.fixture(scope="module")
def world(store: Storage) -> World:
    """A filled tenant, all of it committed."""
    session = store.session(tenant=new_tenant(), actor="alice", timeout=60)
    furnish(session, Random(1))
    session.commit()
    return World(session, view(session, session.tenant))


@pytest.fixture(scope="module")
def pending(store: Storage) -> World:
    """The same, with nothing committed."""
    session = store.session(tenant=new_tenant(), actor="alice", timeout=60)
    furnish(session, Random(1))
    return World(session, view(session, session.tenant))


class Draw:
    """Draws a builder's steps with values that its rows have, and some that none has."""

    def __init__(self, world: World, builder: QueryBuilder[Any], random: Random) -> None:
        self.rows, self.empty, self.random = world.of(builder.kind), builder, random
        self.domains = builder.kind.domains
        self.plain = [f for f, d in self.domains.items() if not isinstance(d, Json)]
        self.ordered = [f for f, d in self.domains.items() if d.orderable]
        self.texts = [
            f
            for f, d in self.domains.items()
            if isinstance(d, Text) and not (isinstance(d, Word) and not d.open)
        ]
        self.jsons = [f for f, d in self.domains.items() if isinstance(d, Json)]
        self.times = [f for f, d in self.domains.items() if isinstance(d, Time)]

    def value(self, field: str) -> Any:
        return getattr(self.random.choice(self.rows), field)

    def present(self, field: str) -> Any:
        found = [v for row in self.rows if (v := getattr(row, field)) is not None]
        return self.random.choice(found) if found else None

    def piece(self, field: str) -> str:
        """A part of a text that is there, or of none."""
        text = str(self.present(field) or "")
        start = self.random.randint(0, len(text))
        part = text[start : start + self.random.randint(0, 4)]
        return self.random.choice([part, part.upper(), str(self.random.choice(TEXTS))])

    def filters(self, depth: int) -> QueryBuilder[Any]:
        """One to three steps, some of which hold filters themselves."""
        builder = self.empty
        for _ in range(self.random.randint(1, 3)):
            builder = (
                self.nested(builder, depth)
                if self.random.random() < 0.4 and depth
                else (self.leaf(builder))
            )
        return builder

    def nested(self, builder: QueryBuilder[Any], depth: int) -> QueryBuilder[Any]:
        join = getattr(builder, self.random.choice(["or_filter", "and_filter", "not_filter"]))
        count = self.random.randint(0, 3)
        step: QueryBuilder[Any] = join(*(self.filters(depth - 1) for _ in range(count)))
        return step

    def leaf(self, builder: QueryBuilder[Any]) -> QueryBuilder[Any]:
        name = self.random.choice(
            [
                "equals",
                "equals",
                "compare",
                "list",
                "text",
                "null",
                "json",
                "time",
                "own",
                "between",
            ]
        )
        step: QueryBuilder[Any] = getattr(self, f"_{name}")(builder)
        return step

    def _equals(self, builder: Any) -> Any:
        field = self.random.choice(self.plain)
        step = self.random.choice([builder.equals, builder.not_equals])
        return step(field, self.value(field))

    def _compare(self, builder: Any) -> Any:
        field = self.random.choice(self.ordered)
        bound = self.present(field)
        name = self.random.choice(["greater_than", "less_than", "at_least", "at_most"])
        return builder if bound is None else getattr(builder, name)(field, bound)

    def _between(self, builder: Any) -> Any:
        field = self.random.choice(self.ordered)
        low, high = self.present(field), self.present(field)
        return builder if low is None else builder.between(field, low, high)

    def _list(self, builder: Any) -> Any:
        field = self.random.choice(self.plain)
        values = [self.value(field) for _ in range(self.random.randint(0, 3))]
        step = self.random.choice([builder.in_list, builder.not_in_list])
        return step(field, values)

    def _text(self, builder: Any) -> Any:
        field = self.random.choice(self.texts)
        step = self.random.choice([builder.contains, builder.starts_with, builder.ends_with])
        return step(field, self.piece(field), self.random.random() < 0.5)

    def _null(self, builder: Any) -> Any:
        field = self.random.choice(list(self.domains))
        return self.random.choice([builder.is_null, builder.is_not_null])(field)

    def _json(self, builder: Any) -> Any:
        field = self.random.choice(self.jsons) if self.jsons else None
        value = self.random.choice([None, 1, 1.0, "x", True, NESTED])
        path = self.random.choice(PATHS)
        return builder if field is None else builder.metadata_equals(path, value, field)

    def _time(self, builder: Any) -> Any:
        field = self.random.choice(self.times)
        days = self.random.randint(0, 20)
        moment = self.present(field)
        day = None if moment is None else moment.date()
        return self.random.choice(
            [
                lambda: builder.last_n_days(days, field),
                lambda: builder.date_range(day, None, field),
                lambda: builder.date_range(None, day, field),
                lambda: builder.date_range(moment, moment, field),
            ]
        )()

    def _own(self, builder: Any) -> Any:
        """A step in the words of the kind, where it has one without arguments or by tag."""
        names = [
            "latest_versions",
            "completed_only",
            "high_risk",
            "with_failures",
            "failures_only",
            "pending_only",
            "high_confidence",
            "by_tag",
            "search_content",
        ]
        known = [name for name in names if hasattr(builder, name)]
        if not known:
            return builder
        name = self.random.choice(known)
        if name == "by_tag":
            return builder.by_tag(self.random.choice(["vip", "%", "none"]))
        if name == "search_content":
            return builder.search_content(self.piece("title"), self.random.random() < 0.5)
        return getattr(builder, name)()

    def query(self) -> QueryBuilder[Any]:
        builder: Any = self.filters(3)
        if hasattr(builder, "include_deleted"):
            shown = ("not_deleted", "not_deleted", "include_deleted", "only_deleted")
            builder = getattr(builder, self.random.choice(shown))()
        for _ in range(self.random.randint(0, 3)):
            order = self.random.choice(list(SortOrder))
            builder = builder.order_by(self.random.choice(self.ordered), order)
        return builder  # type: ignore[no-any-return]


def drawn(world: World, kind: str, seed: int) -> Iterable[tuple[QueryBuilder[Any], Random]]:
    for n in range(QUERIES):
        random = Random(seed * QUERIES + n)
        yield Draw(world, BUILDERS[kind](world.session), random).query(), random


@settings(max_examples=30)
@pytest.mark.parametrize("kind", BUILDERS)
@given(seed=st.integers(0, 2**32))
def test_query_gives_what_it_means(world: World, kind: str, seed: int) -> None:
    for builder, random in drawn(world, kind, seed):
        query = builder.build()
        note(in_words(query))
        found = world.meaning(query)
        assert builder.all() == found
        match random.randint(0, 2):
            case 0:
                assert builder.count() == len(found)
            case 1:
                assert builder.exists() == bool(found)
            case _:
                limit, offset = random.randint(0, 5), random.randint(0, 3)
                assert builder.limit(limit).offset(offset).all() == found[offset : offset + limit]


@settings(max_examples=5)
@pytest.mark.parametrize("kind", BUILDERS)
@given(seed=st.integers(0, 2**32))
def test_pending_rows_are_read_like_others(pending: World, kind: str, seed: int) -> None:
    for builder, _ in drawn(pending, kind, seed):
        note(in_words(builder.build()))
        assert builder.all() == pending.meaning(builder.build())


@settings(max_examples=6)
@pytest.mark.parametrize("kind", BUILDERS)
@given(seed=st.integers(0, 2**32))
def test_pages_and_streams_are_the_whole(world: World, kind: str, seed: int) -> None:
    for builder, random in drawn(world, kind, seed):
        note(in_words(builder.build()))
        found = builder.all()
        step, pages = builder.limit(max(1, len(found) // random.randint(1, 4))), []
        page = step.page()
        pages.append(page.records)
        while page.next_cursor is not None:
            page = step.after(page.next_cursor).page()
            pages.append(page.records)
        assert list(chain(*pages)) == list(builder.iter()) == found


@settings(max_examples=6)
@pytest.mark.parametrize("kind", BUILDERS)
@given(seed=st.integers(0, 2**32))
def test_groups_are_those_of_the_rows(world: World, kind: str, seed: int) -> None:
    """An aggregate is what the protocol's own definition makes of the same rows."""
    for builder, random in drawn(world, kind, seed):
        draw = Draw(world, builder, random)
        by: list[Any] = random.sample(draw.plain, random.randint(0, 2))
        by += [Day(field) for field in random.sample(draw.times, random.randint(0, 1))]
        field = random.choice(draw.ordered)
        measures: list[Measure] = [
            Count(),
            CountDistinct(random.choice(draw.plain)),
            Min(field),
            Max(field),
        ]
        note(f"{in_words(builder.build())} {by} {measures}")
        plain = Plain(world).aggregate(builder.build(), by, measures)
        assert builder.aggregate(by, measures) == plain


class Plain(Backend):
    """The protocol's defaults over rows in a list."""

    def __init__(self, world: World) -> None:
        self.select = world.meaning  # type: ignore[method-assign]

    def select(self, query: Query) -> Any: ...
    def reserve(self, counts: Any) -> Any: ...
    def apply(self, batch: Any) -> None: ...
    def close(self) -> None: ...


def test_store_has_something_of_everything(world: World) -> None:
    """Else agreement would be cheap."""
    documents: Any = world.of(world.session.documents.kind)
    assert {document.is_deleted for document in documents} == {True, False}
    assert {document.version for document in documents} >= {1, 2}
    kinds = {builder(world.session).kind for builder in BUILDERS.values()}
    assert all(len(world.of(kind)) > 20 for kind in kinds)
    matched = [len(builder.all()) for kind in BUILDERS for builder, _ in drawn(world, kind, seed=3)]
    assert any(0 < n < 20 for n in matched)
