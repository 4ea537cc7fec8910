from collections.abc import Callable
from typing import Any

from click.testing import Result

from loki_storage import open_storage


def test_list_counts_documents(run: Callable[..., Result], read: Any, url: str) -> None:
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        session.tags.create("unused", color="#ff0000")
        for text in ("one", "two"):
            session.documents.create_document(text, "nda", "acme", tags=["urgent"])
    tags = read("tags list", url)["tags"]
    assert [(tag["name"], tag["documents"]) for tag in tags] == [("unused", 0), ("urgent", 2)]
    assert "urgent" in run("tags list", url).stdout
