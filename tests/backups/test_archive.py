"""An archive that is altered, cut, foreign, newer or a bomb is refused before anything changes."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from loki_storage import Storage
from loki_storage.backup_manager import BackupManager
from loki_storage.backups.archive import _SEAL, _SEAL_SIZE, MANIFEST, VERSION
from loki_storage.backups.names import SUFFIX
from loki_storage.errors import BackupError, RestoreRejected
from loki_storage.models import KINDS
from tests.backups.stores import fill, rows, store

NAME = "daily-20260101T000000000000Z"
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("archive")
    with store("memory", folder) as storage:
        fill(storage)
        manager = BackupManager(storage, folder)
        name = manager.create_backup("daily")["name"]
        return (folder / f"{name}{SUFFIX}").read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Any:
    with store("sqlite", tmp_path) as storage:
        fill(storage)
        yield storage


def opened(archive: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(members: Members, extra: list[tuple[str, bytes]] | None = None) -> bytes:
    """An archive of these members, with a seal that holds."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in [*members.items(), *(extra or [])]:
            file.writestr(name, data)
        file.comment = b"." * _SEAL_SIZE
    body = buffer.getvalue()[:-_SEAL_SIZE]
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode()


def put(folder: Path, data: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{NAME}{SUFFIX}").write_bytes(data)


def refused(target: Storage, folder: Path, data: bytes, *, quick: bool = False) -> BackupError:
    """Neither verified nor restored, and the target is as it was."""
    put(folder, data)
    manager, before = BackupManager(target, folder), [] if quick else rows(target)
    with pytest.raises(RestoreRejected):
        manager.verify_backup("daily")
    if not quick:
        with pytest.raises(RestoreRejected) as caught:
            manager.restore_backup("daily", replace=True)
        assert rows(target) == before
        return caught.value
    return BackupError()


def test_packing_again_makes_an_archive(archive: bytes, target: Storage, tmp_path: Path) -> None:
    """So that what the other tests change is what they are refused for."""
    put(tmp_path / "b", packed(opened(archive)))
    BackupManager(target, tmp_path / "b").restore_backup("daily", replace=True)


def test_any_flipped_byte_is_found(archive: bytes, target: Storage, tmp_path: Path) -> None:
    """Every byte of the ends, where the zip has its own, and many between them."""
    size, dice = len(archive), random.Random(8)
    ends = [*range(80), *range(size - 300, size)]
    for place in [*ends, *dice.sample(range(size), 150)]:
        flipped = bytearray(archive)
        flipped[place] ^= 1 << dice.randrange(8)
        refused(target, tmp_path / "b", bytes(flipped), quick=place not in (5, size - 1))


def test_any_cut_is_found(archive: bytes, target: Storage, tmp_path: Path) -> None:
    dice = random.Random(8)
    for length in [0, 1, 21, 22, 100, len(archive) - 1, *dice.sample(range(len(archive)), 20)]:
        refused(target, tmp_path / "b", archive[:length], quick=length > 100)
    refused(target, tmp_path / "b", archive + b"\0")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"not a zip", b"\0" * 10_000, b"PK\x05\x06" + b"\0" * 18]
)
def test_foreign_files_are_refused(data: bytes, target: Storage, tmp_path: Path) -> None:
    refused(target, tmp_path / "b", data)


def test_zip_of_something_else_is_refused(target: Storage, tmp_path: Path) -> None:
    refused(target, tmp_path / "b", packed({"a.txt": b"a"}))


# What a careful liar would make: the seal holds, what it seals does not.


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], Members]:
    def edit(members: Members) -> Members:
        manifest = json.loads(members[MANIFEST])
        change(manifest)
        return {**members, MANIFEST: json.dumps(manifest).encode()}

    return edit


