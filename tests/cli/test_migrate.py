from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from loki_storage import open_storage
from loki_storage_sql.migrations import EXPECTED_REVISION

Run = Callable[..., Result]


def test_absent_store_is_created_and_taken_back(run: Run, read: Any, url: str) -> None:
    assert read("migrate status", url)["revision"] is None
    assert read("migrate up", url) == {"before": None, "revision": EXPECTED_REVISION}
    assert read("migrate status", url)["up_to_date"] is True
    assert read("migrate check", url) == {"differences": []}
    open_storage(url.removeprefix("--url="), create=False).close()
    assert run("migrate down base", url).exit_code == 0
    assert read("migrate status", url)["revision"] is None


def test_upgrade_is_in_the_trail(run: Run, read: Any, url: str) -> None:
    run("migrate up 0001", url)
    assert read("migrate up", url, "--actor=alice")["before"] == "0001"
    run("migrate up", url)
    with open_storage(url.removeprefix("--url=")) as storage, storage.session() as session:
        (entry,) = session.audit.get_all()
    assert (entry.action, entry.entity_type, entry.actor_id) == ("migrate", "store", "alice")
    assert entry.metadata_json == {"from": "0001", "to": EXPECTED_REVISION}


def test_words_for_people(run: Run, url: str) -> None:
    assert "loki-storage migrate up" in run("migrate status", url).stdout
    assert run("migrate up", url).stdout == f"from revision base to {EXPECTED_REVISION}\n"
    assert run("migrate up", url).stdout == f"already at revision {EXPECTED_REVISION}\n"
    assert run("migrate check", url).stdout == "the tables are as expected\n"


def test_opening_an_outdated_store_names_the_command(run: Run, url: str) -> None:
    run("migrate up", url)
    run("migrate down base", url)
    result = run("migrate check", url)
    assert result.exit_code == 2
    assert "loki-storage migrate up" in result.stderr


def test_sql_is_a_script_that_needs_no_store(run: Run, read: Any, url: str, tmp_path: Any) -> None:
    script = run("migrate sql", url).stdout
    assert "CREATE TABLE documents" in script
    assert read("migrate sql", url)["sql"] == script
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["up", "down base", "status", "check", "sql"])
def test_backend_without_schema_says_so(run: Run, words: str) -> None:
    result = run(f"migrate {words} --url memory://")
    assert result.exit_code == 2
    assert "the memory backend has no schema revisions" in result.stderr


def test_down_without_a_store(run: Run, url: str, tmp_path: Any) -> None:
    result = run("migrate down base", url)
    assert result.exit_code == 2
    assert "there is no store at" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["up nonsense", "down nonsense"])
def test_unknown_revision(run: Run, url: str, words: str) -> None:
    run("migrate up", url)
    result = run(f"migrate {words}", url)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_file_that_is_no_database(run: Run, tmp_path: Any) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    result = run("migrate up", f"--url=sqlite:///{path}")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
