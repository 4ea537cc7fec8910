"""``open_storage``, ``Storage`` and ``Session``: where everything begins."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs

from loki_storage.archive_store import ArchiveStore
from loki_storage.authorization import Operations, authority_of, not_an_operation
from loki_storage.configuration import (
    General,
    Settings,
    backend_options,
    general_settings,
    load_settings,
    make_parent,
    safe_url,
    scheme_of,
)
from loki_storage.errors import (
    ConnectionLost,
    Contention,
    InvalidField,
    InvalidValue,
    StorageError,
)
from loki_storage.health import Health, health_of
from loki_storage.leases import IdLeases
from loki_storage.masking import Masked, mask_of
from loki_storage.models import DEFAULT_TENANT, AuditEntry, Record
from loki_storage.observing import Observed
from loki_storage.plugins import find_backend, plugin_manager, register_plugins
from loki_storage.protocol import Backend
from loki_storage.query import Query
from loki_storage.repositories import (
    AuditRepository,
    CorrectionRepository,
    DocumentRepository,
    ExportLogRepository,
    TagRepository,
    ValidationRepository,
)
from loki_storage.repositories.related import related
from loki_storage.rules.names import item_list
from loki_storage.rules.stores import migrated
from loki_storage.turns import Turns
from loki_storage.unit_of_work import (
    EVERY_TENANT,
    SYSTEM,
    Actor,
    Clock,
    Context,
    UnitOfWork,
    pauses,
    utc_now,
)
from loki_storage.values import Number

if TYPE_CHECKING:
    from loki_storage.intercepts import Intercept, RecordedIntercept, StoredIntercept
    from loki_storage.recording import Intercepts
    from loki_storage.repositories.retention import RetentionRepository

__all__ = ["Session", "Storage", "open_storage"]

LOGGER = logging.getLogger("loki_storage")
T = TypeVar("T")


class Session(UnitOfWork):
    """A unit of work with the repositories: one tenant, one actor, one commit.

    A clean end of the ``with`` block commits, an exception discards.
    """

    @cached_property
    def documents(self) -> DocumentRepository:
        """Documents, versions, tags on documents."""
        return DocumentRepository(self)

    @cached_property
    def validations(self) -> ValidationRepository:
        """Validations and their results."""
        return ValidationRepository(self)

    @cached_property
    def corrections(self) -> CorrectionRepository:
        """Corrections and their history."""
        return CorrectionRepository(self)

    @cached_property
    def audit(self) -> AuditRepository:
        """The audit trail."""
        return AuditRepository(self)

    @cached_property
    def tags(self) -> TagRepository:
        """Tags."""
        return TagRepository(self)

    @cached_property
    def retention(self) -> "RetentionRepository":
        """Retention policies and legal holds."""
        from loki_storage.repositories.retention import RetentionRepository  # most never need it

        return RetentionRepository(self)

    @cached_property
    def exports(self) -> ExportLogRepository:
        """The log of exports."""
        return ExportLogRepository(self)

    def related(
        self, records: Iterable[Record], name: str, include_deleted: bool = False
    ) -> dict[int, list[Any]]:
        """A relationship of all these records: ``{id: [records]}``, without any the empty list.

        Of documents (versions): ``validations``, ``corrections`` (of the version), ``versions``,
        ``tags``, ``audit_trails`` (of the whole document), ``parent``; of validations ``results``,
        ``document``, ``corrections``, ``audit_trails``; of results ``validation``; of corrections
        ``history``, ``document``, ``validation``; of tags ``documents``. One statement for any
        number of records (through tags: two, in one round trip). Unknown names are
        ``InvalidField``.
        """
        return related(self, records, name, include_deleted)

    def record_intercept(self, intercept: "Intercept") -> "RecordedIntercept":
        """Record what the interceptor saw, decided and changed, as one batch; idempotent."""
        return self._intercepts.record(intercept)

    def record_intercepts(self, intercepts: "Sequence[Intercept]") -> "list[RecordedIntercept]":
        """Record many intercepts with one commit."""
        given = item_list("intercepts", intercepts)
        return [self.record_intercept(intercept) for intercept in given]

    def get_intercept(self, validation_id: int) -> "StoredIntercept | None":
        """What was recorded: ``to_report()`` and ``to_corrections()`` equal what came in.

        Of what was anonymized since they raise ``IllegalTransition``; rows and figures are there.
        """
        return self._intercepts.get(validation_id)

    @property
    def _intercepts(self) -> "Intercepts":
        from loki_storage.recording import Intercepts  # a third of what importing us would cost

        return Intercepts(self)


STREAM_TIMEOUT = 3600.0
"""Seconds that a stream's first record may take."""


