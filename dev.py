#!/usr/bin/env python3
"""usage: python3 dev.py COMMAND [arguments]

Everything a developer of loki-storage runs. Needs Python 3.11 or newer with pip, nothing else:
the first call makes the folder .venv and installs the project there; later calls do so again only
when pyproject.toml has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOWEST = "LOKI_DEV_LOWEST"
"""In the environment: work in .venv-lowest, with the lowest version of each dependency."""
VENV = ROOT / (".venv-lowest" if LOWEST in os.environ else ".venv")
STAMP = VENV / "loki-storage.stamp"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(SCRIPTS / ("python.exe" if os.name == "nt" else "python"))
MINIMUM = (3, 11)

# --- Commands --------------------------------------------------------------------------------


def demo(arguments: list[str]) -> int:
    """record sample intercepts in a new SQLite file (--postgresql: a server) and show them"""
    if "--postgresql" in arguments:
        given = [argument for argument in arguments if argument != "--postgresql"]
        return call([PYTHON, "-m", "tests.postgresql.demo", *given])
    return call([str(SCRIPTS / "loki-storage"), "demo", *arguments], cwd=None)


def test(arguments: list[str]) -> int:
    """lint, then run the tests; --lowest, or arguments of pytest (-x, --without-postgresql)"""
    if "--lowest" in arguments:
        return test_lowest([argument for argument in arguments if argument != "--lowest"])
    return run_steps([*LINT, ("pytest", [*PYTEST, *arguments])])


def test_lowest(arguments: list[str]) -> int:
    """The tests alone, in an environment with the lowest version of every dependency."""
    if LOWEST in os.environ:
        return run_steps([("pytest", [*PYTEST, *arguments])])
    return call_with([sys.executable, __file__, "test", "--lowest", *arguments], {LOWEST: "1"})


def lint(arguments: list[str]) -> int:
    """check style, formatting and types"""
    accept_none(arguments)
    return run_steps(LINT)


def fix(arguments: list[str]) -> int:
    """repair style and formatting where that is safe"""
    accept_none(arguments)
    return run_steps(FIX)


def bench(arguments: list[str]) -> int:
    """run the benchmarks; arguments go to benchmarks/run.py"""
    return call([PYTHON, "benchmarks/run.py", *arguments])


def mutate(arguments: list[str]) -> int:
    """change the rules in small ways: their tests must notice (modules: rules.tags, matching)"""
    if not answers([PYTHON, "-c", "import cosmic_ray"]):
        install = [PYTHON, "-m", "pip", "install", "cosmic-ray>=8.4"]
        run_quietly(install, "check the network and pip's settings")
    return call([PYTHON, "tests/mutation.py", *arguments])


def wheel(arguments: list[str]) -> int:
    """build the wheel into dist/"""
    accept_none(arguments)
    return call([PYTHON, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"])


COMMANDS = {command.__name__: command for command in (demo, test, lint, fix, bench, mutate, wheel)}

LINT = [
    ("ruff check", ["ruff", "check"]),
    ("ruff format", ["ruff", "format", "--check"]),
    ("mypy", ["mypy"]),
]
FIX = [("ruff check", ["ruff", "check", "--fix"]), ("ruff format", ["ruff", "format"])]
# loadgroup: single tests go to whichever process is free, tests of one xdist_group stay together.
PYTEST = ["pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "loadgroup"]


def main(argv: list[str]) -> int:
    if sys.version_info < MINIMUM:
        sys.exit(f"dev.py: this is Python {sys.version.split()[0]}; run it with 3.11 or newer.")
    if not argv or {"-h", "--help"} & set(argv[:2]):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        sys.exit(f"dev.py: there is no command {argv[0]!r}.\n\n{usage()}")
    set_up()
    return COMMANDS[argv[0]](argv[1:])


def usage() -> str:
    lines = [
        f"  {name:6} {' '.join((command.__doc__ or '').split())}"
        for name, command in COMMANDS.items()
    ]
    return "\n".join([__doc__ or "", "", "commands:", *lines])


def accept_none(arguments: list[str]) -> None:
    if arguments:
        sys.exit(f"dev.py: this command takes no arguments, got: {' '.join(arguments)}")


# --- Running ---------------------------------------------------------------------------------


def call(command: list[str], cwd: Path | None = ROOT) -> int:
    return subprocess.run(command, cwd=cwd, check=False).returncode


def call_with(command: list[str], variables: dict[str, str]) -> int:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, check=False
    ).returncode


def run_steps(steps: list[tuple[str, list[str]]]) -> int:
    """Run every step, also after a failed one, and end with one line for each."""
    results = [run_step(name, module) for name, module in steps]
    failed = [name for name, code, _ in results if code]
    print("\n== summary")
    for name, code, seconds in results:
        print(f"{'FAILED' if code else 'ok':>6}  {name:12} {seconds:6.1f} s")
    print(f"\nFAILED: {', '.join(failed)}" if failed else "\nAll good.", flush=True)
    return 1 if failed else 0


def run_step(name: str, module: list[str]) -> tuple[str, int, float]:
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    code = call([PYTHON, "-m", *module])
    return name, code, time.monotonic() - started


# --- Setting up ------------------------------------------------------------------------------


def set_up() -> None:
    """Bring .venv up to date. The stamp is written last: an interrupted set-up starts again."""
    if Path(PYTHON).exists() and STAMP.exists() and STAMP.read_text() == fingerprint():
        return
    print(f"dev.py: setting up {VENV.name} (the first time takes a minute or two)", file=sys.stderr)
    if not Path(PYTHON).exists():
        make_environment()
    if not answers([PYTHON, "-m", "pip", "--version"]):
        install_pip()
    install_project()
    STAMP.write_text(fingerprint())


def fingerprint() -> str:
    """What an installation depends on. The place too: a copied .venv points at its origin."""
    return hashlib.sha256(bytes(ROOT) + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def make_environment() -> None:
    # Without pip, because Debian and Ubuntu ship Python without ensurepip. A link to a Python that
    # is gone (an upgrade does that) means that the old environment is dead.
    options = ["--without-pip", *(["--clear"] if os.path.islink(PYTHON) else [])]
    run_quietly(
        [sys.executable, "-m", "venv", *options, str(VENV)],
        f"remove {VENV} if it exists, and look whether `{sys.executable} -m venv` works",
    )


def install_pip() -> None:
    if importlib.util.find_spec("ensurepip"):
        command = [PYTHON, "-m", "ensurepip", "--default-pip"]
    else:
        command = [sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip"]
    run_quietly(
        command, f"install pip 22.3 or newer for {sys.executable} (Debian: apt install python3-pip)"
    )


def install_project() -> None:
    lowest = [f"{name}=={version}" for name, version in lowest_versions()]
    run_quietly(
        [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--editable",
            ".[dev]",
            *(lowest if LOWEST in os.environ else []),
        ],
        f"check the network and pip's settings; if .venv itself is broken, remove {VENV}",
    )


def lowest_versions() -> Iterator[tuple[str, str]]:
    """Of what users install: each dependency's lower bound, in the project's words."""
    import tomllib  # from Python 3.11 on; older ones get as far as being told so

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = [extras[name] for name in ("postgresql", "parquet", "contract")]
    for requirement in sum(users, project["dependencies"]):
        found = re.match(r"([\w-]+)(?:\[[^]]*\])?>=([\d.]+)", requirement)
        if found:
            yield found[1], found[2]


def answers(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_quietly(command: list[str], advice: str) -> None:
    """Run a step of the set-up; its output matters only when it fails."""
    # A user's pip may default to --user, which an environment refuses.
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        sys.exit(
            f"{output}\n\ndev.py: set-up failed at: {' '.join(command)}\nNext: {advice}, "
            "then run this again."
        )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
