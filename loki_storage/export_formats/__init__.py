"""Export formats: the five that come with loki-storage, and how the others are found.

Each module is a plugin that registers what it offers through ``loki_register_export_formats``.
"""

from loki_storage.export_formats.registry import (
    find_format,
    find_format_of_file,
    format_names,
    format_options,
)

__all__ = ["find_format", "find_format_of_file", "format_names", "format_options"]
