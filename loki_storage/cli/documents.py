"""``loki-storage documents``: what is stored, and one document with all its versions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs
import click

from loki_storage.cli.diff import print_diff, unified
from loki_storage.cli.invocation import Failure, Invocation, reading
from loki_storage.cli.listing import (
    DOCUMENT_COLUMNS,
    chosen,
    document_row,
    limit_option,
    listed,
    print_listing,
)
from loki_storage.cli.output import (
    Cell,
    Column,
    as_fields,
    minutes,
    number,
    print_fields,
    print_json,
    print_table,
    print_text,
    styled,
)
from loki_storage.models import Document, Tag, Validation
from loki_storage.query import all_of, equals
from loki_storage.storage import Session

__all__ = ["documents_commands", "print_version_diff"]


@click.group("documents")
def documents_commands() -> None:
    """List documents; show one with its versions."""


@documents_commands.command("list")
@click.option("--client", help="Of this client only.")
@click.option("--type", "document_type", help="Of this type only, like contract.")
@click.option("--deleted", is_flag=True, help="Soft-deleted versions instead of live ones.")
@click.option(
    "--versions",
    type=click.Choice(["heads", "all"]),
    default="heads",
    show_default=True,
    help="A row for each document, or for each version.",
)
@limit_option
@reading
def list_documents(
    invocation: Invocation,
    client: str | None,
    document_type: str | None,
    deleted: bool,
    versions: str,
    limit: int,
) -> None:
    """List documents, newest first; the risk is that of the latest validation."""
    of_versions = deleted or versions == "all"
    wanted = equals(is_deleted=deleted) if of_versions else equals(is_latest=True)
    conditions = [wanted, equals(**chosen(client_id=client, document_type=document_type))]
    with invocation.session() as session:
        rows = listed(session, conditions, limit=limit, of_versions=of_versions)
        total = session.count(session.query(Document, all_of(*conditions)))
        if invocation.as_json:
            print_json({"documents": [attrs.asdict(row) for row in rows], "total": total})
            return
        cells = [document_row(row, of_versions=of_versions) for row in rows]
        print_listing(invocation, session, DOCUMENT_COLUMNS, cells, total)


@documents_commands.command("show")
@click.argument("id", type=int)
@click.option("--versions", is_flag=True, help="What each version changed.")
@click.option("--content", is_flag=True, help="The text of this version.")
@click.option("--deleted", is_flag=True, help="Also what is soft-deleted.")
@reading
def show_document(
    invocation: Invocation, id: int, versions: bool, content: bool, deleted: bool
) -> None:
    """Show a document: what describes it, its tags, versions and validations.

    ID is that of any of its versions.
    """
    with invocation.session() as session:
        shown = _read(invocation, session, id, deleted)
    if invocation.as_json:
        print_json(_as_json(shown, diffs=versions, content=content))
        return
    _print_document(shown)
    if versions:
        for before, after in pairwise(shown.versions):
            print_version_diff(before, after)
    if content:
        print_text(shown.document.content, f"text of version {shown.document.version}")


def print_version_diff(before: Document, after: Document) -> None:
    """What a version changed."""
    print_diff(before.content, after.content, f"version {before.version} to {after.version}")


@attrs.frozen
class _Shown:
    document: Document
    versions: Sequence[Document]
    tags: Sequence[Tag]
    validations: Sequence[Validation]

    def version_of(self, validation: Validation) -> int | None:
        numbers = {version.id: version.version for version in self.versions}
        return numbers.get(validation.document_id)


def _read(invocation: Invocation, session: Session, id: int, deleted: bool) -> _Shown:
    document = session.documents.get_by_id(id, include_deleted=True)
    if document is None:
        hint = invocation.command("documents list")
        raise Failure(f"document {id} was not found; `{hint}` lists them")
    if document.is_deleted and not deleted:
        raise Failure(f"document {id} is deleted; show it with --deleted")
    return _Shown(
        document,
        session.documents.get_version_history(id, include_deleted=deleted),
        session.documents.tags_of(id),
        session.validations.get_by_document(id),
    )


# Printing


def _print_document(shown: _Shown) -> None:
    document = shown.document
    print_fields(
        [
            ("document", f"{document.id}, version {document.version}{_state(document, ', ')}"),
            ("title", document.title),
            ("description", document.description),
            ("client", document.client_id),
            ("type", document.document_type),
            ("language", document.language),
            ("source", document.source),
            ("user", document.user_id),
            ("created", f"{minutes(document.created_at)} UTC"),
            ("text", f"{number(document.content_length)} characters"),
            ("SHA-256", document.content_hash),
            ("metadata", document.stored("metadata_json")),
            ("tags", ", ".join(tag.name for tag in shown.tags)),
        ]
    )
    print_table(_VERSION_COLUMNS, [_version_row(v) for v in shown.versions], "versions")
    if shown.validations:
        rows = [_validation_row(shown, validation) for validation in shown.validations]
        print_table(_VALIDATION_COLUMNS, rows, "validations")


_VERSION_COLUMNS = [
    Column("ver", right=True),
    Column("id", right=True),
    Column("created (UTC)"),
    Column("by", share=1),
    Column("chars", right=True),
    Column("SHA-256"),
    Column("state"),
]


def _version_row(version: Document) -> Sequence[Cell]:
    return (
        version.version,
        version.id,
        minutes(version.created_at),
        version.user_id,
        number(version.content_length),
        version.content_hash[:12],
        _state(version),
    )


def _state(version: Document, before: str = "") -> str:
    if version.is_deleted:
        return f"{before}deleted"
    return f"{before}head" if version.is_latest else ""


_VALIDATION_COLUMNS = [
    Column("id", right=True),
    Column("of ver", right=True),
    Column("risk"),
    Column("status"),
    Column("fail", right=True),
    Column("warn", right=True),
    Column("pass", right=True),
    Column("recorded (UTC)"),
]


def _validation_row(shown: _Shown, validation: Validation) -> Sequence[Cell]:
    return (
        validation.id,
        shown.version_of(validation),
        styled(validation.overall_risk),
        styled(validation.status),
        validation.fail_count,
        validation.warning_count,
        validation.pass_count,
        minutes(validation.created_at),
    )


def _as_json(shown: _Shown, *, diffs: bool, content: bool) -> dict[str, Any]:
    versions = [as_fields(version, without=("content",)) for version in shown.versions]
    if diffs:
        texts = [None, *(_unified(*pair) for pair in pairwise(shown.versions))]
        versions = [version | {"diff": text} for version, text in zip(versions, texts, strict=True)]
    hidden = ("config", "error_traceback")
    return {
        "document": as_fields(shown.document, without=() if content else ("content",)),
        "tags": [tag.name for tag in shown.tags],
        "versions": versions,
        "validations": [as_fields(v, without=hidden) for v in shown.validations],
    }


def _unified(before: Document, after: Document) -> str | None:
    names = (f"version {before.version}", f"version {after.version}")
    return unified(before.content, after.content, names)
