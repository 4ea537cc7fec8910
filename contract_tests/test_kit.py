"""The kit itself: it is complete, it is independent of what it judges, and it finds faults.

All faults are proved by ``loki-storage contract prove``; here are some of each sort.
"""

import ast
import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest

from loki_storage.batch import Batch
from loki_storage.models import Kind
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage_contract import LAWS, PROFILES, BackendTarget, run_target
from loki_storage_contract.differential import differences
from loki_storage_contract.faulty import FAULTS, ODD, odd_target
from loki_storage_contract.inventory import BACKEND
from loki_storage_contract.proving import Proof, Proofs, names, prove, untested_laws
from loki_storage_contract.references import memory_target, sqlite_target
from loki_storage_contract.registry import unproven

SMOKE = attrs.evolve(PROFILES["smoke"], shrink=False)

WAITING = {
    "AUD-5": "comes later",
}


def test_every_law_has_a_check_or_a_reason_why_not() -> None:
    assert set(unproven()) == set(WAITING)


@pytest.mark.parametrize("module", ["model", "reviews", "choices"])
def test_model_shares_nothing_with_what_it_judges(module: str) -> None:
    source = importlib.import_module(f"loki_storage_contract.{module}").__file__
    assert source is not None
    with open(source, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name and name.startswith("loki_storage")}
    assert ours <= {"loki_storage.errors", "loki_storage_contract.model"}


class Emptied(Backend):
    """Implements nothing."""

    def reserve(self, counts: Mapping[Kind, int]) -> dict[Kind, range]:
        return {kind: range(1, count + 1) for kind, count in counts.items()}

    def select(self, query: Query) -> Iterator[Any]:
        return iter(())

    def apply(self, batch: Batch) -> None:
        pass

    def close(self) -> None:
        pass


def test_backend_that_does_nothing_fails_every_backend_law() -> None:
    target = BackendTarget("emptied", open=Emptied, reset=lambda opened: None)
    result = run_target(target, SMOKE)
    verdicts = [verdict for verdict in result.verdicts.values() if verdict.law.scope == BACKEND]
    passed = [verdict.law.id for verdict in verdicts if verdict.outcome != "failed"]
    assert not result.ok
    assert passed == []


def test_every_backend_law_has_a_fault_that_only_it_is_asked_to_find() -> None:
    """Taking any law out of the kit leaves a fault alive."""
    assert untested_laws() == []


def test_there_are_faults_over_both_bases_and_each_says_what_is_wrong() -> None:
    bases = [fault.base for fault in FAULTS.values()]
    assert len({fault.kind for fault in FAULTS.values()}) >= 60
    assert bases.count("memory") >= 60
    assert bases.count("sqlite") >= 40
    assert all(fault.text.endswith(".") for fault in FAULTS.values())


@pytest.mark.parametrize("name", ["LimitZeroMeansNone", "IgnoresRequire", "LosesOnClose"])
def test_fault_is_found_by_its_law_in_a_process_of_its_own(name: str) -> None:
    (proof,) = prove([name]).proofs
    assert proof.ok, proof
    assert proof.law in proof.killed_by


@pytest.mark.parametrize("name", ODD)
def test_odd_but_correct_backend_passes(name: str) -> None:
    result = run_target(odd_target(name), SMOKE)
    assert [check.name for check, _ in result.failures] == []
    assert result.ok


def test_program_does_the_same_on_every_backend() -> None:
    targets = [memory_target(), sqlite_target(), *map(odd_target, ODD)]
    assert differences(targets, attrs.evolve(SMOKE, examples=5)) == ""


def test_difference_is_told_with_its_program() -> None:
    found = differences([memory_target(), FAULTS["EmptyTextIsNull"].target()], PROFILES["ci"])
    first, *trace = found.splitlines()
    assert first == "EmptyTextIsNull differs from memory"
    assert trace


def test_parts_make_the_whole() -> None:
    assert sorted(name for k in range(1, 5) for name in names(f"{k}/4")) == sorted(names())
    for wrong in ("0/4", "5/4", "4", "a/b", ""):
        with pytest.raises(ValueError, match="part"):
            names(wrong)


def proof(**changes: Any) -> Proof:
    given: dict[str, Any] = {
        "name": "LimitZeroMeansNone",
        "law": "QRY-3",
        "base": "memory",
        "text": "text",
        "mode": "own",
        "failed": ("qry3_nothing_is_asked_for",),
        "seconds": 1.0,
    }
    return Proof(**{**given, **changes})


def test_fault_that_nothing_finds_is_a_survivor() -> None:
    survivor = proof(failed=())
    found = Proofs(proofs=(proof(), survivor), seconds=2.0)
    assert found.survivors == [survivor]
    assert not found.ok
    assert "1 of 2 faults" in found.as_text()


def test_fault_that_another_law_finds_survives_its_own() -> None:
    assert not proof(failed=("bat9_other_handles_stay_open",)).ok


def test_process_that_breaks_down_proves_nothing() -> None:
    assert not proof(error="MemoryError").ok


def test_odd_backend_that_anything_finds_is_a_survivor() -> None:
    assert proof(law=None, failed=()).ok
    assert not proof(law=None).ok


def test_matrix_is_data_without_times() -> None:
    matrix = Proofs(proofs=(proof(),), seconds=2.0).as_json()
    assert json.dumps(matrix) == json.dumps(Proofs(proofs=(proof(),), seconds=3.0).as_json())
    assert matrix["matrix"][0]["killed_by"] == ["QRY-3"]


def test_laws_are_named_as_they_are() -> None:
    assert {fault.law for fault in FAULTS.values()} <= set(LAWS)
