"""The kill matrix as Markdown: which law finds which fault, and what must pass."""

from collections.abc import Mapping
from typing import Any

from loki_storage_contract.reports.markdown import SIGNS, row

__all__ = ["kills"]


def kills(matrix: Mapping[str, Any]) -> str:
    """A page of what ``Proofs.as_json`` gives; faults by the law that must find them."""
    faults = [each for each in matrix["matrix"] if each["law"] is not None]
    odd = [each for each in matrix["matrix"] if each["law"] is None]
    lines = [
        "# The kit against its faulty backends",
        "",
        f"{matrix['killed']} of {matrix['faults']} faults were found by their own law, run alone "
        "in a fresh process until a first check failed, under the profile ci. "
        f"{sum(each['ok'] for each in odd)} of {len(odd)} odd but correct backends pass every law.",
        "",
        row("law", "fault", "over", "what is wrong with it", "found by"),
        "|---|---|---|---|---|",
        *map(_fault, faults),
        "",
        row("odd backend", "what is odd about it", "passes"),
        "|---|---|---|",
        *map(_odd, odd),
    ]
    return "\n".join(lines) + "\n"


def _fault(fault: Mapping[str, Any]) -> str:
    found = ", ".join(f"`{name}`" for name in fault["checks"]) if fault["ok"] else SIGNS["failed"]
    name = fault["name"].partition("-")[0]
    return row(fault["law"], name, fault["base"], fault["text"], found)


def _odd(odd: Mapping[str, Any]) -> str:
    return row(odd["name"], odd["text"], SIGNS["passed" if odd["ok"] else "failed"])
