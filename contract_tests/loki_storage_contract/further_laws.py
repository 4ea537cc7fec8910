"""Laws of rules, errors, migrations and plugins that the suite has no checks for.

Other tests of this project show them. One that gets a check moves to ``inventory``.
"""

from loki_storage_contract.inventory import LAWS, SDK, Law

__all__ = ["ALL_LAWS", "FURTHER_LAWS"]

_TABLE = (
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
