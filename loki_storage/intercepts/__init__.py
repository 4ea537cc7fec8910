"""The interceptor's own unit of work: what it hands over for a document, and what is read back.

``Intercept.from_report`` takes a report and a correction result as the interceptor makes them;
``to_report`` and ``to_corrections`` give back exactly these, from the records. Where each part
lies in the meantime is told in ``reports``, ``results`` and ``corrections``, both ways in one file.
"""

from loki_storage.intercepts.intercept import LINE_KEYS, Intercept
from loki_storage.intercepts.recorded import (
    RecordedIntercept,
    StoredIntercept,
    to_corrections,
    to_report,
)

__all__ = [
    "LINE_KEYS",
    "Intercept",
    "RecordedIntercept",
    "StoredIntercept",
    "to_corrections",
    "to_report",
]
