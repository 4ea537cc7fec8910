"""Histories of documents: any calls, carried out through a session, watched before and after.

A law about documents is a statement about the moments of a history: what was there, what was
called, what came of it, what is there now. Which id a call gets is told by ``pick``: one of those
that there have ever been, so that every history stays a history when it is shrunk.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs
from hypothesis import strategies as st

from loki_storage.errors import StorageError
from loki_storage.models import AuditEntry, Chain, Document, Record
from loki_storage.query import Query
from loki_storage.storage import Session
from loki_storage_contract.store import Store

__all__ = [
    "CLIENT",
    "TENANT",
    "Call",
    "Moment",
    "calls",
    "chains_of",
    "histories",
    "play",
    "session_of",
]

TENANT, CLIENT = "t1", "c1"
Rows = Mapping[int, Document]
WAYS = ("raise", "return", "allow")


@attrs.frozen
class Call:
    """One call: an operation, which of the known ids it gets, and a text where it takes one."""

    operation: str
    pick: int = 0
    text: str = ""


OPERATIONS = [
    *["create_document"] * 2,
    *["create_version"] * 3,
    *["update", "delete", "delete_version", "restore", "restore_version", "revert_to"] * 2,
    *["commit", "rollback", "advance", "go_back"],
]
calls = st.builds(
    Call, st.sampled_from(OPERATIONS), st.integers(0, 5), st.sampled_from(["a", "b", ""])
)
histories = st.lists(calls, min_size=1, max_size=12)


@attrs.frozen
class Moment:
    """One call of a history. Rows are what the session sees, live or deleted, by id."""

    session: Session
    call: Call
    id: int
    """The id that the call got."""
    now: datetime
    before: Rows
    after: Rows
    chains_before: Mapping[int, Chain]
    chains: Mapping[int, Chain]
    told: int
    """How many audit entries the call added to what the session sees."""
    result: Any
    error: StorageError | None

    @property
    def root(self) -> int:
        """The chain that the id belongs to; 0 where it is unknown."""
        row = self.before.get(self.id)
        return row.root_id if row else 0

    def members(self, rows: Rows) -> list[Document]:
        """The chain's rows, by number."""
        return chains_of(rows).get(self.root, [])

    @property
    def head(self) -> Document | None:
        """The head before the call."""
        return next((row for row in self.members(self.before) if row.is_latest), None)

    @property
    def changed(self) -> bool:
        """Whether any row is another one now."""
        return self.before != self.after


def chains_of(rows: Rows) -> dict[int, list[Document]]:
    """The rows of each chain, by number."""
    chains = defaultdict(list)
    for row in sorted(rows.values(), key=lambda row: row.version):
        chains[row.root_id].append(row)
    return chains


def session_of(store: Store) -> Session:
    """A session as histories use it."""
    return store.storage().session(actor="alice", tenant=TENANT)


def play(store: Store, history: Iterable[Call]) -> Iterator[Moment]:
    """Carry out a history, on a document that has three versions already."""
    session = session_of(store)
    known = _begin(session)
    before = _seen(session)
    for call in history:
        id = known[-1 - call.pick % len(known)]
        store.say(f"{call.operation}, id {id}, text {call.text!r}")
        result, error = _carry_out(store, session, call, id)
        after = _seen(session)
        moment = Moment(
            session=session,
            call=call,
            id=id,
            now=store.clock.now,
            before=before[0],
            after=after[0],
            chains_before=before[1],
            chains=after[1],
            told=after[2] - before[2],
            result=result,
            error=error,
        )
        yield moment
        known += [new for new in after[0] if new not in known]
        before = after


def _begin(session: Session) -> list[int]:
    document = session.documents.create_document("one", "email", CLIENT, title="title")
    known = [document.id]
    for text in ("two", "three"):
        known.append(session.documents.create_version(known[-1], text).id)
    session.commit()
    return known


def _seen(session: Session) -> tuple[dict[int, Document], dict[int, Chain], int]:
    def all_of(kind: type[Record]) -> dict[int, Any]:
        return {record.id: record for record in session.select(Query(kind, session.tenant))}

    return all_of(Document), all_of(Chain), len(all_of(AuditEntry))


def _carry_out(
    store: Store, session: Session, call: Call, id: int
) -> tuple[Any, StorageError | None]:
    documents, name = session.documents, call.operation
    try:
        match name:
            case "create_document":
                way: Any = WAYS[call.pick % len(WAYS)]
                return documents.create_document(call.text, "email", CLIENT, on_duplicate=way), None
            case "create_version":
                return documents.create_version(id, call.text, user_id="bob"), None
            case "update":
                return documents.update(id, title=call.text, metadata={"a": call.pick}), None
            case "advance" | "go_back":
                seconds = 1 if name == "advance" else -1
                return store.clock.advance(seconds=seconds), None
            case "commit" | "rollback":
                return getattr(session, name)(), None
        return getattr(documents, name)(id), None
    except StorageError as error:
        return None, error
