"""DOC-1, VER, DEL and DUP as far as they are pure: what each operation is made of."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage.batch import DeleteMany, Insert, Require
from loki_storage.errors import (
    IllegalTransition,
    InvalidField,
    InvalidValue,
    NotFound,
    StaleVersion,
)
from loki_storage.models import Chain, Document, DocumentTag
from loki_storage.rows import Rows
from loki_storage.rules import disposal
from loki_storage.rules import documents as rules
from loki_storage.rules.change import (
    Actor,
    Change,
    Edit,
    Removal,
    audit_entries,
    audit_entry,
)
from tests.strategies import MIDNIGHT, texts

TICK = timedelta(microseconds=1)
LATER = MIDNIGHT + timedelta(hours=1)
CHAIN = Chain(id=1, tenant_id="t", client_id="a", revision=7, text_claim="x", intercept_claim="y")


def chain_of(count: int, deleted: Mapping[int, int] | None = None) -> list[Document]:
    """A chain of so many versions; ``deleted``: version -> minutes after midnight."""
    gone = deleted or {}
    head = max((version for version in range(1, count + 1) if version not in gone), default=None)
    return [
        Document(
            id=version,
            tenant_id="t",
            root_id=1,
            version=version,
            parent_id=version - 1 or None,
            document_type="email",
            content=f"text {version}",
            content_hash=rules.content_hash(f"text {version}"),
            content_length=6,
            client_id="a",
            title=f"title {version}",
            is_latest=version == head,
            is_deleted=version in gone,
            deleted_at=MIDNIGHT + timedelta(minutes=gone[version]) if version in gone else None,
            created_at=MIDNIGHT,
            updated_at=MIDNIGHT,
        )
        for version in range(1, count + 1)
    ]


def view(versions: list[Document]) -> rules.ChainView:
    head = next((version for version in versions if version.is_latest), None)
    return rules.ChainView(CHAIN, head, versions[-1])


def after(versions: list[Document], change: Change | None) -> list[Document]:
    """The versions once the change is applied."""
    assert change is not None
    found = {version.id: version for version in versions}
    for step in change.steps:
        match step:
            case Edit(Document() as before):
                found[before.id] = before.replaced(step.operation.changes)
            case Insert(Document() as record):
                found[record.id] = record
            case Removal(Document() as before):
                del found[before.id]
    return list(found.values())


def chain_edit(change: Change | None) -> Edit:
    """What an operation does to the chain's bookkeeping; the revision is its guard (VER-10)."""
    assert change is not None
    (edit,) = (s for s in change.steps if isinstance(s, Edit) and isinstance(s.before, Chain))
    assert edit.guard == {"revision": 7}
    assert edit.changes["revision"] == 8
    return edit


def live(versions: list[Document]) -> list[int]:
    return [version.version for version in versions if not version.is_deleted]


def heads(versions: list[Document]) -> list[int]:
    return [version.version for version in versions if version.is_latest]


@given(texts)
def test_hash_is_of_the_utf8_bytes_and_length_counts_code_points(text: str) -> None:
    fields = {"document_type": "email", "client_id": "a"}
    document = rules.first_version(id=1, tenant="t", content=text, now=MIDNIGHT, **fields)
    assert document.content_hash == sha256(text.encode()).hexdigest()
    assert document.content_length == len(text)


@pytest.mark.parametrize("content", [None, 5, b"text", "a\0b", "\ud800"])
def test_content_that_is_no_text_is_refused(content: Any) -> None:
    fields = {"document_type": "email", "client_id": "a"}
    with pytest.raises(InvalidValue, match="content"):
        rules.first_version(id=1, tenant="t", content=content, now=MIDNIGHT, **fields)
    with pytest.raises(InvalidValue, match="content"):
        rules.new_version(view(chain_of(1)), id=9, content=content, now=LATER, user_id=None)


