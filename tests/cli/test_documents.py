from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from loki_storage import open_storage
from loki_storage.cli import listing

Run = Callable[..., Result]
CLIENT = "quillfeather-wealth"


@pytest.fixture
def chain(url: str) -> list[int]:
    """The ids of a document's two versions; a third document is deleted."""
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        documents = session.documents
        first = documents.create_document(
            content="We promise 12%.\nCall us.",
            document_type="contract",
            client_id="acme",
            title="Offer",
            metadata={"page": 1},
            tags=["urgent", "q3"],
        )
        second = documents.create_version(first.id, "We expect 3%.\nCall us.")
        gone = documents.create_document(content="gone", document_type="nda", client_id="acme")
        documents.delete(gone.id)
    return [first.id, second.id, gone.id]


def test_list_shows_documents_newest_first(run: Run, read: Any, store: str) -> None:
    listed = read("documents list", store)
    assert listed["total"] == len(listed["documents"])
    created = [document["created_at"] for document in listed["documents"]]
    assert created == sorted(created, reverse=True)
    assert "Autumn Income Bond leaflet" in run("documents list", store).stdout


def test_list_counts_versions_and_takes_the_latest_risk(read: Any, store: str) -> None:
    for document in read("documents list", store)["documents"]:
        shown = read(f"documents show {document['id']}", store)
        assert document["versions"] == len(shown["versions"])
        assert document["validations"] == len(shown["validations"])
        latest = max(shown["validations"], key=lambda validation: validation["id"])
        assert document["risk"] == latest["overall_risk"]


def test_counts_do_not_depend_on_how_many_ids_are_asked_for_at_once(
    read: Any, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read("documents list", store)
    monkeypatch.setattr(listing, "CHUNK", 1)
    assert read("documents list", store) == before


def test_latest_risk_may_be_that_of_an_earlier_version(
    read: Any, url: str, chain: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(url.removeprefix("--url=")) as storage:
        for document_id, risk in ((chain[1], "low"), (chain[0], "high")):
            with storage.session() as session:
                validation = session.validations.create_validation(document_id, ["fca"], "acme")
                session.validations.start_validation(validation.id)
                session.validations.complete_validation(validation.id, risk)
    monkeypatch.setattr(listing, "CHUNK", 1)
    assert read("documents list", url)["documents"][0]["risk"] == "high"
    rows = read("documents list --versions all", url)["documents"]
    assert {row["version"]: row["risk"] for row in rows} == {2: "low", 1: "high"}


def test_list_filters_by_client_and_type(read: Any, store: str) -> None:
    found = read(f"documents list --client {CLIENT} --type email", store)["documents"]
    assert {(row["client_id"], row["document_type"]) for row in found} == {(CLIENT, "email")}
    assert read("documents list --client nobody", store)["documents"] == []


def test_list_of_all_versions_has_a_row_for_each(read: Any, store: str) -> None:
    rows = read("documents list --versions all --limit 500", store)["documents"]
    assert len(rows) == read("status", store)["tables"]["documents"]
    assert len({row["id"] for row in rows}) == len(rows)


def test_limit_says_how_many_there_are(run: Run, read: Any, store: str) -> None:
    total = read("documents list", store)["total"]
    assert len(read("documents list --limit 3", store)["documents"]) == 3
    assert f"3 of {total}; more with --limit" in run("documents list --limit 3", store).stdout


def test_deleted_documents_are_shown_on_request(read: Any, url: str, chain: list[int]) -> None:
    live = read("documents list", url)["documents"]
    deleted = read("documents list --deleted", url)["documents"]
    assert [row["id"] for row in live] == [chain[1]]
    assert [row["id"] for row in deleted] == [chain[2]]


def test_show_tells_everything_about_a_document(
    run: Run, read: Any, url: str, chain: list[int]
) -> None:
    shown = read(f"documents show {chain[1]}", url)
    assert shown["document"]["title"] == "Offer"
    assert shown["document"]["metadata_json"] == {"page": 1}
    assert "content" not in shown["document"]
    assert shown["tags"] == ["q3", "urgent"]
    assert [version["version"] for version in shown["versions"]] == [1, 2]
    text = run(f"documents show {chain[1]}", url).stdout
    assert "version 2, head" in text
    assert "q3, urgent" in text
    assert "promise" not in text


def test_any_version_stands_for_the_document(read: Any, url: str, chain: list[int]) -> None:
    shown = [read(f"documents show {id}", url) for id in chain[:2]]
    assert shown[0]["versions"] == shown[1]["versions"]
    assert [one["document"]["version"] for one in shown] == [1, 2]


def test_versions_shows_what_changed(run: Run, read: Any, url: str, chain: list[int]) -> None:
    lines = run(f"documents show {chain[1]} --versions", url).stdout.splitlines()
    text = "\n".join(line.rstrip() for line in lines)
    assert "version 1 to 2\n- We promise 12%.\n+ We expect 3%.\n  Call us." in text
    versions = read(f"documents show {chain[1]} --versions", url)["versions"]
    assert versions[0]["diff"] is None
    assert "-We promise 12%.\n+We expect 3%." in versions[1]["diff"]


def test_content_is_that_of_the_version(run: Run, read: Any, url: str, chain: list[int]) -> None:
    assert "We promise 12%.\nCall us.\n" in run(f"documents show {chain[0]} --content", url).stdout
    shown = read(f"documents show {chain[1]} --content", url)
    assert shown["document"]["content"] == "We expect 3%.\nCall us."


def test_unknown_document(run: Run, url: str, chain: list[int]) -> None:
    result = run("documents show 999", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: document 999 was not found; `loki-storage documents")


def test_document_of_another_tenant_does_not_exist(run: Run, url: str, chain: list[int]) -> None:
    assert run(f"documents show {chain[0]} --tenant other", url).stderr.startswith(
        f"error: document {chain[0]} was not found"
    )


def test_deleted_document_needs_the_option(run: Run, url: str, chain: list[int]) -> None:
    result = run(f"documents show {chain[2]}", url)
    assert result.exit_code == 2
    assert "show it with --deleted" in result.stderr
    assert "deleted" in run(f"documents show {chain[2]} --deleted", url).stdout


def test_nothing_matches_is_not_nothing_stored(run: Run, store: str) -> None:
    assert run("documents list --client nobody", store).stdout == "nothing matches\n"


def test_empty_store_says_what_to_do(run: Run, url: str) -> None:
    open_storage(url.removeprefix("--url=")).close()
    result = run("documents list", url)
    assert result.exit_code == 0
    assert result.stdout.startswith("nothing stored yet: run `loki-storage ingest FILE --url")


def test_absent_store_is_not_created_by_looking(run: Run, url: str, tmp_path: Any) -> None:
    result = run("documents list", url)
    assert result.exit_code == 2
    assert "there is no store at sqlite:///" in result.stderr
    assert list(tmp_path.iterdir()) == []