class Storage(Operations):
    """An open store. Thread-safe; a context manager that closes it."""

    def __init__(
        self,
        backend: Backend,
        hooks: Any,
        clock: Clock = utc_now,
        name: str = "",
        slow_query: float = General().slow_query,
        archive: ArchiveStore | None = None,
    ) -> None:
        self.backend = backend
        self.archive = archive
        self.name = name
        self._hooks, self._clock = hooks, clock
        Number(0.0, 86_400.0).accept("slow_query", slow_query)
        self._observed = Observed(backend, slow_query)
        self._leases, self._turns = IdLeases(self._observed), Turns(backend)
        self._obey(authority_of(hooks, Context(tenant=EVERY_TENANT)))

    @not_an_operation
    def session(
        self,
        *,
        actor: Actor | str | None = None,
        tenant: str = DEFAULT_TENANT,
        timeout: float = 10.0,
        read_only: bool = False,
        mask: Iterable[str] = (),
        audit_reads: bool = False,
    ) -> Session:
        """A unit of work for one tenant. ``timeout``: seconds that a call may take (TXN-4).

        ``mask``: fields that read ``***`` in every read, like ``("title",
        "metadata_json.customer")``; they can be neither asked for nor ordered by, and the session
        is read-only. Text and JSON can be masked; anything else is ``InvalidField``.
        """
        hidden = mask_of(mask)
        if (read_only or hidden) and audit_reads:
            raise InvalidValue("audit_reads", "needs a session that may write")
        context = Context(
            tenant=checked_tenant(tenant),
            actor=_actor(actor),
            timeout=timeout,
            read_only=read_only or bool(hidden),
            audit_reads=audit_reads,
            mask=hidden,
        )
        backend = Masked(self._observed, hidden) if hidden else self._observed
        return Session(backend, self._leases, context, self._clock, self._hooks, self.archive)

    @not_an_operation
    def run(self, fn: Callable[[Session], T], *, timeout: float = 10.0, **options: Any) -> T:
        """``fn(session)``, committed; the whole unit again when another writer was first (TXN-4).

        A rule's own error that a second run meets again is raised as it is, and so is a lost
        connection when the timeout (seconds) ends. ``Contention`` where other writers won until
        then; nothing of this unit was written.
        """
        deadline, seen = time.monotonic() + timeout, _Repeated()
        tenant = options.get("tenant", DEFAULT_TENANT)
        with self._turns.of(tenant, timeout) as turn:
            for pause in pauses():
                left = max(0.0, deadline - time.monotonic())
                try:
                    with self.session(timeout=left, **options) as unit:
                        result = fn(unit)
                        turn.note(unit)
                except StorageError as error:
                    if not error.retryable or seen.again(error):
                        raise
                    left = deadline - time.monotonic()
                    if pause >= left:
                        if isinstance(error, ConnectionLost):
                            raise
                        raise Contention(
                            f"other writers won for {timeout:g} s; nothing was written, "
                            "try again later"
                        ) from error
                    if not turn.after(error, left):
                        time.sleep(pause)
                else:
                    return result
        raise AssertionError("pauses never end")

    @not_an_operation
    def stream(
        self,
        query: Query,
        *,
        tenant: str | None = None,
        timeout: float = STREAM_TIMEOUT,
        **options: Any,
    ) -> Iterator[Any]:
        """The query's records with constant memory, at one moment: that of the first ``next()``.

        ``timeout`` (seconds) bounds the wait for that; ``options`` are those of ``session``. A
        query without a tenant reads all of them, which only the store's own authority may.
        """
        if tenant is not None and tenant != query.tenant:
            raise InvalidValue("tenant", "is not the query's tenant")
        if query.tenant is None:
            return self._stream_all(query, options)
        session = self.session(tenant=query.tenant, timeout=timeout, read_only=True, **options)
        return session.select(query)

    def was_applied(self, receipt: int, *, tenant: str | None = None) -> bool:
        """Whether the commit with this receipt happened (``OutcomeUnknown``, TXN-5)."""
        return receipt in self.backend.get_many(AuditEntry, (receipt,), tenant)

    def migrate(self, revision: str = "head", *, actor: Actor | str | None = None) -> None:
        """Bring the store's schema to a revision; an entry in the trail tells of it (AUD-1)."""
        self.tell_migration(*self.backend.migrate(revision), actor)

    @not_an_operation
    def tell_migration(
        self, before: str | None, now: str | None, actor: Actor | str | None = None
    ) -> None:
        """Tell the trail that the schema went from one revision to another.

        Nothing of a store that was made or emptied by that, nor of one that only another version
        of this SDK could write to: a later upgrade tells from where it came.
        """
        if before and now and before != now == self.backend.schema_revision():
            self.run(lambda unit: unit.add(migrated(before, now)), actor=actor)

    def health(self) -> Health:
        """How the store is, at the cost of a ping: problems, warnings, the pool's figures."""
        return health_of(self.backend, self.name, self._clock)

    def dump(self, tenant: str | None = None) -> Iterator[Record]:
        """Every record, canonically ordered; equal stores have equal dumps (BAK-1)."""
        return self.backend.dump(tenant)

    @not_an_operation
    def authorize(self, action: str, actor: Actor | str | None = None) -> None:
        """Ask about an operation on the store as a whole, like ``storage.backup``."""
        context = Context(tenant=EVERY_TENANT, actor=_actor(actor))
        authority = authority_of(self._hooks, context)
        if authority is not None:
            authority.ask((action,))

    @not_an_operation
    def close(self) -> None:
        """Release everything; idempotent."""
        self.backend.close()

    def _stream_all(self, query: Query, options: dict[str, Any]) -> Iterator[Any]:
        if options:
            raise InvalidField(next(iter(options)), "needs a query of one tenant")
        if self._authority is not None:
            self._authority.ask((f"{query.kind.table}.select",))
        return self.backend.select(query)

    def _actions(self, name: str, arguments: tuple[object, ...]) -> tuple[str, ...]:
        return (f"storage.{name}",)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Storage {self.name}>"


