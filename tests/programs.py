"""Random programs of session operations, and what the laws say of any store that they leave.

A step is an operation's name and two numbers, which choose among what is there (and now and then
something unknown), so that a program means something in every state of a store.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from loki_storage import Query, Session
from loki_storage.enums import CorrectionStatus, GateStatus, RiskLevel, ValidationStatus
from loki_storage.errors import StorageError
from loki_storage.models import (
    KINDS,
    AuditEntry,
    Chain,
    Correction,
    CorrectionHistory,
    Document,
    Kind,
    Record,
    Tag,
    Validation,
    ValidationResult,
)
from loki_storage.values import JsonText, parse

Step = tuple[str, int, int]

TEXTS = ["", "a", "A", "ß", "a%", "one two"]
CLIENTS = ["a", "A"]
TAGS = ["a", "A", "%"]
UNKNOWN = 10**12
LONG = "a" * 101
"""No name of a tag or an actor."""


def perform(session: Session, step: Step) -> StorageError | None:
    """Run a step; the error that it ended with, if any. Other exceptions are defects."""
    name, a, b = step
    try:
        OPERATIONS[name](session, a, b)
    except StorageError as error:
        return error
    return None


def program(max_size: int = 12) -> st.SearchStrategy[list[Step]]:
    """Any steps."""
    numbers = st.integers(0, 9)
    return st.lists(st.tuples(st.sampled_from(NAMES), numbers, numbers), max_size=max_size)


PRELUDE: list[Step] = [
    ("create_document", 1, 0),
    ("create_document", 1, 2),
    ("validate", 0, 0),
    ("start", 0, 0),
    ("add_results", 0, 2),
    ("validate", 1, 5),
    ("correct", 0, 1),
    ("correct", 0, 4),
    ("correct", 1, 2),
]
"""Something of everything, so that random steps meet more than unknown ids."""


def view(source: Any, tenant: str, kinds: Iterable[Kind] = tuple(KINDS.values())) -> list[Record]:
    """Everything of a tenant, as a session or a backend sees it."""
    return [row for kind in kinds for row in source.select(Query(kind, tenant))]


def entries(records: Iterable[Record]) -> set[AuditEntry]:
    return {record for record in records if isinstance(record, AuditEntry)}


# Operations


def _pick(session: Session, kind: Kind, number: int) -> int:
    ids = [row.id for row in session.select(session.query(kind))]
    return ids[number % len(ids)] if ids and number != 9 else UNKNOWN


def _text(number: int) -> str:
    return TEXTS[number % len(TEXTS)]


def _create_document(session: Session, a: int, b: int) -> None:
    session.documents.create_document(
        _text(a),
        "email",
        CLIENTS[b % 2],
        title=_text(b) or None,
        metadata={"a": b} if a % 2 else None,
        tags=TAGS[: b % 3],
        on_duplicate=("raise", "return", "allow")[b % 3],
    )


def _append(session: Session, a: int, b: int) -> None:
    head = session.documents.get_latest_version(_pick(session, Document, a))
    session.documents.create_version(UNKNOWN if head is None else head.id, _text(b))


def _on_document(
    call: Callable[[Session, int, int], object],
) -> Callable[[Session, int, int], None]:
    def operation(session: Session, a: int, b: int) -> None:
        call(session, _pick(session, Document, a), b)

    return operation


def _on_validation(
    call: Callable[[Session, int, int], object],
) -> Callable[[Session, int, int], None]:
    def operation(session: Session, a: int, b: int) -> None:
        call(session, _pick(session, Validation, a), b)

    return operation


def _on_correction(
    call: Callable[[Session, int, int], object],
) -> Callable[[Session, int, int], None]:
    def operation(session: Session, a: int, b: int) -> None:
        call(session, _pick(session, Correction, a), b)

    return operation


def _validate(session: Session, a: int, b: int) -> None:
    document = session.documents.get_by_id(_pick(session, Document, a), include_deleted=True)
    client = "a" if document is None else document.client_id
    request = None if b < 5 else f"request {b}"
    id = UNKNOWN if document is None else document.id
    session.validations.create_validation(id, ["gdpr"], client, request_hash=request)


def _add_results(session: Session, id: int, b: int) -> None:
    statuses, severities = list(GateStatus), [None, *RiskLevel]
    results = [
        {
            "scope": "module",
            "gate_key": f"gdpr.{n}",
            "status": statuses[(b + n) % 5],
            "severity": severities[(2 * b + n) % 6],
        }
        for n in range(b % 4)
    ]
    session.validations.add_results(id, results)


def _correct(session: Session, a: int, b: int) -> None:
    document = session.documents.get_by_id(_pick(session, Document, a), include_deleted=True)
    client = "a" if document is None else document.client_id
    session.corrections.create_correction(
        UNKNOWN if document is None else document.id,
        "rewrite",
        client,
        validation_id=None if b < 5 else _pick(session, Validation, b),
        original_content=document.content if document is not None and b % 2 else None,
        corrected_content=_text(b) if b % 3 else None,
        metadata={"b": b},
    )


def _apply_group(session: Session, a: int, b: int) -> None:
    pair = [_pick(session, Correction, a), _pick(session, Correction, a + 1)]
    session.corrections.apply_corrections(pair, None if b % 2 else _text(b))


def _retag(session: Session, a: int, b: int) -> None:
    changes = {"name": TAGS[b % 3]} if b % 2 else {"description": _text(b)}
    session.tags.update(_pick(session, Tag, a), **changes)


OPERATIONS: Mapping[str, Callable[[Session, int, int], object]] = {
    "create_document": _create_document,
    "append": _append,
    "create_version": _on_document(lambda s, id, b: s.documents.create_version(id, _text(b))),
    "update": _on_document(lambda s, id, b: s.documents.update(id, title=_text(b), metadata=[b])),
    "revert_to": _on_document(lambda s, id, b: s.documents.revert_to(id)),
    "delete": _on_document(lambda s, id, b: s.documents.delete(id, _text(b))),
    "delete_version": _on_document(lambda s, id, b: s.documents.delete_version(id)),
    "restore": _on_document(lambda s, id, b: s.documents.restore(id)),
    "restore_version": _on_document(lambda s, id, b: s.documents.restore_version(id)),
    "add_tag": _on_document(lambda s, id, b: s.documents.add_tag(id, TAGS[b % 3])),
    "remove_tag": _on_document(lambda s, id, b: s.documents.remove_tag(id, TAGS[b % 3])),
    "create_tag": lambda s, a, b: s.tags.create(TAGS[b % 3], category=_text(a)),
    "update_tag": _retag,
    "delete_tag": lambda s, a, b: s.tags.delete(_pick(s, Tag, a)),
    "validate": _validate,
    "start": _on_validation(lambda s, id, b: s.validations.start_validation(id)),
    "add_results": _on_validation(_add_results),
    "complete": _on_validation(
        lambda s, id, b: s.validations.complete_validation(id, [None, *RiskLevel][b % 6])
    ),
    "fail": _on_validation(lambda s, id, b: s.validations.fail_validation(id, "a", "b")),
    "cancel": _on_validation(lambda s, id, b: s.validations.cancel_validation(id)),
    "correct": _correct,
    "update_correction": _on_correction(
        lambda s, id, b: s.corrections.update(id, reasoning=_text(b), metadata=[b])
    ),
    "review": _on_correction(lambda s, id, b: s.corrections.review_correction(id, notes=_text(b))),
    "apply": _on_correction(lambda s, id, b: s.corrections.apply_correction(id, notes=_text(b))),
    "apply_group": _apply_group,
    "reject": _on_correction(lambda s, id, b: s.corrections.reject_correction(id)),
    "revert": _on_correction(lambda s, id, b: s.corrections.revert_correction(id, "bob", "a")),
    # Each of these would have done something before it fails.
    "create_badly": lambda s, a, b: s.documents.create_document(
        f"{a}{b}", "email", "a", tags=["new", LONG]
    ),
    "apply_badly": _on_correction(lambda s, id, b: s.corrections.apply_correction(id, LONG)),
    "revert_badly": _on_correction(lambda s, id, b: s.corrections.revert_correction(id, LONG)),
    "log": lambda s, a, b: s.audit.log("seen", "document", a + 1, metadata={"b": b}),
}
# What later steps stand on comes more often than the rest.
NAMES = [*OPERATIONS, "create_document", "create_document", "validate", "start", "correct", "apply"]


# What must hold in every store


def check_laws(found: Iterable[Record]) -> None:
    """Fail where a store breaks a law that can be read off its rows."""
    tables: dict[Kind, list[Any]] = defaultdict(list)
    for record in found:
        tables[type(record)].append(record)
    documents = {document.id: document for document in tables[Document]}
    _check_chains(tables[Chain], tables[Document])
    for validation in tables[Validation]:
        own = [row for row in tables[ValidationResult] if row.validation_id == validation.id]
        _check_validation(validation, own, documents[validation.document_id])
    for correction in tables[Correction]:
        own = [row for row in tables[CorrectionHistory] if row.correction_id == correction.id]
        _check_correction(correction, own)


def _check_chains(chains: list[Chain], documents: list[Document]) -> None:
    versions = defaultdict(list)
    for document in documents:
        versions[document.root_id].append(document)
    assert {chain.id for chain in chains} == set(versions)
    for chain in chains:
        members = sorted(versions[chain.id], key=lambda member: member.version)
        assert [member.version for member in members] == list(range(1, len(members) + 1)), "VER-1"
        parents = [None, *(member.id for member in members[:-1])]
        assert [member.parent_id for member in members] == parents, "VER-2"
        assert members[0].id == chain.id, "VER-2"
        live = [member for member in members if not member.is_deleted]
        assert [member for member in members if member.is_latest] == live[-1:], "VER-3"
        assert chain.live == bool(live)
        assert all(member.is_deleted == (member.deleted_at is not None) for member in members)
        times = [member.created_at for member in members]
        assert times == sorted(times), "VER-8"
        for member in members:
            assert member.content_hash == sha256(member.content.encode()).hexdigest(), "DOC-1"
            assert member.client_id == chain.client_id


def _check_validation(
    validation: Validation, results: list[ValidationResult], document: Document
) -> None:
    assert validation.client_id == document.client_id, "VLD-4"
    statuses = Counter(result.status for result in results)
    found = [row for row in results if row.status in (GateStatus.FAIL, GateStatus.WARNING)]
    severities = Counter(result.severity for result in found)
    counted = {name: getattr(validation, f"{name}_count") for name in ("pass", "fail", "warning")}
    assert counted == {name: statuses[GateStatus(name)] for name in counted}, "VLD-2"
    risks = {name: getattr(validation, f"{name}_count") for name in list(RiskLevel)[:4]}
    assert risks == {name: severities[name] for name in risks}, "VLD-2"
    assert all(result.client_id == validation.client_id for result in results)
    ended = validation.status not in (ValidationStatus.PENDING, ValidationStatus.IN_PROGRESS)
    assert ended == (validation.completed_at is not None)
    assert (validation.status is ValidationStatus.COMPLETED) == (
        validation.overall_risk is not None
    ), "VLD-3"
    if validation.started_at is None:
        assert not results
        assert validation.duration_ms is None


_STATUS_AFTER = {
    "created": CorrectionStatus.PENDING,
    "updated": CorrectionStatus.PENDING,
    "applied": CorrectionStatus.APPLIED,
    "rejected": CorrectionStatus.REJECTED,
    "reverted": CorrectionStatus.REVERTED,
}
_BEFORE = {"pending": None, "applied": "pending", "rejected": "pending", "reverted": "applied"}


def _check_correction(correction: Correction, history: list[CorrectionHistory]) -> None:
    """Each step begins where the one before ended, and the last one is where it stands (COR-1)."""
    steps = sorted(history, key=lambda row: row.id)
    previous: str | None = None
    for step in steps:
        assert step.previous_status == previous, "COR-1"
        assert step.new_status == _STATUS_AFTER[step.change_type], "COR-1"
        if step.change_type not in ("created", "updated"):
            assert previous == _BEFORE[step.new_status], "COR-1"
        previous = step.new_status
    assert previous == correction.status, "COR-1"
    assert (correction.applied_at is not None) == ("applied" in {s.change_type for s in steps})


# What the audit tells (AUD-2)

HASHED = {
    "content",
    "original_content",
    "corrected_content",
    "diff",
    "evidence",
    "error_traceback",
}
Fields = dict[str, object]


def told(record: Record) -> Fields:
    """A row's fields as the audit tells them."""
    return {field: _told(field, record.stored(field)) for field in record.domains}


