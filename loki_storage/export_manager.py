"""``ExportManager``: rows of one table into a file, at one moment, told in a log (EXP).

    pending log -> ``.<name>.part`` -> synced -> linked to its name -> completed log

Whatever goes wrong on the way, nothing stands under the final name, and the log says why.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from loki_storage.enums import ExportFormat
from loki_storage.errors import (
    ExportError,
    IllegalTransition,
    NotFound,
    OutcomeUnknown,
    StorageError,
)
from loki_storage.exports.job import Job, Progress, job_of
from loki_storage.exports.reader import read_export
from loki_storage.masking import mask_of
from loki_storage.models import DEFAULT_TENANT, ExportLog
from loki_storage.protocol import Reader
from loki_storage.rules.change import NO_CLIENT, Actor
from loki_storage.rules.exports import COMPLETED, PENDING
from loki_storage.session import default_storage
from loki_storage.storage import Session, Storage, checked_tenant
from loki_storage.whole_file import Counted, WholeFile, left_of, matches

__all__ = ["ExportFormat", "ExportManager", "Progress", "read_export"]

T = TypeVar("T")
LOGGER = logging.getLogger("loki_storage")
ABANDONED_AFTER = timedelta(hours=24)
"""For a pending export whose ``.part`` is nowhere to be seen: it may be another machine's."""
LEFT = "the process ended before the export was complete"
ABANDONED = "abandoned: not complete after 24 hours"


