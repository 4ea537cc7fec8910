"""``Intercept``: what the interceptor hands over for one document, checked and ready to record."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from typing import Any, Self

import attrs
import orjson

from loki_storage.enums import CorrectionStatus, CorrectionType, RiskLevel, ValidationStatus
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.intercepts.checks import json_texts
from loki_storage.intercepts.corrections import CorrectionFacts, read_corrections
from loki_storage.intercepts.reports import ReportFacts, read_report
from loki_storage.intercepts.results import ResultColumns
from loki_storage.models import (
    AuditEntry,
    Correction,
    Document,
    Kind,
    Validation,
    ValidationResult,
)
from loki_storage.rows import Rows
from loki_storage.rules.validations import counters, duration_ms
from loki_storage.values import JsonText, JsonValue, canonical

__all__ = ["LINE_KEYS", "Intercept"]

LINE_KEYS = (
    "document",
    "document_type",
    "report",
    "modules",
    "corrections",
    "client_id",
    "tenant",
    "user_id",
    "title",
    "source",
    "request_id",
)
"""What a line of intercepts may say; the first three are required."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Intercept:
    """One document, what the interceptor found in it and what it corrected; of no tenant yet.

    Made by ``from_report`` or ``from_line``, which check everything; nothing is checked again.
    ``corrected``: the corrected text, None where it is the document's. ``validation``, ``results``
    and ``corrections`` build the records once their ids are known.
    """

    document: str
    document_type: str
    client_id: str
    document_hash: str
    request_hash: str
    modules_used: JsonText
    config: JsonText
    status: ValidationStatus
    overall_risk: RiskLevel | None
    started_at: datetime | None
    completed_at: datetime | None
    error_message: str | None
    corrected: str | None
    user_id: str | None
    title: str | None
    source: str | None
    request_id: str | None
    _results: ResultColumns
    _corrections: Mapping[str, tuple[Any, ...]]

    def __repr__(self) -> str:
        """Figures alone: a repr ends up in logs."""
        return f"Intercept(results={self.result_count}, corrections={self.correction_count})"

    @classmethod
    def from_report(
        cls,
        document: str,
        document_type: str,
        client_id: str,
        report: Mapping[str, object],
        corrections: Mapping[str, object] | None = None,
        modules: Sequence[str] | None = None,
        *,
        user_id: str | None = None,
        title: str | None = None,
        source: str | None = None,
        request_id: str | None = None,
        timezone: tzinfo = UTC,
        request_hash: str | None = None,
    ) -> Self:
        """Map the interceptor's report and correction result, taken as they are.

        ``modules``: what was asked for, else what the report has. ``timezone``: of times without
        one. ``request_hash``, unless given, is the SHA-256 of the canonical JSON of the array of
        client_id, document, document_type, report and corrections.

        Raises ``InvalidValue`` with the path of what is malformed, never with a value (VAL-8).
        """
        if not isinstance(timezone, tzinfo):
            raise InvalidValue("timezone", "must be a time zone")
        described = _described(document, document_type, client_id, title, source, user_id)
        digest = sha256(described["document"].encode()).hexdigest()
        facts = read_report(report, digest, timezone)
        group = _NO_GROUP
        if corrections is not None:
            group = read_corrections(corrections, described["document"], facts)
        config, used, plain = _json(facts, None if corrections is None else group, modules)
        if request_hash is None:
            request = [client_id, document, document_type, report, corrections]
            request_hash = _hash(request, plain=plain and facts.plain and group.plain)
        return cls(
            **described,
            document_hash=digest,
            request_hash=_HASH.accept("request_hash", request_hash),
            request_id=_REQUEST_ID.accept("request_id", request_id),
            modules_used=used,
            config=config,
            status=facts.status,
            overall_risk=facts.overall_risk,
            started_at=facts.started_at,
            completed_at=facts.completed_at,
            error_message=facts.error_message,
            corrected=group.corrected,
            results=facts.results,
            corrections=group.columns,
        )

    @classmethod
    def from_line(cls, line: Mapping[str, Any], *, default_client: str = "default") -> Self:
        """Map a parsed line of an ``ingest`` file; its ``tenant`` is the caller's business.

        Raises ``InvalidField`` for a key that is none of ``LINE_KEYS``, else as ``from_report``.
        """
        if not isinstance(line, Mapping):
            raise InvalidValue("line", "must be a JSON object")
        for key in line:
            if key not in LINE_KEYS:
                raise InvalidField(key, "is not a key of an intercept", LINE_KEYS)
        client = line.get("client_id")
        return cls.from_report(
            line.get("document"),  # type: ignore[arg-type]
            line.get("document_type"),  # type: ignore[arg-type]
            default_client if client is None else client,
            line.get("report"),  # type: ignore[arg-type]
            line.get("corrections"),
            line.get("modules"),
            user_id=line.get("user_id"),
            title=line.get("title"),
            source=line.get("source"),
            request_id=line.get("request_id"),
        )

    @property
    def result_count(self) -> int:
        """How many gate results it brings, the skipped ones too."""
        return len(self._results.said)

    @property
    def correction_count(self) -> int:
        """How many corrections it brings: those listed, or one for a change nobody explains."""
        return len(self._corrections.get("strategy", ()))

    def validation(self, *, id: int, tenant: str, document_id: int, now: datetime) -> Validation:
        """The finished validation, with its counters (VLD-2)."""
        duration = None
        if self.started_at is not None and self.completed_at is not None:
            duration = duration_ms(self.started_at, self.completed_at)
        pairs = zip(self._results.column("status"), self._results.column("severity"), strict=True)
        counted: dict[str, Any] = dict(counters(pairs))
        return Validation(
            id=id,
            tenant_id=tenant,
            document_id=document_id,
            modules_used=self.modules_used,
            config=self.config,
            status=self.status,
            started_at=self.started_at,
            completed_at=self.completed_at,
            duration_ms=duration,
            overall_risk=self.overall_risk,
            request_hash=self.request_hash,
            client_id=self.client_id,
            user_id=self.user_id,
            error_message=self.error_message,
            created_at=now,
            **counted,
        )

    def results(
        self, ids: Iterable[int], tenant: str, validation_id: int, now: datetime
    ) -> Rows[ValidationResult]:
        """The gate results in the report's order, which is that of their ids."""
        same = {
            "tenant_id": tenant,
            "validation_id": validation_id,
            "client_id": self.client_id,
            "created_at": now,
        }
        ordered, results = _ordered(ids, self.result_count, ValidationResult), self._results
        columns, said = {"id": ordered, **results.columns}, (ValidationResult.said, results.said)
        return Rows(ValidationResult, columns, same, said)

    def corrections(
        self,
        ids: Iterable[int],
        document: Document,
        validation_id: int,
        now: datetime,
        by: str | None,
    ) -> Rows[Correction]:
        """The corrections, applied by ``by``; pending where that is None.

        Applied ones have no text of their own, the new version holds it; of pending ones the last
        holds the whole corrected text (COR-2).
        """
        same = {
            "tenant_id": document.tenant_id,
            "document_id": document.id,
            "validation_id": validation_id,
            "correction_type": CorrectionType.AUTO_FIX,
            "status": CorrectionStatus.PENDING if by is None else CorrectionStatus.APPLIED,
            "applied_at": None if by is None else now,
            "applied_by": by,
            "client_id": self.client_id,
            "created_at": now,
            "updated_at": now,
        }
        count = self.correction_count
        columns = {"id": _ordered(ids, count, Correction), **self._corrections}
        if by is None and count:
            columns["corrected_content"] = (*[None] * (count - 1), self.corrected)
        return Rows(Correction, columns, same)


