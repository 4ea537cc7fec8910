"""Directories of JSON lines as loki-storage backends: ``jsonl:///relative``, ``jsonl:////absolute``.

Durable, safe against crashes, shared by processes, readable with any text tool. Every row is held
in memory as well, and every query looks at all rows of its kind: for archives and for learning.
"""

from pathlib import Path

from loki_storage.errors import InvalidValue
from loki_storage.hookspecs import hookimpl
from loki_storage.protocol import BackendSpec
from loki_storage_jsonl.backend import JsonlBackend

__all__ = ["JsonlBackend", "loki_register_backends", "open_jsonl"]


def open_jsonl(url: str, *, compact_after: int = 10_000) -> JsonlBackend:
    """The backend of a URL; nothing is touched until ``prepare``.

    ``compact_after``: on opening, a log with so many superseded rows is written anew. Raises
    ``InvalidValue`` for a URL without a directory.
    """
    path = url.partition("://")[2].removeprefix("/")
    if not path:
        raise InvalidValue("url", "must name a directory: jsonl:///relative or jsonl:////absolute")
    return JsonlBackend(Path(path), compact_after)


@hookimpl
def loki_register_backends() -> list[BackendSpec]:
    """What this plugin offers."""
    summary = "a directory of JSON lines; for archives and for learning"
    return [BackendSpec("jsonl", open_jsonl, summary, schemes=("jsonl",), creates=True)]
