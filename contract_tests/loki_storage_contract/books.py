"""What stands behind the rows: audit entries, chains, and errors that tell what the laws say."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from loki_storage.errors import StorageError
from loki_storage.models import AuditEntry, Chain, Record
from loki_storage_contract.model import Refused, World
from loki_storage_contract.trail import entries_of, explains

__all__ = ["ACTOR", "check", "check_refusal", "ids_of"]

ACTOR = "alice"


def check(before: Sequence[Record], after: Sequence[Record], worlds: Mapping[str, World]) -> None:
    """The store after a commit, against each tenant's model."""
    explains(entries_of(before, after), before, after)
    for tenant, world in worlds.items():
        mine = [record for record in after if record.tenant_id == tenant]
        _check_audit(world, mine)
        _check_chains(world, mine)


def _check_audit(world: World, records: Iterable[Record]) -> None:
    """One entry per changed aggregate of each operation, by the session's actor (AUD-1)."""
    entries = [record for record in records if isinstance(record, AuditEntry)]
    assert Counter((e.entity_type, e.entity_id) for e in entries) == Counter(world.audited)
    assert {entry.actor_id for entry in entries} <= {ACTOR}


def _check_chains(world: World, records: Iterable[Record]) -> None:
    """The bookkeeping that the laws describe: revision, life and claim (VER-10, DUP-1)."""
    chains = {record.id: record for record in records if isinstance(record, Chain)}
    assert chains.keys() == world.documents.keys()
    for root_id, document in world.documents.items():
        chain = chains[root_id]
        assert (chain.client_id, chain.revision) == (document.client_id, document.revision)
        assert chain.live is bool(document.live)
        first = document.row(document.versions[0])
        claim = None if document.text_claim is None else first["content_hash"]
        assert chain.text_claim == claim


def check_refusal(refusals: Sequence[Refused], error: StorageError | None) -> None:
    """One of the refusals is this error, with these facts."""
    expected = ", ".join(refusal.error.__name__ for refusal in refusals)
    assert error is not None, f"it was done, and the laws refuse it ({expected})"
    told = [refusal for refusal in refusals if type(error) is refusal.error]
    assert told, f"{type(error).__name__} instead of {expected}"
    assert any(_same_facts(refusal, error) for refusal in told), "the error tells other facts"


def _same_facts(refusal: Refused, error: StorageError) -> bool:
    return all(getattr(error, name) in allowed for name, allowed in refusal.facts.items())


def ids_of(world: World, kind: str) -> set[int]:
    """The ids of all versions, tags, validations or corrections."""
    if kind == "tag":
        return set(world.tags.values())
    return set({"document": world.rows}.get(kind) or getattr(world, f"{kind}s"))
