"""The format is found by its name, and gives back what was stored."""

from pathlib import Path

import pytest

from loki_storage import open_storage
from loki_storage.export_formats import find_format, format_names
from loki_storage.export_manager import ExportManager, read_export
from loki_storage.models import Document

TEXTS = ["", "a\tb", "a\\tb", "a:b", "line\nline\r\n", "\\", "# a", "null", "\U0001f600"]


def test_it_is_found() -> None:
    assert find_format("ltsv").suffix == ".ltsv"
    assert "ltsv" in format_names()


@pytest.mark.parametrize("fields", [None, ["content"], ["title", "description"]])
def test_rows_come_back(tmp_path: Path, fields: list[str] | None) -> None:
    with open_storage("memory://") as storage:
        with storage.session() as session:
            for text in TEXTS:
                session.documents.create_document(
                    text, "email", "c", title=text or None, metadata={"text": text}
                )
            records = session.documents.get_all(order_by="id", ascending=True)
        told = ExportManager(storage, tmp_path).export_documents("ltsv", "c", "me", fields=fields)
    names = fields or list(Document.domains)
    want = [{name: getattr(record, name) for name in names} for record in records]
    assert list(read_export(told["file_path"])) == want
