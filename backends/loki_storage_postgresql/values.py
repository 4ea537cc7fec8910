"""How Python's values go to the server: one type each, so that a statement is prepared once."""

from typing import Any

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

__all__ = ["register_values"]


def register_values(connection: "psycopg.Connection[Any]") -> None:
    """Send every integer as ``bigint``; the driver would choose by its size."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
