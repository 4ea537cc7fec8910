"""EXP-3: an export ends once."""

from typing import Any

import pytest

from loki_storage.errors import IllegalTransition
from loki_storage.models import ExportLog
from loki_storage.rules import exports as rules
from tests.strategies import MIDNIGHT

LOG = ExportLog(
    id=1,
    tenant_id="t",
    export_type="csv",
    entity_type="document",
    requested_by="alice",
    client_id="a",
    requested_at=MIDNIGHT,
)
ENDS: dict[str, Any] = {
    "complete": lambda log: rules.complete(
        log, record_count=1, file_size=2, file_hash="h", now=MIDNIGHT
    ),
    "fail": lambda log: rules.fail(log, "disk full", MIDNIGHT),
}


@pytest.mark.parametrize("end", ENDS)
def test_only_a_pending_export_ends(end: str) -> None:
    assert ENDS[end](LOG.evolve(status="".join(["pend", "ing"]))) is not None
    for status in (rules.COMPLETED, rules.FAILED, "written"):
        with pytest.raises(IllegalTransition, match=f"export 1 is {status}"):
            ENDS[end](LOG.evolve(status=status))
