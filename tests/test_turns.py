"""Who has lost a race queues for the row; who has not, does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loki_storage import Session, Storage, open_storage
from loki_storage.errors import StaleVersion
from loki_storage.memory import MemoryBackend
from loki_storage.models import Chain, Kind
from loki_storage.plugins import plugin_manager


class Queue(MemoryBackend):
    """Keeps what turns were asked for, as long as they last."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Kind, int]] = []
        self.held: list[tuple[str, Kind, int]] = []

    @contextmanager
    def turn(self, tenant: str, kind: Kind, id: int) -> Iterator[None]:
        row = tenant, kind, id
        self.asked.append(row)
        self.held.append(row)
        try:
            yield
        finally:
            self.held.remove(row)


@pytest.fixture
def backend() -> Queue:
    return Queue()


@pytest.fixture
def storage(backend: Queue) -> Storage:
    return Storage(backend, plugin_manager().hook)


@pytest.fixture
def root(storage: Storage) -> int:
    return storage.run(lambda session: session.documents.create_document("0", "email", "acme")).id


class Append:
    """Appends to a document; so often another writer is faster."""

    def __init__(self, storage: Storage, root: int, races: int) -> None:
        self._storage, self._root, self._races = storage, root, races

    def __call__(self, session: Session) -> None:
        head = session.documents.get_latest_version(self._root)
        assert head is not None
        session.documents.create_version(head.id, f"mine {head.id}")
        if self._races:
            self._races -= 1
            with self._storage.session() as other:
                other.documents.create_version(head.id, f"theirs {head.id}")


def test_without_a_race_nobody_queues(storage: Storage, backend: Queue, root: int) -> None:
    storage.run(Append(storage, root, races=0))
    assert backend.asked == []


@pytest.mark.parametrize("races", [1, 3])
def test_who_loses_a_race_queues_once(
    storage: Storage, backend: Queue, root: int, races: int
) -> None:
    storage.run(Append(storage, root, races))
    assert backend.asked == [("default", Chain, root)]
    assert backend.held == []


def test_race_that_the_rule_sees_first_is_a_race(
    storage: Storage, backend: Queue, root: int
) -> None:
    """The head moved between two reads: nothing was sent to commit."""
    heads = [root]

    def append(session: Session) -> None:
        session.documents.create_version(heads[-1], "mine")

    heads.append(storage.run(lambda s: s.documents.create_version(root, "theirs")).id)
    heads.reverse()

    def late(session: Session) -> None:
        try:
            append(session)
        finally:
            heads.reverse()

    storage.run(late)
    assert backend.asked == [("default", Chain, root)]


def test_who_comes_back_at_once_queues_right_away(
    storage: Storage, backend: Queue, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.turns.AT_ONCE", 60.0)
    storage.run(Append(storage, root, races=1))
    storage.run(Append(storage, root, races=0))
    assert len(backend.asked) == 2


def test_who_comes_back_for_something_else_does_not_queue_again(
    storage: Storage, backend: Queue, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.turns.AT_ONCE", 60.0)
    storage.run(Append(storage, root, races=1))
    storage.run(lambda session: session.documents.count())  # queues in vain, once
    storage.run(lambda session: session.documents.count())
    storage.run(Append(storage, root, races=0))
    assert len(backend.asked) == 2


def test_turns_are_of_one_tenant(
    storage: Storage, backend: Queue, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loki_storage.turns.AT_ONCE", 60.0)
    storage.run(Append(storage, root, races=1))
    storage.run(lambda session: session.documents.count(), tenant="other")
    assert len(backend.asked) == 1


def test_turn_ends_with_a_unit_that_fails(storage: Storage, backend: Queue, root: int) -> None:
    def build_on_the_first(session: Session) -> None:
        session.documents.create_version(root, "mine")

    storage.run(Append(storage, root, races=0))
    with pytest.raises(StaleVersion):
        storage.run(build_on_the_first)
    assert backend.held == []


def test_backend_without_turns_is_served_as_well() -> None:
    with open_storage("memory://") as storage:
        root = storage.run(lambda s: s.documents.create_document("0", "email", "acme")).id
        storage.run(Append(storage, root, races=2))
        assert storage.run(lambda s: s.documents.count()) == 1
