"""What the engine could say: Hypothesis strategies for reports and correction results.

They draw what the sample of real ones has, and what it does not: absent keys, nulls, odd words,
failed modules and engines, keys that nobody knows, numbers that JSON readers round.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import attrs
from hypothesis import strategies as st

from loki_storage.intercepts import Intercept, to_corrections, to_report
from loki_storage.models import Correction, Document, Validation, ValidationResult
from loki_storage.rules.documents import first_version, second_version
from tests.strategies import MIDNIGHT

NOW = MIDNIGHT + timedelta(days=1)
ABSENT = object()

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.sampled_from(["consent", "consent.given", "fca_uk", "", "é", "a b", "module"]) | texts
numbers = st.integers() | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, 2**64, -(10**40), True])
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1.0, -0.0, 1e22, 1e-7])
jsons = st.recursive(
    st.none() | st.booleans() | numbers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
statuses = st.sampled_from(["PASS", "FAIL", "WARNING", "N/A", "ERROR"]) | st.sampled_from(
    ["pass", "Fail", "WARN", "warn", "NA", "n/a", "skip", "Skipped", "", "ｐａｓｓ", '"']
)
severities = st.sampled_from(["none", "low", "medium", "high", "critical"]) | st.sampled_from(
    ["High", "CRITICAL", "info", "None", ""]
)
zones = st.sampled_from([None, UTC, timezone(timedelta(hours=-5, minutes=-30))])
days = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2))
moments = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), days, zones)
times = st.builds(datetime.isoformat, moments, sep=st.sampled_from(["T", " ", '"', "\\", "é"]))
times |= st.sampled_from(["2026-01-01", "20260101T010203Z", "2026-01-01T00:00:00.5+02:00"])


def objects(
    extras: st.SearchStrategy[dict[str, Any]] | None = None, /, **keys: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with these keys in any order, and others; ABSENT leaves a key out."""
    other = st.dictionaries(texts.filter(lambda key: key not in keys), jsons, max_size=2)
    return st.builds(
        lambda known, more, order: order(
            [(k, v) for k, v in {**known, **more}.items() if v is not ABSENT]
        ),
        st.fixed_dictionaries(keys),
        other if extras is None else extras,
        st.randoms(use_true_random=False).map(_ordered),
    )


