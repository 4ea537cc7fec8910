"""What a host's own tests look like: real storage, no mocks, no files, no sleeping."""

from datetime import timedelta
from typing import Any

import pytest

from loki_storage import Storage, StorageError


def file_complaint(storage: Storage, text: str) -> int:
    """The host's own code."""
    return storage.run(
        lambda session: session.documents.create_document(text, "customer_comms", "desk").id,
        actor="alice",
    )


def test_complaint_is_kept_with_who_filed_it(storage: Storage) -> None:
    id = file_complaint(storage, "I was promised 12%.")
    with storage.session() as session:
        (entry,) = session.audit.get_by_document(id)
    assert (entry.action, entry.actor_id) == ("create", "alice")


def test_each_test_has_a_store_of_its_own(storage: Storage) -> None:
    with storage.session() as session:
        assert session.documents.count() == 0


def test_time_moves_when_the_test_says_so(storage: Storage, clock: Any) -> None:
    id = file_complaint(storage, "first")
    clock.advance(days=30)
    with storage.session() as session:
        session.documents.create_version(id, "second")
    with storage.session() as session:
        first, second = session.documents.get_version_history(id)
    assert second.created_at - first.created_at == timedelta(days=30)


def test_same_complaint_twice_is_refused(storage: Storage) -> None:
    file_complaint(storage, "again")
    with pytest.raises(StorageError):
        file_complaint(storage, "again")
