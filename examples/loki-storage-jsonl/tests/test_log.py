"""What the contract cannot see from outside: torn lines, damage, rewriting, later versions."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loki_storage.errors import LockTimeout, SchemaOutdated, StorageDamaged, StorageFull
from loki_storage.storage import Storage, open_storage
from loki_storage_jsonl.log import Log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def storage(folder: Path) -> Iterator[Storage]:
    with open_storage(f"jsonl:///{folder}") as opened:
        yield opened


def add(storage: Storage, *texts: str) -> None:
    for text in texts:
        with storage.session() as session:
            session.documents.create_document(text, "email", "client")


def texts(folder: Path) -> list[str]:
    """What another process would find."""
    with open_storage(f"jsonl:///{folder}") as storage, storage.session() as session:
        return [document.content for document in session.documents.get_all(ascending=True)]


def log_of(folder: Path) -> Path:
    (log,) = folder.glob("log-*.jsonl")
    return log


def test_log_cut_anywhere_holds_whole_batches(storage: Storage, folder: Path) -> None:
    add(storage, "a")
    first = log_of(folder).stat().st_size
    add(storage, "b")
    whole = log_of(folder).read_bytes()
    for length in range(first, len(whole), 7):
        log_of(folder).write_bytes(whole[:length])
        assert texts(folder) == ["a"]


def test_writer_takes_a_torn_line_away(storage: Storage, folder: Path) -> None:
    add(storage, "a")
    with log_of(folder).open("ab") as log:
        log.write(b'{"crc32":"00000000","entry":{"put":[\n\0\0\0\n')
    add(storage, "b")
    assert texts(folder) == ["a", "b"]
    assert all(json.loads(line) for line in log_of(folder).read_text("ascii").splitlines())


def test_damage_before_the_end_is_told(storage: Storage, folder: Path) -> None:
    add(storage, "a", "b")
    lines = log_of(folder).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"entry", b"entri")
    log_of(folder).write_bytes(b"".join(lines))
    with pytest.raises(StorageDamaged, match="byte"):
        texts(folder)


WRITER = """
import sys
from loki_storage.storage import open_storage

with open_storage(sys.argv[1]) as storage:
    for number in range(1000):
        with storage.session() as session:
            session.documents.create_document(str(number), "email", "client")
        print(number, flush=True)
"""


def test_killed_writer_leaves_what_was_acknowledged(folder: Path) -> None:
    command = [sys.executable, "-c", WRITER, f"jsonl:///{folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = [process.stdout.readline() for _ in range(20)]
        process.kill()
        told += process.stdout.readlines()
    acknowledged = [line.strip() for line in told if line.endswith("\n")]
    found = texts(folder)
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1


def test_rewritten_log_forgets_what_was_superseded(folder: Path) -> None:
    with open_storage(f"jsonl:///{folder}") as old, old.session() as session:
        document = session.documents.create_document("keep", "email", "client", title="secret")
        session.commit()
        session.documents.update(document.id, title="public")
        session.commit()
        with open_storage(f"jsonl:///{folder}", compact_after=1):
            assert b"secret" not in log_of(folder).read_bytes().split(b'"audit_trail"')[0]
        session.documents.update(document.id, title="later")
        session.commit()
        assert session.documents.get_by_id(document.id).title == "later"  # type: ignore[union-attr]
    assert texts(folder) == ["keep"]


def test_what_a_later_version_wrote_is_kept(storage: Storage, folder: Path) -> None:
    add(storage, "a")
    log, known = Log(folder), {"client_id": "client", "tenant_id": "default", "id": 1, "weight": 7}
    with log.locked(alone=True):
        log.news()
        log.append({"put": [["document_chains", 1, known], ["planets", 3, {"name": "Mars"}]]})
    with open_storage(f"jsonl:///{folder}", compact_after=0), storage.session() as session:
        session.documents.create_version(1, "b")
    text = log_of(folder).read_text("ascii")
    assert text.count('"weight":7') == 2  # of the row as rewritten, and of the one that followed
    assert '"planets",3,{"name":"Mars"}' in text


def test_log_of_another_format_is_refused(storage: Storage, folder: Path) -> None:
    storage.close()
    Log(folder).rewrite([])
    (folder / "log-000000003.jsonl").write_bytes(b"")
    with pytest.raises(SchemaOutdated):
        texts(folder)


def test_looking_at_a_store_does_not_create_it(folder: Path) -> None:
    with pytest.raises(SchemaOutdated):
        open_storage(f"jsonl:///{folder}", create=False)
    assert not folder.exists()


def test_full_disk_leaves_the_log_as_it_was(storage: Storage, folder: Path) -> None:
    add(storage, "a")
    size = log_of(folder).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(StorageFull):
            add(storage, "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log_of(folder).stat().st_size <= size + 100
    add(storage, "c")
    assert texts(folder) == ["a", "c"]


def test_locked_log_is_waited_for_within_the_deadline(storage: Storage, folder: Path) -> None:
    session = storage.session(timeout=0.05)
    with Log(folder).locked(alone=True), pytest.raises(LockTimeout):
        session.documents.count()


def test_store_is_private(storage: Storage, folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