def _ordered(random: Any) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def ordered(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if random.random() < 0.5:
            random.shuffle(items)
        return dict(items)

    return ordered


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The value, null, or nothing at all."""
    return strategy | st.none() | st.just(ABSENT)


@st.composite
def documents(draw: st.DrawFn) -> str:
    return draw(texts | st.sampled_from(["", "Guaranteed returns.\r\n", "ß"]))


def entries(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What is said of one gate."""
    return objects(
        gate=maybe(names),
        version=maybe(texts),
        legal_source=maybe(texts),
        status=statuses,
        severity=maybe(severities),
        message=maybe(texts),
        suggestion=maybe(texts),
        timestamp=maybe(times),
        **more,
    )


usual_entries = st.builds(
    lambda name, status, time: {
        "gate": name,
        "version": "1.0.0",
        "legal_source": "Act 1",
        "status": status,
        "severity": "none",
        "message": "Said.",
        "timestamp": time,
    },
    names,
    st.sampled_from(["PASS", "N/A"]),
    days.map(datetime.isoformat),
)


def _summarised(module: dict[str, Any]) -> dict[str, Any]:
    """The module with a true summary, as the engine writes it."""
    words = [gate["status"] for gate in module["gates"].values()]
    counted = {"PASS": "pass", "FAIL": "fail", "WARNING": "warning", "ERROR": "error", "N/A": "na"}
    return module | {"summary": {key: words.count(word) for word, key in counted.items()}}


modules = objects(
    name=maybe(texts),
    version=maybe(texts),
    gates=st.dictionaries(names, entries() | usual_entries, max_size=4),
    summary=maybe(st.dictionaries(texts, jsons, max_size=2)),
)
modules |= modules.map(_summarised)
failed_modules = objects(
    error=texts.filter(bool),
    detail=maybe(jsons),
    gates=st.none() | st.just(ABSENT),
    name=maybe(texts),
)
issues = objects(
    id=names,
    severity=maybe(severities),
    message=maybe(texts),
    status=maybe(statuses),
    gate=maybe(jsons),
    timestamp=maybe(times),
)


def reports(document: str) -> st.SearchStrategy[dict[str, Any]]:
    """Reports of this document, of engines that failed and that did not."""
    digest = sha256(document.encode()).hexdigest()
    parts = {
        "document_hash": maybe(st.sampled_from([digest, digest.upper()])),
        "timestamp": maybe(times),
        "universal": maybe(st.dictionaries(names, entries(), max_size=2)),
        "analyzers": maybe(st.dictionaries(names, entries(), max_size=2)),
        "overall_risk": maybe(severities),
        "cross": maybe(objects(issues=maybe(st.lists(issues, max_size=2)))),
    }
    named = st.dictionaries(names, modules | failed_modules, max_size=3)
    sound = objects(modules=named, error=st.sampled_from([ABSENT, None, False, ""]), **parts)
    failed = objects(
        modules=maybe(named),
        error=texts.filter(bool) | st.just(True),
        message=maybe(texts),
        **parts,
    )
    return sound | failed


corrections_of_gates = objects(
    gate_id=maybe(names),
    gate_severity=maybe(severities),
    strategy=maybe(texts),
    metadata=maybe(objects(reason=maybe(texts), strategy=maybe(jsons))),
)


def groups(document: str) -> st.SearchStrategy[dict[str, Any]]:
    """Correction results of this document."""
    return objects(
        original=maybe(st.just(document)),
        corrected=maybe(st.just(document) | documents()),
        corrections_applied=maybe(st.lists(corrections_of_gates, max_size=3)),
        unchanged=maybe(st.booleans()),
    )


@st.composite
def lines(draw: st.DrawFn) -> dict[str, Any]:
    """Lines as ``ingest`` takes them."""
    document = draw(documents())
    return {
        "document": document,
        "document_type": draw(st.sampled_from(["financial", "a new type"])),
        "report": draw(reports(document)),
        "corrections": draw(st.none() | groups(document)),
        "modules": draw(st.none() | st.lists(texts, max_size=2)),
    }


@attrs.frozen
class Records:
    """An intercept as records, each built by its checking constructor."""

    document: Document
    version: Document | None
    validation: Validation
    results: Sequence[ValidationResult]
    corrections: Sequence[Correction]

    def report(self) -> Any:
        return to_report(self.document, self.validation, self.results)

    def group(self) -> Any:
        return to_corrections(self.document, self.version, self.validation, self.corrections)


def records(intercept: Intercept, *, pending: bool = False) -> Records:
    """What recording it would store, applied or pending."""
    document = first_version(
        id=1,
        tenant="t",
        now=NOW,
        content=intercept.document,
        document_type=intercept.document_type,
        client_id=intercept.client_id,
    )
    version = None
    if intercept.corrected is not None and not pending:
        version = second_version(document, id=2, content=intercept.corrected)
    by = None if pending else "me"
    results = intercept.results(range(7, 7 + intercept.result_count), "t", 1, NOW)
    corrections = intercept.corrections(
        range(3, 3 + intercept.correction_count), document, 1, NOW, by=by
    )
    return Records(
        document,
        version,
        intercept.validation(id=1, tenant="t", document_id=1, now=NOW),
        [checked(result) for result in results],
        [checked(correction) for correction in corrections],
    )


def checked(record: Any) -> Any:
    """The record through its checking constructor, which must find it in order."""
    again = type(record)(**{field: getattr(record, field) for field in record.domains})
    assert again == record
    assert [type(v) for v in vars(again).values()] == [type(v) for v in vars(record).values()]
    return again


def written(value: Any) -> str:
    """JSON text: equal where keys and their order, numbers and their kind are."""
    return json.dumps(value, ensure_ascii=True)
