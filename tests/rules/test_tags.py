"""TAG-1, TAG-2: what a tag's operations are made of."""

import pytest

from loki_storage.batch import Insert, Require
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.models import Chain, DocumentTag, Tag
from loki_storage.rules import tags as rules
from loki_storage.rules.change import Edit, Removal
from tests.strategies import MIDNIGHT

TAG = Tag(id=3, tenant_id="t", name="urgent", created_at=MIDNIGHT)
CHAIN = Chain(id=1, tenant_id="t", client_id="a")
LINK = DocumentTag(id=5, tenant_id="t", document_id=1, tag_id=3)


def test_tag_goes_with_its_links() -> None:
    assert list(rules.delete(TAG, [LINK]).steps) == [Removal(LINK), Removal(TAG)]


def test_link_needs_a_live_document_at_commit() -> None:
    live = Require(Chain, 1, {"live": True})
    assert list(rules.link(CHAIN, [LINK]).steps) == [Insert(LINK), live]
    assert list(rules.unlink(CHAIN, LINK).steps) == [Removal(LINK), live]


def test_update_asks_that_nobody_else_has_changed_the_same_fields() -> None:
    change = rules.update(TAG, name="later", color="#00ff00", category=None)
    assert change is not None
    assert change.steps == [
        Edit(TAG, {"name": "later", "color": "#00ff00"}, {"name": "urgent", "color": None})
    ]


def test_update_of_nothing_is_no_change() -> None:
    assert rules.update(TAG) is None
    assert rules.update(TAG, name="urgent", color=None) is None


@pytest.mark.parametrize("field", ["id", "tenant_id", "created_at", "title", "nmae"])
def test_only_a_tags_own_words_can_be_updated(field: str) -> None:
    with pytest.raises(InvalidField):
        rules.update(TAG, **{field: "x"})


@pytest.mark.parametrize("color", ["red", "#fff", "#gggggg", "#00ff00 ", 5, ""])
def test_color_is_rrggbb(color: object) -> None:
    with pytest.raises(InvalidValue, match="color"):
        rules.update(TAG, color=color)