def _told(field: str, value: Any) -> object:
    if value is None:
        return None
    if field in HASHED:
        return f"sha256:{sha256(value.encode()).hexdigest()}"
    if isinstance(value, JsonText):
        return parse(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def check_explained(
    before: Iterable[Record], after: Iterable[Record], entries: Iterable[AuditEntry]
) -> None:
    """The entries, composed in id order, turn one state into the other (AUD-2)."""
    state = _audited(before)
    inserted: set[tuple[str, int]] = set()
    for entry in sorted(entries, key=lambda entry: entry.id):
        changes = entry.changes or {"rows": [], "fields": []}
        _compose(state, inserted, changes)
    wanted = _audited(after)
    assert state.keys() == wanted.keys(), "AUD-2"
    for key, fields in state.items():
        assert fields.items() <= wanted[key].items() if key in inserted else fields == wanted[key]


def _audited(records: Iterable[Record]) -> dict[tuple[str, int], Fields]:
    return {
        (row.table, row.id): told(row)
        for row in records
        if not row.internal and not isinstance(row, AuditEntry)
    }


def _compose(
    state: dict[tuple[str, int], Fields], inserted: set[tuple[str, int]], changes: Any
) -> None:
    fields = {(field["kind"], field["id"]): field for field in changes["fields"]}
    updated = set()
    for row in changes["rows"]:
        if row["kind"] == AuditEntry.table:
            continue
        keys = [(row["kind"], id) for first, last in row["ids"] for id in range(first, last + 1)]
        for key in keys:
            if row["op"] == "insert":
                assert key not in state
                state[key] = {}
                inserted.add(key)
            elif row["op"] == "delete":
                del state[key]
            else:
                updated.add(key)
                _change(state[key], fields[key])
    assert updated == fields.keys()


def _change(row: Fields, change: Mapping[str, Any]) -> None:
    before, after = change["before"], change["after"]
    assert before.keys() == after.keys()
    assert all(before[field] != after[field] for field in before), "tells a change that is none"
    known = {field: value for field, value in before.items() if field in row}
    assert known.items() <= row.items()
    row.update(after)
