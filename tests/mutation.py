"""Mutation testing of the pure rules: each small change of a module must make its tests fail.

``python3 dev.py mutate [MODULE...]`` runs it; without modules on ``matching``, ``overlay`` and all
of ``rules``, which takes hours on two cores. cosmic-ray makes the mutants, in a copy of the
checkout: the sources stay as they are. Those that survive are listed; docs/mutation-testing.md
explains the ones that nobody can tell from the original.
"""

import os
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
    "matching": ["tests/test_matching.py", "tests/test_matching_order.py"],
    "overlay": ["tests/test_overlay.py", "tests/test_unit_of_work.py"],
}
IGNORED = shutil.ignore_patterns("__pycache__")
TIMEOUT = 120
"""Seconds for the tests of one mutant; one that runs on for ever is found too."""


def modules(named: list[str]) -> list[str]:
    """Names as one writes them, ``rules.tags``; all of them unless some are named."""
    rules = [f"rules.{path.stem}" for path in sorted((PACKAGE / "rules").glob("[a-z]*.py"))]
    known = [*TESTS, *rules]
    unknown = [name for name in named if name not in known]
    if unknown:
        sys.exit(f"mutate: there is no {unknown[0]!r}; there are {', '.join(known)}")
    return named or known


def tests_of(module: str) -> list[str]:
    """The test files of a module: its own, and where it has rules, those of its repository."""
    if module in TESTS:
        return TESTS[module]
    name = module.removeprefix("rules.")
    beside = [f"tests/rules/test_{name}.py", f"tests/repositories/test_{name}.py"]
    return [path for path in beside if (ROOT / path).exists()]


def survivors(module: str, folder: Path) -> tuple[int, list[str]]:
    """How many mutants there are, and the change that each survivor is."""
    path = f"loki_storage/{module.replace('.', '/')}.py"
    config, session = folder / "mutate.toml", folder / "session.sqlite"
    session.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    config.write_text(
        _CONFIG.format(path=path, timeout=TIMEOUT, tests=" ".join([*command, *tests_of(module)]))
    )
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
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""
"""``X | Y`` is a union of types wherever it stands in these modules."""


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
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(ROOT / "pyproject.toml", folder)
        for module in chosen:
            count, left = survivors(module, folder)
            alive += len(left)
            print(f"\n== {module}: {count - len(left)} of {count} mutants found", flush=True)
            print("\n".join(left), flush=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
