"""docs/checklist.md lists all that there is, and each line names a test that exists."""

from collections.abc import Iterator
from inspect import ismethod
from typing import Any

import pytest

from loki_storage.authorization import operations_of
from loki_storage.query_builder import QueryBuilder
from loki_storage.repositories.base import Repository
from loki_storage.storage import Session, open_storage
from tests.docs.pages import ROOT, code_spans, headings, tables
from tests.repositories.test_bad_input import INTERNAL

PAGE = ROOT / "docs" / "checklist.md"
REPOSITORIES = ("documents", "validations", "corrections", "audit", "tags")
TABLES = headings(PAGE)[1:]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_storage("memory://") as storage, storage.session() as session:
        yield session


def rows() -> list[dict[str, str]]:
    return [row for heading in TABLES for table in tables(PAGE, heading) for row in table]


@pytest.mark.parametrize("row", rows(), ids=lambda row: next(iter(row.values()))[:40])
def test_line_names_where_it_lives_and_tests_that_exist(row: dict[str, str]) -> None:
    _, where, test = row.values()
    assert where
    named = [part.strip(" `") for part in test.split(", ")]
    assert named
    for path in named:
        assert path.startswith("tests/"), path
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_every_method_of_the_repositories_is_listed(session: Session, repository: str) -> None:
    target: Repository[Any] = getattr(session, repository)
    names = {*operations_of(type(target)), "query"} - INTERNAL
    there = {name for name in names if hasattr(target, name)}
    spans = set(code_spans(PAGE))
    assert {name for name in there if f"{repository}.{name}" not in spans} == set()


def test_every_step_of_the_builders_is_listed(session: Session) -> None:
    builders: list[QueryBuilder[Any]] = [
        session.documents.query(),
        session.validations.query(),
        session.validations.query_results(),
        session.corrections.query(),
        session.audit.query(),
    ]
    steps = {
        name
        for builder in builders
        for name in dir(builder)
        if not name.startswith("_") and ismethod(getattr(builder, name))
    }
    assert steps - set(code_spans(PAGE)) == set()


def test_what_is_listed_is_there(session: Session) -> None:
    for span in code_spans(PAGE):
        owner, dot, name = span.partition(".")
        if dot and owner in REPOSITORIES:
            assert hasattr(getattr(session, owner), name), span


def test_benchmarks_are_where_the_page_says() -> None:
    assert (ROOT / "benchmarks" / "reads.py").is_file()
