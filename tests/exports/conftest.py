"""A manager over the shared stores, in a folder of its own."""

from pathlib import Path

import pytest

from loki_storage.export_manager import ExportManager
from loki_storage.storage import Storage
from tests.conftest import Open

CLIENT = "client_123"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
def manager(store: Storage, tenant: str, folder: Path) -> ExportManager:
    return ExportManager(store, folder, tenant=tenant)


@pytest.fixture
def filled(begin: Open) -> None:
    """Two documents of a client, one of another, one deleted; a validation with results."""
    with begin() as session:
        first = session.documents.create_document("one", "email", CLIENT, title="=1+1")
        session.documents.create_version(first.id, "two", metadata={"region": "EU", "who": "x"})
        session.documents.create_document("other", "email", "another client")
        second = session.documents.create_document("three", "contract", CLIENT)
        gone = session.documents.create_document("gone", "email", CLIENT)
        for document in (second, gone):
            validation = session.validations.create_validation(document.id, ["m"], CLIENT)
            session.validations.start_validation(validation.id)
            session.validations.add_result(
                validation.id, "module", "m.g", "fail", severity="high", message="no"
            )
            session.validations.complete_validation(validation.id)
            session.corrections.create_correction(document.id, "rewrite", CLIENT)
        session.documents.delete(gone.id)
