"""The interceptor's correction result, both ways: what came in <-> one group of corrections.

``validations.config["corrections"]`` keeps every key of the group in its order; what lies elsewhere
leaves its place: ``true`` for the ``original`` (the document's text) and the ``corrected`` text
(the version's, or the pending corrections'), their number for the ``corrections_applied``.

A correction's ``metadata_json`` keeps its keys in the same way: ``true`` for ``strategy`` and for
the ``reason`` within ``metadata``, which have columns. Where the text changed and no correction is
listed, one that tells nothing stands for the change.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from loki_storage.enums import GateStatus
from loki_storage.errors import InvalidValue
from loki_storage.intercepts.checks import json_texts, optional_text, plain_object
from loki_storage.intercepts.reports import ReportFacts
from loki_storage.intercepts.results import risk_of
from loki_storage.models import Correction, Document, Validation
from loki_storage.values import JsonValue

__all__ = ["CorrectionFacts", "read_corrections", "rebuilt_corrections"]

_FIELDS = Correction.domains
_COLUMNS = {"strategy": _FIELDS["strategy"], "reason": _FIELDS["reasoning"]}
_LIST = "corrections.corrections_applied"


@attrs.frozen
class CorrectionFacts:
    """What a correction result came to: checked columns by field of ``Correction``.

    ``corrected``: the new text, None where it is the document's. ``kept``: the group's part of the
    config. ``plain``: orjson writes all of it canonically, unless it does not write what is kept.
    """

    corrected: str | None = attrs.field(repr=False)
    columns: Mapping[str, tuple[Any, ...]] = attrs.field(repr=False)
    kept: dict[str, JsonValue] = attrs.field(repr=False)
    plain: bool


def read_corrections(given: object, document: str, report: ReportFacts) -> CorrectionFacts:
    """The correction result as facts, or ``InvalidValue`` with the path of what is wrong."""
    group = plain_object(given, "corrections")
    kept: dict[str, Any] = dict(group)
    corrected = _take_texts(kept, document)
    listed = _listed(group.get("corrections_applied"))
    if listed:
        kept["corrections_applied"] = len(listed)
    columns, plain = _columns(listed, report)
    if corrected is not None and not listed:
        columns = dict.fromkeys(columns, (None,))
    return CorrectionFacts(corrected, columns, kept, plain)


def rebuilt_corrections(
    document: Document,
    version: Document | None,
    validation: Validation,
    corrections: Iterable[Correction],
) -> dict[str, JsonValue] | None:
    """The correction result that ``read_corrections`` read; None where there was none.

    ``corrections`` may hold others of the same validation, that were created later.
    """
    config: Any = validation.config
    group: dict[str, Any] | None = config.get("corrections")
    if group is None:
        return None
    recorded = _recorded(group, validation, corrections)
    if group.get("original") is True:
        group["original"] = document.content
    if group.get("corrected") is True:
        group["corrected"] = _text(document, version, recorded)
    if isinstance(group.get("corrections_applied"), int):
        group["corrections_applied"] = list(map(_rebuilt, recorded))
    return group


def _recorded(
    group: Mapping[str, Any], validation: Validation, corrections: Iterable[Correction]
) -> list[Correction]:
    """Those that came with the validation, in the order in which they came."""
    listed = group.get("corrections_applied")
    count = listed if isinstance(listed, int) else 1
    recorded = [each for each in corrections if each.created_at == validation.created_at]
    return sorted(recorded, key=lambda correction: correction.id)[:count]


def _text(document: Document, version: Document | None, recorded: Sequence[Correction]) -> str:
    if version is not None:
        return version.content
    pending = [each.corrected_content for each in recorded if each.corrected_content is not None]
    return pending[-1] if pending else document.content


def _rebuilt(correction: Correction) -> dict[str, JsonValue]:
    kept: dict[str, Any] = correction.metadata_json
    if kept.get("strategy") is True:
        kept["strategy"] = correction.strategy
    metadata = kept.get("metadata")
    if isinstance(metadata, dict) and metadata.get("reason") is True:
        metadata["reason"] = correction.reasoning
    return kept


def _take_texts(kept: dict[str, Any], document: str) -> str | None:
    """Take original and corrected text out; the corrected one where it is another (COR-2)."""
    original = optional_text(kept.get("original"), "corrections.original")
    if original is not None:
        if original != document:
            raise InvalidValue("corrections.original", "is not the text of the document")
        kept["original"] = True
    corrected = optional_text(kept.get("corrected"), "corrections.corrected")
    if corrected is None:
        return None
    kept["corrected"] = True
    if corrected == document:
        return None
    return Document.domains["content"].accept("corrections.corrected", corrected)  # type: ignore[return-value]


def _listed(given: object) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        raise InvalidValue(_LIST, "must be an array")
    return [plain_object(each, f"{_LIST}[{n}]") for n, each in enumerate(given)]


def _columns(
    listed: Sequence[dict[str, Any]], report: ReportFacts
) -> tuple[dict[str, tuple[Any, ...]], bool]:
    paths = [f"{_LIST}[{n}]" for n in range(len(listed))]
    kept = [dict(given) for given in listed]
    columns: dict[str, Sequence[Any]] = {
        "target_gate": [_target(g, report, p) for g, p in zip(listed, paths, strict=True)],
        "strategy": [_take(g, "strategy", p) for g, p in zip(kept, paths, strict=True)],
        "reasoning": [_take_reason(g, p) for g, p in zip(kept, paths, strict=True)],
    }
    columns["metadata_json"], plain = json_texts(kept, paths)
    return {field: tuple(column) for field, column in columns.items()}, plain


def _take(kept: dict[str, Any], key: str, path: str) -> str | None:
    """Take out a text that has a column."""
    value: Any = kept.get(key)
    if value is not None:
        value = _COLUMNS[key].accept(f"{path}.{key}", value)
        kept[key] = True
    return value  # type: ignore[no-any-return]


def _take_reason(kept: dict[str, Any], path: str) -> str | None:
    if kept.get("metadata") is None:
        return None
    kept["metadata"] = dict(plain_object(kept["metadata"], f"{path}.metadata"))
    return _take(kept["metadata"], "reason", f"{path}.metadata")


def _target(given: dict[str, Any], report: ReportFacts, path: str) -> object:
    """``module.gate`` for a bare gate id; the id itself where no module of the report has it.

    Of several modules: one where the gate found something of this severity, or anything at all.
    """
    gate = optional_text(given.get("gate_id"), f"{path}.gate_id")
    keys = [f"{module}.{gate}" for module, gates in report.gates.items() if gate in gates]
    if len(keys) > 1:
        severity = optional_text(given.get("gate_severity"), f"{path}.gate_severity")
        keys.sort(key=_preference(report, severity))
    return _FIELDS["target_gate"].accept(f"{path}.gate_id", keys[0] if keys else gate)


def _preference(report: ReportFacts, severity: str | None) -> Any:
    column = report.results.column
    found = (GateStatus.FAIL, GateStatus.WARNING)
    ranks = {
        key: (status not in found, said is not risk_of(severity))
        for key, status, said in zip(
            column("gate_key"), column("status"), column("severity"), strict=True
        )
    }
    return ranks.__getitem__
