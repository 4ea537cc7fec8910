"""The vocabulary's words, as the API names them."""

import json
import pickle
from enum import StrEnum

import pytest

from loki_storage import enums
from loki_storage.enums import RiskLevel, Severity

WORDS = {
    "DocumentType": "email contract marketing financial legal medical insurance customer_comms "
    "internal other financial_promotion privacy_policy privacy_notice employment_contract nda "
    "invoice policy tax_return disciplinary ai_generated synthesized general unknown",
    "ValidationStatus": "pending in_progress completed failed cancelled",
    "GateStatus": "pass fail warning skip error",
    "RiskLevel": "critical high medium low none",
    "Severity": "critical high medium low none",
    "CorrectionStatus": "pending applied rejected reverted",
    "CorrectionType": "rewrite suggestion auto_fix",
    "ResultScope": "module universal analyzer cross",
    "RetentionAction": "compress archive anonymize delete",
    "ActorType": "user system api",
    "AuditAction": "create read version update delete restore purge start complete fail cancel "
    "apply reject revert archive unarchive anonymize compress hold release export cleanup backup "
    "restore_store migrate",
    "EntityType": "document validation correction tag policy export audit hold retention store",
    "PeriodUnit": "days months years forever",
    "PolicyKind": "minimum maximum",
    "RetentionTrigger": "created updated superseded deleted",
    "SortOrder": "asc desc",
    "ExportFormat": "csv json jsonl excel parquet",
}
ENUMS: dict[str, type[StrEnum]] = {name: getattr(enums, name) for name in enums.__all__}
MEMBERS = [member for enum in dict.fromkeys(ENUMS.values()) for member in enum]


@pytest.mark.parametrize("name", ENUMS)
def test_words_are_the_fixed_ones(name: str) -> None:
    assert [member.value for member in ENUMS[name]] == WORDS[name].split()


@pytest.mark.parametrize("member", MEMBERS)
def test_member_is_its_stored_word_in_every_use(member: StrEnum) -> None:
    word = member.value
    assert (member == word, hash(member) == hash(word)) == (True, True)
    assert [str(member), f"{member}", json.dumps(member)] == [word, word, f'"{word}"']
    assert type(member)(word) is member
    assert pickle.loads(pickle.dumps(member)) is member


@pytest.mark.parametrize("member", MEMBERS)
def test_member_is_named_after_its_word(member: StrEnum) -> None:
    assert member.name == member.value.upper()


def test_severity_and_risk_are_one_vocabulary() -> None:
    assert Severity is RiskLevel


def test_rank_puts_critical_first_when_descending() -> None:
    ranked = sorted(RiskLevel, key=lambda level: level.rank, reverse=True)
    assert ranked == ["critical", "high", "medium", "low", "none"]
    assert [level.rank for level in ranked] == [4, 3, 2, 1, 0]


def test_risk_levels_are_ordered_by_rank() -> None:
    """By alphabet, high would be above critical."""
    assert sorted(RiskLevel) == [*reversed(RiskLevel)]
    assert max(RiskLevel) is RiskLevel.CRITICAL
    assert RiskLevel.CRITICAL > RiskLevel.HIGH >= RiskLevel.HIGH > RiskLevel.NONE
    assert RiskLevel.LOW < RiskLevel.MEDIUM <= RiskLevel.MEDIUM