def test_new_version_follows_the_highest_number_and_inherits_from_the_head() -> None:
    versions = chain_of(3, {3: 1})
    new = rules.new_version(view(versions), id=9, content="new", now=LATER, user_id="bob")
    assert (new.version, new.parent_id, new.root_id) == (4, 3, 1)
    assert (new.title, new.user_id, new.created_at) == ("title 2", "bob", LATER)
    change = rules.create_version(view(versions), versions[1], new)
    assert heads(after(versions, change)) == [4]
    assert chain_edit(change).changes["text_claim"] is None
    assert change.metadata == {"built_on": 2, "version": 4}


def test_version_is_never_created_before_the_one_before() -> None:
    versions = [chain_of(1)[0].evolve(created_at=LATER)]
    new = rules.new_version(view(versions), id=9, content="new", now=MIDNIGHT, user_id=None)
    assert new.created_at == LATER


def test_version_needs_the_head_as_parent() -> None:
    versions = chain_of(2)
    new = rules.new_version(view(versions), id=9, content="new", now=LATER, user_id=None)
    with pytest.raises(StaleVersion) as caught:
        rules.create_version(view(versions), versions[0], new)
    assert (caught.value.document_id, caught.value.current_id) == (1, 2)
    with pytest.raises(NotFound):
        rules.create_version(view(chain_of(1, {1: 1})), versions[0], new)


@pytest.mark.parametrize("field", ["content", "client_id", "version", "root_id", "user", "tilte"])
def test_only_descriptive_fields_are_given(field: str) -> None:
    with pytest.raises(InvalidField):
        rules.descriptive({field: "x"})


def test_argument_for_metadata_is_metadata() -> None:
    assert rules.descriptive({"metadata": 1, "title": "a"}) == {"metadata_json": 1, "title": "a"}
    with pytest.raises(InvalidField, match="metadata"):
        rules.descriptive({"metadata_json": 1})


def test_update_is_of_the_head_and_of_real_changes() -> None:
    versions = chain_of(2)
    assert rules.update(view(versions), versions[1], LATER, title="title 2") is None
    change = rules.update(view(versions), versions[1], LATER, title="new", source=None)
    chain_edit(change)
    assert after(versions, change)[1].title == "new"
    with pytest.raises(StaleVersion):
        rules.update(view(versions), versions[0], LATER, title="new")


def test_delete_takes_every_live_version_with_one_time_after_every_other() -> None:
    versions = chain_of(3, {2: 90})
    change = rules.delete(CHAIN, versions, LATER)
    found = after(versions, change)
    assert live(found) == heads(found) == []
    moment = MIDNIGHT + timedelta(minutes=90) + TICK
    assert [version.deleted_at for version in found] == [moment, versions[1].deleted_at, moment]
    changes = chain_edit(change).changes
    assert changes == {"revision": 8, "live": False, "text_claim": None, "intercept_claim": None}
    assert rules.delete(CHAIN, found, LATER) is None


@given(st.sets(st.integers(1, 4), max_size=3), st.integers(1, 4))
def test_highest_live_version_is_the_head_after_a_version_is_deleted(
    gone: set[int], version: int
) -> None:
    versions = chain_of(4, dict.fromkeys(gone, 5))
    change = rules.delete_version(CHAIN, versions, version, LATER)
    if version in gone:
        assert change is None
        return
    left = [each for each in live(versions) if each != version]
    found = after(versions, change)
    assert live(found) == left
    assert heads(found) == left[-1:]
    changes = chain_edit(change).changes
    assert ("text_claim" in changes) is (version == live(versions)[-1])
    assert ("intercept_claim" in changes) is (version == 1)


@given(st.dictionaries(st.integers(1, 4), st.integers(1, 3), min_size=1))
def test_restore_brings_back_what_was_deleted_last(gone: dict[int, int]) -> None:
    versions = chain_of(4, gone)
    change = rules.restore(CHAIN.evolve(live=False), versions, LATER)
    if len(gone) < 4:
        assert change is None
        return
    back = [version for version in gone if gone[version] == max(gone.values())]
    found = after(versions, change)
    assert live(found) == sorted(back)
    assert heads(found) == [max(back)]
    assert chain_edit(change).changes == {"revision": 8, "live": True}


