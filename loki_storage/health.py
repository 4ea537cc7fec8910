"""Is a store well: what ``storage.health()`` and ``loki-storage doctor`` tell.

To look leaves no trace: no row, no id, no audit entry, and no store where there was none.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import attrs

from loki_storage.configuration import Settings, backend_options, load_settings, scheme_of
from loki_storage.errors import PluginError, StorageError
from loki_storage.models import KINDS, AuditEntry
from loki_storage.plugins import find_backend, installed, plugin_manager
from loki_storage.protocol import Backend, Check
from loki_storage.query import Order, Query
from loki_storage.unit_of_work import Clock

__all__ = ["Health", "examine", "health_of", "table_counts"]

NO_EARLIER = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that says less stands still, or was never set."""
SKEW = timedelta(seconds=5)


@attrs.frozen
class Health:
    """What was looked at and found.

    ``pool``: as ``Backend.stats``. ``answer_ms``: how long the store took to answer, None where it
    did not.
    """

    backend: str
    checks: tuple[Check, ...]
    pool: Mapping[str, int | None]
    answer_ms: float | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not self.problems

    @property
    def problems(self) -> tuple[Check, ...]:
        """What is wrong now."""
        return tuple(check for check in self.checks if check.status == "problem")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What may go wrong."""
        return tuple(check for check in self.checks if check.status == "warning")


def health_of(backend: Backend, name: str, clock: Clock) -> Health:
    """A quick look at an open store: a ping, and what costs no more than that."""
    began = time.perf_counter()
    checks = list(_tried("answers", lambda: _answers(backend)))
    took = 1000 * (time.perf_counter() - began)
    well = checks[0].status == "ok"
    if well:
        checks += _tried("backend", lambda: backend.checks(deep=False))
    checks += [*_tried("pool", lambda: _pool(backend)), *_clock(clock)]
    return Health(name, tuple(checks), _stats(backend), round(took, 3) if well else None)


def examine(
    settings: Settings | None = None, *, clock: Clock = lambda: datetime.now(UTC)
) -> Health:
    """All that can be found out about the store of some settings, which need not work.

    Reads the whole store once. Nothing is raised: what does not work is a check.
    """
    checks: list[Check] = []
    name, pool = "none", dict.fromkeys(("pool_size", "checked_in", "checked_out", "overflow"))
    try:
        chosen = load_settings() if settings is None else settings
        name = scheme_of(chosen.url)
        spec = find_backend(name, plugin_manager())
        name = spec.name
        backend: Backend = spec.open(chosen.url, **backend_options(spec, chosen))
    except StorageError as error:
        what = "plugin" if isinstance(error, PluginError) else "settings"
        checks.append(Check(what, "problem", str(error), _ADVICE.get(what)))
    else:
        try:
            checks += _look(backend, clock)
            pool = _stats(backend)
        finally:
            backend.close()
    return Health(name, (*checks, *_clock(clock), *_plugins()), pool)


def table_counts(backend: Backend) -> dict[str, int]:
    """Rows per table, of all tenants, soft-deleted ones included."""
    public = [kind for kind in KINDS.values() if not kind.internal]
    return {kind.table: backend.count(Query(kind, None)) for kind in public}


_ADVICE = {
    "settings": "`loki-storage config show` tells where each value comes from",
    "plugin": "`loki-storage backends` tells what is installed",
}


def _look(backend: Backend, clock: Clock) -> Iterator[Check]:
    schema = list(_tried("schema", lambda: _schema(backend)))
    yield from schema
    yield from _tried("backend", lambda: backend.checks(deep=False))
    if schema[0].status == "ok":
        yield from _tried("content", lambda: backend.checks(deep=True))
        yield from _tried("newest entry", lambda: _newest(backend, clock))
    yield from _tried("pool", lambda: _pool(backend))


def _tried(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """What was found; where looking fails, that."""
    try:
        yield from list(look())
    except StorageError as error:
        yield Check(name, "problem", str(error))


def _answers(backend: Backend) -> Iterator[Check]:
    backend.ping()
    yield Check("answers", "ok", "the store answers")


def _schema(backend: Backend) -> Iterator[Check]:
    backend.prepare(create=False)
    yield Check("schema", "ok", "the revision that this loki-storage needs")


def _newest(backend: Backend, clock: Clock) -> Iterator[Check]:
    """Entries from the future: the clock was put back, or was ahead when they were written."""
    query = Query(AuditEntry, None, order=(Order("timestamp", True),), limit=1)
    now = clock()
    for entry in backend.select(query):
        if entry.timestamp > now + SKEW:
            told = f"the newest audit entry is {entry.timestamp - now} ahead of this clock"
            advice = "set the clock of this machine, and of the others that write, by NTP"
            yield Check("newest entry", "problem", told, advice)
            return
    yield Check("newest entry", "ok", "no audit entry is from the future")


def _clock(clock: Clock) -> Iterator[Check]:
    now = clock()
    if now >= NO_EARLIER:
        yield Check("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")
    else:
        told = f"the clock says {now:%Y-%m-%d}, which is over"
        yield Check("clock", "problem", told, "set the clock of this machine by NTP")


def _pool(backend: Backend) -> Iterator[Check]:
    pool = backend.stats()
    size, out = pool.get("pool_size"), pool.get("checked_out")
    if size is None or out is None:
        return
    told = f"{out} of {size} connections are in use, and {pool.get('overflow') or 0} beyond them"
    if out > size:
        advice = "close sessions and streams that are left open, or raise pool_size"
        yield Check("pool", "warning", told, advice)
    else:
        yield Check("pool", "ok", told)


def _stats(backend: Backend) -> dict[str, int | None]:
    try:
        return backend.stats()
    except StorageError:
        return dict.fromkeys(("pool_size", "checked_in", "checked_out", "overflow"))


def _plugins() -> Iterator[Check]:
    found = installed()
    broken = [plugin for plugin in found if plugin.error is not None]
    for plugin in broken:
        told = f"{plugin.name} ({plugin.distribution} {plugin.version}): {plugin.error}"
        advice = f"upgrade, reinstall or uninstall {plugin.distribution}"
        yield Check("plugin", "problem", told, advice)
    if not broken:
        yield Check("plugins", "ok", ", ".join(plugin.name for plugin in found) or "none")
