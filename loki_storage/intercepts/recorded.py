"""What recording an intercept comes to, and what is read back of one."""

from collections.abc import Iterable, Sequence

import attrs

from loki_storage.errors import IllegalTransition, InvalidValue
from loki_storage.intercepts.corrections import rebuilt_corrections
from loki_storage.intercepts.reports import rebuilt_report
from loki_storage.models import Correction, Document, Validation, ValidationResult
from loki_storage.rules.retained import ANONYMIZED
from loki_storage.values import JsonValue

__all__ = ["RecordedIntercept", "StoredIntercept", "to_corrections", "to_report"]


@attrs.frozen
class RecordedIntercept:
    """What recording an intercept came to.

    ``version``: the corrected text's version, where there is one. ``replayed``: it was recorded
    before, and nothing was written. ``reused``: the document was there already.
    """

    document: Document
    validation: Validation
    version: Document | None
    replayed: bool
    reused: bool = False


@attrs.frozen
class StoredIntercept:
    """A recorded intercept as it lies in the store."""

    document: Document
    version: Document | None
    validation: Validation
    results: Sequence[ValidationResult] = attrs.field(repr=False)
    corrections: Sequence[Correction] = attrs.field(repr=False)

    def to_report(self) -> dict[str, JsonValue]:
        """The report that came in."""
        return to_report(self.document, self.validation, self.results)

    def to_corrections(self) -> dict[str, JsonValue] | None:
        """The correction result that came in; None where none did."""
        return to_corrections(self.document, self.version, self.validation, self.corrections)


def to_report(
    document: Document, validation: Validation, results: Iterable[ValidationResult]
) -> dict[str, JsonValue]:
    """The report that came in: equal, in the same key order.

    Raises ``InvalidValue`` for a validation that no intercept brought, ``IllegalTransition`` for
    one that retention has anonymized.
    """
    _check_recorded(validation)
    return rebuilt_report(document.content_hash, validation, results)


def to_corrections(
    document: Document,
    version: Document | None,
    validation: Validation,
    corrections: Iterable[Correction],
) -> dict[str, JsonValue] | None:
    """The correction result that came in: equal, in the same key order; None where none did.

    ``version``: the one that holds the corrected text, None where there is none. Corrections of
    the validation that were created later are left out.

    Raises ``InvalidValue`` for a validation that no intercept brought, ``IllegalTransition`` for
    one that retention has anonymized.
    """
    _check_recorded(validation)
    return rebuilt_corrections(document, version, validation, corrections)


def _check_recorded(validation: Validation) -> None:
    config = validation.config
    if isinstance(config, dict) and ANONYMIZED in config:
        raise IllegalTransition(
            f"validation {validation.id} was anonymized: its results are kept, what came in is not"
        )
    if not isinstance(config, dict) or "report" not in config:
        raise InvalidValue("config", "is not that of a validation recorded from an intercept")
