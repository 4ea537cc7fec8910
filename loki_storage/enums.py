"""The vocabulary's enums. All are ``str``: a member equals, hashes and prints as its stored value.

Closed ones (statuses, risk levels, actions) are all there is. Open ones (``DocumentType``,
``CorrectionType``, ``ResultScope``, ``AuditAction``, ``EntityType``) name what is known today; any
other word of the column's length is accepted too and comes back as it was written (VAL-7).
"""

from enum import StrEnum

__all__ = [
    "ActorType",
    "AuditAction",
    "CorrectionStatus",
    "CorrectionType",
    "DocumentType",
    "EntityType",
    "ExportFormat",
    "GateStatus",
    "PeriodUnit",
    "PolicyKind",
    "ResultScope",
    "RetentionAction",
    "RetentionTrigger",
    "RiskLevel",
    "Severity",
    "SortOrder",
    "ValidationStatus",
]


class DocumentType(StrEnum):
    """What kind of document it is (open)."""

    EMAIL = "email"
    CONTRACT = "contract"
    MARKETING = "marketing"
    FINANCIAL = "financial"
    LEGAL = "legal"
    MEDICAL = "medical"
    INSURANCE = "insurance"
    CUSTOMER_COMMS = "customer_comms"
    INTERNAL = "internal"
    OTHER = "other"
    FINANCIAL_PROMOTION = "financial_promotion"
    PRIVACY_POLICY = "privacy_policy"
    PRIVACY_NOTICE = "privacy_notice"
    EMPLOYMENT_CONTRACT = "employment_contract"
    NDA = "nda"
    INVOICE = "invoice"
    POLICY = "policy"
    TAX_RETURN = "tax_return"
    DISCIPLINARY = "disciplinary"
    AI_GENERATED = "ai_generated"
    SYNTHESIZED = "synthesized"
    GENERAL = "general"
    UNKNOWN = "unknown"


class ValidationStatus(StrEnum):
    """Where a validation is in its life (VLD-1)."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class GateStatus(StrEnum):
    """What one gate said; ``skip`` is "not applicable"."""

    PASS = "pass"
    FAIL = "fail"
    WARNING = "warning"
    SKIP = "skip"
    ERROR = "error"


class RiskLevel(StrEnum):
    """Severity of a finding and risk of a document, ordered by rank, not by alphabet (QRY-1)."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"

    @property
    def rank(self) -> int:
        """0 (none) to 4 (critical)."""
        return _RANK[self]

    # Members are ordered among themselves; against other text they are text.

    def __lt__(self, other: str) -> bool:
        return self.rank < other.rank if isinstance(other, RiskLevel) else str(self) < other

    def __le__(self, other: str) -> bool:
        return self.rank <= other.rank if isinstance(other, RiskLevel) else str(self) <= other

    def __gt__(self, other: str) -> bool:
        return self.rank > other.rank if isinstance(other, RiskLevel) else str(self) > other

    def __ge__(self, other: str) -> bool:
        return self.rank >= other.rank if isinstance(other, RiskLevel) else str(self) >= other


Severity = RiskLevel
_RANK = {level: rank for rank, level in enumerate(reversed(RiskLevel))}


class CorrectionStatus(StrEnum):
    """Where a correction is in its life (COR-1)."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"
    REVERTED = "reverted"


class CorrectionType(StrEnum):
    """How a correction came about (open)."""

    REWRITE = "rewrite"
    SUGGESTION = "suggestion"
    AUTO_FIX = "auto_fix"


class ResultScope(StrEnum):
    """Which part of the engine a result comes from (open)."""

    MODULE = "module"
    UNIVERSAL = "universal"
    ANALYZER = "analyzer"
    CROSS = "cross"


class RetentionAction(StrEnum):
    """What a retention policy does with what is due, from the least destructive to the most."""

    COMPRESS = "compress"
    ARCHIVE = "archive"
    ANONYMIZE = "anonymize"
    DELETE = "delete"


class PeriodUnit(StrEnum):
    """What a retention period counts; months and years are the calendar's."""

    DAYS = "days"
    MONTHS = "months"
    YEARS = "years"
    FOREVER = "forever"


class RetentionTrigger(StrEnum):
    """When a retention period begins (open: other words name an event)."""

    CREATED = "created"
    UPDATED = "updated"
    SUPERSEDED = "superseded"
    DELETED = "deleted"


class PolicyKind(StrEnum):
    """``minimum``: keep until then, whatever else is due. ``maximum``: act when due."""

    MINIMUM = "minimum"
    MAXIMUM = "maximum"


class ActorType(StrEnum):
    """Who acts."""

    USER = "user"
    SYSTEM = "system"
    API = "api"


class AuditAction(StrEnum):
    """What an audit entry tells of (open: applications add their own)."""

    CREATE = "create"
    READ = "read"
    VERSION = "version"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    APPLY = "apply"
    REJECT = "reject"
    REVERT = "revert"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    ANONYMIZE = "anonymize"
    COMPRESS = "compress"
    HOLD = "hold"
    RELEASE = "release"
    EXPORT = "export"
    CLEANUP = "cleanup"
    BACKUP = "backup"
    RESTORE_STORE = "restore_store"
    MIGRATE = "migrate"


class EntityType(StrEnum):
    """What an audit entry is about (open)."""

    DOCUMENT = "document"
    VALIDATION = "validation"
    CORRECTION = "correction"
    TAG = "tag"
    POLICY = "policy"
    EXPORT = "export"
    AUDIT = "audit"
    HOLD = "hold"
    RETENTION = "retention"
    STORE = "store"


class SortOrder(StrEnum):
    """Direction of an order; NULLs come last in both (QRY-1)."""

    ASC = "asc"
    DESC = "desc"


class ExportFormat(StrEnum):
    """Formats that exports know; plugins add names."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    EXCEL = "excel"
    PARQUET = "parquet"
