from collections.abc import Callable
from typing import Any

from click.testing import Result

from loki_storage import open_storage

Run = Callable[..., Result]


def test_status_tells_where_and_what(run: Run, read: Any, store: str) -> None:
    told = read("status", store)
    assert told["backend"] == "sqlite"
    assert told["url"] == store.removeprefix("--url=")
    assert told["schema_revision"]
    assert told["file_bytes"] > 100_000
    assert told["tables"]["validations"] == sum(told["risk_breakdown"].values())
    assert told["documents"]["versions"] == told["tables"]["documents"]
    text = run("status", store).stdout
    for word in ("validation_results", "critical", told["top_gate_failures"][0]["gate_key"]):
        assert word in text


def test_tables_are_those_of_the_specification(read: Any, store: str) -> None:
    assert list(read("status", store)["tables"]) == [
        "documents",
        "tags",
        "document_tags",
        "validations",
        "validation_results",
        "corrections",
        "correction_history",
        "audit_trail",
        "data_retention_policies",
        "export_logs",
        "legal_holds",
    ]


def test_tables_count_all_tenants_and_the_rest_the_tenant(read: Any, url: str) -> None:
    with open_storage(url.removeprefix("--url=")) as storage:
        for tenant in ("one", "two"):
            with storage.session(tenant=tenant) as session:
                session.documents.create_document("text", "nda", "acme")
    told = read("status --tenant one", url)
    assert told["tables"]["documents"] == 2
    assert told["documents"]["documents"] == 1


def test_empty_store_says_what_to_do(run: Run, url: str) -> None:
    open_storage(url.removeprefix("--url=")).close()
    result = run("status", url)
    assert result.exit_code == 0
    assert "nothing stored yet: run `loki-storage ingest FILE" in result.stdout


def test_memory_has_neither_file_nor_revision(read: Any) -> None:
    told = read("status --url memory://")
    assert (told["backend"], told["file_bytes"], told["schema_revision"]) == ("memory", None, None)
