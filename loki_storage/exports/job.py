"""One export on its way: what was asked for, checked, and the rows through the format's writer."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, BinaryIO

import attrs

from loki_storage.errors import InvalidField, InvalidValue
from loki_storage.export_format import ExportFormatSpec, Row
from loki_storage.export_formats import find_format, format_options
from loki_storage.exports.source import SOURCES, Selection, select
from loki_storage.lines import Blocks, Form
from loki_storage.masking import Mask
from loki_storage.models import ExportLog
from loki_storage.protocol import Reader
from loki_storage.storage import Session
from loki_storage.whole_file import Counted, WholeFile

__all__ = ["Job", "Options", "Progress", "job_of"]

Progress = Callable[[int, int], object]
"""Called with the rows done and the rows in all: at first, every so many rows, at the end."""

PROGRESS_ROWS = 1_000
BUFFER = 1 << 18


@attrs.frozen(kw_only=True)
class Options:
    """How to export, whatever the table."""

    expires_in: timedelta | None = timedelta(days=30)
    consistent: bool = True
    file_path: str | os.PathLike[str] | None = None
    stream: BinaryIO | None = None


SELECTING = (
    "filters",
    "fields",
    "without",
    "versions",
    "include_deleted",
    "include_results",
    "mask",
)


@attrs.frozen
class Job:
    """One export: the format, the selection and the options."""

    spec: ExportFormatSpec
    selection: Selection
    options: Options
    write_options: dict[str, Any]
    progress: Progress | None

    def log(
        self, id: int, client_id: str, requested_by: str, file: WholeFile | None
    ) -> dict[str, Any]:
        """The arguments of the log's first entry."""
        filters = dict(self.selection.filters)
        if not self.options.consistent:
            filters["consistent"] = False
        return {
            "id": id,
            "export_type": self.spec.name,
            "entity_type": self.selection.source.entity_type,
            "requested_by": requested_by,
            "client_id": client_id,
            "filters": filters or None,
            "fields": list(self.selection.fields),
            "file_path": None if file is None else str(file.path),
        }

    def start(self, session: Session, log: dict[str, Any], file: WholeFile | None) -> None:
        expires_in = self.options.expires_in
        expires = None if expires_in is None or file is None else session.now() + expires_in
        session.exports.start(**log, expires_at=expires)

    def write(self, reader: Reader, file: WholeFile | None) -> tuple[Counted, int]:
        """Write the rows; the stream that they went through, and how many they were."""
        target = self.options.stream
        stream = file.stream if file is not None else Counted(target)  # type: ignore[arg-type]
        total = 0 if self.progress is None else reader.count(self.selection.query)
        told = _Progress(self.progress, total)
        with io.BufferedWriter(stream, BUFFER) as buffered:  # rows are small, and each would cost
            self._write(buffered, reader, told)
        stream.flush()
        told.finish()
        return stream, told.done

    def _write(self, file: BinaryIO, reader: Reader, told: "_Progress") -> None:
        table, options = self.selection.table, self.write_options
        if self.spec.write_lines is None:
            rows = told.rows(self.selection.rows(reader))
            self.spec.write(file, table, rows, **options)
            return

        def lines(form: Form) -> Blocks:
            return told.blocks(self.selection.lines(reader, form))

        self.spec.write_lines(file, table, lines, **options)


class _Progress:
    """Counts rows on their way, and tells."""

    def __init__(self, tell: Progress | None, total: int) -> None:
        self._tell, self._total, self._told = tell, total, 0
        self.done = 0
        if tell is not None:
            tell(0, total)

    def rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.done += 1
            yield row
            if self.done % PROGRESS_ROWS == 0:
                self._say()

    def blocks(self, blocks: Blocks) -> Blocks:
        for block, rows in blocks:
            self.done += rows
            yield block, rows
            if self.done - self._told >= PROGRESS_ROWS:
                self._say()

    def finish(self) -> None:
        self._total = self.done
        self._say()

    def _say(self) -> None:
        self._told = self.done
        if self._tell is not None:
            self._tell(self.done, self._total)


def _split(asked: Mapping[str, Any], spec: ExportFormatSpec) -> tuple[Options, dict[str, Any]]:
    """Our options, and the format's; an unknown one is ``InvalidField``."""
    ours = {field.name for field in attrs.fields(Options)}
    of_format = {name: value for name, value in asked.items() if name not in ours}
    try:
        checked = format_options(spec.write, of_format, spec.name)
    except InvalidField as error:
        known = [*ours, *SELECTING]
        raise InvalidField(error.field, "is not an option of exports", known) from error
    options = Options(**{name: value for name, value in asked.items() if name in ours})
    if options.stream is not None and options.file_path is not None:
        raise InvalidValue("stream", "cannot be given along with file_path")
    if options.expires_in is not None and not isinstance(options.expires_in, timedelta):
        raise InvalidValue("expires_in", "must be a timedelta or None")
    if options.file_path is not None:
        path = os.path.abspath(options.file_path)
        ExportLog.domains["file_path"].accept("file_path", path)
    return options, checked


def job_of(
    table: str,
    tenant: str,
    format: str,
    client_id: str | None,
    progress: Progress | None,
    asked: Mapping[str, Any],
    imposed: Mask,
) -> Job:
    """Check all that was asked for; ``InvalidField`` and ``InvalidValue``."""
    spec = find_format(format)
    selecting = {name: asked[name] for name in SELECTING if name in asked}
    others = {name: asked[name] for name in asked if name not in SELECTING}
    selection = select(SOURCES[table], tenant, client_id=client_id, imposed=imposed, **selecting)
    options, write_options = _split(others, spec)
    return Job(spec, selection, options, write_options, progress)