class ExportManager:
    """Exports of one tenant of a store, in a folder of its own (0700, files 0600).

    ``storage``: by default that of the settings. ``actor``: who acts, for the audit trail; by
    default who requests each export. ``mask``: as in ``Storage.session``, for whoever is given this
    manager: these fields read ``***`` in all that it exports and lists, and it cannot be asked
    about them. Safe for threads and processes that share the folder.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        export_dir: str | os.PathLike[str] = "data/exports",
        *,
        actor: Actor | str | None = None,
        tenant: str = DEFAULT_TENANT,
        mask: Iterable[str] = (),
    ) -> None:
        self._storage = storage
        self._mask = mask_of(mask)
        self._folder = Path(os.path.abspath(export_dir))
        self._actor, self._tenant = actor, checked_tenant(tenant)

    @property
    def storage(self) -> Storage:
        """The store that is exported from."""
        return self._storage or default_storage()

    def export_documents(
        self,
        format: ExportFormat | str,
        client_id: str | None,
        requested_by: str,
        filters: Mapping[str, Any] | None = None,
        fields: list[str] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Documents: heads, or with ``versions="all"`` all versions.

        ``client_id``: whose rows; None: all clients of the tenant. ``filters``: field -> value (a
        list: one of them), ``start_date`` and ``end_date`` (a moment, or a UTC day, its end
        included), a path into a JSON field (``metadata_json.region``). ``fields``: all by default.
        ``progress(done, total)`` is called while it runs.

        Options: ``without=("content",)`` leaves fields out; ``include_deleted``; ``mask``: fields
        and JSON paths that read ``***``; ``expires_in`` (30 days; None: never); ``file_path``:
        another name than one in the folder, which must be free; ``stream``: a binary stream instead
        of a file; ``consistent=False`` where the backend cannot hold one view over several reads;
        those of the format (CSV: ``raw``).

        Returns ``{"export_id", "file_path", "record_count", "file_size", "file_hash", "format"}``.
        Raises ``InvalidField`` and ``InvalidValue`` before anything is written, ``ExportError``
        where the file cannot be written, ``Unsupported`` where ``consistent`` cannot be had.
        Constant memory; one log entry before and one after (EXP-1 to EXP-3).
        """
        asked = {"filters": filters, "fields": fields, **options}
        return self._export("documents", format, client_id, requested_by, progress, asked)

    def export_validations(
        self,
        format: ExportFormat | str,
        client_id: str | None,
        requested_by: str,
        filters: Mapping[str, Any] | None = None,
        fields: list[str] | None = None,
        progress: Progress | None = None,
        include_results: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Validations, as ``export_documents``; ``risk_level`` filters by ``overall_risk``.

        ``include_results``: one more column, ``results``, with the JSON array of each one's gate
        results.
        """
        asked = {"filters": filters, "fields": fields, "include_results": include_results}
        asked |= options
        return self._export("validations", format, client_id, requested_by, progress, asked)

    def export_results(
        self,
        format: ExportFormat | str,
        client_id: str | None,
        requested_by: str,
        filters: Mapping[str, Any] | None = None,
        fields: list[str] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Gate results, as ``export_documents``."""
        asked = {"filters": filters, "fields": fields, **options}
        return self._export("results", format, client_id, requested_by, progress, asked)

    def export_corrections(
        self,
        format: ExportFormat | str,
        client_id: str | None,
        requested_by: str,
        filters: Mapping[str, Any] | None = None,
        fields: list[str] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Corrections, as ``export_documents``."""
        asked = {"filters": filters, "fields": fields, **options}
        return self._export("corrections", format, client_id, requested_by, progress, asked)

    def export_audit_trail(
        self,
        format: ExportFormat | str,
        client_id: str | None,
        requested_by: str,
        filters: Mapping[str, Any] | None = None,
        fields: list[str] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Audit entries, as ``export_documents``; the period is that of ``timestamp``."""
        asked = {"filters": filters, "fields": fields, **options}
        return self._export("audit", format, client_id, requested_by, progress, asked)

    def get_export_history(
        self, client_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[ExportLog]:
        """Logs, newest first; an export whose process is gone is told as failed."""
        self._settle_left()
        return self._run(
            lambda session: session.exports.get_history(client_id, limit, offset),
            mask=self._mask.names,
        )

    def delete_export(self, export_id: int) -> bool:
        """Remove an export's file and keep its log; whether there was a file.

        Only a file of this manager's folder that still is what the log describes, by size and
        SHA-256: else ``ExportError``. ``NotFound`` for an unknown export, ``IllegalTransition`` for
        one that still runs.
        """
        log = self._run(lambda session: session.exports.get_by_id(export_id))
        if log is None:
            raise NotFound("export", export_id)
        if log.status == PENDING:
            raise IllegalTransition(f"export {export_id} is not complete")
        return self._remove(log)

    def cleanup_expired_exports(self, client_id: str | None = None) -> list[str]:
        """Remove the files of expired exports, of one client or of all; the names removed.

        A file that is not what its log describes, or lies elsewhere, stays and is logged.
        """
        self._settle_left()
        self._sweep()
        removed = []
        for log in self._run(lambda session: session.exports.get_expired(client_id)):
            name = Path(str(log.file_path)).name
            try:
                if self._remove(log):
                    removed.append(name)
            except ExportError as error:
                LOGGER.warning("expired export %s was not removed: %s", log.id, error)
        return removed

    # An export

    def _export(
        self,
        table: str,
        format: str,
        client_id: str | None,
        requested_by: str,
        progress: Progress | None,
        asked: dict[str, Any],
    ) -> dict[str, Any]:
        job = job_of(table, self._tenant, format, client_id, progress, asked, self._mask)
        requested_by = str(ExportLog.domains["requested_by"].accept("requested_by", requested_by))
        who = self._actor or requested_by
        asking = self.storage.session(tenant=self._tenant, actor=who, mask=self._mask.names)
        asking.authorize(f"{job.selection.source.name}.export")
        self._settle_left()
        with self._view(job.options.consistent) as reader:
            return self._run_job(job, reader, client_id or NO_CLIENT, requested_by)

    def _run_job(
        self, job: Job, reader: Reader, client_id: str, requested_by: str
    ) -> dict[str, Any]:
        act = partial(self._run, actor=self._actor or requested_by)
        export_id = act(lambda session: session.exports.new_id())
        file = self._file(job, export_id)
        log = job.log(export_id, client_id, requested_by, file)
        try:
            act(lambda session: job.start(session, log, file))
        except BaseException as error:
            self._not_started(export_id, file, error)
            raise
        try:
            stream, count = job.write(reader, file)
            if file is not None:
                file.publish()
        except BaseException as error:
            self._failed(act, export_id, file, error)
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise ExportError(f"the export cannot be written: {error.strerror}") from error
            raise
        self._complete(act, export_id, file, count, stream)
        if file is not None:
            file.finish()
        return {
            "export_id": export_id,
            "file_path": None if file is None else str(file.path),
            "record_count": count,
            "file_size": stream.size,
            "file_hash": stream.sha256,
            "format": job.spec.name,
        }

    def _not_started(self, id: int, file: WholeFile | None, error: BaseException) -> None:
        """The first entry was not acknowledged; it may be there all the same."""
        with suppress(StorageError, OSError):
            if file is not None:
                file.withdraw()
            self._run(partial(_mark_failed, id, _reason(error)))
            if file is not None:
                file.finish()
            return
        if file is not None:
            file.leave()

    def _complete(
        self,
        act: Callable[..., Any],
        id: int,
        file: WholeFile | None,
        count: int,
        stream: Counted,
    ) -> None:
        """Tell the log; where it is not clear whether it knows, whoever comes next sees."""
        try:
            act(partial(_completed, id, count, stream))
        except BaseException as error:
            status = self._status(id)
            if status == COMPLETED:
                return
            if status == PENDING and not isinstance(error, OutcomeUnknown):
                self._failed(act, id, file, error)
            elif file is not None:
                file.leave()
            raise

    def _status(self, id: int) -> str | None:
        """The log's status; None while the store does not tell."""
        try:
            log = self._run(lambda session: session.exports.get_by_id(id))
        except StorageError:
            return None
        return None if log is None else log.status

    def _failed(
        self, act: Callable[..., Any], id: int, file: WholeFile | None, error: BaseException
    ) -> None:
        try:
            if file is not None:
                file.withdraw()
            act(lambda session: session.exports.fail(id, _reason(error)))
        except (StorageError, OSError):  # gone as well; the next export or list sees the .part
            LOGGER.warning("export %s failed, and its log cannot be told", id)
            if file is not None:
                file.leave()
            return
        if file is not None:
            file.finish()

    def _file(self, job: Job, export_id: int) -> WholeFile | None:
        if job.options.stream is not None:
            return None
        path = job.options.file_path
        if path is not None:
            return _open(Path(os.path.abspath(path)))
        _make_folder(self._folder)
        stem = f"{job.selection.source.name}-{self._now():%Y%m%dT%H%M%SZ}-{export_id}"
        return _open_free(self._folder, stem, job.spec.suffix)

    def _now(self) -> datetime:
        with self.storage.session(tenant=self._tenant) as session:
            return session.now()

    def _view(self, consistent: bool) -> AbstractContextManager[Reader]:
        backend = self.storage.backend
        return backend.snapshot(self._tenant) if consistent else nullcontext(backend)

    def _run(
        self, fn: Callable[[Session], T], actor: Actor | str | None = None, **options: Any
    ) -> T:
        return self.storage.run(fn, tenant=self._tenant, actor=actor or self._actor, **options)

    # What was left, and what is to go

    def _settle_left(self) -> None:
        """Tell of exports whose process is gone; take away what they have left."""
        for log in self._run(lambda session: session.exports.get_pending()):
            reason = self._left(log)
            if reason is not None:
                self._run(partial(_mark_failed, log.id, reason))

    def _left(self, log: ExportLog) -> str | None:
        """Why a pending export will never be complete; None while it may be."""
        left = "gone" if log.file_path is None else left_of(Path(log.file_path))
        if left == "left":
            return LEFT
        old = left == "gone" and self._now() - log.requested_at > ABANDONED_AFTER
        return ABANDONED if old else None

    def _sweep(self) -> None:
        """Take away what ended exports have left behind: their log knows the end, or is none."""
        for part in self._folder.glob(".*.part") if self._folder.is_dir() else ():
            path = part.with_name(part.name[1:].removesuffix(".part"))
            told = self._run(partial(_logs_of, str(path)))
            with suppress(OSError):
                age = self._now().timestamp() - part.stat().st_mtime
                if told or age > ABANDONED_AFTER.total_seconds():
                    left_of(path, keep=told > 0)

    def _remove(self, log: ExportLog) -> bool:
        if log.file_path is None:
            return False
        path = Path(log.file_path)
        if path.parent != self._folder or os.path.realpath(path.parent) != os.path.realpath(
            self._folder
        ):
            raise ExportError(
                f"the file of export {log.id} is not in {self._folder}; remove it by hand, "
                "or name its folder as export_dir"
            )
        there = os.path.lexists(path)
        if there and log.status == COMPLETED:
            if not matches(path, log.file_size_bytes, log.file_hash):
                raise ExportError(
                    f"the file of export {log.id} is not what its log describes; it was not removed"
                )
            os.unlink(path)
        self._run(lambda session: session.exports.forget_file(log.id))
        return there and log.status == COMPLETED


def _open(path: Path) -> WholeFile:
    try:
        return WholeFile(path)
    except FileExistsError as error:
        raise ExportError(f"{path} is there already; choose another name or remove it") from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}") from error


def _open_free(folder: Path, stem: str, suffix: str) -> WholeFile:
    """A name that nobody has: another store may export into the same folder."""
    for number in range(1, 1000):
        extra = "" if number == 1 else f"-{number}"
        path = folder / f"{stem}{extra}{suffix}"
        ExportLog.domains["file_path"].accept("export_dir", str(path))
        try:
            return WholeFile(path)
        except FileExistsError:
            continue
        except OSError as error:
            raise ExportError(f"{path} cannot be written: {error.strerror}") from error
    raise ExportError(f"no name is free for {stem} in {folder}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be created: {error.strerror}") from error


def _logs_of(path: str, session: Session) -> int:
    return session.exports.count(file_path=path)


def _completed(id: int, count: int, stream: Counted, session: Session) -> None:
    session.exports.complete(id, record_count=count, file_size=stream.size, file_hash=stream.sha256)


def _mark_failed(id: int, reason: str, session: Session) -> None:
    """Unless another process was first."""
    log = session.exports.get_by_id(id)
    if log is not None and log.status == PENDING:
        session.exports.fail(id, reason)


def _reason(error: BaseException) -> str:
    """Why, without stored text: messages of ours hold none, those of others may."""
    if isinstance(error, StorageError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"the file cannot be written: {error.strerror}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"an error of another library or of the host: {type(error).__name__}"
