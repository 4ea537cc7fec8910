"""The file of a backup: a zip that any tool opens, whose members are compressed by zstandard.

    manifest.json          what is in it: rows, sizes and SHA-256 of each member, schema, versions
    documents.jsonl.zst    the rows of a table, a JSON array a line, in the order of a dump
    ...
    (comment of the zip)   loki-storage sha256:...   of every byte before it

A flipped byte anywhere, a member too few or too many, a member that grows beyond what it says: all
are ``RestoreRejected``, in constant memory (BAK-3).
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, BinaryIO, Self, cast

import attrs
import zstandard

from loki_storage.backups.rows import Digest
from loki_storage.errors import RestoreRejected
from loki_storage.values import JsonValue
from loki_storage.whole_file import Counted

__all__ = ["MANIFEST", "Archive", "ArchiveWriter", "Manifest", "Member"]

FORMAT, VERSION = "loki-storage backup", 1
MANIFEST = "manifest.json"
LEVEL = 1
BLOCK = 1 << 20
LARGEST_MANIFEST = 16 << 20
LARGEST_LINE = 1 << 30
LARGEST_WINDOW = 1 << 27
MOST_GROWTH = 2_000
"""How much larger than the file its rows may be; beyond, it is taken for a bomb."""
SMALL = 1 << 30
"""Rows of so many bytes are none, whatever the ratio: texts may repeat."""
_SEAL = b"loki-storage sha256:"
_SEAL_SIZE = len(_SEAL) + 64


@attrs.frozen
class Member:
    """A member and what it holds; ``fields`` are those of its rows."""

    name: str
    table: str
    fields: tuple[str, ...]
    rows: int
    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class Manifest:
    """What a backup says of itself."""

    name: str
    created_at: str
    created_by: str
    backend: str
    loki_storage: str
    protocol_version: str
    schema_revision: str | None
    tenant: str | None
    native: bool
    compressed: bool
    consistent: bool
    include_audit: bool
    metadata: JsonValue
    next_ids: Mapping[str, int]
    tables: Mapping[str, int]
    members: tuple[Member, ...]

    def to_json(self) -> bytes:
        data = {"format": FORMAT, "version": VERSION, **attrs.asdict(self)}
        return json.dumps(data, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """``RestoreRejected`` for what is no manifest, or one of a later version."""
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError
            version = data.pop("version")
            if version != VERSION:
                raise RestoreRejected(
                    f"the backup has format version {version}, this loki-storage reads {VERSION}; "
                    "upgrade loki-storage"
                )
            members = tuple(_member(member) for member in data.pop("members"))
            manifest = cls(members=members, **data)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RestoreRejected("the manifest is not one of a backup") from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        """Types, as far as others rely on them."""
        texts = (self.name, self.created_at, self.created_by, self.backend, self.protocol_version)
        counts = (self.next_ids, self.tables)
        sound = (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(each, dict) for each in counts)
            and all(type(n) is int and n >= 0 for each in counts for n in each.values())
            and all(type(m.rows) is int and type(m.size) is int for m in self.members)
            and all(m.rows >= 0 and m.size >= 0 for m in self.members)
        )
        try:
            datetime.fromisoformat(self.created_at)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise RestoreRejected("the manifest is not one of a backup")


def _member(data: Mapping[str, Any]) -> Member:
    return Member(**{**data, "fields": tuple(data["fields"])})


class ArchiveWriter:
    """Writes an archive from its beginning to its end, to a file that cannot seek."""

    def __init__(self, file: Counted, *, compress: bool) -> None:
        self._sealing = _Sealing(file)
        self._zip = zipfile.ZipFile(cast("BinaryIO", self._sealing), "w", zipfile.ZIP_STORED)
        self._compress = compress

    @contextmanager
    def member(self, name: str) -> Iterator["_MemberWriter"]:
        """A member that is being written."""
        suffix = ".zst" if self._compress else ""
        with self._zip.open(_info(f"{name}{suffix}"), "w", force_zip64=True) as entry:
            writer = _MemberWriter(f"{name}{suffix}", entry, self._compress)
            yield writer
            writer.finish()

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest, and seal it all."""
        with self._zip.open(_info(MANIFEST), "w") as entry:
            entry.write(manifest.to_json())
        self._zip.comment = b"." * _SEAL_SIZE
        self._zip.close()
        self._sealing.seal()

    def abandon(self) -> None:
        """Nothing more comes; without this the zip would write its end when it is collected."""
        with suppress(Exception):
            self._zip.fp = None


class _MemberWriter:
    def __init__(self, name: str, entry: Any, compress: bool) -> None:
        self.name, self.digest = name, Digest()
        self._entry: Any = entry
        self._target = (
            zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_writer(
                entry, closefd=False
            )
            if compress
            else entry
        )
        self._compress = compress

    def write(self, block: bytes, rows: int = 0) -> None:
        self.digest.add(block, rows)
        self._target.write(block)

    def finish(self) -> None:
        if self._compress:
            self._target.close()

    def told(self, table: str, fields: tuple[str, ...]) -> Member:
        digest = self.digest
        return Member(self.name, table, fields, digest.rows, digest.size, digest.sha256)


