"""Every public method, with everything that callers should not give it (VAL, QRY, TEN, ERR).

The methods are found, not listed, so that none is forgotten. Each argument in turn is replaced by
each hostile value; whatever comes, it is an answer or an error of ours, the same on all backends,
and nothing is left of it: the store is as it was. What commits in units of its own (purges,
clean-ups, reported batches) is watched call by call. Foreign ids behave as unknown ones do (TEN-1).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import cache
from inspect import Parameter, ismethod, signature
from operator import attrgetter
from typing import Any

import attrs
import pytest

from loki_storage import Outcome, Session, Storage, open_storage
from loki_storage.authorization import operations_of
from loki_storage.errors import StorageError
from loki_storage.models import Document
from loki_storage.query import And
from loki_storage.query_builder import QueryBuilder
from loki_storage.repositories.base import Repository
from tests.programs import UNKNOWN, check_explained, entries
from tests.stores import CLOCK, new_tenant

HOSTILE: dict[str, Any] = {
    "None": None,
    "True": True,
    "-1": -1,
    "0": 0,
    "beyond 64 bits": 2**70,
    "1.5": 1.5,
    "nan": float("nan"),
    "empty text": "",
    "text": "x",
    "much text": "x" * 1_001,
    "U+0000": "a\0b",
    "lone surrogate": "\ud800",
    "injection": "' OR 1=1; DROP TABLE documents; --",
    "bytes": b"x",
    "empty list": [],
    "list of None": [None],
    "list of lists": [[]],
    "empty mapping": {},
    "mapping": {"x": object()},
    "object": object(),
    "type": int,
    "naive time": datetime(2026, 1, 1),
    "last day": date.max,
    "generator": (n for n in range(0)),
}


@attrs.frozen
class World:
    """A tenant with something of everything, and ids in each state."""

    tenant: str
    ids: dict[str, int]


def furnish(storage: Storage) -> World:
    tenant = new_tenant()
    with storage.session(tenant=new_tenant()) as session:
        foreign = something(session)
    with storage.session(tenant=tenant) as session:
        ids = something(session)
        gone = something(session, text="gone")
        session.documents.delete(gone["document"])
        session.retention.delete(gone["policy"])
    ids |= {f"foreign {name}": id for name, id in foreign.items()}
    ids |= {f"deleted {name}": id for name, id in gone.items()}
    return World(tenant, ids)


def something(session: Session, text: str = "text") -> dict[str, int]:
    document = session.documents.create_document(text, "email", "a")
    session.documents.add_tag(document.id, "vip")
    tag = session.tags.get_by_name("vip")
    run = session.validations.create_validation(document.id, ["m"], "a")
    session.validations.start_validation(run.id)
    result = session.validations.add_result(run.id, "module", "m.g", "fail", "high")
    fix = session.corrections.create_correction(
        document.id, "rewrite", "a", corrected_content="better", validation_id=run.id
    )
    assert tag is not None
    policy = session.retention.create(f"{text} policy", "document", "delete", 30, is_active=False)
    held = session.documents.create_document(f"{text} held", "email", "a")
    hold = session.retention.holds.place(f"{text} hold", "a case", [held.id])
    log = session.exports.start("csv", "document", "alice")
    return {
        "document": document.id,
        "validation": run.id,
        "result": result.id,
        "correction": fix.id,
        "tag": tag.id,
        "policy": policy.id,
        "hold": hold.id,
        "export": log.id,
    }


# --- Arguments that are fine -----------------------------------------------------------------

RESULT = {"scope": "module", "gate_key": "m.g", "status": "pass"}
NEW = {"content": "new", "document_type": "email", "client_id": "a"}
PLAIN: dict[str, Any] = {
    "content": "new",
    "document_type": "email",
    "client_id": "a",
    "tenant_id": "a",
    "modules_used": ["m"],
    "correction_type": "rewrite",
    "content_hash": "0" * 64,
    "time": datetime(2026, 3, 1, tzinfo=UTC),
    "query": "x",
    "scope": "module",
    "gate_key": "m.g",
    "status": "pass",
    "risk": "high",
    "error_message": "broken",
    "action": "seen",
    "entity_type": "document",
    "actor_id": "alice",
    "request_id": "r",
    "name": "new",
    "names": ["new"],
    "results": [RESULT],
    "attr": "id",
    "value": 1,
    "values": [1],
    "low": 1,
    "high": 2,
    "text": "x",
    "path": "a.b",
    "days": 7,
    "count": 3,
    "cursor": "nonsense",
    "user_id": "u",
    "severity": "high",
    "module_id": "m",
    "reason": "r",
    "kind": Document,
    "where": And(()),
    "export_type": "csv",
    "requested_by": "alice",
    "record_count": 1,
    "file_size": 1,
    "file_hash": "0" * 64,
}
OWN: dict[tuple[str, str], Any] = {
    ("retention", "action"): "delete",
}
"""Arguments that mean something else in one place."""
TEXT_STEPS = ("contains", "starts_with", "ends_with")
KINDS = {
    "documents": "document",
    "validations": "validation",
    "corrections": "correction",
    "tags": "tag",
    "exports": "export",
    "retention": "policy",
    "retention.holds": "hold",
}
NEVER_DELETED = ("hold", "export")
DOCUMENTS = ("document_id", "parent_id", "version_id", "id_a", "id_b")


def kind_of(owner: str, method: str, name: str) -> str | None:
    """Of what kind the ids of an argument are."""
    if name in DOCUMENTS:
        return "document"
    if name == "validation_id":
        return "validation"
    if (method, name) in (("place", "ids"), ("unarchive", "ids")):
        return "document"
    if (method, name) == ("start", "id"):
        return None  # one that is to be
    if name in ("id", "ids", "hold") or (name == "documents" and method != "create_documents"):
        return KINDS.get(owner)
    return None


def fine(world: World, owner: str, method: str, name: str) -> Any:
    """An argument that is right, for what callers must give; None where there is none."""
    kind = kind_of(owner, method, name)
    if kind is not None:
        return several(name, world.ids[kind])
    if name == "documents":
        return [NEW]
    if method in TEXT_STEPS and name == "attr":
        return "client_id"
    return OWN.get((owner, name), PLAIN.get(name))


def needed(world: World, owner: str, method: str) -> dict[str, Any]:
    """What has a default, and yet one of several must be given."""
    match owner, method:
        case "retention", "create":
            return {"retention_days": 30}
        case "retention.holds", "place":
            return {"ids": [world.ids["document"]]}
    return {}


def several(name: str, id: int) -> int | list[int]:
    return [id] if name in ("ids", "documents") else id


def states(world: World, owner: str, method: str, name: str) -> Iterator[tuple[str, Any]]:
    """What an id may be besides that of something live: foreign, deleted, or nobody's."""
    kind = kind_of(owner, method, name)
    if kind is not None:
        for state in ("foreign",) if kind in NEVER_DELETED else ("foreign", "deleted"):
            yield state, several(name, world.ids[f"{state} {kind}"])
        yield "unknown", several(name, UNKNOWN)


