# No `from __future__ import annotations` here: the field domains are read from the annotations.
"""The records: what the store holds, as frozen attrs classes that say everything about themselves.

A record class *is* the ``kind`` of the protocol. It declares its fields with their value domain
(VAL), its unique keys and its references; a backend reads the layout from there. Constructing a
record checks and normalises every field. ``trusted`` skips that, for values that were checked
before: rows that come back from a store, columns that a mapping checked as a whole.

JSON fields hold canonical text, checked once, and hand out a fresh parsed value at each access, so
nothing changes behind a record's back. Every record has ``id`` and ``tenant_id``; uniqueness and
references never cross tenants.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self, TypeVar

import attrs

from loki_storage.enums import (
    ActorType,
    AuditAction,
    CorrectionStatus,
    CorrectionType,
    DocumentType,
    EntityType,
    ExportFormat,
    GateStatus,
    PeriodUnit,
    PolicyKind,
    ResultScope,
    RetentionAction,
    RetentionTrigger,
    RiskLevel,
    Severity,
    SortOrder,
    ValidationStatus,
)
from loki_storage.errors import InvalidField
from loki_storage.values import (
    Boolean,
    Color,
    Domain,
    Integer,
    Json,
    JsonText,
    JsonValue,
    Number,
    Text,
    Time,
    Word,
    parse,
)

__all__ = [
    "DEFAULT_TENANT",
    "KINDS",
    "ActorType",
    "ArchivedDocument",
    "AuditAction",
    "AuditEntry",
    "AuditTrail",
    "Chain",
    "Correction",
    "CorrectionHistory",
    "CorrectionStatus",
    "CorrectionType",
    "DataRetentionPolicy",
    "Document",
    "DocumentTag",
    "DocumentType",
    "EntityType",
    "ExportFormat",
    "ExportLog",
    "GateStatus",
    "Kind",
    "LegalHold",
    "PeriodUnit",
    "PolicyKind",
    "Record",
    "Reference",
    "ResultScope",
    "RetentionAction",
    "RetentionPolicy",
    "RetentionRun",
    "RetentionState",
    "RetentionTrigger",
    "RiskLevel",
    "Severity",
    "SortOrder",
    "Tag",
    "Unique",
    "Validation",
    "ValidationResult",
    "ValidationStatus",
]

DEFAULT_TENANT = "default"


def _read_only(values: Mapping[str, object]) -> Mapping[str, object]:
    return MappingProxyType(dict(values))


@attrs.frozen
class Unique:
    """No two rows of a tenant agree on these fields (none: one row per tenant).

    Rows with a NULL among the fields, or that differ from ``where``, are free (BAT-5).
    """

    fields: tuple[str, ...]
    where: Mapping[str, object] = attrs.field(factory=dict, converter=_read_only)

    def key(self, record: "Record") -> tuple[object, ...] | None:
        """The key that this record takes, or None where it is free."""
        if any(getattr(record, field) != value for field, value in self.where.items()):
            return None
        key = tuple(getattr(record, field) for field in self.fields)
        return None if None in key else key


@attrs.frozen
class Reference:
    """``field``, unless NULL, is the id of a row of ``kind`` in the same tenant."""

    field: str
    kind: "Kind"


class _Trusted:
    """Generates a kind's unchecked constructor when it is first asked for.

    Filling ``__dict__`` in generated code costs half of attrs' own frozen constructor.
    """

    def __get__(self, instance: object, owner: type["Record"]) -> Callable[..., Any]:
        names = owner.attributes.values()
        arguments = ", ".join(f"v{n}" for n in range(len(names)))
        lines = [f"    d[{name!r}] = v{n}" for n, name in enumerate(names)]
        head = [f"def trusted({arguments}):", "    r = new(cls)", "    d = r.__dict__"]
        scope: dict[str, Any] = {"new": object.__new__, "cls": owner}
        exec("\n".join([*head, *lines, "    return r"]), scope)
        trusted: Callable[..., Any] = scope["trusted"]
        owner.trusted = staticmethod(trusted)
        return trusted


@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Record:
    """Base of all records. Class attributes describe the kind; see the module's docstring."""

    table: ClassVar[str]
    """The kind's name, and that of its table in the relational layout."""
    domains: ClassVar[Mapping[str, Domain]]
    """Public field name -> domain, in declaration order."""
    unique: ClassVar[tuple[Unique, ...]] = ()
    references: ClassVar[tuple[Reference, ...]] = ()
    internal: ClassVar[bool] = False
    """Bookkeeping of the SDK: backed up, never exported, not told by the audit."""

    attributes: ClassVar[Mapping[str, str]]
    """Public field name -> name in the instance (JSON fields are held under ``_name``)."""
    _checks: ClassVar[tuple[tuple[str, str, Callable[[str, object], object]], ...]]
    """Public field name, name in the instance, and what accepts its value."""
    trusted: ClassVar[Callable[..., Any]] = _Trusted()  # type: ignore[assignment]
    """``Kind.trusted(*values)``: a record from values in the order of ``domains``, unchecked."""

    id: int
    tenant_id: str

    def __repr__(self) -> str:
        """Kind and id alone: a repr ends up in logs, and records hold personal data."""
        return f"{type(self).__name__}(id={self.id})"

    def __attrs_post_init__(self) -> None:
        """Check and normalise every field. A loop costs less at import than generated code."""
        held = self.__dict__
        for name, attribute, accept in self._checks:
            held[attribute] = accept(name, held[attribute])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.id))

    def evolve(self, **changes: Any) -> Self:
        """A copy with these fields changed (and checked)."""
        return attrs.evolve(self, **changes)

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """A copy with these stored values changed, unchecked: they were checked before."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update((self.attributes[field], v) for field, v in changes.items())
        return copy

    def stored(self, field: str) -> Any:
        """The field as it is stored: JSON as its canonical text, else the value itself."""
        return self.__dict__[self.attributes[field]]


Kind = type[Record]
KINDS: dict[str, Kind] = {}
"""All kinds by name, parents before children."""

R = TypeVar("R", bound=Record)


def _domain(field: "attrs.Attribute[Any]") -> Domain:
    extras = getattr(field.type, "__metadata__", ())
    return next(extra for extra in extras if isinstance(extra, Domain))


def _declare(table: str, *, internal: bool = False) -> Callable[[type[R]], type[R]]:
    """Register a record class as a kind: its domains, its trusted constructor, its table."""

    def declare(cls: type[R]) -> type[R]:
        fields = attrs.fields(cls)
        cls.table, cls.internal = table, internal
        cls.domains = MappingProxyType({f.alias: _domain(f) for f in fields})
        cls.attributes = MappingProxyType({f.alias: f.name for f in fields})
        cls._checks = tuple((f.alias, f.name, _domain(f).accept) for f in fields)
        KINDS[table] = cls
        return cls

    return declare


def domain_of(kind: Kind, field: str) -> Domain:
    """The domain of a kind's field, or ``InvalidField`` with a suggestion (QRY-2)."""
    try:
        domain = kind.domains.get(field)
    except TypeError:  # not hashable, so not a name
        domain = None
    if domain is None:
        raise InvalidField(field, f"is not a field of {kind.table}", kind.domains)
    return domain


