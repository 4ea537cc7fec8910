"""Stores to back up: small, with something of every kind, in several tenants."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loki_storage import Storage, open_storage
from loki_storage.models import KINDS, AuditEntry, LegalHold, Record, RetentionState
from loki_storage.query import Query
from loki_storage_contract.records import sample
from tests.stores import CLOCK

BACKENDS = ["memory", "sqlite"]
HOSTILE = ["", "a\r\nb", "\U0001f600 ' \" \\ %", "\ufeff", "x" * 70_000]


def fill(storage: Storage, *tenants: str) -> None:
    """Documents with versions, deleted ones, validations, corrections, tags, exports, holds."""
    for tenant in tenants or ("default",):
        with storage.session(tenant=tenant, actor="alice") as session:
            made = [
                session.documents.create_document(
                    text,
                    "email",
                    "c",
                    title=f"{number}",
                    tags=["tag"],
                    metadata={"n": [1.0, 10**30]},
                    on_duplicate="allow",
                )
                for number, text in enumerate(HOSTILE)
            ]
            for each in made:
                session.documents.create_version(each.id, f"{each.content} again")
            session.documents.delete(made[-1].id)
            gone = session.documents.create_document("purged", "email", "c")
            session.documents.delete(gone.id)
            first = session.documents.get_all(order_by="id", ascending=True)[0]
            validation = session.validations.create_validation(first.id, ["m"], "c")
            session.validations.start_validation(validation.id)
            session.validations.add_result(
                validation.id, "module", "m.g", "fail", severity="high", confidence_score=0.1
            )
            session.validations.complete_validation(validation.id)
            session.corrections.create_correction(first.id, "rewrite", "c", reasoning="r")
            session.exports.start("csv", "document", "alice")
        with storage.session(tenant=tenant) as session:
            session.documents.purge([gone.id])
        if not storage.backend.exists(Query(RetentionState, tenant)):
            ids = storage.backend.reserve({RetentionState: 1})[RetentionState]
            put(storage, sample(RetentionState, ids.start, tenant))


def hold(storage: Storage, tenant: str = "default") -> None:
    """A legal hold that nobody has released."""
    ids = storage.backend.reserve({LegalHold: 1})[LegalHold]
    put(storage, sample(LegalHold, ids.start, tenant, name="case 7"))


def put(storage: Storage, record: Record) -> None:
    from loki_storage import Batch, Insert

    storage.backend.apply(Batch(record.tenant_id, [Insert(record)]))


@contextmanager
def store(backend: str, folder: Path, name: str = "loki") -> Iterator[Storage]:
    """A new store."""
    url = "memory://" if backend == "memory" else f"sqlite:///{folder / name}.db"
    options: dict[str, Any] = {} if backend == "memory" else {"synchronous": "NORMAL"}
    with open_storage(url, clock=CLOCK, **options) as storage:
        yield storage


def rows(storage: Storage) -> list[Record]:
    return list(storage.dump())


def without(records: list[Record], *actions: str) -> list[Record]:
    """The records but for the trail's entries of these actions."""
    return [r for r in records if not (isinstance(r, AuditEntry) and r.action in actions)]


def kinds_of(storage: Storage) -> set[str]:
    return {k.table for k in KINDS.values() if storage.backend.exists(Query(k, None))}
