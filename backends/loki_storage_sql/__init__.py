"""For authors of relational backends: tables, codecs, statements, migrations."""

__all__: list[str] = []