class _JsonField:
    """Reads ``_name`` as parsed JSON, new at each access."""

    def __init__(self, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        text = instance.__dict__[self._name]
        return None if text is None else parse(text)


# Domains that many fields share.
Id = Annotated[int, Integer(minimum=1)]
OptionalId = Annotated[int | None, Integer(minimum=1, nullable=True)]
Tenant = Annotated[str, Text(100, minimum=1)]
ClientId = Annotated[str, Text(100, minimum=1)]
ActorId = Annotated[str, Text(100, minimum=1)]
OptionalActorId = Annotated[str | None, Text(100, minimum=1, nullable=True)]
OptionalText = Annotated[str | None, Text(nullable=True)]
OptionalBody = Annotated[str | None, Text(orderable=False, nullable=True)]
Text50 = Annotated[str, Text(50)]
OptionalText500 = Annotated[str | None, Text(500, nullable=True)]
Hash = Annotated[str, Text(64, minimum=1)]
OptionalHash = Annotated[str | None, Text(64, minimum=1, nullable=True)]
Count = Annotated[int, Integer(minimum=0)]
OptionalCount = Annotated[int | None, Integer(minimum=0, nullable=True)]
Confidence = Annotated[float | None, Number(nullable=True)]
Moment = Annotated[datetime, Time()]
OptionalMoment = Annotated[datetime | None, Time(nullable=True)]
Flag = Annotated[bool, Boolean()]
RequiredJson = Annotated[JsonText | JsonValue, Json()]
OptionalJson = Annotated[JsonText | JsonValue, Json(nullable=True)]
AuditJson = Annotated[JsonText | JsonValue, Json(nullable=True, bounded=False)]
OptionalRisk = Annotated[
    RiskLevel | None, Word(20, vocabulary=RiskLevel, ranked=True, nullable=True)
]


@_declare("document_chains", internal=True)
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Chain(Record):
    """One per document: what makes operations on its versions exclude each other (VER-10)."""

    id: Id
    tenant_id: Tenant
    client_id: ClientId
    revision: Count = 0
    live: Flag = True
    text_claim: OptionalHash = None
    intercept_claim: OptionalHash = None

    unique = (Unique(("client_id", "text_claim")), Unique(("client_id", "intercept_claim")))


@_declare("documents")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Document(Record):
    """One version of a document. ``root_id`` names its chain, the id of version 1 (DOC, VER)."""

    id: Id
    tenant_id: Tenant
    content_hash: Hash
    document_type: Annotated[
        DocumentType | str, Word(50, minimum=1, vocabulary=DocumentType, open=True)
    ]
    content: Annotated[str, Text(orderable=False)]
    content_length: Count
    title: OptionalText500 = None
    description: OptionalText = None
    source: OptionalText500 = None
    language: Annotated[str | None, Text(10, nullable=True)] = "en"
    _metadata_json: OptionalJson = None
    client_id: ClientId
    user_id: OptionalActorId = None
    version: Annotated[int, Integer(minimum=1)] = 1
    parent_id: OptionalId = None
    root_id: Id
    is_latest: Flag = True
    created_at: Moment
    updated_at: Moment
    deleted_at: OptionalMoment = None
    is_deleted: Flag = False

    metadata_json = _JsonField("metadata_json")
    unique = (Unique(("root_id", "version")), Unique(("root_id",), {"is_latest": True}))


@_declare("tags")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Tag(Record):
    """A label for documents; its name is unique per tenant (TAG-1)."""

    id: Id
    tenant_id: Tenant
    name: Annotated[str, Text(100, minimum=1)]
    description: OptionalText = None
    category: Annotated[str | None, Text(50, nullable=True)] = None
    color: Annotated[str | None, Color(7, nullable=True)] = None
    created_at: Moment

    unique = (Unique(("name",)),)


@_declare("document_tags")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class DocumentTag(Record):
    """A tag on a document: ``document_id`` is the chain's root id (TAG-2)."""

    id: Id
    tenant_id: Tenant
    document_id: Id
    tag_id: Id

    unique = (Unique(("document_id", "tag_id")),)


@_declare("validations")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Validation(Record):
    """One run of the gates over one document version (VLD)."""

    id: Id
    tenant_id: Tenant
    document_id: Id
    _modules_used: RequiredJson
    _config: OptionalJson = None
    status: Annotated[ValidationStatus, Word(20, vocabulary=ValidationStatus)] = (
        ValidationStatus.PENDING
    )
    started_at: OptionalMoment = None
    completed_at: OptionalMoment = None
    duration_ms: OptionalCount = None
    overall_risk: OptionalRisk = None
    critical_count: Count = 0
    high_count: Count = 0
    medium_count: Count = 0
    low_count: Count = 0
    pass_count: Count = 0
    fail_count: Count = 0
    warning_count: Count = 0
    request_hash: Hash
    client_id: ClientId
    user_id: OptionalActorId = None
    error_message: OptionalText = None
    error_traceback: OptionalText = None
    created_at: Moment

    modules_used = _JsonField("modules_used")
    config = _JsonField("config")
    unique = (Unique(("client_id", "request_hash")),)


@_declare("validation_results")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class ValidationResult(Record):
    """What one gate said; immutable. NULL severity: the engine gave none."""

    id: Id
    tenant_id: Tenant
    validation_id: Id
    client_id: ClientId
    scope: Annotated[ResultScope | str, Word(50, minimum=1, vocabulary=ResultScope, open=True)]
    module_id: Annotated[str | None, Text(100, nullable=True)] = None
    gate_id: Annotated[str, Text(100)]
    gate_key: Annotated[str, Text(255, minimum=1)]
    status: Annotated[GateStatus, Word(20, vocabulary=GateStatus)]
    severity: OptionalRisk = None
    message: OptionalText = None
    suggestion: OptionalText = None
    legal_source: OptionalText = None
    confidence_score: Confidence = None
    _evidence: OptionalJson = None
    _metadata_json: OptionalJson = None
    gate_version: Annotated[str | None, Text(20, nullable=True)] = None
    created_at: Moment

    evidence = _JsonField("evidence")
    metadata_json = _JsonField("metadata_json")

    said: ClassVar[tuple[str, ...]] = (
        "scope",
        "module_id",
        "gate_id",
        "gate_key",
        "gate_version",
        "status",
        "severity",
        "message",
        "suggestion",
        "legal_source",
    )
    """What a gate says, as far as it says the same of many documents: few combinations recur."""


@_declare("corrections")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class Correction(Record):
    """A proposed or applied change of a document's text (COR)."""

    id: Id
    tenant_id: Tenant
    document_id: Id
    validation_id: OptionalId = None
    correction_type: Annotated[
        CorrectionType | str, Word(50, minimum=1, vocabulary=CorrectionType, open=True)
    ]
    target_gate: Annotated[str | None, Text(255, nullable=True)] = None
    original_content: OptionalBody = None
    corrected_content: OptionalBody = None
    _diff: OptionalJson = None
    strategy: Annotated[str | None, Text(100, nullable=True)] = None
    confidence: Confidence = None
    reasoning: OptionalText = None
    status: Annotated[CorrectionStatus, Word(20, vocabulary=CorrectionStatus)] = (
        CorrectionStatus.PENDING
    )
    applied_at: OptionalMoment = None
    applied_by: OptionalActorId = None
    reviewed_at: OptionalMoment = None
    reviewed_by: OptionalActorId = None
    review_notes: OptionalText = None
    client_id: ClientId
    _metadata_json: OptionalJson = None
    created_at: Moment
    updated_at: Moment

    diff = _JsonField("diff")
    metadata_json = _JsonField("metadata_json")


@_declare("correction_history")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class CorrectionHistory(Record):
    """One step in a correction's life: who, what, when, why (COR-1)."""

    id: Id
    tenant_id: Tenant
    correction_id: Id
    change_type: Annotated[str, Text(50, minimum=1)]
    previous_status: Annotated[str | None, Text(50, nullable=True)] = None
    new_status: Text50
    _changes: OptionalJson = None
    reason: OptionalText = None
    changed_by: OptionalActorId = None
    changed_at: Moment

    changes = _JsonField("changes")


@_declare("audit_trail")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class AuditEntry(Record):
    """Who did what to which aggregate, and what changed (AUD). Its ids are plain numbers."""

    id: Id
    tenant_id: Tenant
    document_id: OptionalId = None
    validation_id: OptionalId = None
    action: Annotated[AuditAction | str, Word(100, minimum=1, vocabulary=AuditAction, open=True)]
    entity_type: Annotated[EntityType | str, Word(50, minimum=1, vocabulary=EntityType, open=True)]
    entity_id: OptionalId = None
    actor_id: ActorId
    actor_type: Annotated[ActorType, Word(50, vocabulary=ActorType)] = ActorType.USER
    _changes: AuditJson = None
    _metadata_json: OptionalJson = None
    ip_address: Annotated[str | None, Text(45, nullable=True)] = None
    user_agent: OptionalText500 = None
    request_id: Annotated[str | None, Text(100, nullable=True)] = None
    timestamp: Moment
    client_id: ClientId

    changes = _JsonField("changes")
    metadata_json = _JsonField("metadata_json")


@_declare("data_retention_policies")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class RetentionPolicy(Record):
    """How long records of one entity type are kept, and what happens then."""

    id: Id
    tenant_id: Tenant
    name: Annotated[str, Text(200, minimum=1)]
    description: OptionalText = None
    entity_type: Annotated[EntityType | str, Word(50, minimum=1, vocabulary=EntityType, open=True)]
    retention_days: Annotated[int, Integer(1, 36_500)]
    action: Annotated[RetentionAction, Word(20, vocabulary=RetentionAction)]
    _criteria: OptionalJson = None
    is_active: Flag = True
    priority: Annotated[int, Integer()] = 100
    last_run: OptionalMoment = None
    next_run: OptionalMoment = None
    total_processed: Count = 0
    total_affected: Count = 0
    created_at: Moment
    updated_at: Moment
    created_by: OptionalActorId = None
    period_amount: Annotated[int | None, Integer(1, 36_500, nullable=True)] = None
    """In ``period_unit``; None: the period is ``retention_days``, or for ever."""
    period_unit: Annotated[PeriodUnit, Word(20, vocabulary=PeriodUnit)] = PeriodUnit.DAYS
    trigger: Annotated[
        RetentionTrigger | str, Word(100, minimum=1, vocabulary=RetentionTrigger, open=True)
    ] = RetentionTrigger.CREATED
    kind: Annotated[PolicyKind, Word(20, vocabulary=PolicyKind)] = PolicyKind.MAXIMUM
    every_days: Annotated[int, Integer(1, 36_500)] = 1
    citation: OptionalText = None
    text_date: Annotated[str | None, Text(10, nullable=True)] = None
    """ISO date of the text that ``citation`` names."""
    verified: Flag = False
    """Whether the wording behind ``citation`` was checked; told in certificates."""

    criteria = _JsonField("criteria")
    unique = (Unique(("name",)),)


@_declare("export_logs")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class ExportLog(Record):
    """One export: what was asked for, what came out, where it lies."""

    id: Id
    tenant_id: Tenant
    export_type: Annotated[str, Text(50, minimum=1)]
    entity_type: Annotated[EntityType | str, Word(50, minimum=1, vocabulary=EntityType, open=True)]
    _filters: OptionalJson = None
    _fields: OptionalJson = None
    record_count: Count = 0
    file_size_bytes: OptionalCount = None
    file_path: OptionalText500 = None
    file_hash: OptionalHash = None
    status: Annotated[str, Text(50, minimum=1)] = "pending"
    error_message: OptionalText = None
    requested_by: ActorId
    client_id: ClientId
    requested_at: Moment
    completed_at: OptionalMoment = None
    expires_at: OptionalMoment = None

    filters = _JsonField("filters")
    fields = _JsonField("fields")


@_declare("retention_state", internal=True)
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class RetentionState(Record):
    """At most one per tenant: counts changes of holds and policies (RET-3)."""

    id: Id
    tenant_id: Tenant
    revision: Count = 0

    unique = (Unique(()),)


@_declare("legal_holds")
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class LegalHold(Record):
    """What no path may destroy while it is not released (HLD): ids, or all that a query matches."""

    id: Id
    tenant_id: Tenant
    name: Annotated[str, Text(200, minimum=1)]
    reason: Annotated[str, Text(minimum=1)]
    entity_type: Annotated[EntityType | str, Word(50, minimum=1, vocabulary=EntityType, open=True)]
    _ids: OptionalJson = None
    _query: OptionalJson = None
    placed_by: ActorId
    placed_at: Moment
    released_at: OptionalMoment = None
    released_by: OptionalActorId = None
    release_reason: OptionalText = None

    ids = _JsonField("ids")
    query = _JsonField("query")
    unique = (Unique(("name",)),)


@_declare("retention_runs", internal=True)
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class RetentionRun(Record):
    """One run of retention: its lease, how far it came, its certificate. One at a time (RET-3)."""

    id: Id
    tenant_id: Tenant
    plan_hash: Hash
    active: Flag = True
    owner: Annotated[str, Text(100, minimum=1)]
    lease_until: Moment
    as_of: Moment
    position: Count = 0
    """Planned units that are done with; each batch moves it along with what it does."""
    started_at: Moment
    started_by: ActorId
    finished_at: OptionalMoment = None
    _progress: AuditJson = None
    _certificate: AuditJson = None

    progress = _JsonField("progress")
    certificate = _JsonField("certificate")
    unique = (Unique((), {"active": True}),)


@_declare("archived_documents", internal=True)
@attrs.frozen(slots=False, kw_only=True, eq=False, repr=False)
class ArchivedDocument(Record):
    """What stays of an archived document: where its rows are, and what finds them (RET-4).

    ``id`` is its root id; its rows, the chain included, are in the archive store's ``bundle``.
    """

    id: Id
    tenant_id: Tenant
    client_id: ClientId
    document_type: Annotated[
        DocumentType | str, Word(50, minimum=1, vocabulary=DocumentType, open=True)
    ]
    created_at: Moment
    """Of the newest of its versions, validations and corrections."""
    archived_at: Moment
    archived_by: ActorId
    policy: Annotated[str, Text(200, minimum=1)]
    bundle: Annotated[str, Text(100, minimum=1)]
    sha256: Hash
    size: Count
    """Bytes of its rows, uncompressed."""
    row_count: Count
    lowest_id: Id
    """Of its versions; with ``highest_id`` what ``members`` need not be read for."""
    highest_id: Id
    _members: Annotated[JsonText | JsonValue, Json(bounded=False)]
    """Kind -> ranges of the ids of its rows."""

    members = _JsonField("members")


# References name other kinds, so they are declared once all are there.
Document.references = (Reference("parent_id", Document), Reference("root_id", Chain))
DocumentTag.references = (Reference("document_id", Chain), Reference("tag_id", Tag))
Validation.references = (Reference("document_id", Document),)
ValidationResult.references = (Reference("validation_id", Validation),)
Correction.references = (
    Reference("document_id", Document),
    Reference("validation_id", Validation),
)
CorrectionHistory.references = (Reference("correction_id", Correction),)

AuditTrail = AuditEntry
DataRetentionPolicy = RetentionPolicy
