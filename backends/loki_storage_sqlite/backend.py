"""``SqliteBackend``: a file, its connections, and who may write."""

import os
import random
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import Pool

from loki_storage.deadline import time_left
from loki_storage.errors import InvalidField, InvalidValue
from loki_storage_sql.backend import SqlBackend
from loki_storage_sql.connections import Connection
from loki_storage_sql.pool import DeadlinePool
from loki_storage_sqlite.dialect import SqliteDialect, install_functions
from loki_storage_sqlite.errors import is_busy

__all__ = ["SqliteBackend"]

T = TypeVar("T")
CACHED_STATEMENTS = 256