# --- Calls -----------------------------------------------------------------------------------

Call = Callable[[Session], object]
SESSION = ("related", "record_intercept", "record_intercepts", "get_intercept")
REPOSITORIES = (
    "documents",
    "validations",
    "corrections",
    "audit",
    "tags",
    "exports",
    "retention",
    "retention.holds",
)
ROUTES: dict[str, Callable[[Session], Any]] = {
    "session": lambda session: session,
    **{name: attrgetter(name) for name in REPOSITORIES},
    "documents.query": lambda session: session.documents.query(),
    "validations.query": lambda session: session.validations.query(),
    "results.query": lambda session: session.validations.query_results(),
    "corrections.query": lambda session: session.corrections.query(),
    "audit.query": lambda session: session.audit.query(),
}
OWN_UNITS = ("purge", "cleanup_old_entries", "unarchive")
"""What commits at once."""
REPORT = "[report]"
"""Marks the calls of bulk writes that commit at once and report each item's outcome."""
INTERNAL = {"view", "all_named", "named", "of_name", "new_id"}
"""What repositories offer to each other."""


def methods(session: Session, owner: str) -> list[str]:
    if owner == "session":
        return list(SESSION)
    target = ROUTES[owner](session)
    if isinstance(target, Repository):
        names = operations_of(type(target))
    else:
        names = [name for name in dir(target) if not name.startswith("_")]
        names = [name for name in names if ismethod(getattr(target, name))]
    return sorted({*names} - INTERNAL)


def arguments(world: World, owner: str, method: Any) -> tuple[dict[str, Any], list[str]]:
    """What must be given, and the names of all that may be."""
    given: dict[str, Any] = {}
    names: list[str] = []
    for parameter in signature(method).parameters.values():
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            names.append(f"*{parameter.name}")
            continue
        names.append(parameter.name)
        if parameter.default is Parameter.empty:
            given[parameter.name] = fine(world, owner, method.__name__, parameter.name)
    return {**given, **needed(world, owner, method.__name__)}, names


def calls(world: World, session: Session, owner: str) -> Iterator[tuple[str, Call]]:
    """Every method with its arguments as they should be but for one."""
    for name in methods(session, owner):
        method = getattr(ROUTES[owner](session), name)
        given, names = arguments(world, owner, method)
        yield from variants(world, owner, name, given, names)
        if "on_error" in names:
            others = [argument for argument in names if argument != "on_error"]
            reporting = {**given, "on_error": "report"}
            for label, made in variants(world, owner, name, reporting, others):
                yield f"{label}{REPORT}", made


def variants(
    world: World, owner: str, name: str, given: dict[str, Any], names: list[str]
) -> Iterator[tuple[str, Call]]:
    yield f"{name}()", call(owner, name, (), given)
    for argument in names:
        for label, value in [*HOSTILE.items(), *states(world, owner, name, argument)]:
            yield from (
                (f"{name}({argument}={label})", made)
                for made in replaced(owner, name, given, argument, value)
            )


