"""Faulty backends that the kit must find, and odd ones that it must let pass.

``loki-storage contract prove`` runs each in a fresh process and shows which law finds which fault.
Every bug of this project becomes one.
"""

from loki_storage_contract.faulty import (  # noqa: F401 - each registers its faults
    conditions,
    copies,
    derived,
    fields,
    guards,
    isolation,
    keys,
    retention,
    stored,
    turns,
    windows,
)
from loki_storage_contract.faulty.catalogue import FAULTS, Fault, Faulty, breaks
from loki_storage_contract.faulty.odd import ODD, odd_target

__all__ = ["FAULTS", "ODD", "Fault", "Faulty", "breaks", "odd_target"]
