"""Reports of runs: JSON, JUnit, Markdown, a badge, and one page for any number of backends.

``write_reports(report, folder)`` writes all of them. Nothing here needs Hypothesis or pytest: a
report can be read and rendered wherever loki-storage is installed.
"""

from loki_storage_contract.reports.files import read_report, render, write_reports
from loki_storage_contract.reports.page import page
from loki_storage_contract.reports.report import Report, Subject, Surroundings, report_of

__all__ = [
    "Report",
    "Subject",
    "Surroundings",
    "page",
    "read_report",
    "render",
    "report_of",
    "write_reports",
]
