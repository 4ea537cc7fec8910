"""``loki-storage ingest``: intercepts of a JSON-lines file into the store."""

import os
import stat
import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

from loki_storage.cli.ingestion import Ingestion, Tally, ingest
from loki_storage.cli.invocation import Failure, Invocation, writing
from loki_storage.cli.output import note, number, plural, print_fields, print_json
from loki_storage.cli.progress import progress

__all__ = ["finish", "ingest_command", "octets_of", "print_tally", "tally_document"]

INTERRUPTED = 130


@click.command("ingest")
@click.argument("file", metavar="FILE|-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--client", default="default", show_default=True, help="Client of lines that name none."
)
@writing
def ingest_command(invocation: Invocation, file: str, client: str) -> None:
    """Record the intercepts of a file of JSON lines.

    Each is one atomic batch: it is stored whole or not at all.

    A line is an object with document, document_type and report; modules, corrections, client_id,
    tenant, user_id, title, source and request_id are optional. A bad line is reported with its
    number and the rest goes on. What was recorded before is not written again.

    Exit code: 0 all is stored, 1 some lines are not, 2 the store failed, 130 interrupted.
    """
    with ExitStack() as closing:
        stream = closing.enter_context(_opened(file))
        storage = closing.enter_context(invocation.storage())
        watched = closing.enter_context(progress(octets_of(stream), "intercepts"))
        target = Ingestion(storage, invocation.tenant, invocation.actor, client)
        tally = ingest(target, stream, watched)
    if invocation.as_json:
        print_json(tally_document(tally))
    else:
        print_tally(tally)
    finish(tally)
    if not invocation.as_json:
        note(f"look at it: {invocation.command('documents list')}")


def print_tally(tally: Tally) -> None:
    """What an ingest came to, as a table."""
    documents = f"{number(tally.new_documents)} new, {number(tally.reused_documents)} known before"
    print_fields(
        [
            ("recorded", number(tally.recorded)),
            ("replayed", number(tally.replayed)),
            ("failed", number(tally.failed)),
            ("documents", documents),
            ("new versions", number(tally.versions)),
            ("gate results", number(tally.results)),
            ("corrections", number(tally.corrections)),
            ("time", f"{tally.seconds:.1f} s, {tally.rate:,.0f} intercepts/s"),
        ]
    )


def tally_document(tally: Tally) -> dict[str, Any]:
    """What an ingest came to, for ``--json``."""
    return {
        "recorded": tally.recorded,
        "replayed": tally.replayed,
        "failed": tally.failed,
        "documents": {"new": tally.new_documents, "reused": tally.reused_documents},
        "versions": tally.versions,
        "results": tally.results,
        "corrections": tally.corrections,
        "seconds": round(tally.seconds, 3),
        "per_second": round(tally.rate, 1),
        "interrupted": tally.interrupted,
        "errors": [{"line": line, "reason": reason} for line, reason in tally.failures],
    }


def finish(tally: Tally) -> None:
    """Exit with what is wrong and what to do, where not all is stored."""
    if tally.error is not None:
        raise Failure(f"{tally.error}; what is counted above is stored, run it again for the rest")
    if tally.interrupted:
        click.echo(
            "interrupted: what is counted above is stored, run it again for the rest", err=True
        )
        raise click.exceptions.Exit(INTERRUPTED)
    if tally.failed:
        click.echo(f"error: {plural(tally.failed, 'line')} not stored, see above", err=True)
        raise click.exceptions.Exit(1)


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    """The stream; of what cannot be opened, the reason."""
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from error


def octets_of(stream: BinaryIO) -> int | None:
    """The size of a regular file."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
