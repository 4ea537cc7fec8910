"""After deletion or anonymization and maintenance nothing is left on disk (RET-4)."""

from pathlib import Path

import pytest

from loki_storage import open_storage
from loki_storage.maintenance import maintain
from tests.retention.places import MARKER, Place, fill
from tests.stores import CLOCK


@pytest.mark.parametrize("action", ["delete", "anonymize"])
def test_no_marker_is_left_in_the_file_or_its_log(tmp_path: Path, action: str) -> None:
    path = tmp_path / "loki.db"
    with open_storage(f"sqlite:///{path}", clock=CLOCK) as storage:
        place = Place(storage, "default")
        place.policy(action=action)
        if action == "delete":  # its audit stays, but not for ever
            place.policy("anonymous first", action="anonymize", retention_days=1)
        fill(place, 3)
        assert found(tmp_path)
        for _ in range(2):
            chores = maintain(storage, export_dir=tmp_path / "exports")
            assert [chore.error for chore in chores] == [None] * len(chores)
            CLOCK.advance(days=2)
        assert bool(place.documents()) == (action == "anonymize")
        assert found(tmp_path) == []
    assert found(tmp_path) == []


def found(folder: Path) -> list[str]:
    """The files in which a word of the marker stands."""
    words = [word.encode() for word in MARKER.split()]
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in words)
    ]
