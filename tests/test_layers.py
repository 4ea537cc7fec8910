"""Imports point down only. The tables are the architecture; a module in none of them fails.

A new module goes into ``LAYERS``, a new dependency into ``LIBRARIES``.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Layer -> its modules. "x.*" stands for the package x and everything inside.
LAYERS = {
    "vocabulary": [
        "loki_storage.errors",
        "loki_storage.enums",
        "loki_storage.values",
        "loki_storage.models",
    ],
    "contract language": [
        "loki_storage.conditions",
        "loki_storage.query",
        "loki_storage.explaining",
        "loki_storage.matching",
        "loki_storage.rows",
        "loki_storage.batch",
        "loki_storage.lines",
        "loki_storage.protocol",
        "loki_storage.hookspecs",
        "loki_storage.export_format",
        "loki_storage.archive_store",
        "loki_storage.deadline",
    ],
    "rules": ["loki_storage.rules.*"],
    "unit of work": [
        "loki_storage.authorization",
        "loki_storage.configuration",
        "loki_storage.plugins",
        "loki_storage.leases",
        "loki_storage.masking",
        "loki_storage.observing",
        "loki_storage.overlay",
        "loki_storage.turns",
        "loki_storage.unit_of_work",
    ],
    "api": [
        "loki_storage",
        "loki_storage.aio",
        "loki_storage.health",
        "loki_storage.session",
        "loki_storage.storage",
        "loki_storage.recording",
        "loki_storage.query_builder.*",
        "loki_storage.archive_folder",
        "loki_storage.archives",
        "loki_storage.backups.*",
        "loki_storage.backup_manager",
        "loki_storage.exports.*",
        "loki_storage.export_manager",
        "loki_storage.whole_file",
        "loki_storage.export_formats.*",
        "loki_storage.repositories.*",
        "loki_storage.retention.*",
        "loki_storage.maintenance",
        "loki_storage.intercepts.*",
    ],
    "samples": ["loki_storage.samples.*"],
    "cli": ["loki_storage.cli.*"],
    "memory": ["loki_storage.memory"],
    "sql": ["loki_storage_sql.*"],
    "sqlite": ["loki_storage_sqlite.*"],
    "postgresql": ["loki_storage_postgresql.*"],
    "migrations": ["migrations.env"],
    "revisions": ["migrations.versions.*"],
    "contract tests": ["loki_storage_contract.*", "test_*", "make_reports"],
    "third party": [f"loki_storage_jsonl{name}" for name in ("", ".backend", ".log", ".rows")],
    "third party's target": ["loki_storage_jsonl.contract"],
}

# Layer -> the layers it may import besides itself.
LANGUAGE = {"vocabulary", "contract language"}
UNIT_OF_WORK = {*LANGUAGE, "rules", "unit of work"}
BELOW = {
    "vocabulary": set(),
    "contract language": {"vocabulary"},
    "rules": LANGUAGE,
    "unit of work": {*LANGUAGE, "rules"},
    "api": UNIT_OF_WORK,
    "samples": set(),
    # `migrate` works on schema revisions, which the protocol does not know.
    # The contract kit is imported when one of its commands runs (see tests/cli/test_contract.py).
    "cli": {*UNIT_OF_WORK, "api", "samples", "sql", "contract tests"},
    "memory": LANGUAGE,
    "sql": LANGUAGE,
    "sqlite": {*LANGUAGE, "sql"},
    "postgresql": {*LANGUAGE, "sql"},
    "migrations": {*UNIT_OF_WORK, "sql"},
    # A revision describes one moment: it must not change along with the code.
    "revisions": set(),
    "contract tests": {*UNIT_OF_WORK, "api", "memory", "sql", "sqlite"},
    # The example of a backend that is not ours needs no more than the protocol's own language.
    "third party": LANGUAGE,
    "third party's target": {"contract tests"},
}

# Library -> the layers that may import it. The standard library is free.
EVERYWHERE = set(LAYERS)
LIBRARIES = {
    "attrs": EVERYWHERE,
    "pluggy": EVERYWHERE,
    "orjson": EVERYWHERE,
    "click": {"cli"},
    "rich": {"cli"},
    "psycopg": {"postgresql"},
    "sqlalchemy": {"sql", "sqlite", "postgresql", "migrations", "revisions"},
    "alembic": {"sql", "sqlite", "migrations", "revisions"},
    "openpyxl": {"api"},
    "pyarrow": {"api"},
    "zstandard": {"api", "sql", "revisions"},
    "hypothesis": {"contract tests"},
    "pytest": {"contract tests"},
    "_pytest": {"contract tests"},  # see loki_storage_contract.assertions
    "tests": {"contract tests"},  # this repository's servers, for this repository's run of the kit
}


def source_files() -> Iterator[tuple[str, Path]]:
    """Every module that ships or tests a backend, with the name it is imported by."""
    for base, pattern in [
        (ROOT, "loki_storage/**/*.py"),
        (ROOT, "migrations/**/*.py"),
        (ROOT / "backends", "**/*.py"),
        (ROOT / "contract_tests", "**/*.py"),
        (ROOT / "examples/loki-storage-jsonl", "loki_storage_jsonl/**/*.py"),
    ]:
        for path in sorted(base.glob(pattern)):
            parts = path.relative_to(base).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


FILES = dict(source_files())
OURS = {name.partition(".")[0] for name in FILES}


def belongs(module: str, pattern: str) -> bool:
    return fnmatchcase(module, pattern) or pattern == f"{module}.*"


def layer_of(module: str) -> str:
    found = [
        layer
        for layer, patterns in LAYERS.items()
        for pattern in patterns
        if belongs(module, pattern)
    ]
    assert len(found) == 1, f"{module} must be in LAYERS exactly once, found in {found}"
    return found[0]


def imports(module: str, source: str) -> Iterator[str]:
    """Names of what a module imports anywhere, also lazily, for types, or by import_module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(names=names):
                origin = absolute(module, node)
                for alias in names:
                    submodule = f"{origin}.{alias.name}"
                    yield submodule if submodule in FILES else origin
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = FILES[module].name == "__init__.py"
    parents = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def violations(module: str, source: str) -> list[str]:
    layer = layer_of(module)
    return [
        f"{module} ({layer}) imports {target}"
        for target in imports(module, source)
        if not allowed(layer, target)
    ]


