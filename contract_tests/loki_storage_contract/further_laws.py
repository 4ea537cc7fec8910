"""Laws of rules, errors, migrations and plugins that the suite has no checks for.

Other tests of this project show them. One that gets a check moves to ``inventory``.
"""

from loki_storage_contract.inventory import LAWS, SDK, Law

__all__ = ["ALL_LAWS", "FURTHER_LAWS"]

_TABLE = (
    Law(
        "VLD-1",
        SDK,
        "pending -> in_progress -> completed | failed; pending or in_progress -> failed | "
        "cancelled; nothing else (`IllegalTransition`). `add_results` and `complete_validation` "
        "need `in_progress`. A finished validation and its results are immutable.",
    ),
    Law(
        "VLD-2",
        SDK,
        "The counters equal the results: pass/fail/warning count statuses; "
        "critical/high/medium/low count severities of results that failed or warned; skip and "
        "error are in no counter. A caller cannot set them. They are updated in the batch of the "
        "results, guarded; a lost race is retried by `storage.run`. `duration_ms` = completed - "
        "started. `(validation, gate_key)` may repeat. `module_id` and `gate_id`, where not "
        "given, are the halves of `gate_key` at its first dot (without a dot: both the key).",
    ),
    Law(
        "VLD-3",
        SDK,
        "`overall_risk` is what the engine says, also where a result is worse; where it says "
        "nothing, the highest severity among failed results, else `none`.",
    ),
    Law(
        "VLD-4",
        SDK,
        "A validation belongs to the tenant and client of its document version. `request_hash` "
        "is unique per (tenant, client): a known one of the same document returns the validation "
        "that has it (also of a deleted one; nothing is written), of another document it is "
        "`Duplicate`. Without one it is random.",
    ),
    Law(
        "VLD-5",
        SDK,
        "Gate statuses from the interceptor are mapped once, at the door, whatever their case: "
        "`N/A`, `NA` -> skip, `WARN` -> warning, an unknown word -> error with the word kept in "
        "metadata. Every result of an intercept reads back, the skipped too.",
    ),
    Law(
        "COR-1",
        SDK,
        "pending -> applied | rejected; applied -> reverted; nothing else. Creation and each "
        "transition write one `CorrectionHistory` row with who, why, when and the changed "
        "fields; a correction recorded as already applied (intercepts) has one, `applied`.",
    ),
    Law(
        "COR-2",
        SDK,
        "`corrected_content` is the whole new text: given, `original_content` is None or the "
        "whole text of the document version, else `InvalidValue`; fragments belong in `diff`, "
        "which is never applied. Applying appends a version with it in the same commit, and only "
        "if the head still has the text that it corrects (compared by hash; else "
        "`StaleVersion`); reverting appends the exact text from before, under the same "
        "condition. Corrections applied together are a group: each `applied` history row names "
        "the new version and the group's ids, and they are reverted together, a history row "
        "each. A pending group's text is the `corrected_content` of its last correction. One "
        "that brought no version changes its status only.",
    ),
    Law(
        "COR-3",
        SDK,
        "A correction's validation, if any, is one of the same document's.",
    ),
    Law(
        "ERR",
        SDK,
        "One tree under `StorageError`, each error also rooted in the builtin that a Python user "
        "would catch. `retryable` is an attribute. Driver errors are translated at one edge, by "
        "code, and no message carries a stored value, a parameter or a password.",
    ),
    Law(
        "MIG-1",
        SDK,
        "Opening a store of another revision raises `SchemaOutdated` with both revisions and the "
        "command to run; `open_storage(create=True)` (default for SQLite and memory) prepares an "
        "empty store; N processes may do so at once. A stamped store without its tables is "
        "`StorageDamaged`, and names `alembic stamp base && alembic upgrade head`.",
    ),
    Law(
        "MIG-2",
        SDK,
        "A store states the oldest schema revision whose SDK may still write: revisions first "
        "expand, and contract one minor version later, so that two neighbouring versions of the "
        "SDK can work on one store during an upgrade.",
    ),
    Law(
        "PLG-1",
        SDK,
        "A plugin declares the protocol version it was written for; a mismatch is refused with "
        "both versions and what to upgrade.",
    ),
    Law(
        "PLG-2",
        SDK,
        "Minor protocol versions only add kinds, and fields with defaults. A backend stores by "
        "field name and keeps fields that it does not know; a missing field reads as its default.",
    ),
)
FURTHER_LAWS = {law.id: law for law in _TABLE}
"""By id."""

ALL_LAWS = {**LAWS, **FURTHER_LAWS}
"""Every law, by id."""
