"""The records: what they hold, that they never change, and what they tell."""

import copy
import pickle
from collections.abc import Callable, Iterator
from itertools import combinations
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loki_storage import models
from loki_storage.batch import Update
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import KINDS, Kind, Record, RetentionPolicy, Unique, domain_of
from loki_storage.values import Json, JsonText, Text, canonical, parse
from tests.hostile import CORPUS, SECRET
from tests.strategies import (
    json_values,
    kinds,
    records,
    row,
    rows,
    sample,
    values,
    values_of,
)

any_record = kinds.flatmap(records)
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))

# The specification's columns, "field:length?" with ? for nullable ones. A tenant_id stands in
# every table and is not nullable; fields behind the bar are ours.
COLUMNS = {
    "documents": """id content_hash:64 document_type content content_length title:500? description?
        source:500? language:10? metadata_json? client_id:100 user_id:100? version parent_id?
        is_latest created_at updated_at deleted_at? is_deleted | root_id""",
    "validations": """id document_id modules_used config? status started_at? completed_at?
        duration_ms? overall_risk? critical_count high_count medium_count low_count pass_count
        fail_count warning_count request_hash:64 client_id:100 user_id:100? error_message?
        error_traceback? created_at""",
    "validation_results": """id validation_id scope:50 module_id:100? gate_id:100 gate_key:255
        status severity? message? suggestion? legal_source? confidence_score? evidence?
        metadata_json? gate_version:20? created_at | client_id:100""",
    "corrections": """id document_id validation_id? correction_type:50 target_gate:255?
        original_content? corrected_content? diff? strategy:100? confidence? reasoning? status
        applied_at? applied_by:100? reviewed_at? reviewed_by:100? review_notes? client_id:100
        metadata_json? created_at updated_at""",
    "correction_history": """id correction_id change_type:50 previous_status:50? new_status:50
        changes? reason? changed_by:100? changed_at""",
    "audit_trail": """id document_id? validation_id? action:100 entity_type:50 entity_id?
        actor_id:100 actor_type:50 changes? metadata_json? ip_address:45? user_agent:500?
        request_id:100? timestamp client_id:100""",
    "tags": "id name:100 description? category:50? color:7? created_at",
    "data_retention_policies": """id name:200 description? entity_type:50 retention_days action
        criteria? is_active priority last_run? next_run? total_processed total_affected created_at
        updated_at created_by:100? | period_amount? period_unit trigger:100 kind every_days
        citation? text_date:10? verified""",
    "export_logs": """id export_type:50 entity_type:50 filters? fields? record_count
        file_size_bytes? file_path:500? file_hash:64? status:50 error_message? requested_by:100
        client_id:100 requested_at completed_at? expires_at?""",
    "document_tags": "id | document_id tag_id",
    "document_chains": "id | client_id:100 revision live text_claim:64? intercept_claim:64?",
    "retention_state": "id | revision",
    "legal_holds": """id | name:200 reason entity_type:50 ids? query? placed_by:100 placed_at
        released_at? released_by:100? release_reason?""",
    "retention_runs": """id | plan_hash:64 active owner:100 lease_until as_of position started_at
        started_by:100 finished_at? progress? certificate?""",
    "archived_documents": """id | client_id:100 document_type created_at archived_at archived_by:100
        policy:200 bundle:100 sha256:64 size row_count lowest_id highest_id members""",
}


def column(kind: Kind, field: str) -> str:
    domain = kind.domains[field]
    stated = f"{field}:" in COLUMNS[kind.table]
    length = f":{domain.limit}" if isinstance(domain, Text) and stated else ""
    return f"{field}{length}{'?' if domain.nullable else ''}"


# --- What a kind declares --------------------------------------------------------------------


def test_kinds_are_the_tables_parents_first() -> None:
    assert set(KINDS) == set(COLUMNS)
    order = list(KINDS.values())
    for kind in order:
        for reference in kind.references:
            assert order.index(reference.kind) <= order.index(kind)


@every_kind
def test_fields_are_the_specification_with_its_lengths(kind: Kind) -> None:
    declared = {column(kind, field) for field in kind.domains if field != "tenant_id"}
    assert declared == set(COLUMNS[kind.table].split()) - {"|"}
    assert column(kind, "tenant_id") == "tenant_id"
    assert isinstance(kind.domains["tenant_id"], Text)
    assert kind.domains["tenant_id"].limit == 100


@every_kind
def test_keys_and_references_name_fields_of_the_kind(kind: Kind) -> None:
    assert KINDS[kind.table] is kind
    for unique in kind.unique:
        assert {*unique.fields, *unique.where} <= set(kind.domains)
    for reference in kind.references:
        assert reference.field in kind.domains
        assert KINDS[reference.kind.table] is reference.kind


