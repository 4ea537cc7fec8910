"""Builds wheels and installs them where no checkout is in sight, without asking a registry."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["ROOT", "build_wheel", "command_line", "install", "link_libraries", "run_installed"]

ROOT = Path(__file__).resolve().parents[1]


def build_wheel(project: Path, folder: Path) -> Path:
    """The wheel of a project, built into a folder of its own."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], project)
    (built,) = folder.iterdir()
    return built


def install(wheels: Iterable[Path], target: Path) -> None:
    """Unpack wheels into a folder, without what they require."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run([*pip, "--target", str(target), *map(str, wheels)], target)


def link_libraries(name: str, folder: Path, extras: Sequence[str] = ()) -> None:
    """Put what a package requires into a folder, from this environment."""
    for library in dependencies(name, {}, extras):
        link(library, folder)


def dependencies(
    name: str, found: dict[str, Distribution], extras: Sequence[str] = ()
) -> list[Distribution]:
    """What a package requires with these extras, down to the bottom."""
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        marker = needed.marker
        applies = marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras))
        if applies and needed.name not in found:
            found[needed.name] = distribution(needed.name)
            dependencies(needed.name, found)
    return list(found.values())


def link(library: Distribution, folder: Path) -> None:
    """Put a library into a folder of its own, away from the path file of the editable install."""
    tops = {file.parts[0] for file in library.files or []} - {"..", "__pycache__"}
    for top in tops:
        if not (folder / top).exists():
            (folder / top).symlink_to(str(library.locate_file(top)))


def run(command: list[str], folder: Path, path: Sequence[str] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_installed(code: str, folder: Path, path: Sequence[str]) -> str:
    # -S: site-packages, and with it the checkout, stays out.
    return run([sys.executable, "-S", "-W", "error", "-c", code], folder, path)


def command_line(*arguments: str) -> str:
    """Code that does what the installed script does."""
    return (
        "import sys; from importlib.metadata import entry_points;"
        f"sys.argv = ['loki-storage', *{arguments!r}];"
        "(script,) = entry_points(group='console_scripts', name='loki-storage');"
        "sys.exit(script.load()())"
    )
