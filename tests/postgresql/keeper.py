"""Keeps one server for one test run: ``python -m tests.postgresql.keeper FOLDER VERSION``.

It ends when nobody holds the lock on ``FOLDER/alive`` any more, however the test run ended.
"""

import fcntl
import sys
from pathlib import Path

from tests.postgresql.installations import installations
from tests.postgresql.servers import FAST, running

__all__: list[str] = []


def main(folder: Path, version: str) -> None:
    with open(folder / f"{version}.kept", "w") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        (installation,) = [one for one in installations() if one.version == version]
        with running(installation, FAST) as server:
            print(server.url(), flush=True)
            _wait(folder / "alive")


def _wait(alive: Path) -> None:
    with open(alive) as held:
        fcntl.flock(held, fcntl.LOCK_SH)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