def replaced(
    owner: str, name: str, given: dict[str, Any], argument: str, value: Any
) -> Iterator[Call]:
    if not argument.startswith("*"):
        yield call(owner, name, (), {**given, argument: value})
    elif argument in ("*filters", "*fields", "*descriptive"):
        yield call(owner, name, (), {**given, "titel": value})
        yield call(owner, name, (), {**given, "client_id": value})
        if argument == "*filters" and name.endswith("_filter"):
            yield call(owner, name, (value,), given)
    else:
        yield call(owner, name, (value,), given)


def call(owner: str, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> Call:
    def made(session: Session) -> object:
        found = getattr(ROUTES[owner](session), name)(*args, **given)
        if isinstance(found, QueryBuilder):
            return found.limit(1).all()
        return list(found) if isinstance(found, Iterator) else found

    return made


def outcome(storage: Storage, world: World, made: Call) -> str:
    """The error that a call ends with, or "ok"; nothing of a refused one is pending."""
    session = storage.session(tenant=world.tenant, actor="alice")
    try:
        found = made(session)
    except StorageError as error:
        left = ", and something is left" if session.pending else ""
        return f"{type(error).__name__}{left}"
    outcomes = (
        [each for each in found if isinstance(each, Outcome)] if isinstance(found, list) else []
    )
    return " ".join(["ok", *(type(each.error).__name__ for each in outcomes)])


def outcomes(storage: Storage, world: World, owner: str) -> dict[str, str]:
    """How every call ends; what commits nothing leaves the store as it was, and so do refusals."""
    session = storage.session(tenant=world.tenant)
    every = dict(calls(world, session, owner))
    at_once = {name for name in every if name.startswith(OWN_UNITS) or name.endswith(REPORT)}
    before, found = list(storage.dump(world.tenant)), {}
    for name in every.keys() - at_once:
        found[name] = ended(storage, world, owner, name, every[name])
    assert list(storage.dump(world.tenant)) == before
    for name in sorted(at_once):
        found[name] = ended(storage, world, owner, name, every[name])
        after = list(storage.dump(world.tenant))
        if found[name].startswith("ok"):
            check_explained(before, after, entries(after) - entries(before))
        else:
            assert after == before, f"{owner}.{name}"
        before = after
    return found


def ended(storage: Storage, world: World, owner: str, name: str, made: Call) -> str:
    try:
        return outcome(storage, world, made)
    except Exception as defect:
        defect.add_note(f"{owner}.{name}")
        raise


@cache
def reference(owner: str) -> dict[str, str]:
    """The outcomes on the reference backend."""
    with open_storage("memory://", clock=CLOCK) as storage:
        return outcomes(storage, furnish(storage), owner)


@pytest.mark.parametrize("owner", ROUTES)
def test_outcomes_are_the_same_everywhere_and_leave_nothing(store: Storage, owner: str) -> None:
    found = outcomes(store, furnish(store), owner)
    expected = reference(owner)
    assert {name: o for name, o in found.items() if o != expected.get(name)} == {}
    assert found.keys() == expected.keys()
    assert not {o for o in found.values() if "left" in o}
    assert len(set(found.values())) > 1


@pytest.mark.parametrize("owner", ROUTES)
def test_foreign_ids_are_unknown_ids(owner: str) -> None:
    found = reference(owner)
    foreign = {name: o for name, o in found.items() if name.endswith("=foreign)")}
    assert foreign == {name: found[name.replace("=foreign", "=unknown")] for name in foreign}


def test_unknown_names_are_refused_everywhere() -> None:
    for owner in ROUTES:
        for name, how in reference(owner).items():
            if name.endswith(("(attr=injection)", "(order_by=injection)", "(attr=text)")):
                assert how == "InvalidField", f"{owner}.{name}"


READS = ("get", "by_", "exists", "tags_of", "list")
KEEPING = ("audit", "session")
"""What takes ids of anything, also of what is gone or never was."""


@pytest.mark.parametrize("owner", [owner for owner in ROUTES if owner not in KEEPING])
def test_reads_of_unknown_ids_are_empty_and_writes_are_not_found(owner: str) -> None:
    for name, how in reference(owner).items():
        if name.endswith("=unknown)"):
            reads = name.startswith(READS)
            assert how == ("ok" if reads else "NotFound"), f"{owner}.{name}"


ANY_STATE = (
    "unarchive",
    "delete",
    "restore",
    "delete_version",
    "restore_version",
    "purge",
    "verify",
)


def test_nothing_is_added_to_deleted_documents() -> None:
    """DEL-5; deletes and restores take them (DEL-3), reads are empty (DEL-2)."""
    for owner in ("documents", "validations", "corrections"):
        for name, how in reference(owner).items():
            method = name.partition("(")[0]
            if not name.endswith("=deleted)") or method.startswith(READS):
                continue
            if name == "create_correction(validation_id=deleted)":
                assert how == "InvalidValue", "it is one of another document, too (COR-3)"
                continue
            takes = method.removesuffix("_documents") in ANY_STATE
            assert how == ("ok" if takes else "NotFound"), f"{owner}.{name}"
