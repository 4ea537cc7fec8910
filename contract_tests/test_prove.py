"""A quarter of the faults, another one each day: the kit finds each by its own law.

All of them: ``loki-storage contract prove``. One quarter: ``LOKI_PROVE_PART=2/4``.
"""

import os
from datetime import UTC, datetime

import pytest

from loki_storage_contract.proving import names, prove

TODAY = f"{datetime.now(UTC).toordinal() % 4 + 1}/4"


@pytest.mark.parametrize("name", names(os.environ.get("LOKI_PROVE_PART", TODAY)))
def test_kit_does_what_it_must(name: str) -> None:
    (proof,) = prove([name], jobs=1).proofs
    assert proof.ok, f"{proof.line()}\n{proof.failed}\n{proof.error}"