@given(st.sets(st.integers(1, 4)), st.integers(1, 4))
def test_restored_version_leads_if_it_is_the_highest(gone: set[int], version: int) -> None:
    versions = chain_of(4, dict.fromkeys(gone, 5))
    change = rules.restore_version(CHAIN, versions, version, LATER)
    if version not in gone:
        assert change is None
        return
    found = after(versions, change)
    assert live(found) == sorted({*live(versions), version})
    assert heads(found) == live(found)[-1:]
    loses = bool(live(versions)) and version > live(versions)[-1]
    told = {"revision": 8, **({"text_claim": None} if loses else {})}
    assert chain_edit(change).changes == told, "the text's claim ends with its headship"
    gone_chain = CHAIN.evolve(live=False)
    back = rules.restore_version(gone_chain, versions, version, LATER)
    assert chain_edit(back).changes["live"] is True


def test_delete_then_restore_is_the_identity_but_for_the_time_of_change() -> None:
    versions = chain_of(3, {2: 5})
    deleted = after(versions, rules.delete(CHAIN, versions, LATER))
    restored = after(deleted, rules.restore(CHAIN, deleted, LATER))
    assert [version.evolve(updated_at=MIDNIGHT) for version in restored] == versions


def test_purge_takes_a_deleted_chain_only() -> None:
    rows = [(Document, 1), (Document, 2)]
    with pytest.raises(IllegalTransition):
        disposal.purge(CHAIN, rows)
    for change in (
        disposal.purge(CHAIN.evolve(live=False), rows),
        disposal.purge(CHAIN, rows, expired=True),
    ):
        *members, chain = change.steps
        assert members == [DeleteMany(Document, [1, 2])]
        assert isinstance(chain, Removal)
        assert (type(chain.before), chain.before.id) == (Chain, 1)
        assert chain.guard == {"revision": 7}


@pytest.mark.parametrize("way", ["Raise", "", None, "replace", True])
def test_there_are_three_ways_with_duplicates(way: Any) -> None:
    with pytest.raises(InvalidValue, match="on_duplicate"):
        rules.check_on_duplicate(way)


@pytest.mark.parametrize(("way", "claimed"), [("raise", True), ("return", True), ("allow", False)])
def test_text_is_claimed_unless_others_are_welcome(way: Any, claimed: bool) -> None:
    document = chain_of(1)[0]
    change = rules.create(document, on_duplicate=way)
    (chain,) = (s.record for s in change.steps if isinstance(s, Insert) and s.kind is Chain)
    assert isinstance(chain, Chain)
    assert chain.text_claim == (document.content_hash if claimed else None)
    assert chain.intercept_claim is None


def test_same_text_is_the_text_not_the_hash() -> None:
    document = chain_of(1)[0]
    for forged in (document.evolve(content=text) for text in ("another text", "zero", "text 10")):
        assert rules.same_text([forged, document], "".join(["text", " 1"])) is document
        assert rules.same_text([forged], document.content) is None


@given(st.permutations(range(1, 5)), st.sets(st.integers(1, 4), max_size=3), st.integers(1, 4))
def test_operations_on_a_version_do_not_depend_on_the_order_of_the_others(
    order: list[int], gone: set[int], version: int
) -> None:
    versions = chain_of(4, dict.fromkeys(gone, 5))
    shuffled = [versions[n - 1] for n in order]
    for operation in (rules.delete_version, rules.restore_version):
        change = operation(CHAIN, versions, version, LATER)
        if change is None:
            assert operation(CHAIN, shuffled, version, LATER) is None
            continue
        same = operation(CHAIN, shuffled, version, LATER)
        assert after(versions, same) == after(versions, change)


def test_last_live_version_takes_the_document_with_it() -> None:
    versions = chain_of(3, {1: 1, 3: 2})
    change = rules.delete_version(CHAIN, versions, 2, LATER)
    assert chain_edit(change).changes["live"] is False
    assert live(after(versions, change)) == []


