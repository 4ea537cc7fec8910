"""Recording intercepts: what one batch holds, which document is reused, who joins whom (DUP-4)."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from loki_storage import (
    CorrectionStatus,
    DuplicateDocument,
    Intercept,
    InvalidValue,
    RecordedIntercept,
    Storage,
    open_storage,
)
from loki_storage.models import (
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Record,
    Validation,
    ValidationResult,
)
from loki_storage.query import Query
from loki_storage.samples import open_intercepts


def sample(*, corrected: bool) -> dict[str, Any]:
    """A sample line whose text was corrected, or was not."""
    with open_intercepts() as lines:
        read: list[dict[str, Any]] = list(map(json.loads, lines))
    changed = (line["corrections"]["corrected"] != line["document"] for line in read)
    return next(line for line, each in zip(read, changed, strict=True) if each is corrected)


def again(line: dict[str, Any], note: str) -> Intercept:
    """Another request about the same text."""
    report = {**line["report"], "note": note}
    return Intercept.from_line({**line, "report": report})


def record(store: Storage, tenant: str, intercept: Intercept) -> RecordedIntercept:
    return store.run(lambda session: session.record_intercept(intercept), tenant=tenant)


def count(store: Storage, tenant: str, kind: Any) -> int:
    return store.backend.count(Query(kind, tenant))


def test_new_text_is_a_document_with_its_corrected_version(store: Storage, tenant: str) -> None:
    line = sample(corrected=True)
    done = record(store, tenant, Intercept.from_line(line))
    assert not done.replayed
    assert not done.reused
    assert done.version is not None
    assert (done.document.version, done.version.version) == (1, 2)
    assert done.version.content == line["corrections"]["corrected"]
    with store.session(tenant=tenant) as session:
        head = session.documents.get_latest_version(done.document.id)
        assert head == done.version
        assert session.documents.get_by_id(done.document.id) == done.document
        applied = session.corrections.get_by_validation(done.validation.id)
        assert {each.status for each in applied} == {CorrectionStatus.APPLIED}
        [history] = session.corrections.get_history(applied[0].id)
        assert history.changes["version"] == done.version.id
        assert history.changes["previous"] == done.document.id


def test_each_aggregate_has_one_entry_and_the_intercepts_request(
    store: Storage, tenant: str
) -> None:
    line = {**sample(corrected=True), "request_id": "req-1"}
    record(store, tenant, Intercept.from_line(line))
    with store.session(tenant=tenant) as session:
        told = session.audit.get_by_request("req-1")
    assert sorted(entry.entity_type for entry in told) == ["correction", "document", "validation"]
    assert {entry.action for entry in told} == {"create"}


def test_head_with_this_text_is_reused(store: Storage, tenant: str) -> None:
    line = sample(corrected=False)
    first = record(store, tenant, Intercept.from_line(line))
    second = record(store, tenant, again(line, "later"))
    assert second.reused
    assert second.document.id == first.document.id
    assert count(store, tenant, Document) == 1
    assert count(store, tenant, Validation) == 2


def test_another_client_has_a_document_of_its_own(store: Storage, tenant: str) -> None:
    line = sample(corrected=False)
    first = record(store, tenant, Intercept.from_line({**line, "client_id": "one"}))
    second = record(store, tenant, Intercept.from_line({**line, "client_id": "two"}))
    assert first.document.id != second.document.id


def test_deleted_text_is_stored_anew(store: Storage, tenant: str) -> None:
    line = sample(corrected=False)
    first = record(store, tenant, Intercept.from_line(line))
    with store.session(tenant=tenant) as session:
        session.documents.delete(first.document.id)
    second = record(store, tenant, again(line, "later"))
    assert second.document.id != first.document.id


def test_who_loses_the_race_joins_the_document(store: Storage, tenant: str) -> None:
    line = sample(corrected=True)
    winner, loser = store.session(tenant=tenant), store.session(tenant=tenant)
    winner.record_intercept(again(line, "winner"))
    loser.record_intercept(again(line, "loser"))
    winner.commit()
    with pytest.raises(DuplicateDocument) as lost:
        loser.commit()
    assert lost.value.retryable
    assert record(store, tenant, again(line, "loser")).reused
    assert count(store, tenant, Chain) == 1


def test_many_at_once_make_one_document(store: Storage, tenant: str) -> None:
    line, start, errors = sample(corrected=True), Barrier(4), list[BaseException]()

    def work(number: int) -> None:
        start.wait()
        try:
            record(store, tenant, again(line, f"writer {number}"))
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert count(store, tenant, Chain) == 1
    assert count(store, tenant, Validation) == 4


def test_several_are_one_commit(store: Storage, tenant: str) -> None:
    line = sample(corrected=False)
    intercepts = [Intercept.from_line({**line, "client_id": f"client {n}"}) for n in range(3)]
    with store.session(tenant=tenant) as session:
        session.record_intercepts(intercepts)
        assert count(store, tenant, AuditEntry) == 0
    assert count(store, tenant, Validation) == 3


def test_validation_of_another_kind_has_no_report(store: Storage, tenant: str) -> None:
    with store.session(tenant=tenant) as session:
        document = session.documents.create_document("one", "email", "client")
        validation = session.validations.create_validation(document.id, [], "client")
    with store.session(tenant=tenant) as session:
        stored = session.get_intercept(validation.id)
        assert stored is not None
        with pytest.raises(InvalidValue):
            stored.to_report()


def test_new_intercept_is_two_reads_and_a_statement_per_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second one: the first also leases ids, and stores findings."""
    line = sample(corrected=True)
    with open_storage(f"sqlite:///{tmp_path / 'x.db'}") as storage:
        for client in ("one", "two"):
            record(storage, "default", Intercept.from_line({**line, "client_id": client}))
        caplog.set_level(logging.DEBUG, "sqlalchemy.engine")
        record(storage, "default", Intercept.from_line({**line, "client_id": "three"}))
    told = [r.getMessage().split() for r in caplog.records if r.name.startswith("sqlalchemy.eng")]
    verbs = [words[0] for words in told if words]
    tables = [words[2] for words in told if words and words[0] == "INSERT"]
    assert verbs.count("SELECT") == 2
    assert verbs.count("COMMIT") == 1 + tables.count("id_leases")
    written = [table for table in tables if table != "id_leases"]
    assert sorted(written) == sorted(set(written))


def test_no_record_is_made_of_what_comes_by_the_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the line to the commit, results, corrections and histories stay columns."""
    line = sample(corrected=True)
    made: list[Kind] = []
    line["corrections"]["corrections_applied"] *= 5
    with open_storage(f"sqlite:///{tmp_path}/loki.db") as store:
        for kind in (ValidationResult, Correction, CorrectionHistory):
            trusted = counted(kind.trusted, made)
            monkeypatch.setattr(kind, "trusted", staticmethod(trusted))
        record(store, "default", Intercept.from_line(line))
        assert made == [Correction], "the first, for what all of them say"
        assert count(store, "default", ValidationResult) == 32


def counted(make: Callable[..., Record], made: list[Kind]) -> Callable[..., Record]:
    def counting(*values: Any) -> Record:
        record = make(*values)
        made.append(type(record))
        return record

    return counting
