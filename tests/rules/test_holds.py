"""HLD: what a hold covers."""

from hypothesis import given
from hypothesis import strategies as st

from loki_storage.models import Document, LegalHold
from loki_storage.rules import holds as rules
from tests.strategies import MIDNIGHT


@given(st.lists(st.integers(1, 30), min_size=1))
def test_hold_covers_the_ids_that_it_was_given(ids: list[int]) -> None:
    hold = LegalHold(
        id=1,
        tenant_id="t",
        name="case",
        reason="court",
        entity_type="document",
        ids=rules.id_ranges(ids),  # type: ignore[arg-type]
        placed_by="alice",
        placed_at=MIDNIGHT,
    )
    rules.check_hold(hold)
    assert rules.covered_ids(hold) == (Document, set(ids))