@pytest.mark.parametrize("other", [-1, 1])
def test_document_that_is_not_the_head_is_stale_however_its_id_compares(other: int) -> None:
    (head,) = (version.evolve(id=1000) for version in chain_of(1))
    seen = rules.ChainView(CHAIN, head, head)
    new = rules.new_version(seen, id=2000, content="new", now=LATER, user_id=None)
    stale = head.evolve(id=1000 + other)
    with pytest.raises(StaleVersion):
        rules.create_version(seen, stale, new)
    with pytest.raises(StaleVersion):
        rules.update(seen, stale, LATER, title="new")
    same = head.evolve(id=int("1000"))
    assert rules.create_version(seen, same, new) is not None
    assert rules.update(seen, same, LATER, title="new") is not None
    for operation in (rules.delete_version, rules.restore_version):
        operation(CHAIN, [head], int("1000"), LATER)


def test_what_is_deleted_is_not_updated() -> None:
    versions = chain_of(2, {2: 1})
    with pytest.raises(NotFound):
        rules.update(view(versions), versions[1], LATER, title="new")
    gone = chain_of(1, {1: 1})
    with pytest.raises(NotFound):
        rules.update(view(gone), gone[0].evolve(is_deleted=False), LATER, title="new")


def test_only_descriptive_fields_are_changed_or_given_to_a_version() -> None:
    versions = chain_of(1)
    with pytest.raises(InvalidField):
        rules.update(view(versions), versions[0], LATER, client_id="b")
    with pytest.raises(InvalidField):
        rules.new_version(
            view(versions), id=9, content="new", now=LATER, user_id=None, client_id="b"
        )


def test_intercepted_document_claims_its_request_and_its_text_while_it_is_the_head() -> None:
    document = chain_of(1)[0]
    corrected = rules.second_version(document, id=9, content="better")
    assert (corrected.version, corrected.parent_id, corrected.root_id) == (2, 1, 1)
    assert (corrected.content, corrected.title) == ("better", "title 1")
    for second, claim in ((None, document.content_hash), (corrected, None)):
        change = rules.create_intercepted(document, second)
        records = [step.record for step in change.steps if isinstance(step, Insert)]
        assert records[1:] == [document, *([] if second is None else [second])]
        (chain,) = (record for record in records if isinstance(record, Chain))
        assert (chain.text_claim, chain.intercept_claim) == (claim, document.content_hash)


@given(
    clients=st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4),
    links=st.none() | st.lists(st.integers(0, 2), min_size=4, max_size=4),
    required=st.booleans(),
)
def test_entries_of_many_changes_are_those_of_each(
    clients: list[str], links: list[int] | None, required: bool
) -> None:
    count = len(clients)
    fields = {"content": list("wxyz")[:count], "document_type": ["email"] * count}
    ids = list(range(5, 5 + count))
    documents = rules.first_versions(ids, "t", MIDNIGHT, {**fields, "client_id": clients})
    tags = [
        [DocumentTag(id=10 * n + m + 1, tenant_id="t", document_id=id, tag_id=m + 1) for m in each]
        for n, (id, each) in enumerate(zip(ids, map(range, links or [0] * 4), strict=False))
    ]
    changes = rules.create_all(documents, [True] * count, tags if links else ())
    if required:
        others = changes.others or [[]] * count
        more = [
            [*each, Require(Chain, 1), Edit(chain_of(1)[0], {"title": "new"}), Removal(CHAIN)]
            for each in others
        ]
        changes = attrs.evolve(changes, others=more)
    named: Any = {"tenant": "t", "actor": Actor("alice", request_id="r"), "now": LATER}
    each = [audit_entry(changes.of(n), id=70 + n, **named) for n in range(count)]
    entries = audit_entries(changes, ids=[70 + n for n in range(count)], **named)
    assert list(entries) == each
    created = [
        rules.create(document, tags=linked, on_duplicate="raise")
        for document, linked in zip(documents, tags, strict=True)
    ]
    if not required:
        assert [changes.of(n) for n in range(count)] == created


def test_whether_the_text_is_claimed_is_told_of_each_document() -> None:
    with pytest.raises(ValueError, match="zip"):
        rules.create_all(Rows.of(chain_of(1)), [True, False])