def open_storage(
    url: str | None = None,
    *,
    settings: Settings | None = None,
    create: bool | None = None,
    clock: Clock | None = None,
    plugins: Iterable[object] = (),
    slow_query: float | None = None,
    archive: "ArchiveStore | str | os.PathLike[str] | None" = None,
    **options: Any,
) -> Storage:
    """Open the store of a URL, or of the settings: environment, TOML file, default SQLite file.

    ``create``: lay out an empty store; by default where the backend says so (SQLite, memory).
    ``clock``: gives aware datetimes, for tests. ``plugins``: objects or modules with hooks of the
    host's own (``loki_authorize``, ``loki_before_commit``, ``loki_after_commit``), and names of
    installed plugins that are to be asked beside the backend's. ``slow_query``: seconds from
    which on a query or commit is logged as slow; 0: never. ``archive``: the folder of archived
    documents (or its ``file://`` URL), or an ``ArchiveStore``. Other arguments are
    options of the backend; unknown ones are ``InvalidField``. Raises ``PluginError`` where no
    backend fits the URL, and ``SchemaOutdated`` where the store has another schema revision.
    """
    if settings is None:
        chosen = load_settings(url, **options)
    else:
        chosen = attrs.evolve(
            settings, url=url or settings.url, options={**settings.options, **options}
        )
    general = general_settings(chosen)
    kept = _archive(general.archive if archive is None else archive)
    manager = plugin_manager()
    register_plugins(general.plugins, manager)
    register_plugins(plugins, manager)
    spec = find_backend(scheme_of(chosen.url), manager)
    backend: Backend = spec.open(chosen.url, **backend_options(spec, chosen))
    creates = spec.creates if create is None else create
    if creates:
        make_parent(chosen.url)
    try:
        backend.prepare(create=creates)
    except BaseException:
        backend.close()
        raise
    LOGGER.info("opened %s", safe_url(chosen.url))
    slow = general.slow_query if slow_query is None else slow_query
    return Storage(backend, manager.hook, clock or utc_now, spec.name, slow, kept)


def _archive(setting: "ArchiveStore | str | os.PathLike[str]") -> ArchiveStore | None:
    if setting == "":
        return None
    from loki_storage.archive_folder import archive_of  # most have none

    return archive_of(setting)


def checked_tenant(tenant: str) -> str:
    """The tenant, or ``InvalidValue``."""
    accepted = AuditEntry.domains["tenant_id"].accept("tenant", tenant)
    return str(accepted)


def _actor(actor: Actor | str | None) -> Actor:
    if actor is None:
        return SYSTEM
    chosen = Actor(actor) if isinstance(actor, str) else actor
    if not isinstance(chosen, Actor):
        raise InvalidValue("actor", "must be an Actor or the id of a user")
    domains = AuditEntry.domains
    return Actor(
        id=domains["actor_id"].accept("actor", chosen.id),  # type: ignore[arg-type]
        type=domains["actor_type"].accept("actor.type", chosen.type),  # type: ignore[arg-type]
        **{
            name: domains[name].accept(f"actor.{name}", getattr(chosen, name))  # type: ignore[arg-type]
            for name in ("ip_address", "user_agent", "request_id")
        },
    )


@attrs.define
class _Repeated:
    """Tells when a rule's error comes again with the same facts: then no retry will help."""

    _last: tuple[Any, ...] = ()

    def again(self, error: StorageError) -> bool:
        facts = (type(error), getattr(error, "document_id", None), getattr(error, "existing_id", 0))
        decided = hasattr(error, "document_id") or hasattr(error, "existing_id")
        repeated = decided and facts == self._last
        self._last = facts
        return repeated
