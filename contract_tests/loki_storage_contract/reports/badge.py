"""A badge for a README: an SVG that says in words what its colour says."""

from html import escape

from loki_storage_contract.reports.report import Report

__all__ = ["badge"]

_GREEN, _RED, _LABEL = "#1a7f4b", "#b3261e", "#3b3f46"
_WIDTH = 6.6
"""Pixels of a character, on average; ``textLength`` makes it so with any font."""

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{title}">
  <title>{title}</title>
  <clipPath id="r"><rect width="{width}" height="20" rx="4"/></clipPath>
  <g clip-path="url(#r)">
    <rect width="{left}" height="20" fill="{label_color}"/>
    <rect x="{left}" width="{right}" height="20" fill="{color}"/>
  </g>
  <g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">
    <text x="8" y="14" textLength="{label_length}">{label}</text>
    <text x="{message_x}" y="14" textLength="{message_length}">{message}</text>
  </g>
</svg>
"""


def badge(report: Report) -> str:
    """The report's verdict in one line, like ``loki-storage contract | ✓ 61/61 laws · ci``."""
    good = sum(law.ok for law in report.required)
    counts = f"{good}/{len(report.required)} laws · {report.profile}"
    label, message = "loki-storage contract", f"{'✓' if report.ok else '✗'} {counts}"
    lengths = round(len(label) * _WIDTH), round(len(message) * _WIDTH)
    left, right = lengths[0] + 16, lengths[1] + 16
    verdict = "kept" if report.ok else "broken"
    return _SVG.format(
        width=left + right,
        left=left,
        right=right,
        color=_GREEN if report.ok else _RED,
        label_color=_LABEL,
        label=label,
        label_length=lengths[0],
        message=escape(message),
        message_x=left + 8,
        message_length=lengths[1],
        title=escape(f"{label} {verdict}: {counts}"),
    )
