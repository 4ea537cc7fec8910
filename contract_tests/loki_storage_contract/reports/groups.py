"""The laws by what they protect: the order and the words of every report."""

from collections.abc import Iterable, Iterator

import attrs

from loki_storage_contract.further_laws import ALL_LAWS
from loki_storage_contract.inventory import Law
from loki_storage_contract.rationales import TITLES

__all__ = ["GROUPS", "Group", "grouped", "title"]


@attrs.frozen
class Group:
    """Laws that protect one thing."""

    name: str
    title: str
    families: tuple[str, ...]


GROUPS = (
    Group("documents", "Documents", ("DOC", "DUP", "DEL", "TAG")),
    Group("versions", "Versions", ("VER",)),
    Group("validations", "Validations", ("VLD",)),
    Group("corrections", "Corrections", ("COR",)),
    Group("audit", "Audit trail", ("AUD",)),
    Group("retention", "Retention and legal holds", ("RET", "HLD")),
    Group("export", "Export and backup", ("EXP", "BAK")),
    Group("writes", "Atomic writes", ("BAT", "TXN")),
    Group("queries", "Queries", ("QRY",)),
    Group("accelerators", "Accelerators", ("ACC",)),
    Group("values", "Values", ("VAL",)),
    Group("tenants", "Tenants", ("TEN",)),
    Group("operation", "Errors, migrations, plugins", ("ERR", "MIG", "PLG")),
)


def grouped(ids: Iterable[str]) -> Iterator[tuple[Group, list[Law]]]:
    """The laws of these ids that this kit knows, group by group, by number in each family."""
    wanted = set(ids)
    for group in GROUPS:
        laws = [law for law in ALL_LAWS.values() if law.id in wanted and _in(group, law)]
        if laws:
            yield group, sorted(laws, key=lambda law: _place(group, law))


def _in(group: Group, law: Law) -> bool:
    return law.id.partition("-")[0] in group.families


def _place(group: Group, law: Law) -> tuple[int, int]:
    family, _, number = law.id.partition("-")
    return group.families.index(family), int(number or 0)


def title(law: Law) -> str:
    """The law in a few words; its first sentence where nobody has found any."""
    return TITLES.get(law.id) or law.text.partition(". ")[0].rstrip(".")