_NO_GROUP = CorrectionFacts(None, {}, {}, plain=True)
_HASH: Any = Validation.domains["request_hash"]
_REQUEST_ID: Any = AuditEntry.domains["request_id"]


def _described(
    document: str,
    document_type: str,
    client_id: str,
    title: str | None,
    source: str | None,
    user_id: str | None,
) -> dict[str, Any]:
    """What the document's own domains say to these."""
    given = {
        "document_type": document_type,
        "client_id": client_id,
        "title": title,
        "source": source,
        "user_id": user_id,
    }
    described = {field: Document.domains[field].accept(field, v) for field, v in given.items()}
    described["document"] = Document.domains["content"].accept("document", document)
    return described


def _json(
    report: ReportFacts, group: CorrectionFacts | None, modules: object
) -> tuple[JsonText, JsonText, bool]:
    """The config, the modules used, and whether orjson writes both canonically."""
    used = report.modules if modules is None else modules
    if not isinstance(used, list | tuple) or not all(isinstance(each, str) for each in used):
        raise InvalidValue("modules", "must be an array of text")
    config: dict[str, JsonValue] = dict(report.kept)
    if group is not None:
        config["corrections"] = group.kept
    try:
        (text, modules_used), plain = json_texts([config, used], ["report", "modules"])
    except InvalidValue:
        if group is not None:
            canonical(group.kept, "corrections")  # is this the part that is wrong?
        raise
    return JsonText(text), JsonText(modules_used), plain


def _hash(request: list[Any], *, plain: bool) -> str:
    """SHA-256 of the canonical JSON; ``plain``: orjson writes it in that form (30x as fast)."""
    if plain:
        with suppress(TypeError):  # only where the caller's own classes are among the parts
            return sha256(orjson.dumps(request)).hexdigest()
    return sha256(canonical(request, "report", bounded=False).encode()).hexdigest()


def _ordered(ids: Iterable[int], count: int, kind: Kind) -> list[int]:
    """One id for each row, in the order of the rows."""
    ordered = sorted(ids)
    if len(ordered) != count:
        raise InvalidValue("ids", f"must be one for each of {kind.table}")
    return ordered
