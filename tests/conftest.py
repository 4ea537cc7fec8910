"""One store per backend for all tests that do not need their own; each test has its own tenant."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from loki_storage import Session, Storage, open_storage
from tests.postgresql.shared import store_url, versions
from tests.stores import CLOCK, new_tenant

# No deadline: the machine's other work would fail tests. Failures print how to be replayed.
settings.register_profile("loki", max_examples=50, deadline=None, print_blob=True)
# For tests of mutants: the same examples for each; that one fails is enough, however large it is.
settings.register_profile(
    "mutants",
    settings.get_profile("loki"),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("loki")

Open = Callable[..., Session]


POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)


@pytest.fixture(scope="session", params=["memory", "sqlite", POSTGRESQL])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storage]:
    """A store on each backend of ours."""
    folder = tmp_path_factory.mktemp("store")
    url, options = SOURCES[request.param](folder)
    with open_storage(url, create=True, clock=CLOCK, **options) as storage:
        yield storage


# Nothing here cuts the power: without waiting for the disk the whole run is twice as fast.
SOURCES: dict[str, Callable[[Path], tuple[str, dict[str, Any]]]] = {
    "memory": lambda folder: ("memory://", {}),
    "sqlite": lambda folder: (f"sqlite:///{folder}/loki.db", {"synchronous": "NORMAL"}),
    "postgresql": lambda folder: (store_url(versions()[0]), {}),
}


@pytest.fixture
def tenant() -> str:
    return new_tenant()


@pytest.fixture
def begin(store: Storage, tenant: str) -> Open:
    """``begin()`` opens a session of the test's tenant, by alice unless told otherwise."""
    return partial(store.session, tenant=tenant, actor="alice")