def test_internal_kinds_are_those_of_the_contract() -> None:
    internal = {name for name, kind in KINDS.items() if kind.internal}
    assert internal == {
        *("archived_documents", "document_chains", "retention_runs", "retention_state"),
    }


def test_unknown_field_brings_the_nearest_known_one() -> None:
    with pytest.raises(InvalidField, match="documents; did you mean 'client_id'") as caught:
        domain_of(KINDS["documents"], "clientid")
    assert (caught.value.field, caught.value.suggestion) == ("clientid", "client_id")


@pytest.mark.parametrize("field", [None, 1, ["id"], {"id": 1}, ("id",), b"id", object()])
def test_field_that_is_no_text_is_unknown(field: Any) -> None:
    with pytest.raises(InvalidField):
        domain_of(KINDS["documents"], field)


# --- One verdict on every value, by every way in ---------------------------------------------


def verdict(make: Callable[..., object], *arguments: object) -> tuple[object, ...]:
    """The value as held, with its type, or why and for which field it was refused."""
    try:
        held = make(*arguments)
    except InvalidValue as error:
        return "refused", error.field, error.reason
    return "held", type(held), held


def ways_in(kind: Kind, field: str, value: object) -> Iterator[Callable[[], object]]:
    record: Record = sample(kind)
    fields = values_of(record) | {field: value}
    yield lambda: kind(**fields).stored(field)
    yield lambda: record.evolve(**{field: value}).stored(field)
    if field not in ("id", "tenant_id"):
        yield lambda: Update(kind, 1, {field: value}).changes[field]
        yield lambda: record.replaced(Update(kind, 1, {field: value}).changes).stored(field)


@every_kind
def test_hostile_value_meets_one_verdict_by_every_way_in(kind: Kind) -> None:
    for field in kind.domains:
        for number, value in enumerate(CORPUS):
            verdicts = [verdict(way) for way in ways_in(kind, field, value)]
            assert all(v == verdicts[0] for v in verdicts), (field, number)
            if verdicts[0][0] == "refused":
                assert verdicts[0][1] == field, (field, number)
                assert SECRET not in str(verdicts[0]), (field, number)


@every_kind
def test_hostile_value_that_is_accepted_can_be_read(kind: Kind) -> None:
    record: Record = sample(kind)
    for field, domain in kind.domains.items():
        for value in CORPUS:
            met, _, held = verdict(domain.accept, field, value)
            if met == "held":
                copied = pickle.loads(pickle.dumps(record.replaced({field: held})))
                assert copied.stored(field) == held
                read = parse(held) if isinstance(held, JsonText) else held
                assert getattr(copied, field) == read


@every_kind
def test_corpus_meets_both_verdicts_on_every_field(kind: Kind) -> None:
    """A corpus that a field refuses or accepts as a whole tests nothing."""
    for field, domain in kind.domains.items():
        met = {verdict(domain.accept, field, v)[0] for v in CORPUS}
        assert met == {"held", "refused"}, field


@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind), st.data())))
def test_legal_value_is_accepted_by_every_way_in(drawn: tuple[Kind, st.DataObject]) -> None:
    kind, data = drawn
    field = data.draw(st.sampled_from(list(kind.domains)))
    value = data.draw(values(kind.domains[field]))
    verdicts = [verdict(way) for way in ways_in(kind, field, value)]
    assert {v[0] for v in verdicts} == {"held"}
    assert all(v == verdicts[0] for v in verdicts)


BOUNDS: list[tuple[str, str, list[object], list[object]]] = [
    ("documents", "id", [1, 2**63 - 1], [0, -1, 2**63]),
    ("documents", "version", [1], [0]),
    ("documents", "content", ["", "x" * 2**20], []),
    ("documents", "content_length", [0], [-1]),
    ("documents", "tenant_id", ["x", "x" * 100], ["", "x" * 101]),
    ("documents", "client_id", ["x", " "], [""]),
    ("documents", "user_id", ["x"], [""]),
    ("validations", "duration_ms", [0, None], [-1]),
    ("validations", "pass_count", [0], [-1, None]),
    ("validations", "modules_used", [[], {}, "", 0], [None]),
    ("validation_results", "confidence_score", [0, 1, None], [-5e-324, 1.0000000000000002]),
    ("corrections", "confidence", [0.0, 1.0], [-0.1, 1.1]),
    ("audit_trail", "actor_id", ["x"], [""]),
    ("data_retention_policies", "retention_days", [1, 36_500], [0, 36_501]),
    ("data_retention_policies", "priority", [-(2**63), 2**63 - 1], [-(2**63) - 1]),
    ("tags", "color", ["#00fF00", None], ["", "#00ff0", "00ff00"]),
    ("tags", "name", ["x" * 100], ["", "x" * 101]),
]


