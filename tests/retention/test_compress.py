"""``compress``: fewer bytes, and nothing else is different (RET-4)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loki_storage import open_storage
from loki_storage.export_manager import ExportManager
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    Record,
    RetentionPolicy,
    RetentionRun,
    RetentionState,
)
from loki_storage.retention import RetentionManager
from loki_storage.retention.certificate import EMPTY
from loki_storage.storage import Storage
from tests.conftest import POSTGRESQL, SOURCES
from tests.retention.places import Place
from tests.stores import CLOCK, Fault, unsteady

LONG = "Dear Sir or Madam, in the matter of your complaint of last month. " * 20
ENGINE = (AuditEntry, RetentionPolicy, RetentionRun, RetentionState)


@pytest.fixture(scope="module", params=["sqlite", POSTGRESQL])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storage]:
    """Memory has nothing to compress."""
    url, options = SOURCES[request.param](tmp_path_factory.mktemp("store"))
    with open_storage(url, create=True, clock=CLOCK, **options) as storage:
        yield storage


@pytest.fixture
def place(store: Storage, tenant: str) -> Place:
    return Place(store, tenant)


def write(place: Place, number: int) -> list[int]:
    """Documents of two versions with a correction, which come of age."""
    ids = []
    with place.begin() as session:
        for n in range(number):
            first = session.documents.create_document(f"{n} {LONG}", "email", "c", title="t")
            session.documents.create_version(first.id, f"{n} {LONG} again")
            correction = session.corrections.create_correction(
                session.documents.get_latest_version(first.id).id,  # type: ignore[union-attr]
                "rewrite",
                "c",
                corrected_content=f"{LONG} better",
            )
            session.corrections.reject_correction(correction.id, "bob", "no")
            ids.append(first.id)
    CLOCK.advance(days=31)
    return ids


def content(place: Place) -> list[Record]:
    """Every row but those of the engine itself."""
    return [row for row in place.rows() if not isinstance(row, ENGINE)]


def plain(place: Place) -> int:
    """How many rows are not compressed."""
    backend = place.storage.backend
    return sum(
        len(backend.compactable(kind, [row.id for row in place.rows(kind)], place.tenant))
        for kind in (Document, Correction)
    )


def test_no_read_hash_or_export_is_different(place: Place, tmp_path: Path) -> None:
    place.policy(action="compress")
    ids = write(place, 3)
    assert plain(place) == 9
    files, before = exported(place, tmp_path / "before"), content(place)
    report = place.manager().run().tenants[0]
    assert (report.records, report.skipped) == ({"old": 3}, {})
    assert plain(place) == 0
    assert content(place) == before
    assert exported(place, tmp_path / "after") == files
    with place.begin() as session:
        assert all(session.documents.verify(id) for id in ids)
        assert {found.root_id for found in session.documents.search("MATTER of your")} == {*ids}
        (entry,) = [e for e in session.audit.get_by_document(ids[0]) if e.action == "compress"]
    assert entry.changes is None


def exported(place: Place, folder: Path) -> list[bytes]:
    """Documents and corrections as files."""
    manager = ExportManager(place.storage, folder, tenant=place.tenant)
    jobs = (manager.export_documents, manager.export_corrections)
    return [Path(export("jsonl", None, "x")["file_path"]).read_bytes() for export in jobs]


def test_saved_bytes_are_in_report_and_certificate(place: Place) -> None:
    place.policy(action="compress")
    write(place, 2)
    (part,) = place.manager().run().tenants
    saved = part.saved_bytes["old"]
    assert saved > 2 * 3 * len(LONG) / 2
    facts = RetentionManager.verify_certificate(part.certificate)
    assert (facts["saved_bytes"], facts["records"]) == ({"old": saved}, {"old": 2})
    assert (facts["counts"], facts["digest"]) == ([], EMPTY)  # nothing went


def test_what_is_compressed_starves_nobody_and_can_still_go(place: Place) -> None:
    place.policy("small", action="compress", priority=1)
    write(place, 1)
    assert place.manager().run().tenants[0].records == {"small": 1}
    assert place.manager().run().tenants[0].skipped == {"nothing to compress": 1}
    place.policy("then", action="anonymize", priority=2)
    assert place.manager().run().tenants[0].records == {"then": 1}
    place.policy("last", priority=3)
    assert place.manager().run().tenants[0].records == {"last": 1}
    assert place.documents() == set()


def test_a_new_version_is_compressed_again(place: Place) -> None:
    place.policy(action="compress")
    (id,) = write(place, 1)
    place.manager().run()
    with place.begin() as session:
        session.documents.create_version(session.documents.get_latest_version(id).id, LONG * 2)  # type: ignore[union-attr]
    assert plain(place) == 1
    CLOCK.advance(days=31)
    assert place.manager().run().tenants[0].records == {"old": 1}
    assert plain(place) == 0


def test_a_minimum_does_not_forbid_it_and_a_hold_does(place: Place) -> None:
    place.policy(action="compress")
    place.policy("keep", kind="minimum", retention_days=300)
    held, _ = write(place, 2)
    place.manager().holds.place("case", "letter", ids=[held])
    (part,) = place.manager().run().tenants
    assert (part.records, part.skipped) == ({"old": 1}, {"on hold: case": 1})
    assert plain(place) == 3


def test_a_correction_alone(place: Place) -> None:
    place.policy(action="compress", entity_type="correction")
    write(place, 2)
    assert place.manager().run().tenants[0].records == {"old": 2}
    assert plain(place) == 4


class Killed(BaseException):
    """The process is gone."""


def die() -> None:
    raise Killed


@pytest.mark.parametrize("with_plan", [True, False])
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", range(3))
def test_a_killed_run_ends_as_an_unbroken_one(
    place: Place, at: int, applied: bool, with_plan: bool
) -> None:
    """Killed before or after the commits of the start, of the documents, and of the end."""
    place.policy(action="compress")
    write(place, 2)
    backend, storage = unsteady(place.storage)
    died = Fault(Killed(), applied=True) if applied else Fault(None, meanwhile=die)  # type: ignore[arg-type]
    backend.fail(*[Fault(None)] * at, died)
    plan = place.manager().preview() if with_plan else None
    with pytest.raises(Killed):
        place.manager(storage).run(plan)
    CLOCK.advance(minutes=1)
    (part,) = place.manager().run(plan).tenants
    assert plain(place) == 0
    if not with_plan and (at, applied) in ((1, False), (2, True)):
        # What was compressed and not told yet is done with; so is a run that has ended.
        assert part.skipped == {"nothing to compress": 2}
    else:
        assert part.records == {"old": 2}
        assert part.saved_bytes["old"] > 3 * len(LONG)


def test_the_file_of_a_real_store_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "loki.db"
    with open_storage(f"sqlite:///{path}", clock=CLOCK) as storage:
        place = Place(storage, "default")
        place.policy(action="compress")
        with place.begin() as session:
            for n in range(20):
                session.documents.create_document(f"{n} {LONG * 10}", "email", "c")
        CLOCK.advance(days=31)
        before = pages(storage)
        place.manager().run()
        assert pages(storage) < before * 0.7  # the others are free, for what comes next


def pages(storage: Storage) -> int:
    """Pages in use."""
    with storage.backend.engine().connect() as connection:
        count, free = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("page_count", "freelist_count")
        )
        return int(count) - int(free)
