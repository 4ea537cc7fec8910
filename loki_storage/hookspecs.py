"""What a plugin may implement (pluggy, project name ``loki_storage``).

Hooks are called per operation, commit or start, never per record.
"""

from collections.abc import Sequence
from typing import Any

import pluggy

from loki_storage.batch import Batch
from loki_storage.export_format import ExportFormatSpec
from loki_storage.protocol import BackendSpec

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "loki_storage"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def loki_register_backends() -> Sequence[BackendSpec]:  # type: ignore[empty-body]
    """The backends that this plugin offers."""


@hookspec
def loki_register_export_formats() -> Sequence[ExportFormatSpec]:  # type: ignore[empty-body]
    """The export formats that this plugin offers."""


@hookspec
def loki_register_commands() -> Sequence[Any]:  # type: ignore[empty-body]
    """click commands to add to ``loki-storage``."""


@hookspec
def loki_authorize(action: str, context: Any) -> None:
    """Called once per operation, before its reads; raise ``Forbidden`` to refuse it.

    ``action`` is ``table.method`` (``documents.create_document``, ``audit_trail.get_recent``,
    ``validations.select``), or ``session.method`` and ``storage.method`` for what is about more
    than one table; ``documents.export``, ``storage.backup`` and ``storage.restore`` for what is no
    session's. ``context`` is the session's: tenant, actor, ``read_only``. What a plugin
    itself reads while it decides is not asked for.
    """


@hookspec
def loki_before_commit(batch: Batch, context: Any) -> None:
    """Called with the batch before it is applied; may raise, cannot change it."""


@hookspec
def loki_after_commit(batch: Batch, context: Any) -> None:
    """Called with the batch once it is durable; what it raises is logged, never passed on."""