@pytest.mark.parametrize(("table", "field", "legal", "illegal"), BOUNDS)
def test_bounds_are_the_stated_ones(
    table: str, field: str, legal: list[object], illegal: list[object]
) -> None:
    met = [verdict(next(ways_in(KINDS[table], field, value)))[0] for value in [*legal, *illegal]]
    assert met == ["held"] * len(legal) + ["refused"] * len(illegal)


def test_field_without_default_must_be_given() -> None:
    with pytest.raises(TypeError, match="content_hash"):
        models.Document(id=1, tenant_id="a")  # type: ignore[call-arg]


# --- Records never change --------------------------------------------------------------------


@given(any_record)
def test_record_is_frozen(record: Record) -> None:
    for field in {*record.domains, *record.attributes.values(), "other"}:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(record, field, 1)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(record, field)


@given(st.lists(json_values) | st.dictionaries(st.text("ab"), json_values))
def test_neither_the_json_given_nor_the_json_got_reaches_into_the_record(value: Any) -> None:
    text = canonical(value)
    policy = sample(RetentionPolicy).evolve(criteria=value)
    value.clear()
    policy.criteria.clear()
    assert policy.stored("criteria") == text
    assert canonical(policy.criteria) == text


@given(any_record)
def test_json_is_handed_out_parsed(record: Record) -> None:
    for field, domain in record.domains.items():
        if isinstance(domain, Json) and (text := record.stored(field)) is not None:
            assert canonical(getattr(record, field), bounded=False) == text
        else:
            assert getattr(record, field) is record.stored(field)


# --- Copies ----------------------------------------------------------------------------------

COPIES: list[Callable[[Record], Record]] = [
    copy.copy,
    copy.deepcopy,
    lambda record: pickle.loads(pickle.dumps(record)),
    lambda record: record.evolve(),
    lambda record: record.replaced({}),
    lambda record: type(record)(**values_of(record)),
    lambda record: type(record)(**{f: record.stored(f) for f in record.domains}),
    lambda record: type(record).trusted(*map(record.stored, record.domains)),
]


@given(any_record)
def test_copy_is_equal_and_of_the_same_types(record: Record) -> None:
    for copied in (make(record) for make in COPIES):
        assert (copied == record, hash(copied) == hash(record)) == (True, True)
        assert type(copied) is type(record)
        for field in record.domains:
            assert type(copied.stored(field)) is type(record.stored(field))


@given(kinds.flatmap(lambda kind: st.tuples(rows(kind), rows(kind))))
def test_evolved_replaced_and_trusted_records_hold_the_same(drawn: tuple[Any, Any]) -> None:
    record, other = drawn
    for field in record.domains:
        change = {field: other.stored(field)}
        evolved = record.evolve(**change)
        assert evolved == record.replaced(change)
        assert (evolved == record) is (record.stored(field) == other.stored(field))
        assert all(evolved.stored(f) == record.stored(f) for f in record.domains if f != field)


@every_kind
def test_record_of_another_kind_is_never_equal(kind: Kind) -> None:
    record = sample(kind)
    assert all(record != sample(other) for other in KINDS.values() if other is not kind)
    assert record != record.id
    assert len({record, copy.copy(record), record.evolve(id=77)}) == 2


@given(any_record)
def test_repr_tells_kind_and_id_alone(record: Record) -> None:
    assert repr(record) == str(record) == f"{type(record).__name__}(id={record.id})"


def test_public_names_of_the_specification() -> None:
    assert models.AuditTrail is models.AuditEntry
    assert models.DataRetentionPolicy is models.RetentionPolicy
    assert models.DEFAULT_TENANT == "default"


# --- Unique keys -----------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("where", [{}, {"tenant_id": "a"}])
def test_key_is_free_with_a_null_or_outside_where(kind: Kind, where: dict[str, object]) -> None:
    for record in (row(kind, Random(seed)) for seed in range(40)):
        outside = bool(where) and record.tenant_id != "a"
        for fields in [(), *combinations(kind.domains, 1), ("tenant_id", *list(kind.domains)[-2:])]:
            held = tuple(getattr(record, field) for field in fields)
            expected = None if outside or any(value is None for value in held) else held
            assert Unique(fields, where).key(record) == expected


def test_unique_key_does_not_follow_the_mapping_that_it_was_made_from() -> None:
    where: dict[str, object] = {"is_latest": True}
    unique = Unique(("root_id",), where)
    where.clear()
    assert unique.where == {"is_latest": True}
    with pytest.raises(TypeError):
        unique.where["is_latest"] = False  # type: ignore[index]
