"""VAL: what was stored comes back as it was, type and all, and holds as a guard."""

from datetime import UTC, datetime

from hypothesis import reject
from hypothesis import strategies as st

from loki_storage.batch import Batch, Delete, Insert, Require, Update
from loki_storage.models import Kind, Record, Tag
from loki_storage_contract.queries import any_kind
from loki_storage_contract.records import Places, parents, record_of, sound
from loki_storage_contract.registry import proves
from loki_storage_contract.store import Store
from loki_storage_contract.values import HOSTILE_TEXTS


def two_records(kind: Kind) -> st.SearchStrategy[tuple[Record, Record]]:
    return st.tuples(record_of(kind, 3), record_of(kind, 3))


@proves("VAL-1", "VAL-2", "VAL-4", "VAL-6", "VAL-7", share=2, rows=any_kind.flatmap(two_records))
def any_record_comes_back_as_it_was(store: Store, rows: tuple[Record, Record]) -> None:
    """Inserted, then updated to another one; each time its own values are a guard that holds."""
    if any(row not in sound([*parents(), row]) for row in rows):
        reject()
    places = Places(store.backend)
    store.put(*places.records(parents()))
    first, second = places.records(rows)
    kind, tenant, values = type(first), first.tenant_id, values_of(second)
    store.put(first)
    comes_back(store, first)
    store.backend.apply(Batch(tenant, [Require(kind, first.id, values_of(first))]))
    store.backend.apply(Batch(tenant, [Update(kind, first.id, values, values_of(first))]))
    comes_back(store, second)
    store.backend.apply(Batch(tenant, [Delete(kind, first.id, values)]))
    assert not store.backend.get_many(kind, [first.id], tenant)


def values_of(record: Record) -> dict[str, object]:
    """A record's stored values but for its identity."""
    return {f: record.stored(f) for f in record.domains if f not in ("id", "tenant_id")}


def comes_back(store: Store, record: Record) -> None:
    found = store.backend.get_many(type(record), [record.id], record.tenant_id)[record.id]
    for field in record.domains:
        given, stored = record.stored(field), found.stored(field)
        assert (type(stored), stored) == (type(given), given), field
        if isinstance(stored, datetime):
            assert stored.tzinfo is UTC, field


@proves("VAL-2")
def hostile_texts_are_different_names(store: Store) -> None:
    """No two texts are one for a unique key: not folded, trimmed, cut or normalised."""
    names = [text for text in dict.fromkeys(HOSTILE_TEXTS) if 0 < len(text) <= 100]
    tags = [store.plan(Tag, name=name) for name in names]
    store.backend.apply(Batch(tags[0].tenant_id, map(Insert, tags)))
    assert [tag.name for tag in store.all(Tag)] == names