class Archive:
    """An archive that is read: ``with Archive(descriptor) as archive``."""

    def __init__(self, file: int | BinaryIO) -> None:
        """Take over an open file; ``RestoreRejected`` where it is no archive of ours."""
        self._file: Any = os.fdopen(file, "rb", buffering=0) if isinstance(file, int) else file
        try:
            self.size = self._file.seek(0, os.SEEK_END)
            self.manifest = self._open()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()
        self._file.close()

    def check_seal(self) -> str:
        """Compare every byte with the seal; the SHA-256 of the whole file."""
        digest, left = hashlib.sha256(), self.size - _SEAL_SIZE
        self._file.seek(0)
        while left > 0:
            block = self._file.read(min(BLOCK, left))
            if not block:
                raise RestoreRejected("the backup is cut short")
            digest.update(block)
            left -= len(block)
        seal = _SEAL + digest.hexdigest().encode()
        if self._zip.comment != seal:
            raise RestoreRejected("the backup was altered: its bytes are not those of its seal")
        digest.update(seal)
        return digest.hexdigest()

    def unpack(self) -> None:
        """Decompress every member: zstandard compares its own checksum of what went in."""
        for member in self.manifest.members:
            if member.name.endswith(".zst") and sum(map(len, self._unpacked(member))) < member.size:
                raise RestoreRejected(f"{member.name} is not what its manifest says")

    def blocks(self, member: Member) -> Iterator[bytes]:
        """What a member holds, in pieces, as far as it says; checked at the end."""
        digest = Digest()
        for data in self._unpacked(member):
            digest.add(data, data.count(b"\n") if member.fields else 0)
            yield data
        if (digest.size, digest.sha256) != (member.size, member.sha256):
            raise RestoreRejected(f"{member.name} is not what its manifest says")
        if member.fields and digest.rows != member.rows:
            raise RestoreRejected(f"{member.name} has another number of rows than its manifest")

    def lines(self, member: Member) -> Iterator[bytes]:
        """The lines of a member."""
        rest = b""
        for block in self.blocks(member):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if rest[:1] not in (b"", b"[") or len(rest) > LARGEST_LINE:
                raise RestoreRejected(f"{member.name} holds what is no row")
            yield from lines
        if rest:
            raise RestoreRejected(f"{member.name} ends within a row")

    def _unpacked(self, member: Member) -> Iterator[bytes]:
        """A member's bytes, no more than it says."""
        size = 0
        with self._reading(), self._zip.open(member.name) as entry:
            source: Any = entry
            if member.name.endswith(".zst"):
                source = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).stream_reader(
                    entry, read_across_frames=False
                )
            while data := source.read(BLOCK):
                size += len(data)
                if size > member.size:
                    raise RestoreRejected(f"{member.name} holds more than its manifest says")
                yield data
            if entry.read(1):
                raise RestoreRejected(f"{member.name} goes on after its end")

    def _open(self) -> Manifest:
        with self._reading():
            self._zip = zipfile.ZipFile(self._file)
            infos = self._zip.infolist()
            info = next((info for info in infos if info.filename == MANIFEST), None)
            sealed = self._zip.comment.startswith(_SEAL) and len(self._zip.comment) == _SEAL_SIZE
            if info is None or info.file_size > LARGEST_MANIFEST or not sealed:
                raise RestoreRejected("the file is not a backup of loki-storage")
            if any(each.compress_type != zipfile.ZIP_STORED for each in infos):
                raise RestoreRejected("the file is not a backup of loki-storage")
            manifest = Manifest.from_json(self._zip.read(info))
        self._check_members(manifest, infos)
        return manifest

    def _check_members(self, manifest: Manifest, infos: list[zipfile.ZipInfo]) -> None:
        there = [info.filename for info in infos if info.filename != MANIFEST]
        told = [member.name for member in manifest.members]
        if len(infos) != len(there) + 1 or sorted(there) != sorted(told):
            missing, extra = set(told) - set(there), set(there) - set(told)
            words = f"{len(missing)} missing" if missing else f"{len(extra) or 'some'} too many"
            raise RestoreRejected(f"the backup's members are not those of its manifest: {words}")
        if sum(info.compress_size for info in infos) > self.size:
            raise RestoreRejected("the backup's members overlap")
        size = sum(member.size for member in manifest.members)
        if size > max(SMALL, self.size * MOST_GROWTH):
            raise RestoreRejected("the backup would grow beyond all measure: a bomb")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            zstandard.ZstdError,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            OverflowError,
            ValueError,
        ) as error:
            raise RestoreRejected("the backup cannot be read: it is altered or cut") from error


class _Sealing(io.RawIOBase):
    """Holds back the last bytes, which the seal over all before them takes the place of."""

    def __init__(self, file: Counted) -> None:
        self._target, self._tail = file, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < _SEAL_SIZE:
            held = self._tail + view
            self._target.write(held[:-_SEAL_SIZE])
            self._tail = held[-_SEAL_SIZE:]
        else:
            self._target.write(self._tail)
            self._target.write(view[:-_SEAL_SIZE])
            self._tail = bytes(view[-_SEAL_SIZE:])
        return len(view)

    def seal(self) -> None:
        self._target.write(_SEAL + self._target.sha256.encode())


def _info(name: str) -> zipfile.ZipInfo:
    """An entry that depends on nothing but its name, readable by its owner only."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o100600 << 16
    return info
