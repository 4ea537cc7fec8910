"""Sample intercepts for demos and examples: eleven days at four made-up clients of an interceptor.

Everything in them is invented, people, firms and findings alike. They are in the shape that
``Intercept.from_report`` takes, one JSON object a line, ascending by the time of the report. Some
documents return: as their own corrected version, unchanged under a later report, at another client.
"""

from importlib.resources import files
from io import TextIOWrapper
from typing import TextIO

__all__ = ["open_intercepts"]


def open_intercepts() -> TextIO:
    """The sample intercepts as an open stream of JSON lines; the caller closes it."""
    return TextIOWrapper((files(__name__) / "intercepts.jsonl").open("rb"), encoding="utf-8")
