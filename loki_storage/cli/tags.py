"""``loki-storage tags``: labels and how many documents have them."""

import click

from loki_storage.cli.invocation import Invocation, reading
from loki_storage.cli.listing import print_listing
from loki_storage.cli.output import Column, as_fields, print_json

__all__ = ["tags_commands"]


@click.group("tags")
def tags_commands() -> None:
    """List tags."""


@tags_commands.command("list")
@reading
def list_tags(invocation: Invocation) -> None:
    """List tags by name, with the number of documents that have them."""
    with invocation.session() as session:
        tags = session.tags.list_with_counts()
        if invocation.as_json:
            shown = [as_fields(tag) | {"documents": count} for tag, count in tags]
            print_json({"tags": shown, "total": len(shown)})
            return
        rows = [
            (tag.id, tag.name, count, tag.category, tag.color, tag.description)
            for tag, count in tags
        ]
        print_listing(invocation, session, _COLUMNS, rows, len(rows))


_COLUMNS = [
    Column("id", right=True),
    Column("tag", share=1),
    Column("documents", right=True),
    Column("category", share=1),
    Column("color"),
    Column("description", share=1),
]
