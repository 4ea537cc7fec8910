"""Mutation testing of the pure rules: each small change of a module must make its tests fail.

``python3 dev.py mutate [MODULE...]`` runs it; without modules on all of ``rules`` and what stands
beside them in ``TESTS``. cosmic-ray makes the mutants, in a copy of the checkout: the sources stay
as they are. Those that survive are listed; docs/mutation-testing.md explains the ones that nobody
can tell from the original.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "loki_storage"
FOLDERS = ("loki_storage", "backends", "contract_tests", "migrations", "tests")
TESTS = {
    "conditions": ["tests/test_query.py", "tests/test_query_json.py"],
    "matching": ["tests/test_matching.py", "tests/test_matching_order.py"],
    "overlay": ["tests/test_overlay.py", "tests/test_unit_of_work.py"],
    "rows": ["tests/test_rows.py"],
    "rules.archiving": ["tests/retention/test_archive.py"],
    "rules.disposal": ["tests/rules/test_documents.py", "tests/retention/test_run.py"],
    "rules.exports": ["tests/exports/test_manager.py"],
    "rules.holds": ["tests/retention/test_run.py"],
    "rules.retained": ["tests/retention/test_reference.py", "tests/retention/test_run.py"],
    "rules.retention": ["tests/retention/test_reference.py", "tests/retention/test_run.py"],
}
"""Test files that go with a module, besides those whose path mirrors its own."""
IGNORED = shutil.ignore_patterns("__pycache__")
TIMEOUT = 60
"""Seconds for the tests of one mutant; one that runs on for ever is found too."""
PYTEST = [
    *(sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"),
    # A failure is enough: nobody reads why, so that nothing is rewritten or shrunk for it.
    *("--assert=plain", "--hypothesis-profile=mutants"),
    # The rules know no database: on memory their tests are the same, and much faster.
    *("-k", "not postgresql and not sqlite"),
]


def modules(named: list[str]) -> list[str]:
    """Names as one writes them, ``rules.tags``; all of them unless some are named."""
    rules = [f"rules.{path.stem}" for path in sorted((PACKAGE / "rules").glob("[a-z]*.py"))]
    known = sorted({*TESTS, *rules})
    unknown = [name for name in named if name not in known]
    if unknown:
        sys.exit(f"mutate: there is no {unknown[0]!r}; there are {', '.join(known)}")
    return named or known


def tests_of(module: str) -> list[str]:
    """The test files of a module: its own, those of its repository, and what ``TESTS`` adds."""
    name = module.removeprefix("rules.")
    beside = [f"tests/rules/test_{name}.py", f"tests/repositories/test_{name}.py"]
    return [*(path for path in beside if (ROOT / path).exists()), *TESTS.get(module, ())]


def survivors(module: str, folder: Path) -> tuple[int, list[str]]:
    """How many mutants there are, and the change that each survivor is."""
    path = f"loki_storage/{module.replace('.', '/')}.py"
    config, session = folder / "mutate.toml", folder / "session.sqlite"
    session.unlink(missing_ok=True)
    command = [*PYTEST, *tests_of(module)]
    # As they are, the tests pass; and all is compiled once, not again for each mutant.
    _run([sys.executable, "-m", "compileall", "-q", "."], folder)
    _run(command, folder)
    tests, left_out = shlex.join(command), json.dumps(_LEFT_OUT)
    config.write_text(_CONFIG.format(path=path, timeout=TIMEOUT, tests=tests, left_out=left_out))
    for step in (
        ["cosmic_ray.cli", "init", config.name, session.name],
        ["cosmic_ray.tools.filters.operators_filter", session.name, config.name],
        ["cosmic_ray.cli", "exec", config.name, session.name],
    ):
        _run([sys.executable, "-m", *step], folder)
    # Not a dependency of the project: dev.py installs it when it is asked for.
    database: Any = import_module("cosmic_ray.work_db")
    with database.use_db(str(session), database.WorkDB.Mode.open) as db:
        results = [r for _, r in db.completed_work_items if r.test_outcome is not None]
    alive = [r.diff or "" for r in results if r.test_outcome.value == "survived"]
    return len(results), alive


_CONFIG = """\
[cosmic-ray]
module-path = "{path}"
timeout = {timeout}
excluded-modules = []
test-command = "{tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {left_out}
"""
_LEFT_OUT = [
    # A union of types, wherever ``X | Y`` stands in these modules.
    "core/ReplaceBinaryOperator_BitOr_.*",
    # Identity is asked of None, types and members of enums, where equality is the same.
    "core/ReplaceComparisonOperator_(Is_Eq|IsNot_NotEq)",
    # The * before keyword-only parameters as /. Of a product the other operators are tried.
    "core/ReplaceBinaryOperator_Mul_Div",
]
"""Changes that nobody could tell from the original."""


def _run(command: list[str], folder: Path) -> None:
    path = os.pathsep.join(str(folder / name) for name in ("", "backends", "contract_tests"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, *filter(None, sys.path)])}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    if done.returncode:
        sys.exit(f"mutate: {' '.join(command[2:])} failed")


def main(named: list[str]) -> int:
    """Mutate these modules; 1 where any mutant survived."""
    chosen, alive = modules(named), 0
    with tempfile.TemporaryDirectory(prefix="loki-mutants-") as name:
        folder = Path(name)
        for part in FOLDERS:
            shutil.copytree(ROOT / part, folder / part, ignore=IGNORED)
        shutil.copy(ROOT / "pyproject.toml", folder)
        for module in chosen:
            count, left = survivors(module, folder)
            alive += len(left)
            print(f"\n== {module}: {count - len(left)} of {count} mutants found", flush=True)
            print("\n".join(left), flush=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