def rewritten(table: str, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    """A table's lines changed, with the manifest in agreement."""
    import hashlib

    def rewrite(members: Members) -> Members:
        name = f"{table}.jsonl.zst"
        lines = change(zstandard.ZstdDecompressor().decompressobj().decompress(members[name]))

        def agree(manifest: dict[str, Any]) -> None:
            for member in manifest["members"]:
                if member["name"] == name:
                    member["rows"], member["size"] = lines.count(b"\n"), len(lines)
                    member["sha256"] = hashlib.sha256(lines).hexdigest()

        changed = {**members, name: zstandard.compress(lines)}
        return edited(agree)(changed)

    return rewrite


def canonical_line(row: list[Any]) -> bytes:
    """As a backup writes it; a lone surrogate, which it never has, as its escape."""
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError:
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def cell(table: str, field: str, value: Any, row: int = 0) -> Callable[[Members], Members]:
    """One value of one row changed."""
    place = list(KINDS[table].domains).index(field)

    def change(lines: bytes) -> bytes:
        parsed = [json.loads(line) for line in lines.splitlines()]
        parsed[row][place] = value
        return b"".join(canonical_line(row) for row in parsed)

    return rewritten(table, change)


def first_member(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["members"][1])


LIES: dict[str, Callable[[Members], Members]] = {
    "no manifest": lambda m: {k: v for k, v in m.items() if k != MANIFEST},
    "no json": lambda m: {**m, MANIFEST: b"{"},
    "a list": lambda m: {**m, MANIFEST: b"[]"},
    "deep": lambda m: {**m, MANIFEST: b"[" * 100_000},
    "another format": edited(lambda m: m.update(format="zip")),
    "a later format": edited(lambda m: m.update(version=VERSION + 1)),
    "a key too many": edited(lambda m: m.update(more=1)),
    "a key too few": edited(lambda m: m.pop("tenant")),
    "a later schema": edited(lambda m: m.update(schema_revision="9999")),
    "ids without end": edited(lambda m: m["next_ids"].update(documents=2**63 - 1)),
    "ids below zero": edited(lambda m: m["next_ids"].update(documents=-5)),
    "no time": edited(lambda m: m.update(created_at="today")),
    "rows too many": edited(lambda m: m["members"][1].update(rows=1)),
    "rows below zero": edited(lambda m: m["members"][1].update(rows=-1)),
    "another digest": edited(lambda m: m["members"][1].update(sha256="0" * 64)),
    "too small": edited(lambda m: m["members"][1].update(size=10)),
    "too large": edited(lambda m: m["members"][1].update(size=10**7)),
    "a bomb": edited(lambda m: m["members"][1].update(size=10**15)),
    "a member less": lambda m: {k: v for k, v in m.items() if not k.startswith("tags")},
    "a member more": lambda m: {**m, "more.jsonl.zst": m["tags.jsonl.zst"]},
    "no member is told": edited(lambda m: m.update(members=[])),
    "an unknown table": edited(lambda m: m["members"][1].update(table="spaceships")),
    "an unknown field": edited(lambda m: m["members"][1]["fields"].append("warp")),
    "a field twice": edited(lambda m: m["members"][1]["fields"].append("id")),
    "a required field less": edited(lambda m: m["members"][1]["fields"].pop()),
    "children first": edited(lambda m: m["members"].reverse()),
    "a table twice": edited(lambda m: m["members"].append(first_member(m))),
    "not compressed": lambda m: {**m, "tags.jsonl.zst": b"plain"},
    "cut compression": lambda m: {**m, "tags.jsonl.zst": m["tags.jsonl.zst"][:-20]},
    "more after the end": lambda m: {**m, "tags.jsonl.zst": m["tags.jsonl.zst"] + b"more"},
    "zeros": rewritten("tags", lambda lines: b"\0" * 10_000_000),
    "no arrays": rewritten("tags", lambda lines: b"{}\n"),
    "no lines": rewritten("tags", lambda lines: b"[]"),
    "an empty line": rewritten("tags", lambda lines: lines + b"\n"),
    "a short row": rewritten("tags", lambda lines: b"[1]\n"),
    "a row twice": rewritten("tags", lambda lines: lines + lines),
    "text with U+0000": cell("documents", "title", "a\0b"),
    "a surrogate": cell("documents", "content", "\ud83d"),
    "a long title": cell("documents", "title", "x" * 501),
    "no title": cell("documents", "document_type", None),
    "a number as text": cell("documents", "title", 5),
    "true as id": cell("tags", "id", True),
    "an id of zero": cell("tags", "id", 0),
    "an id without end": cell("tags", "id", 2**63 - 1),
    "text as time": cell("tags", "created_at", "2026-01-01T00:00:00+00:00"),
    "a fraction as time": cell("tags", "created_at", 5.0),
    "a time without end": cell("tags", "created_at", 2**62),
    "true as flag": cell("documents", "is_latest", True),
    "another number as flag": cell("documents", "is_latest", 2),
    "an array as text": cell("tags", "name", ["x"]),
    "json that is none": cell("documents", "metadata_json", "{"),
    "json that is not canonical": cell("documents", "metadata_json", '{"a": 1}'),
    "json as json": cell("documents", "metadata_json", {"a": 1}),
    "an unknown status": cell("validations", "status", "lost"),
    "a broken reference": cell("validations", "document_id", 10**6),
    "a version twice": cell("documents", "version", 2),
}


@pytest.mark.parametrize("lie", LIES)
def test_archive_that_lies_is_refused(
    archive: bytes, target: Storage, tmp_path: Path, lie: str
) -> None:
    """A rule between rows is broken only in the store: that is found when they are stored."""
    put(tmp_path / "b", packed(LIES[lie](opened(archive))))
    manager, before = BackupManager(target, tmp_path / "b"), rows(target)
    with pytest.raises(RestoreRejected):
        manager.restore_backup("daily", replace=True)
    assert rows(target) == before


def test_member_of_a_name_twice_is_refused(archive: bytes, target: Storage, tmp_path: Path) -> None:
    members = opened(archive)
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = packed(members, [("tags.jsonl.zst", members["tags.jsonl.zst"])])
    refused(target, tmp_path / "b", data)


def test_compressed_zip_members_are_refused(
    archive: bytes, target: Storage, tmp_path: Path
) -> None:
    """A deflate bomb never gets as far as being inflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in opened(archive).items():
            file.writestr(name, data)
    refused(target, tmp_path / "b", buffer.getvalue())


def test_error_holds_no_stored_text(archive: bytes, target: Storage, tmp_path: Path) -> None:
    lie = cell("documents", "title", "SECRET\0")
    error = refused(target, tmp_path / "b", packed(lie(opened(archive))))
    assert "SECRET" not in str(error)
    assert "documents.title" in str(error)


def test_rows_of_an_earlier_version_get_the_defaults(archive: bytes, tmp_path: Path) -> None:
    """A field that was not there yet reads as its default (PLG-2)."""

    def change(lines: bytes) -> bytes:
        place = list(KINDS["documents"].domains).index("language")
        parsed = [json.loads(line) for line in lines.splitlines()]
        return b"".join(canonical_line(row[:place] + row[place + 1 :]) for row in parsed)

    def drop(manifest: dict[str, Any]) -> None:
        for member in manifest["members"]:
            if member["table"] == "documents":
                member["fields"].remove("language")
        manifest["members"] = [m for m in manifest["members"] if m["table"] != "legal_holds"]

    members = edited(drop)(rewritten("documents", change)(opened(archive)))
    del members["legal_holds.jsonl.zst"]
    put(tmp_path / "b", packed(members))
    with store("memory", tmp_path) as other:
        BackupManager(other, tmp_path / "b").restore_backup("daily")
        with other.session() as session:
            assert {d.language for d in session.documents.get_all()} == {"en"}


def test_damaged_backup_is_listed_with_its_problem(archive: bytes, tmp_path: Path) -> None:
    put(tmp_path / "b", archive[:-50])
    with store("memory", tmp_path) as storage:
        (listed,) = BackupManager(storage, tmp_path / "b").list_backups()
    assert listed["name"] == NAME
    assert "problem" in listed
