"""The laws: what each says and who may break it. The docs are generated from this table.

A law of scope ``BACKEND`` can be broken by a backend, one of scope ``SDK`` only by the rules above
it. Text is never changed silently: checks cite a law by its id, and so do reports.
"""

from typing import Literal

import attrs

__all__ = ["BACKEND", "LAWS", "SDK", "Claim", "Law", "Scope"]

Scope = Literal["backend", "sdk"]
Claim = Literal["durable", "processes"]
"""What a backend may claim; a check that needs more than a target claims is not run on it."""
BACKEND: Scope = "backend"
SDK: Scope = "sdk"


@attrs.frozen
class Law:
    """One law of the contract."""

    id: str
    scope: Scope
    text: str
    needs: Claim | None = None
    """What a backend claims or not, and with it the whole law."""


_TABLE = (
    Law(
        "BAT-1",
        BACKEND,
        "Every operation of a batch acts inside its tenant; an id of another tenant is an "
        "id that does not exist. Ids are unique per kind in the whole store; to insert one "
        "that was not leased from it is outside the protocol (`load` apart).",
    ),
    Law(
        "BAT-2",
        BACKEND,
        "A batch names a (kind, id) at most once, `Require` included: the session folds "
        "what it buffers, keeping the first guard and the last values. A `Require` on a row "
        "that the session itself inserted or changed is judged on the session's view; what "
        "it asks of fields that the session did not change joins that row's guard.",
    ),
    Law(
        "BAT-3",
        BACKEND,
        "Guards and `Require` are judged on the state before the batch, unique keys and "
        "references on the state after it; the order of operations has no meaning. (SQL "
        "checks unique indexes row by row: deletes first, then updates that release a key "
        "by NULL or by leaving `where`, other updates, inserts.) One thing is outside the "
        "protocol: a unique value that passes straight from one updated row to another (the "
        "first neither sets NULL nor leaves `where`). No rule builds such a batch: within a "
        "session a name is free again only after the commit (`Duplicate`).",
    ),
    Law(
        "BAT-4",
        BACKEND,
        "A row that is not there fails every guard, also an empty one: `StaleWrite(kind, "
        "id)`. An id that exists: `Duplicate(kind, fields)`. A reference that does not hold "
        "afterwards: `BrokenReference(kind, field)` (retryable). When several fail: "
        "`StaleWrite`, then `Duplicate`, then `BrokenReference`; which row is named among "
        "several is free, the SDK decides by reading again. Then nothing is written. "
        "(SQLite: `defer_foreign_keys`; PostgreSQL reports the unique key first anyway.)",
    ),
    Law(
        "BAT-5",
        BACKEND,
        "`Unique(fields, where=None)`: rows with a NULL among the fields, or outside "
        "`where`, are free. References are checked both ways.",
    ),
    Law(
        "BAT-6",
        BACKEND,
        "Concurrent batches have the effect of some order one after the other.",
    ),
    Law(
        "BAT-7",
        BACKEND,
        "A `select` sees one moment, taken at its first `next()`, whoever writes meanwhile, "
        "in the same thread too (a connection per open stream or transaction); closing it "
        "early frees everything; a consumer slower than the idle timeout gets `Timeout`.",
    ),
    Law(
        "BAT-8",
        BACKEND,
        "`reserve` is durable before it returns; ranges never overlap across threads, "
        "processes, reopening, `load`.",
    ),
    Law(
        "BAT-9",
        BACKEND,
        "`close` is idempotent; any call afterwards raises `Unavailable`.",
    ),
    Law(
        "VAL-1",
        SDK,
        "Records and queries are validated at construction. A value is accepted or refused "
        "identically on every backend (a naive schema differs on 33 of 69 hostile values "
        "between SQLite and PostgreSQL).",
    ),
    Law(
        "VAL-2",
        BACKEND,
        "Text: all of Unicode except U+0000 and lone surrogates; kept exactly (no trimming, "
        "no normalisation, CRLF kept).",
    ),
    Law(
        "VAL-3",
        SDK,
        "The specification's `String(n)` limits count code points and hold everywhere. "
        "`content`: up to 64 MiB, configurable; empty content is a document like any other.",
    ),
    Law(
        "VAL-4",
        BACKEND,
        "Datetimes are aware; any zone in, UTC out, microseconds kept, years 1-9999. Naive "
        "is refused.",
    ),
    Law(
        "VAL-5",
        SDK,
        "`client_id`, tenant and actor ids are not empty. Integers within 64 bits signed; "
        "floats finite; `confidence`, `confidence_score` within 0.0-1.0; counts >= 0; "
        "`retention_days` 1..36,500; `color` is `#rrggbb`.",
    ),
    Law(
        "VAL-6",
        BACKEND,
        "JSON (a record holds its canonical text, checked once at construction, and hands "
        "out a fresh parsed value, so nothing changes behind its back; backends store that "
        "text): string keys, keys and strings as VAL-2, finite numbers, integers up to "
        "4,300 digits, depth <= 64, <= 1 MiB by default. Comes back equal and in the same "
        "key order; `1` is not `1.0`; `None`, `{}` and `[]` differ.",
    ),
    Law(
        "VAL-7",
        BACKEND,
        "Closed enums accept a member or its value and come back as a member. Open "
        "vocabularies (`document_type`, `correction_type`, `action`, `entity_type`, "
        "`scope`) accept 1 to the column's length characters (`document_type` 50), no "
        "control characters, no leading or trailing space; known values come back as "
        "members. Nothing that was accepted on write can make a later read raise.",
    ),
    Law(
        "VAL-8",
        SDK,
        "The error is typed (`InvalidValue` with `.field` and `.reason`), and its message "
        "never contains the value.",
    ),
    Law(
        "DOC-1",
        SDK,
        "`content_hash` is the SHA-256 hex of the content's UTF-8 bytes, `content_length` "
        "its code points; a caller cannot set them. `documents.verify(id)` recomputes.",
    ),
    Law(
        "VER-1",
        SDK,
        "A chain's version numbers are 1..n without gaps over live and deleted rows alike, "
        "and are never reused. A chain is purged whole or not at all.",
    ),
    Law(
        "VER-2",
        SDK,
        "`parent_id` is the row with number version-1 of the same chain, live or deleted; "
        "the head that it was built on stands in the audit entry. `root_id` is the id of "
        "version 1. No two rows of a chain have one number or one parent; no cycles.",
    ),
    Law(
        "VER-3",
        SDK,
        "While a chain has a live version, exactly one row is `is_latest`, and it is the "
        "highest live version. A deleted row is never latest.",
    ),
    Law(
        "VER-4",
        SDK,
        "`create_version(parent_id, ...)` needs the current head as parent; otherwise "
        "`StaleVersion` with `.current_id`, and nothing is written. Of n writers on one "
        "head, exactly one wins.",
    ),
    Law(
        "VER-5",
        SDK,
        "Earlier versions are immutable: content, hash, metadata, creator and time never "
        "change. `update` changes descriptive fields of the head only (title, description, "
        "source, language, metadata); content only changes by a new version (retention "
        "apart). `update` on an earlier version: `StaleVersion`.",
    ),
    Law(
        "VER-6",
        SDK,
        "Any content may follow any content: A -> B -> A is legal, and so is an unchanged text.",
    ),
    Law(
        "VER-7",
        SDK,
        "A new version has its own `created_at` and `user_id`, inherits the other "
        "descriptive fields unless given, and keeps the document's tags.",
    ),
    Law(
        "VER-8",
        SDK,
        "`get_version_history(any member, include_deleted=False)`: the live versions, "
        "ascending (with `include_deleted=True` all); any member, also a deleted one, may "
        "be the argument. `get_latest_version(any member)`: the live head or None. "
        "`get_as_of(any member, time)`: the highest version with `created_at <= time` that "
        "is live today; with `include_deleted=True` also those deleted since, later than "
        "`time`. Within a chain `created_at` never decreases, whatever the clock does.",
    ),
    Law(
        "VER-9",
        SDK,
        "`revert_to(version_id)` appends a version with that version's exact content.",
    ),
    Law(
        "VER-10",
        SDK,
        "Every operation on a chain (version, update, delete, restore, of either kind, "
        "retention) adds 1 to `Chain.revision`, guarded by the value that was read, and "
        "that is its only guard; so two operations on one chain never both commit on one "
        "view (write skew: A deletes the head and promotes v1 while B restores v2). "
        "Children (validations, corrections) require their version live, tags the chain. "
        "`updated_at` moves only on rows whose own columns change, and never goes back. (A "
        "row of its own, because changing a counter beside a 10 MB text rewrites 20 MB.)",
    ),
    Law(
        "DEL-1",
        SDK,
        "`delete(document_id)` soft-deletes every live version of the chain with one "
        "`deleted_at`, later by at least 1 us than every other of the chain; its "
        "validations and corrections leave the default reads with it. `delete_version(id)` "
        "deletes one version; if it was the head, the highest live version becomes the "
        "head; of the only live version it is `delete`.",
    ),
    Law(
        "DEL-2",
        SDK,
        "No default read returns a deleted row: get, list, search, count, history, "
        "statistics, exports, dedupe. `include_deleted=True` / `.include_deleted()` / "
        "`.only_deleted()` show them.",
    ),
    Law(
        "DEL-3",
        SDK,
        "`is_deleted` and `deleted_at` agree always. `delete`, `delete_version`, `restore`, "
        "`restore_version` take any existing id; repeated on what is already so they change "
        "nothing, not even a time, write no audit entry and return the record. Unknown id: "
        "`NotFound`.",
    ),
    Law(
        "DEL-4",
        SDK,
        "`restore(document_id)` brings back the rows with the chain's greatest "
        "`deleted_at`; on a live document it changes nothing; `restore_version(id)` one. "
        "Afterwards VER-3 holds. Delete then restore is the identity on the specification's "
        "columns but for `updated_at`, and on everything but the chain's claims and "
        "revision.",
    ),
    Law(
        "DEL-5",
        SDK,
        "Nothing can be added to a deleted document (version, validation, result, "
        "correction, tag): `NotFound`. A validation in progress goes on after a restore.",
    ),
    Law(
        "DEL-6",
        SDK,
        "`delete` never removes a row. `purge` is the only hard delete of documents: it "
        "takes soft-deleted or retention-expired chains only, whole, in batches, children "
        "first, and its audit entries stay.",
    ),
    Law(
        "DEL-7",
        SDK,
        "Validations, corrections and audit entries have no default delete at all.",
    ),
    Law(
        "DUP-1",
        SDK,
        "Duplicates are a rule of creating, per (tenant, client): when a live head already "
        'has the text, `create_document(on_duplicate=...)` raises (`"raise"`, the default: '
        '`DuplicateDocument` with `.existing_id`), returns that document (`"return"`), or '
        'stores another (`"allow"`). Of n concurrent creations of one text with the '
        "default, exactly one wins. A new version and a restore are never refused for their "
        "text. Shape: creation reads the live heads; `Chain.text_claim` (NULL or "
        "`content_hash`; unique per tenant and client) only settles races between "
        "creations: set when version 1 is created as head with `raise` or `return`, cleared "
        "in the batch that takes head or life away, never set again (a version or a restore "
        "that brings the text back is legal in any order).",
    ),
    Law(
        "DUP-2",
        SDK,
        "Nothing crosses tenants or clients: no id and no error tells whether another one "
        "holds the text, and the same statements run whoever does.",
    ),
    Law(
        "DUP-3",
        SDK,
        "A soft-deleted text can be stored again.",
    ),
    Law(
        "DUP-4",
        SDK,
        "Of n concurrent intercepts of one text in one (tenant, client), one creates the "
        "document and the others join it: `Chain.intercept_claim` (unique per tenant and "
        "client) holds the hash of the version 1 that `record_intercept` created, until "
        "that row is deleted; who loses the race runs again and reuses.",
    ),
    Law(
        "DUP-5",
        SDK,
        "An anonymized document takes no part in any of this: its claims and its "
        "`request_hash`es are replaced by random ones.",
    ),
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
        "AUD-1",
        SDK,
        "Every operation that changes something writes exactly one audit entry per changed "
        "aggregate, in the same atomic batch, with the session's actor and request. An "
        "aggregate is a document with its versions and tags; a validation with its results; "
        "a correction with its history (recorded or applied together: one entry); a tag; a "
        "policy; an export log; a hold; and the store itself (backup, restore, migrate). "
        '`changes` = `{"rows": [{"kind", "op": insert|update|delete, "ids": [[first, last], '
        '…]}], "fields": [{"kind", "id", "before": {}, "after": {}}]}`: fields of updates, '
        "descriptive ones whole; content, original and corrected content, diffs, evidence "
        "and tracebacks as their hashes. VAL-6's size and depth bind callers, not "
        "`changes`. A purge lists every version's id, so that looking any of them up still "
        "finds it. `document_id` is the chain's root id; `document_id`, `validation_id`, "
        "`entity_id` are plain numbers without constraint. Without `actor`: "
        '`Actor("system", type="system")`; without a client: `"-"`.',
    ),
    Law(
        "AUD-2",
        SDK,
        "Every row change in the store is explained by an audit entry: the rows and fields "
        "that differ = those told, for every API, bulk, retention and restore included "
        "(lease, index and migration tables and the two internal kinds excepted); the "
        "entries, composed so that each follows on what the one before it left (ids are "
        "leased ahead, so theirs is not the order of commits), give the difference. An "
        "operation that changes nothing writes nothing.",
    ),
    Law(
        "AUD-3",
        SDK,
        "Audit entries are never updated and outlive what they describe. One exception: "
        "retention's `anonymize` empties values and hashes in `changes`, address, agent and "
        "actor of the erased subject's entries, keeps id, action, rows and time, and writes "
        "its own entry. `cleanup_old_entries(retention_days, batch_size)` is the only "
        "removal: entries before 00:00 UTC of (today - retention_days); 1..36,500 days, "
        "batches of 1..10,000, never one of the last 24 hours; each batch its own commit, "
        "itself audited with range, count and digest; anything else is refused.",
    ),
    Law(
        "AUD-4",
        SDK,
        "Reads can be audited (`audit_reads=True`), off by default: one entry per call "
        "(query, ids), committed before the first record is handed out; if it cannot be, "
        "the read fails. Not with `read_only`.",
    ),
    Law(
        "AUD-5",
        SDK,
        "The trail is tamper-evident (comes later; leave it room).",
    ),
    Law(
        "QRY-1",
        BACKEND,
        "One total order everywhere: strings by code point, NULLs last in both directions, "
        "times by instant, `severity` and `overall_risk` by rank (critical first when "
        "descending), and `id` as the last key, in the direction of the first (ascending "
        "without one). Content, JSON and booleans cannot be ordered by: `InvalidField`.",
    ),
    Law(
        "QRY-2",
        SDK,
        'An unknown field, operator, order or option raises `InvalidField` (with a "did you '
        'mean"); nothing is ever ignored.',
    ),
    Law(
        "QRY-3",
        BACKEND,
        "`in_list(f, [])` matches nothing; `limit(0)` returns nothing; negative limits and "
        "pages below 1 are `InvalidValue`.",
    ),
    Law(
        "QRY-4",
        BACKEND,
        "`contains`, `starts_with`, `ends_with` are literal: `%`, `_`, `\\` mean themselves. "
        "Case-sensitive unless asked, but `search` and `search_content` insensitive unless "
        "asked; insensitive = `str.casefold` on both sides (a backend may narrow in its own "
        "language, `matching.py` decides).",
    ),
    Law(
        "QRY-5",
        BACKEND,
        "Conditions have two values, never three: every leaf is true or false, `Not` is its "
        "complement (SQL's `NOT (NULL < 5)` and `NOT IN (…NULL…)` are not). So `not_equals` "
        "and `not_in_list` include NULL rows; comparisons never match NULL and use QRY-1's "
        "order (severity by rank, other enums by value); `equals(f, None)` is `is_null(f)`; "
        "`in_list` with None includes NULL rows. JSON values are equal when their canonical "
        "texts are; a path is a tuple of keys and indexes (a dotted string is its "
        "shorthand); a missing path and JSON null are NULL.",
    ),
    Law(
        "QRY-6",
        SDK,
        "Builders are immutable values: each step returns a new one; running one twice "
        "gives the same rows.",
    ),
    Law(
        "QRY-7",
        SDK,
        "Repository lists have `limit=100`. A builder without `limit` returns all; past "
        "10,000 rows `all()` raises `ResultTooLarge`, naming `iter()`: nothing is cut "
        "silently. The children of one aggregate (history, results, correction history) "
        "come whole. Keyset cursors are opaque, survive inserts (no gap, no repeat); a "
        "malformed one or one of another query is `InvalidValue`.",
    ),
    Law(
        "QRY-8",
        BACKEND,
        "`count`, `exists`, `aggregate` are about all that matches: `limit`, `offset`, "
        "`after` do not change them. `count()` = length of all pages; `exists()` stops at "
        "the first row; `aggregate` equals the same over the streamed rows.",
    ),
    Law(
        "QRY-9",
        SDK,
        "A session's read = committed state with its own pending writes applied, for every "
        "query; search ranking covers committed text only. A query whose kinds have no "
        "pending write goes to the backend unchanged; otherwise the session may read more "
        "than it returns. A session is not a snapshot: two reads may see two moments.",
    ),
    Law(
        "QRY-10",
        BACKEND,
        "A query crosses kinds in one way only: `InQuery(field, query, its_field)` and its "
        "negation, two levels deep, same tenant. Its meaning is membership in a set, "
        "evaluated at the same moment. Deleted parents (DEL-1), tags and statistics over "
        "results are written with it. `validation_results` also carries `client_id`, "
        "copied, immutable.",
    ),
    Law(
        "TXN-1",
        BACKEND,
        "All or nothing, also at every crash point. An exception inside the block leaves "
        "the store as it was.",
    ),
    Law(
        "TXN-2",
        BACKEND,
        "No dirty reads, no lost updates, no partial visibility of a batch.",
    ),
    Law(
        "TXN-3",
        SDK,
        "A failed operation spoils nothing else in the session: earlier pending work stays, "
        "unless the caller leaves the block by an exception.",
    ),
    Law(
        "TXN-4",
        SDK,
        "`storage.run(fn, timeout=10.0)` retries the whole unit on contention, with full "
        "jitter; a typed `Contention` at the deadline. `session(timeout=…)` bounds every "
        "call in it.",
    ),
    Law(
        "TXN-5",
        SDK,
        "After a connection lost during commit the session applies the same batch again, "
        "same ids, same receipt (its audit entry), until it gets an answer (success, "
        "`StaleWrite`, `Duplicate`); then the receipt's presence decides: there = "
        "committed, not there = the error of the last attempt. `storage.run` reruns the "
        "function only after that. At the deadline without an answer: "
        "`OutcomeUnknown(receipt)`, never rerun; `storage.was_applied(receipt)` resolves "
        "it. Nothing is ever applied twice.",
    ),
    Law(
        "TXN-6",
        BACKEND,
        "Acknowledged means durable: it survives kill -9 and power loss.",
        "durable",
    ),
    Law(
        "TXN-7",
        SDK,
        "A rule is checked when it is called, on the session's view, and again atomically "
        "at commit. A race lost at commit raises the rule's own error from `commit()` or "
        "the block's end: `StaleVersion` with `.current_id`, `DuplicateDocument` with "
        "`.existing_id` (read after the failure), else `StaleWrite`; all `retryable`. A "
        "document that was deleted meanwhile is `NotFound` (running again meets it again). "
        "Tags created by name never surface it.",
    ),
    Law(
        "TXN-8",
        SDK,
        "A failed commit discards the pending work; the session may be used again. Records "
        "handed out before a failed commit were never stored. A session serves one thread "
        "at a time.",
    ),
    Law(
        "TXN-9",
        SDK,
        "`purge` and `cleanup_old_entries` work in units of their own, at once, and stay "
        "done when the block fails; in a session with pending writes they raise "
        "`IllegalTransition`. Bulk writes are one batch, all or nothing; "
        '`on_error="report"` runs bounded batches and returns one outcome per item.',
    ),
    Law(
        "TAG-1",
        SDK,
        "Tag names are unique per tenant, compared by code point. Adding a name that is "
        "there already, or taking away one that is not, changes nothing and writes nothing.",
    ),
    Law(
        "TAG-2",
        SDK,
        "A tag belongs to the document: every version shows it; it outlasts versions, "
        "delete and restore. Deleting a tag takes its links away in the same batch; purging "
        "a document takes its links and leaves the tag.",
    ),
    Law(
        "EXP-1",
        BACKEND,
        "An export holds exactly the rows that its filters match, of one tenant, at one moment, "
        "in the total order; deleted ones only on request.",
    ),
    Law(
        "EXP-2",
        BACKEND,
        "Read back (`read_export`), it gives these rows: JSON, JSONL, Parquet as they are, CSV "
        "and Excel with their documented escapes undone. Masked fields are the one exception.",
    ),
    Law(
        "EXP-3",
        BACKEND,
        "What stands under the final name is whole and has the size and SHA-256 of its log; a "
        "failed export leaves nothing there, and its log says so. Removing an export takes only "
        "the file that its own log describes; the log stays.",
    ),
    Law(
        "BAK-1",
        BACKEND,
        "`load(dump(store))` into an empty store of any backend gives an equal one: every "
        "row, id, time, deleted state and audit entry; ids given out later are greater than "
        "all in it.",
    ),
    Law(
        "BAK-2",
        BACKEND,
        "A backup holds every commit acknowledged before it began, and no part of a commit "
        "without the rest.",
    ),
    Law(
        "BAK-3",
        BACKEND,
        "A restore gives the whole or leaves the target as it was; an altered, cut, foreign or "
        "newer archive is `RestoreRejected` before the target changes.",
    ),
    Law(
        "ACC-1",
        BACKEND,
        "Accelerator `get_many`: an override answers as the inherited default does: it gives "
        "the tenant's records of these ids, deleted ones too, by id; unknown and foreign ids "
        "are left out.",
    ),
    Law(
        "ACC-2",
        BACKEND,
        "Accelerator `select_many`: an override answers as the inherited default does: it gives "
        "the answer of each query, in their order.",
    ),
    Law(
        "ACC-3",
        BACKEND,
        "Accelerator `count`: an override answers as the inherited default does: it is about "
        "all that matches, of the query's tenant.",
    ),
    Law(
        "ACC-4",
        BACKEND,
        "Accelerator `exists`: an override answers as the inherited default does: it is true "
        "where anything matches, whatever limit, offset and cursor say.",
    ),
    Law(
        "ACC-5",
        BACKEND,
        "Accelerator `aggregate`: an override answers as the inherited default does: it gives "
        "the same groups in the same order, and the same measures (floats may differ in their "
        "last digits).",
    ),
    Law(
        "ACC-6",
        BACKEND,
        "Accelerator `rows`: an override answers as the inherited default does: it gives these "
        "fields as they are stored, JSON as its canonical text, in the query's order and "
        "window.",
    ),
    Law(
        "ACC-7",
        BACKEND,
        "Accelerator `search`: an override answers as the inherited default does: it gives what "
        "matches, as many as the query's window holds; only the order is free (best first).",
    ),
    Law(
        "ACC-8",
        BACKEND,
        "Accelerator `dump`: an override answers as the inherited default does: it gives every "
        "record, of one tenant or of all, parents before children, in the canonical order.",
    ),
    Law(
        "ACC-9",
        BACKEND,
        "Accelerator `load`: an override answers as the inherited default does: it stores "
        "records as they are and raises the leases; a row that is there already is `Duplicate`.",
    ),
    Law(
        "ACC-10",
        BACKEND,
        "Accelerator `snapshot`: an override answers as the inherited default does: it gives a "
        "reader on which every read shows one moment, whatever is committed meanwhile; the "
        "default, for which there is no correct one, is `Unsupported`.",
    ),
    Law(
        "ACC-11",
        BACKEND,
        "Accelerator `lines`: an override answers as the inherited default does: byte for byte "
        "what Python makes of the rows, in each form, in the query's order and window.",
    ),
    Law(
        "ACC-12",
        BACKEND,
        "Accelerator `turn`: an override is an offer, as the inherited default is: no lock that "
        "keeps out who asks for none, no view of another moment, no error; it ends with its "
        "holder, however that ends; who waits until his deadline goes on without; turns of "
        "other rows, kinds and tenants are others.",
    ),
    Law(
        "RET-1",
        BACKEND,
        "Due when `now >= trigger + period` (UTC, inclusive; calendar months and years); no "
        "trigger time, never due. `created` of a document set is its newest member's "
        "`created_at` (versions, validations, corrections); a minimum on any member protects "
        "the set.",
    ),
    Law(
        "RET-2",
        BACKEND,
        "Per record one action at most: a hold stops all; an unexpired minimum stops what "
        "destroys; an action already in effect, unsupported or without use for the record is "
        "no candidate (else `compress` would starve `delete` for ever); then the lowest "
        "priority number, then the least destructive. The outcome does not depend on the "
        "order of policies, ids or the size of batches.",
    ),
    Law(
        "RET-3",
        BACKEND,
        "A chain is one batch, whole. Each destructive batch guards `Chain.revision` of what "
        "it takes and `RetentionState.revision` (added to by every hold and policy change), "
        "so that neither a hold nor a new fact slips in between. `run(plan)` does what "
        "`preview` showed, less what holds, policies or changes since then forbid, and names "
        "those. A killed run, resumed, ends as an unbroken one.",
    ),
    Law(
        "RET-4",
        BACKEND,
        "`compress`, and `archive` with `unarchive`, are the identity for every read, hash "
        "and export. `anonymize` leaves nothing of what it was to remove, in any version, "
        "child, audit entry, index or file of ours, and keeps counts, statuses, severities "
        "and times.",
    ),
    Law(
        "RET-5",
        BACKEND,
        "What was destroyed, by which policy, when and by whom, stands in the audit and in "
        "the certificate.",
    ),
    Law(
        "HLD-1",
        BACKEND,
        "No path destroys or empties what a hold covers (purge, deletion by policy, "
        "anonymize, archive, audit cleanup, restore over): `OnHold`, naming the hold, where "
        "ids were given; bulk paths skip it and report. Adding to it, describing it and soft "
        "delete destroy nothing and stay allowed.",
    ),
    Law(
        "HLD-2",
        BACKEND,
        "Several holds may lie on one record; each is released alone. A hold placed at any "
        "moment of a run protects all that is not yet destroyed.",
    ),
    Law(
        "TEN-1",
        SDK,
        "Every API with another tenant's id behaves exactly as with an id that does not exist.",
    ),
    Law(
        "TEN-2",
        SDK,
        "Every statement on a tenant-owned table carries the tenant (reads with "
        "`tenant=None` apart; where row-level security would hide rows from them, they "
        "raise `Forbidden`, never an empty answer).",
    ),
)
LAWS = {law.id: law for law in _TABLE}
"""Every law that the kit knows, by id."""
