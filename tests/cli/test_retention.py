"""``retention`` and ``maintenance``: from a policy to a certificate, in tables and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from loki_storage import open_storage
from loki_storage.models import AuditEntry, Document
from loki_storage.query import Query, equals
from tests.cli.conftest import Run


@pytest.fixture
def old(run: Run, url: str) -> str:
    """A store with two documents from long ago, of tenants ``default`` and ``acme``."""
    with open_storage(url.removeprefix("--url="), clock=_long_ago) as storage:
        for tenant in ("default", "acme"):
            with storage.session(tenant=tenant) as session:
                session.documents.create_document("old text", "email", "client")
    return url


def _long_ago() -> Any:
    from datetime import UTC, datetime

    return datetime(2020, 1, 1, tzinfo=UTC)


def add(run: Run, old: str, *more: str) -> None:
    for tenant in ("default", "acme"):
        done = run("retention policies add old --days 30", old, "--tenant", tenant, *more)
        assert done.exit_code == 0, done.stderr


def documents(old: str) -> int:
    with open_storage(old.removeprefix("--url=")) as storage:
        return storage.backend.count(Query(Document, None))


def test_preview_approve_run_verify(run: Run, read: Any, old: str, tmp_path: Path) -> None:
    add(run, old)
    plan = tmp_path / "plan.jsonl"
    shown = read("retention preview", old, "-o", plan)
    assert [(row["tenant"], row["action"]) for row in shown["fates"]] == [
        ("acme", "delete"),
        ("default", "delete"),
    ]
    assert documents(old) == 2
    done = read(
        "retention run", old, "--plan", plan, "--certificates", tmp_path, "--actor", "officer"
    )
    assert (done["affected"], documents(old)) == (2, 0)
    run_id = done["tenants"][0]["run"]
    file = tmp_path / f"disposal-run-{run_id}.json"
    facts = read("retention certificate verify", file)["certificate"]
    assert (facts["actor"], facts["tenant"]) == ("officer", "acme")
    again = tmp_path / "again.json"
    assert run("retention certificate show", run_id, old, "-o", again).exit_code == 0
    assert again.read_bytes() == file.read_bytes()
    file.write_text(file.read_text().replace("officer", "nobody"))
    altered = run("retention certificate verify", file)
    assert altered.exit_code == 2
    assert "altered" in altered.stderr


def test_altered_plan_is_refused(run: Run, old: str, tmp_path: Path) -> None:
    add(run, old)
    plan = tmp_path / "plan.jsonl"
    run("retention preview", old, "-o", plan)
    plan.write_text(plan.read_text().replace('"delete"', '"anonymize"'))
    refused = run("retention run", old, "--plan", plan)
    assert refused.exit_code == 2
    assert documents(old) == 2


def test_documents_are_archived_listed_and_brought_back(
    run: Run, read: Any, old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("retention archived", old).stdout == "no document is archived\n"
    add(run, old, "--action", "archive")
    (fate, _) = read("retention preview", old)["fates"]
    assert fate["reason"] == "archive is not supported"
    monkeypatch.setenv("LOKI_STORAGE_ARCHIVE", str(tmp_path / "archive"))
    assert read("retention run", old)["affected"] == 2
    assert documents(old) == 0
    (stub,) = read("retention archived --tenant acme", old)["archived"]
    assert (stub["policy"], stub["client_id"]) == ("old", "client")
    assert "email" in run("retention archived --tenant acme", old).stdout
    kept = run("backup create nightly", old, f"--dir={tmp_path / 'backups'}").stdout
    assert "2 documents: their bundles are in the archive only" in kept
    wrong = run("retention unarchive", stub["id"], old)
    assert wrong.exit_code == 2
    back = read("retention unarchive --tenant acme --actor officer", stub["id"], old)
    assert back == {"unarchived": [stub["id"]]}
    assert "none was archived" in run("retention unarchive --tenant acme", stub["id"], old).stdout
    assert documents(old) == 1
    with open_storage(old.removeprefix("--url=")) as storage:
        query = Query(AuditEntry, "acme", equals(action="unarchive"))
        assert [entry.actor_id for entry in storage.backend.select(query)] == ["officer"]


def test_one_tenant_alone(run: Run, read: Any, old: str) -> None:
    add(run, old)
    assert read("retention run", old, "--tenant", "acme")["affected"] == 1
    assert documents(old) == 1


def test_holds_by_id_and_query(run: Run, read: Any, old: str, tmp_path: Path) -> None:
    add(run, old)
    query = tmp_path / "query.json"
    asked = Query(Document, "acme", equals(client_id="client"))
    query.write_text(json.dumps(asked.to_json()))
    by_id = run("retention holds place one --reason court --id 1", old, "--actor", "counsel")
    assert by_id.exit_code == 0, by_id.stderr
    by_query = run(
        "retention holds place two --reason court", old, "--query", query, "--tenant", "acme"
    )
    assert by_query.exit_code == 0, by_query.stderr
    assert read("retention run", old)["skipped"] == 2
    (hold,) = read("retention holds covering 1", old)["holds"]
    assert (hold["name"], hold["placed_by"]) == ("one", "counsel")
    run("retention holds release one", old)
    assert read("retention holds list", old)["holds"] == []
    assert len(read("retention holds list --released", old)["holds"]) == 1
    with open_storage(old.removeprefix("--url=")) as storage:
        entries = list(storage.backend.select(Query(AuditEntry, None, equals(action="hold"))))
    assert [entry.actor_id for entry in entries] == ["counsel", "system"]


def test_policies_are_switched_and_packs_come_switched_off(run: Run, read: Any, old: str) -> None:
    installed = read("retention policies install uk-sysc-10a uk-cobs-9a", old)["policies"]
    assert [(row["is_active"], row["verified"]) for row in installed] == [(False, False)] * 2
    assert all(row["citation"] and row["text_date"] for row in installed)
    assert read("retention policies install uk-cobs-9a", old)["policies"] == []
    name = installed[0]["name"]
    assert run("retention policies activate", name, old).exit_code == 0
    listed = {
        row["name"]: row["is_active"] for row in read("retention policies list", old)["policies"]
    }
    assert listed[name] is True
    assert run("retention policies deactivate", name, old).exit_code == 0
    unknown = run("retention policies activate", "no such", old)
    assert unknown.exit_code == 2
    whole = read("retention policies packs")["policies"]
    assert {row["id"] for row in whole} >= {"uk-mlr-40-keep", "uk-mlr-40-delete"}
    assert len(read("retention policies install", old)["policies"]) == len(whole) - 2


def test_maintenance_does_what_is_due(run: Run, read: Any, old: str, tmp_path: Path) -> None:
    add(run, old)
    chores = read("maintenance run", old, "--export-dir", tmp_path)["chores"]
    assert {chore["name"]: chore["error"] for chore in chores} == {
        "retention": None,
        "exports": None,
        "files": None,
    }
    assert documents(old) == 0
    assert read("maintenance run", old, "--export-dir", tmp_path)["chores"][0]["affected"] == 0


@pytest.mark.parametrize(
    "words",
    ["retention policies list", "retention holds list", "retention preview", "retention run"],
)
def test_tables_say_something(run: Run, old: str, words: str) -> None:
    assert run(words, old).stdout.strip()
    add(run, old)
    run("retention holds place one --reason court --id 1", old)
    shown = run(words, old)
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.strip()
