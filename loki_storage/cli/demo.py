"""``loki-storage demo``: the main job on sample intercepts, and a look at what came of it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from loki_storage.cli.audit import print_timeline
from loki_storage.cli.diff import print_diff
from loki_storage.cli.ingest import finish, octets_of, print_tally, tally_document
from loki_storage.cli.ingestion import Ingestion, Tally, ingest
from loki_storage.cli.invocation import Failure, Invocation, writing
from loki_storage.cli.listing import DOCUMENT_COLUMNS, Listed, document_row, listed
from loki_storage.cli.output import console, heading, plural, print_json, print_table
from loki_storage.cli.progress import progress
from loki_storage.cli.status import print_gates, print_risks
from loki_storage.models import AuditEntry
from loki_storage.query import Query, equals
from loki_storage.samples import open_intercepts
from loki_storage.storage import Session, Storage

__all__ = ["demo_command"]

CLIENT = "demo"
LIMIT = 50


@click.command("demo")
@click.option("--add", is_flag=True, help="Also into a store that holds something already.")
@writing
def demo_command(invocation: Invocation, add: bool) -> None:
    """Record sample intercepts and show what is stored.

    They go into a new SQLite file in a temporary folder, or, with --url, into that store if it is
    empty.
    """
    if invocation.url is None:
        invocation = attrs.evolve(invocation, url=_new_file())
    with invocation.storage() as storage:
        if not add and storage.backend.exists(Query(AuditEntry, None)):
            raise Failure(f"{invocation.where} holds something already; name another, or add --add")
        tally = _record(storage, invocation)
        with storage.session(tenant=invocation.tenant, read_only=True) as session:
            story = _read(session)
    if invocation.as_json:
        print_json(
            {"url": invocation.where, "ingested": tally_document(tally), **attrs.asdict(story)}
        )
    else:
        _tell(invocation, tally, story)
    finish(tally)


@attrs.frozen
class _Story:
    """What the demo shows. ``example``: a document with its texts before and after a correction."""

    documents: Sequence[Listed]
    risk_breakdown: dict[str, int]
    top_gate_failures: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    example: dict[str, Any] | None


def _new_file() -> str:
    folder = tempfile.mkdtemp(prefix="loki-storage-demo-")
    return f"sqlite:///{Path(folder) / 'loki.db'}"


def _record(storage: Storage, invocation: Invocation) -> Tally:
    target = Ingestion(storage, invocation.tenant, invocation.actor, CLIENT)
    with open_intercepts() as lines, progress(octets_of(lines.buffer), "intercepts") as watched:
        return ingest(target, lines.buffer, watched)


def _read(session: Session) -> _Story:
    documents = listed(session, [equals(is_latest=True)], limit=LIMIT)
    return _Story(
        documents,
        session.validations.get_risk_breakdown(),
        session.validations.get_gate_failure_stats(limit=5),
        session.audit.get_activity_timeline(days=7),
        _example(session, documents),
    )


def _example(session: Session, documents: Sequence[Listed]) -> dict[str, Any] | None:
    """The shortest document that was corrected: it fits on a screen."""
    corrected = [document for document in documents if document.versions > 1]
    if not corrected:
        return None
    shortest = min(corrected, key=lambda document: (document.content_length, document.id))
    before, after = session.documents.get_version_history(shortest.id)[:2]
    corrections = session.corrections.get_by_document(before.id, versions="this")
    return {
        "id": after.id,
        "title": after.title,
        "versions": [before.version, after.version],
        "texts": [before.content, after.content],
        "corrections": [correction.strategy for correction in reversed(corrections)],
    }


# Telling


def _tell(invocation: Invocation, tally: Tally, story: _Story) -> None:
    click.echo(f"{plural(tally.recorded, 'sample intercept')} recorded in\n{invocation.where}\n")
    print_tally(tally)
    print_table(DOCUMENT_COLUMNS, [document_row(row) for row in story.documents], "documents")
    print_risks(story.risk_breakdown)
    print_gates(story.top_gate_failures)
    if story.example is not None:
        _tell_example(story.example)
    print_timeline(story.timeline, "audit timeline")
    heading(console(), "try next")
    for words in _next(story):
        click.echo(f"  {invocation.command(words)}")


def _tell_example(example: dict[str, Any]) -> None:
    (before, after), (old, new) = example["versions"], example["texts"]
    corrections = plural(len(example["corrections"]), "correction")
    title = f"“{example['title']}”, version {before} to {after}: {corrections}"
    print_diff(old, new, title)


def _next(story: _Story) -> list[str]:
    first = story.documents[-1] if story.documents else None
    client = "" if first is None else f" --client {first.client_id}"
    shown = 1 if story.example is None else story.example["id"]
    return [
        "status",
        f"documents show {shown} --versions",
        "validations show 1",
        "validations show 1 --report",
        "corrections list",
        f"audit timeline{client}",
    ]