def allowed(layer: str, target: str) -> bool:
    top = target.partition(".")[0]
    if top in OURS:
        return layer_of(target) in {layer, *BELOW[layer]}
    return top in sys.stdlib_module_names or layer in LIBRARIES.get(top, ())


@pytest.mark.parametrize("module", FILES)
def test_module_imports_only_what_lies_below(module: str) -> None:
    assert violations(module, FILES[module].read_text("utf-8")) == []


@pytest.mark.parametrize("pattern", [pattern for row in LAYERS.values() for pattern in row])
def test_table_names_only_modules_that_exist(pattern: str) -> None:
    assert any(belongs(module, pattern) for module in FILES)


def test_unlisted_module_fails() -> None:
    with pytest.raises(AssertionError, match="exactly once"):
        violations("loki_storage.unheard_of", "")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("loki_storage.models", "from loki_storage.storage import Storage"),
        ("loki_storage.models", "from .storage import Storage"),
        ("loki_storage.models", "def late():\n    import loki_storage.session"),
        ("loki_storage.models", "from loki_storage import Document"),
        ("loki_storage.models", "import_module('loki_storage.query')"),
        ("loki_storage.models", "importlib.import_module('loki_storage.query')"),
        ("loki_storage.memory", "from loki_storage.rules import documents"),
        ("loki_storage_sql", "from loki_storage_sqlite import backend"),
        ("loki_storage.session", "import sqlalchemy.orm"),
        ("loki_storage_sql", "import hypothesis"),
        ("loki_storage.cli", "import a_library_nobody_listed"),
    ],
)
def test_import_upwards_is_found(module: str, source: str) -> None:
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("loki_storage.session", "from loki_storage import errors"),
        ("loki_storage.session", "from .models import Document"),
        ("loki_storage_sqlite", "import json, loki_storage_sql"),
        ("loki_storage_sql", "from sqlalchemy import Table"),
    ],
)
def test_import_downwards_is_allowed(module: str, source: str) -> None:
    assert violations(module, source) == []
