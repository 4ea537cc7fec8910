"""Retention: plans, runs, certificates. ``RetentionManager`` is where to begin."""

from loki_storage.retention.certificate import verify
from loki_storage.retention.manager import Report, RetentionManager, TenantReport
from loki_storage.retention.plan import Plan, Planned, TenantPlan

__all__ = [
    "Plan",
    "Planned",
    "Report",
    "RetentionManager",
    "TenantPlan",
    "TenantReport",
    "verify",
]
